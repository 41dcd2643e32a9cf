"""The command line: a thin table of commands over the library.

Results go to standard output, as text or with ``--json`` as one JSON object; progress and errors
go to standard error. A mistake is one line and a non-zero exit: 2 for a command that could not be
understood, 1 for anything else that was wrong, 130 for a run that was asked to stop.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import quadric
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.autoencoders.config import AutoencoderConfig
from quadric.errors import QuadricError, nearest
from quadric.flags import chosen, config_flags
from quadric.training.config import TrainingConfig

if TYPE_CHECKING:
    from rich.console import Console

STOPPED = 130


class _Commands(click.Group):
    """A group that suggests the nearest command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(quadric.__version__, prog_name="quadric")
def commands() -> None:
    """Represent what a neural network computes as quadratic forms, and read those forms."""


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
run_argument = click.argument("run", type=click.Path(path_type=Path))


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

    config = HarvestConfig(model=model, dataset=dataset, **chosen(HarvestConfig, values))
    summary = run(config, out, console=_console())
    _answer({**vars(summary), "path": str(summary.path)}, str(summary), as_json)


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
    from quadric.runs.execute import execute
    from quadric.runs.request import merge

    request = merge(out, model, dataset, values, also, resume=resume)
    metrics = execute(out, **request, resume=resume, overwrite=overwrite, console=_console())
    _answer(metrics, _table(metrics, out), as_json)


@commands.command("eval")
@run_argument
@as_json
def evaluate(run: Path, as_json: bool) -> None:
    """Measure a finished RUN on its held-out activations and write its metrics.json."""
    from quadric.runs.evaluate import evaluate_run

    metrics = evaluate_run(run, console=_console())
    _answer(metrics, _table(metrics, run), as_json)


@commands.command()
@run_argument
@click.option("--latents", default=15, show_default=True, help="How many latents to show.")
@click.option("--top", default=8, show_default=True, help="Tokens per latent.")
@as_json
def inspect(run: Path, latents: int, top: int, as_json: bool) -> None:
    """Show a RUN: configuration, metrics, and its most important latents with their tokens."""
    from quadric.report.inspection import render
    from quadric.runs.inspect import inspect_run

    view = inspect_run(run, latents=latents, top=top)
    _answer(view.as_dict(), render(view), as_json)


@commands.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True,
    help="The folder to write.",
)  # fmt: skip
@as_json
def demo(out: Path, as_json: bool) -> None:
    """Train on the embedded language model and text, and report what was found."""
    from quadric.runs import demo as demonstration

    metrics = demonstration.demo(out, console=_console())
    parts = [
        _table(metrics, out),
        demonstration.similarity_note(metrics),
        f"open {out / 'report.html'} in a browser",
    ]
    _answer(metrics, "\n\n".join(parts), as_json)


def main() -> NoReturn:
    """Run the command line; every expected mistake becomes one line on standard error."""
    try:
        commands.main(standalone_mode=False, prog_name="quadric")
    except click.exceptions.Abort:
        _fail("interrupted", STOPPED)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), error.exit_code)
    except QuadricError as error:
        from quadric.errors import Interrupted

        _fail(str(error), STOPPED if isinstance(error, Interrupted) else 1)
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)
    sys.exit(0)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"quadric: {message}", err=True)
    sys.exit(status)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _answer(values: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)


def _table(metrics: dict[str, Any], out: Path) -> str:
    from quadric.report.table import metrics_table

    return metrics_table(metrics, out)
