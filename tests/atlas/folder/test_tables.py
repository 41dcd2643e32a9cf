"""Records as tables and back: every number where the contract says."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadric.atlas import contract
from quadric.atlas.contract import FULL
from quadric.atlas.folder import tables
from quadric.atlas.records import Control, FormPoints, Page
from tests.atlas.tiny import tiny_page, tiny_pair, tiny_points, tiny_row


def one(table: pa.RecordBatch, name: str) -> np.ndarray:
    return np.array(table.column(name)[0].as_py())


def same_points(found: FormPoints, given: FormPoints) -> None:
    """Equal, as far as the integers allow."""
    step = np.abs(given.coordinates).max(axis=0) / 65534 * (1 + 1e-6)
    assert (np.abs(found.coordinates - given.coordinates) <= step).all()
    assert np.abs(found.value - given.value).max() <= np.abs(given.value).max() / 65534 * 1.000001
    assert found.form == pytest.approx(given.form, rel=1e-6)
    assert found.linear == pytest.approx(given.linear, rel=1e-6)
    assert found.constant == pytest.approx(given.constant, rel=1e-6)
    assert found.spectrum == pytest.approx(given.spectrum, rel=1e-6)
    assert list(found.axis_kind) == list(given.axis_kind)


def test_columns_of_points_are_laid_out_as_the_contract_says() -> None:
    points = tiny_points(n=7, r=3)
    table = tables.pages_table([tiny_page(points=points)], images=False)
    scale, n = one(table, "scale"), 7
    assert scale == pytest.approx(np.abs(points.coordinates).max(axis=0))
    coordinates = one(table, "coordinates")
    for k in range(3):
        for i in range(n):
            expected = round(points.coordinates[i, k] / scale[k] * FULL)
            assert coordinates[k * n + i] == expected
    for j in range(3):
        for k in range(3):
            assert one(table, "form")[3 * j + k] == pytest.approx(points.form[j, k])
    value_scale = one(table, "value_scale")
    assert value_scale == pytest.approx(np.abs(points.value).max())
    assert one(table, "value")[4] == round(points.value[4] / value_scale * FULL)
    assert table.column("axes")[0].as_py() == 3
    kinds = [contract.AXIS_KINDS[code] for code in one(table, "axis_kind")]
    assert kinds == list(points.axis_kind)


def test_the_remainder_is_what_the_slice_leaves_out() -> None:
    points = tiny_points(n=7, r=3)
    total = 0.0
    for p, value in zip(points.coordinates, points.value, strict=True):
        slice_ = points.constant
        for j in range(3):
            slice_ += points.linear[j] * p[j]
            for k in range(3):
                slice_ += points.form[j, k] * p[j] * p[k]
        total += (value - slice_) ** 2
    expected = math.sqrt(total / 7)
    assert expected > 1
    assert tables.remainder(points) == pytest.approx(expected)
    stored = one(tables.pages_table([tiny_page(points=points)], images=False), "remainder")
    assert stored == pytest.approx(expected)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_pages_of_any_sizes_read_back(sizes: list[tuple[int, int]], seed: int) -> None:
    pages = [
        tiny_page(id=i, seed=seed, points=tiny_points(n, r, seed + i), ring_plane=None)
        for i, (n, r) in enumerate(sizes)
    ]
    table = tables.pages_table(pages, images=False)
    for i, page in enumerate(pages):
        found = tables.page_at(table, i)
        assert found.id == i
        same_points(found.points, page.points)
        assert found.rows.tolist() == page.rows.tolist()
        assert found.present.tolist() == page.present.tolist()


def test_everything_beside_the_points_reads_back() -> None:
    bare = Page(id=8, points=tiny_points(2, 1), rows=np.array([0, 1]), present=np.array([True] * 2))
    given = [bare, tiny_page(), tiny_page(id=9, contexts=[], scores=[])]
    table = tables.pages_table(given, images=False)
    found = [tables.page_at(table, i) for i in range(3)]
    for page, expected in zip(found, given, strict=True):
        assert page.ring_plane == expected.ring_plane
        assert page.histogram_edges.tolist() == expected.histogram_edges.tolist()
        assert page.histogram_counts.tolist() == expected.histogram_counts.tolist()
        assert list(page.neighbours) == list(expected.neighbours)
        assert list(page.scores) == list(expected.scores)
        assert page.images is None
        for context, was in zip(page.contexts, expected.contexts, strict=True):
            assert (context.kind, context.row, context.start) == (was.kind, was.row, was.start)
            assert context.values.tolist() == was.values.tolist()
            assert context.value == was.value
    values = [context["value"] for context in table.column("contexts")[1].as_py()]
    assert values == [3.0, 0.25]


def test_pictures_of_axes_read_back_in_their_shape() -> None:
    images = np.random.default_rng(0).normal(size=(3, 4, 5, 2)) * np.array([1, 10, 0.1])[
        :, None, None, None
    ]  # fmt: skip
    table = tables.pages_table([tiny_page(images=images), tiny_page(6)], images=True)
    found = tables.page_at(table, 0, (4, 5, 2)).images
    assert found is not None
    assert found.shape == images.shape
    step = np.abs(images).max(axis=(1, 2, 3), keepdims=True) / 254
    assert (np.abs(found - images) <= step * 1.000001).all()
    assert tables.page_at(table, 1, (4, 5, 2)).images is None


def test_pairs_and_controls_read_back() -> None:
    page = tiny_page()
    pair = tiny_pair(page)
    found = tables.pair_at(tables.pairs_table([pair]), 0)
    assert (found.id, found.partner, found.overlap, found.label) == (5, 3, -0.5, "twin")
    same_points(found.points, pair.points)
    control = Control(2.5, tiny_points(6, 2, seed=1))
    again = tables.control_at(tables.controls_table([tiny_control(), control]), 1)
    assert again.effective_rank == 2.5
    same_points(again.points, control.points)


def tiny_control() -> Control:
    return Control(1.5, tiny_points(4, 5, seed=2))


def test_forms_and_labels_read_back() -> None:
    rows = [
        tiny_row(3),
        tiny_row(2, kind="group", shape="blob", label="", tokens=[], members=[9], weights=[0.5]),
        tiny_row(1, statistics={}, x=1.0, y=-1.0),
    ]
    forms = tables.forms_table(rows, ["density", "rank"])
    labels = tables.labels_table(rows)
    assert forms.schema.names[-2:] == ["density", "rank"]
    assert forms.column("x").to_pylist() == [-16384, -16384, FULL]
    for i, row in enumerate(rows):
        found = tables.form_at(forms, labels, i)
        assert found.x == pytest.approx(row.x, abs=1 / 65534)
        assert found.statistics["density"] == pytest.approx(
            row.statistics.get("density", math.nan), nan_ok=True
        )
        assert math.isnan(found.statistics["rank"])
        for name in ("id", "kind", "shape", "positive", "negative", "label", "written_label",
                     "quadric", "tokens", "members", "weights"):  # fmt: skip
            assert getattr(found, name) == getattr(row, name), name


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    rows = [tiny_row(1, label="day \ud83d"), tiny_row(2, tokens=["\ude42", "\U0001f642"])]
    labels = tables.labels_table(rows)
    assert labels.column("label").to_pylist() == ["day \ufffd", rows[1].label]
    assert labels.column("tokens")[1].as_py() == ["\ufffd", "\U0001f642"]


@pytest.mark.parametrize("images", [False, True])
def test_tables_have_the_schemas_of_the_contract(images: bool) -> None:
    page = tiny_page()
    pages = tables.pages_table([page], images=images)
    assert pages.schema.equals(contract.pages_schema(images=images))
    pages.validate(full=True)
    for table, schema in [
        (tables.pairs_table([tiny_pair(page)]), contract.pairs_schema()),
        (tables.controls_table([tiny_control()]), contract.controls_schema()),
        (tables.tokens_table(np.array([0, 70_000]), 70_001), contract.tokens_schema(70_001)),
        (tables.vocabulary_table(np.array([1]), ["a"]), contract.vocabulary_schema()),
        (tables.pixels_table(np.array([4]), np.zeros((1, 6), np.uint8)), contract.pixels_schema(6)),
        (tables.files_table([("a", 1, "b")]), contract.files_schema()),
    ]:
        assert table.schema.equals(schema)
        table.validate(full=True)
