"""The reconstruction energy as a differentiable function.

``reconstruction_energy(g, left, right)`` is the hot operation of training: the batch's
Σ_b g_bᵀ K g_b = ⟨GᵀG, K⟩ for the n×n Gram K of the atoms, which is never stored
(:mod:`quadric.kernels.sweep` goes over its tiles).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from quadric.errors import QuadricError
from quadric.kernels.sweep import Plan, plan_for, sweep
from quadric.kernels.tiles import check_inputs


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
    plan = plan_for(
        left,
        wanted=(g.requires_grad, left.requires_grad, right.requires_grad),
        symmetric=symmetric,
        weights=weights,
        product_dtype=product_dtype,
        block=block,
        group=group,
    )
    energy: Tensor = _Energy.apply(g, left, right, plan)  # type: ignore[no-untyped-call]
    return energy


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, left: Tensor, right: Tensor, plan: Plan) -> Tensor:
        energy, ctx.gradients = sweep(g, left, right, plan)
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
            _, gradients = sweep(g, left, right, ctx.plan)
        scale = upstream * ctx.plan.scale
        return *(None if x is None else x.mul_(scale).to(upstream.dtype) for x in gradients), None
