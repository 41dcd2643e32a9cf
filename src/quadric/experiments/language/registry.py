"""The list of experiments on language models. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from quadric.errors import QuadricError, nearest
from quadric.experiments.language.experiment import LanguageExperiment

NAMES = ("gates", "annealing", "losses", "interactions", "rank", "circuits", "composition")
"""Names of the experiments, which are the names of their files."""


def find(name: str) -> LanguageExperiment:
    """The experiment of a name.

    Raises:
        QuadricError: there is none; the message names the nearest.
    """
    if name not in NAMES:
        hint = nearest(name, NAMES) or f"; there are {', '.join(NAMES)}"
        raise QuadricError(f"no experiment on language models {name!r}{hint}")
    module = importlib.import_module(f"quadric.experiments.language.{name}")
    return cast(LanguageExperiment, module.EXPERIMENT)


def every() -> list[LanguageExperiment]:
    """All experiments on language models."""
    return [find(name) for name in NAMES]
