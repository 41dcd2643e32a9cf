"""A tensor on its leading output and input directions: the higher-order SVD with all its modes.

    B ≈ Σ_abc C_abc u_a ⊗ v_b ⊗ v_c,   C_abc = u_a·B(v_b, v_c),

with u_a the leading output directions (eigenvectors of the Gram BBᵀ) and v_b the leading input
directions (eigenvectors of Σ_k Q_k², the same for both input axes, since the forms are symmetric).
The projections are orthogonal, so ‖B − B̂‖² = ‖B‖² − ‖C‖², known before anything is rebuilt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.gram import gram, input_gram
from quadric.forms.spectrum import sign_fixed

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Tucker(NamedTuple):
    """Leading directions of both sides, the core between them, and all directions' energies."""

    core: BilinearTensor
    """C as a tensor of a outputs and b inputs, on B's own neurons."""
    outputs: Float[Tensor, "a m"]
    """u_a as orthonormal rows, by falling energy; signs fixed."""
    inputs: Float[Tensor, "b d"]
    """v_b as orthonormal rows, by falling energy; signs fixed."""
    output_energies: Float[Tensor, "m"]
    """‖u·B‖² of all m output directions, falling; they sum to ‖B‖²."""
    input_energies: Float[Tensor, "d"]
    """‖B(v, ·)‖² of all d input directions, falling; they sum to ‖B‖² too."""
    kept: float
    """‖C‖²/‖B‖², the exact share of the squared norm that the core holds."""

    def tensor(self) -> BilinearTensor:
        """B̂, back on all inputs and outputs: the same neurons, their factors projected."""
        return self.core.with_input_basis(self.inputs).with_output_basis(self.outputs.mT)


@torch.no_grad()
def compress(
    tensor: BilinearTensor, outputs: int | None = None, inputs: int | None = None
) -> Tucker:
    """The core on the ``outputs`` and ``inputs`` leading directions (None: all of them).

    The dropped energies bound the error: ‖B − B̂‖² ≤ Σ dropped output energies + 2·Σ dropped input
    energies, and no choice of as many directions can do better than a third of that. In float64;
    O(n²(d + m) + m³ + d³).

    Raises:
        QuadricError: ``outputs`` is not in 1…m, ``inputs`` is not in 1…d, or the tensor is zero.
    """
    for name, asked, most in (("outputs", outputs, tensor.m), ("inputs", inputs, tensor.d)):
        if asked is not None and not 1 <= asked <= most:
            raise QuadricError(f"{name} is {asked}, expected 1 to {most}")
    exact = tensor.to(dtype=torch.float64)
    output_energies, us = _leading(gram(exact), outputs)
    input_energies, vs = _leading(input_gram(exact), inputs)
    total = float(output_energies.sum())
    if total == 0:
        raise QuadricError("the tensor is zero: it has no leading directions")
    core = exact.with_output_basis(us).with_input_basis(vs.mT)
    return Tucker(
        core=core.to(dtype=tensor.dtype),
        outputs=us.to(tensor.dtype),
        inputs=vs.to(tensor.dtype),
        output_energies=output_energies.to(tensor.dtype),
        input_energies=input_energies.to(tensor.dtype),
        kept=float(core.norm()) ** 2 / total,
    )


def _leading(
    square: Float[Tensor, "s s"], count: int | None
) -> tuple[Float[Tensor, "s"], Float[Tensor, "count s"]]:
    """All eigenvalues of a Gram, falling, and the leading eigenvectors as rows."""
    energies, columns = torch.linalg.eigh(square)
    return energies.flip(0).clamp(min=0), sign_fixed(columns.mT.flip(0)[:count])
