"""Run image experiments: train what they plan, measure, and write everything down.

    outcome = perform(find("truncation"), QUICK, Path("runs/experiments/vision-truncation"))
    outcomes = suite(FULL, Path("runs/experiments/vision"))

Models are kept by their recipe, so experiments share them, and a suite that was stopped, or killed,
goes on where it was: a finished experiment with the same settings is not measured again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.experiments.perform import finished, in_turn, write_outcome
from quadric.experiments.vision.experiment import VisionExperiment
from quadric.experiments.vision.settings import VisionSettings
from quadric.storage import make_folder
from quadric.vision.config import Recipe
from quadric.vision.files import Trained
from quadric.vision.store import Store

if TYPE_CHECKING:
    from rich.console import Console


def perform(
    experiment: VisionExperiment,
    settings: VisionSettings,
    out: Path,
    *,
    quick: bool,
    store: Store | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train what an experiment needs, measure it, write its files, return ``experiment.json``.

    Raises:
        QuadricError: the images are not on this machine, training diverged, or ``out`` cannot be
            written.
    """
    started = time.monotonic()
    models = train_all(experiment.plan(settings), store or Store(), experiment.name, console)
    measured = experiment.analyse(models, experiment.options())
    head = {
        "name": f"vision-{experiment.name}",
        "title": experiment.title,
        "quick": quick,
        "settings": dataclasses.asdict(settings),
        "models": [_described(trained) for trained in models],
        "published": {"statement": experiment.statement, "source": experiment.source},
        "comparison": dataclasses.asdict(experiment.compare(measured)),
    }
    return write_outcome(make_folder(out), head, measured, experiment.draw(measured), started)


def suite(
    experiments: Sequence[VisionExperiment],
    settings: VisionSettings,
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
    store = Store()

    def earlier(experiment: VisionExperiment, folder: Path) -> dict[str, Any] | None:
        return _finished(folder, experiment, settings)

    def one(experiment: VisionExperiment, folder: Path) -> dict[str, Any]:
        return perform(experiment, settings, folder, quick=quick, store=store, console=console)

    return in_turn(experiments, out, earlier, one, console)


def train_all(
    recipes: Sequence[Recipe], store: Store, name: str, console: Console | None = None
) -> list[Trained]:
    """The trained classifiers of some recipes, in their order; progress goes to ``console``."""
    missing = store.missing(recipes)
    if missing and console is not None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
        with Progress(*columns, console=console, transient=True) as progress:
            epochs = sum(recipe.fit.epochs for recipe in missing)
            task = progress.add_task(f"{name}: {len(missing)} models, epochs", total=epochs)

            for recipe in missing:
                store.get(recipe, lambda *_: progress.advance(task))
    return [store.get(recipe) for recipe in recipes]


def _described(trained: Trained) -> dict[str, Any]:
    return {"recipe": trained.recipe.as_dict(), "test_accuracy": trained.test_accuracy}


def _finished(
    folder: Path, experiment: VisionExperiment, settings: VisionSettings
) -> dict[str, Any] | None:
    """What an earlier run with these settings and these models wrote, if it is whole."""
    outcome = finished(folder, settings)
    if outcome is None:
        return None
    planned = [recipe.as_dict() for recipe in experiment.plan(settings)]
    found = [model.get("recipe") for model in outcome.get("models", [])]
    return outcome if found == planned else None
