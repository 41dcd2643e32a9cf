"""One pass over pairs of row blocks: the reconstruction energy and its gradients.

Each pair of row blocks I ≥ J is visited once: its small Grams and its tile of GᵀG give the tile's
part of the gradients to g, left and right together, and the value follows from a gradient,
since the energy is homogeneous of degree 2 in each argument: E = ½⟨x, ∂E/∂x⟩.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from quadric.errors import QuadricError
from quadric.kernels.backends import backend
from quadric.kernels.coefficients import CoefficientTiles
from quadric.kernels.sharing import all_rows, own_rows, share_of_blocks
from quadric.kernels.tiles import block_size, tiles_class

BLOCK = 768
"""Rows in a block: large enough for full matrix-product speed, small enough for the caches."""


class Plan(NamedTuple):
    """How the pairs are visited, and which gradients are wanted."""

    symmetric: bool
    weights: Tensor | None
    product_dtype: torch.dtype
    fused: bool
    """Whether by Triton's kernel."""
    size: int
    """Rows in a block."""
    group: ProcessGroup | None
    want_g: bool
    want_left: bool
    want_right: bool

    @property
    def scale(self) -> float:
        """What the gradients of :func:`sweep` are to be multiplied with."""
        return 2 * tiles_class(self.symmetric).scale


def plan_for(
    left: Tensor,
    *,
    wanted: tuple[bool, bool, bool],
    symmetric: bool,
    weights: Tensor | None = None,
    product_dtype: torch.dtype | None = None,
    block: int | None = None,
    group: ProcessGroup | None = None,
) -> Plan:
    """The plan for these factors, with the ``wanted`` gradients to g, left and right.

    Raises:
        QuadricError: ``product_dtype`` is no floating-point type, or ``block`` is below 1.
    """
    if product_dtype is not None and not product_dtype.is_floating_point:
        raise QuadricError(f"product_dtype is {product_dtype}, expected a floating-point type")
    product_dtype = product_dtype or left.dtype
    fused = backend(left.device, product_dtype).name == "triton"
    ranks = 1 if group is None else group.size()
    want_g, want_left, want_right = (torch.is_grad_enabled() and want for want in wanted)
    return Plan(
        symmetric=symmetric,
        weights=weights,
        product_dtype=product_dtype,
        fused=fused,
        size=_size(len(left), block, fused, multiple=1 if ranks == 1 else 2 * ranks),
        group=group,
        want_g=want_g,
        want_left=want_left,
        want_right=want_right,
    )


def _size(n: int, block: int | None, fused: bool, *, multiple: int) -> int:
    """Rows in a block; Triton's in multiples of 64, for the sake of a GPU's matrix products."""
    if not fused:
        return block_size(n, BLOCK if block is None else block, multiple=multiple)
    from quadric.kernels.fused_energy import BLOCK as ROWS

    size = block_size(n, ROWS if block is None else block, multiple=multiple)
    return min(n, -(-size // 64) * 64)


def sweep(
    g: Tensor, left: Tensor, right: Tensor, plan: Plan
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The energy, and ∂E/∂x / ``plan.scale`` for g, left and right as far as they are wanted.

    In a group, this process's part of them for the samples of all.
    """
    blocks = -(-len(left) // plan.size)
    if plan.group is None:
        return _visit(g, left, right, plan, range(blocks))
    g = all_rows(g.to(plan.product_dtype), plan.group)
    value, (to_g, *to_factors) = _visit(
        g, left, right, plan, share_of_blocks(blocks, plan.group.rank(), plan.group.size())
    )
    return value, (None if to_g is None else own_rows(to_g, plan.group), *to_factors)


def _visit(
    g: Tensor, left: Tensor, right: Tensor, plan: Plan, rows: Sequence[int]
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The part of these row blocks I with all J ≤ I, in one pass over their pairs."""
    if plan.fused:
        from quadric.kernels.fused_energy import fused_energy

        return fused_energy(
            g,
            left,
            right,
            rows=rows,
            size=plan.size,
            symmetric=plan.symmetric,
            weights=plan.weights,
            product_dtype=plan.product_dtype,
            want_g=plan.want_g,
            want_left=plan.want_left,
            want_right=plan.want_right,
        )
    size, product_dtype = plan.size, plan.product_dtype
    total_dtype = torch.promote_types(left.dtype, torch.float32)
    tiles = tiles_class(plan.symmetric)(
        left,
        right,
        size=size,
        product_dtype=product_dtype,
        total_dtype=total_dtype,
        want_left=plan.want_left,
        want_right=plan.want_right,
    )
    coefficients = CoefficientTiles(
        g,
        plan.weights,
        size=size,
        product_dtype=product_dtype,
        total_dtype=total_dtype,
        want_gradient=plan.want_g,
    )
    differentiate = plan.want_g or plan.want_left or plan.want_right
    value = torch.zeros((), dtype=total_dtype, device=left.device)
    for i in rows:
        coefficients.start_row(i)
        for j in range(i + 1):
            gram = tiles.gram(i, j)
            correlations = coefficients.correlate(i, j)
            if differentiate:
                tiles.accumulate(i, j, correlations)
                coefficients.accumulate(i, j, gram)
            else:
                energy = correlations.mul_(gram).sum(dtype=total_dtype)
                value += energy if i == j else 2 * energy

    gradients = *tiles.gradients(), coefficients.gradient
    for argument, gradient in zip((left, right, g), gradients, strict=True):
        if gradient is not None:  # E = ½⟨x, ∂E/∂x⟩ for each x: the first is as good as any
            value = torch.linalg.vecdot(argument.to(total_dtype), gradient).sum()
            break
    return (tiles.scale * value).to(left.dtype), (gradients[2], gradients[0], gradients[1])
