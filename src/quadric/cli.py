"""The command line: a thin table of commands over the library.

Results go to standard output, as text or with ``--json`` as one JSON object; progress and errors
go to standard error. A mistake is one line and a non-zero exit: 2 for a command that could not be
understood, 1 for anything else that was wrong, 130 for a run that was asked to stop.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

import quadric
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.atlas.commands import atlas
from quadric.autoencoders.config import AutoencoderConfig
from quadric.errors import Followed, QuadricError
from quadric.experiments.experiment import Settings
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.vision.settings import VisionSettings
from quadric.flags import chosen, config_flags
from quadric.terminal import Commands, Deferred, answer, as_json, progress, run_argument
from quadric.training.config import TrainingConfig

EXTRAS = {
    "transformers": "lm", "datasets": "lm", "accelerate": "lm", "gguf": "lm", "jinja2": "plot",
    "matplotlib": "plot", "pyarrow": "plot", "ripser": "manifolds", "scipy": "manifolds",
    "sklearn": "manifolds", "starlette": "atlas", "uvicorn": "atlas", "anywidget": "notebook",
}  # fmt: skip
"""The extra that installs each optional package."""

STOPPED = 130


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(quadric.__version__, prog_name="quadric")
def commands() -> None:
    """Represent what a neural network computes as quadratic forms, and read those forms."""


out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)


@commands.command()
@click.argument("model")
@click.argument("dataset")
@out_option
@config_flags(HarvestConfig, leave_out=("model", "dataset"))
@as_json
def harvest(model: str, dataset: str, out: Path, as_json: bool, **values: Any) -> None:
    """Keep the activations of MODEL over DATASET in a cache on disk.

    MODEL is smollm2-135m, a local folder or a hub id; DATASET is news, speeches, bible, a text,
    JSON-lines or Parquet file, several of these joined by "+", or a hub dataset.
    """
    from quadric.activations.harvest import harvest as run
    from quadric.ranks import join

    config = HarvestConfig(model=model, dataset=dataset, **chosen(HarvestConfig, values))
    with join(config.device) as ranks:
        summary = run(config, out, console=progress(), ranks=ranks)
    if ranks.leads:
        answer({**vars(summary), "path": str(summary.path)}, str(summary), as_json)


@commands.command()
@click.argument("model", required=False)
@click.argument("dataset", required=False)
@out_option
@config_flags(
    DataConfig, AutoencoderConfig, TrainingConfig, HarvestConfig,
    leave_out=("model", "dataset", "activations_hook", "d_in"),
)  # fmt: skip
@click.option(
    "--also",
    multiple=True,
    metavar="NAME:FIELD=VALUE,…",
    help="Train another autoencoder on the same stream, like the main one but for these fields.",
)
@click.option("--resume", is_flag=True, help="Continue the unfinished run in --out.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@as_json
def train(
    model: str | None,
    dataset: str | None,
    out: Path,
    also: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train bilinear autoencoders on MODEL's activations over DATASET, or on --activations.

    Without further flags the activations are those the cache already holds for the same harvest,
    or are harvested first; --stream keeps nothing on disk.
    """
    from quadric.runs.execution import execute
    from quadric.runs.request import merge

    request = merge(out, model, dataset, values, also, resume=resume)
    metrics = execute(out, **request, resume=resume, overwrite=overwrite, console=progress())
    if metrics:  # not on ranks that followed the first
        answer(metrics, _table(metrics, out), as_json)


@commands.command("eval")
@run_argument
@as_json
def evaluate(run: Path, as_json: bool) -> None:
    """Measure a finished RUN on its held-out activations and write its metrics.json."""
    from quadric.runs.evaluate import evaluate_run

    metrics = evaluate_run(run, console=progress())
    answer(metrics, _table(metrics, run), as_json)


@commands.command()
@run_argument
@click.option("--latents", default=15, show_default=True, help="How many latents to show.")
@click.option("--top", default=8, show_default=True, help="Tokens per latent.")
@click.option(
    "--labeller", metavar="URL",
    help="Send contexts to this OpenAI-compatible server and show the labels it writes; a key is "
    "read from $QUADRIC_LABELLER_KEY. Without it nothing is sent.",
)  # fmt: skip
@click.option("--labeller-model", metavar="NAME", help="The model to ask that server for.")
@as_json
def inspect(
    run: Path,
    latents: int,
    top: int,
    labeller: str | None,
    labeller_model: str | None,
    as_json: bool,
) -> None:
    """Show a RUN: configuration, metrics, and its most important latents with their tokens."""
    from quadric.report.inspection import render
    from quadric.runs.inspect import inspect_run

    if (labeller is None) != (labeller_model is None):
        raise click.UsageError("--labeller and --labeller-model are given together or not at all")
    asked = None
    if labeller is not None and labeller_model is not None:
        from quadric.integrations import Labeller

        asked = Labeller(labeller, labeller_model)
    view = inspect_run(run, latents=latents, top=top, labeller=asked)
    answer(view.as_dict(), render(view), as_json)


@commands.command()
@click.argument("name", required=False)
@click.option("--list", "as_list", is_flag=True, help="Name every experiment.")
@click.option(
    "--quick/--full", "quick", default=False,
    help="--quick: two minutes on two cores, with SmolLM2-135M or 8×8 digits.  [default: full]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write.  [runs/experiments/NAME]"
)
@click.option("--run", type=click.Path(path_type=Path), help="Show this run's manifolds.")
@config_flags(
    Settings, HarvestConfig, DataConfig, VisionSettings, LanguageSettings,
    leave_out=("activations_hook", "stream"),
)  # fmt: skip
@as_json
def experiment(
    name: str | None,
    as_list: bool,
    quick: bool,
    out: Path | None,
    run: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Remake the published figure NAME: data, a picture and a comparison with the paper.

    --list names them; vision stands for all experiments on image classifiers, lm for all on
    bilinear language models, and these take the flags that speak of images or of such models and no
    others. The full settings are long ones, for any model and an accelerator. What a suite trained
    and measured is kept, and one that was stopped goes on where it was.
    """
    from quadric.experiments import requests

    if as_list:
        listed = requests.listing()
        lines = [f"{one['name']:<20}{one['title']}" for one in listed]
        return answer(listed, "\n".join(lines), as_json)
    if name is None:
        raise click.UsageError("give the NAME of an experiment, or --list")
    out = out or Path("runs/experiments") / name
    outcome, text = requests.run(name, values, out, quick=quick, run=run, console=progress())
    return answer(outcome, text, as_json)


@commands.command()
@click.argument("runs", metavar="RUN RUN…", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="A folder for similarity.json and similarity.png.",
)  # fmt: skip
@as_json
def compare(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Measure how alike the autoencoders of several RUNs are.

    A RUN is a run, the folder of a companion inside one (runs/demo/twin), or a hub id. The Gaussian
    measures use the held-out activations of the first RUN, where they are on this machine.
    """
    from quadric.report.similarity import render
    from quadric.runs.compare import compare as run

    found = run(list(runs), out=out, console=progress())
    answer(found.as_dict(), render(found), as_json)


@commands.command()
@run_argument
@click.option("--latent", type=int, required=True, help="The latent to steer with.")
@click.option("--text", required=True, help="What the language model reads.")
@click.option(
    "--amount", "amounts", type=float, multiple=True,
    help="Step along the gradient as a share of the activation's norm; repeatable.  "
    "[default: -0.5 and 0.5]",
)  # fmt: skip
@click.option(
    "--angle", "angles", type=float, multiple=True,
    help="Turn along the level set in degrees; repeatable.  [default: 90 and 180]",
)  # fmt: skip
@click.option(
    "--axes", type=(int, int),
    help="The two axes of the latent whose plane is turned in, by |eigenvalue|, from 1.  "
    "[default: 2 3]",
)  # fmt: skip
@click.option(
    "--position", type=int,
    help="The token whose activation is moved, from 0, or negative from the end.  [default: -1]",
)  # fmt: skip
@click.option("--top", default=8, show_default=True, help="Rising and falling tokens to list.")
@as_json
def steer(
    run: Path,
    latent: int,
    text: str,
    amounts: tuple[float, ...],
    angles: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Move an activation of a text along a latent of RUN and show what the model says next.

    Along the gradient the latent changes; along its level set it stays the same while the
    activation moves around the manifold.
    """
    from quadric.report.steering import render
    from quadric.runs.steer import AMOUNTS, ANGLES, steer_run

    given = bool(amounts or angles)
    view = steer_run(
        run,
        latent,
        text,
        amounts=amounts if given else AMOUNTS,
        angles=angles if given else ANGLES,
        **options,
    )
    answer(view.as_dict(), render(view), as_json)


@commands.command()
@run_argument
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True,
    help="How many manifolds to print.",
)  # fmt: skip
@click.option(
    "--rows", "rows_searched", type=click.IntRange(min=1), default=200_000, show_default=True,
    help="Leading activations to look at.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the nulls."
)
@as_json
def analyze(run: Path, top: int, rows_searched: int, seed: int, as_json: bool) -> None:
    """Read the weights of a RUN: spectra, neighbours, and its manifolds ranked by evidence.

    Writes latents.parquet, neighbours.parquet, manifolds.json with two tensor files, and a picture.
    """
    from quadric.report.table import manifolds_table
    from quadric.runs.analyze import analyze_run

    rows = analyze_run(run, rows_searched=rows_searched, seed=seed).manifolds
    answer(rows, manifolds_table(rows[:top]), as_json)


@commands.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True,
    help="The folder to write.",
)  # fmt: skip
@as_json
def demo(out: Path, as_json: bool) -> None:
    """Train on the embedded language model and text, and report what was found."""
    from quadric.manifolds import files
    from quadric.report.table import manifolds_table
    from quadric.runs import calendar
    from quadric.runs import demo as demonstration

    metrics = demonstration.demo(out, console=progress())
    rows = files.read(out)
    parts = [
        _table(metrics, out),
        demonstration.similarity_note(metrics),
        manifolds_table(rows[:12]),
        calendar.summary([calendar.Finding(**finding) for finding in metrics["calendar"]]),
        demonstration.to_open(metrics, out),
    ]
    answer(metrics, "\n\n".join(parts), as_json)


@commands.group(cls=Commands)
def bench() -> None:
    """Measure quadric against ground truth."""


@bench.command("manifolds")
@click.option("--quick", is_flag=True, help="Two settings instead of the whole grid.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True,
    help="The folder to write.",
)  # fmt: skip
@as_json
def bench_manifolds(quick: bool, out: Path, as_json: bool) -> None:
    """Find planted manifolds with quadric, with a TopK autoencoder and with PCA.

    Writes planted.json and planted.png: what each finds as superposition and noise grow.
    """
    from quadric.runs import bench as planted

    result = planted.bench_manifolds(out, quick=quick, console=progress())
    answer(result, f"{planted.table(result)}\n\n{out / planted.PICTURE}", as_json)


commands.add_command(atlas)
commands.add_command(
    Deferred(
        "vision",
        "Train image classifiers and read their weights.",
        "quadric.experiments.vision.commands",
    )
)
commands.add_command(
    Deferred(
        "lm",
        "Train language models with bilinear layers, and read their weights.",
        "quadric.experiments.language.commands",
    )
)


def main() -> NoReturn:
    """Run the command line; every expected mistake becomes one line on standard error."""
    try:
        commands.main(standalone_mode=False, prog_name="quadric")
    except click.exceptions.Abort:
        _fail("interrupted", STOPPED)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), error.exit_code)
    except Followed:
        sys.exit(1)
    except QuadricError as error:
        from quadric.errors import Interrupted

        _fail(str(error), STOPPED if isinstance(error, Interrupted) else 1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _fail(f"this needs {package}: pip install 'quadric[{EXTRAS[package]}]'", 1)
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)
    sys.exit(0)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"quadric: {message}", err=True)
    sys.exit(status)


def _table(metrics: dict[str, Any], out: Path) -> str:
    from quadric.report.table import metrics_table

    return metrics_table(metrics, out)
