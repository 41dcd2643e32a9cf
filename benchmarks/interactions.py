"""Time and memory of the search for the largest of all interactions between two dictionaries.

    python benchmarks/interactions.py [--features 2048] [--hidden 2048] [--width 512] [--k 1000]
        [--outputs 24] [--weights noise planted] [--dtype float32] [--device cpu] [--json FILE]

Dictionaries of ``--features`` unit rows on both sides of a layer of random weights, so b̃ has
features³ entries, half of them with b ≤ c. Only ``--outputs`` output features are searched;
the time of all of them is that times features/outputs, and 0 searches all. Two kinds of weights:
"noise", where nothing can be skipped, and "planted", where the outputs' sizes differ as
exp(N(0, 1)) and a hundred products of two features each stand in the noise. Each row runs in a
process of its own, whose peak memory includes the interpreter and torch.
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

from quadric.forms import BilinearTensor
from quadric.language import (
    InputDictionary,
    Interactions,
    OutputDictionary,
    interactions_between,
    top_interactions,
)
from quadric.storage import write_json

PLANTED = 100


@dataclass(frozen=True)
class Row:
    """One search."""

    weights: str
    features: int
    hidden: int
    width: int
    k: int
    tile: int
    device: str
    outputs: int
    seconds: float
    seconds_for_all: float
    """``seconds`` times all outputs over those searched."""
    skipped: float
    peak_bytes: int
    """Of the process; on an accelerator, what torch allocated there."""


def dictionaries(
    kind: str, features: int, hidden: int, width: int, dtype: torch.dtype, device: str
) -> Interactions:
    """Unit rows on both sides of random weights."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device=device, dtype=dtype)

    left, right = (drawn(hidden, width) / width**0.5 for _ in "WV")
    out = drawn(width, hidden) / hidden**0.5
    decoder, encoder = (
        torch.nn.functional.normalize(drawn(features, width), dim=1) for _ in ("in", "out")
    )
    if kind == "planted":
        encoder *= torch.exp(drawn(features, 1))
        for neuron in range(min(PLANTED, hidden)):
            one, other = torch.randint(features, (2,), generator=generator).tolist()
            left[neuron], right[neuron] = 4 * decoder[one], 4 * decoder[other]
    tensor = BilinearTensor(left, right, out)
    return interactions_between(tensor, InputDictionary(decoder), OutputDictionary(encoder))


def peak(device: str) -> int:
    """The most memory that was in use, in bytes."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def measure(kind: str, options: argparse.Namespace) -> Row:
    """One search over some outputs, spread evenly."""
    dtype = getattr(torch, options.dtype)
    sizes = (options.features, options.hidden, options.width)
    found = dictionaries(kind, *sizes, dtype, options.device)
    count = options.outputs or options.features
    outputs = torch.arange(count) * options.features // count
    top_interactions(found, 1, outputs=[0], tile=options.tile)  # load libraries
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if done * 8 // total != (done - 1) * 8 // total:
            spent = time.perf_counter() - started
            print(f"  {done} of {total} outputs, {spent:.1f} s", file=sys.stderr, flush=True)

    answer = top_interactions(
        found, options.k, outputs=outputs, tile=options.tile, progress=progress
    )
    seconds = time.perf_counter() - started
    return Row(
        weights=kind,
        features=options.features,
        hidden=options.hidden,
        width=options.width,
        k=options.k,
        tile=options.tile,
        device=options.device,
        outputs=count,
        seconds=seconds,
        seconds_for_all=seconds * options.features / count,
        skipped=answer.skipped,
        peak_bytes=peak(options.device),
    )


def main() -> None:
    """Measure both kinds of weights, print a line each, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--outputs", type=int, default=24, help="how many to search; 0 for all")
    parser.add_argument("--weights", nargs="+", default=["noise", "planted"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{options.features}³ interactions, hidden {options.hidden}, {threads} threads")
    print(
        f"{'weights':8} {'outputs':>7} {'seconds':>8} {'all: s':>8} {'skipped':>8} {'peak MiB':>9}"
    )
    rows = []
    for kind in options.weights:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            row = pool.submit(measure, kind, options).result()
        rows.append(row)
        print(
            f"{row.weights:8} {row.outputs:7} {row.seconds:8.2f} {row.seconds_for_all:8.0f} "
            f"{row.skipped:8.1%} {row.peak_bytes / 2**20:9.0f}",
            flush=True,
        )
    if options.json:
        write_json(options.json, {"threads": threads, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
