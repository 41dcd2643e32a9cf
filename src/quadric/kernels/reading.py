"""The latents' products z = (xLᵀ)⊙(xRᵀ) with a backward pass that makes no copies.

Autograd would keep one read in the wider type, make both gradients in it, and convert them back for
the matrix products: five passes over (rows, n) numbers more than are needed, which on a processor
cost as much as the products themselves. Here reads stay in the product type, and

    ∂/∂L = (∂z ⊙ xRᵀ)ᵀ x,        ∂/∂R = (∂z ⊙ xLᵀ)ᵀ x,        ∂/∂x = (∂z ⊙ xRᵀ)L + (∂z ⊙ xLᵀ)R.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.kernels.pieces import cached_rows


def latent_products(
    x: Float[Tensor, "rows d"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    product_dtype: torch.dtype | None = None,
) -> Float[Tensor, "rows n"]:
    """(l_j·x)(r_j·x) for every row and atom, in ``left``'s type, differentiable once.

    Args:
        x: the rows.
        left: first factors.
        right: second factors.
        product_dtype: the type of the matrix products; ``left``'s own when None.

    Raises:
        QuadricError: a second derivative is asked for.
    """
    found: Tensor = _Products.apply(  # type: ignore[no-untyped-call]
        x, left, right, product_dtype or left.dtype
    )
    return found


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
        rows, *factors = (each.to(dtype) for each in (x, left, right))
        read_left, read_right = (rows @ factor.T for factor in factors)
        # The factors are converted again for a gradient to x, which training does not ask for.
        ctx.save_for_backward(x, left, right, rows, read_left, read_right)
        products = left.new_empty(read_left.shape)
        for some in cached_rows(products):
            products[some].copy_(read_left[some]).mul_(read_right[some])
        return products

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise QuadricError("latent_products has no second derivative")
        x, left, right, rows, read_left, read_right = ctx.saved_tensors
        gradients: list[Tensor | None] = [None, None]
        to_x = None
        scratch = torch.empty_like(read_left)
        for side, (factor, other) in enumerate(((left, read_right), (right, read_left))):
            for some in cached_rows(scratch):
                torch.mul(upstream[some], other[some], out=scratch[some])
            if ctx.needs_input_grad[1 + side]:
                gradients[side] = (scratch.T @ rows).to(factor.dtype)
            if ctx.needs_input_grad[0]:
                part = (scratch @ factor.to(scratch.dtype)).to(x.dtype)
                to_x = part if to_x is None else to_x + part
        return to_x, *gradients, None
