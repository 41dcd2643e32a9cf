"""What an output direction reads: its neurons and its interaction matrix.

A direction u in the output space gives every neuron the weight c = Pᵀu, and the form
Q_u = Σ_j c_jB_j with B_j = ½(w_jv_jᵀ + v_jw_jᵀ). The contraction with u always comes first, so the
cost is that of the neurons with c_j ≠ 0, and only one d×d matrix exists at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.blocks import row_blocks

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Support(NamedTuple):
    """Some forms Σ_s weights[i,s]·B_{neurons[i,s]} that read equally many neurons."""

    rows: Int[Tensor, "c"]
    """Which of the asked directions these are."""
    neurons: Int[Tensor, "c s"]
    """The neurons that each form reads."""
    weights: Float[Tensor, "c s"]
    """Their weights."""


def interaction(tensor: BilinearTensor, u: Float[Tensor, "m"]) -> Float[Tensor, "d d"]:
    """Q_u = ½(Wᵀdiag(c)V + Vᵀdiag(c)W), c = Pᵀu: exactly symmetric, xᵀQ_ux = u·T(x).

    Raises:
        QuadricError: ``u`` does not have m entries.
    """
    weights = neuron_weights(tensor, u)
    if weights.requires_grad:
        # A neuron with c = 0 adds nothing here, but the gradient to its c is not zero.
        return weighted_form(tensor.left, tensor.right, weights).to(tensor.dtype)
    active = weights.nonzero()[:, 0]
    form = weighted_form(tensor.left[active], tensor.right[active], weights[active])
    return form.to(tensor.dtype)


def weighted_form(
    left: Float[Tensor, "s d"], right: Float[Tensor, "s d"], weights: Float[Tensor, "s"]
) -> Float[Tensor, "d d"]:
    """Σ_s weights[s]·½(l_sr_sᵀ + r_sl_sᵀ), in the dtype of the weights."""
    product = left.to(weights.dtype).mT @ (weights[:, None] * right.to(weights.dtype))
    return (product + product.mT) / 2


def neuron_weights(tensor: BilinearTensor, u: Float[Tensor, "m"]) -> Float[Tensor, "n"]:
    """c = Pᵀu, in float32 at least so that half precision is not rounded twice.

    Raises:
        QuadricError: ``u`` does not have m entries.
    """
    if u.shape != (tensor.m,):
        raise QuadricError(f"u has shape {tuple(u.shape)}, expected ({tensor.m},)")
    return _weights(tensor, u)


def supports(tensor: BilinearTensor, us: Float[Tensor, "q m"] | None = None) -> Iterator[Support]:
    """The neurons with c ≠ 0 for every row of ``us``, grouped by how many they are.

    None stands for every output. A direction that reads nothing is in no group.

    Raises:
        QuadricError: the rows of ``us`` do not have m entries.
    """
    if us is not None and (us.ndim != 2 or us.shape[1] != tensor.m):
        raise QuadricError(f"us has shape {tuple(us.shape)}, expected (q, {tensor.m})")
    rows = tensor.out if us is None else us
    if rows is None:  # every output is its own neuron
        each = torch.arange(tensor.n, device=tensor.device)
        return iter([Support(each, each[:, None], tensor.left.new_ones(tensor.n, 1))])
    return _grouped(tensor, rows, are_weights=us is None)


def _grouped(tensor: BilinearTensor, rows: Tensor, *, are_weights: bool) -> Iterator[Support]:
    for block in row_blocks(len(rows), tensor.n):
        weights = rows[block] if are_weights else _weights(tensor, rows[block])
        active = weights != 0
        counts = active.sum(dim=1)
        for size in torch.unique(counts).tolist():
            if size == 0:
                continue
            same = (counts == size).nonzero()[:, 0]
            neurons = active[same].nonzero()[:, 1].reshape(-1, size)
            yield Support(same + block.start, neurons, weights[same].gather(1, neurons))


def _weights(tensor: BilinearTensor, u: Float[Tensor, "*q m"]) -> Float[Tensor, "*q n"]:
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    return u.to(dtype) if tensor.out is None else u.to(dtype) @ tensor.out.to(dtype)
