"""The Triton kernel of the reconstruction energy: Grams of one panel, used while in registers.

For rows i of a block and columns j of a span, from C_ij = Σ_b g_bi g_bj:

    K_ij / scale = A_ij B_ij + P_ij Q_ij,        A = LLᵀ, B = RRᵀ, P = LRᵀ, Q = RLᵀ,
    M = W⊙C ⊙ [[B, Q], [P, A]],      where rows and columns of left and right alternate,

or A_ij B_ij, and W⊙C⊙B beside W⊙C⊙A, for unsymmetrised atoms. W_ij = weights[max(i, j)].

This file imports triton; :func:`quadric.kernels.backend` says whether it can be used.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

_REGISTERS = 128  # of a thread's 255, for accumulators: the rest holds what feeds them


def _configurations() -> list[Any]:
    if triton.knobs.runtime.interpret:  # nothing to time
        return [triton.Config({"ROWS": 32, "COLUMNS": 16, "DEPTH": 16})]
    return [
        triton.Config(
            {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth}, num_warps=warps, num_stages=stages
        )
        for rows, columns, depth, warps, stages in (
            (128, 64, 64, 8, 3),
            (64, 128, 64, 8, 3),
            (128, 64, 32, 8, 4),
            (64, 64, 64, 4, 3),
            (64, 64, 32, 8, 3),  # for float32, whose numbers fill shared memory sooner
            (128, 128, 64, 8, 3),  # for unsymmetrised atoms
        )
    ]


def _fitting(configurations: list[Any], arguments: dict[str, Any], **more: Any) -> list[Any]:
    """Those whose accumulators fit in registers."""
    accumulators = 4 if (arguments | more)["SYMMETRIC"] else 2

    def fits(configuration: Any) -> bool:
        numbers = accumulators * configuration.kwargs["ROWS"] * configuration.kwargs["COLUMNS"]
        return bool(numbers <= _REGISTERS * 32 * configuration.num_warps)

    return [each for each in configurations if fits(each)]


@triton.jit  # type: ignore[untyped-decorator]
def _small_grams(  # type: ignore[no-untyped-def]
    left_i,
    left_j,
    in_rows,
    in_columns,
    d,
    SYMMETRIC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A, B, P and Q of one tile; the last two zero where atoms are unsymmetrised."""
    depth = tl.arange(0, DEPTH)
    a = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    b = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    p = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    q = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, d, DEPTH):
        mask_i = in_rows & (depth < d - start)[None, :]
        mask_j = in_columns & (depth < d - start)[:, None]
        l_i = tl.load(left_i + start, mask=mask_i, other=0.0)
        r_i = tl.load(left_i + start + d, mask=mask_i, other=0.0)
        l_j = tl.load(left_j + start, mask=mask_j, other=0.0)
        r_j = tl.load(left_j + start + d, mask=mask_j, other=0.0)
        a = tl.dot(l_i, l_j, a, input_precision="ieee")
        b = tl.dot(r_i, r_j, b, input_precision="ieee")
        if SYMMETRIC:
            p = tl.dot(l_i, r_j, p, input_precision="ieee")
            q = tl.dot(r_i, l_j, q, input_precision="ieee")
    return a, b, p, q


@triton.jit  # type: ignore[untyped-decorator]
def _write_products(  # type: ignore[no-untyped-def]
    products,
    a,
    b,
    p,
    q,
    c,
    rows,
    columns,
    row,
    first,
    inside_rows,
    SYMMETRIC: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One tile of M, or of W⊙C⊙B and W⊙C⊙A."""
    kind = products.dtype.element_ty
    row = row[:, None].to(tl.int64)
    if SYMMETRIC:
        pair = 2 * first + tl.arange(0, 2 * COLUMNS)[None, :]
        inside = inside_rows & (pair < 2 * columns)
        place = 2 * row * (2 * columns) + pair
        to_left = tl.join(c * b, c * q).reshape(c.shape[0], 2 * COLUMNS)
        tl.store(products + place, to_left.to(kind), mask=inside)
        to_right = tl.join(c * p, c * a).reshape(c.shape[0], 2 * COLUMNS)
        tl.store(products + place + 2 * columns, to_right.to(kind), mask=inside)
    else:
        column = first + tl.arange(0, COLUMNS)[None, :]
        inside = inside_rows & (column < columns)
        tl.store(products + row * columns + column, (c * b).to(kind), mask=inside)
        tl.store(products + (rows + row) * columns + column, (c * a).to(kind), mask=inside)


@triton.autotune(  # type: ignore[untyped-decorator]
    _configurations(),
    key=["d", "SYMMETRIC"],
    prune_configs_by={"early_config_prune": _fitting},
    restore_value=["tile"],
)
@triton.jit  # type: ignore[untyped-decorator]
def fuse_panel(  # type: ignore[no-untyped-def]
    factors,
    tile,
    weights,
    products,
    rows,
    columns,
    first_row,
    first_column,
    d,
    SYMMETRIC: tl.constexpr,
    WEIGHTED: tl.constexpr,
    WANT_G: tl.constexpr,
    WANT_FACTORS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """C in ``tile`` becomes W⊙K/scale, or C times that when no gradient is wanted; writes M."""
    program = tl.program_id(0)
    down = tl.cdiv(rows, ROWS)  # programs of one column are neighbours: they share it in the cache
    row = (program % down) * ROWS + tl.arange(0, ROWS)
    first = (program // down) * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    in_rows, in_columns = row[:, None] < rows, column[None, :] < columns
    # 64 bits: 2nd numbers can be more than 2³¹.
    left_i = factors + (first_row + row)[:, None].to(tl.int64) * (2 * d) + depth[None, :]
    left_j = factors + (first_column + column)[None, :].to(tl.int64) * (2 * d) + depth[:, None]
    a, b, p, q = _small_grams(
        left_i, left_j, in_rows, in_columns, d, SYMMETRIC, ROWS, COLUMNS, DEPTH
    )
    inside = in_rows & in_columns
    place = row[:, None].to(tl.int64) * columns + column[None, :]
    c = tl.load(tile + place, mask=inside, other=0.0).to(tl.float32)
    gram = a * b
    if SYMMETRIC:
        gram += p * q
    if WEIGHTED:
        later = tl.maximum(first_row + row[:, None], first_column + column[None, :])
        weight = tl.load(weights + later, mask=inside, other=0.0).to(tl.float32)
        c *= weight
    if WANT_FACTORS:
        _write_products(
            products, a, b, p, q, c, rows, columns, row, first, in_rows, SYMMETRIC, COLUMNS
        )
    if WANT_G:
        if WEIGHTED:
            gram *= weight
        tl.store(tile + place, gram.to(tile.dtype.element_ty), mask=inside)
    elif not WANT_FACTORS:
        tl.store(tile + place, (c * gram).to(tile.dtype.element_ty), mask=inside)
