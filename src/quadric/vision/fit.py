"""Train an image classifier.

    history = fit(model, data.train, FitConfig(epochs=20), AugmentConfig(noise=0.4))

One seed decides the order of images and the augmentation; on one device, with one number of
threads, the same call gives the same weights to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import FitConfig
from quadric.vision.data.augment import AugmentConfig, augment
from quadric.vision.data.images import Images

EVALUATE_AT_ONCE = 8192
"""Images per piece where no gradient is needed."""


class Epoch(NamedTuple):
    """One pass over the training images."""

    epoch: int
    """Counted from 1."""
    loss: float
    """Mean cross-entropy of its augmented batches, in nats."""


def fit(
    model: ImageClassifier,
    images: Images,
    config: FitConfig | None = None,
    augmentation: AugmentConfig | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train ``model`` in place, on the device where it is, and return its loss by epoch.

    Raises:
        QuadricError: the images have another size or other classes than the model, or the loss is
            no longer finite.
    """
    config, augmentation = config or FitConfig(), augmentation or AugmentConfig()
    _check(model, images)
    device = next(model.parameters()).device
    images = images.to(device)
    generator = torch.Generator(device).manual_seed(config.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    per_epoch = math.ceil(len(images) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * per_epoch)
    history = []
    with torch.random.fork_rng():  # dropout and model noise draw from torch's own generator
        torch.manual_seed(config.seed)
        for epoch in range(1, config.epochs + 1):
            model.train()
            order = torch.randperm(len(images), generator=generator, device=device)
            total = torch.zeros((), device=device)
            for ids in torch.split(order, config.batch_size):
                batch = augment(images.pixels[ids], images.shape, augmentation, generator)
                loss = F.cross_entropy(model(batch), images.labels[ids])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(ids)
            model.eval()
            mean = float(total) / len(images)
            if not math.isfinite(mean):
                raise QuadricError(
                    f"the loss is {mean} after epoch {epoch}: lower lr (it is {config.lr:g})"
                )
            history.append(Epoch(epoch, mean))
            if on_epoch is not None:
                on_epoch(history[-1])
    return history


@torch.no_grad()
def accuracy(model: ImageClassifier, images: Images) -> float:
    """Share of images whose largest logit is their label's.

    Raises:
        QuadricError: the images have another size or other classes than the model.
    """
    _check(model, images)
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(images), EVALUATE_AT_ONCE):
        part = slice(start, start + EVALUATE_AT_ONCE)
        guess = model(images.pixels[part].to(device)).argmax(dim=1)
        right += int((guess == images.labels[part].to(device)).sum())
    return right / len(images)


def _check(model: ImageClassifier, images: Images) -> None:
    if images.shape != model.shape:
        raise QuadricError(
            f"the images are {'×'.join(map(str, images.shape))} and the model reads "
            f"{'×'.join(map(str, model.shape))}"
        )
    if images.classes != model.classes:
        raise QuadricError(
            f"the images have the classes {', '.join(images.classes)} and the model "
            f"{', '.join(model.classes)}"
        )
    if not len(images):
        raise QuadricError("there are no images")
