"""What one rank of the tests' torchrun does: train every variant and write down what happened.

    torchrun --nproc-per-node 2 tests/training/ranks_worker.py FOLDER SHARDS OPTIMIZER…

With ``STOP="9 1"`` rank 1 asks itself to stop while it makes batch 9.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig
from quadric.errors import Followed, Interrupted
from quadric.ranks import ALONE, Ranks, join
from quadric.training import TrainingConfig, train

D = 12
AUTOENCODERS = {
    "main": AutoencoderConfig(d_in=D, d_sae=21, density_warmup=2, density_weight=0.5),
    "affine": AutoencoderConfig(d_in=D, d_sae=30, affine=True, norm="none", density_warmup=2),
    "ordered": AutoencoderConfig(d_in=D, d_sae=25, variant="ordered", density_warmup=2),
    "combined": AutoencoderConfig(d_in=D, d_sae=40, variant="combined", density_warmup=2),
    "composite": AutoencoderConfig(d_in=D, d_sae=11, variant="composite", block=2),
    "topk": AutoencoderConfig(d_in=D, d_sae=50, variant="topk", k=3),
    "batch": AutoencoderConfig(d_in=D, d_sae=50, variant="topk", k=3, batch_topk=True),
}
"""Every variant; no number of factors is even, so no two shards are alike."""


def config(optimizer: str, **changes: object) -> TrainingConfig:
    """Some steps, without products in bfloat16."""
    values = {
        "steps": 25, "batch_size": 64, "eval_every": 5, "eval_rows": 50, "device": "cpu",
        "product_dtype": "float32", "lr_warmup": 2, "optimizer": optimizer,
        "lr": 0.1 if optimizer == "muon" else 0.01,
    }  # fmt: skip
    return TrainingConfig(**{**values, **changes})  # type: ignore[arg-type]


class Source(ShuffledRows):
    """Activations near a few directions; every rank has them all and reads its part."""

    def __init__(self, ranks: Ranks = ALONE, stop_at: int = -1) -> None:
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(5, D, generator=generator)
        strengths = torch.rand(1000, 5, generator=generator).pow(6)
        rows = strengths @ directions + 0.05 * torch.randn(1000, D, generator=generator)
        super().__init__(
            MemoryRows(rows), batch_size=64, seed=3, max_norm_multiple=None, ranks=ranks
        )
        self.left = stop_at

    def next_batch(self) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().next_batch()


def main() -> None:
    """Train with each optimiser; continue where there is a checkpoint."""
    folder, shards, optimizers = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    batch, rank = map(int, os.environ.get("STOP", "-1 -1").split())
    with join("cpu", shards) as ranks:
        for optimizer in optimizers:
            out = folder / optimizer
            source = Source(ranks, batch if ranks.rank == rank else -1)
            resume = (out / "checkpoint").exists()
            try:
                found = train(
                    source, AUTOENCODERS, config(optimizer), out, resume=resume, ranks=ranks
                )
            except (Interrupted, Followed) as stopped:
                (folder / f"stopped-{ranks.rank}").write_text(str(stopped))
            else:
                (folder / f"returned-{optimizer}-{ranks.rank}").write_text(json.dumps([*found]))


if __name__ == "__main__":
    main()
