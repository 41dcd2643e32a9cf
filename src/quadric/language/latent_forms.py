"""The forms of a quadratic dictionary's latents, on [u; 1], and inner products with them.

Latent i of a bilinear autoencoder computes z_i = ⟨E_i, U⟩, U = [u; 1][u; 1]ᵀ, and adds z_iF_i to
the reconstruction Û. The two are one form, unless the autoencoder mixes: F_i = Σ_j (DᵀD)_ij E_j.
Where it is not affine its forms have no linear part. The corner of U is always 1 and tells nothing,
so all inner products here leave corners out: ⟨P, Q⟩ − P_cc Q_cc.

    dictionary = LatentForms(autoencoder, width)
    dictionary.between(layer_forms).decoded      # what the layer is in the latents
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Dense
from quadric.forms import BilinearTensor
from quadric.forms.blocks import row_blocks

ROUNDING = 1e-10
"""Eigenvalues of a Gram below this share of the largest are rounding."""


class Inner(NamedTuple):
    """Inner products of forms Q with those of the input latents, corners left out."""

    encoded: Float[Tensor, "q p"]
    """⟨Q, E_i⟩ with E_i the form that latent i computes, z_i = ⟨E_i, U⟩."""
    decoded: Float[Tensor, "q p"]
    """⟨Q, F_i⟩ with F_i the form that latent i adds to the reconstruction."""


class LatentForms:
    """E_i and F_i of every latent of an autoencoder, as factors."""

    def __init__(self, model: BilinearAutoencoder, width: int) -> None:
        """Read the forms; coordinates that the autoencoder does not have are zeros at the end."""
        missing = width - model.left.shape[1]
        factors = (model.left.detach(), model.right.detach())
        self.atoms = BilinearTensor(*(torch.nn.functional.pad(f, (0, missing)) for f in factors))
        """One form per product."""
        self.mixing = model.mixing
        self.count = model.d_sae
        """Number of latents."""

    @torch.no_grad()
    def between(self, forms: BilinearTensor) -> Inner:
        """Inner products of some forms with those of every latent."""
        atoms = self.atoms
        products = forms.cross_gram(atoms) - corners(forms)[:, None] * corners(atoms)
        encoded = self.mixing.latents(products)
        # The transpose of latents → coefficients: DᵀD is symmetric, and a block's sum is taken.
        mixes = isinstance(self.mixing, Dense)
        return Inner(encoded, self.mixing.coefficients(encoded) if mixes else encoded)

    @cached_property
    def gram(self) -> Float[Tensor, "p p"]:
        """⟨E_i, E_j⟩."""
        block = self.atoms.n // self.count
        rows = []
        for some in row_blocks(self.count, block * self.atoms.n):
            products = slice(some.start * block, some.stop * block)
            left, right = self.atoms.left[products], self.atoms.right[products]
            sums = torch.eye(some.stop - some.start).to(left).repeat_interleave(block, dim=1)
            rows.append(self.between(BilinearTensor(left, right, sums)).encoded)
        found = torch.cat(rows)
        return (found + found.mT) / 2

    @cached_property
    def decoder_gram(self) -> Float[Tensor, "p p"]:
        """⟨F_i, F_j⟩; the same as ``gram`` unless the autoencoder mixes its latents."""
        if not isinstance(self.mixing, Dense):
            return self.gram
        found: Tensor = self.mixing.coefficients(self.mixing.coefficients(self.gram).mT)
        return found

    @cached_property
    def decoder_axes(self) -> tuple[Float[Tensor, "r"], Float[Tensor, "p r"]]:
        """The nonzero eigenvalues of ``decoder_gram`` and their eigenvectors, as columns."""
        values, vectors = torch.linalg.eigh(self.decoder_gram)
        kept = values > ROUNDING * values[-1:].clamp_min(torch.finfo(values.dtype).tiny)
        return values[kept], vectors[:, kept]


def corners(forms: BilinearTensor) -> Float[Tensor, "m"]:
    """The last diagonal entry of every form: its value at [0; 1]."""
    return forms.read_out(forms.left[:, -1] * forms.right[:, -1])


def rotation(forms: BilinearTensor, seed: int) -> Float[Tensor, "d d"]:
    """A random rotation of every coordinate but the constant, which is the last."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(forms.d - 1, forms.d - 1, generator=generator, dtype=torch.float64)
    turned = torch.nn.functional.pad(torch.linalg.qr(drawn).Q, (0, 1, 0, 1))
    turned[-1, -1] = 1
    return turned.to(forms.left)
