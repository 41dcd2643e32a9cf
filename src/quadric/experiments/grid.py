"""Train a grid of autoencoders on one stream of activations, and measure all of them alike.

data = open_for(request)
trained = train_grid(request, data, {"vanilla": config, "ordered": other})
rows = figures_of(trained)              # one dict of figures per autoencoder
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.config import DEFAULT_BLOCK, DEFAULT_BOTTLENECK, MIXED, Variant
from quadric.errors import Interrupted, QuadricError
from quadric.evaluation import product_metrics, second_moment
from quadric.experiments.experiment import Request, Settings
from quadric.runs.data import Data, open_data
from quadric.training import TrainingConfig, log, train
from quadric.training.loop import resolve_device, resolve_product_dtype

VARIANTS: tuple[Variant, ...] = ("vanilla", "ordered", "mixed", "combined")
"""The paper's four."""
PAPER_TRANSFORM = {"centre": False, "norm": "unit", "symmetric": False}
"""Raw activations at unit norm, unsymmetrised atoms: what the paper trains on."""
MEAN_ROWS = 65_536
"""Training activations behind the constant predictor."""
EVALUATIONS = 8
"""Points of a training curve."""


class Trained(NamedTuple):
    """Autoencoders that saw the same batches, and what they had not seen."""

    models: dict[str, BilinearAutoencoder]
    data: Data
    held_out: Float[Tensor, "rows d_in"]
    """The activations every figure is measured on."""
    curves: dict[str, list[dict[str, float]]]
    """Held-out step, error and density of every autoencoder."""
    product_dtype: str
    """The type of the large products."""
    seconds: float
    """Time the training took, all autoencoders together."""


def open_for(request: Request) -> Data:
    """The activations of a request, harvested first where they are not stored.

    Raises:
        QuadricError: they are not there, or too few.
    """
    return open_data(
        request.data,
        request.harvest,
        batch_size=request.settings.batch_size,
        seed=request.settings.seed,
        console=request.console,
    )


def configure(
    settings: Settings, d_in: int, variant: Variant, weight: float, **parts: Any
) -> AutoencoderConfig:
    """One autoencoder of a grid.

    The number of products is the same for every variant; the bottleneck of the mixed ones is
    2·d_in rows as in the paper, but never more than half the products.
    """
    products = settings.products(d_in)
    if variant in MIXED:
        rows = min(DEFAULT_BOTTLENECK * d_in, products / 2)
        parts.setdefault("bottleneck", rows / d_in)
    if variant == "composite":
        products = max(1, products // parts.setdefault("block", DEFAULT_BLOCK))
    return AutoencoderConfig(
        d_in=d_in,
        d_sae=products,
        variant=variant,
        density_weight=weight,
        # The penalty is in full force for most of even a short run.
        density_warmup=min(100, settings.steps // 4),
        **{"seed": settings.seed, **parts},
    )


def train_grid(request: Request, data: Data, configs: Mapping[str, AutoencoderConfig]) -> Trained:
    """Train every configuration on the same batches.

    Raises:
        QuadricError: the data does not fit, an autoencoder diverged, or too little is held out.
        Interrupted: the experiment was asked to stop; nothing is kept.
    """
    settings = request.settings
    held_out = data.source.held_out(settings.eval_rows)
    if len(held_out) < 2:
        raise QuadricError(f"only {len(held_out)} activations are held out, 2 are needed")
    device = resolve_device(settings.device)
    training = TrainingConfig(
        steps=settings.steps,
        batch_size=data.source.batch_size,
        lr=settings.lr,
        optimizer="muon",
        eval_every=max(1, settings.steps // EVALUATIONS),
        eval_rows=settings.eval_rows,
        seed=settings.seed,
        device=str(device),
    )
    # Decided here, so that it can be written down: the choice depends on timings.
    dtype = resolve_product_dtype(training, device)
    training = dataclasses.replace(
        training, product_dtype="bfloat16" if dtype is torch.bfloat16 else "float32"
    )
    with tempfile.TemporaryDirectory(prefix="quadric-experiment-") as folder:
        out = Path(folder)
        try:
            models = train(
                data.source, configs, training, out,
                metadata=data.metadata, console=request.console,
            )  # fmt: skip
        except Interrupted as error:
            raise Interrupted("the experiment was stopped; nothing of it is kept") from error
        lines = log.read(out / log.LOG)
    curves = _curves(lines, configs)
    return Trained(models, data, held_out, curves, training.product_dtype, lines[-1]["seconds"])


def figures_of(trained: Trained) -> dict[str, dict[str, Any]]:
    """Product-space figures of every autoencoder on the held-out activations, by name."""
    sample = trained.data.source.sample(MEAN_ROWS)
    means: dict[Any, Tensor] = {}
    figures = {}
    for name, model in trained.models.items():
        config = model.config
        kind = (config.centre, config.scale, config.norm, config.affine)
        if kind not in means:
            means[kind] = second_moment(model, sample.to(model.device))
        metrics = product_metrics(model, trained.held_out.to(model.device), means[kind])
        figures[name] = {
            "variant": config.variant,
            "density_weight": config.density_weight,
            "products": config.factors,
            "seed": config.seed,
            **{key: defined(value) for key, value in metrics._asdict().items()},
        }
    return figures


def origin(trained: Trained) -> dict[str, Any]:
    """Where the activations of an experiment came from and how many there were."""
    summary, metadata = trained.data.source.summary(), trained.data.metadata
    return {
        "model": metadata.model_name,
        "dataset": metadata.dataset,
        "hook": metadata.hook_name,
        "d_in": trained.data.source.d_in,
        "training_tokens": summary["tokens"],
        "dropped_tokens": summary["dropped_tokens"],
        "held_out_rows": len(trained.held_out),
        "products": max(model.config.factors for model in trained.models.values()),
        "steps": next(iter(trained.curves.values()))[-1]["step"],
        "product_dtype": trained.product_dtype,
        "training_seconds": trained.seconds,
    }


def defined(value: Any) -> Any:
    """None for a ratio whose denominator is zero: no file holds a NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _curves(
    lines: Iterable[Mapping[str, float]], names: Iterable[str]
) -> dict[str, list[dict[str, float]]]:
    evaluated = [line for line in lines if any("held_out" in key for key in line)]
    return {
        name: [
            {
                "step": line["step"] + 1,
                "error": line[f"{name}/held_out_error"],
                "density": line[f"{name}/held_out_density"],
            }
            for line in evaluated
        ]
        for name in names
    }


@torch.no_grad()
def latents_of(
    model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]
) -> Float[Tensor, "rows d_sae"]:
    """The latents on some activations, on the CPU."""
    return model.encode(x.to(model.device)).cpu()
