"""The error of a sparse reconstruction, exactly, from its active atoms alone.

For a row x with active atoms A the reconstruction is X̂ = Σ_{j∈A} g_j B_j, and

    ‖X − X̂‖² = ‖x‖⁴ − 2 Σ_{j∈A} g_j z_j + g_AᵀK_A g_A,     z_j = (l_j·x)(r_j·x),

needs the Gram K_A of k atoms only: O(k·d + k²·d) a row, whatever the number of atoms. The same is
true of the gradients, which fall on active atoms alone. Rows are taken some at a time; their atoms
are gathered, and what they contribute is added back into the factors' gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError

GATHERED = 2**24
"""Numbers gathered at a time: 64 MiB in float32."""


def sparse_squared_error(
    x: Float[Tensor, "rows d"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    indices: Int[Tensor, "rows k"],
    *,
    symmetric: bool = True,
    held: Float[Tensor, "rows h"] | None = None,
    product_dtype: torch.dtype | None = None,
) -> Float[Tensor, ""]:
    """Σ_b ‖X_b − Σ_{j∈A_b} z_bj B_j‖², differentiable once in left and right.

    Atoms are B_j = ½(l_j r_jᵀ + r_j l_jᵀ), or l_j r_jᵀ when not ``symmetric``. Gradients are
    computed in the forward pass.

    Args:
        x: the rows; no gradient is computed for them.
        left: first factors of the atoms.
        right: second factors of the atoms.
        indices: the active atoms of every row, −1 where a row has fewer.
        symmetric: which atoms.
        held: fixed coefficients g of the first h columns of ``indices``, in place of z. They and
            their atoms get no gradient: the others are fitted to what these leave over.
        product_dtype: the type of the Grams and of the products with them; sums and z itself stay
            in the inputs' type.

    Raises:
        QuadricError: shapes disagree, an index is out of range, ``x`` requires a gradient, or a
            second derivative is asked for.
    """
    _check(x, left, right, indices, held)
    want = tuple(torch.is_grad_enabled() and factor.requires_grad for factor in (left, right))
    plan = _Plan(symmetric, product_dtype or left.dtype, want)
    error: Tensor = _Error.apply(x, left, right, indices, held, plan)  # type: ignore[no-untyped-call]
    return error


@torch.no_grad()
def sparse_squared_errors(
    x: Float[Tensor, "rows d"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    indices: Int[Tensor, "rows k"],
    *,
    symmetric: bool = True,
) -> Float[Tensor, " rows"]:
    """‖X_b − Σ_{j∈A_b} z_bj B_j‖² of every row on its own, without gradient.

    Raises:
        QuadricError: as for :func:`sparse_squared_error`.
    """
    _check(x, left, right, indices, None)
    plan = _Plan(symmetric, left.dtype, (False, False))
    found = [x.new_empty(0)]
    for piece, _ in _gathered(x, left, right, indices, None):
        found.append(piece.measure(plan))
    return torch.cat(found)


class _Plan(NamedTuple):
    symmetric: bool
    product_dtype: torch.dtype
    want: tuple[bool, ...]


class _Error(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        left: Tensor,
        right: Tensor,
        indices: Tensor,
        held: Tensor | None,
        plan: _Plan,
    ) -> Tensor:
        value, ctx.gradients = _sweep(x, left, right, indices, held, plan)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise QuadricError("sparse_squared_error has no second derivative")
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise QuadricError("sparse_squared_error was differentiated twice (retain_graph)")
        scaled = (None if each is None else each.mul_(upstream) for each in gradients)
        return None, *scaled, None, None, None


def _sweep(
    x: Tensor,
    left: Tensor,
    right: Tensor,
    indices: Tensor,
    held: Tensor | None,
    plan: _Plan,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    factors = left.detach(), right.detach()
    gradients = [
        torch.zeros_like(factor) if want else None
        for factor, want in zip(factors, plan.want, strict=True)
    ]
    total_dtype = torch.promote_types(x.dtype, torch.float32)
    value = x.new_zeros((), dtype=total_dtype)
    for piece, gathered in _gathered(x, *factors, indices, held):
        value += piece.measure(plan).sum(dtype=total_dtype)
        if any(plan.want):
            piece.differentiate(plan, gathered)
        for total, parts in zip(gradients, gathered, strict=True):
            if total is not None:
                total.index_add_(0, piece.atoms, parts)
    return value.to(x.dtype), (gradients[0], gradients[1])


def _gathered(
    x: Tensor, left: Tensor, right: Tensor, indices: Tensor, held: Tensor | None
) -> Iterator[tuple[_Piece, list[Tensor]]]:
    """The rows some at a time, with their atoms in two buffers that the next ones overwrite."""
    buffers: list[Tensor] = []
    for rows in _pieces(len(x), 2 * indices.shape[1] * x.shape[1]):
        some = indices[rows]
        if not buffers or len(buffers[0]) != some.numel():
            buffers = [x.new_empty(some.numel(), x.shape[1]) for _ in range(2)]
        piece = _Piece(x[rows], some, None if held is None else held[rows])
        piece.gather((left, right), buffers)
        yield piece, buffers


class _Piece:
    """Some rows with their active atoms L and R, each (rows, k, d)."""

    def __init__(self, x: Tensor, indices: Tensor, held: Tensor | None) -> None:
        self.x, self.shape, self.held = x, indices.shape, held
        self.on = (indices >= 0).to(x.dtype)
        self.atoms = indices.clamp_min(0).flatten()
        self.free = self.on
        if held is not None:
            self.free = self.on.clone()
            self.free[:, : held.shape[1]] = 0

    def gather(self, factors: tuple[Tensor, Tensor], into: list[Tensor]) -> None:
        """Copy the atoms into buffers and read x with them."""
        reads = []
        for factor, buffer in zip(factors, into, strict=True):
            torch.index_select(factor, 0, self.atoms, out=buffer)
            reads.append((buffer.view(*self.shape, -1) @ self.x[:, :, None])[..., 0] * self.on)
        self.reads = reads
        self.products = self.coefficients = reads[0] * reads[1]
        if self.held is not None:
            h = self.held.shape[1]
            kept = self.held * self.on[:, :h]
            self.coefficients = torch.cat([kept, self.products[:, h:]], dim=1)
        self.left, self.right = (buffer.view(*self.shape, -1) for buffer in into)

    def measure(self, plan: _Plan) -> Float[Tensor, " rows"]:
        """‖x‖⁴ − 2 g·z + gᵀKg; keeps the Grams A = LLᵀ, B = RRᵀ and P = LRᵀ."""
        self.left, self.right = (each.to(plan.product_dtype) for each in (self.left, self.right))
        self.a, self.b = self.left @ self.left.mT, self.right @ self.right.mT
        gram = self.a.to(self.x.dtype) * self.b
        if plan.symmetric:
            self.p = self.left @ self.right.mT
            gram = gram.addcmul_(self.p, self.p.mT).div_(2)
        self.image = (gram @ self.coefficients[..., None])[..., 0]
        energy = (self.coefficients * (self.image - 2 * self.products)).sum(1)
        return self.x.square().sum(1).square() + energy

    def differentiate(self, plan: _Plan, into: list[Tensor]) -> None:
        """Each atom's part in the gradients, in place of the atoms in the buffers.

        At fixed g, ∂(gᵀKg)/∂L = (C⊙B)L + (C⊙Pᵀ)R and ∂/∂R = (C⊙A)R + (C⊙P)L with C = ggᵀ; without
        symmetrisation twice the first terms. To these comes the slope of z = (l·x)(r·x), which
        stands in g and beside it.
        """
        g = self.coefficients
        c = (g[:, :, None] * g[:, None, :] * self.free[:, :, None]).to(plan.product_dtype)
        if plan.symmetric:
            parts = [
                torch.baddbmm((c * self.p.mT) @ self.right, c * self.b, self.left),
                torch.baddbmm((c * self.p) @ self.left, c * self.a, self.right),
            ]
        else:
            c *= 2
            parts = [(c * self.b) @ self.left, (c * self.a) @ self.right]
        slope = (2 * self.image - 2 * self.products - 2 * g) * self.free
        for buffer, part, other in zip(into, parts, reversed(self.reads), strict=True):
            view = buffer.view(*self.shape, -1).copy_(part)
            view.baddbmm_((slope * other)[:, :, None], self.x[:, None, :])


def _pieces(rows: int, numbers_per_row: int) -> Iterator[slice]:
    size = max(1, GATHERED // numbers_per_row)
    for start in range(0, rows, size):
        yield slice(start, start + size)


def _check(x: Tensor, left: Tensor, right: Tensor, indices: Tensor, held: Tensor | None) -> None:
    if left.ndim != 2 or left.shape != right.shape or x.ndim != 2 or x.shape[1] != left.shape[1]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (x, left, right))
        raise QuadricError(f"x, left and right have shapes {shapes}, expected (rows, d), 2× (n, d)")
    for name, other in (("left", left), ("right", right), ("held", held)):
        if other is not None and other.dtype != x.dtype:
            raise QuadricError(f"x is {x.dtype} but {name} is {other.dtype}: give both one type")
    if indices.ndim != 2 or len(indices) != len(x) or not indices.shape[1]:
        raise QuadricError(
            f"indices have shape {tuple(indices.shape)}, expected ({len(x)}, k), k ≥ 1: the "
            "active atoms of every row"
        )
    if indices.numel() and not -1 <= int(indices.min()) <= int(indices.max()) < len(left):
        raise QuadricError(
            f"indices reach from {int(indices.min())} to {int(indices.max())}, expected −1 to "
            f"{len(left) - 1}"
        )
    if held is not None and (
        held.ndim != 2 or len(held) != len(x) or held.shape[1] > indices.shape[1]
    ):
        raise QuadricError(
            f"held has shape {tuple(held.shape)}, expected ({len(x)}, at most {indices.shape[1]})"
        )
    if x.requires_grad or (held is not None and held.requires_grad):
        raise QuadricError("x and held get no gradient: detach them")
