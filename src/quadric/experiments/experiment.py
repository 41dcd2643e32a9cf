"""What an experiment is: settings in; data, one picture and a comparison with the paper out.

A file of this folder holds one experiment: a function that measures, one that draws what was
measured, one that compares it with what was published, and the :class:`Experiment` that names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

PAPER = "arXiv 2510.16820"
FOLLOW_UP = "arXiv 2605.08891"

QUICK_TOKENS = 40_960
"""Tokens behind every quick experiment."""


@dataclass(frozen=True)
class Settings:
    """How much an experiment trains.

    Raises:
        QuadricError: a value is out of range.
    """

    expansion: float = 4.0
    """Products per input dimension."""
    density_weights: str = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
    """Comma-separated weights of the density penalty; experiments that need one take the middle."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 4096
    """Activations per step."""
    lr: float = 0.2
    """Peak learning rate."""
    eval_rows: int = 4096
    """Held-out activations behind every figure; the N of the densities."""
    seed: int = 0
    """Seed of the data order and of the first autoencoder's weights."""
    device: str = "auto"
    """Device of the autoencoders; auto takes an accelerator where there is one."""

    def __post_init__(self) -> None:
        """Check the ranges that no configuration behind this one checks."""
        if not self.expansion > 0:
            raise QuadricError(f"expansion is {self.expansion}, expected a positive number")
        if self.eval_rows < 2:
            raise QuadricError(f"eval_rows is {self.eval_rows}, expected 2 or more")
        if not self.weights:
            raise QuadricError("density_weights is empty, expected numbers such as 0,0.3,1")

    @property
    def weights(self) -> tuple[float, ...]:
        """The density weights as numbers, ascending."""
        parts = [part.strip() for part in self.density_weights.split(",") if part.strip()]
        try:
            values = {float(part) for part in parts}
        except ValueError as error:
            raise QuadricError(
                f"density_weights is {self.density_weights!r}, expected numbers such as 0,0.3,1"
            ) from error
        if any(not (math.isfinite(value) and value >= 0) for value in values):
            raise QuadricError(f"density_weights is {self.density_weights!r}, expected 0 or more")
        return tuple(sorted(values))

    @property
    def weight(self) -> float:
        """The middle density weight (the lower one of two)."""
        return self.weights[(len(self.weights) - 1) // 2]

    def products(self, d_in: int) -> int:
        """Number of products for activations of a width."""
        return max(1, round(self.expansion * d_in))


@dataclass(frozen=True)
class Request:
    """What a user asked an experiment to do."""

    settings: Settings
    data: DataConfig
    harvest: HarvestConfig | None
    """The model and text to read, unless ``data`` names stored activations."""
    run: Path | None = None
    """A finished run to look at instead of training; ``manifolds`` only."""
    console: Console | None = None


@dataclass(frozen=True)
class Measured:
    """What an experiment measured."""

    data: dict[str, Any]
    """JSON values: everything the comparison reads."""
    table: list[dict[str, Any]] = field(default_factory=list)
    """Rows for a Parquet file, where there are many."""


@dataclass(frozen=True)
class Comparison:
    """The published statement beside what was found."""

    measured: str
    """One or two sentences with the figures."""
    agrees: bool | None
    """Whether the statement holds here; None where this setting cannot decide it."""
    rule: str
    """What decided ``agrees``."""
    figures: dict[str, float | int | None]
    """The figures behind the sentence."""
    lines: list[dict[str, str]] = field(default_factory=list)
    """Rows of a table quantity | paper | reproductions | ours, where others published figures."""


@dataclass(frozen=True)
class Experiment:
    """One published figure and how it is remade."""

    name: str
    """As it is asked for."""
    title: str
    """What the figure shows."""
    statement: str
    """What was published about it, in our words."""
    source: str
    """Where it was published."""
    measure: Callable[[Request], Measured]
    draw: Callable[[Measured], Figure]
    compare: Callable[[Measured], Comparison]
    quick: Settings
    """The settings of ``--quick``: two minutes on SmolLM2-135M and two cores."""
    full: Settings = field(default_factory=Settings)
    """The settings otherwise."""
    quick_hook: str = "blocks.12.hook_resid_pre"
    """Where ``--quick`` reads."""
    full_hook: str = "blocks.12.hook_resid_pre"
    """Where it reads otherwise, unless told."""
