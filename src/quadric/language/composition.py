"""A bilinear layer between two quadratic dictionaries: each output latent, computed from its input.

A bilinear autoencoder reads the layer's input x as u, another its output y = layer(x) as v: centred
and scaled, with a constant 1 where it is affine. What an output latent reads of v are quadratic
forms of [u; 1], and the latent, a sum of products of two, is a quartic. With U = [u; 1][u; 1]ᵀ

    l·v = ⟨Q_l, U⟩,        f(x) = Σ_j (l_j·v)(r_j·v) = Σ_j ⟨Q_lj, U⟩⟨Q_rj, U⟩.

The input autoencoder reconstructs U ≈ Σ_i z_i F_i from its latents z, and ⟨Q, U⟩ is linear in U. So
the layer, quadratic in x, is LINEAR in z and an output latent quadratic in z, by weights alone:

    v ≈ Gz + c,  G_oi = ⟨Q_o, F_i⟩;    f ≈ Σ_j (a_j·[z; 1])(b_j·[z; 1]) = [z; 1]ᵀ M [z; 1].

The corner of U is known to be 1: it is set, not reconstructed (F_i has a zero there, c is Q's own).
An autoencoder that is not affine contains nothing of the forms' linear part, which then counts as
error. A unit norm divides a latent by the positive number ‖u‖² (‖v‖²) of its token: z is multiplied
by it, and what is computed of f is divided by it, so that both sides are the latents of ``encode``.

    made = compose(input_autoencoder, layer, output_autoencoder)
    made.account(x)             # pairs + linear + constant + error = every output latent
    made.latent(7)              # one of them: its forms, spectra, and M
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift
from quadric.language.composed_latents import ComposedLatent
from quadric.language.interactions import Account
from quadric.language.latent_forms import LatentForms, corners, rotation
from quadric.layers import GatedLayer


class Explained(NamedTuple):
    """How predicted latents compare with measured ones; NaN where nothing varies."""

    r2: Float[Tensor, "q"]
    """1 − Σ(f − f̂)² / Σ(f − f̄)², of f̂ neither scaled nor shifted: it can be negative."""
    pearson: Float[Tensor, "q"]


@dataclass(frozen=True, eq=False)
class Composition:
    """Output latents as functions of a layer's input, in float64; made by ``compose``."""

    inputs: BilinearAutoencoder
    """The input autoencoder."""
    outputs: BilinearAutoencoder
    """The output autoencoder."""
    dictionary: LatentForms
    """The forms of the input autoencoder's latents, on [u; 1]."""
    forms: BilinearTensor
    """v as quadratic forms of [u; 1]; the output 1 last where the output autoencoder is affine."""
    readout: Float[Tensor, "m p"]
    """G."""

    @property
    def p(self) -> int:
        """Number of input latents; also the number of the constant behind them."""
        return self.inputs.d_sae

    @property
    def q(self) -> int:
        """Number of output latents."""
        return self.outputs.d_sae

    @property
    def constant(self) -> Float[Tensor, "m"]:
        """c, what v is where U has its corner alone."""
        return corners(self.forms)

    @torch.no_grad()
    def codes(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t p"]:
        """z: the input latents, times ‖u‖² where the autoencoder divides by the norm.

        Raises:
            QuadricError: ``x`` has another width than the layer's input.
        """
        norm = self.inputs.transform.apply_to(self._checked(x)).norm
        latents = self.inputs.encode(self._checked(x))
        return latents * norm.square() if self.inputs.config.norm == "unit" else latents

    @torch.no_grad()
    def lifted(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t d+1"]:
        """[u; 1].

        Raises:
            QuadricError: ``x`` has another width than the layer's input.
        """
        transformed = self.inputs.transform.apply_to(self._checked(x))
        unit = self.inputs.config.norm == "unit"
        return lift(transformed.y * transformed.norm if unit else transformed.y)

    @torch.no_grad()
    def divisor(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t 1"]:
        """‖v‖² where the output autoencoder divides by the norm, else 1: quartic / this = latent.

        Raises:
            QuadricError: ``x`` has another width than the layer's input.
        """
        lifted = self.lifted(x)
        if self.outputs.config.norm != "unit":
            return torch.ones_like(lifted[:, :1])
        size = self.forms(lifted).square().sum(1, keepdim=True)
        return size.clamp_min(torch.finfo(size.dtype).tiny)

    @torch.no_grad()
    def predict(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t q"]:
        """[z; 1]ᵀ M [z; 1] of every output latent, over the divisor: all that pairs of latents say.

        Raises:
            QuadricError: ``x`` has another width than the layer's input.
        """
        read = self.codes(x) @ self.readout.mT + self.constant
        return self._latents(*self._reads(read)) / self.divisor(x)

    @torch.no_grad()
    def account(self, x: Float[Tensor, "t d"]) -> Account:
        """The output latents in four parts, which sum to the latents of layer(x) exactly.

        ``pairs`` of input latents; ``linear``, an input latent and the constant; the ``constant``
        with itself; and ``error``, every product with v − Gz − c, what the input dictionary misses.

        Raises:
            QuadricError: ``x`` has another width than the layer's input.
        """
        made = self.codes(x) @ self.readout.mT
        missed = self.forms(self.lifted(x)) - made - self.constant
        (left, right), (left0, right0) = self._reads(made), self._reads(self.constant)
        left_missed, right_missed = self._reads(missed)
        divisor = self.divisor(x)
        parts = (
            self._latents(left, right),
            self._latents(left, right0) + self._latents(left0, right),
            self._latents(left0, right0).expand(len(x), -1),
            self._latents(left_missed, right + right0 + right_missed)
            + self._latents(left + left0, right_missed),
        )
        return Account(*(part / divisor for part in parts))

    @torch.no_grad()
    def latent(self, number: int) -> ComposedLatent:
        """One output latent: its quartic and its quadratic form of the input latents.

        Raises:
            QuadricError: there is no such latent.
        """
        chosen = self.outputs.tensor([number])
        left, right = chosen.left, chosen.right
        return ComposedLatent(
            self.forms.with_output_basis(left),
            self.forms.with_output_basis(right),
            torch.cat([left @ self.readout, (left @ self.constant)[:, None]], dim=1),
            torch.cat([right @ self.readout, (right @ self.constant)[:, None]], dim=1),
        )

    def null(self, seed: int = 0) -> Composition:
        """The same with an input dictionary rotated at random: its forms have the same spectra and
        overlaps and the latents their values, but the two no longer belong together."""
        turned = self.forms.with_input_basis(rotation(self.forms, seed))
        return replace(self, readout=self.dictionary.between(turned).decoded)

    def _reads(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """l_j·v and r_j·v of all products of the output autoencoder."""
        return v @ self.outputs.left.mT, v @ self.outputs.right.mT

    def _latents(self, left: Tensor, right: Tensor) -> Tensor:
        return self.outputs.mixing.latents(left * right)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.inputs.d_in:
            raise QuadricError(
                f"x has shape {tuple(x.shape)}, expected (tokens, {self.inputs.d_in}): the "
                "layer's inputs, behind its norm"
            )
        return x.to(self.inputs.left)


@torch.no_grad()
def compose(
    inputs: BilinearAutoencoder, layer: GatedLayer | BilinearTensor, outputs: BilinearAutoencoder
) -> Composition:
    """Express the output autoencoder's latents in the layer's input, and in the input's latents.

    Args:
        inputs: a bilinear autoencoder of what the layer reads, behind its norm.
        layer: a bilinear layer; a ``BilinearTensor`` counts as one without biases.
        outputs: a bilinear autoencoder of what the layer returns.

    Raises:
        QuadricError: the layer is not bilinear or not finite, an autoencoder has another width, or
            an affine one divides every token by its own norm, which no polynomial does.
    """
    lifted = isinstance(layer, GatedLayer) and layer.lifted
    tensor = (layer.tensor() if isinstance(layer, GatedLayer) else layer).to("cpu", torch.float64)
    for name, factor in {"left": tensor.left, "right": tensor.right, "out": tensor.out}.items():
        if factor is not None and not factor.isfinite().all():
            raise QuadricError(f"the layer's {name} matrix holds NaN or infinity")
    sides = (("input", inputs, tensor.d - lifted), ("output", outputs, tensor.m))
    for side, model, width in sides:
        if model.d_in != width:
            raise QuadricError(
                f"the {side} autoencoder has d_in {model.d_in}, but the layer's {side} has width "
                f"{width}: they do not belong together"
            )
        if model.config.affine and model.config.norm == "unit":
            raise QuadricError(
                f"the {side} autoencoder is affine with norm='unit': its constant does not scale "
                "with the token, so no polynomial computes its latents; train it with "
                "norm='constant' or affine=False"
            )
    inputs, outputs = (_exact(model) for model in (inputs, outputs))
    scale, centre = _affine(inputs)
    basis = torch.cat([torch.diag(scale), centre[:, None]], dim=1)  # x = basis [u; 1]
    if lifted:
        basis = torch.cat(
            [basis, torch.nn.functional.one_hot(torch.tensor([len(scale)])).to(basis)]
        )
    forms = _forms(tensor.with_input_basis(basis), outputs)
    dictionary = LatentForms(inputs, forms.d)
    return Composition(inputs, outputs, dictionary, forms, dictionary.between(forms).decoded)


def explained(measured: Float[Tensor, "t q"], predicted: Float[Tensor, "t q"]) -> Explained:
    """R² and Pearson's correlation of each column over tokens, in float64.

    Raises:
        QuadricError: the shapes differ, or there is no token.
    """
    if measured.shape != predicted.shape or not len(measured):
        raise QuadricError(
            f"measured and predicted have shapes {tuple(measured.shape)} and "
            f"{tuple(predicted.shape)}, expected the same (tokens, latents)"
        )
    y, found = measured.double(), predicted.double()
    centred, around = y - y.mean(0), found - found.mean(0)
    total = centred.square().sum(0)
    total = total.where(total > 1e-24 * y.square().sum(0), torch.nan)
    size = around.square().sum(0)
    size = size.where(size > 1e-24 * found.square().sum(0), torch.nan)
    pearson = (centred * around).sum(0) / (total * size).sqrt()
    return Explained(1 - (y - found).square().sum(0) / total, pearson)


def _exact(model: BilinearAutoencoder) -> BilinearAutoencoder:
    """A copy in float64 on the CPU."""
    return copy.deepcopy(model).to("cpu", torch.float64).eval().requires_grad_(False)


def _affine(model: BilinearAutoencoder) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Scale and centre of the transform, x = scale ⊙ u + centre; a unit norm is left out."""
    transform = model.transform
    norm = (
        transform.mean_norm
        if transform.norm == "constant"
        else torch.ones_like(transform.mean_norm)
    )
    return transform.scales * norm, transform.mean


def _forms(tensor: BilinearTensor, outputs: BilinearAutoencoder) -> BilinearTensor:
    """v = (y − centre) / scale as forms of [u; 1], then the 1 of an affine autoencoder."""
    scale, centre = _affine(outputs)
    out = torch.eye(tensor.n).to(tensor.left) if tensor.out is None else tensor.out
    out = torch.cat([out / scale[:, None], (-centre / scale)[:, None]], dim=1)
    if outputs.config.affine:
        out = torch.nn.functional.pad(out, (0, 0, 0, 1))
        out[-1, -1] = 1
    constant = torch.zeros_like(tensor.left[:1])
    constant[0, -1] = 1
    return BilinearTensor(
        torch.cat([tensor.left, constant]), torch.cat([tensor.right, constant]), out
    )
