"""One form taken out of an atlas, as one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest

from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.folder.validate import validate
from quadric.atlas.packing import one_form, pack
from quadric.errors import QuadricError


def unpacked(packed: bytes) -> dict[str, bytes]:
    table = pyarrow.ipc.open_file(pyarrow.py_buffer(packed)).read_all()
    assert table.schema == pyarrow.schema(
        [("path", pyarrow.string()), ("content", pyarrow.binary())]
    )
    paths = table["path"].to_pylist()
    assert len(set(paths)) == len(paths)
    return dict(zip(paths, table["content"].to_pylist(), strict=True))


def restored(packed: bytes, folder: Path) -> AtlasFolder:
    for path, content in unpacked(packed).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return AtlasFolder(folder)


def test_a_packed_atlas_is_its_tables_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=6, points=16, comparison=True)
    (folder / "index.html").write_text("page")
    (folder / "assets").mkdir()
    (folder / "assets/a.js").write_text("script")
    files = unpacked(pack(folder))
    listed = {path.relative_to(folder).as_posix() for path in folder.rglob("*.arrow")}
    assert set(files) == {*listed, "atlas.json"} - {"files.arrow"}
    assert all((folder / path).read_bytes() == content for path, content in files.items())
    with pytest.raises(QuadricError, match="not an atlas"):
        pack(tmp_path)


@pytest.mark.parametrize("kind", ["text", "images", "vectors"])
def test_one_form_is_shown_as_in_the_whole_atlas(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    write_synthetic(
        whole, forms=12, points=40, comparison=True, text=kind == "text", images=kind == "images"
    )
    atlas = AtlasFolder(whole)
    place = 7
    form = int(atlas.forms()["id"][place])
    packed = one_form(whole, form)
    alone = restored(packed, tmp_path / "alone")
    assert alone.manifest.forms == 1 and alone.manifest.run is None
    assert alone.manifest.title == atlas.manifest.title
    assert alone.manifest.rows == atlas.manifest.rows
    here, there = alone.page_of(form), atlas.page(place)
    for name in ("spectrum", "form", "linear", "coordinates", "value"):
        np.testing.assert_array_equal(getattr(here.points, name), getattr(there.points, name))
    np.testing.assert_array_equal(here.rows, there.rows)
    assert len(here.contexts) == len(there.contexts) and list(here.neighbours) == []
    assert alone.row(0) == atlas.row(place)
    assert alone.pair(0).partner == atlas.pair(place).partner
    spectrum = abs(there.points.spectrum)
    rank = spectrum.sum() ** 2 / (spectrum**2).sum()
    nearest = min(atlas.controls(), key=lambda each: abs(each.effective_rank - rank))
    assert nearest.effective_rank in [each.effective_rank for each in alone.controls()]
    if kind == "text":
        size = atlas.manifest.context_size
        for row in there.rows.tolist():
            start = max(row - 8, row // size * size)
            stop = min(row + 4, (row // size + 1) * size, atlas.manifest.rows)
            assert alone.tokens(start, stop) == atlas.tokens(start, stop)
        for context in there.contexts:
            window = context.start, context.start + len(context.values)
            assert alone.tokens(*window) == atlas.tokens(*window)
    if kind == "images":
        for row in there.rows.tolist():
            np.testing.assert_array_equal(alone.pixels(row), atlas.pixels(row))


def test_one_form_leaves_out_the_text_of_the_others(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_synthetic(whole, forms=40, points=8)
    first = int(AtlasFolder(whole).forms()["id"][0])
    vocabulary = unpacked(one_form(whole, first))["vocabulary.arrow"]
    assert len(vocabulary) < (whole / "vocabulary.arrow").stat().st_size / 2


def test_what_is_taken_out_is_sound(tmp_path: Path) -> None:
    """Everything but its list of files, which a packed atlas has no need of."""
    whole = tmp_path / "whole"
    write_synthetic(whole, forms=5, points=16)
    restored(one_form(whole, int(AtlasFolder(whole).forms()["id"][3])), tmp_path / "alone")
    problems = validate(tmp_path / "alone").problems
    assert all("files.arrow" in problem for problem in problems)


def test_a_form_that_is_not_there(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "atlas", forms=3, points=8)
    with pytest.raises(QuadricError, match="no form 999"):
        one_form(tmp_path / "atlas", 999)
    with pytest.raises(QuadricError, match="is not a run"):
        one_form(tmp_path, 0)
