"""Whether the numbers of a table are what the contract says: finite, in honest units, consistent.

``number_faults(table)`` is for tables whose rows passed ``rows.row_faults``. The central one: a
form's slice pᵀAp + b·p + c, computed again from the stored integers, must differ from the stored
values by the stored remainder, as far as their rounding lets one tell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from quadric.atlas.contract import FULL
from quadric.atlas.folder.checks.rows import each_row, items_broken, name_of
from quadric.atlas.folder.tables import points_at, slice_values

EPSILON = float(np.finfo(np.float32).eps)


def number_faults(table: pa.RecordBatch) -> Iterator[str]:
    """One line for every row and rule that it breaks; consistency is judged of sound numbers."""
    faults = [fault for field in table.schema for fault in _finite(table, field.name)]
    yield from faults
    if "axes" not in table.schema.names or faults:
        return
    for i in range(table.num_rows):
        faults = list(_form_faults(table, i)) or list(_remainder_faults(table, i))
        yield from (f"{name_of(table, i)}: {fault}" for fault in faults)


def _finite(table: pa.RecordBatch, name: str) -> Iterator[str]:
    column = table.column(name)
    inner = column.type.value_type if pa.types.is_list(column.type) else column.type
    if pa.types.is_floating(column.type):
        yield from each_row(table, ~np.isfinite(column.to_numpy()), f"{name} is not finite")
    elif pa.types.is_floating(inner):
        broken = ~np.isfinite(column.flatten().to_numpy())
        yield from each_row(table, items_broken(column, broken), f"{name} is not finite")
    elif pa.types.is_struct(inner):
        records = column.flatten()
        for field in inner:
            values = records.field(field.name)
            if pa.types.is_list(field.type):
                broken = items_broken(values, ~np.isfinite(values.flatten().to_numpy()))
            elif pa.types.is_floating(field.type):
                broken = ~np.isfinite(values.to_numpy())
            else:
                continue
            rule = f"{field.name} of one of its {name} is not finite"
            yield from each_row(table, items_broken(column, broken), rule)


def _form_faults(table: pa.RecordBatch, i: int) -> Iterator[str]:
    whole = table.column("coordinates")[i].values.to_numpy()
    scale = table.column("scale")[i].values.to_numpy()
    value, value_scale = table.column("value")[i].values.to_numpy(), table.column("value_scale")[i]
    axes = whole.reshape(len(scale), -1)
    for k, (numbers, unit) in enumerate(zip(axes, scale, strict=True)):
        if fault := _scale_fault(numbers, float(unit)):
            yield f"axis {k} of coordinates {fault}"
    if fault := _scale_fault(value, value_scale.as_py()):
        yield f"value {fault}"
    form = table.column("form")[i].values.to_numpy().reshape(len(scale), -1)
    if not (form == form.T).all():
        yield "form is not symmetric"
    magnitude = np.abs(table.column("spectrum")[i].values.to_numpy())
    if (magnitude[1:] > magnitude[:-1]).any():
        yield "spectrum does not have the largest |λ| first"


def _remainder_faults(table: pa.RecordBatch, i: int) -> Iterator[str]:
    stored = table.column("remainder")[i].as_py()
    found, tolerance = _remainder(table, i)
    if not abs(found - stored) <= tolerance:
        yield (
            f"remainder is {stored:.6g}, but its points and form differ by {found:.6g} "
            f"(± {tolerance:.2g}): coordinates, form and values do not belong together"
        )


def _scale_fault(numbers: np.ndarray, scale: float) -> str | None:
    """What is wrong with integers: the largest must be FULL, or all of them 0 and the scale 1."""
    if not scale > 0:
        return f"has the scale {scale}"
    largest = int(np.abs(numbers.astype(np.int32)).max())
    if largest == FULL or (largest == 0 and scale == 1):
        return None
    return f"goes up to {largest}, but its scale stands for {FULL}"


def _remainder(table: pa.RecordBatch, i: int) -> tuple[float, float]:
    """The remainder by the stored integers, and how far rounding may have moved it.

    Rounding moves a coordinate by at most d = scale/(2·FULL), so f by at most |2Ap + b|·d + dᵀ|A|d;
    the stored value moves likewise, and A, b and c are float32. A root mean square moves by at
    most the root mean square of these.
    """
    points = points_at(table, i)
    d: Float[np.ndarray, " r"] = table.column("scale")[i].values.to_numpy() / (2.0 * FULL)
    p, absolute = points.coordinates, np.abs(points.coordinates)
    a, b = np.abs(points.form), np.abs(points.linear)
    slope = np.abs(2 * p @ points.form + points.linear)
    moved = slope @ d + d @ a @ d + table.column("value_scale")[i].as_py() / (2 * FULL)
    size = ((absolute @ a + b) * absolute).sum(axis=1) + abs(points.constant)
    moved = moved + EPSILON * (size + np.abs(points.value))
    found = float(np.sqrt(np.mean((points.value - slice_values(points)) ** 2)))
    return found, float(np.sqrt(np.mean(moved**2))) + EPSILON * found
