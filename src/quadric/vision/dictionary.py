"""A sparse dictionary of a model's outputs, and the linear codes that its pseudo-inverse gives.

The outputs g(x) of a classifier's last block, which its head reads, are rebuilt from a dictionary D
(one unit column d_f per feature) in two ways: ĝ = D z(g) + b with an autoencoder's sparse codes z,
and ĝ = D a with a = D⁺g, the pseudo-inverse. The second codes are dense, but linear in g: DD⁺
projects onto the span of D, everything in that span is kept, and with the layer's forms every code
is a quadratic form of the image (``quadric.forms.express_in_dictionary``). How much survives is

    loss recovered = (L_uniform − L_patched) / (L_uniform − L_clean),

with L the mean cross-entropy on images and L_uniform that of equal guesses, log of the classes.
(After an unpublished write-up of T. Dooms and others on bilinear layers.)

The autoencoder is the TopK one of ``quadric.baselines``: at most k codes per image, revival of
silent features, no penalty. The write-up's had ReLU codes and a penalty on similar decoder columns,
which left it with few active features; here a small dictionary stands for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.autoencoders import InputTransform
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.fit import EVALUATE_AT_ONCE

DRAWN_AT_ONCE = 8192
"""Rows drawn together and used up batch by batch; the first of them set the scale."""


@dataclass(frozen=True)
class DictionaryConfig:
    """How a dictionary is trained.

    Raises:
        QuadricError: a value is out of range.
    """

    features: int
    """Number of features."""
    k: int = 5
    """Features active at once, at most; the write-up's 5.2 on average."""
    steps: int = 300
    """Optimiser steps."""
    batch_size: int = 512
    """Rows per step."""
    lr: float = 5e-3
    """Peak learning rate."""
    seed: int = 0
    """Seed of the initial weights and of the batches."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("features", "k", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.k > self.features:
            raise QuadricError(f"k is {self.k}, expected at most the {self.features} features")
        if not self.lr > 0:
            raise QuadricError(f"lr is {self.lr}, expected a positive number")


class Projection(NamedTuple):
    """A dictionary's pseudo-inverse."""

    encoder: Float[Tensor, "f n"]
    """D⁺ in float64: codes a = D⁺g are the shortest with their reconstruction."""
    matrix: Float[Tensor, "n n"]
    """DD⁺ in float64: symmetric, idempotent, the identity when the features span the outputs."""
    rank: int
    """Number of independent features."""


class Recovered(NamedTuple):
    """What is left of a classifier whose outputs were replaced."""

    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    """Share of images classified right."""
    share: float
    """Loss recovered: 1 for the model's own outputs, 0 for equal guesses."""


class Correlations(NamedTuple):
    """How alike two codes are, over all pairs of an image and a feature."""

    active: float | None
    """Pearson's, where the sparse code is not zero; None where that is nowhere or constant."""
    inactive: float | None
    """The same elsewhere."""


class OutputTest:
    """A classifier's outputs on some images, to be compared with replacements."""

    outputs: Float[Tensor, "N n"]
    """g, one row per image, in float64."""

    def __init__(self, model: ImageClassifier, images: Images) -> None:
        """Run the model.

        Raises:
            QuadricError: the model is no better than equal guesses, so nothing can be recovered.
        """
        self._head = model.head.weight.detach().double()
        self._labels: Int[Tensor, " N"] = images.labels
        self._uniform = log(len(model.classes))
        self.outputs = hidden_outputs(model, images).double()
        self.clean = self._loss(self.outputs @ self._head.mT)
        if self.clean >= self._uniform:
            raise QuadricError(
                f"the model's loss is {self.clean:.3f} nats and equal guesses have "
                f"{self._uniform:.3f}: there is no loss to recover, train it longer"
            )

    def recovered(self, outputs: Float[Tensor, "N n"]) -> Recovered:
        """The head's answer to replaced outputs."""
        return self.of_logits(outputs.double() @ self._head.mT)

    def of_logits(self, logits: Float[Tensor, "N m"]) -> Recovered:
        """The same for logits that were made in another way."""
        loss = self._loss(logits)
        accuracy = float((logits.argmax(dim=1) == self._labels).double().mean())
        return Recovered(loss, accuracy, (self._uniform - loss) / (self._uniform - self.clean))

    def _loss(self, logits: Float[Tensor, "N m"]) -> float:
        return float(F.cross_entropy(logits.double(), self._labels))


@torch.no_grad()
def hidden_outputs(model: ImageClassifier, images: Images) -> Float[Tensor, "N n"]:
    """g(x), what the head reads, for every image."""
    dtype = model.head.weight.dtype
    parts = torch.split(images.pixels, EVALUATE_AT_ONCE)
    return torch.cat([model.hidden(part.to(dtype)) for part in parts])


def train_dictionary(
    draw: Callable[[int, torch.Generator], Float[Tensor, "rows n"]], config: DictionaryConfig
) -> TopKAutoencoder:
    """Train a TopK autoencoder on rows that ``draw(count, generator)`` gives.

    Rows are divided by one number, their root mean square entry, and otherwise left as they are, so
    that ``dictionary(autoencoder)`` is a dictionary of the rows themselves.
    """
    generator = torch.Generator().manual_seed(config.seed)

    def batches() -> Iterator[Tensor]:
        while True:
            count = max(DRAWN_AT_ONCE, config.batch_size)
            yield from torch.split(draw(count, generator).float(), config.batch_size)

    sample = draw(DRAWN_AT_ONCE, generator).float()
    transform = InputTransform(sample.shape[1], centre=False, scale="whole", norm="none")
    autoencoder = train_topk(
        partial(next, batches()),
        config.features,
        config.k,
        steps=config.steps,
        lr=config.lr,
        seed=config.seed,
        transform=transform.fit(sample),
    )
    return autoencoder.requires_grad_(False)


def train_on_outputs(outputs: Float[Tensor, "N n"], config: DictionaryConfig) -> TopKAutoencoder:
    """Train a TopK autoencoder on a model's outputs, drawn with replacement."""

    def draw(count: int, generator: torch.Generator) -> Tensor:
        return outputs[torch.randint(len(outputs), (count,), generator=generator)]

    return train_dictionary(draw, config)


def dictionary(autoencoder: TopKAutoencoder) -> Float[Tensor, "n f"]:
    """D: the decoder's features as unit COLUMNS, in the outputs' own coordinates."""
    return autoencoder.decoder.detach().mT


@torch.no_grad()
def active_features(
    autoencoder: TopKAutoencoder, outputs: Float[Tensor, "N n"]
) -> Bool[Tensor, " f"]:
    """Which features are active on at least one of these rows."""
    active = torch.zeros(autoencoder.d_sae, dtype=torch.bool)
    for part in torch.split(outputs, EVALUATE_AT_ONCE):
        active |= (autoencoder.encode(part) != 0).any(dim=0)
    return active


@torch.no_grad()
def project(columns: Float[Tensor, "n f"]) -> Projection:
    """D⁺ and DD⁺ of a dictionary whose features are COLUMNS.

    Singular values below max(n, f)·ε of the largest, at the dictionary's own precision, count as
    zero.

    Raises:
        QuadricError: the dictionary is not finite.
    """
    if not columns.isfinite().all():
        raise QuadricError("the dictionary holds NaN or infinity")
    left, singular, right = torch.linalg.svd(columns.double(), full_matrices=False)
    floor = singular[:1] * max(columns.shape) * torch.finfo(columns.dtype).eps
    rank = int((singular > floor).sum())
    left, singular, right = left[:, :rank], singular[:rank], right[:rank]
    return Projection(right.mT @ (left / singular).mT, left @ left.mT, rank)


def random_dictionary(outputs: int, features: int, seed: int = 0) -> Float[Tensor, "n f"]:
    """Independent uniform directions as unit columns."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(outputs, features, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=0)


@torch.no_grad()
def sparse_drive(
    autoencoder: TopKAutoencoder, outputs: Float[Tensor, "N n"]
) -> Float[Tensor, "N f"]:
    """W(y − b) + c, what the sparse codes are the largest positive entries of."""
    y = autoencoder.transform.apply_to(outputs.to(autoencoder.dtype)).y
    return (y - autoencoder.bias) @ autoencoder.encoder.mT + autoencoder.encoder_bias


@torch.no_grad()
def linear_codes(
    autoencoder: TopKAutoencoder, outputs: Float[Tensor, "N n"], projection: Projection
) -> Float[Tensor, "N f"]:
    """D⁺(g − b) with the decoder's bias b, in float64: like the sparse codes, they describe g − b.

    They differ from D⁺g by a constant for each feature.
    """
    bias = autoencoder.transform.undo(autoencoder.bias).double()
    return (outputs.double() - bias) @ projection.encoder.mT


@torch.no_grad()
def correlations(
    autoencoder: TopKAutoencoder, outputs: Float[Tensor, "N n"], codes: Float[Tensor, "N f"]
) -> Correlations:
    """Pearson's correlation of ``codes`` with the sparse codes before ReLU and TopK.

    Where a feature is not active its sparse code is 0 and correlates with nothing, so
    ``sparse_drive`` stands for it on both sides.
    """
    drive = sparse_drive(autoencoder, outputs).double()
    active = autoencoder.encode(outputs) != 0
    return Correlations(*(_pearson(codes[where], drive[where]) for where in (active, ~active)))


def effective_number(codes: Float[Tensor, "N f"]) -> float:
    """(Σ|a|)²/Σa², the number of features that share an image's code; mean over images."""
    squares = codes.double().square().sum(dim=1)
    numbers = codes.double().abs().sum(dim=1).square() / squares
    return float(numbers[squares > 0].mean()) if bool((squares > 0).any()) else 0.0


def _pearson(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float | None:
    if len(a) < 2:
        return None
    a, b = (values.double() - values.double().mean() for values in (a, b))
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else None
