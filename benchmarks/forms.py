"""Time and memory of the weight-only algebra on one bilinear layer, without any data.

    python benchmarks/forms.py [--inputs 784] [--hidden 1000] [--outputs 10] [--json FILE]

Two layers of random weights, float32: all hidden units as outputs (no output matrix), and a head of
``--outputs``. The principal components of all pairs of inputs are those of the HOSVD; the pass over
the pairs that it spares is measured beside it. Each row runs in a process of its own, whose peak
memory is compared with that before the work, when it already holds the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from quadric.forms import (
    BilinearTensor,
    compress,
    express,
    fit_factors,
    pair_blocks,
    pair_count,
    reduce_inputs,
)
from quadric.storage import write_json


@dataclass(frozen=True)
class Row:
    """One analysis of one layer."""

    task: str
    outputs: int
    hidden: int
    inputs: int
    seconds: float
    weights_bytes: int
    extra_bytes: int
    """Peak memory over that of the process with its weights; the results are in it."""
    found: str
    """What came out, in words."""


def peak_resident() -> int:
    """The most memory this process has had resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def hosvd(tensor: BilinearTensor) -> str:
    """All singular values and output directions: the principal components of all pairs."""
    return f"{len(tensor.hosvd().singular_values)} components"


def pass_over_pairs(tensor: BilinearTensor) -> str:
    """The same components from the second moment of all pairs, made and added up in blocks."""
    second = torch.zeros(tensor.m, tensor.m, dtype=torch.float64)
    for pairs in pair_blocks(tensor):
        weighted = pairs.weighted
        second += (weighted.mT @ weighted).double()
    squares = torch.linalg.eigvalsh(second).flip(0)
    off = squares[0].sqrt() / tensor.hosvd(rank=1).singular_values[0] - 1
    return f"{pair_count(tensor.d)} pairs; σ₁ differs by {abs(float(off)):.0e}"


def core(tensor: BilinearTensor) -> str:
    """Leading directions of outputs and inputs, and the core between them."""
    return f"core of 10×100×100 keeps {compress(tensor, 10, 100).kept:.1%}"


def expression(tensor: BilinearTensor) -> str:
    """The tensor through ten output directions, cut to twenty eigen-terms each."""
    drawn = torch.randn(tensor.m, 10, generator=torch.Generator().manual_seed(1))
    found = express(tensor, torch.linalg.qr(drawn).Q.mT)
    share = found.truncate(20).error / found.tensor().norm()
    return f"10 directions, 20 terms each: error {float(share):.1%}"


def embedded(tensor: BilinearTensor) -> str:
    """Ten spectra behind an embedding to twice as many inputs."""
    generator = torch.Generator().manual_seed(2)
    basis = torch.randn(tensor.d, 2 * tensor.d, generator=generator)
    directions = torch.randn(10, tensor.m, generator=generator)
    pairs = reduce_inputs(tensor, basis).eigh_many(directions, 20)
    return f"eigenvectors of {pairs.vectors.shape[-1]} inputs"


def factors(tensor: BilinearTensor) -> str:
    """Twenty shared products, one search of thirty iterations from the eigen-terms."""
    found = fit_factors(tensor, 20, starts=1, steps=3)
    return f"explained {found.history[0]:.2%} at the start, {found.explained:.2%} at the end"


TASKS: dict[str, Callable[[BilinearTensor], str]] = {
    "HOSVD = PCA of all pairs": hosvd,
    "the same by a pass over the pairs": pass_over_pairs,
    "core on leading directions": core,
    "expression and its error": expression,
    "spectra behind an embedding": embedded,
    "shared products": factors,
}


def layer(outputs: int | None, hidden: int, inputs: int) -> BilinearTensor:
    """Random weights of the usual sizes."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(hidden, inputs, generator=generator) / inputs**0.5 for _ in "WV")
    out = None
    if outputs is not None:
        out = torch.randn(outputs, hidden, generator=generator) / hidden**0.5
    return BilinearTensor(left, right, out)


def measure(task: str, outputs: int | None, hidden: int, inputs: int) -> Row:
    """One task on one layer."""
    TASKS[task](layer(3, 130, 120).with_output_basis(torch.eye(3).repeat(4, 1)))  # load libraries
    tensor = layer(outputs, hidden, inputs)
    before = peak_resident()
    started = time.perf_counter()
    found = TASKS[task](tensor)
    seconds = time.perf_counter() - started
    weights = (tensor.left, tensor.right, tensor.out)
    return Row(
        task=task,
        outputs=tensor.m,
        hidden=hidden,
        inputs=inputs,
        seconds=seconds,
        weights_bytes=sum(factor.nbytes for factor in weights if factor is not None),
        extra_bytes=peak_resident() - before,
        found=found,
    )


def main() -> None:
    """Measure every task on both layers, print a line each, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--hidden", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{options.inputs} inputs, {options.hidden} hidden, {threads} threads")
    print(f"{'task':34} {'outputs':>7} {'seconds':>8} {'extra MiB':>9}  found")
    rows = []
    for task in TASKS:
        for outputs in (None, options.outputs):
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                arguments = task, outputs, options.hidden, options.inputs
                row = pool.submit(measure, *arguments).result()
            rows.append(row)
            print(
                f"{row.task:34} {row.outputs:7} {row.seconds:8.2f} {row.extra_bytes / 2**20:9.0f}  "
                f"{row.found}",
                flush=True,
            )
    if options.json:
        write_json(options.json, {"threads": threads, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
