"""Time, memory and exactness of the reconstruction energy, side by side with its peers.

    python benchmarks/kernel.py [--n 2304 4608 9216] [--samples 4096] [--d 576] [--repeats 5]
                                [--quick] [--json FILE]

One step is the energy with its gradients to g, left and right. The peers, both unsymmetrised, are
plain autograd and the published tiling (4 row tiles, one einsum for each of the 10 pairs, weight 2
off the diagonal, then autograd). All steps of one n are timed in turn, round after round, each
between two of the machine's own matrix products, so that a busy machine disturbs them alike. The
share of these products' rate and the ratio to the tiling are each round's own, and of these the
median.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import opt_einsum
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from processes import apart, peak_resident
from quadric.kernels import reconstruction_energy, reference_energy
from quadric.storage import write_json

TILING = "published tiling f32"
AUTOGRAD = "plain autograd f32"
TILES = 4
# n×n float32 tensors alive at plain autograd's peak: three Grams, their products, the gradients.
AUTOGRAD_SQUARES = 8

Energy = Callable[[Tensor, Tensor, Tensor], Tensor]


def tiled_energy(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The published tiling, with diagonal tiles counted once and the others twice."""
    samples = [tile.contiguous() for tile in g.chunk(TILES, dim=1)]
    parts = list(zip(samples, left.chunk(TILES), right.chunk(TILES), strict=True))
    total = torch.zeros(len(g))
    for i, j in combinations_with_replacement(range(TILES), 2):
        operands = (*parts[i], *parts[j])
        energies = opt_einsum.contract("bh,hl,hr,bk,kl,kr->b", *operands, optimize="auto-hq")
        total = total + (1 if i == j else 2) * energies
    return total.sum()


@dataclass(frozen=True)
class Case:
    """One way to compute the energy, and the flops that this way takes."""

    energy: Energy
    squares: float
    """Flops of a step are squares × n² × (samples + grams × d)."""
    symmetric: bool = False
    dtype: torch.dtype = torch.float32

    def flops(self, n: int, samples: int, d: int) -> float:
        """Floating-point operations of one step's matrix products."""
        return self.squares * n**2 * (samples + (4 if self.symmetric else 2) * d)


def blocked(symmetric: bool, dtype: torch.dtype) -> Case:
    """The library's kernel."""
    energy = partial(reconstruction_energy, symmetric=symmetric, product_dtype=dtype)
    return Case(energy, squares=3, symmetric=symmetric, dtype=dtype)


CASES = {
    TILING: Case(tiled_energy, squares=6 * 10 / 16),
    AUTOGRAD: Case(partial(reference_energy, symmetric=False), squares=6),
    "blocked plain f32": blocked(False, torch.float32),
    "blocked symmetric f32": blocked(True, torch.float32),
    "blocked plain bf16": blocked(False, torch.bfloat16),
    "blocked symmetric bf16": blocked(True, torch.bfloat16),
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    n: int
    best: float
    median: float
    gigaflops: float
    matmul_share: float
    speedup: float
    extra_bytes: int
    largest_bytes: int
    gradient_error: float


def arguments(n: int, samples: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients and factors whose atoms have norms about 1."""
    torch.manual_seed(0)
    shapes = ((samples, n), (n, d), (n, d))
    scales = (0.1, d**-0.5, d**-0.5)
    g, left, right = (
        torch.randn(shape).mul_(scale).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    )
    return g, left, right


def step(energy: Energy, inputs: tuple[Tensor, ...]) -> float:
    """Seconds of one forward and backward pass; the gradients are left on the inputs."""
    for tensor in inputs:
        tensor.grad = None
    start = time.perf_counter()
    torch.autograd.backward(energy(*inputs))
    return time.perf_counter() - start


def matmul_rate(dtype: torch.dtype, n: int, samples: int) -> float:
    """Flops per second of one GᵀG at the shape of this problem, at most 4608 square."""
    n = min(n, 4608)
    a, b = torch.randn(n, samples).to(dtype), torch.randn(samples, n).to(dtype)
    product = torch.empty(n, n, dtype=dtype)
    torch.mm(a, b, out=product)
    start = time.perf_counter()
    torch.mm(a, b, out=product)
    return 2 * n**2 * samples / (time.perf_counter() - start)


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the bytes of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operation and look at what it made."""
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return result


def memory(name: str, n: int, samples: int, d: int) -> tuple[int, int]:
    """Bytes a step adds to a fresh process that holds its inputs, and those of its largest tensor.

    The added memory includes the gradients that the step returns.
    """
    energy = CASES[name].energy
    step(energy, arguments(64, 64, d))  # what libraries allocate once
    inputs = arguments(n, samples, d)
    before = peak_resident()
    step(energy, inputs)
    extra = peak_resident() - before
    with LargestTensor() as largest:
        step(energy, inputs)
    return extra, largest.bytes


def exact_gradients(symmetric: bool, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The gradients in float64, rounded to float32 to be kept."""
    doubled = tuple(tensor.detach().double().requires_grad_() for tensor in inputs)
    gradients = torch.autograd.grad(reconstruction_energy(*doubled, symmetric=symmetric), doubled)
    return [gradient.float() for gradient in gradients]


def gradient_error(inputs: tuple[Tensor, ...], exact: list[Tensor]) -> float:
    """The largest of ‖found − exact‖ / ‖exact‖ over the three gradients."""
    errors = []
    for tensor, expected in zip(inputs, exact, strict=True):
        assert tensor.grad is not None
        errors.append(float((tensor.grad - expected).norm() / expected.norm()))
    return max(errors)


def runnable(n: int, console: Console) -> list[str]:
    """The cases that fit; says which does not, and why."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = AUTOGRAD_SQUARES * 4 * n**2
    if needed <= total / 2:
        return list(CASES)
    console.print(
        f"n = {n}: {AUTOGRAD} skipped: its n×n tensors need about {needed / 2**30:.1f} GiB, more "
        f"than half of this machine's {total / 2**30:.1f} GiB"
    )
    return [name for name in CASES if name != AUTOGRAD]


def measure(
    n: int, samples: int, d: int, repeats: int, memories: dict[str, tuple[int, int]]
) -> tuple[list[Row], dict[torch.dtype, float]]:
    """All rows for one n, and the rates of the machine's matrix products in the same minutes."""
    names = list(memories)
    inputs = arguments(n, samples, d)
    exact = {kind: exact_gradients(kind, inputs) for kind in (False, True)}
    errors: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            gc.collect()
            rate = partial(matmul_rate, CASES[name].dtype, n, samples)
            before = rate()
            seconds[name].append(step(CASES[name].energy, inputs))
            rates[name].append((before + rate()) / 2)
            errors.setdefault(name, gradient_error(inputs, exact[CASES[name].symmetric]))
    rows = []
    for name in names:
        case, own = CASES[name], seconds[name]
        flops = case.flops(n, samples, d)
        shares = [flops / taken / rate for taken, rate in zip(own, rates[name], strict=True)]
        speedups = [tiling / taken for tiling, taken in zip(seconds[TILING], own, strict=True)]
        median = statistics.median(own)
        rows.append(
            Row(
                name,
                n,
                best=min(own),
                median=median,
                gigaflops=flops / median / 1e9,
                matmul_share=statistics.median(shares),
                speedup=statistics.median(speedups),
                extra_bytes=memories[name][0],
                largest_bytes=memories[name][1],
                gradient_error=errors[name],
            )
        )
    return rows, {
        dtype: statistics.median(
            rate for name in names if CASES[name].dtype == dtype for rate in rates[name]
        )
        for dtype in (torch.float32, torch.bfloat16)
    }


def table(rows: list[Row], rates: dict[torch.dtype, float], samples: int, d: int) -> Table:
    """The rows of one n for a reader."""
    f32, bf16 = (rates[dtype] / 1e9 for dtype in (torch.float32, torch.bfloat16))
    result = Table(
        title=f"n = {rows[0].n}, {samples} samples, d = {d}, {torch.get_num_threads()} threads; "
        f"matrix products: f32 {f32:.0f} GF/s, bf16 {bf16:.0f} GF/s",
        caption="flops: blocked 3n²(N+2d), symmetric 3n²(N+4d); tiling 3.75n²(N+2d); autograd "
        "6n²(N+2d). Extra memory: a step's peak over its inputs, gradients included.",
    )
    result.add_column("")
    headings = "best ms", "median", "GF/s", "of matmul", "vs tiling", "extra", "largest"
    for heading in (*headings, "grad error"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        result.add_row(
            row.name,
            f"{row.best * 1e3:.0f}",
            f"{row.median * 1e3:.0f}",
            f"{row.gigaflops:.0f}",
            f"{row.matmul_share:.0%}",
            f"{row.speedup:.2f}×",
            f"{row.extra_bytes / 2**20:.0f} MiB",
            f"{row.largest_bytes / 2**20:.0f} MiB",
            f"{row.gradient_error:.1e}",
        )
    return result


def main() -> None:
    """Measure every n, print its table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--n", type=int, nargs="+", default=[2304, 4608, 9216])
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--d", type=int, default=576)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.n, options.samples, options.repeats = [576, 1152], 1024, 2
    console = Console(width=None if sys.stdout.isatty() else 120)
    memories = {
        n: {
            name: apart(memory, name, n, options.samples, options.d)
            for name in runnable(n, console)
        }
        for n in options.n
    }
    results = []
    for n in options.n:
        rows, rates = measure(n, options.samples, options.d, options.repeats, memories[n])
        console.print(table(rows, rates, options.samples, options.d))
        results.append(
            {
                "n": n,
                "matmul_gigaflops": {str(dtype): rate / 1e9 for dtype, rate in rates.items()},
                "rows": [asdict(row) for row in rows],
            }
        )
    if options.json:
        shape = {"samples": options.samples, "d": options.d, "repeats": options.repeats}
        threads = torch.get_num_threads()
        write_json(options.json, {**shape, "threads": threads, "results": results})


if __name__ == "__main__":
    main()
