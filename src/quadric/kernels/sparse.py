"""The error of a sparse reconstruction, exactly, from its active atoms alone.

For a row x with active atoms A the reconstruction is X̂ = Σ_{j∈A} g_j B_j, and

    ‖X − X̂‖² = ‖x‖⁴ − 2 Σ_{j∈A} g_j z_j + g_AᵀK_A g_A,     z_j = (l_j·x)(r_j·x),

needs the Gram K_A of k atoms only: O(k·d + k²·d) a row, whatever the number of atoms. The same is
true of the gradients, which fall on active atoms alone. Rows are taken some at a time; their atoms
are gathered, and what they contribute is added back into the factors' gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.kernels.backends import backend

GATHERED = 2**21
"""Numbers gathered at a time: 8 MiB in float32, which stays in a processor's caches."""


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
    if _fuses(x, plan.product_dtype):
        return _fused(x, left, right, indices, None, plan)[0].to(x.dtype)
    found = [piece.errors for piece in _pieces(x, left, right, indices, None, plan)]
    return torch.cat(found) if found else x.new_empty(0)


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
    if _fuses(x, plan.product_dtype):
        errors, fused = _fused(x, left, right, indices, held, plan)
        return errors.sum().to(x.dtype), fused
    factors = left.detach(), right.detach()
    gradients = [
        torch.zeros_like(factor) if want else None
        for factor, want in zip(factors, plan.want, strict=True)
    ]
    total_dtype = torch.promote_types(x.dtype, torch.float32)
    value = x.new_zeros((), dtype=total_dtype)
    for piece in _pieces(x, *factors, indices, held, plan):
        value += piece.errors.sum(dtype=total_dtype)
        for side, total in enumerate(gradients):
            if total is not None:
                total.index_add_(0, piece.free, piece.gradient(side))
    return value.to(x.dtype), (gradients[0], gradients[1])


def _fuses(x: Tensor, product_dtype: torch.dtype) -> bool:
    """Whether Triton's kernel takes it; that one sums in float32."""
    return x.dtype != torch.float64 and backend(x.device, product_dtype).name == "triton"


def _fused(
    x: Tensor, left: Tensor, right: Tensor, indices: Tensor, held: Tensor | None, plan: _Plan
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    from quadric.kernels.fused_sparse import fused_squared_errors

    return fused_squared_errors(
        x,
        left,
        right,
        indices,
        held=held,
        symmetric=plan.symmetric,
        product_dtype=plan.product_dtype,
        want_left=plan.want[0],
        want_right=plan.want[1],
    )


def _pieces(
    x: Tensor, left: Tensor, right: Tensor, indices: Tensor, held: Tensor | None, plan: _Plan
) -> Iterator[_Piece]:
    """The rows some at a time, so that their atoms stay in the processor's caches."""
    numbers = indices.shape[1] * x.shape[1]
    size = min(len(x), max(1, GATHERED // (2 * numbers)))
    # Buffers that every piece uses again: fresh memory would cost more than what is done in it.
    exact = x.new_empty(3, size * numbers)
    low = exact
    if plan.product_dtype != x.dtype:
        low = exact.new_empty(exact.shape, dtype=plan.product_dtype)
    for start in range(0, len(x), size or 1):
        some = slice(start, start + size)
        coefficients = None if held is None else held[some]
        yield _Piece(x[some], (left, right), indices[some], coefficients, plan, (exact, low))


class _Piece:
    """Some rows, their active atoms L and R, each (rows, k, d), and their errors.

    Attributes:
        errors: ‖x‖⁴ − 2 g·z + gᵀKg of every row.
        free: the numbers of the atoms that get a gradient, those that are not held, row by row.
    """

    def __init__(
        self,
        x: Tensor,
        factors: tuple[Tensor, Tensor],
        indices: Tensor,
        held: Tensor | None,
        plan: _Plan,
        buffers: tuple[Tensor, Tensor],
    ) -> None:
        self.x, self.plan, self.held = x, plan, 0 if held is None else held.shape[1]
        on, atoms = (indices >= 0).to(x.dtype), indices.clamp_min(0)
        self.free = atoms[:, self.held :].flatten()
        shape = *atoms.shape, x.shape[1]
        self.exact, self.low = ([_shaped(each, shape) for each in kind] for kind in buffers)
        self.reads = []
        for factor, exact, low in zip(factors, self.exact, self.low, strict=False):
            torch.index_select(factor, 0, atoms.flatten(), out=exact.flatten(0, 1))
            # A sum over d: a batched product of matrix and vector takes several times as long.
            self.reads.append(torch.mul(exact, x[:, None], out=self.exact[2]).sum(2) * on)
            low.copy_(exact)
        self.products = self.coefficients = self.reads[0] * self.reads[1]
        if held is not None:
            kept = held * on[:, : self.held]
            self.coefficients = torch.cat([kept, self.products[:, self.held :]], dim=1)
        self.errors = self._measure()

    def _measure(self) -> Float[Tensor, " rows"]:
        """Keeps the Grams A = LLᵀ, B = RRᵀ and P = LRᵀ, and Kg, for the gradients."""
        left, right, _ = self.low
        self.a, self.b = left @ left.mT, right @ right.mT
        gram = self.a.to(self.x.dtype) * self.b
        if self.plan.symmetric:
            self.p = left @ right.mT
            gram = gram.addcmul_(self.p, self.p.mT).div_(2)
        self.image = (gram @ self.coefficients[:, :, None])[:, :, 0]
        energy = (self.coefficients * (self.image - 2 * self.products)).sum(1)
        return self.x.square().sum(1).square() + energy

    def gradient(self, side: int) -> Float[Tensor, "free d"]:
        """Each free atom's part in the gradient to its left (0) or right (1) factor.

        At fixed g, ∂(gᵀKg)/∂L = (C⊙B)L + (C⊙Pᵀ)R and ∂/∂R = (C⊙A)R + (C⊙P)L with C = ggᵀ; without
        symmetrisation twice the first terms. To these comes the slope of z = (l·x)(r·x), which
        stands in g and beside it. The next call overwrites the result.
        """
        free, own, other = slice(self.held, None), self.low[side], self.low[1 - side]
        g, gram = self.coefficients, (self.b, self.a)[side]
        shape = len(g), g.shape[1] - self.held, own.shape[2]
        exact, low = (_shaped(each[2].flatten(), shape) for each in (self.exact, self.low))
        c = (g[:, free, None] * g[:, None, :]).to(low.dtype)
        if self.plan.symmetric:
            crossed = (self.p.mT, self.p)[side]
            torch.bmm(c * crossed[:, free], other, out=low)
            low.baddbmm_(c * gram[:, free], own)
        else:
            torch.bmm(c.mul_(2) * gram[:, free], own, out=low)
        slope = 2 * (self.image - self.products - g) * self.reads[1 - side]
        exact.copy_(low).addcmul_(slope[:, free, None], self.x[:, None])
        return exact.flatten(0, 1)


def _shaped(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    return buffer[: math.prod(shape)].view(shape)


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
