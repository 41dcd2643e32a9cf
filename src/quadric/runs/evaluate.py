"""``metrics.json``: every figure of a finished run, in product space, in x space, and in the model.

The main autoencoder's figures stand at the top level, each companion's under ``autoencoders`` and
in its own folder. A figure that cannot be had, such as a cross-entropy where no language model is
known, is null.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from quadric.activations.cache import ActivationCache
from quadric.activations.hooks import resolve
from quadric.activations.models import load_model
from quadric.activations.stream import StreamSource
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import (
    CrossEntropy,
    SplicedLoss,
    product_metrics,
    reconstruction_metrics,
    second_moment,
)
from quadric.runs.config import RunConfig, is_finished
from quadric.runs.data import Data, open_data
from quadric.storage import write_json
from quadric.training import log

FILE = "metrics.json"
MEAN_ROWS = 65_536
"""Training activations behind the mean predictor and the ablation's mean."""
CE_CONTEXTS = 16
"""Held-out contexts behind the cross-entropies."""


def evaluate_run(folder: Path, *, console: Console | None = None) -> dict[str, Any]:
    """Evaluate a finished run on its held-out activations and write ``metrics.json``.

    Raises:
        QuadricError: the run is unfinished, or its data is gone or damaged.
    """
    config = RunConfig.read(folder)
    if not is_finished(folder):
        raise QuadricError(f"the run {folder} is not finished: continue it with train --resume")
    data = open_data(
        config.data,
        config.harvest,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        console=console,
    )
    models = {name: load_member(folder, config, name) for name in config.autoencoders}
    return evaluate(folder, config, data, models)


def load_member(folder: Path, config: RunConfig, name: str) -> BilinearAutoencoder:
    """One autoencoder of a run: the first lies in the folder itself, the others below it."""
    main = next(iter(config.autoencoders))
    return BilinearAutoencoder.load_from_disk(folder if name == main else folder / name)


def evaluate(
    folder: Path, config: RunConfig, data: Data, models: dict[str, BilinearAutoencoder]
) -> dict[str, Any]:
    """Measure every autoencoder of a run and write ``metrics.json``."""
    summary = data.source.summary()
    shared: dict[str, Any] = {
        "tokens": summary["rows"],
        "training_tokens": summary["tokens"],
        "dropped_tokens": summary["dropped_tokens"],
        "dropped_first": summary.get("dropped_first"),
        "dropped_norm": summary.get("dropped_norm"),
        "norm_limit": summary.get("norm_limit"),
        "steps": config.training.steps,
        "tokens_seen": config.training.steps * config.training.batch_size,
        "seconds": _training_seconds(folder),
        "product_dtype": config.training.product_dtype,
    }
    training = data.source.sample(MEAN_ROWS)
    held_out = data.source.held_out(config.training.eval_rows)
    losses = _spliced_loss(data, training.mean(0))
    unknown = dict.fromkeys(CrossEntropy._fields)
    each = {}
    for name, model in models.items():
        device = model.device
        mean_product = second_moment(model, training.to(device))
        figures = {
            "name": name,
            **shared,
            "variant": model.config.variant,
            "d_in": model.d_in,
            "d_sae": model.d_sae,
            "factors": model.config.factors,
            "density_weight": model.config.density_weight,
            **product_metrics(model, held_out.to(device), mean_product)._asdict(),
            **reconstruction_metrics(model, held_out.to(device))._asdict(),
            **(losses.score(model.cpu())._asdict() if losses else unknown),
        }
        each[name] = {key: _defined(value) for key, value in figures.items()}
    main, *companions = each
    for name in companions:
        write_json(folder / name / FILE, each[name])
    metrics = {**each[main], "autoencoders": each}
    write_json(folder / FILE, metrics)
    return metrics


def _defined(value: Any) -> Any:
    """None for a ratio whose denominator is zero, such as the variance of a single row."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _training_seconds(folder: Path) -> float | None:
    lines = log.read(folder / log.LOG) if (folder / log.LOG).exists() else []
    return lines[-1]["seconds"] if lines else None


def _spliced_loss(data: Data, mean: Tensor) -> SplicedLoss | None:
    """Held-out text through the language model behind the activations, where both are known."""
    name, hook_name = data.metadata.model_name, data.metadata.hf_hook_name
    contexts = _held_out_contexts(data)
    if name is None or hook_name is None or contexts is None:
        return None
    language = load_model(name, dtype=torch.float32, device="cpu")
    if not language.model.can_generate():
        return None
    (hook,) = resolve(language.model, [hook_name])
    return SplicedLoss(language, hook, contexts, mean)


def _held_out_contexts(data: Data) -> Tensor | None:
    """Token ids of contexts the autoencoders were not trained on."""
    if isinstance(data.store, ActivationCache):
        size = data.store.context_size
        held = data.source.summary()["held_out_rows"] // size
        count = min(CE_CONTEXTS, held)
        rows = torch.arange(len(data.store) - count * size, len(data.store))
        return data.store.token_ids(rows).reshape(count, size)
    if isinstance(data.source, StreamSource):
        return data.source.held_out_contexts()[:CE_CONTEXTS]
    return None
