"""Whether the rows of a table agree with each other: the lengths of their lists, and their codes.

``row_faults(table, manifest)`` looks at whole columns, so that it is quick enough to be done
whenever a file is opened. What a table needs before one of its rows can be taken apart is here;
what takes arithmetic on its numbers is in ``numbers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from quadric.atlas.contract import (
    AXIS_KINDS,
    CONTEXT_KINDS,
    DRAWN,
    KINDS,
    MOST_AXES,
    MOST_EIGENVALUES,
    SHAPES,
    Manifest,
)

_CODES = {"kind": KINDS, "shape": SHAPES, "axis_kind": AXIS_KINDS, "drawn": DRAWN}


def row_faults(table: pa.RecordBatch, manifest: Manifest) -> Iterator[str]:
    """One line for every row and rule that it breaks."""
    names = table.schema.names
    for name, words in _CODES.items():
        if name in names:
            yield from each_row(table, _worst(table, name) >= len(words), f"{name} is unknown")
    if "members" in names:
        wrong = lengths(table, "members") != lengths(table, "weights")
        yield from each_row(table, wrong, "members and weights differ in number")
    if "axes" in names:
        yield from _points(table)
    if "ring_plane" in names:
        yield from _page(table, manifest)


def lengths(table: pa.RecordBatch, name: str) -> Int[np.ndarray, " rows"]:
    """How long the list of every row is."""
    found: np.ndarray = np.diff(table.column(name).offsets.to_numpy())
    return found


def name_of(table: pa.RecordBatch, i: int | np.integer[Any]) -> str:
    """What a row is called in a message."""
    return f"form {table.column('id')[int(i)]}" if "id" in table.schema.names else f"row {i}"


def _points(table: pa.RecordBatch) -> Iterator[str]:
    r = table.column("axes").to_numpy().astype(np.int64)
    n = lengths(table, "value")
    yield from each_row(table, (r < 1) | (r > MOST_AXES), f"axes is not 1 … {MOST_AXES}")
    yield from each_row(table, n < 1, "it has no points")
    long = lengths(table, "spectrum") > MOST_EIGENVALUES
    yield from each_row(table, long, f"spectrum has more than {MOST_EIGENVALUES} numbers")
    sizes = {"axis_kind": r, "form": r * r, "linear": r, "scale": r, "coordinates": r * n}
    for name, expected in sizes.items():
        yield from _long(table, name, expected)


def _page(table: pa.RecordBatch, manifest: Manifest) -> Iterator[str]:
    r = table.column("axes").to_numpy().astype(np.int64)
    n = lengths(table, "value")
    yield from _long(table, "row", n)
    yield from _long(table, "drawn", n)
    beyond = _worst(table, "row") >= manifest.rows
    yield from each_row(table, beyond, f"a row of a point is not below {manifest.rows}")
    plane = lengths(table, "ring_plane")
    wrong = ((plane != 0) & (plane != 2)) | (_worst(table, "ring_plane") >= r)
    yield from each_row(table, wrong, "ring_plane is not two of its axes")
    edges, counts = lengths(table, "histogram_edges"), lengths(table, "histogram_counts")
    yield from each_row(
        table, counts != np.maximum(edges - 1, 0), "histogram has not one more edge"
    )
    if manifest.image_shape is not None:
        size = int(np.prod(manifest.image_shape))
        pictures = lengths(table, "image_scale")
        yield from each_row(
            table, (pictures != 0) & (pictures != r), "image_scale is not one an axis"
        )
        yield from _long(table, "images", pictures * size)
    yield from _contexts(table, manifest)
    near = table.column("neighbours")
    measures = near.flatten().field("measure").to_numpy() >= len(manifest.measures)
    yield from each_row(
        table, items_broken(near, measures), "the measure of a neighbour is unknown"
    )


def _contexts(table: pa.RecordBatch, manifest: Manifest) -> Iterator[str]:
    column = table.column("contexts")
    contexts = column.flatten()
    number = {name: contexts.field(name).to_numpy() for name in ("kind", "row", "start")}
    row, start = number["row"].astype(np.int64), number["start"].astype(np.int64)
    stop = start + np.diff(contexts.field("values").offsets.to_numpy())
    size = manifest.context_size
    rules = {
        "the kind of a context is unknown": number["kind"] >= len(CONTEXT_KINDS),
        "the row of a context is outside its window": (row < start) | (row >= stop),
        f"a context's window is not below row {manifest.rows}": stop > manifest.rows,
        "a window crosses a border between contexts": start // size != (stop - 1) // size,
    }
    for rule, broken in rules.items():
        yield from each_row(table, items_broken(column, broken), rule)


def _worst(table: pa.RecordBatch, name: str) -> Int[np.ndarray, " rows"]:
    """The largest number of every row's list, or the number itself; −1 for an empty list."""
    column = table.column(name)
    if not pa.types.is_list(column.type):
        return column.to_numpy().astype(np.int64)  # type: ignore[no-any-return]
    worst = np.full(len(column), -1, dtype=np.int64)
    owner = np.repeat(np.arange(len(column)), lengths(table, name))
    np.maximum.at(worst, owner, column.flatten().to_numpy().astype(np.int64))
    return worst


def items_broken(
    column: pa.ListArray, broken: Bool[np.ndarray, " items"]
) -> Bool[np.ndarray, " rows"]:
    """Rows with a broken item."""
    owner = np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy()))
    rows = np.zeros(len(column), dtype=bool)
    rows[owner[broken]] = True
    return rows


def _long(table: pa.RecordBatch, name: str, expected: Int[np.ndarray, " rows"]) -> Iterator[str]:
    found = lengths(table, name)
    for i in np.flatnonzero(found != expected):
        yield f"{name_of(table, i)}: {name} has {found[i]} numbers, expected {expected[i]}"


def each_row(table: pa.RecordBatch, broken: Bool[np.ndarray, " rows"], rule: str) -> Iterator[str]:
    """The rule, once for every row that breaks it."""
    for i in np.flatnonzero(broken):
        yield f"{name_of(table, i)}: {rule}"
