"""Inner products of quadratic forms, from their factors alone.

The forms of two neurons, B_i = ½(l_ir_iᵀ + r_il_iᵀ) and B'_j likewise, have the inner product
K_ij = ½[(l_i·l'_j)(r_i·r'_j) + (l_i·r'_j)(r_i·l'_j)], and everything here is a sum over K.
K is made in blocks of rows; under autograd a block is made again in the backward pass instead of
being kept, so memory stays linear in the number of neurons there too.

Half-precision tensors are computed in float32; the answer has the tensors' own dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from quadric.errors import QuadricError
from quadric.forms.blocks import row_blocks

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


def gram(tensor: BilinearTensor) -> Float[Tensor, "m m"]:
    """G_kl = ⟨Q_k, Q_l⟩ between a tensor's own outputs: G = P K Pᵀ, exactly symmetric."""
    product = cross_gram(tensor, tensor)
    return (product + product.mT) / 2


def cross_gram(a: BilinearTensor, b: BilinearTensor) -> Float[Tensor, "m m2"]:
    """⟨Q_k, Q'_l⟩ between the outputs of two tensors on the same input: P K P'ᵀ.

    O(n·n'·(d + m')) time; besides the result, only a block of rows of K is held.

    Raises:
        QuadricError: the tensors differ in d, dtype or device.
    """
    check_comparable(a, b)
    dtype, a, b = a.dtype, widened(a), widened(b)
    blocks = (_again(_gram_rows, a, b, rows) for rows in row_blocks(a.n, b.n))
    if a.out is None:
        return torch.cat(list(blocks)).to(dtype) if a.n else a.left.new_zeros(0, b.m, dtype=dtype)
    total = torch.zeros(a.m, b.m, dtype=a.dtype, device=a.device)
    for rows, block in zip(row_blocks(a.n, b.n), blocks, strict=True):
        total = total + a.out[:, rows] @ block
    return total.to(dtype)


def inner(a: BilinearTensor, b: BilinearTensor) -> Float[Tensor, ""]:
    """Σ_k ⟨Q_k, Q'_k⟩ = Σ (PᵀP') ⊙ K, the Frobenius inner product of two symmetric tensors.

    O(n·n'·(d + m)) time, O(block·n') memory, also under autograd; without output matrices only
    K's diagonal counts and the cost is O(n·d).

    Raises:
        QuadricError: the tensors differ in d, m, dtype or device.
    """
    check_comparable(a, b, outputs=True)
    dtype, a, b = a.dtype, widened(a), widened(b)
    if a.out is None and b.out is None:
        straight = (a.left * b.left).sum(1) * (a.right * b.right).sum(1)
        crossed = (a.left * b.right).sum(1) * (a.right * b.left).sum(1)
        return ((straight + crossed).sum(dtype=torch.float64) / 2).to(dtype)
    total = torch.zeros((), dtype=torch.float64, device=a.device)
    for rows in row_blocks(a.n, b.n):
        total = total + _again(_inner_rows, a, b, rows)
    return total.to(dtype)


def norm(tensor: BilinearTensor) -> Float[Tensor, ""]:
    """√Σ_k ‖Q_k‖², the Frobenius norm of the symmetric m×d×d tensor."""
    wide = widened(tensor)
    return inner(wide, wide).clamp(min=0).sqrt().to(tensor.dtype)


def cosine(a: BilinearTensor, b: BilinearTensor) -> Float[Tensor, ""]:
    """⟨T, T'⟩ / (‖T‖‖T'‖): 1 exactly when the two compute positive multiples of one map.

    Raises:
        QuadricError: the tensors differ in d, m, dtype or device, or one of them is zero.
    """
    check_comparable(a, b, outputs=True)
    dtype, a, b = a.dtype, widened(a), widened(b)
    norms = norm(a), norm(b)
    for name, value in zip(("first", "second"), norms, strict=True):
        if value == 0:
            raise QuadricError(f"the cosine is undefined: the {name} tensor is zero")
    return (inner(a, b) / norms[0] / norms[1]).to(dtype)


def input_gram(tensor: BilinearTensor) -> Float[Tensor, "d d"]:
    """H = Σ_k Q_k², the Gram of the tensor's input axis; its trace is the squared norm.

    With S = PᵀP: H = ¼[Wᵀ(S⊙VWᵀ)V + Wᵀ(S⊙VVᵀ)W + Vᵀ(S⊙WWᵀ)V + Vᵀ(S⊙WVᵀ)W]. Its eigenvectors are the
    input directions the tensor reads, in order of energy. O(n²(d + m)), or O(n·d²) without an
    output matrix.
    """
    dtype, wide = tensor.dtype, widened(tensor)
    total = torch.zeros(tensor.d, tensor.d, dtype=wide.dtype, device=tensor.device)
    if wide.out is None:
        left, right = wide.left, wide.right
        both = (left * right).sum(1, keepdim=True)
        total = left.mT @ (both * right + right.square().sum(1, keepdim=True) * left)
        total = total + right.mT @ (left.square().sum(1, keepdim=True) * right + both * left)
    else:
        for rows in row_blocks(wide.n, wide.n):
            total = total + _again(_input_rows, wide, wide, rows)
    return ((total + total.mT) / 8).to(dtype)


def widened(tensor: BilinearTensor) -> BilinearTensor:
    """The tensor in float32 if it is in half precision, else the tensor itself."""
    return tensor.to(dtype=torch.promote_types(tensor.dtype, torch.float32))


def check_comparable(a: BilinearTensor, b: BilinearTensor, *, outputs: bool = False) -> None:
    """Refuse two tensors that differ in inputs, dtype, device or (if asked) outputs."""
    if a.d != b.d:
        raise QuadricError(f"the tensors read {a.d} and {b.d} inputs, expected the same number")
    if outputs and a.m != b.m:
        raise QuadricError(f"the tensors have {a.m} and {b.m} outputs, expected the same number")
    if (a.dtype, a.device) != (b.dtype, b.device):
        raise QuadricError(
            f"the tensors are {a.dtype} on {a.device} and {b.dtype} on {b.device}: "
            "convert one with .to(...)"
        )


def _again(
    rows_of: Callable[[BilinearTensor, BilinearTensor, slice], Tensor],
    a: BilinearTensor,
    b: BilinearTensor,
    rows: slice,
) -> Tensor:
    """``rows_of(a, b, rows)``, recomputed in the backward pass rather than stored for it."""
    result: Any = checkpoint(rows_of, a, b, rows, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(result, Tensor)
    return result


def _neuron_rows(a: BilinearTensor, b: BilinearTensor, rows: slice) -> Float[Tensor, "rows n2"]:
    """K[rows]: inner products of some of a's neurons with all of b's."""
    left, right = a.left[rows], a.right[rows]
    straight = (left @ b.left.mT) * (right @ b.right.mT)
    return (straight + (left @ b.right.mT) * (right @ b.left.mT)) / 2


def _gram_rows(a: BilinearTensor, b: BilinearTensor, rows: slice) -> Float[Tensor, "rows m2"]:
    block = _neuron_rows(a, b, rows)
    return block if b.out is None else block @ b.out.mT


def _out_product(a: BilinearTensor, b: BilinearTensor, rows: slice) -> Float[Tensor, "rows n2"]:
    """(PᵀP')[rows]; at least one of the two has an output matrix."""
    if a.out is None:
        assert b.out is not None
        return b.out[rows]
    block = a.out[:, rows].mT
    return block if b.out is None else block @ b.out


def _inner_rows(a: BilinearTensor, b: BilinearTensor, rows: slice) -> Float[Tensor, ""]:
    return (_out_product(a, b, rows) * _neuron_rows(a, b, rows)).sum(dtype=torch.float64)


def _input_rows(a: BilinearTensor, b: BilinearTensor, rows: slice) -> Float[Tensor, "d d"]:
    """Four times the rows' part of H, before its symmetrisation."""
    weights = _out_product(a, b, rows)
    left, right = a.left[rows], a.right[rows]
    from_left = (weights * (right @ b.left.mT)) @ b.right + (
        weights * (right @ b.right.mT)
    ) @ b.left
    from_right = (weights * (left @ b.left.mT)) @ b.right + (weights * (left @ b.right.mT)) @ b.left
    return left.mT @ from_left + right.mT @ from_right
