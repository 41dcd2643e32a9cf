"""A model's own outputs and forms, by importance: the singular value decomposition of its tensor.

Matricise the symmetric tensor between outputs and pairs of inputs: B = Σ_i σ_i u_i ⊗ q_i with
orthonormal directions u_i and orthonormal forms q_i (arXiv 2410.08417, §3.3). Of the "classes" (the
m logits) this finds combinations of classes; of the "hidden" products g, before the head, it finds
features without being told what to look for. The model is

    logits(x) = Σ_i σ_i (H u_i) (Ex·q_i·Ex),

so cutting the sum cuts the model: ``truncation_accuracies`` does it for every rank at once.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.forms.reduce import reduce_inputs
from quadric.layers.layer import GatedLayer, Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images

Outputs = Literal["classes", "hidden"]
"""What is decomposed: the logits, or the products that the head reads."""

_CELLS = 2**22
"""Numbers held at once while accuracies are counted."""


class Components(NamedTuple):
    """The singular components of an image model, largest σ first."""

    outputs: Outputs
    """What was decomposed."""
    singular_values: Float[Tensor, "r"]
    """σ_i, all above the rounding of float64; Σσ² = ‖B‖²."""
    directions: Float[Tensor, "r m"]
    """u_i as orthonormal rows over the classes, or over the hidden products."""
    readout: Float[Tensor, "r classes"]
    """σ_i H u_i: what the component adds to each logit per unit of its form (σ_i u_i for the
    classes themselves)."""
    forms: BilinearTensor
    """q_i as the r outputs of a tensor, in coordinates whose norms are those of the space."""
    frame: Float[Tensor, "d p"] | None
    """Rows from those coordinates to the pixels; None where they are the pixels."""

    def eigen(self, components: int, k: int) -> tuple[Tensor, Tensor]:
        """The k eigenvalues (c, k) of the first forms that are largest in |λ|, and the images
        (c, k, p) of their eigenvectors.

        Raises:
            QuadricError: there are fewer components, or forms have fewer inputs than k.
        """
        found = len(self.singular_values)
        if not 1 <= components <= found:
            raise QuadricError(f"components is {components}, expected 1 to {found}")
        ones = torch.eye(components, found, dtype=self.forms.dtype, device=self.forms.device)
        values, vectors = self.forms.eigh_many(ones, k, "abs")
        return values, vectors if self.frame is None else vectors @ self.frame


@torch.no_grad()
def components(
    model: ImageClassifier,
    outputs: Outputs = "hidden",
    space: Space = "input",
    rank: int | None = None,
) -> Components:
    """The leading singular components of a model, at most ``rank`` of them.

    Args:
        model: a classifier with one bilinear block, without biases and residual path.
        outputs: decompose the logits, or the hidden products before the head.
        space: in which the forms are orthonormal: "input" for pixels, "hidden" for the embedding.
        rank: how many.

    O(n²(d + n)) for the hidden products of n neurons on d inputs; nothing of size d² is kept.

    Raises:
        QuadricError: the model's logits are not forms of the image alone, or ``outputs``,
            ``space`` or ``rank`` does not fit.
    """
    if outputs not in get_args(Outputs):
        raise QuadricError(f"outputs is {outputs!r}, expected classes or hidden")
    if space not in get_args(Space):
        raise QuadricError(f"space is {space!r}, expected hidden or input")
    if model.lifted:
        raise QuadricError(
            "the model has biases or a residual path, so its outputs are not forms of the image "
            "alone: train it with bias=False and residual=False"
        )
    logits = model.tensor("hidden")  # refuses several blocks and other gates
    head = model.head.weight.detach()
    tensor = logits
    if outputs == "hidden":
        block = model.blocks[0]
        assert isinstance(block, GatedLayer)
        tensor = block.tensor()
    embed = None if model.embed is None else model.embed.weight.detach()
    frame = embed
    if space == "input" and embed is not None:
        # In the span of E's rows: norms, singular values and spectra are those over pixels.
        tensor, frame = reduce_inputs(tensor, embed)
    found = tensor.hosvd(rank)
    weighted = found.singular_values[:, None] * found.directions
    readout = weighted if outputs == "classes" else weighted @ head.mT
    return Components(outputs, found.singular_values, found.directions, readout, found.forms, frame)


@torch.no_grad()
def truncation_accuracies(
    model: ImageClassifier, images: Images, found: Components
) -> Float[Tensor, "r+1"]:
    """Share of images classified right with the first 0, 1, …, r components.

    The outputs are projected onto the span of u_1 … u_k; those of the hidden products then pass
    through the head. With every component the logits are the model's own. With none all logits are
    0, which counts as the first class.

    Raises:
        QuadricError: the components are of another model, or the images do not fit it.
    """
    directions, head = found.directions, model.head.weight.detach()
    m, n = head.shape
    expected = m if found.outputs == "classes" else n
    if directions.shape[1] != expected:
        raise QuadricError(
            f"the components are directions of {directions.shape[1]} {found.outputs} outputs and "
            f"the model has {expected}: they belong to another model"
        )
    of_classes = found.outputs == "classes"
    reads = directions @ head if of_classes else directions
    adds = directions if of_classes else directions @ head.mT
    right = torch.zeros(len(directions) + 1, dtype=torch.int64, device=head.device)
    step = max(1, _CELLS // (len(right) * m))
    for start in range(0, len(images), step):
        pixels = images.pixels[start : start + step]
        labels = images.labels[start : start + step]
        amounts = model.hidden(pixels.to(head)) @ reads.mT
        logits = (amounts[:, :, None] * adds).cumsum(dim=1)
        none = logits.new_zeros(len(logits), 1, m)
        guessed = torch.cat([none, logits], dim=1).argmax(dim=2)
        right += (guessed == labels.to(head.device)[:, None]).sum(dim=0)
    return right.double().cpu() / len(images)
