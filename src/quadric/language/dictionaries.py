"""Linear dictionaries on both sides of a layer, and what one reads from the layer's outputs.

At the input a sparse autoencoder writes x = Σ_b z_b d_b + b_dec + ε. At the output it reads

    y_a = e_a·(layer(x) − b_out) + b_a,

the pre-activation of its feature a, before TopK or ReLU. Everything here keeps one ROW a feature:
d_b is a row of SAELens' ``W_dec`` and e_a a COLUMN of its ``W_enc``, so pass ``W_enc.T``. Where x
or the outputs are normalised before the autoencoder sees them, x and layer(x) are not what it was
trained on: fold the scale into these matrices, and pass x as the layer reads it, behind its norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.layers import GatedLayer

if TYPE_CHECKING:
    from quadric.baselines import TopKAutoencoder


@dataclass(frozen=True, eq=False)
class InputDictionary:
    """x = zᵀD + b_dec + ε, the features that a layer's input is made of.

    Raises:
        QuadricError: the shapes disagree, or an entry is not finite.
    """

    decoder: Float[Tensor, "p d"]
    """D, one row d_b per feature."""
    bias: Float[Tensor, "d"] | None = None
    """b_dec, always on; None for zero."""

    def __post_init__(self) -> None:
        """Check the parts."""
        _check_rows("decoder", self.decoder)
        _check_vector("bias", self.bias, self.decoder.shape[1], "entry of a decoder row")


@dataclass(frozen=True, eq=False)
class OutputDictionary:
    """y_a = e_a·(layer(x) − centre) + bias_a, the features read from a layer's output.

    Raises:
        QuadricError: the shapes disagree, or an entry is not finite.
    """

    encoder: Float[Tensor, "q m"]
    """One row e_a per feature. Decoder rows in its place predict directions, not activations."""
    bias: Float[Tensor, "q"] | None = None
    """Added to every pre-activation; None for zero."""
    centre: Float[Tensor, "m"] | None = None
    """b_out, taken from the outputs before they are encoded; None for zero."""

    def __post_init__(self) -> None:
        """Check the parts."""
        _check_rows("encoder", self.encoder)
        _check_vector("bias", self.bias, self.encoder.shape[0], "feature")
        _check_vector("centre", self.centre, self.encoder.shape[1], "entry of an encoder row")

    @torch.no_grad()
    def read(self, layer: GatedLayer | BilinearTensor) -> Readout:
        """The pre-activations y_a as quadratic forms of the layer's input, in float32 at least.

        A ``BilinearTensor`` counts as a layer without biases.

        Raises:
            QuadricError: the layer is not bilinear, not finite, or its outputs have another width.
        """
        lifted = isinstance(layer, GatedLayer) and layer.lifted
        tensor = layer.tensor() if isinstance(layer, GatedLayer) else layer
        tensor = tensor.to(dtype=torch.promote_types(tensor.dtype, torch.float32))
        factors = {"left": tensor.left, "right": tensor.right, "out": tensor.out}
        for name, factor in factors.items():
            if factor is not None and not factor.isfinite().all():
                raise QuadricError(f"the layer's {name} matrix holds NaN or infinity")
        check_width("encoder", self.encoder, tensor.m, "outputs")
        encoder = self.encoder.detach().to(tensor.left)
        offset = encoder.new_zeros(len(encoder))
        if self.centre is not None:
            offset -= encoder @ self.centre.detach().to(encoder)
        if self.bias is not None:
            offset += self.bias.detach().to(encoder)
        return Readout(tensor.with_output_basis(encoder), offset, lifted)


@dataclass(frozen=True, eq=False)
class Readout:
    """y = forms(x) + offset, or forms([x; 1]) + offset where the layer has biases."""

    forms: BilinearTensor
    """One quadratic form per output feature."""
    offset: Float[Tensor, "q"]
    """bias_a − e_a·centre: what is left at a layer output of zero."""
    lifted: bool
    """Whether the forms read [x; 1]."""

    @property
    def width(self) -> int:
        """Number of the layer's inputs, the constant not counted."""
        return self.forms.d - self.lifted


@torch.no_grad()
def dictionaries_of(model: TopKAutoencoder) -> tuple[InputDictionary, OutputDictionary]:
    """Quadric's own TopK baseline as a dictionary at either side of a layer.

    With its transform (x − μ) / s, s = σν, the features are x = Σ_f z_f (s ⊙ v_f) + (μ + s ⊙ b) and
    the pre-activations (w_f / s)·(x − μ − s ⊙ b) + c_f.

    Raises:
        QuadricError: the transform divides every activation by its own norm.
    """
    transform = model.transform
    if transform.norm == "unit":
        raise QuadricError(
            "the autoencoder's transform has norm='unit', which no dictionary of x can include: "
            "train one with norm='constant' or 'none'"
        )
    scale = transform.scales * (transform.mean_norm if transform.norm == "constant" else 1.0)
    centre = transform.mean + scale * model.bias
    return (
        InputDictionary(model.decoder * scale, centre),
        OutputDictionary(model.encoder / scale, model.encoder_bias.clone(), centre.clone()),
    )


def check_width(name: str, matrix: Float[Tensor, "p d"], width: int, what: str) -> None:
    """Refuse a dictionary whose rows do not have the layer's width.

    Raises:
        QuadricError: they do not; the message says when it looks transposed.
    """
    if matrix.shape[1] != width:
        hint = ": it looks transposed, pass its .T" if matrix.shape[0] == width else ""
        raise QuadricError(
            f"{name} has shape {tuple(matrix.shape)}, but the layer has {width} {what}: expected "
            f"(features, {width}){hint}"
        )


def _check_rows(name: str, matrix: Tensor) -> None:
    if not isinstance(matrix, Tensor) or not matrix.is_floating_point():
        kind = matrix.dtype if isinstance(matrix, Tensor) else type(matrix).__name__
        raise QuadricError(f"{name} is {kind}, expected a floating-point torch.Tensor")
    if matrix.ndim != 2 or not matrix.numel():
        raise QuadricError(
            f"{name} has shape {tuple(matrix.shape)}, expected (features, width): one row per "
            "feature"
        )
    _check_finite(name, matrix)


def _check_vector(name: str, vector: Tensor | None, length: int, per: str) -> None:
    if vector is None:
        return
    if vector.shape != (length,):
        raise QuadricError(
            f"{name} has shape {tuple(vector.shape)}, expected ({length},): one number per {per}"
        )
    _check_finite(name, vector)


def _check_finite(name: str, values: Tensor) -> None:
    bad = int((~values.isfinite()).sum())
    if bad:
        raise QuadricError(f"{name} holds NaN or infinity in {bad} of {values.numel()} entries")
