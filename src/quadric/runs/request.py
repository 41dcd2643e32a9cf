"""From what a user typed to the arguments of ``execute``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.autoencoders.config import AutoencoderConfig
from quadric.errors import QuadricError
from quadric.flags import chosen, parse_assignments
from quadric.runs.config import RunConfig
from quadric.training.config import TrainingConfig

MAIN = "main"
C = TypeVar("C")


class Request(TypedDict):
    """The configuration arguments of ``execute``."""

    autoencoders: dict[str, dict[str, Any]]
    training: TrainingConfig
    data: DataConfig
    harvest: HarvestConfig | None


def merge(
    out: Path,
    model: str | None,
    dataset: str | None,
    values: Mapping[str, Any],
    also: tuple[str, ...],
    *,
    resume: bool,
) -> Request:
    """Overlay typed flags on the defaults, or on the saved configuration of a resumed run.

    Raises:
        QuadricError: the data is given twice or not at all, or a flag contradicts another.
    """
    saved = RunConfig.read(out) if resume else None
    if (model is None) != (dataset is None):
        raise QuadricError(f"MODEL {model!r} is given without a DATASET")
    if model is not None and values.get("activations") is not None:
        raise QuadricError("give MODEL and DATASET, or --activations, not both")
    flags = dict(values)
    harvest = _harvest(model, dataset, flags, saved)
    if harvest is None:
        flags["activations_hook"] = flags.pop("hook", None)
        if unused := sorted(set(chosen(HarvestConfig, flags)) - {"device", "hook"}):
            raise QuadricError(f"--{unused[0].replace('_', '-')} needs MODEL and DATASET")
    data = _overlay(DataConfig, saved.data if saved else None, flags)
    if harvest is None and data.activations is None:
        raise QuadricError("no data: give MODEL and DATASET, or --activations FOLDER")
    return Request(
        autoencoders=_autoencoders(flags, also, saved),
        training=_overlay(TrainingConfig, saved.training if saved else None, flags),
        data=data,
        harvest=harvest,
    )


def _harvest(
    model: str | None, dataset: str | None, flags: Mapping[str, Any], saved: RunConfig | None
) -> HarvestConfig | None:
    if model is not None:
        flags = {**flags, "model": model, "dataset": dataset}
    elif saved is None or saved.harvest is None:
        return None
    return _overlay(HarvestConfig, saved.harvest if saved else None, flags)


def _overlay(config: type[C], base: C | None, flags: Mapping[str, Any]) -> C:
    typed = chosen(config, flags)
    return config(**typed) if base is None else dataclasses.replace(base, **typed)  # type: ignore[type-var]


def _autoencoders(
    flags: Mapping[str, Any], also: tuple[str, ...], saved: RunConfig | None
) -> dict[str, dict[str, Any]]:
    kept = {}
    if saved is not None:
        kept = {name: dataclasses.asdict(config) for name, config in saved.autoencoders.items()}
    main = {**kept.get(MAIN, {}), **chosen(AutoencoderConfig, flags)}
    typed = {MAIN: main}
    for text in also:
        name, changes = parse_assignments(AutoencoderConfig, text)
        if name in typed:
            raise QuadricError(f"--also {text!r}: there is already an autoencoder {name!r}")
        fields = {**main, **changes}
        variants = main.get("variant"), fields.get("variant")
        if variants[0] != variants[1]:
            # The parts of the main variant mean nothing to another one.
            parts = ["block", "bottleneck", "k", "batch_topk"]
            if "topk" in variants:  # the one without a density penalty
                parts.append("density_weight")
            for part in parts:
                if part not in changes:
                    fields.pop(part, None)
        typed[name] = fields
    return kept | typed
