"""What the writer puts where, and what it refuses."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadric.atlas.contract import Comparison
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import Context, Neighbour, NullScore
from quadric.errors import QuadricError
from tests.atlas.tiny import (
    FIELDS,
    ROWS,
    read_arrow,
    tiny_atlas,
    tiny_page,
    tiny_pair,
    tiny_points,
    tiny_row,
)

MANY_ROWS = 140_000


def everything(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_folder_has_the_files_of_the_contract(tmp_path: Path) -> None:
    pages = [tiny_page(id, seed=id) for id in (5, 17, 3)]
    tiny_atlas(tmp_path / "a", pages, compare=True)
    assert list(everything(tmp_path / "a")) == [
        "atlas.json", "controls.arrow", "files.arrow", "forms.arrow", "labels.arrow",
        "pages/00000.arrow", "pairs/00000.arrow", "tokens/00000.arrow", "vocabulary.arrow",
    ]  # fmt: skip
    assert validate(tmp_path / "a").problems == []
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_other_file_is_listed_with_its_size_and_hash(tmp_path: Path) -> None:
    tiny_atlas(tmp_path / "a", [tiny_page()])
    content = everything(tmp_path / "a")
    content.pop("files.arrow")
    listed = {
        row["path"]: (row["bytes"], row["sha256"])
        for row in read_arrow(tmp_path / "a/files.arrow").to_pylist()
    }
    assert listed == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in content.items()
    }


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_atlas(tmp_path / name, [tiny_page(1), tiny_page(2, seed=1)], compare=True)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_created_is_now_unless_given(tmp_path: Path) -> None:
    written = tiny_atlas(tmp_path / "a", [tiny_page()], created=None).manifest.created
    assert written > "2026"
    assert written.endswith("+00:00")


@pytest.mark.parametrize("forms", [1, 64, 65, 200])
def test_pages_are_in_files_of_the_size_that_the_manifest_says(tmp_path: Path, forms: int) -> None:
    pages = [tiny_page(id) for id in range(forms, 0, -1)]
    tiny_atlas(tmp_path / "a", pages, shard_bytes=9_000)
    atlas = AtlasFolder(tmp_path / "a")
    size = atlas.manifest.shard_size
    assert 5 < size < 64
    files = sorted((tmp_path / "a/pages").iterdir())
    assert [path.name for path in files] == [f"{i:05d}.arrow" for i in range(-(-forms // size))]
    counts = [read_arrow(path).num_rows for path in files]
    assert counts == [size] * (forms // size) + [forms % size] * (forms % size > 0)
    assert [atlas.page(place).id for place in range(forms)] == list(range(forms, 0, -1))
    assert all(path.stat().st_size < 18_000 for path in files)


def test_a_file_is_never_larger_than_it_must_be_nor_of_more_than_64_forms(tmp_path: Path) -> None:
    tiny_atlas(tmp_path / "a", [tiny_page(id) for id in range(70)])
    assert AtlasFolder(tmp_path / "a").manifest.shard_size == 64
    tiny_atlas(tmp_path / "a", [tiny_page(id) for id in range(3)], shard_bytes=1)
    assert AtlasFolder(tmp_path / "a").manifest.shard_size == 1
    assert len(list((tmp_path / "a/pages").iterdir())) == 3


def test_files_are_written_as_they_fill(tmp_path: Path) -> None:
    with (
        pytest.raises(QuadricError, match="unfinished"),
        AtlasWriter(tmp_path / "a", **FIELDS, shard_bytes=4_500) as atlas,
    ):
        for id in range(64):
            atlas.add(tiny_page(id))
        (hidden,) = tmp_path.iterdir()
        assert len(list((hidden / "pages").iterdir())) >= 3
        assert len(atlas._pages) < 20


@pytest.mark.parametrize(
    ("row", "files"),
    [
        (65_536 - 4, [0]),  # three after it are still in the first file
        (65_536 - 3, [0, 1]),
        (65_536 + 3, [0, 1]),  # its context began at 65,520, and eight before it are in the first
        (65_536 + 7, [0, 1]),
        (65_536 + 8, [1]),
        (65_536 + 4, [0, 1]),
        (MANY_ROWS - 1, [2]),
    ],
)
def test_the_text_around_a_point_is_there(tmp_path: Path, row: int, files: list[int]) -> None:
    # Contexts of 64 rows would end at the border of the files; those of 48 cross it.
    fields = {"context_size": 48, "rows": MANY_ROWS}
    page = tiny_page(rows=np.full(7, row), contexts=[])
    tiny_atlas(tmp_path / "a", [page], **fields)
    found = sorted(int(path.stem) for path in (tmp_path / "a/tokens").iterdir())
    assert found == files
    atlas = AtlasFolder(tmp_path / "a")
    first = max(row - 8, row - row % 48)
    last = min(row + 3, row - row % 48 + 47, MANY_ROWS - 1)
    assert atlas.tokens(first, last + 1) == [f"<{3 * r + 7}>" for r in range(first, last + 1)]


@pytest.mark.parametrize(
    ("row", "context_size", "rows", "file"),
    [
        (65_535, 64, 140_000, 0),  # its context ends with the file
        (65_536, 64, 140_000, 1),  # its context begins with the file
        (65_535, 48, 65_536, 0),  # its context was cut off by the end of the store
    ],
)
def test_the_text_around_a_point_ends_with_its_context(
    tmp_path: Path, row: int, context_size: int, rows: int, file: int
) -> None:
    page = tiny_page(rows=np.full(7, row), contexts=[])
    tiny_atlas(tmp_path / "a", [page], context_size=context_size, rows=rows)
    found = [path.name for path in (tmp_path / "a/tokens").iterdir()]
    assert found == [f"{file:05d}.arrow"]


def test_the_text_of_a_context_is_there(tmp_path: Path) -> None:
    window = Context("random", row=131_075, start=131_071, values=np.zeros(6))
    tiny_atlas(tmp_path / "a", [tiny_page(contexts=[window])], context_size=48, rows=MANY_ROWS)
    atlas = AtlasFolder(tmp_path / "a")
    assert atlas.tokens(131_071, 131_077) == [f"<{3 * r + 7}>" for r in range(131_071, 131_077)]


def test_the_vocabulary_has_the_tokens_of_the_files_and_no_others(tmp_path: Path) -> None:
    tiny_atlas(tmp_path / "a", [tiny_page()], rows=70)
    vocabulary = read_arrow(tmp_path / "a/vocabulary.arrow")
    assert vocabulary["id"].to_pylist() == [3 * r + 7 for r in range(70)]
    assert read_arrow(tmp_path / "a/tokens/00000.arrow").schema.field("token").type == "uint16"


def test_a_missing_statistic_is_not_a_number(tmp_path: Path) -> None:
    tiny_atlas(tmp_path / "a", [tiny_page()], rows=100)
    assert np.isnan(AtlasFolder(tmp_path / "a").forms()["rank"]).all()


BAD_PAGES: list[tuple[dict[str, Any], str]] = [
    ({"rows": np.zeros(6, int)}, r"rows has shape \(6,\), expected \(7,\)"),
    ({"present": np.zeros(8, bool)}, r"present has shape \(8,\)"),
    ({"rows": np.full(7, ROWS)}, f"row {ROWS} of a point is not in 0 … {ROWS - 1}"),
    ({"rows": np.full(7, -1)}, "row -1 of a point"),
    ({"ring_plane": (0, 3)}, "two of its 3 axes"),
    ({"ring_plane": (1, 1)}, "two of its 3 axes"),
    ({"histogram_counts": np.array([1])}, "histogram_counts has shape"),
    ({"histogram_edges": np.array([1.0, 0.0, 2.0])}, "edges must rise"),
    ({"contexts": [Context("random", 4, 5, np.ones(3))]}, "row 4 of a context is outside"),
    ({"contexts": [Context("random", 8, 5, np.ones(3))]}, "row 8 of a context is outside"),
    ({"contexts": [Context("random", 18, 18, np.ones(3))]}, "crosses a border"),
    ({"contexts": [Context("random", ROWS - 1, ROWS - 1, np.ones(2))]}, "is not in 0"),
    ({"contexts": [Context("randon", 5, 5, np.ones(3))]}, "did you mean 'random'"),  # type: ignore[arg-type]
    ({"contexts": [Context("random", 5, 5, np.array([np.nan]))]}, "not finite"),
    ({"neighbours": [Neighbour(2, 1, 0.5)]}, "measure is 2, expected 0 … 1"),
    ({"neighbours": [Neighbour(0, 1, np.nan)]}, "overlap with form 1 is nan"),
    ({"neighbours": [Neighbour(0, 1, 1.5)]}, "overlap with form 1 is 1.5"),
    ({"neighbours": [Neighbour(0, -1, 0.5)]}, "neighbour is -1"),
    ({"scores": [NullScore("ring", 1, "gaussian", 1, 0, np.inf, 1, 9)]}, "score 'ring' .* finite"),
    ({"images": np.zeros((3, 2, 2, 1))}, "has images, but the atlas is of text"),
    ({"id": -1}, "id is -1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_PAGES)
def test_a_bad_page_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    page = replace(tiny_page(41), **changes)
    with pytest.raises(QuadricError, match=rf"^form {page.id}: .*{message}"):
        tiny_atlas(tmp_path / "a", [page])
    assert not list(tmp_path.iterdir())


BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({"coordinates": np.zeros((3, 7))}, "value has shape"),
    ({"coordinates": np.zeros((0, 3)), "value": np.zeros(0)}, "it has no points"),
    ({"coordinates": np.zeros((7, 9))}, "it has 9 axes, expected 1 to 8"),
    ({"coordinates": np.zeros(7)}, "not \\(n, r\\)"),
    ({"form": np.zeros((3, 2))}, "form has shape"),
    ({"form": np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])}, "form is not symmetric"),
    ({"linear": np.zeros(2)}, "linear has shape"),
    ({"spectrum": np.zeros(65)}, "at most 64"),
    ({"spectrum": np.array([1.0, -2.0])}, "largest |λ| first"),
    ({"spectrum": np.array([np.nan])}, "spectrum is not finite"),
    ({"value": np.full(7, np.inf)}, "value is not finite"),
    ({"constant": 1e39}, "constant is not finite"),
    ({"axis_kind": ["eigenvector"] * 2}, "axis_kind is"),
    ({"axis_kind": ["eigenvector", "shared", "other"]}, "axis_kind is"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_POINTS)
def test_bad_points_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    page = replace(tiny_page(41), points=replace(tiny_points(), **changes))
    with pytest.raises(QuadricError, match=f"^form 41: .*{message}"):
        tiny_atlas(tmp_path / "a", [page])


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"id": 6}, "form 6 is where form 5 was expected"),
    ({"kind": "latnt"}, "did you mean 'latent'"),
    ({"shape": "rong"}, "did you mean 'ring'"),
    ({"x": 1.01}, "its place is"),
    ({"y": np.nan}, "its place is"),
    ({"statistics": {"densty": 1.0}}, "did you mean 'density'"),
    ({"members": [1]}, "1 members but 2 weights"),
    ({"weights": [1.0, np.nan]}, "weights is not finite"),
    ({"positive": 70_000}, "positive is 70000"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS)
def test_a_bad_row_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuadricError, match=message):
        tiny_atlas(tmp_path / "a", [tiny_page(5)], form_rows=[replace(tiny_row(5), **changes)])
    assert not list(tmp_path.iterdir())


def test_forms_twice_or_without_a_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="form 5 was added twice"):
        tiny_atlas(tmp_path / "a", [tiny_page(5), tiny_page(5)])
    with pytest.raises(QuadricError, match="2 pages were added, but 1 rows"):
        tiny_atlas(tmp_path / "a", [tiny_page(5), tiny_page(6)], form_rows=[tiny_row(5)])


def test_pairs_belong_to_a_comparison_and_to_their_form(tmp_path: Path) -> None:
    def pair(**changes: Any) -> None:
        page = tiny_page()
        with AtlasWriter(tmp_path / "a", **FIELDS, comparison=Comparison("Twin")) as atlas:
            atlas.add(page, replace(tiny_pair(page), **changes))

    with pytest.raises(QuadricError, match="pair of form 6 was given with the page of form 5"):
        pair(id=6)
    with pytest.raises(QuadricError, match="has 6 points, its form 7"):
        pair(points=tiny_points(6))
    with pytest.raises(QuadricError, match="overlap is 2"):
        pair(overlap=2.0)
    with (
        pytest.raises(QuadricError, match="form 5 has no pair"),
        AtlasWriter(tmp_path / "a", **FIELDS, comparison=Comparison("Twin")) as atlas,
    ):
        atlas.add(tiny_page())


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"colour": "densty"}, "colour is 'densty', which is no statistic; did you mean 'density'"),
    ({"rows": 0}, "rows is 0"),
    ({"modality": "vector"}, "context_size is 20, expected 1"),
    ({"modality": "image", "context_size": 1}, "images need both"),
    ({"image_shape": (1, 2, 3)}, "belong to images"),
    ({"modality": "sound"}, "modality is 'sound', expected one of text, image, vector"),
    ({"facts": {"layers": 3}}, "facts.layers is 3, expected a str"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FIELDS)
def test_fields_that_a_reader_would_refuse_are_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuadricError, match=message):
        AtlasWriter(tmp_path / "a", **(FIELDS | changes))


def test_sources_of_tokens_are_checked(tmp_path: Path) -> None:
    def finish(**sources: Any) -> None:
        with AtlasWriter(tmp_path / "a", **FIELDS) as atlas:
            atlas.add(tiny_page())
            atlas.finish([tiny_row(5)], **sources)

    def tokens(start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop)

    with pytest.raises(QuadricError, match="tokens are missing, but the atlas is of modality text"):
        finish()
    with pytest.raises(QuadricError, match="pixels are given, but"):
        finish(tokens=tokens, texts=str, pixels=np.zeros)
    with pytest.raises(QuadricError, match=r"have shape \(499,\), expected 500 ids"):
        finish(tokens=lambda a, b: np.arange(a, b - 1), texts=str)
    with pytest.raises(QuadricError, match="500 token ids were given 2 texts"):
        finish(tokens=tokens, texts=lambda _: ["a", "b"])
    assert not list(tmp_path.iterdir())


def test_images_are_the_ones_that_pages_show(tmp_path: Path) -> None:
    fields = FIELDS | {
        "modality": "image", "context_size": 1, "rows": 6_000,
        "image_shape": (2, 3, 1), "pixel_range": (0.0, 1.0),
    }  # fmt: skip
    context = Context("random", row=5000, start=5000, values=np.ones(1))
    pictures = np.random.default_rng(0).normal(size=(3, 2, 3, 1))
    page = tiny_page(
        rows=np.array([9, 2, 9, 1024, 1023, 2, 7]), contexts=[context], images=pictures
    )

    def pixels(rows: np.ndarray) -> np.ndarray:
        return (rows[:, None] + np.arange(6)).astype(np.uint8)

    with AtlasWriter(tmp_path / "a", **fields) as writer:
        writer.add(page)
        writer.finish([tiny_row(5)], pixels=pixels)
    assert validate(tmp_path / "a").problems == []
    shown = {
        path.stem: read_arrow(path)["row"].to_pylist() for path in (tmp_path / "a/pixels").iterdir()
    }
    assert shown == {"00000": [2, 7, 9, 1023], "00001": [1024], "00004": [5000]}
    atlas = AtlasFolder(tmp_path / "a")
    assert atlas.pixels(9)[:, :, 0].tolist() == [[9, 10, 11], [12, 13, 14]]
    with pytest.raises(QuadricError, match="no image for row 8"):
        atlas.pixels(8)
    found = atlas.page(0).images
    assert found is not None
    assert np.abs(found - pictures).max() < 0.02


def test_pixels_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    fields = FIELDS | {
        "modality": "image", "context_size": 1, "rows": 6_000,
        "image_shape": (2, 3, 1), "pixel_range": (0.0, 1.0),
    }  # fmt: skip
    with (
        pytest.raises(QuadricError, match="expected uint8 of"),
        AtlasWriter(tmp_path / "a", **fields) as writer,
    ):
        writer.add(tiny_page(contexts=[]))
        writer.finish([tiny_row(5)], pixels=lambda rows: np.zeros((len(rows), 6)))
