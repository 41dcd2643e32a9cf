"""Time of a training step of bilinear, ReGLU and SwiGLU transformers, side by side.

    python benchmarks/language_step.py [--hidden-size 256] [--intermediate-size 1024]
        [--num-hidden-layers 4] [--num-attention-heads 4] [--vocab-size 4096]
        [--context-size 256] [--batch-contexts 16] [--micro-batch N] [--dtype auto]
        [--device auto] [--threads N] [--rounds 7] [--json FILE]

The gates take turns in one process, a few steps each, and every model has its median over the
rounds; the range says what else the machine did meanwhile. A step is that of ``quadric lm train``
on random tokens: forward and backward pass, clipping, optimiser and log, no evaluation. The
experiment on gates takes its times from the same function.
"""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from quadric.experiments.language.gates import BASE, GATES
from quadric.language.config import ArchitectureConfig, FitConfig, Recipe, TextConfig
from quadric.language.pace import ROUNDS, measure_pace
from quadric.storage import write_json

SIZES = {
    "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4,
    "vocab_size": 4096,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One gate."""

    gate: str
    seconds: float
    """Median per step over the rounds."""
    least: float
    most: float
    tokens_per_second: float
    against_bilinear: float
    """Ratio of the medians."""
    rounds: list[float]


def main() -> None:
    """Measure the three gates, print a line each, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    for name, value in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--context-size", type=int, default=256)
    parser.add_argument("--batch-contexts", type=int, default=16)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="all cores when absent")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipes = {gate: recipe(gate, options) for gate in GATES}
    pace = measure_pace(recipes, rounds=options.rounds, progress=progress)
    median = pace.seconds
    rows = [
        Row(
            gate=GATES[gate],
            seconds=median[gate],
            least=min(rounds),
            most=max(rounds),
            tokens_per_second=pace.rates[gate],
            against_bilinear=median[gate] / median[BASE],
            rounds=rounds,
        )
        for gate, rounds in pace.rounds.items()
    ]
    sizes = {name: getattr(options, name) for name in SIZES}
    print(
        f"{sizes['num_hidden_layers']} blocks of width {sizes['hidden_size']}, "
        f"{pace.tokens:,} tokens a step; {pace.machine['device']}, {pace.machine['dtype']}, "
        f"{pace.machine['threads']} threads; median of {options.rounds} rounds"
    )
    print(f"{'gate':9} {'s/step':>8} {'least':>8} {'most':>8} {'tokens/s':>10} {'to bilinear':>12}")
    for row in rows:
        print(
            f"{row.gate:9} {row.seconds:8.4f} {row.least:8.4f} {row.most:8.4f} "
            f"{row.tokens_per_second:10,.0f} {row.against_bilinear:12.3f}"
        )
    if options.json:
        about = {
            "machine": {**pace.machine, "processor": platform.machine()},
            "torch": torch.__version__,
            "sizes": sizes,
            "context_size": options.context_size,
            "batch_contexts": options.batch_contexts,
            "micro_batch": options.micro_batch,
        }
        write_json(options.json, {**about, "rows": [asdict(row) for row in rows]})


def recipe(gate: Any, options: argparse.Namespace) -> Recipe:
    """What is timed of a gate."""
    return Recipe(
        ArchitectureConfig(gate=gate, **{name: getattr(options, name) for name in SIZES}),
        TextConfig(context_size=options.context_size),
        FitConfig(
            batch_contexts=options.batch_contexts,
            micro_batch=options.micro_batch,
            dtype=options.dtype,
            device=options.device,
        ),
    )


def progress(done: int, total: int) -> None:
    """Say on standard error how far it is."""
    print(f"  round {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
