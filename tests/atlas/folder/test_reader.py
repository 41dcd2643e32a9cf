"""Reading an atlas, and what is said of one that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quadric.atlas.contract import MANIFEST
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.errors import QuadricError
from tests.atlas.golden import FOLDER
from tests.atlas.tiny import read_arrow, rewrite, tiny_atlas, tiny_page, tiny_pair, tiny_row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden atlas of text, to be damaged."""
    return Path(shutil.copytree(FOLDER / "text", tmp_path / "atlas"))


def read_all(folder: Path) -> None:
    """Everything that a reader can ask for."""
    atlas = AtlasFolder(folder)
    for place in range(atlas.manifest.forms):
        row, page = atlas.row(place), atlas.page(place)
        assert atlas.place_of(page.id) == place
        assert row.id == page.id
        atlas.pair(place)
        for context in page.contexts:
            atlas.tokens(context.start, context.start + len(context.values))
    atlas.controls()


def test_pages_by_place_and_by_id(tmp_path: Path) -> None:
    pages = [tiny_page(id, seed=id) for id in (31, 7, 12)]
    tiny_atlas(tmp_path, pages, compare=True, shard_bytes=1)
    atlas = AtlasFolder(tmp_path)
    assert [atlas.place_of(page.id) for page in pages] == [0, 1, 2]
    for place, page in enumerate(pages):
        for found in (atlas.page(place), atlas.page_of(page.id)):
            assert found.id == page.id
            error = np.abs(found.points.coordinates - page.points.coordinates)
            assert (error <= np.abs(page.points.coordinates).max(axis=0) / 65533).all()
        pair = atlas.pair(place)
        assert pair.id == page.id
        value = tiny_pair(page).points.value
        assert np.abs(pair.points.value - value).max() <= np.abs(value).max() / 65533
    assert atlas.row(1).label == tiny_row(7).label
    assert atlas.forms()["id"].tolist() == [31, 7, 12]
    assert atlas.labels().column("quadric").to_pylist() == ["cone"] * 3
    (control,) = atlas.controls()
    assert control.effective_rank == 2.5


def test_the_golden_atlas_reads_whole() -> None:
    read_all(FOLDER / "text")


def test_an_atlas_written_again_from_its_pages_is_the_same(tmp_path: Path) -> None:
    """Quantising what was read changes nothing: an exported form is the form."""
    given = AtlasFolder(FOLDER / "text")
    pages = [given.page(place) for place in range(given.manifest.forms)]
    manifest = given.manifest
    tiny_atlas(
        tmp_path,
        pages,
        form_rows=[given.row(place) for place in range(manifest.forms)],
        rows=manifest.rows,
        context_size=manifest.context_size,
        statistics=manifest.statistics,
        colour=manifest.colour,
        size=manifest.size,
        shard_bytes=9_000,
    )
    for path in ("forms.arrow", "labels.arrow"):
        assert (tmp_path / path).read_bytes() == (FOLDER / "text" / path).read_bytes()
    again = AtlasFolder(tmp_path)
    for place, page in enumerate(pages):
        points, found = page.points, again.page(place).points
        assert (found.coordinates == points.coordinates).all()
        assert (found.value == points.value).all()


def test_tokens_across_files(tmp_path: Path) -> None:
    rows = np.array([65_530, 65_540, 3, 131_075, 65_536, 9, 10])
    tiny_atlas(tmp_path, [tiny_page(rows=rows)], rows=140_000, context_size=48)
    atlas = AtlasFolder(tmp_path)
    assert atlas.token_ids(65_534, 65_538).tolist() == [3 * r + 7 for r in range(65_534, 65_538)]
    assert atlas.tokens(65_535, 65_537) == ["<196612>", "<196615>"]
    assert atlas.token_ids(5, 5).tolist() == []
    assert len(atlas.token_ids(0, 140_000)) == 140_000
    for start, stop in ((-1, 2), (3, 2), (139_999, 140_001)):
        with pytest.raises(QuadricError, match=r"are not in 0 … 140000"):
            atlas.token_ids(start, stop)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    tiny_atlas(tmp_path, [tiny_page(5)])
    atlas = AtlasFolder(tmp_path)
    for call, message in (
        (lambda: atlas.place_of(6), "has no form 6 among its 1"),
        (lambda: atlas.page(1), r"place 1 is not in 0 … 0"),
        (lambda: atlas.page(-1), "place -1 is not in"),
        (lambda: atlas.row(1), "place 1 is not in"),
        (lambda: atlas.pair(0), "compares with no other autoencoder"),
        (lambda: atlas.pixels(0), "no image for row 0"),
    ):
        with pytest.raises(QuadricError, match=message):
            call()


MANIFESTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.update(version=2), "format version 2; this quadric reads versions up to 1"),
    (lambda m: m.update(version="1"), "version is '1'"),
    (lambda m: m.update(version=True), "version is True"),
    (lambda m: m.update(format="other"), "its format is not 'quadric-atlas'"),
    (lambda m: m.update(tittle="x"), "unknown key tittle; did you mean 'title'"),
    (lambda m: m.pop("rows"), "key rows is missing"),
    (lambda m: m.update(rows="9"), "rows is '9', expected a int"),
    (lambda m: m.update(rows=True), "rows is True, expected a int"),
    (lambda m: m.update(rows=2**40), "rows is 1099511627776, expected 1"),
    (lambda m: m.update(title=None), "title is None, expected a str"),
    (lambda m: m.update(modality="sound"), "expected one of text, image, vector"),
    (lambda m: m.update(facts=[]), r"facts is \[\], expected a dict"),
    (lambda m: m["facts"].update(model=1), "facts.model is 1, expected a str"),
    (lambda m: m["statistics"][1].pop("title"), r"key statistics\[1\].title is missing"),
    (lambda m: m["statistics"][1].update(logarithmic=1), r"logarithmic is 1, expected a bool"),
    (lambda m: m["statistics"].append("x"), r"statistics\[4\] is 'x', expected an object"),
    (lambda m: m["statistics"][0].update(name="kind"), "named twice"),
    (lambda m: m["measures"][0].update(extra=1), r"unknown key measures\[0\].extra"),
    (lambda m: m.update(image_shape=[1, 2]), r"image_shape is \[1, 2\], expected a tuple"),
    (lambda m: m.update(image_shape=[1, 2, 3]), "belong to images"),
    (lambda m: m.update(pixel_range=[0, float("nan")]), "belong to images"),
    (lambda m: m["comparison"].update(title=3), "comparison.title is 3"),
    (lambda m: m.update(shard_size=0), "shard_size is 0"),
    (lambda m: m.update(colour="colour"), "colour is 'colour', which is no statistic"),
]


@pytest.mark.parametrize(("change", "message"), MANIFESTS)
def test_a_wrong_manifest_is_one_line_that_says_what(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    value = json.loads((folder / MANIFEST).read_text())
    change(value)
    (folder / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(QuadricError, match=message) as error:
        AtlasFolder(folder)
    assert str(folder / MANIFEST) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "[" * 100_000, "\xff"])
def test_a_manifest_that_is_no_manifest(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(QuadricError, match=r"atlas\.json is"):
        AtlasFolder(folder)


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(QuadricError, match=r"is not an atlas: it has no atlas\.json"):
            AtlasFolder(folder)


TABLES = (
    "forms.arrow", "labels.arrow", "controls.arrow", "vocabulary.arrow", "pages/00001.arrow",
    "pairs/00000.arrow", "tokens/00000.arrow",
)  # fmt: skip


@pytest.mark.parametrize("path", TABLES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "tail", "noise", "folder", "other"])
def test_a_damaged_table_is_one_line_that_names_it(folder: Path, path: str, damage: str) -> None:
    file = folder / path
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "other":
        shutil.copy(folder / "files.arrow", file)
    elif damage != "missing":
        noise = np.random.default_rng(0).integers(0, 256, len(content), np.uint8).tobytes()
        file.write_bytes(
            {
                "empty": b"",
                "half": content[: len(content) // 2],
                "tail": content[:-9],
                "noise": noise,
            }[damage]
        )
    said = "missing" if damage in ("missing", "folder") else "damaged"
    with pytest.raises(QuadricError, match=f"is {said}") as error:
        read_all(folder)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(TABLES), places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1,
       max_size=6), bits=st.integers(1, 255))  # fmt: skip
def test_flipped_bits_never_bring_the_reader_down(
    folder: Path, path: str, places: list[float], bits: int
) -> None:
    """Whatever is in a file: numbers are read, or the file is named; nothing else happens."""
    whole = (FOLDER / "text" / path).read_bytes()
    content = bytearray(whole)
    for place in places:
        content[int(place * len(content))] ^= bits
    (folder / path).write_bytes(content)
    try:
        read_all(folder)
    except QuadricError as error:
        assert path in str(error)
    finally:
        (folder / path).write_bytes(whole)


CHANGES: list[tuple[str, Callable[[dict[str, list[Any]]], object], str]] = [
    ("forms.arrow", lambda c: c["kind"].__setitem__(2, 5), "kind is unknown"),
    ("forms.arrow", lambda c: [column.pop() for column in c.values()], "9 forms, expected 10"),
    ("labels.arrow", lambda c: c["weights"][1].pop(), "members and weights differ"),
    ("pages/00000.arrow", lambda c: c["id"].reverse(), "where forms.arrow has form"),
    ("pages/00000.arrow", lambda c: c["axes"].__setitem__(0, 5), "axis_kind has 4 numbers, exp"),
    ("pages/00000.arrow", lambda c: c["coordinates"][1].pop(), "coordinates has 31 numbers, exp"),
    ("pages/00000.arrow", lambda c: c["row"][1].__setitem__(0, 256), "is not below 256"),
    ("pages/00000.arrow", lambda c: c["drawn"][1].__setitem__(0, 2), "drawn is unknown"),
    ("pages/00000.arrow", lambda c: c["ring_plane"].__setitem__(0, [0, 4]), "ring_plane is not"),
    ("pages/00000.arrow", lambda c: c["contexts"][0][3].update(kind=4), "kind of a context"),
    ("pages/00000.arrow", lambda c: c["contexts"][0][3].update(row=300), "outside its window"),
    (
        "pages/00000.arrow",
        lambda c: c["contexts"][0][3].update(start=250, row=250, values=[0.0] * 7),
        "window is not below row 256",
    ),
    ("pages/00000.arrow", lambda c: c["neighbours"][0][3].update(measure=2), "measure of a neigh"),
    ("pairs/00000.arrow", lambda c: c["value"].__setitem__(3, []), "it has no points"),
    ("controls.arrow", lambda c: c["axes"].__setitem__(1, 0), "axes is not 1 … 8"),
    ("tokens/00000.arrow", lambda c: c["token"].pop(), "255 tokens, expected 256"),
]


@pytest.mark.parametrize(("path", "change", "message"), CHANGES)
def test_rows_that_contradict_themselves_are_not_taken_apart(
    folder: Path, path: str, change: Callable[[dict[str, list[Any]]], object], message: str
) -> None:
    rewrite(folder, path, change)
    with pytest.raises(QuadricError, match=message) as error:
        read_all(folder)
    assert str(folder / path) in str(error.value)


@pytest.mark.parametrize("path", ["forms.arrow", "pages/00000.arrow"])
def test_compressed_tables_are_refused(folder: Path, path: str) -> None:
    table = read_arrow(folder / path)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(folder / path), table.schema, options=options) as file:
        file.write_table(table)
    with pytest.raises(QuadricError, match=f"{path} is damaged: column '.*' is compressed"):
        read_all(folder)


@pytest.mark.parametrize(
    ("path", "name", "spoil"),
    [
        ("forms.arrow", "x", lambda column: [None, *column[1:]]),
        ("labels.arrow", "tokens", lambda column: [[None], *column[1:]]),
        ("labels.arrow", "members", lambda column: [None, *column[1:]]),
        ("pages/00000.arrow", "scores", lambda column: [[column[0][0] | {"z": None}], *column[1:]]),
    ],
)
def test_missing_values_are_refused(
    folder: Path, path: str, name: str, spoil: Callable[[list[Any]], list[Any]]
) -> None:
    rewrite(folder, path, lambda columns: columns.update({name: spoil(columns[name])}))
    with pytest.raises(QuadricError, match=f"{path} is damaged: .*{name}") as error:
        read_all(folder)
    assert "\n" not in str(error.value)


def test_nothing_outside_the_folder_is_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.arrow"
    (folder / "labels.arrow").rename(secret)
    (folder / "labels.arrow").symlink_to(secret)
    with pytest.raises(QuadricError, match=r"labels\.arrow leads out of the atlas's folder"):
        AtlasFolder(folder).labels()
    (tmp_path / "link").symlink_to(FOLDER / "text")
    read_all(tmp_path / "link")


def test_importing_it_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from quadric.atlas.folder import reader, writer, validate, synthetic\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_images_read_back(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "a", forms=3, points=9, axes=4, images=True, rows=3_000)
    atlas = AtlasFolder(tmp_path / "a")
    page = atlas.page(1)
    assert page.images is not None
    assert page.images.shape == (len(page.points.linear), 8, 8, 1)
    for row in page.rows:
        assert atlas.pixels(int(row)).shape == (8, 8, 1)
    shown = {int(row) for place in range(3) for row in atlas.page(place).rows}
    shown |= {context.row for place in range(3) for context in atlas.page(place).contexts}
    hidden = next(row for row in range(3_000) if row not in shown)
    for row in (-1, hidden, 3_000):
        with pytest.raises(QuadricError, match="no image for row"):
            atlas.pixels(row)
