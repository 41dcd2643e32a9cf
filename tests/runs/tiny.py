"""Small runs on stored vectors, and what their forms are according to the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadric.activations.config import DataConfig
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.records import Page
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.runs.config import RunConfig
from quadric.training import TrainingConfig

D_IN, ROWS = 12, 700
VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {"variant": "vanilla", "d_sae": 14},
    "mixed": {"variant": "mixed", "d_sae": 14, "bottleneck": 1.0},
    "composite": {"variant": "composite", "d_sae": 9, "block": 2},
    "large composite": {"variant": "composite", "d_sae": 6, "block": 5},
    "affine": {"variant": "composite", "d_sae": 9, "block": 2, "affine": True, "norm": "none"},
    "affine products": {"variant": "vanilla", "d_sae": 12, "affine": True, "scale": "dimension"},
}


def activations() -> Tensor:
    """Rows of a few directions each, so that forms fire on some rows and not on others."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(20, D_IN, generator=generator)
    strengths = torch.rand(ROWS, 20, generator=generator).pow(6)
    return strengths @ directions + 0.05 * torch.randn(ROWS, D_IN, generator=generator) + 0.3


def save_model(folder: Path, x: Tensor, **parts: Any) -> BilinearAutoencoder:
    """An autoencoder with two latents that share their plane, so that there is a group."""
    model = BilinearAutoencoder(AutoencoderConfig(d_in=D_IN, **parts)).eval()
    block = model.config.block or 1
    with torch.no_grad():
        for one, other in (("left", "left"), ("right", "right")):
            source = getattr(model, one)[:block].clone()
            getattr(model, other)[block : 2 * block] = source
        model.right[block : 2 * block] += 0.2 * model.left[:block]
    model.transform.fit(x)
    model.save_pretrained(folder)
    return model


def make_run(root: Path, **parts: Any) -> Path:
    x = activations()
    (root / "x").mkdir()
    np.save(root / "x" / "a.npy", x.numpy())
    run = root / "run"
    config = save_model(run, x, **parts).config
    save_model(run / "twin", x, **{**parts, "seed": 1})
    data = DataConfig(activations=str(root / "x"))
    RunConfig(data, TrainingConfig(), {"main": config}).write(run, finished=True)
    return run


def value_of(model: BilinearAutoencoder, row: Any, x: Tensor) -> np.ndarray:
    """The form Σ_j w_j z_j, from the encoder."""
    latents = model.double().encode(x.double()).detach()
    return (latents[:, list(row.members)] @ torch.tensor(row.weights, dtype=torch.float64)).numpy()


def rows_and_pages(atlas: AtlasFolder) -> Iterator[tuple[Any, Page]]:
    for place in range(atlas.manifest.forms):
        yield atlas.row(place), atlas.page(place)
