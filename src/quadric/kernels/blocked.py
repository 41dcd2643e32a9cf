"""Reconstruction energy and its gradients in one pass over pairs of row blocks.

``reconstruction_energy(g, left, right)`` is the hot operation of training: the batch's
Σ_b g_bᵀ K g_b = ⟨GᵀG, K⟩ for the n×n Gram K of the atoms, which is never stored. Each pair of row
blocks I ≥ J is visited once: its small Grams and its tile of GᵀG give the tile's part of the
gradients to g, left and right together, and the value follows from a gradient,
since the energy is homogeneous of degree 2 in each argument: E = ½⟨x, ∂E/∂x⟩.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from quadric.errors import QuadricError
from quadric.kernels.backends import backend
from quadric.kernels.coefficients import CoefficientTiles
from quadric.kernels.sharing import all_rows, own_rows, share_of_blocks
from quadric.kernels.tiles import block_size, check_inputs, tiles_class

BLOCK = 768
"""Rows in a block: large enough for full matrix-product speed, small enough for the caches."""


def reconstruction_energy(
    g: Float[Tensor, "samples n"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    symmetric: bool = True,
    weights: Float[Tensor, "n"] | None = None,
    product_dtype: torch.dtype | None = None,
    block: int | None = None,
    group: ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """Σ_b g_bᵀ K g_b, differentiable once in g, left and right; no n×n tensor is created.

    K = ½[(LLᵀ)⊙(RRᵀ) + (LRᵀ)⊙(RLᵀ)] when ``symmetric``, else (LLᵀ)⊙(RRᵀ). With ``weights``, K_ij
    is multiplied by weights[max(i, j)].

    Gradients are computed during the forward pass, and only for the arguments that require them.
    Work, value and all gradients: 3n²(samples + 4d) flops, or 3n²(samples + 2d) unsymmetrised.
    Memory: O(n·d + samples·n) for copies and gradients, O(block² + (samples + d)·block) for tiles;
    Triton's kernels keep at most 5·2048·16384 numbers instead of the tiles.

    With a ``group`` of R processes, each calls with as many samples of its own and the same
    factors. Together they take the energy of all samples, each through 1/R of the pairs of blocks,
    which also divides the work that does not depend on the samples: 3n²(samples + 4d/R) flops. The
    value and the gradients to the factors are this process's parts, whose sums over the group are
    the whole; the gradient to ``g`` is whole.

    Args:
        g: coefficients of the atoms, one row a sample.
        left: first factors of the atoms, one row an atom.
        right: second factors of the atoms.
        symmetric: whether the atoms are ½(l rᵀ + r lᵀ) or l rᵀ.
        weights: weights of the atoms' prefixes; no gradient is computed for them.
        product_dtype: the type in which matrices and Grams are multiplied, such as bfloat16;
            sums over blocks stay in at least float32. None multiplies in the inputs' own type.
        block: the largest number of rows in a block; what suits the device when None.
        group: processes that share the work.

    Raises:
        QuadricError: shapes, types or devices disagree, ``weights`` requires a gradient,
            ``product_dtype`` is no floating-point type, or ``block`` is below 1; in the backward
            pass, a second derivative was asked for (``create_graph=True``).
    """
    check_inputs(g, left, right, weights)
    if weights is not None and weights.requires_grad:
        raise QuadricError("weights requires a gradient, which is not computed: detach it")
    if product_dtype is not None and not product_dtype.is_floating_point:
        raise QuadricError(f"product_dtype is {product_dtype}, expected a floating-point type")
    want_g, want_left, want_right = (
        torch.is_grad_enabled() and argument.requires_grad for argument in (g, left, right)
    )
    product_dtype = product_dtype or left.dtype
    fused = backend(left.device, product_dtype).name == "triton"
    ranks = 1 if group is None else group.size()
    plan = _Plan(
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
    energy: Tensor = _Energy.apply(g, left, right, plan)  # type: ignore[no-untyped-call]
    return energy


def _size(n: int, block: int | None, fused: bool, *, multiple: int) -> int:
    """Rows in a block; Triton's in multiples of 64, for the sake of a GPU's matrix products."""
    if not fused:
        return block_size(n, BLOCK if block is None else block, multiple=multiple)
    from quadric.kernels.fused_energy import BLOCK as ROWS

    size = block_size(n, ROWS if block is None else block, multiple=multiple)
    return min(n, -(-size // 64) * 64)


class _Plan(NamedTuple):
    symmetric: bool
    weights: Tensor | None
    product_dtype: torch.dtype
    fused: bool
    size: int
    group: ProcessGroup | None
    want_g: bool
    want_left: bool
    want_right: bool


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, left: Tensor, right: Tensor, plan: _Plan) -> Tensor:
        energy, ctx.gradients = _sweep(g, left, right, plan)
        ctx.plan = plan
        ctx.save_for_backward(g, left, right)
        return energy

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # torch's once_differentiable would drop the second derivative silently, with no error, when
        # the energy is one term of a sum.
        if torch.is_grad_enabled():
            raise QuadricError(
                "reconstruction_energy has no second derivative (create_graph=True was asked for): "
                "use reference_energy"
            )
        # The gradients are scaled in place and given away, which saves a second copy of them;
        # a second backward pass (retain_graph) has to compute them again.
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            g, left, right = ctx.saved_tensors
            _, gradients = _sweep(g, left, right, ctx.plan)
        scale = upstream * (2 * tiles_class(ctx.plan.symmetric).scale)
        return *(None if x is None else x.mul_(scale).to(upstream.dtype) for x in gradients), None


def _sweep(
    g: Tensor, left: Tensor, right: Tensor, plan: _Plan
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The energy, and ∂E/∂x / (2 × the tiles' scale) for the wanted arguments x.

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
    g: Tensor, left: Tensor, right: Tensor, plan: _Plan, rows: Sequence[int]
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
