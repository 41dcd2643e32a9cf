"""Time and memory of the weight-only analysis: spectra, then neighbours by Gram and by subspace.

    python benchmarks/analysis.py [--latents 10000] [--d 1024] [--block 4] [--json FILE]

Two dictionaries of random factors: plain products, and composites of ``--block`` products. Each
runs in a process of its own, whose peak memory is compared with that before the analysis, when it
already holds the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.manifolds.overlap import overlaps
from quadric.manifolds.spectra import spectra, summarise
from quadric.storage import write_json


@dataclass(frozen=True)
class Row:
    """One dictionary's figures."""

    name: str
    latents: int
    products: int
    d: int
    spectra_seconds: float
    neighbours_seconds: float
    weights_bytes: int
    extra_bytes: int
    """Peak memory over that of the process with its weights; eigenvectors are in it."""


def peak_resident() -> int:
    """The most memory this process has had resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def measure(variant: str, latents: int, d: int, block: int) -> Row:
    """Spectra of all latents with their eigenvectors, then ten neighbours by both measures."""
    made = {"block": block} if variant == "composite" else {}
    config = AutoencoderConfig(d_in=d, d_sae=latents, variant=variant, **made)
    small = AutoencoderConfig(d_in=16, d_sae=8, variant=variant, **made)
    overlaps(BilinearAutoencoder(small), k=2)  # what libraries allocate once
    model = BilinearAutoencoder(small)
    # Its own initialisation draws in float64, which would hide what the analysis needs.
    model.config = config
    for name in ("left", "right"):
        setattr(model, name, torch.nn.Parameter(torch.randn(config.factors, d).div_(d**0.5)))
    before = peak_resident()
    started = time.perf_counter()
    pairs = spectra(model)
    facts = summarise(pairs.values)
    middle = time.perf_counter()
    graphs = overlaps(model, k=10, pairs=pairs)
    ended = time.perf_counter()
    assert facts.importance.shape == graphs.gram.participation.shape == (latents,)
    return Row(
        name=f"composites of {block}" if made else "plain products",
        latents=latents,
        products=config.factors,
        d=d,
        spectra_seconds=middle - started,
        neighbours_seconds=ended - middle,
        weights_bytes=model.left.nbytes + model.right.nbytes,
        extra_bytes=peak_resident() - before,
    )


def main() -> None:
    """Measure both dictionaries, print a line each, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--latents", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for variant in ("vanilla", "composite"):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            row = pool.submit(measure, variant, options.latents, options.d, options.block).result()
        rows.append(row)
        print(
            f"{row.name}: {row.latents} latents at d = {row.d}, {torch.get_num_threads()} threads: "
            f"spectra {row.spectra_seconds:.1f} s, neighbours {row.neighbours_seconds:.1f} s; "
            f"memory {row.extra_bytes / 2**20:.0f} MiB over {row.weights_bytes / 2**20:.0f} MiB of "
            "weights",
            flush=True,
        )
    if options.json:
        threads = torch.get_num_threads()
        write_json(options.json, {"threads": threads, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
