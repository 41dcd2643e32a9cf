"""Whether the records given to the writer can be stored: shapes, ranges, finite numbers.

Every function raises a QuadricError that names the form and the value; nothing is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quadric.atlas.contract import (
    AXIS_KINDS,
    CONTEXT_KINDS,
    KINDS,
    MOST_AXES,
    MOST_EIGENVALUES,
    SHAPES,
    Manifest,
)
from quadric.atlas.records import Context, Control, FormPoints, FormRow, Page, Pair
from quadric.errors import QuadricError, nearest

LARGEST_ID = 2**32 - 1
LARGEST_FLOAT = float(np.finfo(np.float32).max)


def check_page(page: Page, manifest: Manifest) -> None:
    """Raise unless ``page`` can be a row of pages/."""
    where = f"form {page.id}"
    _number(where, "id", page.id, LARGEST_ID)
    _check_points(where, page.points)
    n, r = page.points.coordinates.shape
    _shaped(where, "rows", page.rows, (n,))
    _shaped(where, "present", page.present, (n,))
    if page.rows.min() < 0 or page.rows.max() >= manifest.rows:
        worst = page.rows[(page.rows < 0) | (page.rows >= manifest.rows)][0]
        raise QuadricError(f"{where}: row {worst} of a point is not in 0 … {manifest.rows - 1}")
    if page.ring_plane is not None:
        a, b = page.ring_plane
        if a == b or not (0 <= a < r and 0 <= b < r):
            raise QuadricError(f"{where}: ring_plane is {(a, b)}, expected two of its {r} axes")
    edges, counts = np.asarray(page.histogram_edges), np.asarray(page.histogram_counts)
    if len(edges) or len(counts):
        _shaped(where, "histogram_counts", counts, (len(edges) - 1,))
        _finite(where, "histogram_edges", edges)
        if (np.diff(edges) <= 0).any() or (counts < 0).any():
            raise QuadricError(f"{where}: histogram edges must rise and its counts be at least 0")
    for context in page.contexts:
        _check_context(where, context, manifest)
    for near in page.neighbours:
        _number(where, "neighbour", near.id, LARGEST_ID)
        _number(where, "measure", near.measure, len(manifest.measures) - 1)
        if not near.overlap <= 1.001 or near.overlap == -np.inf:
            raise QuadricError(
                f"{where}: overlap with form {near.id} is {near.overlap}, expected at most 1"
            )
    for score in page.scores:
        numbers = [score.value, score.mean, score.sd, score.z, score.p_value]
        _finite(where, f"score {score.name!r} against {score.null!r}", np.array(numbers))
        _number(where, "draws", score.draws, LARGEST_ID)
    if page.images is not None:
        if manifest.image_shape is None:
            raise QuadricError(f"{where}: has images, but the atlas is of {manifest.modality}")
        _shaped(where, "images", page.images, (r, *manifest.image_shape))
        _finite(where, "images", page.images)


def check_pair(pair: Pair, page: Page) -> None:
    """Raise unless ``pair`` can stand beside ``page``."""
    where = f"pair of form {pair.id}"
    if pair.id != page.id:
        raise QuadricError(f"{where} was given with the page of form {page.id}")
    _number(where, "partner", pair.partner, LARGEST_ID)
    if not abs(pair.overlap) <= 1.001:
        raise QuadricError(f"{where}: overlap is {pair.overlap}, expected −1 … 1")
    _check_points(where, pair.points)
    here, there = len(page.points.value), len(pair.points.value)
    if here != there:
        raise QuadricError(f"{where} has {there} points, its form {here}: they must be the same")


def check_control(number: int, control: Control) -> None:
    """Raise unless ``control`` can be a row of controls.arrow."""
    _finite(f"control {number}", "effective_rank", np.array(control.effective_rank))
    _check_points(f"control {number}", control.points)


def check_rows(rows: Sequence[FormRow], ids: Sequence[int], names: Sequence[str]) -> None:
    """Raise unless ``rows`` are of the forms ``ids``, in that order, with the statistics named."""
    if len(rows) != len(ids):
        raise QuadricError(f"{len(ids)} pages were added, but {len(rows)} rows are given")
    known = set(names)
    for row, expected in zip(rows, ids, strict=True):
        where = f"form {row.id}"
        if row.id != expected:
            raise QuadricError(f"{where} is where form {expected} was expected: order as the pages")
        for name, value, words in (("kind", row.kind, KINDS), ("shape", row.shape, SHAPES)):
            if value not in words:
                hint = nearest(value, words)
                raise QuadricError(f"{where}: {name} is {value!r}, expected one of {words}{hint}")
        if not (abs(row.x) <= 1 and abs(row.y) <= 1):
            raise QuadricError(f"{where}: its place is ({row.x}, {row.y}), expected −1 … 1")
        _number(where, "positive", row.positive, 2**16 - 1)
        _number(where, "negative", row.negative, 2**16 - 1)
        if unknown := sorted(row.statistics.keys() - known):
            hint = nearest(unknown[0], known)
            raise QuadricError(f"{where}: unknown statistic {unknown[0]!r}{hint}")
        if len(row.members) != len(row.weights):
            raise QuadricError(
                f"{where}: {len(row.members)} members but {len(row.weights)} weights"
            )
        for member in row.members:
            _number(where, "member", member, LARGEST_ID)
        _finite(where, "weights", np.asarray(row.weights, dtype=float))


def _check_points(where: str, points: FormPoints) -> None:
    if points.coordinates.ndim != 2:
        raise QuadricError(f"{where}: coordinates has shape {points.coordinates.shape}, not (n, r)")
    n, r = points.coordinates.shape
    if not n:
        raise QuadricError(f"{where}: it has no points")
    if not 1 <= r <= MOST_AXES:
        raise QuadricError(f"{where}: it has {r} axes, expected 1 to {MOST_AXES}")
    _shaped(where, "value", points.value, (n,))
    _shaped(where, "form", points.form, (r, r))
    _shaped(where, "linear", points.linear, (r,))
    if len(points.spectrum) > MOST_EIGENVALUES or points.spectrum.ndim != 1:
        raise QuadricError(
            f"{where}: its spectrum has shape {points.spectrum.shape}, "
            f"expected at most {MOST_EIGENVALUES} eigenvalues"
        )
    for name in ("spectrum", "form", "linear", "constant", "coordinates", "value"):
        _finite(where, name, np.asarray(getattr(points, name)))
    magnitude = np.abs(points.spectrum).astype(np.float32)
    if (magnitude[1:] > magnitude[:-1]).any():
        raise QuadricError(f"{where}: its spectrum does not have the largest |λ| first")
    asymmetry = np.abs(points.form - points.form.T).max()
    if asymmetry > 1e-4 * np.abs(points.form).max():
        raise QuadricError(f"{where}: its form is not symmetric (by {asymmetry:.3g})")
    if len(points.axis_kind) != r or not set(points.axis_kind) <= set(AXIS_KINDS):
        raise QuadricError(
            f"{where}: axis_kind is {tuple(points.axis_kind)}, expected {r} of {AXIS_KINDS}"
        )


def _check_context(where: str, context: Context, manifest: Manifest) -> None:
    if context.kind not in CONTEXT_KINDS:
        hint = nearest(context.kind, CONTEXT_KINDS)
        raise QuadricError(f"{where}: a context's kind is {context.kind!r}{hint}")
    stop = context.start + len(context.values)
    window = f"the window {context.start} … {stop - 1}"
    if not context.start <= context.row < stop:
        raise QuadricError(f"{where}: row {context.row} of a context is outside {window}")
    if context.start < 0 or stop > manifest.rows:
        raise QuadricError(f"{where}: {window} is not in 0 … {manifest.rows - 1}")
    if context.start // manifest.context_size != (stop - 1) // manifest.context_size:
        raise QuadricError(
            f"{where}: {window} crosses a border between contexts of {manifest.context_size} rows"
        )
    _finite(where, f"a context's values at row {context.start}", context.values)


def _shaped(where: str, name: str, array: Any, shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise QuadricError(f"{where}: {name} has shape {np.shape(array)}, expected {shape}")


def _number(where: str, name: str, value: int, largest: int) -> None:
    if not 0 <= value <= largest:
        raise QuadricError(f"{where}: {name} is {value}, expected 0 … {largest}")


def _finite(where: str, name: str, array: Any) -> None:
    # Tables hold float32: a value beyond its range would be stored as infinity.
    magnitude = np.abs(array)
    if magnitude.size and not magnitude.max() <= LARGEST_FLOAT:
        raise QuadricError(f"{where}: {name} is not finite (in float32)")
