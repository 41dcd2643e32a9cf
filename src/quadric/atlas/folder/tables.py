"""Records as the tables of the contract, and rows of those tables as records again.

Writing goes table by table (``pages_table(pages)``), reading row by row (``page_at(table, i)``).
Numbers are put into columns as whole numpy arrays, so that 100,000 pages take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt8

from quadric.atlas import contract
from quadric.atlas.contract import AXIS_KINDS, CONTEXT_KINDS, DRAWN, FULL, KINDS, SHAPES
from quadric.atlas.folder.quantise import quantise, restore
from quadric.atlas.records import (
    Context,
    Control,
    FormPoints,
    FormRow,
    Neighbour,
    NullScore,
    Page,
    Pair,
)

IMAGE_FULL = 127
"""The integer that ``image_scale`` stands for."""


def remainder(points: FormPoints) -> float:
    """Root mean square over the points of value − (pᵀAp + b·p + c)."""
    return float(np.sqrt(np.mean((points.value - slice_values(points)) ** 2)))


def slice_values(points: FormPoints) -> Float[np.ndarray, " n"]:
    """The slice pᵀAp + b·p + c at every point, in float64."""
    p = points.coordinates.astype(np.float64)
    curved: Float[np.ndarray, " n"] = ((p @ points.form + points.linear) * p).sum(axis=1)
    return curved + points.constant


def forms_table(rows: Sequence[FormRow], statistics: Sequence[str]) -> pa.RecordBatch:
    """forms.arrow."""
    place = np.array([(row.x, row.y) for row in rows]).reshape(-1, 2)
    x, y = np.rint(place * FULL).astype(np.int16).T
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "kind": [KINDS.index(row.kind) for row in rows],
        "shape": [SHAPES.index(row.shape) for row in rows],
        "x": np.ascontiguousarray(x),
        "y": np.ascontiguousarray(y),
        "positive": [row.positive for row in rows],
        "negative": [row.negative for row in rows],
    }
    for name in statistics:
        values = [row.statistics.get(name, np.nan) for row in rows]
        columns[name] = np.array(values, dtype=np.float32)
    return _table(contract.forms_schema(list(statistics)), columns)


def labels_table(rows: Sequence[FormRow]) -> pa.RecordBatch:
    """labels.arrow."""
    columns = {
        "label": [row.label for row in rows],
        "written_label": [row.written_label for row in rows],
        "tokens": [list(row.tokens) for row in rows],
        "quadric": [row.quadric for row in rows],
        "members": [np.asarray(row.members, dtype=np.uint32) for row in rows],
        "weights": [np.asarray(row.weights, dtype=np.float32) for row in rows],
    }
    return _table(contract.labels_schema(), columns)


def pages_table(pages: Sequence[Page], *, images: bool) -> pa.RecordBatch:
    """One file of pages/."""
    columns = {
        "id": [page.id for page in pages],
        **_points_columns([page.points for page in pages]),
        "row": [page.rows for page in pages],
        "drawn": [
            np.where(page.present, DRAWN.index("present"), DRAWN.index("random")) for page in pages
        ],
        "ring_plane": [np.asarray(page.ring_plane or (), dtype=np.uint8) for page in pages],
        "histogram_edges": [page.histogram_edges for page in pages],
        "histogram_counts": [page.histogram_counts for page in pages],
        "contexts": [page.contexts for page in pages],
        "neighbours": [page.neighbours for page in pages],
        "scores": [page.scores for page in pages],
    }
    if images:
        pictures = [_quantised_images(page) for page in pages]
        columns["images"] = [whole for whole, _ in pictures]
        columns["image_scale"] = [scale for _, scale in pictures]
    return _table(contract.pages_schema(images=images), columns)


def pairs_table(pairs: Sequence[Pair]) -> pa.RecordBatch:
    """One file of pairs/."""
    columns = {
        "id": [pair.id for pair in pairs],
        "partner": [pair.partner for pair in pairs],
        "overlap": [pair.overlap for pair in pairs],
        "label": [pair.label for pair in pairs],
        **_points_columns([pair.points for pair in pairs]),
    }
    return _table(contract.pairs_schema(), columns)


def controls_table(controls: Sequence[Control]) -> pa.RecordBatch:
    """controls.arrow."""
    columns = {
        "effective_rank": [control.effective_rank for control in controls],
        **_points_columns([control.points for control in controls]),
    }
    return _table(contract.controls_schema(), columns)


def tokens_table(ids: Int[np.ndarray, " n"], vocabulary: int) -> pa.RecordBatch:
    """One file of tokens/."""
    return _table(contract.tokens_schema(vocabulary), {"token": ids})


def vocabulary_table(ids: Int[np.ndarray, " n"], texts: Sequence[str]) -> pa.RecordBatch:
    """vocabulary.arrow."""
    return _table(contract.vocabulary_schema(), {"id": ids, "text": texts})


def pixels_table(rows: Int[np.ndarray, " m"], images: UInt8[np.ndarray, "m p"]) -> pa.RecordBatch:
    """One file of pixels/."""
    columns = {"row": rows, "pixels": images}
    return _table(contract.pixels_schema(images.shape[1]), columns)


def files_table(files: Sequence[tuple[str, int, str]]) -> pa.RecordBatch:
    """files.arrow."""
    paths, sizes, hashes = map(list, zip(*files, strict=True))
    return _table(contract.files_schema(), {"path": paths, "bytes": sizes, "sha256": hashes})


def page_at(table: pa.RecordBatch, i: int, image_shape: tuple[int, int, int] | None = None) -> Page:
    """Row i of a file of pages/, in real units."""
    points = points_at(table, i)
    ring = _numbers(table, "ring_plane", i)
    return Page(
        id=table.column("id")[i].as_py(),
        points=points,
        rows=_numbers(table, "row", i).astype(np.int64),
        present=_numbers(table, "drawn", i) == DRAWN.index("present"),
        ring_plane=(int(ring[0]), int(ring[1])) if len(ring) else None,
        histogram_edges=_numbers(table, "histogram_edges", i).astype(np.float64),
        histogram_counts=_numbers(table, "histogram_counts", i).astype(np.int64),
        contexts=[
            Context(
                kind=CONTEXT_KINDS[context["kind"]],  # type: ignore[arg-type]
                row=context["row"],
                start=context["start"],
                values=np.array(context["values"]),
            )
            for context in table.column("contexts")[i].as_py()
        ],
        neighbours=[Neighbour(**near) for near in table.column("neighbours")[i].as_py()],
        scores=[NullScore(**score) for score in table.column("scores")[i].as_py()],
        images=_images_at(table, i, image_shape),
    )


def pair_at(table: pa.RecordBatch, i: int) -> Pair:
    """Row i of a file of pairs/, in real units."""
    values = {name: table.column(name)[i].as_py() for name in ("id", "partner", "overlap", "label")}
    return Pair(**values, points=points_at(table, i))


def control_at(table: pa.RecordBatch, i: int) -> Control:
    """Row i of controls.arrow, in real units."""
    return Control(table.column("effective_rank")[i].as_py(), points_at(table, i))


def form_at(forms: pa.RecordBatch, labels: pa.RecordBatch, i: int) -> FormRow:
    """Row i of forms.arrow and labels.arrow together."""
    form = {name: forms.column(name)[i].as_py() for name in forms.schema.names}
    return FormRow(
        id=form.pop("id"),
        kind=KINDS[form.pop("kind")],
        shape=SHAPES[form.pop("shape")],
        x=form.pop("x") / FULL,
        y=form.pop("y") / FULL,
        positive=form.pop("positive"),
        negative=form.pop("negative"),
        statistics=form,
        **{name: labels.column(name)[i].as_py() for name in labels.schema.names},
    )


def _points_columns(all_points: Sequence[FormPoints]) -> dict[str, Any]:
    along = [quantise(points.coordinates.T) for points in all_points]
    values = [quantise(points.value) for points in all_points]
    return {
        "spectrum": [points.spectrum for points in all_points],
        "axes": [len(points.linear) for points in all_points],
        "axis_kind": [[AXIS_KINDS.index(kind) for kind in p.axis_kind] for p in all_points],
        "form": [((p.form + p.form.T) / 2).ravel() for p in all_points],
        "linear": [points.linear for points in all_points],
        "constant": [points.constant for points in all_points],
        "scale": [scale for _, scale in along],
        "value_scale": [scale for _, scale in values],
        "remainder": [remainder(points) for points in all_points],
        "coordinates": [whole.ravel() for whole, _ in along],
        "value": [whole for whole, _ in values],
    }


def points_at(table: pa.RecordBatch, i: int) -> FormPoints:
    """The form and its points in row i of any table that has them."""
    r = table.column("axes")[i].as_py()
    whole = _numbers(table, "coordinates", i).reshape(r, -1)
    value_scale = np.asarray(table.column("value_scale")[i].as_py())
    return FormPoints(
        spectrum=_numbers(table, "spectrum", i).astype(np.float64),
        axis_kind=[AXIS_KINDS[kind] for kind in _numbers(table, "axis_kind", i)],  # type: ignore[misc]
        form=_numbers(table, "form", i).astype(np.float64).reshape(r, r),
        linear=_numbers(table, "linear", i).astype(np.float64),
        constant=table.column("constant")[i].as_py(),
        coordinates=np.ascontiguousarray(restore(whole, _numbers(table, "scale", i)).T),
        value=restore(_numbers(table, "value", i), value_scale),
    )


def _quantised_images(page: Page) -> tuple[np.ndarray, np.ndarray]:
    if page.images is None:
        return np.zeros(0, np.int8), np.zeros(0, np.float32)
    whole, scale = quantise(page.images.reshape(len(page.images), -1), np.int8, IMAGE_FULL)
    return whole.ravel(), scale


def _images_at(
    table: pa.RecordBatch, i: int, shape: tuple[int, int, int] | None
) -> np.ndarray | None:
    if shape is None or not len(table.column("images")[i]):
        return None
    scale = _numbers(table, "image_scale", i)
    whole = _numbers(table, "images", i).reshape(len(scale), -1)
    return restore(whole, scale, IMAGE_FULL).reshape(len(scale), *shape)


def _numbers(table: pa.RecordBatch, name: str, i: int) -> np.ndarray:
    numbers: np.ndarray = table.column(name)[i].values.to_numpy()
    return numbers


def _table(schema: pa.Schema, columns: dict[str, Any]) -> pa.RecordBatch:
    arrays = [column_of(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def column_of(values: Any, kind: pa.DataType) -> pa.Array:
    """Rows of a column as an Arrow array: numbers, text, lists of these, or lists of records."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_flat(values, kind.value_type), type=kind)
    if pa.types.is_list(kind):
        inner = kind.value_type
        sizes = np.fromiter((len(row) for row in values), np.int64, len(values))
        offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, _flat(values, inner), type=kind)
    if pa.types.is_string(kind):
        return _texts(values)
    return pa.array(np.asarray(values).astype(kind.to_pandas_dtype()))


def _flat(rows: Sequence[Any], inner: pa.DataType) -> pa.Array:
    """The items of all rows, one after another."""
    if pa.types.is_struct(inner):
        records = [record for row in rows for record in row]
        columns = [column_of(_attribute(records, field), field.type) for field in inner]
        return pa.StructArray.from_arrays(columns, fields=list(inner))
    if pa.types.is_string(inner):
        return _texts([item for row in rows for item in row])
    numbers = [np.asarray(row) for row in rows if len(row)]
    together = np.concatenate(numbers) if numbers else np.zeros(0)
    return column_of(together, inner)


def _texts(values: Sequence[str]) -> pa.Array:
    try:
        return pa.array(values, type=pa.string())
    except UnicodeEncodeError:
        # Half a surrogate pair, as JSON allows it in a label that was cut off, is no UTF-8.
        whole = [
            value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in values
        ]
        return pa.array(whole, type=pa.string())


def _attribute(records: Iterable[Any], field: pa.Field) -> list[Any]:
    values = [getattr(record, field.name) for record in records]
    return [CONTEXT_KINDS.index(value) for value in values] if field.name == "kind" else values
