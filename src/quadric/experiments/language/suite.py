"""Run experiments on language models: measure, and write everything down.

    outcome = perform(find("gates"), QUICK, Path("runs/experiments/lm-gates"), quick=True)
    outcomes = suite(every(), FULL, Path("runs/experiments/lm"))

Models are kept by their recipe, so experiments share them, and a suite that was stopped, or killed,
goes on where it was: a finished experiment with the same settings is not measured again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.experiments.language.experiment import LanguageExperiment
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.experiments.perform import finished, in_turn, write_outcome
from quadric.storage import make_folder

if TYPE_CHECKING:
    from rich.console import Console


def perform(
    experiment: LanguageExperiment,
    settings: LanguageSettings,
    out: Path,
    *,
    quick: bool,
    workshop: Workshop | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure an experiment, write its files, return what ``experiment.json`` holds.

    Raises:
        QuadricError: the text is not on this machine, training diverged, or ``out`` cannot be
            written.
    """
    started = time.monotonic()
    settings.check(experiment.settings)
    measured = experiment.measure(settings, workshop or Workshop(console=console))
    head = {
        "name": f"lm-{experiment.name}",
        "title": experiment.title,
        "quick": quick,
        "settings": dataclasses.asdict(settings),
        "published": {"statement": experiment.statement, "source": experiment.source},
        "comparison": dataclasses.asdict(experiment.compare(measured)),
    }
    return write_outcome(make_folder(out), head, measured, experiment.draw(measured), started)


def suite(
    experiments: Sequence[LanguageExperiment],
    settings: LanguageSettings,
    out: Path,
    *,
    quick: bool,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Run several experiments, each into its own folder of ``out``, and write ``table.md``.

    An experiment that an earlier call finished with the same settings is read, not run.

    Raises:
        QuadricError: as for ``perform``.
    """
    for experiment in experiments:
        settings.check(experiment.settings)
    workshop = Workshop(console=console)

    def earlier(_: LanguageExperiment, folder: Path) -> dict[str, Any] | None:
        return finished(folder, settings)

    def one(experiment: LanguageExperiment, folder: Path) -> dict[str, Any]:
        return perform(
            experiment, settings, folder, quick=quick, workshop=workshop, console=console
        )

    return in_turn(experiments, out, earlier, one, console)
