"""One run from configuration to figures: open the data, train, evaluate, write everything down."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.autoencoders.config import DEFAULT_BLOCK, AutoencoderConfig
from quadric.errors import QuadricError
from quadric.ranks import Ranks, join
from quadric.runs import config as configuration
from quadric.runs.config import RunConfig
from quadric.runs.data import open_data
from quadric.runs.evaluate import evaluate
from quadric.settings import from_dict
from quadric.storage import make_folder
from quadric.training import TrainingConfig, train
from quadric.training.loop import resolve_device, resolve_product_dtype

EXPANSION = 4
"""Products per input dimension when no size is asked for."""


def execute(
    out: Path,
    *,
    autoencoders: Mapping[str, Mapping[str, Any]],
    training: TrainingConfig,
    data: DataConfig,
    harvest: HarvestConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train autoencoders on one stream of activations and return their ``metrics.json``.

    Processes that torchrun started do it together: they share harvest and training, and the first
    evaluates. It alone returns metrics; the others return none.

    Args:
        out: the run folder.
        autoencoders: for each name the fields of its ``AutoencoderConfig``; d_in comes from the
            data and d_sae defaults to four products per input dimension.
        training: how to train.
        data: which activations.
        harvest: the model and text to take them from, when they are not stored yet.
        resume: continue the unfinished run in ``out``, which must have the same configuration.
        overwrite: replace a run that is already in ``out``.
        console: where progress is drawn.

    Raises:
        QuadricError: something in the request or the data is wrong; see the message.
    """
    with join(training.device, training.dictionary_shards) as ranks:
        ranks.lead(lambda: _check_folder(out, resume=resume, overwrite=overwrite))
        opened = open_data(
            data,
            harvest,
            batch_size=training.batch_size,
            seed=training.seed,
            console=console,
            ranks=ranks,
        )
        configs = ranks.together(
            lambda: {
                name: _autoencoder(fields, opened.source.d_in, name)
                for name, fields in autoencoders.items()
            }
        )
        config = RunConfig(
            data=data,
            harvest=harvest,
            training=_resolved(training, opened.source.batch_size, ranks),
            autoencoders=configs,
        )
        ranks.lead(lambda: _begin(out, config, resume=resume, overwrite=overwrite))
        models = train(
            opened.source,
            config.autoencoders,
            config.training,
            out,
            metadata=opened.metadata,
            resume=resume,
            console=console,
            ranks=ranks,
        )
    if not ranks.leads:
        return {}
    config.write(out, finished=True)
    return evaluate(out, config, opened, models)


def _begin(out: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    if resume:
        configuration.check_unchanged(RunConfig.read(out), config, out)
    elif overwrite:
        shutil.rmtree(out, ignore_errors=True)
    make_folder(out)
    config.write(out, finished=False)


def _check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    if out.is_file():
        raise QuadricError(f"{out} is a file, expected a folder for the run")
    exists = (out / configuration.FILE).exists()
    if resume and not exists:
        raise QuadricError(f"cannot resume {out}: there is no run in it")
    if resume and configuration.is_finished(out):
        raise QuadricError(f"cannot resume {out}: the run is finished")
    if overwrite and out.is_dir() and any(out.iterdir()) and not exists:
        raise QuadricError(f"{out} holds files that are no run; they are not overwritten")
    if exists and not resume and not overwrite:
        state = "a finished run" if configuration.is_finished(out) else "an unfinished run"
        raise QuadricError(f"{out} holds {state}: choose another --out, --resume or --overwrite")


def _resolved(training: TrainingConfig, batch_size: int, ranks: Ranks) -> TrainingConfig:
    """With every "auto" decided, so that a resumed run and all ranks decide alike."""
    device = resolve_device(training.device)
    bfloat16 = ranks.lead(lambda: resolve_product_dtype(training, device) is torch.bfloat16)
    return dataclasses.replace(
        training,
        device=str(device) if ranks.world == 1 else device.type,
        product_dtype="bfloat16" if bfloat16 else "float32",
        batch_size=batch_size,
    )


def _autoencoder(fields: Mapping[str, Any], d_in: int, name: str) -> AutoencoderConfig:
    if fields.get("d_in", d_in) != d_in:
        raise QuadricError(
            f"autoencoder {name!r} has d_in {fields['d_in']}, the activations have width {d_in}"
        )
    if fields.get("d_sae") is None:
        block = fields.get("block") or (
            DEFAULT_BLOCK if fields.get("variant") == "composite" else 1
        )
        fields = {**fields, "d_sae": max(1, EXPANSION * d_in // block)}
    return from_dict(AutoencoderConfig, {**fields, "d_in": d_in}, f"autoencoder {name!r}")
