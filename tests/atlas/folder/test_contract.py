"""The contract, and that both languages read the same one."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from quadric.atlas import contract
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from tests.atlas.golden import FOLDER, write_golden
from tests.atlas.tiny import read_arrow

TYPES = Path(__file__).parents[3] / "web/src/data/types.ts"
ATLASES = ("text", "image")


def schemas() -> dict[str, pa.Schema]:
    return {
        "forms": contract.forms_schema(["density"]),
        "labels": contract.labels_schema(),
        "pages": contract.pages_schema(images=True),
        "pairs": contract.pairs_schema(),
        "controls": contract.controls_schema(),
        "tokens": contract.tokens_schema(1 << 16),
        "vocabulary": contract.vocabulary_schema(),
        "pixels": contract.pixels_schema(6),
        "files": contract.files_schema(),
    }


@pytest.mark.parametrize("name", schemas())
def test_nothing_in_a_table_may_be_missing(name: str) -> None:
    def fields(kind: pa.DataType) -> list[pa.Field]:
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return inner + [deeper for field in inner for deeper in fields(field.type)]

    for field in schemas()[name]:
        for each in [field, *fields(field.type)]:
            assert not each.nullable, f"{name}.{field.name}: {each}"


def test_sixteen_bits_hold_a_vocabulary_of_65536_and_no_larger_one() -> None:
    assert contract.tokens_schema(1 << 16).field("token").type == pa.uint16()
    assert contract.tokens_schema((1 << 16) + 1).field("token").type == pa.uint32()


@pytest.mark.parametrize("name", ["KINDS", "SHAPES", "AXIS_KINDS", "DRAWN", "CONTEXT_KINDS"])
def test_codes_mean_the_same_in_typescript(name: str) -> None:
    found = re.search(rf"const {name} = \[(.*?)\] as const", TYPES.read_text(), re.DOTALL)
    assert found, f"{name} is not in {TYPES}"
    assert tuple(re.findall(r'"(\w+)"', found[1])) == getattr(contract, name)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("text.ts", {"ROWS_PER_FILE": contract.ROWS_PER_TOKEN_FILE, "BEFORE": contract.AROUND[0],
                     "AFTER": contract.AROUND[1]}),
        ("pixels.ts", {"ROWS_PER_FILE": contract.ROWS_PER_PIXEL_FILE}),
        ("../maths/points.ts", {"FULL": contract.FULL}),
    ],
)  # fmt: skip
def test_numbers_are_the_same_in_typescript(file: str, names: dict[str, int]) -> None:
    source = (TYPES.parent / file).read_text()
    for name, value in names.items():
        found = re.search(rf"const {name} = ([\d_]+);", source)
        assert found, f"{name} is not in {file}"
        assert int(found[1]) == value


@pytest.mark.parametrize("atlas", ATLASES)
def test_golden_atlases_are_sound_and_small(atlas: str) -> None:
    assert validate(FOLDER / atlas).problems == []
    size = sum(path.stat().st_size for path in (FOLDER / atlas).rglob("*.*"))
    assert size < 60_000


@pytest.mark.parametrize("atlas", ATLASES)
def test_golden_atlases_are_what_the_writer_writes(tmp_path: Path, atlas: str) -> None:
    write_golden(tmp_path)
    old, new = FOLDER / atlas, tmp_path / atlas
    files = {path.relative_to(new) for path in new.rglob("*.*")}
    assert files == {path.relative_to(old) for path in old.rglob("*.*")}
    manifests = [json.loads((each / contract.MANIFEST).read_text()) for each in (old, new)]
    assert manifests[0] | {"quadric_version": ""} == manifests[1] | {"quadric_version": ""}
    for path in files - {Path(contract.MANIFEST), Path(contract.FILES)}:
        before, after = read_arrow(old / path), read_arrow(new / path)
        assert before.schema.equals(after.schema), path
        for name in before.schema.names:
            # Another machine may round the last digit of a float otherwise.
            _assert_close(before[name].to_pylist(), after[name].to_pylist(), f"{path}: {name}")


def test_golden_text_has_what_the_page_must_cope_with() -> None:
    atlas = AtlasFolder(FOLDER / "text")
    assert atlas.manifest.forms == 10
    assert atlas.manifest.shard_size == 7
    rows = [atlas.row(place) for place in range(10)]
    assert rows[0].label.startswith("<img")
    assert {row.kind for row in rows} == {"latent", "group"}
    assert {len(atlas.page(place).points.linear) for place in range(10)} == {3, 4}
    assert any(np.isnan(row.statistics["frequency"]) for row in rows)


def test_every_field_of_the_manifest_is_documented_and_in_the_file() -> None:
    names = [field.name for field in dataclasses.fields(contract.Manifest)]
    assert list(json.loads((FOLDER / "text" / contract.MANIFEST).read_text())) == names


def _assert_close(before: object, after: object, where: str) -> None:
    if isinstance(before, list) and isinstance(after, list):
        assert len(before) == len(after), where
        for one, other in zip(before, after, strict=True):
            _assert_close(one, other, where)
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            _assert_close(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, float):
        assert before == pytest.approx(after, rel=1e-5, abs=1e-6, nan_ok=True), where
    elif isinstance(before, int) and isinstance(after, int):
        assert abs(before - after) <= ("coordinates" in where or "value" in where), where
    else:
        assert before == after, where
