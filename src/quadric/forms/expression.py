"""A tensor written through the forms of chosen output directions.

Directions u_k (the rows of an q×m matrix U) read the forms Q_k = Σ_o u_ko B_o, and with the columns
p_k of a read-out matrix

    B̂ = Σ_k p_k ⊗ Q_k = Σ_k Σ_i λ_ki p_k ⊗ v_ki ⊗ v_ki.

Taking U and the read-out as each other's pseudo-inverse makes B̂ the projection of B onto the output
directions in play, with no direction counted twice: B̂ = B exactly when they span the outputs, and
u_k still reads the same Q_k from B̂ whether they do or not, or are more than m (arXiv 2410.08417
appendix I.1; its u_k·p_l = δ_kl holds for independent directions only). ``express`` starts from the
directions, ``express_in_dictionary`` from the read-out. Only factors are kept, never a d×d form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.gram import norm
from quadric.forms.spectrum import Eigenpairs, Rule
from quadric.forms.truncation import truncate

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class CutExpression(NamedTuple):
    """An expression of few eigen-terms per direction, and what that leaves out."""

    tensor: BilinearTensor
    """Σ_k Σ_{i kept} λ_ki p_k ⊗ v_ki ⊗ v_ki: m outputs, q·k neurons."""
    error: Float[Tensor, ""]
    """Frobenius norm of the dropped terms' sum; those of different directions may cancel.

    Of a difference, in float64: below about 1e-8 of the tensor's norm it is rounding.
    """
    bound: Float[Tensor, "m"]
    """|f_o(x) − f̂_o(x)| ≤ bound_o·‖x‖² for every x, with f the whole expression:
    Σ_k |p_ko| times the largest |λ_ki| dropped. Certified, but not always attained.
    """


class Expression(NamedTuple):
    """B̂ = Σ_k p_k ⊗ Q_k."""

    source: BilinearTensor
    """B, the tensor that is expressed."""
    directions: Float[Tensor, "q m"]
    """U, one direction u_k per ROW; the pseudo-inverse of ``readout``."""
    readout: Float[Tensor, "m q"]
    """U⁺, what each direction's form adds to the outputs: p_k is a COLUMN."""
    rank: int
    """Number of independent directions."""

    @property
    def spans(self) -> bool:
        """Whether the directions span the outputs, so that B̂ = B."""
        return self.rank == self.source.m

    @property
    def projection(self) -> Float[Tensor, "m m"]:
        """U⁺U: B̂'s outputs are B's, projected orthogonally onto the directions' span."""
        return self.readout @ self.directions

    @property
    def forms(self) -> BilinearTensor:
        """The Q_k as a tensor of q outputs on the same neurons; called, it gives the codes U·T(x).

        Of all codes that read out as the same output these are the shortest.
        """
        return self.source.with_output_basis(self.directions)

    def eigenpairs(self, k: int, by: Rule = "abs") -> Eigenpairs:
        """λ_ki (q, k) and v_ki (q, k, d), leading ones first; see ``BilinearTensor.eigh_many``."""
        return self.source.eigh_many(self.directions, k, by)

    def tensor(self) -> BilinearTensor:
        """B̂ on B's own neurons: B itself when the directions span the outputs."""
        return self.forms.with_output_basis(self.readout)

    @torch.no_grad()
    def outside(self) -> Float[Tensor, ""]:
        """‖B − B̂‖, the part that no direction reads: zero when they span the outputs."""
        if self.spans:
            return self.source.left.new_zeros(())
        exact = self.source.to(dtype=torch.float64)
        outer = -(self.readout.double() @ self.directions.double())
        outer.diagonal().add_(1)
        return norm(exact.with_output_basis(outer)).to(self.source.dtype)

    @torch.no_grad()
    def truncate(self, k: int, by: Rule = "abs") -> CutExpression:
        """B̂ with the ``k`` leading eigen-terms of every direction, and the exact error of that.

        The kept terms' outputs lie in the directions' span, so
        ‖B − tensor‖² = ``outside()``² + ``error``². Made in float64; the error costs the inner
        products of n + q·k neurons. ``k = 0`` drops everything.

        Raises:
            QuadricError: ``k`` is not in 0…d, ``by`` is unknown, or a form is not finite.
        """
        dtype = self.source.dtype
        readout = self.readout.double()
        whole = self.source.to(dtype=torch.float64).with_output_basis(self.directions.double())
        cut, bound = truncate(whole, k, by)
        whole, kept = (part.with_output_basis(readout) for part in (whole, cut))
        assert whole.out is not None
        assert kept.out is not None
        dropped = type(whole)(
            torch.cat([whole.left, kept.left]),
            torch.cat([whole.right, kept.right]),
            torch.cat([whole.out, -kept.out], dim=1),
        )
        return CutExpression(
            kept.to(dtype=dtype), norm(dropped).to(dtype), (readout.abs() @ bound).to(dtype)
        )


def express(tensor: BilinearTensor, directions: Float[Tensor, "q m"]) -> Expression:
    """B through the forms that the ROWS u_k of ``directions`` read: B̂ = Σ_k u⁺_k ⊗ Q_k.

    Any number of directions, dependent or repeated. Singular values below max(q, m)·ε of the
    largest, at the precision that ``directions`` came in, count as zero.

    Raises:
        QuadricError: ``directions`` is not (q, m) or not finite.
    """
    if directions.ndim != 2 or directions.shape[1] != tensor.m:
        raise QuadricError(
            f"directions has shape {tuple(directions.shape)}, expected (q, {tensor.m}): one row "
            "per direction"
        )
    readout, rank = _pseudo_inverse(directions, "directions")
    return Expression(tensor, directions.to(tensor.left), readout.to(tensor.left), rank)


def express_in_dictionary(tensor: BilinearTensor, dictionary: Float[Tensor, "m q"]) -> Expression:
    """B through the features of a dictionary of outputs: B̂ = Σ_f d_f ⊗ Q_f, B̂(x) = D·D⁺·T(x).

    The COLUMNS d_f of ``dictionary`` D are the features' output vectors. The rows of D⁺ are the
    directions whose forms Q_f compute the codes a = D⁺·T(x): linear in the outputs, unlike an
    autoencoder's, and dense.

    Raises:
        QuadricError: ``dictionary`` is not (m, q) or not finite.
    """
    if dictionary.ndim != 2 or dictionary.shape[0] != tensor.m:
        raise QuadricError(
            f"dictionary has shape {tuple(dictionary.shape)}, expected ({tensor.m}, q): one column "
            "per feature"
        )
    directions, rank = _pseudo_inverse(dictionary, "dictionary")
    return Expression(tensor, directions.to(tensor.left), dictionary.to(tensor.left), rank)


def _pseudo_inverse(matrix: Float[Tensor, "a b"], name: str) -> tuple[Float[Tensor, "b a"], int]:
    """The pseudo-inverse in float64 and the rank it was taken at."""
    if not matrix.isfinite().all():
        raise QuadricError(f"{name} holds NaN or infinity: remove those entries")
    left, singular, right = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    floor = singular[:1] * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    rank = int((singular > floor).sum())
    return right[:rank].mT @ (left[:, :rank] / singular[:rank]).mT, rank
