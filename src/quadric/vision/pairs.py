"""Features of a layer from its weights alone: a sparse dictionary of what pairs of inputs write.

Every output is g(x) = Σ_{i≤j} w_ij x_ix_j · w_ijr_ij with r_ij = B(e_i, e_j), where w_ii = 1 and
w_ij = √2 for i < j (``quadric.forms.pairs``). The vectors w_ijr_ij, made from the weights, stand in
for the outputs of images when a dictionary is learned (after an unpublished write-up of T. Dooms
and others).

What is linear in the r_ij carries over to g exactly: a projection DD⁺, hence the pseudo-inverse
codes. Sparse codes do not: z(r + r') is not z(r) + z(r'). There are two ways of using
them, z of the image's output or every pair's z added up; ``superposed`` is the second.

Uncentred principal components of all pairs are ``layer_forms(model).hosvd()``, exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.baselines import TopKAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift, pair_blocks, sample_pairs
from quadric.layers.layer import GatedLayer, Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.dictionary import DictionaryConfig, train_dictionary

CODED = 32
"""Images whose codes are added up over all pairs."""


class Superposed(NamedTuple):
    """Sparse codes of all pairs, added up to images."""

    logits: Float[Tensor, "N m"]
    """Logits of Σ_{i≤j} w_ij x_ix_j · ĝ(w_ijr_ij), with ĝ the autoencoder: of rebuilt weights."""
    codes: Float[Tensor, "c f"]
    """Σ_{i≤j} w_ij x_ix_j · z(w_ijr_ij), of the first CODED images; beside z(g(x))."""
    error: float
    """Σ‖w_ijr_ij − ĝ(w_ijr_ij)‖² / Σ‖w_ijr_ij‖² over all pairs."""
    active: int
    """Features active on at least one pair."""
    mean_active: float
    """Features active per pair."""


def layer_forms(model: ImageClassifier, space: Space = "input") -> BilinearTensor:
    """What the head reads, as quadratic forms of pixels ("input") or of the embedding ("hidden").

    With biases a constant 1 is the last input.

    Raises:
        QuadricError: the model has several blocks, a residual path or another gate.
    """
    if len(model.blocks) > 1 or model.config.residual:
        what = "a residual path" if model.config.residual else f"{len(model.blocks)} blocks"
        raise QuadricError(
            f"the model has {what}, so what its head reads is no stack of forms that pairs of "
            "inputs add up to: train it with one block and residual=False"
        )
    block = model.blocks[0]
    assert isinstance(block, GatedLayer)
    tensor = block.tensor()
    if space == "hidden" or model.embed is None:
        return tensor
    return tensor.with_input_basis(model.input_basis())


def train_on_pairs(tensor: BilinearTensor, config: DictionaryConfig) -> TopKAutoencoder:
    """Train a TopK autoencoder on weighted pairs, drawn uniformly and made as they are drawn."""
    return train_dictionary(
        lambda count, generator: sample_pairs(tensor, count, generator).weighted, config
    )


@torch.no_grad()
def superposed(
    tensor: BilinearTensor,
    autoencoder: TopKAutoencoder,
    head: Float[Tensor, "m n"],
    x: Float[Tensor, "N d"],
) -> Superposed:
    """Encode every pair once, and add up its codes and reconstructions for each image.

    Args:
        tensor: the layer's forms, with n outputs of d inputs.
        autoencoder: of its pairs.
        head: read-out of the outputs.
        x: what the forms read, one row per image; see ``layer_inputs``.

    O(d²·n·f) for the pairs, and O(N·d²·m) for the logits through m forms of d×d; the codes, which
    take O(N·d²·f), are made for the first CODED rows only.

    Raises:
        QuadricError: ``x`` or ``head`` does not fit the tensor.
    """
    if x.ndim != 2 or x.shape[1] != tensor.d or head.shape[1] != tensor.m:
        raise QuadricError(
            f"x has shape {tuple(x.shape)} and head {tuple(head.shape)}, expected (N, {tensor.d}) "
            f"and (m, {tensor.m})"
        )
    forms = tensor.left.new_zeros(len(head), tensor.d, tensor.d)
    some = x[:CODED]
    codes = x.new_zeros(len(some), autoencoder.d_sae)
    missed = total = count = pairs = 0.0
    seen = torch.zeros(autoencoder.d_sae, dtype=torch.bool, device=x.device)
    for block in pair_blocks(tensor):
        vectors, weights = block.weighted, block.weights
        latents = autoencoder.encode(vectors)
        rebuilt = autoencoder.decode(latents).to(vectors)
        missed += float((vectors - rebuilt).double().square().sum())
        total += float(vectors.double().square().sum())
        count += float((latents != 0).sum())
        pairs += len(vectors)
        seen |= (latents != 0).any(dim=0)
        entries = ((rebuilt / weights[:, None]) @ head.to(rebuilt).mT).mT
        forms[:, block.first, block.second] = entries
        forms[:, block.second, block.first] = entries
        products = some[:, block.first] * some[:, block.second] * weights.to(some)
        codes += products @ latents.to(some)
    x = x.to(forms)
    logits = torch.stack([((x @ form) * x).sum(dim=1) for form in forms], dim=1)
    error = missed / total if total else 0.0
    return Superposed(logits, codes, error, int(seen.sum()), count / pairs)


def layer_inputs(
    model: ImageClassifier, images: Images, space: Space = "input"
) -> Float[Tensor, "N d"]:
    """What the forms of ``layer_forms`` read, one row per image."""
    x = images.pixels.to(model.head.weight.dtype)
    if space == "hidden" and model.embed is not None:
        x = x @ model.embed.weight.detach().mT
    return lift(x) if model.lifted else x


@torch.no_grad()
def form_cosines(
    tensor: BilinearTensor, directions: Float[Tensor, "f n"], head: Float[Tensor, "m n"]
) -> Float[Tensor, "f m"]:
    """⟨Q_f, Q_c⟩/(‖Q_f‖‖Q_c‖) between the forms of directions and of classes, in float64.

    Q_f is what a direction u_f of the outputs reads, the matrix with entries u_f·r_ij. A direction
    or class whose form is zero has cosine 0.

    Args:
        tensor: the layer's forms.
        directions: ROWS: a dictionary's features d_f, or the rows of D⁺, whose forms are the
            pseudo-inverse codes.
        head: read-out of the outputs, whose rows give the classes' forms.

    Raises:
        QuadricError: the rows do not have one entry per output.
    """
    exact = tensor.to(dtype=torch.float64)
    features, classes = (exact.with_output_basis(rows.double()) for rows in (directions, head))
    sizes = [part.gram().diagonal().clamp_min(0).sqrt() for part in (features, classes)]
    product = sizes[0][:, None] * sizes[1]
    return torch.where(product > 0, features.cross_gram(classes) / product, 0.0)
