"""The list of image experiments, in the order of the tutorial: look, cut, compare, attack, explain.

Each is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import cast

from quadric.errors import QuadricError, nearest
from quadric.experiments.vision.experiment import VisionExperiment

NAMES = (
    "spectra", "truncation", "similarity", "hosvd", "sparsity", "ablations", "challenge", "masks",
    "explanation", "expression", "dictionary", "pairs", "factors", "functional", "gates",
)  # fmt: skip
"""Names of the experiments, which are the names of their files."""


def find(name: str) -> VisionExperiment:
    """The image experiment of a name.

    Raises:
        QuadricError: there is none; the message names the nearest.
    """
    if name not in NAMES:
        hint = nearest(name, NAMES) or f"; there are {', '.join(NAMES)}"
        raise QuadricError(f"no image experiment {name!r}{hint}")
    module = importlib.import_module(f"quadric.experiments.vision.{name}")
    return cast(VisionExperiment, module.EXPERIMENT)


def every() -> list[VisionExperiment]:
    """All image experiments."""
    return [find(name) for name in NAMES]
