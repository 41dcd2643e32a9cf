"""What torch.compile would give a training step: the loss with its gradients, eager and compiled.

    python benchmarks/compiled.py [--variants vanilla combined topk] [--d-sae 2048] [--rounds 7]

Every variant in a process of its own, eager and compiled steps in turn. Compiling needs a C++
compiler and takes minutes: the tiles of the energy become one graph. So it is no part of run.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch._dynamo.utils import counters

from processes import apart
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.config import Variant


@dataclass(frozen=True)
class Shape:
    """The problem, for every variant alike."""

    d_in: int
    d_sae: int
    rows: int
    product_dtype: torch.dtype
    rounds: int


@dataclass(frozen=True)
class Found:
    """Medians over the rounds."""

    eager: float
    compiled: float
    ratio: float
    """Median of each round's own eager ÷ compiled."""
    compiling: float
    """Seconds of the first compiled step."""
    graphs: int
    """How many graphs the step was compiled to: 1 where nothing broke it up."""


def measure(variant: Variant, shape: Shape) -> Found:
    """Eager and compiled steps in turn, after one of each that is not counted."""
    torch.manual_seed(0)
    config = AutoencoderConfig(d_in=shape.d_in, d_sae=shape.d_sae, variant=variant)
    model = BilinearAutoencoder(config)
    batch = torch.randn(shape.rows, shape.d_in)

    def loss() -> Tensor:
        return model.loss(batch, 0, product_dtype=shape.product_dtype).total

    def seconds(of: Callable[[], Tensor]) -> float:
        model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        torch.autograd.backward(of())
        return time.perf_counter() - started

    compiled = torch.compile(loss)
    compiling = seconds(compiled)
    seconds(loss)
    rounds = [(seconds(loss), seconds(compiled)) for _ in range(shape.rounds)]
    return Found(
        eager=statistics.median(eager for eager, _ in rounds),
        compiled=statistics.median(fused for _, fused in rounds),
        ratio=statistics.median(eager / fused for eager, fused in rounds),
        compiling=compiling,
        graphs=counters["stats"]["unique_graphs"],
    )


def main() -> None:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=get_args(Variant),
        metavar="VARIANT",
        default=["vanilla", "combined", "topk"],
    )
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--d-sae", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    shape = Shape(options.d_in, options.d_sae, options.rows, torch.bfloat16, options.rounds)
    table = Table(
        title=f"loss and gradients in bfloat16, {shape.rows:,} rows, d_in = {shape.d_in}, "
        f"d_sae = {shape.d_sae:,}, {torch.get_num_threads()} threads, medians of {shape.rounds}"
    )
    table.add_column("")
    for heading in ("eager ms", "compiled ms", "eager ÷ compiled", "compiling", "graphs"):
        table.add_column(heading, justify="right")
    for variant in options.variants:
        found = apart(measure, variant, shape)
        table.add_row(
            variant,
            f"{found.eager * 1e3:,.0f}",
            f"{found.compiled * 1e3:,.0f}",
            f"{found.ratio:.2f}×",
            f"{found.compiling:,.0f} s",
            str(found.graphs),
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
