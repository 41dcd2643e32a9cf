"""One sparse dictionary on harvested activations: quadric's TopK baseline, its progress drawn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.activations.hooks import Hook
from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import InputTransform
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.baselines.topk import STATISTICS_ROWS
from quadric.language.config import DictionaryConfig
from quadric.language.harvesting import Harvest
from quadric.training.progress import Display

if TYPE_CHECKING:
    from rich.console import Console


class Activations(ShuffledRows):
    """Shuffled activations that show how many batches were taken."""

    display: Display
    taken = 0

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """The next batch."""
        self.taken += 1
        self.display.update(self.taken, {"seconds": time.monotonic()}, self.batch_size)
        return super().next_batch()


def source_of(harvested: Harvest, hook: Hook, config: DictionaryConfig) -> Activations:
    """The activations at a hook, its last contexts held out."""
    x = harvested.activations[hook.hook_name]
    source = Activations(
        MemoryRows(x),
        batch_size=config.batch_size,
        seed=config.seed,
        held_out_fraction=len(harvested.held_out) / len(x),
        drop_first=config.drop_first,
        max_norm_multiple=None,
    )
    source.batch_size = min(source.batch_size, source.training_rows)
    return source


def fit(
    source: Activations,
    config: DictionaryConfig,
    device: torch.device,
    name: str,
    console: Console | None,
) -> TopKAutoencoder:
    """Train a dictionary with ``expansion`` features per dimension.

    Args:
        source: its activations.
        config: how it is trained.
        device: where it is trained.
        name: shown beside the progress.
        console: where progress is drawn.

    Raises:
        QuadricError: k exceeds the number of features.
    """
    # One factor for all dimensions and tokens, which the written weights can include.
    transform = InputTransform(source.d_in, centre=True, scale="none", norm="constant")
    transform.fit(source.sample(STATISTICS_ROWS))
    with Display(console, config.steps, lambda _: [f"dictionary {name}"]) as source.display:
        return train_topk(
            source,
            config.expansion * source.d_in,
            config.k,
            steps=config.steps,
            lr=config.lr,
            seed=config.seed,
            transform=transform.to(device),
            device=device,
        )
