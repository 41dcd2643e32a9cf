"""The optimiser and its learning rate, both functions of the configuration and the step.

The rate depends on the step alone, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import nn

from quadric.autoencoders.config import Variant
from quadric.training.config import Schedule, TrainingConfig

RATES: dict[Literal["muon", "adamw"], float] = {"muon": 0.2, "adamw": 0.01}
"""Peak learning rates when none is asked for."""


class Updates(NamedTuple):
    """How the weights of one autoencoder are updated, with every choice made."""

    optimizer: Literal["muon", "adamw"]
    lr: float
    """The peak rate."""
    lr_warmup: int
    steps: int
    schedule: Schedule


def updates(config: TrainingConfig, variant: Variant) -> Updates:
    """What a configuration means for an autoencoder of this variant.

    Muon orthogonalises all rows of a factor in every step. A topk batch moves few of them, and for
    these Muon diverges at rates that serve the others, besides taking longer than the rest of the
    step when the dictionary is large (docs/scale.md).
    """
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "adamw" if variant == "topk" else "muon"
    lr = RATES[optimizer] if config.lr is None else config.lr
    return Updates(optimizer, lr, config.lr_warmup, config.steps, config.schedule)


def build(parameters: Iterable[nn.Parameter], chosen: Updates) -> torch.optim.Optimizer:
    """The optimiser of one autoencoder, whose parameters are all matrices.

    Muon's own scaling √max(1, rows/columns) turns ``lr`` into the root-mean-square length that
    the rows of a tall factor move per step, which is what keeps one rate good for all sizes.
    """
    if chosen.optimizer == "muon":
        return torch.optim.Muon(
            parameters, lr=chosen.lr, momentum=0.95, nesterov=True, weight_decay=0.0
        )
    return torch.optim.AdamW(parameters, lr=chosen.lr, weight_decay=0.0, fused=True)


class Paced(Protocol):
    """A configuration with a learning rate that rises and falls."""

    @property
    def lr(self) -> float:
        """Its peak."""
        ...

    @property
    def lr_warmup(self) -> int:
        """Steps over which it rises."""
        ...

    @property
    def steps(self) -> int:
        """All steps."""
        ...

    @property
    def schedule(self) -> Schedule:
        """How it falls."""
        ...


def learning_rate(config: Paced, step: int) -> float:
    """The rate at a step counted from 0."""
    if step < config.lr_warmup:
        return config.lr * (step + 1) / (config.lr_warmup + 1)
    progress = (step - config.lr_warmup) / max(1, config.steps - config.lr_warmup)
    if config.schedule == "linear":
        return config.lr * (1 - progress)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr
