"""The error of sparse reconstructions on a GPU: each row reads its atoms where they stand.

The same sums as in :mod:`quadric.kernels.sparse`, without gathered copies of the atoms. Columns of
``indices`` are taken in blocks, so k is as large as it likes. A first kernel reads x with every
active atom; a second one has a program for each row and block of columns u, which meets every
block of columns v: their Grams give u's part of K g, and at once, with C = ggᵀ,

    dL_u += (C⊙B)_uv L_v + (C⊙Q)_uv R_v,        dR_u += (C⊙A)_uv R_v + (C⊙P)_uv L_v,

added to the gradients atomically. Rows are added in no fixed order, so the last bits of gradients
differ from run to run.

This file imports triton; :func:`quadric.kernels.backend` says whether it can be used.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

_COLUMNS = {torch.bfloat16: 64, torch.float32: 32}
"""The most columns in a block: as many as keep four Grams and the factors of the products that
follow in the registers of eight warps, of which products in float32, on no tensor core, want more.
"""
_DEPTH = 32
"""Numbers of an atom that are read at a time."""
_WARPS = 8


@triton.jit  # type: ignore[untyped-decorator]
def _read(  # type: ignore[no-untyped-def]
    x,
    left,
    right,
    indices,
    by_left,
    by_right,
    k,
    d,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """l·x and r·x for a row's active atoms, 0 for absent ones."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    atom = tl.load(indices + row * k + column, mask=column < k, other=-1)
    sums_l = tl.zeros((COLUMNS,), dtype=tl.float32)
    sums_r = tl.zeros((COLUMNS,), dtype=tl.float32)
    for start in range(0, d, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        mask = (atom >= 0)[:, None] & (depth < d)[None, :]
        place = atom[:, None] * d + depth[None, :]
        part = tl.load(x + row * d + depth, mask=depth < d, other=0.0).to(tl.float32)[None, :]
        sums_l += tl.sum(tl.load(left + place, mask=mask, other=0.0).to(tl.float32) * part, axis=1)
        sums_r += tl.sum(tl.load(right + place, mask=mask, other=0.0).to(tl.float32) * part, axis=1)
    tl.store(by_left + row * k + column, sums_l, mask=column < k)
    tl.store(by_right + row * k + column, sums_r, mask=column < k)


@triton.jit  # type: ignore[untyped-decorator]
def _grams(  # type: ignore[no-untyped-def]
    left,
    right,
    atom_u,
    atom_v,
    d,
    SYMMETRIC: tl.constexpr,
    PRODUCT: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A, B, P and Q between two blocks of atoms; the last two zero for unsymmetrised ones."""
    a = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    b = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    p = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    q = tl.zeros((COLUMNS, COLUMNS), dtype=tl.float32)
    for start in range(0, d, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        mask_u = (atom_u >= 0)[:, None] & (depth < d)[None, :]
        mask_v = (atom_v >= 0)[None, :] & (depth < d)[:, None]
        place_u = atom_u[:, None] * d + depth[None, :]
        place_v = atom_v[None, :] * d + depth[:, None]
        l_u = tl.load(left + place_u, mask=mask_u, other=0.0).to(PRODUCT)
        r_u = tl.load(right + place_u, mask=mask_u, other=0.0).to(PRODUCT)
        l_v = tl.load(left + place_v, mask=mask_v, other=0.0).to(PRODUCT)
        r_v = tl.load(right + place_v, mask=mask_v, other=0.0).to(PRODUCT)
        a = tl.dot(l_u, l_v, a, input_precision="ieee")
        b = tl.dot(r_u, r_v, b, input_precision="ieee")
        if SYMMETRIC:
            p = tl.dot(l_u, r_v, p, input_precision="ieee")
            q = tl.dot(r_u, l_v, q, input_precision="ieee")
    return a, b, p, q


@triton.jit  # type: ignore[untyped-decorator]
def _send(  # type: ignore[no-untyped-def]
    to,
    c_own,
    c_crossed,
    own,
    other,
    slope,
    x,
    atom_u,
    free,
    atom_v,
    d,
    SYMMETRIC: tl.constexpr,
    PRODUCT: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Add to the gradients of u's atoms: c_own F_v + c_crossed F'_v + slope x."""
    for start in range(0, d, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        inside = (depth < d)[None, :]
        place_v = atom_v[:, None] * d + depth[None, :]
        mask_v = (atom_v >= 0)[:, None] & inside
        own_v = tl.load(own + place_v, mask=mask_v, other=0.0).to(PRODUCT)
        sent = tl.dot(c_own, own_v, input_precision="ieee")
        if SYMMETRIC:
            other_v = tl.load(other + place_v, mask=mask_v, other=0.0).to(PRODUCT)
            sent = tl.dot(c_crossed, other_v, sent, input_precision="ieee")
        part = tl.load(x + depth, mask=depth < d, other=0.0).to(tl.float32)
        sent += slope[:, None] * part[None, :]
        place_u = atom_u[:, None] * d + depth[None, :]
        tl.atomic_add(to + place_u, sent, mask=(free > 0)[:, None] & inside, sem="relaxed")


@triton.jit  # type: ignore[untyped-decorator]
def _meet(  # type: ignore[no-untyped-def]
    x,
    left,
    right,
    indices,
    coefficients,
    by_left,
    by_right,
    image,
    to_left,
    to_right,
    k,
    held,
    d,
    SYMMETRIC: tl.constexpr,
    WANT_LEFT: tl.constexpr,
    WANT_RIGHT: tl.constexpr,
    PRODUCT: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """K g for a row's block of columns u, and what u's atoms receive from this row."""
    row = tl.program_id(0).to(tl.int64)
    u = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    atom_u = tl.load(indices + row * k + u, mask=u < k, other=-1)
    g_u = tl.load(coefficients + row * k + u, mask=u < k, other=0.0)
    l_x = tl.load(by_left + row * k + u, mask=u < k, other=0.0)
    r_x = tl.load(by_right + row * k + u, mask=u < k, other=0.0)
    free = tl.where((u >= held) & (atom_u >= 0), 1.0, 0.0)
    some_free = (tl.program_id(1) + 1) * COLUMNS > held
    sums = tl.zeros((COLUMNS,), dtype=tl.float32)
    for first in range(0, k, COLUMNS):
        v = first + tl.arange(0, COLUMNS)
        atom_v = tl.load(indices + row * k + v, mask=v < k, other=-1)
        g_v = tl.load(coefficients + row * k + v, mask=v < k, other=0.0)
        a, b, p, q = _grams(left, right, atom_u, atom_v, d, SYMMETRIC, PRODUCT, COLUMNS, DEPTH)
        gram = a * b
        if SYMMETRIC:
            gram = (gram + p * q) / 2
        sums += tl.sum(gram * g_v[None, :], axis=1)
        if (WANT_LEFT or WANT_RIGHT) and some_free:
            c = (free * g_u)[:, None] * g_v[None, :]
            # The slope of z, which stands in g and beside it, once K g is complete.
            last = tl.where(first + COLUMNS >= k, 2.0, 0.0)
            slope = last * free * (sums - l_x * r_x - g_u)
            if not SYMMETRIC:
                c *= 2
            if WANT_LEFT:
                _send(
                    to_left,
                    (c * b).to(PRODUCT),
                    (c * q).to(PRODUCT),
                    left,
                    right,
                    slope * r_x,
                    x + row * d,
                    atom_u,
                    free,
                    atom_v,
                    d,
                    SYMMETRIC,
                    PRODUCT,
                    DEPTH,
                )
            if WANT_RIGHT:
                _send(
                    to_right,
                    (c * a).to(PRODUCT),
                    (c * p).to(PRODUCT),
                    right,
                    left,
                    slope * l_x,
                    x + row * d,
                    atom_u,
                    free,
                    atom_v,
                    d,
                    SYMMETRIC,
                    PRODUCT,
                    DEPTH,
                )
    tl.store(image + row * k + u, sums, mask=u < k)


_PRODUCT_TYPES = {torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


def fused_squared_errors(
    x: Float[Tensor, "rows d"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    indices: Int[Tensor, "rows k"],
    *,
    held: Float[Tensor, "rows h"] | None,
    symmetric: bool,
    product_dtype: torch.dtype,
    want_left: bool,
    want_right: bool,
) -> tuple[Float[Tensor, " rows"], tuple[Tensor | None, Tensor | None]]:
    """‖X_b − Σ_{j∈A_b} g_bj B_j‖² of every row, and the gradients of their sum.

    Arguments are those of :func:`~quadric.kernels.sparse.sparse_squared_error`, checked there;
    ``product_dtype`` is bfloat16 or float32. Sums are in float32, gradients of the factors' type,
    None where not wanted.
    """
    x, left, right = (each.detach().contiguous() for each in (x, left, right))
    indices = indices.long().contiguous()
    (rows, k), d, device = indices.shape, x.shape[1], x.device
    by_left, by_right, image = torch.empty(3, rows, k, dtype=torch.float32, device=device)
    gradients = [
        torch.zeros(left.shape, dtype=torch.float32, device=device) if want else None
        for want in (want_left, want_right)
    ]
    columns = min(_COLUMNS[product_dtype], max(16, triton.next_power_of_2(k)))
    constants = {"COLUMNS": columns, "DEPTH": _DEPTH, "num_warps": _WARPS}
    grid = rows, triton.cdiv(k, columns)
    # Triton runs on the current device.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        if rows:
            _read[grid](x, left, right, indices, by_left, by_right, k, d, **constants)
        products = coefficients = by_left * by_right
        if held is not None:
            kept = torch.where(indices[:, : held.shape[1]] >= 0, held.float(), 0)
            coefficients = torch.cat([kept, products[:, held.shape[1] :]], dim=1)
        if rows:
            _meet[grid](
                x,
                left,
                right,
                indices,
                coefficients,
                by_left,
                by_right,
                image,
                *(image if gradient is None else gradient for gradient in gradients),
                k,
                0 if held is None else held.shape[1],
                d,
                SYMMETRIC=symmetric,
                WANT_LEFT=want_left,
                WANT_RIGHT=want_right,
                PRODUCT=_PRODUCT_TYPES[product_dtype],
                **constants,
            )
    size = x.float().square().sum(1).square()
    errors = size + (coefficients * (image - 2 * products)).sum(1)
    to_left, to_right = (None if each is None else each.to(left.dtype) for each in gradients)
    return errors, (to_left, to_right)
