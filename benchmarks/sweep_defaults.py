"""The sweep behind the default hyper-parameters.

    python benchmarks/sweep_defaults.py --activations DIR [--steps 200] [--json FILE]

Trains on one cache of activations (the demo's, by default) and prints held-out product error and
density for a grid of learning rates, optimisers and density weights. Autoencoders that differ only
in themselves share one stream; learning rates run one after the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from quadric.activations.loader import ShuffledRows
from quadric.activations.stored import open_rows
from quadric.autoencoders import AutoencoderConfig
from quadric.errors import QuadricError
from quadric.training import TrainingConfig, log, train

OPTIMISERS = [("muon", lr) for lr in (0.02, 0.05, 0.1, 0.2, 0.3)] + [
    ("adamw", lr) for lr in (0.003, 0.01, 0.03)
]
DENSITY_WEIGHTS = (0.0, 0.1, 0.3, 1.0)


def variants(d_in: int, expansion: int) -> dict[str, AutoencoderConfig]:
    """The demo's two kinds of dictionary at one number of products."""
    products = expansion * d_in
    return {
        "composite": AutoencoderConfig(
            d_in=d_in, d_sae=products // 4, variant="composite", block=4
        ),
        "vanilla": AutoencoderConfig(d_in=d_in, d_sae=products),
    }


def run(
    rows: Any, configs: dict[str, AutoencoderConfig], training: TrainingConfig
) -> list[dict[str, Any]]:
    """Train once and read the last evaluation."""
    source = ShuffledRows(rows, batch_size=training.batch_size, seed=training.seed)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(source, configs, training, Path(folder))
            last = log.read(Path(folder) / log.LOG)[-1]
            reason = ""
        except QuadricError as error:
            last, reason = {}, str(error).split(";")[0]
    for name, config in configs.items():
        results.append(
            {
                "variant": config.variant,
                "optimizer": training.optimizer,
                "lr": training.lr,
                "density_weight": config.density_weight,
                "steps": training.steps,
                "error": last.get(f"{name}/held_out_error"),
                "density": last.get(f"{name}/held_out_density"),
                "stopped": reason,
            }
        )
    return results


def main() -> None:
    """Run both sweeps and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--activations", required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--expansion", type=int, default=2, help="products per input dimension")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = open_rows(Path(options.activations))
    training = TrainingConfig(
        steps=options.steps, eval_every=options.steps, optimizer="muon", lr=0.2
    )
    console = Console()
    results = []
    for optimizer, lr in OPTIMISERS:
        changed = dataclasses.replace(training, optimizer=optimizer, lr=lr)
        results += run(rows, variants(rows.d_in, options.expansion), changed)
        console.print(results[-2:])
    for kind, config in variants(rows.d_in, options.expansion).items():
        grid = {
            f"w{index}": config.replace(density_weight=weight)
            for index, weight in enumerate(DENSITY_WEIGHTS)
        }
        results += run(rows, grid, training)
        console.print(kind, results[-len(grid) :])
    table = Table("variant", "optimizer", "lr", "density_weight", "error", "density", "")
    for row in results:
        cells = [row[key] for key in ("variant", "optimizer", "lr", "density_weight")]
        figures = ["–" if row[key] is None else f"{row[key]:.3f}" for key in ("error", "density")]
        table.add_row(*map(str, cells), *figures, row["stopped"])
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
