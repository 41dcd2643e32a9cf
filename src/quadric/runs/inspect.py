"""Look into a finished run: configuration, metrics, and its most important latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quadric.activations.models import load_tokenizer
from quadric.activations.rows import Rows
from quadric.activations.stored import open_rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds.spectra import eigenvalues
from quadric.runs import evaluate
from quadric.runs.config import RunConfig, is_finished
from quadric.runs.data import cache_of
from quadric.runs.latents import Latent, describe_latents
from quadric.storage import read_json

ROWS_SEARCHED = 200_000
"""Leading rows of the store searched for top tokens."""


@dataclass(frozen=True)
class RunView:
    """What ``quadric inspect`` shows."""

    config: dict[str, Any]
    metrics: dict[str, Any] | None
    latents: list[Latent]

    def as_dict(self) -> dict[str, Any]:
        """The view as JSON values."""
        return asdict(self)


def inspect_run(
    folder: Path, *, latents: int, top: int, labeller: Callable[[Latent], str] | None = None
) -> RunView:
    """Gather the view of a run.

    Args:
        folder: the run.
        latents: how many latents to show.
        top: responses of each kind per latent.
        labeller: asked for a label for each latent shown; nobody is when None.

    Raises:
        QuadricError: the folder holds no finished run.
    """
    if latents < 1 or top < 1:
        raise QuadricError(f"--latents {latents} --top {top}: both must be at least 1")
    config = RunConfig.read(folder)
    if not is_finished(folder):
        raise QuadricError(f"the run {folder} is not finished: continue it with train --resume")
    model = BilinearAutoencoder.load_from_disk(folder)
    metrics = folder / evaluate.FILE
    return RunView(
        config=config.as_dict(),
        metrics=read_json(metrics) if metrics.exists() else None,
        latents=_latents(model, config, latents, top, labeller),
    )


def open_store(config: RunConfig, *, verify: bool = True) -> Rows | None:
    """The run's activations in their stored order, or None where they are not kept or gone.

    Without ``verify`` they are not read through once for their checksums.
    """
    path = config.data.activations
    if path is None and config.harvest is not None and not config.data.stream:
        path = str(cache_of(config.harvest))
    if path is None or not Path(path).exists():
        return None
    return open_rows(Path(path), config.data.activations_hook, verify=verify)


def tokenizer_of(model: BilinearAutoencoder) -> Any:
    """The tokeniser of the language model behind an autoencoder, or None where there is none."""
    name = model.metadata.model_name
    return None if name is None else load_tokenizer(name)


def _latents(
    model: BilinearAutoencoder,
    config: RunConfig,
    count: int,
    top: int,
    labeller: Callable[[Latent], str] | None,
) -> list[Latent]:
    importance = eigenvalues(model).square().sum(-1)
    return describe_latents(
        model,
        open_store(config),
        tokenizer_of(model),
        which=importance.topk(min(count, model.d_sae)).indices.cpu(),
        top=top,
        limit=ROWS_SEARCHED,
        drop_first=config.data.drop_first,
        labeller=labeller,
    )
