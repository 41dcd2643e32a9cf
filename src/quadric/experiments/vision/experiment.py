"""What an image experiment is: models to train; data, one picture and a comparison out.

A file of this folder holds one experiment. ``plan`` says which classifiers it needs, ``analyse``
reads trained ones (the planned or any a user names), ``draw`` and ``compare`` read what was
measured. ``quadric vision NAME MODEL…`` runs the second and third step, ``quadric experiment
vision-NAME`` all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.vision.settings import VisionSettings
from quadric.vision.config import Recipe
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "arXiv 2410.08417"


@dataclass(frozen=True)
class NoOptions:
    """An analysis that needs to be told nothing."""


@dataclass(frozen=True)
class VisionExperiment:
    """One published figure of image classifiers and how it is remade."""

    name: str
    """As it is asked for: ``quadric vision NAME``."""
    title: str
    """What the figure shows."""
    statement: str
    """What was published about it, in our words."""
    source: str
    """Where it was published."""
    plan: Callable[[VisionSettings], list[Recipe]]
    """The classifiers it trains."""
    analyse: Callable[[Sequence[Trained], Any], Measured]
    """Measure trained classifiers; the second argument is an instance of ``options``."""
    draw: Callable[[Measured], Figure]
    compare: Callable[[Measured], Comparison]
    options: type = NoOptions
    """A frozen dataclass of what a user may choose; every field has a default."""
    fewest: int = 1
    """Models it needs at least when a user names them."""
