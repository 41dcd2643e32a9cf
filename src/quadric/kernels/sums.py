"""All that a loss needs of products z = (xLᵀ)⊙(xRᵀ) that are their own coefficients: some sums.

A dictionary without mixing reconstructs X with its products, so that error and density are
functions of Σ_b z_bᵀ K z_b and of three sums over every column of z. Nothing of z's size needs to
outlive this function but the reads xLᵀ and xRᵀ, in the type of the matrix products, and the
energy's gradient, to which the other gradients are added on its way back to the factors:

    ∂/∂L = (∂z ⊙ xRᵀ)ᵀ x,        ∂/∂R = (∂z ⊙ xLᵀ)ᵀ x,        ∂/∂x = (∂z ⊙ xRᵀ)L + (∂z ⊙ xLᵀ)R.

Composed of smaller functions, autograd would keep further such arrays and go over each of them
several times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from quadric.errors import QuadricError
from quadric.kernels.pieces import cached_rows
from quadric.kernels.sweep import Plan, plan_for, sweep
from quadric.kernels.tiles import check_factors


class ProductSums(NamedTuple):
    """Sums over a batch of products z_bj = (l_j·x_b)(r_j·x_b), with a scale s_b for each row."""

    energy: Float[Tensor, ""]
    """Σ_b z_bᵀ K z_b, as of :func:`~quadric.kernels.blocked.reconstruction_energy`."""
    squares: Float[Tensor, " n"]
    """Σ_b z_bj²."""
    sizes: Float[Tensor, " n"]
    """Σ_b s_b |z_bj|."""
    scaled_squares: Float[Tensor, " n"]
    """Σ_b (s_b z_bj)²."""


def product_sums(
    x: Float[Tensor, "rows d"],
    scale: Float[Tensor, "rows 1"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    symmetric: bool = True,
    weights: Float[Tensor, "n"] | None = None,
    product_dtype: torch.dtype | None = None,
    group: ProcessGroup | None = None,
) -> ProductSums:
    """The sums, differentiable once in x, scale, left and right.

    Work: that of the energy with its gradients and 8·rows·n·d flops, 12 with a gradient to x.
    Memory: 2·rows·n numbers in the product type and as many bytes again as float32.

    Args:
        x: the rows.
        scale: a factor above zero for the products of each row, in the last two sums.
        left: first factors.
        right: second factors.
        symmetric: whether the atoms are ½(l rᵀ + r lᵀ) or l rᵀ.
        weights: weights of the atoms' prefixes in the energy; no gradient is computed for them.
        product_dtype: the type of the matrix products; ``left``'s own when None.
        group: processes that share the energy, each with as many rows of its own; their parts of
            it sum up to the whole, while the other sums are this process's.

    Raises:
        QuadricError: shapes, types or devices disagree, or ``product_dtype`` is no floating-point
            type; in the backward pass, a second derivative was asked for.
    """
    check_factors(left, right, x=x, scale=scale, weights=weights)
    if x.ndim != 2 or x.shape[1] != left.shape[1] or scale.shape != (len(x), 1):
        raise QuadricError(
            f"x and scale have shapes {tuple(x.shape)} and {tuple(scale.shape)}, expected "
            f"(rows, {left.shape[1]}) and (rows, 1)"
        )
    wanted = any(each.requires_grad for each in (x, scale, left, right))
    plan = plan_for(
        left,
        wanted=(wanted, left.requires_grad, right.requires_grad),
        symmetric=symmetric,
        weights=weights,
        product_dtype=product_dtype,
        group=group,
    )
    found = _Sums.apply(x, scale, left, right, plan)  # type: ignore[no-untyped-call]
    return ProductSums(*found)


class _Kept(NamedTuple):
    """What the backward pass needs and uses up."""

    reads: tuple[Tensor, Tensor]
    gradients: tuple[Tensor | None, ...]


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, left: Tensor, right: Tensor, plan: Plan
    ) -> tuple[Tensor, ...]:
        sums, kept = _summed(x, scale, left, right, plan)
        ctx.plan, ctx.kept = plan, kept if plan.want_g else None
        ctx.save_for_backward(x, scale, left, right)
        return sums

    @staticmethod
    def backward(
        ctx: Any, to_energy: Tensor, to_squares: Tensor, to_sizes: Tensor, to_scaled: Tensor
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise QuadricError("product_sums has no second derivative (create_graph=True)")
        x, scale, left, right = ctx.saved_tensors
        # Reads and gradients are overwritten; a second backward pass has to compute them again.
        kept, ctx.kept = ctx.kept, None
        if kept is None:
            _, kept = _summed(x, scale, left, right, ctx.plan)
        (read_left, read_right), (to_z, *to_factors) = kept
        energy_scale = to_energy * ctx.plan.scale
        to_scale = torch.zeros_like(scale) if ctx.needs_input_grad[1] else None
        for some in cached_rows(read_left):
            first, second = (read[some].to(to_z.dtype) for read in (read_left, read_right))
            z = first * second
            # ∂/∂(s z) = t sign z + 2q s z; then ∂z = ∂E + 2p z + s ∂/∂(s z).
            to_scaled_z = torch.sign(z).mul_(to_sizes).addcmul_(z * scale[some], 2 * to_scaled)
            if to_scale is not None:
                to_scale[some] = (to_scaled_z * z).sum(1, keepdim=True)
            part = to_z[some].mul_(energy_scale).addcmul_(z, 2 * to_squares)
            part.addcmul_(to_scaled_z, scale[some])
            first, second = second * part, first * part
            read_left[some], read_right[some] = first, second
        rows = x.to(read_left.dtype)
        to_x = None
        if ctx.needs_input_grad[0]:
            through = read_left @ left.to(rows.dtype), read_right @ right.to(rows.dtype)
            to_x = through[0].to(x.dtype).add_(through[1])
        for total, read in zip(to_factors, (read_left, read_right), strict=True):
            if total is not None:
                total.mul_(energy_scale).add_(read.T @ rows)
        return (
            to_x,
            to_scale,
            *(None if total is None else total.to(left.dtype) for total in to_factors),
            None,
        )


def _summed(
    x: Tensor, scale: Tensor, left: Tensor, right: Tensor, plan: Plan
) -> tuple[tuple[Tensor, ...], _Kept]:
    """The sums, the reads and the energy's gradients to z, left and right."""
    rows, *factors = (each.to(plan.product_dtype) for each in (x, left, right))
    read_left, read_right = (rows @ factor.T for factor in factors)
    total_dtype = torch.promote_types(left.dtype, torch.float32)
    squares, sizes, scaled = torch.zeros(3, len(left), dtype=total_dtype, device=left.device)
    products = torch.empty_like(read_left)
    for some in cached_rows(products):
        z = read_left[some].to(total_dtype) * read_right[some]
        products[some] = z
        squares += z.square().sum(0)
        sizes += z.abs_().mul_(scale[some]).sum(0)
        scaled += z.square_().sum(0)
    del factors
    energy, gradients = sweep(products, left, right, plan)
    sums = (energy, *(each.to(left.dtype) for each in (squares, sizes, scaled)))
    return sums, _Kept((read_left, read_right), gradients)
