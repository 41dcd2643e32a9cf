"""A tensor behind a narrow linear map, in as few coordinates as that map has.

The tensor of y ↦ T(Ey), with E a d×p embedding and d < p, lives in the row space of E. With the
QR decomposition Eᵀ = ZR its form for u is Z(R Q_u Rᵀ)Zᵀ: the d×d form of T on the inputs Rᵀ, in the
orthonormal frame Zᵀ. Its eigenvalues are that small form's, its eigenvectors those turned by Z, and
every norm, inner product, singular value and truncation is the same. Nothing p×p is built.

From a tensor's own factors this map cannot be read off when there are as many neurons as inputs, so
``eigh`` does not look for it: whoever has T and E says so here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.spectrum import Eigenpairs, Rule, eigh_many, sign_fixed

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Reduced(NamedTuple):
    """T(Ey) = tensor(frame·y), with orthonormal rows of the frame."""

    tensor: BilinearTensor
    """The same outputs on the s = min(d, p) coordinates frame·y."""
    frame: Float[Tensor, "s p"]
    """Zᵀ: orthonormal rows that span the rows of E."""

    def eigh_many(self, us: Float[Tensor, "q m"] | None, k: int, by: Rule = "abs") -> Eigenpairs:
        """The k leading eigenpairs of EᵀQ_uE for every row of ``us``: vectors are (q, k, p).

        What ``T.with_input_basis(E).eigh_many(us, k, by)`` gives at O(p³) a direction, here at
        O(d³ + p·d·k); only the p − s eigenvalues that are zero for every u are not listed, which by
        "pos" or "neg" would stand between the two signs. ``us=None`` asks for every output.

        Raises:
            QuadricError: as for ``BilinearTensor.eigh_many``; ``k`` is at most s.
        """
        values, vectors = eigh_many(self.tensor, us, k, by)
        return Eigenpairs(values, sign_fixed(vectors @ self.frame))


@torch.no_grad()
def reduce_inputs(tensor: BilinearTensor, basis: Float[Tensor, "d p"]) -> Reduced:
    """The tensor of y ↦ T(Ey), E = ``basis``, on the row space of E; O(p·d² + n·d²).

    For a tensor with folded biases give E the constant's own last row and column.

    Raises:
        QuadricError: ``basis`` does not have d rows, or is not finite.
    """
    if basis.ndim != 2 or basis.shape[0] != tensor.d:
        raise QuadricError(f"basis has shape {tuple(basis.shape)}, expected ({tensor.d}, p)")
    if not basis.isfinite().all():
        raise QuadricError("basis holds NaN or infinity: remove those entries")
    frame, triangle = torch.linalg.qr(basis.double().mT)
    small = tensor.to(dtype=torch.float64).with_input_basis(triangle.mT)
    return Reduced(small.to(dtype=tensor.dtype), frame.mT.to(tensor.dtype))
