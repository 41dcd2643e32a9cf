"""What an experiment on language models is: settings in; data, one picture and a comparison out.

A file of this folder holds one experiment. What it needs trained (models, dictionaries) it asks of
a :class:`~quadric.experiments.language.workshop.Workshop`, which trains nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.settings import LanguageSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quadric.experiments.language.workshop import Workshop

PAPER = "arXiv 2410.08417"


@dataclass(frozen=True)
class LanguageExperiment:
    """One published figure or table of language models and how it is remade."""

    name: str
    """As it is asked for: ``quadric experiment lm-NAME``."""
    title: str
    """What the figure shows."""
    statement: str
    """What was published about it, in our words."""
    source: str
    """Where it was published."""
    settings: tuple[str, ...]
    """Which fields of ``LanguageSettings`` it uses; other flags are refused."""
    measure: Callable[[LanguageSettings, Workshop], Measured]
    draw: Callable[[Measured], Figure]
    compare: Callable[[Measured], Comparison]
