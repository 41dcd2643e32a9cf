"""What tests of prefetching share: sources, and the threads that are at work."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import torch

from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig
from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.activations.stream import StreamSource
from tests.activations.tiny import save_tiny

CPU = torch.device("cpu")
WIDTH, CONTEXT = 3, 7
PATIENCE = 30.0
"""Seconds after which a test gives up on an event that should have come."""


def shuffled(batch_size: int = 11) -> ShuffledRows:
    generator = torch.Generator().manual_seed(0)
    rows = MemoryRows(torch.randn(40, CONTEXT, WIDTH, generator=generator))
    return ShuffledRows(rows, batch_size=batch_size, seed=5)


def text_and_model(folder: Path) -> HarvestConfig:
    """53 contexts of a text without outliers, for a tiny model."""
    model = save_tiny(folder / "llama")
    letters = "".join(chr(i) for i in range(33, 123))
    (model / "text.txt").write_text("".join(random.Random(0).choices(letters, k=53 * CONTEXT)))
    return HarvestConfig(
        model=str(model),
        dataset=str(model / "text.txt"),
        hook="blocks.1.hook_resid_pre",
        context_size=CONTEXT,
        batch_contexts=4,
        dtype="float32",
        device="cpu",
    )


def streamed(config: HarvestConfig, batch_size: int) -> StreamSource:
    stream = ActivationStream(config, contexts_per_chunk=12)
    return StreamSource(stream, batch_size=batch_size, seed=1)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "quadric-prefetch"]
