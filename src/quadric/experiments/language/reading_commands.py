"""``quadric lm interactions``, ``rank`` and ``circuits``: read the dictionaries around an MLP."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from quadric.experiments.language.registry import find
from quadric.experiments.perform import DATA, PICTURE, write_outcome
from quadric.storage import make_folder
from quadric.terminal import answer, as_json

if TYPE_CHECKING:
    from quadric.experiments.experiment import Measured

F = TypeVar("F", bound=Callable[..., Any])
_NATURAL = click.IntRange(min=1)


def _reading(command: F) -> F:
    """What the three have in common."""
    for decorate in (
        as_json,
        click.option(
            "--out", type=click.Path(path_type=Path),
            help="The folder to write.  [runs/lm/NAME of the command]",
        ),
        click.option(
            "--contexts", type=_NATURAL, default=256, show_default=True,
            help="Held-out contexts to read, where there are so many.",
        ),
        click.argument("dictionaries", type=click.Path(path_type=Path)),
        click.argument("model"),
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.command()
@_reading
@click.option(
    "--output", type=click.IntRange(min=0),
    help="The output feature to show.  [that of the largest interaction]",
)  # fmt: skip
@click.option("--count", type=_NATURAL, default=20, show_default=True, help="Interactions to list.")
def interactions(
    model: str, dictionaries: Path, output: int | None, count: int, **common: Any
) -> None:
    """Show which pairs of input features make the output features of a bilinear MLP.

    MODEL is a folder whose MLPs are bilinear, DICTIONARIES what quadric lm dictionaries wrote for
    one of them. Writes the largest interactions of all, and one output's beside a null.
    """
    from quadric.experiments.language.interactions import analyse
    from quadric.language.features import open_dictionaries

    started = time.monotonic()
    layers = open_dictionaries(model, dictionaries)
    measured = analyse(layers, common["contexts"], output, count)
    options = {"output": output, "count": count}
    _finish("interactions", model, dictionaries, options, measured, started, **common)


@click.command()
@_reading
def rank(model: str, dictionaries: Path, **common: Any) -> None:
    """Show how few eigenvectors explain the output features of a bilinear MLP.

    MODEL is a folder whose MLPs are bilinear, DICTIONARIES what quadric lm dictionaries wrote for
    one of them. Writes every feature's correlations with its approximations.
    """
    from quadric.experiments.language.rank import analyse
    from quadric.language.features import open_dictionaries

    started = time.monotonic()
    measured = analyse(open_dictionaries(model, dictionaries), common["contexts"])
    _finish("rank", model, dictionaries, {}, measured, started, **common)


@click.command()
@_reading
@click.option("--count", type=_NATURAL, default=10, show_default=True, help="Circuits to show.")
@click.option(
    "--by", type=click.Choice(["gap", "strength"]), default="gap", show_default=True,
    help="Rank by how far two eigenvalues stand out of the spectrum, or by their size alone.",
)  # fmt: skip
def circuits(model: str, dictionaries: Path, count: int, by: Any, **common: Any) -> None:
    """Find output features of a bilinear MLP that read the product of two directions.

    MODEL is a folder whose MLPs are bilinear, DICTIONARIES what quadric lm dictionaries wrote for
    one of them. Writes the circuits with the input features on their arms.
    """
    from quadric.experiments.language.circuits import analyse
    from quadric.language.features import open_dictionaries

    started = time.monotonic()
    layers = open_dictionaries(model, dictionaries)
    measured = analyse(layers, common["contexts"], count, by)
    options = {"count": count, "by": by}
    _finish("circuits", model, dictionaries, options, measured, started, **common)


def _finish(
    name: str,
    model: str,
    dictionaries: Path,
    options: dict[str, Any],
    measured: Measured,
    started: float,
    *,
    contexts: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write what was measured, and say it."""
    experiment = find(name)
    head = {
        "name": f"lm-{name}",
        "title": experiment.title,
        "model": model,
        "dictionaries": str(dictionaries),
        "options": {**options, "contexts": contexts},
    }
    folder = make_folder(out or Path("runs/lm") / name)
    outcome = write_outcome(folder, head, measured, experiment.draw(measured), started)
    comparison = experiment.compare(measured)
    answer(outcome, f"{comparison.measured}\nin {folder}: {DATA}, {PICTURE}", as_json)


COMMANDS = [interactions, rank, circuits]
