"""How alike two seeds of a composite autoencoder are, as steps, width and density weight change.

    python benchmarks/seeds.py --activations DIR

Two autoencoders that differ in the seed of their initial weights train on one stream; prints their
held-out error and density and the similarity of their maps.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from quadric.activations.loader import ShuffledRows
from quadric.activations.stored import open_rows
from quadric.autoencoders import AutoencoderConfig
from quadric.evaluation import map_similarity
from quadric.training import TrainingConfig, log, train

SETTINGS = [
    (100, 96, 0.3), (400, 96, 0.3), (1600, 96, 0.3),
    (400, 96, 0.03), (400, 96, 1.0), (400, 24, 0.3),
]  # fmt: skip
"""Steps, composites, density weight."""
RAW = [(400, 384, 0.0), (400, 384, 0.1)]
"""The same for plain products on the paper's input: raw activations, unsymmetrised atoms."""
BLOCK, BATCH_SIZE = 4, 2048


def main() -> None:
    """Run every setting and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--activations", type=Path, required=True)
    rows = open_rows(parser.parse_args().activations)
    console = Console()
    for raw, (steps, d_sae, weight) in [(False, one) for one in SETTINGS] + [
        (True, one) for one in RAW
    ]:
        config = AutoencoderConfig(
            d_in=rows.d_in, d_sae=d_sae, variant="composite", block=BLOCK, density_weight=weight
        )
        if raw:
            config = AutoencoderConfig(
                d_in=rows.d_in, d_sae=d_sae, density_weight=weight, centre=False, symmetric=False
            )
        source = ShuffledRows(rows, batch_size=BATCH_SIZE, seed=0)
        training = TrainingConfig(steps=steps, batch_size=BATCH_SIZE, eval_every=steps)
        with tempfile.TemporaryDirectory() as folder:
            pair = {"first": config, "second": config.replace(seed=1)}
            models = train(source, pair, training, Path(folder))
            last = log.read(Path(folder) / log.LOG)[-1]
        alike = map_similarity(models["first"], models["second"])
        console.print(
            f"{'raw' if raw else 'composite'}, {steps} steps, d_sae {d_sae}, weight {weight}: "
            f"error {last['first/held_out_error']:.3f}, "
            f"density {last['first/held_out_density']:.3f}, "
            f"cosine {alike.cosine:.3f}, Frobenius {alike.frobenius:.3f}"
        )


if __name__ == "__main__":
    main()
