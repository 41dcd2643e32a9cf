"""What the pages of an atlas ask of a model, and an autoencoder's answers.

view = AutoencoderView(model)
forms = view.forms(entries)
forms[0].values_at(view.read(x))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from torch import Tensor

from quadric.atlas.content.axes import Form, Group, group_forms, latent_forms
from quadric.atlas.content.images import Shape, axis_images
from quadric.atlas.content.points import transformed
from quadric.autoencoders import BilinearAutoencoder
from quadric.runs.listing import Entry


class View(Protocol):
    """A model of quadratic forms, as an atlas shows it."""

    def forms(self, entries: Sequence[Entry]) -> list[Form]:
        """The forms of some entries on their axes."""
        ...

    def read(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d"]:
        """Rows of the store as the forms read them, on the CPU."""
        ...

    def pictures(self, axes: Float[Tensor, "r d"]) -> Float[np.ndarray, "r h w c"] | None:
        """Axes as directions among pixels, of length 1; None where rows are no images."""
        ...


@dataclass(frozen=True)
class AutoencoderView:
    """Latents and groups of latents, which read activations through a transform."""

    model: BilinearAutoencoder
    """The autoencoder."""
    image_shape: Shape | None = None
    """Height, width and channels, where activations are pixels."""

    def forms(self, entries: Sequence[Entry]) -> list[Form]:
        """Latents on their eigenvectors, groups on the directions that their members share."""
        latents = [entry.id for entry in entries if entry.kind != "group"]
        groups = [Group(e.id, e.members, e.weights) for e in entries if e.kind == "group"]
        forms = latent_forms(self.model, latents) + group_forms(self.model, groups)
        found = {form.id: form for form in forms}
        return [found[entry.id] for entry in entries]

    def read(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Activations as the transform shows them."""
        return transformed(self.model, x)

    def pictures(self, axes: Float[Tensor, "r d_in"]) -> Float[np.ndarray, "r h w c"] | None:
        """Axes as what a step along them changes in the activations."""
        return axis_images(self.model, axes, self.image_shape)
