"""``validate`` finds what is wrong, says where, and checks the rest all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadric.atlas import contract
from quadric.atlas.folder import quantise, tables
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.folder.validate import validate
from quadric.errors import QuadricError
from tests.atlas.golden import FOLDER
from tests.atlas.tiny import (
    read_arrow,
    relist,
    rewrite,
    tiny_atlas,
    tiny_page,
    tiny_points,
)

Columns = dict[str, list[Any]]
PAGES, PAIRS = "pages/00000.arrow", "pairs/00000.arrow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden atlas of text, to be damaged."""
    return Path(shutil.copytree(FOLDER / "text", tmp_path / "atlas"))


def test_a_sound_atlas_is_counted(folder: Path) -> None:
    report = validate(folder)
    assert report.problems == []
    assert report.counts == {"files": 10, "forms": 10, "points": 80, "tokens": 256}


def test_the_page_beside_the_atlas_is_none_of_its_files(folder: Path) -> None:
    (folder / "assets").mkdir()
    (folder / "assets/index-1.js").write_text("")
    (folder / "index.html").write_text("")
    assert validate(folder).problems == []


@given(
    n=st.integers(1, 60),
    r=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    size=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_whatever_the_writer_takes_is_sound(
    tmp_path_factory: pytest.TempPathFactory, n: int, r: int, seed: int, size: float
) -> None:
    points = tiny_points(n, r, seed)
    # Without a remainder its check is sharpest; with one, the rounding of the values matters most.
    values = [points.value, tables.slice_values(points), np.zeros(n)]
    pages = [
        tiny_page(i, points=_scaled(points, value, size), ring_plane=None)
        for i, value in enumerate(values)
    ]
    folder = tmp_path_factory.mktemp("sound")
    tiny_atlas(folder, pages)
    assert validate(folder).problems == []


def _scaled(points: tables.FormPoints, value: np.ndarray, size: float) -> tables.FormPoints:
    from dataclasses import replace

    return replace(
        points,
        value=value * size,
        form=points.form * size,
        linear=points.linear * size,
        constant=points.constant * size,
    )


# Mutants of the writer: each writes an atlas that looks right, file by file.


def transposed(points: tables.FormPoints, whole: np.ndarray) -> np.ndarray:
    """Coordinates point by point and not axis by axis."""
    return whole.reshape(len(points.linear), -1).T.ravel()


def turned(points: tables.FormPoints, whole: np.ndarray) -> np.ndarray:
    """Coordinates of axis 1 where axis 0 is."""
    return np.roll(whole.reshape(len(points.linear), -1), 1, axis=0).ravel()


@pytest.mark.parametrize("mutant", [transposed, turned])
def test_coordinates_in_the_wrong_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., np.ndarray]
) -> None:
    right = tables._points_columns

    def wrong(all_points: Any) -> dict[str, Any]:
        columns = right(all_points)
        pairs = zip(all_points, columns["coordinates"], strict=True)
        return columns | {"coordinates": [mutant(points, whole) for points, whole in pairs]}

    monkeypatch.setattr(tables, "_points_columns", wrong)
    tiny_atlas(tmp_path, [tiny_page()])
    problems = validate(tmp_path).problems
    assert {problem.partition(" axis")[0].partition(" remainder")[0] for problem in problems} == {
        "pages/00000.arrow: form 5:",
        "controls.arrow: row 0:",
    }


def test_a_missing_remainder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "remainder", lambda _: 0.0)
    tiny_atlas(tmp_path, [tiny_page()])
    assert [problem.partition(", but")[0] for problem in validate(tmp_path).problems] == [
        "pages/00000.arrow: form 5: remainder is 0",
        "controls.arrow: row 0: remainder is 0",
    ]


def test_a_remainder_is_judged_as_sharply_as_rounding_allows(folder: Path) -> None:
    """Form 4 is a cylinder of size 1 without a remainder; its integers tell that to 0.0001."""
    assert read_arrow(folder / PAGES)["remainder"][4].as_py() < 1e-12
    rewrite(folder, PAGES, lambda columns: columns["remainder"].__setitem__(4, 1e-5))
    assert validate(folder).problems == []
    rewrite(folder, PAGES, lambda columns: columns["remainder"].__setitem__(4, 2e-4))
    (problem,) = validate(folder).problems
    assert "remainder is 0.0002, but its points and form differ by" in problem


@pytest.mark.parametrize("full", [32766, 32768, 16384])
def test_another_integer_for_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    def wrong(values: Any, dtype: Any = np.int16, _: int = 0) -> Any:
        return quantise.quantise(values, dtype, full)

    monkeypatch.setattr(tables, "quantise", wrong)
    tiny_atlas(tmp_path, [tiny_page()])
    problems = validate(tmp_path).problems
    assert any("but its scale stands for 32767" in problem for problem in problems)


@pytest.mark.parametrize("half", [False, True])
def test_a_form_without_its_cross_terms_or_with_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    right = tables._points_columns

    def wrong(all_points: Any) -> dict[str, Any]:
        forms = [np.diag(np.diag(p.form)) * (1 if half else 2) for p in all_points]
        return right(all_points) | {"form": [form.ravel() for form in forms]}

    monkeypatch.setattr(tables, "_points_columns", wrong)
    tiny_atlas(tmp_path, [tiny_page()])
    assert any("do not belong together" in problem for problem in validate(tmp_path).problems)


def set_(name: str, row: int, place: int, value: Any) -> Callable[[Columns], object]:
    return lambda columns: columns[name][row].__setitem__(place, value)


CHANGES: list[tuple[str, Callable[[Columns], object], str]] = [
    (PAGES, set_("form", 1, 1, 0.5), "form is not symmetric"),
    (PAGES, set_("form", 1, 0, float("nan")), "form is not finite"),
    (PAGES, set_("linear", 1, 0, 3.0), "do not belong together"),
    (PAGES, lambda c: c["constant"].__setitem__(0, 2.0), "do not belong together"),
    (PAGES, lambda c: c["remainder"].__setitem__(4, 0.5), "remainder is 0.5, but its points"),
    (PAGES, lambda c: c["spectrum"][0].reverse(), "largest |λ| first"),
    (PAGES, lambda c: c["spectrum"][0].extend([0.0] * 60), "more than 64 numbers"),
    (PAGES, set_("scale", 0, 2, 0.0), "axis 2 of coordinates has the scale 0"),
    (PAGES, lambda c: c["value_scale"].__setitem__(0, -1.0), "value has the scale -1"),
    (PAGES, lambda c: c["value"].__setitem__(0, [0] * 8), "value goes up to 0, but"),
    (PAGES, set_("histogram_edges", 0, 0, float("-inf")), "histogram_edges is not finite"),
    (PAGES, lambda c: c["histogram_counts"][0].pop(), "histogram has not one more edge"),
    (PAGES, set_("row", 0, 0, 256), "a row of a point is not below 256"),
    (PAGES, set_("axis_kind", 0, 0, 3), "axis_kind is unknown"),
    (PAGES, lambda c: c["contexts"][2][1].update(row=255), "is outside its window"),
    (PAGES, lambda c: c["contexts"][2][1]["values"].__setitem__(0, float("nan")),
     "values of one of its contexts is not finite"),
    (PAGES, lambda c: c["contexts"][2][1].update(value=float("nan")),
     "value of one of its contexts is not finite"),
    (PAGES, lambda c: c["neighbours"][2][1].update(overlap=float("inf")),
     "overlap of one of its neighbours is not finite"),
    (PAGES, lambda c: c["neighbours"][2][1].update(id=999), "refers to form 999 in its neighbours"),
    (PAGES, lambda c: c["scores"][2][1].update(z=float("nan")), "z of one of its scores"),
    (PAIRS, lambda c: c["overlap"].__setitem__(1, float("nan")), "overlap is not finite"),
    (PAIRS, lambda c: c["remainder"].__setitem__(1, 9.0), "remainder is 9, but its points"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change", "message"), CHANGES)
def test_a_change_of_one_form_is_found_and_nothing_else(
    folder: Path, path: str, change: Callable[[Columns], object], message: str
) -> None:
    rewrite(folder, path, change)
    problems = validate(folder).problems
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{path}: form ")
    assert message in problems[0]


def popped(columns: Columns) -> None:
    for column in columns.values():
        column.pop()


def repeated(columns: Columns) -> None:
    columns["id"][3] = columns["id"][2]


OTHERS: list[tuple[str, Callable[[Columns], object], list[str]]] = [
    ("forms.arrow", popped, ["forms.arrow: has 9 rows, expected 10"]),
    ("forms.arrow", repeated, ["forms.arrow: form 8 is listed 2 times", "row 3 is form 10,"]),
    ("forms.arrow", lambda c: c["density"].__setitem__(4, float("inf")),
     ["forms.arrow: form 18: density is infinite"]),
    ("forms.arrow", lambda c: c["shape"].__setitem__(4, 5), ["form 18: shape is unknown"]),
    ("labels.arrow", popped, ["labels.arrow: has 9 rows, expected 10"]),
    ("labels.arrow", set_("members", 3, 0, 500), ["row 3: refers to form 500 in its members"]),
    ("labels.arrow", set_("weights", 3, 0, float("nan")), ["row 3: weights is not finite"]),
    (PAGES, popped, ["pages/00000.arrow: has 6 rows, expected 7"]),
    (PAGES, lambda c: c["id"].reverse(), ["pages/00000.arrow: row 0 is form"]),
    (PAIRS, popped, ["pairs/00000.arrow: has 6 rows, expected 7"]),
    ("controls.arrow", popped, ["controls.arrow: has 1 rows, expected 2"]),
    ("controls.arrow", lambda c: c["remainder"].__setitem__(0, 5.0), ["row 0: remainder is 5"]),
    ("tokens/00000.arrow", popped, ["tokens/00000.arrow: has 255 rows, expected 256"]),
    ("vocabulary.arrow", popped, ["token 1011 occurs in tokens/ but has no text"]),
    ("vocabulary.arrow", lambda c: [column.reverse() for column in c.values()],
     ["vocabulary.arrow: ids do not rise"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change", "messages"), OTHERS)
def test_a_change_of_a_table_is_found(
    folder: Path, path: str, change: Callable[[Columns], object], messages: list[str]
) -> None:
    rewrite(folder, path, change)
    problems = validate(folder).problems
    for message in messages:
        assert any(message in problem for problem in problems), problems


def test_points_of_a_pair_are_those_of_its_page(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "a", forms=3, points=20, comparison=True)
    write_synthetic(tmp_path / "b", forms=3, points=21, comparison=True)
    shutil.copy(tmp_path / "b" / PAIRS, tmp_path / "a" / PAIRS)
    relist(tmp_path / "a")
    problems = validate(tmp_path / "a").problems
    assert len(problems) == 3
    assert all("has 21 points, its page 20" in problem for problem in problems)


@pytest.mark.parametrize("path", ["forms.arrow", "labels.arrow", PAGES, "pages/00001.arrow", PAIRS,
                                  "controls.arrow", "tokens/00000.arrow", "vocabulary.arrow",
                                  "files.arrow"])  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "truncated", "noise"])
def test_without_a_file_the_rest_is_still_checked(folder: Path, path: str, damage: str) -> None:
    content = (folder / path).read_bytes()
    if damage == "missing":
        (folder / path).unlink()
    elif damage == "truncated":
        (folder / path).write_bytes(content[:-100])
    else:
        (folder / path).write_bytes(bytes(reversed(content)))
    rewrite_other = "pages/00001.arrow" if path == PAGES else PAGES
    table = read_arrow(folder / rewrite_other).to_pydict()
    problems_before = validate(folder).problems
    assert problems_before
    assert all(problem.startswith(f"{path}: ") for problem in problems_before), problems_before
    assert all("\n" not in problem for problem in problems_before)
    _spoil(folder / rewrite_other, table)
    more = set(validate(folder).problems) - set(problems_before)
    assert any(f"{rewrite_other}: form" in problem and "remainder" in problem for problem in more)


def _spoil(path: Path, columns: Columns) -> None:
    columns["remainder"][0] = 7.0
    schema = read_arrow(path).schema
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    with pa.ipc.new_file(str(path), schema) as file:
        file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def test_one_changed_byte_is_seen(folder: Path) -> None:
    content = bytearray((folder / "vocabulary.arrow").read_bytes())
    content[content.index(b"img src")] ^= 1
    (folder / "vocabulary.arrow").write_bytes(content)
    assert validate(folder).problems == [
        "vocabulary.arrow: was changed: its SHA-256 is not the listed one"
    ]


def listing(change: Callable[[Columns], object], folder: Path) -> list[str]:
    """Problems after a change of files.arrow itself."""
    table = read_arrow(folder / "files.arrow")
    columns = table.to_pydict()
    change(columns)
    arrays = [pa.array(columns[f.name], f.type) for f in table.schema]
    with pa.ipc.new_file(str(folder / "files.arrow"), table.schema) as file:
        file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
    return validate(folder).problems


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "/etc/passwd",
        "pages/../../secret",
        "pages/../labels.arrow",
        "C:\\secret",
        "..",
        "",
        "link/x",
    ],
)
def test_nothing_outside_the_folder_is_opened(folder: Path, path: str) -> None:
    (folder.parent / "secret").write_text("x")
    (folder / "link").symlink_to(folder.parent)

    def add(columns: Columns) -> None:
        columns["path"].append(path)
        columns["bytes"].append(1)
        columns["sha256"].append("0")

    problems = listing(add, folder)
    assert problems == [f"files.arrow: lists {path!r}, which is not inside the atlas's folder"]


def test_files_twice_missing_from_the_list_or_left_over(folder: Path) -> None:
    def twice(columns: Columns) -> None:
        for column in columns.values():
            column.append(column[3])

    assert listing(twice, folder) == ["files.arrow: lists 'labels.arrow' twice"]

    def dropped(columns: Columns) -> None:
        for column in columns.values():
            column.pop()
            del column[3]

    assert listing(dropped, folder) == ["labels.arrow: is not listed in files.arrow"]
    (folder / "pages/00002.arrow").write_text("left over")
    assert "pages/00002.arrow: is in the folder but not listed in files.arrow" in (
        validate(folder).problems
    )


def test_a_wrong_size_is_told_apart_from_wrong_content(folder: Path) -> None:
    with (folder / "atlas.json").open("a") as file:
        file.write("\n")
    assert validate(folder).problems == ["atlas.json: has 1,420 bytes, expected 1,419"]


def test_a_manifest_that_promises_too_much_is_answered_soon(folder: Path) -> None:
    value = json.loads((folder / "atlas.json").read_text()) | {"forms": 2**32, "shard_size": 1}
    (folder / "atlas.json").write_text(json.dumps(value))
    problems = validate(folder).problems
    assert any("forms.arrow: has 10 rows, expected 4294967296" in each for each in problems)
    (folder / "forms.arrow").unlink()
    assert any("forms.arrow: is missing" in each for each in validate(folder).problems)


def test_without_a_manifest_nothing_can_be_told(folder: Path) -> None:
    (folder / contract.MANIFEST).unlink()
    with pytest.raises(QuadricError, match="is not an atlas"):
        validate(folder)


def test_images_that_a_page_shows_must_be_there(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER / "image", tmp_path / "a"))
    shown = read_arrow(folder / "pixels/00000.arrow")["row"].to_pylist()

    def drop(columns: Columns) -> None:
        for column in columns.values():
            del column[2]

    rewrite(folder, "pixels/00000.arrow", drop)
    assert validate(folder).problems == [
        f"pixels/00000.arrow: row {shown[2]} is shown by a page but has no image"
    ]
    (folder / "pixels/00000.arrow").unlink()
    relist(folder)
    assert validate(folder).problems == ["pixels/00000.arrow: is missing"]
