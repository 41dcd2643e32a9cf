"""Run an experiment: measure, draw, compare, and write all of it down.

    outcome = perform(find("frontier"), request, Path("runs/experiments/frontier"), quick=True)

The folder receives ``experiment.json`` (settings, data, comparison), ``picture.png`` and, where an
experiment has many rows, ``table.parquet``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.errors import QuadricError
from quadric.experiments.experiment import QUICK_TOKENS, Experiment, Measured, Request, Settings
from quadric.experiments.table import TABLE as ALL
from quadric.experiments.table import table
from quadric.flags import chosen
from quadric.report.figures import save
from quadric.storage import make_folder, read_json, replacing, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from quadric.experiments.language.experiment import LanguageExperiment
    from quadric.experiments.vision.experiment import VisionExperiment

E = TypeVar("E", "VisionExperiment", "LanguageExperiment")

DATA, PICTURE, TABLE = "experiment.json", "picture.png", "table.parquet"


def request_for(
    experiment: Experiment,
    values: Mapping[str, Any],
    *,
    quick: bool,
    run: Path | None = None,
    console: Any = None,
) -> Request:
    """From what a user typed to what an experiment is asked.

    Args:
        experiment: the experiment.
        values: typed flags of ``Settings``, ``HarvestConfig`` and ``DataConfig``; what is absent
            comes from the experiment's quick or full settings.
        quick: which of the two.
        run: a finished run, for the experiment that looks at one.
        console: where progress is drawn.

    Raises:
        QuadricError: the data is given twice, or a flag does not apply.
    """
    flags = {key: value for key, value in values.items() if value is not None}
    if run is not None:
        if experiment.name != "manifolds":
            raise QuadricError(f"--run applies to manifolds, not to {experiment.name}")
        if flags:
            raise QuadricError(
                f"--run shows a finished run as it is: leave out --{min(flags).replace('_', '-')}"
            )
    settings = dataclasses.replace(
        experiment.quick if quick else experiment.full, **chosen(Settings, flags)
    )
    if "activations" in flags:
        given = sorted(set(chosen(HarvestConfig, flags)) - {"hook", "device"})
        if given:
            raise QuadricError(
                f"--{given[0].replace('_', '-')} needs a model's activations, and --activations "
                "names stored ones"
            )
        flags["activations_hook"] = flags.pop("hook", None)
        return Request(settings, DataConfig(**chosen(DataConfig, flags)), None, run, console)
    base = HarvestConfig(
        hook=experiment.quick_hook if quick else experiment.full_hook,
        tokens=QUICK_TOKENS if quick else HarvestConfig.tokens,
    )
    harvest = dataclasses.replace(base, **chosen(HarvestConfig, flags))
    return Request(settings, DataConfig(**chosen(DataConfig, flags)), harvest, run, console)


def perform(
    experiment: Experiment, request: Request, out: Path, *, quick: bool = False
) -> dict[str, Any]:
    """Run an experiment, write its files into ``out``, and return what ``experiment.json`` holds.

    Raises:
        QuadricError: the data is missing or too small, training diverged, or ``out`` cannot be
            written.
    """
    if out.is_file():
        raise QuadricError(f"{out} is a file, expected a folder for the experiment")
    make_folder(out)
    started = time.monotonic()
    measured = experiment.measure(request)
    comparison = experiment.compare(measured)
    head = {
        "name": experiment.name,
        "title": experiment.title,
        "quick": quick,
        "settings": dataclasses.asdict(request.settings),
        "harvest": dataclasses.asdict(request.harvest) if request.harvest else None,
        "data_config": dataclasses.asdict(request.data),
        "published": {"statement": experiment.statement, "source": experiment.source},
        "comparison": dataclasses.asdict(comparison),
    }
    return write_outcome(out, head, measured, experiment.draw(measured), started)


def write_outcome(
    out: Path, head: dict[str, Any], measured: Measured, figure: Figure, started: float
) -> dict[str, Any]:
    """Write an experiment's files and return what ``experiment.json`` holds.

    Args:
        out: the folder.
        head: what goes before the data.
        measured: data and rows.
        figure: the picture.
        started: when the measurement began, by ``time.monotonic``.
    """
    save(figure, out / PICTURE)
    if measured.table:
        _write_table(measured.table, out / TABLE)
    outcome = {**head, "data": measured.data, "seconds": time.monotonic() - started}
    write_json(out / DATA, outcome)
    return outcome


def finished(folder: Path, settings: Any) -> dict[str, Any] | None:
    """What an earlier run into ``folder`` with these settings wrote, if it is whole."""
    if not (folder / DATA).is_file():
        return None
    try:
        outcome = read_json(folder / DATA)
    except QuadricError:
        return None
    return outcome if outcome.get("settings") == dataclasses.asdict(settings) else None


def in_turn(
    experiments: Sequence[E],
    out: Path,
    earlier: Callable[[E, Path], dict[str, Any] | None],
    one: Callable[[E, Path], dict[str, Any]],
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Run several experiments, each into its own folder of ``out``, and write ``table.md``.

    Args:
        experiments: what to run, in this order.
        out: the folder.
        earlier: what an earlier call left in a folder, or None; then the experiment is not run.
        one: runs an experiment into a folder.
        console: where it is said which one begins.
    """
    outcomes = []
    for place, experiment in enumerate(experiments, 1):
        folder = out / experiment.name
        outcome = earlier(experiment, folder)
        if outcome is None:
            if console is not None:
                text = f"[{place}/{len(experiments)}] {experiment.name}: {experiment.title}"
                console.print(text, markup=False, highlight=False)
            outcome = one(experiment, folder)
        outcomes.append(outcome)
    write_text(out / ALL, table(outcomes))
    return outcomes


def sentence(outcome: Mapping[str, Any], out: Path) -> str:
    """The comparison as text."""
    comparison = outcome["comparison"]
    verdict = {True: "agrees", False: "does not agree", None: "undecided"}[comparison["agrees"]]
    return "\n".join(
        [
            f"{outcome['name']}: {outcome['title']} ({outcome['seconds']:.0f} s)",
            f"published ({outcome['published']['source']}): {outcome['published']['statement']}",
            f"measured: {comparison['measured']}",
            f"{verdict}: {comparison['rule']}",
            f"in {out}: {DATA}, {PICTURE}",
        ]
    )


def _write_table(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)
