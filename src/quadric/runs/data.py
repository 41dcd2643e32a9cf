"""Open the activations a run was configured with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from quadric.activations.chunks import ActivationStream
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.activations.harvest import harvest
from quadric.activations.loader import BatchSource, ShuffledRows
from quadric.activations.rows import Rows
from quadric.activations.stored import open_rows
from quadric.activations.stream import StreamSource
from quadric.autoencoders.config import Metadata
from quadric.errors import QuadricError
from quadric.ranks import ALONE, Ranks
from quadric.storage import cache_folder


@dataclass(frozen=True)
class Data:
    """Activations ready for a run."""

    source: BatchSource
    """Training batches and held-out rows."""
    store: Rows | None
    """The same activations in their stored order; None while streaming."""
    metadata: Metadata
    """What is known of their origin."""


def open_data(
    config: DataConfig,
    harvest_config: HarvestConfig | None,
    *,
    batch_size: int,
    seed: int,
    console: Console | None = None,
    ranks: Ranks = ALONE,
) -> Data:
    """Open stored activations, harvesting them first when a harvest is configured.

    Args:
        config: where they are and which of them count.
        harvest_config: the model and text to harvest; the cache is kept in the user's cache folder
            under a name made from this configuration, so that the next run finds it.
        batch_size: rows of a training batch, lowered to the number of training rows.
        seed: seed of the training order.
        console: where progress is drawn.
        ranks: the processes that harvest together and share each batch.

    Raises:
        QuadricError: the activations are not there, damaged, or too few.
    """
    if config.stream:
        if harvest_config is None:
            raise QuadricError("stream needs a model and a dataset to run")
        return _stream(config, harvest_config, batch_size, seed, ranks)
    path = config.activations
    if path is None:
        if harvest_config is None:
            raise QuadricError("no data: give a model and a dataset, or a folder of activations")
        folder = cache_of(harvest_config)
        harvest(harvest_config, folder, console=console, ranks=ranks)
        path = str(folder)
    rows = open_rows(Path(path), config.activations_hook)
    source = ShuffledRows(
        rows,
        batch_size=batch_size,
        seed=seed,
        held_out_fraction=config.held_out_fraction,
        drop_first=config.drop_first,
        max_norm_multiple=config.max_norm_multiple,
        ranks=ranks,
    )
    if source.training_rows < batch_size:
        source.batch_size = source.training_rows // ranks.world * ranks.world
    return Data(source, rows, describe(rows))


def cache_of(config: HarvestConfig) -> Path:
    """The folder in the user's cache that holds the activations of a harvest."""
    key = json.dumps({**vars(config), "device": None}, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    readable = config.model.replace("/", "--")
    return cache_folder() / "activations" / f"{readable}-{digest}"


def describe(rows: Rows) -> Metadata:
    """What a store knows about the origin of its activations."""
    facts = rows.describe()
    made: dict[str, Any] = facts.get("description", {})
    hook = facts.get("hook")
    return Metadata(
        model_name=made.get("model"),
        hook_name=hook,
        hf_hook_name=made.get("hooks", {}).get(hook),
        dataset=made.get("dataset"),
        context_size=facts.get("context_size"),
    )


def _stream(
    config: DataConfig, made: HarvestConfig, batch_size: int, seed: int, ranks: Ranks
) -> Data:
    stream = ActivationStream(made, config.activations_hook)
    source = StreamSource(
        stream,
        batch_size=batch_size,
        seed=seed,
        drop_first=config.drop_first,
        max_norm_multiple=config.max_norm_multiple,
        ranks=ranks,
    )
    metadata = Metadata(
        model_name=made.model,
        hook_name=stream.hook,
        hf_hook_name=stream.hf_hook,
        dataset=made.dataset,
        context_size=made.context_size,
    )
    return Data(source, None, metadata)
