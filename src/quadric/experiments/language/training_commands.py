"""``quadric lm train`` and ``quadric lm bilinearize``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from quadric.errors import QuadricError
from quadric.flags import chosen, config_flags
from quadric.language.config import (
    DEFAULT_TEXT,
    AnnealConfig,
    ArchitectureConfig,
    BilinearizeRequest,
    FineTuneConfig,
    FitConfig,
    Recipe,
    TextConfig,
)
from quadric.terminal import answer, as_json, progress

out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
resume_option = click.option(
    "--resume", is_flag=True, help="Continue the unfinished run in --out, without further flags."
)


@click.command()
@click.argument("dataset", required=False)
@out_option
@config_flags(
    ArchitectureConfig, TextConfig, FitConfig, Recipe,
    leave_out=("dataset", "architecture", "text", "fit"),
)  # fmt: skip
@resume_option
@as_json
def train(dataset: str | None, out: Path, resume: bool, as_json: bool, **values: Any) -> None:
    """Train a gated transformer on DATASET from scratch and write it to --out.

    DATASET is news, speeches or bible, a text, JSON-lines or Parquet file, several of these joined
    by "+" (all three when absent), or a hub dataset. --out becomes a transformers folder that every
    command takes as a MODEL.
    """
    from quadric.language import pretraining

    if resume:
        _check_bare(dataset, values)
        recipe = pretraining.read_recipe(out)
    elif values["tokenizer"] is not None and values["vocab_size"] is not None:
        raise click.UsageError("--vocab-size is of a tokeniser that is learnt: --tokenizer has one")
    else:
        recipe = Recipe(
            architecture=ArchitectureConfig(**chosen(ArchitectureConfig, values)),
            text=TextConfig(dataset=dataset or DEFAULT_TEXT, **chosen(TextConfig, values)),
            fit=FitConfig(**chosen(FitConfig, values)),
            **chosen(Recipe, values),
        )
    metrics = pretraining.train(recipe, out, resume=resume, console=progress())
    text = (
        f"{out}: {metrics['parameters'] / 1e6:.2f} million parameters, "
        f"held-out loss {metrics['loss']:.4f} after {metrics['tokens']:,} tokens"
    )
    answer(metrics, text, as_json)


@click.command()
@click.argument("model", required=False)
@click.argument("dataset", required=False)
@out_option
@config_flags(AnnealConfig, TextConfig, FineTuneConfig, leave_out=("dataset",))
@resume_option
@as_json
def bilinearize(
    model: str | None,
    dataset: str | None,
    out: Path,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Make the SwiGLU layers of MODEL bilinear by fine-tuning it on DATASET while its gates anneal.

    MODEL is smollm2-135m, a local folder or a hub id of any Llama-like model. --out becomes a
    transformers folder whose MLPs are exactly bilinear, with the curves of the model and of a
    control whose gates stay.
    """
    from quadric.language import bilinearize as run

    if resume:
        _check_bare(model or dataset, values)
        request = run.read_request(out)
    elif model is None:
        raise click.UsageError("give the MODEL whose gates are annealed, or --resume")
    else:
        request = BilinearizeRequest(
            model=model,
            text=TextConfig(dataset=dataset or DEFAULT_TEXT, **chosen(TextConfig, values)),
            fit=FineTuneConfig(**chosen(FineTuneConfig, values)),
            anneal=AnnealConfig(**chosen(AnnealConfig, values)),
        )
    metrics = run.bilinearize(request, out, resume=resume, console=progress())
    lines = [
        f"{out}: layers {metrics['layers']} are exactly bilinear",
        f"held-out loss: before {metrics['loss_before']:.4f}, gates removed at once "
        f"{metrics['loss_abrupt']:.4f}, annealed {metrics['loss_bilinear']:.4f}",
    ]
    if metrics["gap"] is not None:
        lines.append(
            f"control with its gates: {metrics['loss_control']:.4f}; "
            f"bilinear MLPs cost {metrics['gap']:+.4f} nats"
        )
    answer(metrics, "\n".join(lines), as_json)


def _check_bare(argument: str | None, values: Mapping[str, Any]) -> None:
    """Refuse a resumed run that is also told something.

    Raises:
        QuadricError: an argument or a flag is given.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
    if argument is not None or given:
        raise QuadricError(
            f"--resume continues a run as it was begun: leave out {argument or given[0]}"
        )
