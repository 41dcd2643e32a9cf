"""Outputs cut to their leading eigen-terms, with a certificate.

An output is f(x) = Σ_i λ_i(v_i·x)². Keeping k terms leaves the error Σ_{dropped} λ_i(v_i·x)², whose
size is at most ‖x‖² times the largest dropped |λ_i|; at x along that eigenvector it is attained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.interaction import supports
from quadric.forms.spectrum import Rule, spectra

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Truncation(NamedTuple):
    """A tensor of few eigen-terms per output, and how far it can be from the original."""

    tensor: BilinearTensor
    """m·k neurons: output j adds up the neurons λv, v of its own k terms (left λv, right v)."""
    bound: Float[Tensor, "m"]
    """Largest dropped |λ|: |f(x) − f_k(x)| ≤ bound·‖x‖² for every x, and no smaller bound holds."""


@torch.no_grad()
def truncate(tensor: BilinearTensor, k: int, by: Rule = "abs") -> Truncation:
    """Replace every output by its ``k`` leading eigen-terms (fewer where it has fewer).

    By "abs" this is the best approximation with k terms, in the Frobenius and in the spectral
    norm, and the bound is |λ_{k+1}|. By "pos" or "neg" one end of the spectrum is kept; the bound,
    still the largest dropped |λ|, can be large. ``k = 0`` gives the zero map. The cut is
    made in float64; the tensor's own rounding comes on top of the bound.

    Raises:
        QuadricError: ``k`` is not in 0…d, ``by`` is unknown, or a form is not finite.
    """
    if not 0 <= k <= tensor.d:
        raise QuadricError(f"k is {k}, expected 0 to {tensor.d}, the number of inputs")
    left = tensor.left.new_zeros(tensor.m, k, tensor.d)
    right = torch.zeros_like(left)
    bound = tensor.left.new_zeros(tensor.m)
    for rows, values, vectors in spectra(tensor, supports(tensor), k, by):
        width = vectors.shape[1]
        left[rows, :width] = (values[:, :width, None] * vectors).to(tensor.dtype)
        right[rows, :width] = vectors
        if width < values.shape[1]:
            bound[rows] = values[:, width:].abs().amax(dim=1).to(tensor.dtype)
    # One column per term: output j reads the k neurons of its own block.
    out = torch.eye(tensor.m, dtype=tensor.dtype, device=tensor.device)
    cut = replace(
        tensor,
        left=left.flatten(0, 1),
        right=right.flatten(0, 1),
        out=None if k == 1 else out.repeat_interleave(k, dim=1),
    )
    return Truncation(cut, bound)
