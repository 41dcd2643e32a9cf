"""``quadric vision``: train an image classifier and read its weights."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

from quadric.experiments.experiment import Measured
from quadric.experiments.perform import DATA, PICTURE, write_outcome
from quadric.experiments.vision.atlas_command import atlas
from quadric.experiments.vision.experiment import VisionExperiment
from quadric.experiments.vision.registry import every
from quadric.flags import chosen, config_flags
from quadric.settings import from_dict
from quadric.storage import make_folder
from quadric.terminal import answer, as_json, progress
from quadric.vision import files
from quadric.vision.config import ClassifierConfig, FitConfig, Recipe
from quadric.vision.data.augment import AugmentConfig

out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
models_argument = click.argument("models", metavar="MODEL…", nargs=-1)


@click.command()
@click.argument("dataset", default="digits")
@out_option
@config_flags(
    ClassifierConfig, FitConfig, AugmentConfig, Recipe,
    leave_out=("dataset", "classifier", "fit", "augment"),
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="Where to train.")
@as_json
def train(dataset: str, out: Path, device: str, as_json: bool, **values: Any) -> None:
    """Train an image classifier on DATASET and write it to --out.

    DATASET is digits, mnist-sample, mnist, fashion-mnist, a folder of IDX files or a hub id.
    """
    from quadric.vision.store import train as run

    recipe = Recipe(
        dataset=dataset,
        classifier=from_dict(ClassifierConfig, chosen(ClassifierConfig, values), "flags"),
        fit=FitConfig(**chosen(FitConfig, values)),
        augment=AugmentConfig(**chosen(AugmentConfig, values)),
        **chosen(Recipe, values),
    )
    console = progress()
    with console.status("") as status:
        trained = run(
            recipe,
            out,
            device,
            lambda _, epoch: status.update(
                f"epoch {epoch.epoch} of {recipe.fit.epochs}, loss {epoch.loss:.4f}"
            ),
        )
    found = {"path": str(out), "test_accuracy": trained.test_accuracy, "recipe": recipe.as_dict()}
    answer(found, f"{out}: test accuracy {trained.test_accuracy:.4f}", as_json)


def _analysis(experiment: VisionExperiment) -> click.Command:
    """The command that runs one analysis on models its user names."""

    @click.command(experiment.name, help=_help(experiment), short_help=experiment.title)
    @models_argument
    @click.option(
        "--out", type=click.Path(path_type=Path),
        help=f"The folder to write.  [runs/vision/{experiment.name}]",
    )  # fmt: skip
    @config_flags(experiment.options)
    @as_json
    def command(models: tuple[str, ...], out: Path | None, as_json: bool, **values: Any) -> None:
        if len(models) < experiment.fewest:
            raise click.UsageError(
                f"{experiment.name} reads {experiment.fewest} or more models and was given "
                f"{len(models)}: quadric vision train digits --out runs/digits makes one"
            )
        started = time.monotonic()
        trained = [files.load(Path(model)) for model in models]
        options = experiment.options(**chosen(experiment.options, values))
        measured: Measured = experiment.analyse(trained, options)
        head = {
            "name": f"vision-{experiment.name}",
            "title": experiment.title,
            "models": list(models),
            "options": dataclasses.asdict(options),
        }
        folder = make_folder(out or Path("runs/vision") / experiment.name)
        outcome = write_outcome(folder, head, measured, experiment.draw(measured), started)
        comparison = experiment.compare(measured)
        answer(outcome, f"{comparison.measured}\nin {folder}: {DATA}, {PICTURE}", as_json)

    return command


def _help(experiment: VisionExperiment) -> str:
    return (
        f"{experiment.title}.\n\nMODEL is a folder written by quadric vision train. Writes {DATA} "
        f"and {PICTURE}. Published ({experiment.source}): {experiment.statement}"
    )


COMMANDS = [train, atlas, *map(_analysis, every())]
