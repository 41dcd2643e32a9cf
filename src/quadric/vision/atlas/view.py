"""An image classifier as the pages of an atlas see it: forms in the space of pixels.

    view = ClassifierView(model)
    view.forms(entries)[0].values_at(pixels)     # Σ_c weight_c · logit_c, biases included

Axes are orthonormal eigenvectors of the quadratic part over pixels, EᵀQE, so that coordinates,
form and pictures agree: p_i is the dot product of the image with the picture of axis i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quadric.atlas.content.axes import Form, Group, eigen_form
from quadric.atlas.content.images import direction_images
from quadric.forms import BilinearTensor, Eigenpairs, lift
from quadric.runs.listing import Entry
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import spectra


@dataclass(frozen=True)
class ClassifierView:
    """Weighted sums of logits, which read pixels as they are.

    Raises:
        QuadricError: when a form is asked for and the logits are no quadratic forms.
    """

    model: ImageClassifier
    """A classifier with one bilinear block."""

    @cached_property
    def tensor(self) -> BilinearTensor:
        """All logits over pixels, over [x; 1] where the model is lifted, in float32."""
        return self.model.tensor("input").to(device="cpu", dtype=torch.float32)

    def stack(self, weights: Float[Tensor, "q m"]) -> BilinearTensor:
        """Combinations of the logits, one a row."""
        return self.tensor.with_output_basis(weights)

    def pairs(self, weights: Float[Tensor, "q m"]) -> Eigenpairs:
        """Their eigenvalues, the largest |λ| first, and eigenvectors over pixels."""
        found = spectra(self.model, weights, space="input")
        return Eigenpairs(found.values.float().cpu(), found.vectors.float().cpu())

    def values(self, weights: Float[Tensor, "q m"], x: Float[Tensor, "n p"]) -> Tensor:
        """The combinations at images (n, q), without decomposing them."""
        return self.stack(weights)(lift(x) if self.model.lifted else x)

    def combine(self, groups: Sequence[Group]) -> list[Form]:
        """Weighted sums of classes on their leading eigenvectors of both signs."""
        weights = torch.zeros(len(groups), self.tensor.m)
        for row, group in zip(weights, groups, strict=True):
            row[list(group.members)] = torch.tensor(group.weights)
        out = self.stack(weights).out
        assert out is not None
        left, right = self.tensor.left, self.tensor.right
        return [
            eigen_form(group, values, vectors, left, right * shares[:, None], both_signs=True)
            for group, values, vectors, shares in zip(
                groups, *self.pairs(weights), out, strict=True
            )
        ]

    def forms(self, entries: Sequence[Entry]) -> list[Form]:
        """The forms of some entries, whose members are classes."""
        return self.combine([Group(each.id, each.members, each.weights) for each in entries])

    def read(self, x: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """The pixels themselves."""
        return x

    def pictures(self, axes: Float[Tensor, "r p"]) -> Float[np.ndarray, "r h w c"]:
        """The axes themselves."""
        return direction_images(axes, self.model.shape)
