"""Training: reproducible, effective, and honest about what it cannot use."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig, FitConfig
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.data.datasets import open_images
from quadric.vision.fit import accuracy, fit
from tests.vision.builders import random_model

SHORT = FitConfig(epochs=3, batch_size=128, lr=5e-3)


def trained(config: FitConfig = SHORT, **parts: object) -> tuple[ImageClassifier, list[float]]:
    data = open_images("digits")
    model = ImageClassifier.build(
        data.train, ClassifierConfig(**{"d_embed": 12, "d_hidden": 12, **parts}), config.seed
    )
    return model, [epoch.loss for epoch in fit(model, data.train, config)]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    (first, _), (again, _) = trained(dropout=0.2), trained(dropout=0.2)
    other, _ = trained(dataclasses.replace(SHORT, seed=1), dropout=0.2)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_it_learns_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model, losses = trained(dataclasses.replace(SHORT, epochs=12))
    assert torch.equal(torch.rand(3), expected)
    assert len(losses) == 12 and losses[0] > 2 and losses[-1] < 1
    assert accuracy(model, open_images("digits").test) > 0.8
    assert not model.training


def test_weight_decay_shrinks_the_tensor() -> None:
    sizes = [
        float(trained(dataclasses.replace(SHORT, epochs=8, weight_decay=decay))[0].tensor().norm())
        for decay in (0.0, 20.0)
    ]
    assert sizes[1] < 0.7 * sizes[0]


def test_divergence_is_one_line() -> None:
    with pytest.raises(QuadricError, match=r"the loss is .* after epoch .*lower lr"):
        trained(FitConfig(epochs=5, lr=1e6))


def test_other_images_are_refused() -> None:
    digits = open_images("digits").train
    with pytest.raises(QuadricError, match="the images are 8×8×1 and the model reads 3×4×1"):
        accuracy(random_model(), digits)
    model = ImageClassifier(ClassifierConfig(), (8, 8, 1), ("no", "yes"))
    with pytest.raises(QuadricError, match=r"classes 0, 1, .* and the model no, yes"):
        fit(model, digits)
    with pytest.raises(QuadricError, match="no images"):
        fit(trained()[0], digits.take(torch.tensor([], dtype=torch.int64)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"lr": 0.0}, "lr is 0.0, expected a positive"),
        ({"lr": math.nan}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"snapshots": 41}, "snapshots is 41, expected at most the 40 epochs"),
    ],
)
def test_ranges(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        FitConfig(**wrong)  # type: ignore[arg-type]


def test_noise_is_drawn_anew_for_every_epoch() -> None:
    data = open_images("digits")
    model = ImageClassifier.build(data.train, ClassifierConfig(d_embed=4, d_hidden=4))
    still = FitConfig(epochs=2, batch_size=2000, lr=1e-12, weight_decay=0.0)
    noisy = [epoch.loss for epoch in fit(model, data.train, still, AugmentConfig(noise=1.0))]
    clean = [epoch.loss for epoch in fit(model, data.train, still, AugmentConfig(noise=0.0))]
    assert abs(noisy[0] - noisy[1]) > 1e-5 > 10 * abs(clean[0] - clean[1])
