"""Biases as one more input coordinate, and back: constant, linear and quadratic terms.

A layer (Wx + b₁) ⊙ (Vx + b₂) is homogeneous in the lifted input [x; 1]: its biases are an extra
last column of the factors, W' = [W, b₁] and V' = [V, b₂]. ``fold_bias`` writes that column,
``terms`` and ``parts`` take a folded tensor apart again. Everywhere in quadric the constant is the
LAST coordinate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Terms(NamedTuple):
    """The three parts of a folded tensor's outputs at given inputs; they sum to the outputs."""

    quadratic: Float[Tensor, "*batch m"]
    """xᵀA_kx, with A_k the block of form k on the unlifted input."""
    linear: Float[Tensor, "*batch m"]
    """ℓ_k·x."""
    constant: Float[Tensor, "*batch m"]
    """The output at x = 0, the same at every input."""


class Parts(NamedTuple):
    """A folded tensor as f_k(x) = xᵀA_kx + ℓ_k·x + c_k."""

    quadratic: BilinearTensor
    """The forms A_k, factored, on the d−1 unlifted coordinates."""
    linear: Float[Tensor, "m d-1"]
    """The rows ℓ_k: twice the last column of the lifted form, without its last entry."""
    constant: Float[Tensor, "m"]
    """The values c_k: the last diagonal entry of the lifted form."""


def lift(x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d+1"]:
    """[x; 1]: the input with a constant as its last coordinate."""
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], dim=-1)


def lift_moments(
    mean: Float[Tensor, "d"], cov: Float[Tensor, "d d"]
) -> tuple[Float[Tensor, "d+1"], Float[Tensor, "d+1 d+1"]]:
    """Mean and covariance of [x; 1]: the constant has mean 1 and no variance.

    Raises:
        QuadricError: ``cov`` is not square with the length of ``mean``.
    """
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise QuadricError(
            f"mean and cov have shapes {tuple(mean.shape)} and {tuple(cov.shape)}, "
            "expected (d,) and (d, d)"
        )
    return lift(mean), torch.nn.functional.pad(cov, (0, 1, 0, 1))


def fold_bias(
    tensor: BilinearTensor,
    left_bias: Float[Tensor, "n"],
    right_bias: Float[Tensor, "n"],
    out_bias: Float[Tensor, "m"] | None = None,
) -> BilinearTensor:
    """The tensor T' on d+1 inputs with T'([x; 1]) = P[(Wx + b₁) ⊙ (Vx + b₂)] + b_P.

    ``left_bias`` b₁ becomes the last column of W and ``right_bias`` b₂ that of V. ``out_bias`` b_P
    becomes one more neuron whose two factors read the constant and whose output column is b_P
    (for a tensor without an output matrix, this creates the m×(m+1) one).

    Raises:
        QuadricError: a bias has the wrong length, dtype or device.
    """
    _check_bias("left_bias", left_bias, tensor.n, tensor)
    _check_bias("right_bias", right_bias, tensor.n, tensor)
    left = torch.cat([tensor.left, left_bias[:, None]], dim=1)
    right = torch.cat([tensor.right, right_bias[:, None]], dim=1)
    if out_bias is None:
        return replace(tensor, left=left, right=right)
    _check_bias("out_bias", out_bias, tensor.m, tensor)
    constant = left.new_zeros(1, tensor.d + 1)
    constant[0, -1] = 1
    out = tensor.out
    if out is None:
        out = torch.eye(tensor.n, dtype=tensor.dtype, device=tensor.device)
    return replace(
        tensor,
        left=torch.cat([left, constant]),
        right=torch.cat([right, constant]),
        out=torch.cat([out, out_bias[:, None]], dim=1),
    )


def terms(tensor: BilinearTensor, x: Float[Tensor, "*batch d-1"]) -> Terms:
    """The quadratic, linear and constant part of a folded ``tensor`` at the unlifted ``x``.

    With W' = [W, b₁], V' = [V, b₂]: P[Wx ⊙ Vx], P[b₂ ⊙ Wx + b₁ ⊙ Vx] and P[b₁ ⊙ b₂], which sum to
    the tensor at ``lift(x)``.

    Raises:
        QuadricError: the last axis of ``x`` is not d−1.
    """
    if x.shape[-1:] != (tensor.d - 1,):
        raise QuadricError(
            f"x has shape {tuple(x.shape)}, expected its last axis to be {tensor.d - 1}: the "
            f"tensor's {tensor.d} inputs without the constant, which is appended here"
        )
    left, right = x @ tensor.left[:, :-1].mT, x @ tensor.right[:, :-1].mT
    left_bias, right_bias = tensor.left[:, -1], tensor.right[:, -1]
    constant = tensor.read_out(left_bias * right_bias)
    return Terms(
        quadratic=tensor.read_out(left * right),
        linear=tensor.read_out(right_bias * left + left_bias * right),
        constant=constant.expand(*x.shape[:-1], tensor.m),
    )


def parts(tensor: BilinearTensor) -> Parts:
    """A folded ``tensor`` as quadratic forms, linear rows and constants of the unlifted input.

    Linear rows are P[diag(b₂)W + diag(b₁)V], constants P[b₁ ⊙ b₂].
    """
    left, right = tensor.left[:, :-1], tensor.right[:, :-1]
    left_bias, right_bias = tensor.left[:, -1:], tensor.right[:, -1:]
    linear = right_bias * left + left_bias * right
    return Parts(
        quadratic=replace(tensor, left=left, right=right),
        linear=linear if tensor.out is None else tensor.out @ linear,
        constant=tensor.read_out((left_bias * right_bias)[:, 0]),
    )


def _check_bias(name: str, bias: Tensor, length: int, tensor: BilinearTensor) -> None:
    if bias.shape != (length,):
        raise QuadricError(f"{name} has shape {tuple(bias.shape)}, expected ({length},)")
    if (bias.dtype, bias.device) != (tensor.dtype, tensor.device):
        raise QuadricError(
            f"{name} is {bias.dtype} on {bias.device} but the tensor is {tensor.dtype} on "
            f"{tensor.device}: convert one of them"
        )
