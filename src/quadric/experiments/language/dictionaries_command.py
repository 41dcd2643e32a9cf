"""``quadric lm dictionaries`` and ``quadric lm losses``: train dictionaries, and price anyone's."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

from quadric.experiments.language.losses import LossOptions
from quadric.experiments.perform import DATA, PICTURE, write_outcome
from quadric.flags import chosen, config_flags
from quadric.language.config import DEFAULT_TEXT, DictionaryConfig, TextConfig
from quadric.storage import make_folder
from quadric.terminal import answer, as_json, progress


@click.command()
@click.argument("model")
@click.argument("dataset", required=False)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@config_flags(DictionaryConfig, TextConfig, leave_out=("dataset",))
@as_json
def dictionaries(model: str, dataset: str | None, out: Path, as_json: bool, **values: Any) -> None:
    """Train sparse dictionaries at the input and output of an MLP of MODEL, reading DATASET.

    MODEL is smollm2-135m, a local folder or a hub id of a model whose MLPs are gated; DATASET is as
    for lm train. --out receives the folders in and out in SAELens' format, and what they cost.
    """
    from quadric.language import features

    metrics = features.train(
        model,
        TextConfig(dataset=dataset or DEFAULT_TEXT, **chosen(TextConfig, values)),
        DictionaryConfig(**chosen(DictionaryConfig, values)),
        out,
        console=progress(),
    )
    lines = [f"{out / site}: {_line(found)}" for site, found in metrics["dictionaries"].items()]
    answer(metrics, "\n".join(lines), as_json)


@click.command()
@click.argument("model")
@click.argument("dataset")
@click.argument("folders", metavar="SAE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write.  [runs/lm/losses]"
)
@config_flags(LossOptions, TextConfig, leave_out=("dataset",))
@as_json
def losses(
    model: str,
    dataset: str,
    folders: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Splice autoencoders into MODEL and measure its loss on the held-out text of DATASET.

    Every SAE is a folder in SAELens' format, whoever trained it; its cfg.json says at which hook.
    """
    from quadric.experiments.language.figures.losses import draw
    from quadric.experiments.language.losses import analyse

    started = time.monotonic()
    options = LossOptions(**chosen(LossOptions, values))
    text = TextConfig(dataset=dataset, **chosen(TextConfig, values))
    measured = analyse(model, text, folders, options)
    head = {
        "name": "lm-losses",
        "title": "Loss added by autoencoders",
        "model": model,
        "text": dataclasses.asdict(text),
        "options": dataclasses.asdict(options),
    }
    folder = make_folder(out or Path("runs/lm/losses"))
    outcome = write_outcome(folder, head, measured, draw(measured), started)
    lines = [f"{row['folder']}: {_line(row)}" for row in measured.data["rows"]]
    answer(outcome, "\n".join([*lines, f"in {folder}: {DATA}, {PICTURE}"]), as_json)


def _line(found: dict[str, Any]) -> str:
    """One dictionary in words."""
    recovered = found["loss_recovered"]
    shown = "–" if recovered is None else f"{100 * recovered:.1f} %"
    return (
        f"{found['hook_name']}, {found['features']:,} features, {found['l0']:.1f} on, "
        f"{100 * found['alive']:.0f} % ever on, explained variance "
        f"{found['explained_variance']:.3f}, loss {found['loss_clean']:.4f} → "
        f"{found['loss_patch']:.4f} ({100 * found['loss_added']:+.2f} %), {shown} recovered"
    )
