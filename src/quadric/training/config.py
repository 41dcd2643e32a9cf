"""How autoencoders are trained; what they are is ``AutoencoderConfig``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quadric.errors import QuadricError

Optimizer = Literal["auto", "muon", "adamw"]
Schedule = Literal["linear", "cosine", "constant"]
ProductDtype = Literal["auto", "float32", "bfloat16"]

LOGGERS = ("tensorboard", "wandb", "trackio")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run; several autoencoders can share it.

    The defaults were chosen on SmolLM2-135M by ``benchmarks/sweep_defaults.py``.

    Raises:
        QuadricError: a value is out of range.
    """

    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 4096
    """Activations per step; fewer when the data has fewer rows."""
    lr: float | None = None
    """Peak learning rate; 0.2 for Muon and 0.01 for AdamW when absent. For Muon it is the length a
    factor row moves per step, so it does not depend on the sizes."""
    optimizer: Optimizer = "auto"
    """torch.optim.Muon (momentum 0.95, Nesterov, no weight decay), torch.optim.AdamW, or the better
    one for each autoencoder (auto): AdamW for topk, Muon for all others."""
    schedule: Schedule = "linear"
    """How the learning rate falls from lr to zero after its warm-up, or stays."""
    lr_warmup: int = 10
    """Steps over which the learning rate rises linearly from zero."""
    max_grad_norm: float | None = None
    """Clip the gradient of each autoencoder to this norm; none when absent."""
    eval_every: int = 50
    """Steps between evaluations on held-out activations."""
    eval_rows: int = 4096
    """Held-out activations per evaluation; the N of the reported density."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints; one is also written on SIGINT and SIGTERM."""
    product_dtype: ProductDtype = "auto"
    """Type of the large matrix products; auto times both and takes bfloat16 where it is faster."""
    device: str = "auto"
    """Device of the autoencoders; auto takes an accelerator where there is one."""
    dictionary_shards: int = 1
    """Under torchrun: processes that share one copy of the weights and of their optimiser, a
    divisor of all; batches are divided over all processes. With 1 each has its own copy."""
    loggers: str = ""
    """Comma-separated extra logs beside metrics.jsonl: tensorboard, wandb, trackio."""
    seed: int = 0
    """Seed of the data order."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in (
            "steps", "batch_size", "eval_every", "eval_rows", "dictionary_shards",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected a positive integer")
        for name in ("lr", "checkpoint_minutes", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise QuadricError(f"{name} is {value}, expected a positive number")
        if self.lr_warmup < 0:
            raise QuadricError(f"lr_warmup is {self.lr_warmup}, expected 0 or more")
        _ = self.logger_names

    @property
    def logger_names(self) -> tuple[str, ...]:
        """The loggers asked for, one name each."""
        return logger_names(self.loggers)


def logger_names(loggers: str) -> tuple[str, ...]:
    """A comma-separated list of loggers as names.

    Raises:
        QuadricError: one is unknown.
    """
    names = tuple(name.strip() for name in loggers.split(",") if name.strip())
    for name in names:
        if name not in LOGGERS:
            raise QuadricError(f"unknown logger {name!r}, expected {', '.join(LOGGERS)}")
    return names
