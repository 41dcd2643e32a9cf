"""What pairs of inputs write to the outputs: the columns of a tensor, one per pair.

    r_ij = B(e_i, e_j) = ½ P(W_:i ⊙ V_:j + W_:j ⊙ V_:i) = ½[T(e_i + e_j) − T(e_i) − T(e_j)],

a vector of m outputs, with r_ii = T(e_i). Every output is T(x) = Σ_{i≤j} (2 − δ_ij) x_ix_j r_ij, so
whatever is linear in the r_ij carries over to all outputs; a ReLU of them does not. There are
d(d+1)/2, made where they are asked for and never held together. For pairs of features instead of
coordinates put the features in the columns of ``tensor.with_input_basis``; fold biases first.

With the weights √2 for i < j and 1 for i = j the pairs are an isometric copy of the tensor:
Σ_{i≤j} w_ij² r_ijr_ijᵀ is its Gram. Their uncentred principal components are therefore those of
``tensor.hosvd()``, components and singular values alike, which needs no pass over the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.blocks import row_blocks
from quadric.forms.gram import gram

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Pairs(NamedTuple):
    """Some pairs of inputs i ≤ j with their vectors."""

    first: Int[Tensor, "c"]
    """i."""
    second: Int[Tensor, "c"]
    """j, not below i."""
    vectors: Float[Tensor, "c m"]
    """r_ij, without the weights."""

    @property
    def weights(self) -> Float[Tensor, "c"]:
        """w_ij: √2 for i < j, which stands for (j, i) too, and 1 for i = j."""
        return torch.where(self.first < self.second, 2.0, 1.0).to(self.vectors).sqrt()

    @property
    def weighted(self) -> Float[Tensor, "c m"]:
        """w_ij·r_ij, the vectors whose principal components are those of the tensor."""
        return self.weights[:, None] * self.vectors


class PairMoments(NamedTuple):
    """Averages over all d(d+1)/2 pairs i ≤ j."""

    mean: Float[Tensor, "m"]
    """Of the vectors."""
    second: Float[Tensor, "m m"]
    """Of vector·vectorᵀ, not centred; its trace is the mean squared length."""


def pair_count(d: int) -> int:
    """d(d+1)/2, the number of pairs i ≤ j."""
    return d * (d + 1) // 2


def pair_vectors(
    tensor: BilinearTensor, first: Int[Tensor, "c"], second: Int[Tensor, "c"]
) -> Float[Tensor, "c m"]:
    """r_ij = ½ P(W_:i ⊙ V_:j + W_:j ⊙ V_:i) for the given i and j, in any order; O(n·m) each.

    Raises:
        QuadricError: an index is not in 0…d−1, or there are not as many of both.
    """
    if first.shape != second.shape or first.ndim != 1:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise QuadricError(f"first and second have shapes {shapes}, expected the same (c,)")
    for name, indices in (("first", first), ("second", second)):
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < tensor.d:
            raise QuadricError(
                f"{name} ranges from {int(indices.min())} to {int(indices.max())}, expected 0 to "
                f"{tensor.d - 1}"
            )
    return _vectors(tensor.left.mT, tensor.right.mT, tensor, first, second)


def sample_pairs(tensor: BilinearTensor, count: int, generator: torch.Generator) -> Pairs:
    """``count`` pairs i ≤ j drawn uniformly from all of them, with replacement.

    The generator lives on the CPU, so that a seed means the same pairs on every device.
    """
    drawn = torch.randint(pair_count(tensor.d), (count,), generator=generator)
    first, second = _numbered(drawn.to(tensor.device))
    return Pairs(first, second, pair_vectors(tensor, first, second))


def pair_blocks(tensor: BilinearTensor) -> Iterator[Pairs]:
    """Every pair i ≤ j once, in blocks of bounded memory: (0,0), (0,1), (1,1), (0,2), …"""
    # A row per input, so that a pair's two factors are read from contiguous memory.
    left, right = tensor.left.mT.contiguous(), tensor.right.mT.contiguous()
    for block in row_blocks(pair_count(tensor.d), max(tensor.n, tensor.m)):
        first, second = _numbered(torch.arange(block.start, block.stop, device=tensor.device))
        yield Pairs(first, second, _vectors(left, right, tensor, first, second))


def pair_moments(tensor: BilinearTensor, *, weighted: bool) -> PairMoments:
    """Mean and second moment of all pairs, in closed form: no pair is made.

    With s = Σ_i r_ii = Σ_i T(e_i), D = Σ_i r_iir_iiᵀ, N = d(d+1)/2 and G the tensor's Gram: the
    weighted pairs have N·mean = s + (T(1) − s)/√2 and N·second = G, the plain ones (T(1) + s)/2 and
    (G + D)/2. In float64; O(n²(d + m) + d·n·m).
    """
    exact = tensor.to(dtype=torch.float64)
    count = pair_count(tensor.d)
    squares = exact.read_out((exact.left * exact.right).mT)  # r_ii, a row each
    diagonal, everything = squares.sum(0), exact(exact.left.new_ones(tensor.d))
    if weighted:
        mean, second = diagonal + (everything - diagonal) / 2**0.5, gram(exact)
    else:
        mean, second = (everything + diagonal) / 2, (gram(exact) + squares.mT @ squares) / 2
    return PairMoments((mean / count).to(tensor.dtype), (second / count).to(tensor.dtype))


def _vectors(
    left: Float[Tensor, "d n"],
    right: Float[Tensor, "d n"],
    tensor: BilinearTensor,
    first: Int[Tensor, "c"],
    second: Int[Tensor, "c"],
) -> Float[Tensor, "c m"]:
    straight = left[first] * right[second]
    return tensor.read_out(straight.add_(left[second] * right[first]).div_(2))


def _numbered(numbers: Int[Tensor, "c"]) -> tuple[Int[Tensor, "c"], Int[Tensor, "c"]]:
    """The pair i ≤ j at place j(j+1)/2 + i of the list of all pairs."""
    second = (((8 * numbers + 1).double().sqrt() - 1) / 2).long()
    # The root of a rounded square is exact, so rounding can only lead past the right j.
    second -= (second * (second + 1) // 2 > numbers).long()
    return numbers - second * (second + 1) // 2, second
