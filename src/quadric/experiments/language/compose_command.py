"""``quadric lm compose``: a bilinear layer between two quadratic dictionaries."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

from quadric.experiments.language.registry import find
from quadric.experiments.perform import DATA, PICTURE, write_outcome
from quadric.flags import chosen, config_flags
from quadric.language.config import DEFAULT_TEXT, TextConfig
from quadric.storage import make_folder
from quadric.terminal import answer, as_json


@click.command()
@click.argument("model")
@click.argument("run_in", type=click.Path(path_type=Path))
@click.argument("run_out", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write.  [runs/lm/composition]"
)
@click.option(
    "--contexts", type=click.IntRange(min=1), default=128, show_default=True,
    help="Held-out contexts to read, where there are so many.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the null.")
@config_flags(TextConfig)
@as_json
def compose(
    model: str,
    run_in: Path,
    run_out: Path,
    out: Path | None,
    contexts: int,
    seed: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Show which pairs of input latents make the output latents of a bilinear MLP.

    MODEL is a folder whose MLPs are bilinear; RUN_IN and RUN_OUT are bilinear autoencoders of the
    input and of the output of one of them, as quadric train writes with --hook
    blocks.N.mlp.hook_in and blocks.N.hook_mlp_out. The text is that of RUN_OUT unless given.
    """
    from quadric.experiments.language.composition import analyse
    from quadric.language.quadratic_dictionaries import open_between

    started = time.monotonic()
    given = chosen(TextConfig, values)
    text = TextConfig(**{"dataset": DEFAULT_TEXT, **given}) if given else None
    between = open_between(model, run_in, run_out, text)
    experiment, measured = find("composition"), analyse(between, contexts, seed)
    head = {
        "name": "lm-composition",
        "title": experiment.title,
        "model": model,
        "runs": [str(run_in), str(run_out)],
        "options": {"contexts": contexts, "seed": seed, **dataclasses.asdict(between.text)},
    }
    folder = make_folder(out or Path("runs/lm/composition"))
    outcome = write_outcome(folder, head, measured, experiment.draw(measured), started)
    comparison = experiment.compare(measured)
    answer(outcome, f"{comparison.measured}\nin {folder}: {DATA}, {PICTURE}", as_json)


COMMANDS = [compose]
