"""The optimiser and its learning rate, both functions of the configuration and the step.

The rate depends on the step alone, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import nn

from quadric.training.config import Schedule, TrainingConfig


def build(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of one autoencoder, whose parameters are all matrices.

    Muon's own scaling √max(1, rows/columns) turns ``lr`` into the root-mean-square length that
    the rows of a tall factor move per step, which is what keeps one rate good for all sizes.
    """
    if config.optimizer == "muon":
        return torch.optim.Muon(
            parameters, lr=config.lr, momentum=0.95, nesterov=True, weight_decay=0.0
        )
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.0, fused=True)


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
