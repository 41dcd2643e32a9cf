"""One output latent of a bilinear layer between two quadratic dictionaries.

    f = Σ_j ⟨Q_lj, U⟩⟨Q_rj, U⟩ = ⟨U, H U⟩,      H = ½ Σ_j (Q_lj ⊗ Q_rj + Q_rj ⊗ Q_lj),

with U = [u; 1][u; 1]ᵀ: a quartic of u, that is a quadratic form on symmetric matrices, of rank at
most twice the number of products. It stays in factors; no d²×d² matrix is made. With K the Gram of
the 2s forms and S = ½[[0, I], [I, 0]], the nonzero eigenvalues of H are those of K^½ S K^½.

H is the operator that the factors write down. Its values on U = [u; 1][u; 1]ᵀ, the polynomial,
determine it only up to operators that vanish on all such U (x₁²·x₂² = (x₁x₂)²); what a dictionary
makes of U is not of that kind, and there H counts as it is written.

Read through a dictionary, ⟨Q, U⟩ ≈ a·[z; 1], the latent is [z; 1]ᵀ M [z; 1] with
M = ½ Σ_j (a_jb_jᵀ + b_ja_jᵀ).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.forms.blocks import row_blocks
from quadric.language.latent_forms import ROUNDING, LatentForms


class FormSpectrum(NamedTuple):
    """H = Σ_i values[i] · forms_i ⊗ forms_i, the largest |value| first."""

    values: Float[Tensor, "r"]
    forms: BilinearTensor
    """Orthonormal symmetric matrices on [u; 1], as r outputs."""


class Overlap(NamedTuple):
    """The 2s forms that a latent reads, left ones first, against those of the input latents."""

    cosines: Float[Tensor, "2s p"]
    """⟨Q, F_i⟩ / (‖Q‖‖F_i‖); 0 for a form of zeros."""
    span: Float[Tensor, "2s"]
    """Share of ‖Q‖² in the span of the F_i: the most that any use of these forms can give."""
    kept: Float[Tensor, "2s"]
    """1 − ‖Q − PQ‖²/‖Q‖², with PQ the form that the dictionary puts in Q's place, ⟨Q, Û⟩ =
    ⟨PQ, U⟩ up to a constant; it can be negative."""
    linear: Float[Tensor, "2s"]
    """Share of ‖Q‖² in its linear terms, which a dictionary that is not affine does not contain."""


class Pairs(NamedTuple):
    """Pairs of input latents by what they contribute, the strongest first."""

    first: Int[Tensor, "k"]
    second: Int[Tensor, "k"]
    """p stands for the constant: the pair is then a single latent."""
    weights: Float[Tensor, "k"]
    """w with w·z_i·z_j the contribution: 2M_ij, or M_ii."""

    def contributions(self, codes: Float[Tensor, "t p"]) -> Float[Tensor, "t k"]:
        """w z_i z_j at every token."""
        lifted = torch.nn.functional.pad(codes, (0, 1), value=1.0).to(self.weights)
        return lifted[:, self.first] * lifted[:, self.second] * self.weights


@dataclass(frozen=True, eq=False)
class ComposedLatent:
    """An output latent as a quartic, and as a quadratic form of input latents.

    Made by :meth:`quadric.language.composition.Composition.latent`. Where the output autoencoder
    divides by the norm, all of this is ‖v‖² times the latent.
    """

    left: BilinearTensor
    """Q_lj on [u; 1], one output per product."""
    right: BilinearTensor
    """Q_rj."""
    left_weights: Float[Tensor, "s p+1"]
    """a_j, the constant last."""
    right_weights: Float[Tensor, "s p+1"]
    """b_j."""

    @torch.no_grad()
    def __call__(self, lifted: Float[Tensor, "*batch d+1"]) -> Float[Tensor, "*batch"]:
        """Σ_j ⟨Q_lj, U⟩⟨Q_rj, U⟩ at some [u; 1].

        Raises:
            QuadricError: the last axis of ``lifted`` is not d + 1.
        """
        return (self.left(lifted) * self.right(lifted)).sum(-1)

    @property
    def forms(self) -> BilinearTensor:
        """All 2s forms that are multiplied, left ones first."""
        assert self.left.out is not None and self.right.out is not None
        both = torch.cat([self.left.out, self.right.out])
        return BilinearTensor(self.left.left, self.left.right, both)

    @property
    def on_latents(self) -> BilinearTensor:
        """[z; 1]ᵀ M [z; 1] as one quadratic form with s products: ``eigh``, ``interaction`` …"""
        ones = self.left_weights.new_ones(1, len(self.left_weights))
        return BilinearTensor(self.left_weights, self.right_weights, ones)

    @torch.no_grad()
    def spectrum(self) -> FormSpectrum:
        """The nonzero eigenvalues of H and its eigenforms, from the Gram of 2s forms."""
        forms = self.forms
        squares, columns = torch.linalg.eigh(forms.gram())
        kept = squares > ROUNDING * squares[-1:].clamp_min(torch.finfo(squares.dtype).tiny)
        roots, columns = squares[kept].sqrt(), columns[:, kept]
        half = columns * roots  # K = half halfᵀ
        count = forms.m // 2
        swapped = torch.cat([half[count:], half[:count]])
        values, turns = torch.linalg.eigh(half.mT @ swapped / 2)
        order = values.abs().argsort(descending=True, stable=True)
        basis = ((columns / roots) @ turns[:, order]).mT
        return FormSpectrum(values[order], forms.with_output_basis(basis))

    @torch.no_grad()
    def overlap(
        self, dictionary: LatentForms, turn: Float[Tensor, "d+1 d+1"] | None = None
    ) -> Overlap:
        """How far the forms that are read are forms of the input dictionary. Corners are left out.

        Args:
            dictionary: the composition's.
            turn: a rotation (:func:`quadric.language.latent_forms.rotation`) for the null: the
                dictionary's forms turned against the layer's.
        """
        forms = self.forms if turn is None else self.forms.with_input_basis(turn)
        encoded, decoded = dictionary.between(forms)
        parts = forms.parts()
        linear = parts.linear.square().sum(1) / 2
        sizes = parts.quadratic.gram().diagonal() + linear
        divisors = sizes.where(sizes > 0, torch.inf)
        norms = dictionary.decoder_gram.diagonal().clamp_min(0).sqrt()
        norms = norms.where(norms > 0, torch.inf)
        squares, columns = dictionary.decoder_axes
        inside = (decoded @ columns).square() / squares
        replaced = (decoded @ dictionary.gram * decoded).sum(1)
        return Overlap(
            decoded / norms / divisors.sqrt()[:, None],
            (inside.sum(1) / divisors).clamp(max=1),
            (2 * (decoded * encoded).sum(1) - replaced) / divisors,
            linear / divisors,
        )

    @torch.no_grad()
    def top_pairs(self, count: int, scales: Float[Tensor, "p"] | None = None) -> Pairs:
        """The pairs with the largest |w|·scale_i·scale_j, M's rows in blocks.

        The constant with itself is no pair and is left out.

        Args:
            count: how many; fewer where there are fewer.
            scales: the usual size of every input latent, such as its root mean square; 1 when None.

        Raises:
            QuadricError: ``count`` is below 1, or there is not one scale per input latent.
        """
        width = self.left_weights.shape[1]
        if count < 1:
            raise QuadricError(f"count is {count}, expected 1 or more")
        if scales is not None and scales.shape != (width - 1,):
            raise QuadricError(
                f"scales have shape {tuple(scales.shape)}, expected ({width - 1},): one number per "
                "input latent"
            )
        size = self.left_weights.new_ones(width)
        if scales is not None:
            size[:-1] = scales.to(size)
        left, right = self.left_weights * size, self.right_weights * size
        strength, place = size.new_zeros(0), torch.zeros(0, dtype=torch.long)
        for rows in row_blocks(width, width):
            block = left[:, rows].mT @ right + right[:, rows].mT @ left  # 2M, scaled
            numbers = torch.arange(rows.start, rows.stop)
            block[torch.arange(len(block)), numbers] /= 2
            # Each pair once, with the smaller number first.
            block = block.abs().masked_fill(torch.arange(width) < numbers[:, None], -1.0)
            if rows.stop == width:
                block[-1, -1] = -1.0
            strength = torch.cat([strength, block.flatten()])
            place = torch.cat([place, torch.arange(rows.start * width, rows.stop * width)])
            kept = strength.topk(min(count, len(strength)))
            strength, place = kept.values, place[kept.indices]
        place = place[strength >= 0]
        first, second = place // width, place % width
        a, b = self.left_weights, self.right_weights
        weights = (a[:, first] * b[:, second] + b[:, first] * a[:, second]).sum(0)
        return Pairs(first, second, torch.where(first == second, weights / 2, weights))
