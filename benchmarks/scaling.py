"""Time and memory of the dense and the sparse loss against n, N, d and k, with fitted exponents.

    python benchmarks/scaling.py [--repeats 3] [--quick] [--json FILE]

Each is a forward and backward pass in float32. One factor varies at a time; every point runs in a
process of its own. The exponent is that of the least-squares line in log–log. The predicted one is
the same line through the cost that the kernels' docstrings give, at the same points, since a cost
of several terms has no exponent of its own: 3n²(N+4d) is of order 2 in n, but between 0 and 1 in N.
Beside both stands the exponent between the last two points, where the largest term shows best.

Times are the best of the repeats, since other work only ever adds time. Memory is what a step adds
to a process that holds its inputs; the gradients that it returns are in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kernel import arguments, step
from power_laws import PowerLaw, fit
from predictions import Shape
from processes import apart, peak_resident
from quadric.kernels import reconstruction_energy, sparse_squared_error, strongest_products
from quadric.storage import write_json

TOLERANCE = 0.15
"""Exponents further apart than this are pointed out."""


@dataclass(frozen=True)
class Sweep:
    """One factor of one loss."""

    loss: str
    factor: str
    base: Shape
    values: tuple[int, ...]

    def shapes(self) -> list[Shape]:
        """The points."""
        return [replace(self.base, **{self.factor: value}) for value in self.values]


DENSE = Shape(n=2048, N=2048, d=576)
SPARSE = Shape(n=16_384, N=512, d=576, k=32)
SWEEPS = (
    Sweep("dense", "n", DENSE, (1024, 2048, 4096, 8192)),
    Sweep("dense", "N", DENSE, (512, 1024, 2048, 4096, 8192)),
    Sweep("dense", "d", DENSE, (144, 288, 576, 1152, 2304)),
    Sweep("topk", "n", replace(SPARSE, N=256), (2**12, 2**14, 2**16, 2**18, 2**20)),
    Sweep("topk", "N", SPARSE, (256, 512, 1024, 2048, 4096)),
    Sweep("topk", "d", SPARSE, (144, 288, 576, 1152, 2304)),
    Sweep("topk", "k", SPARSE, (8, 16, 32, 64, 128, 256)),
)
SMALL_DENSE = Shape(n=768, N=512, d=192)
SMALL_SPARSE = Shape(n=4096, N=128, d=192, k=16)
QUICK = (
    Sweep("dense", "n", SMALL_DENSE, (768, 1536)),
    Sweep("dense", "N", SMALL_DENSE, (512, 1024)),
    Sweep("dense", "d", SMALL_DENSE, (192, 384)),
    Sweep("topk", "n", SMALL_SPARSE, (2**12, 2**14)),
    Sweep("topk", "N", SMALL_SPARSE, (128, 256)),
    Sweep("topk", "d", SMALL_SPARSE, (192, 384)),
    Sweep("topk", "k", SMALL_SPARSE, (16, 64)),
)


@dataclass(frozen=True)
class Point:
    """One measured shape."""

    shape: Shape
    best: float
    median: float
    extra_bytes: int


def loss(shape: Shape) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """A loss and its arguments."""
    if not shape.k:
        return reconstruction_energy, arguments(shape.n, shape.N, shape.d)
    x = torch.nn.functional.normalize(torch.randn(shape.N, shape.d))
    left, right = (torch.randn(shape.n, shape.d).mul_(shape.d**-0.5) for _ in range(2))

    def sparse(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        active = strongest_products(x, left, right, shape.k)
        return sparse_squared_error(x, left, right, active.indices)

    return sparse, (x, left.requires_grad_(), right.requires_grad_())


def measure(shape: Shape, repeats: int) -> Point:
    """One shape, in this process; call it :func:`~processes.apart`."""
    torch.manual_seed(0)
    # A step of a few rows for what libraries allocate once.
    small = replace(shape, n=min(256, shape.n), N=16, k=min(8, shape.k))
    function, inputs = loss(small)
    step(function, inputs)
    function, inputs = loss(shape)
    before = peak_resident()
    seconds = [step(function, inputs)]
    extra = peak_resident() - before
    seconds = [step(function, inputs) for _ in range(repeats)]
    return Point(shape, min(seconds), statistics.median(seconds), extra)


@dataclass(frozen=True)
class Law:
    """How one cost grows with one factor."""

    loss: str
    factor: str
    cost: str
    """time or memory."""
    measured: PowerLaw
    predicted: PowerLaw

    @property
    def differs(self) -> bool:
        """Whether the prediction is off by more than :data:`TOLERANCE`."""
        return abs(self.measured.exponent - self.predicted.exponent) > TOLERANCE


def laws(sweep: Sweep, points: list[Point]) -> list[Law]:
    """The fits of one sweep."""
    values = [getattr(point.shape, sweep.factor) for point in points]
    found = []
    for cost, measured, predicted in (
        ("time", [p.best for p in points], [p.shape.flops for p in points]),
        ("memory", [float(p.extra_bytes) for p in points], [p.shape.bytes for p in points]),
    ):
        if min(measured) > 0:  # a step of a small shape may add no page to the process
            law = Law(sweep.loss, sweep.factor, cost, fit(values, measured), fit(values, predicted))
            found.append(law)
    return found


def fitting(sweep: Sweep, console: Console) -> list[Shape]:
    """The points of a sweep that this machine's memory holds; says which it does not."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fit_in = []
    for shape in sweep.shapes():
        needed = shape.held_bytes + shape.bytes
        if needed < 0.7 * total:
            fit_in.append(shape)
        else:
            console.print(
                f"{sweep.loss}, {sweep.factor} = {getattr(shape, sweep.factor):,} skipped: it "
                f"needs about {needed / 2**30:.0f} GiB of this machine's {total / 2**30:.0f}"
            )
    return fit_in


def table(found: list[Law]) -> Table:
    """The exponents for a reader."""
    result = Table(
        title=f"exponents, measured against predicted; {torch.get_num_threads()} threads",
        caption="Deviation: root mean square of the points about the fitted line. At the end: "
        "between the last two points alone.",
    )
    for heading in ("loss", "cost", "against"):
        result.add_column(heading)
    for heading in ("measured", "predicted", "deviation", "at the end", "predicted there"):
        result.add_column(heading, justify="right")
    for law in found:
        result.add_row(
            law.loss,
            law.cost,
            law.factor,
            f"{law.measured.exponent:.2f}",
            f"{law.predicted.exponent:.2f}",
            f"{law.measured.deviation:.0%}",
            f"{law.measured.end:.2f}",
            f"{law.predicted.end:.2f}",
        )
    return result


def difference(law: Law) -> str:
    """A sentence about a law that differs from its prediction."""
    more = "more" if law.measured.exponent > law.predicted.exponent else "less"
    return (
        f"{law.loss}: {law.cost} grows {more} with {law.factor} than predicted, by exponent "
        f"{law.measured.exponent:.2f} and not {law.predicted.exponent:.2f} "
        f"(at the end {law.measured.end:.2f} and {law.predicted.end:.2f})"
    )


def row(point: Point) -> dict[str, Any]:
    """One point as JSON."""
    return {
        **asdict(point.shape),
        "best": point.best,
        "median": point.median,
        "extra_bytes": point.extra_bytes,
        "flops": point.shape.flops,
        "predicted_bytes": point.shape.bytes,
    }


def main() -> None:
    """Measure every sweep, print the exponents, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, help="timed passes of every point (3)")
    parser.add_argument("--quick", action="store_true", help="two small points of every factor")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    repeats = options.repeats or (2 if options.quick else 3)
    console = Console(width=None if sys.stdout.isatty() else 120)
    measured: dict[Shape, Point] = {}
    found: list[Law] = []
    results = []
    for sweep in QUICK if options.quick else SWEEPS:
        for shape in (shapes := fitting(sweep, console)):
            if shape not in measured:  # sweeps of one loss share their base
                measured[shape] = apart(measure, shape, repeats)
        points = [measured[shape] for shape in shapes]
        for point in points:
            console.print(
                f"{sweep.loss}, {sweep.factor} = {getattr(point.shape, sweep.factor):,}: "
                f"{point.best * 1e3:,.0f} ms, {point.extra_bytes / 2**20:,.0f} MiB",
                highlight=False,
            )
        if len(points) > 1:
            found += (some := laws(sweep, points))
            results.append(
                {
                    "loss": sweep.loss,
                    "factor": sweep.factor,
                    "points": [row(point) for point in points],
                    "laws": {law.cost: {"measured": asdict(law.measured),
                                        "predicted": asdict(law.predicted)} for law in some},
                }
            )  # fmt: skip
    console.print(table(found))
    differences = [difference(law) for law in found if law.differs]
    if options.quick:
        differences = ["two small points of each factor say nothing about a prediction"]
    for sentence in differences or [f"no exponent is off by more than {TOLERANCE}"]:
        console.print(sentence, soft_wrap=True, highlight=False)
    if options.json:
        write_json(
            options.json,
            {
                "threads": torch.get_num_threads(), "repeats": repeats, "tolerance": TOLERANCE,
                "results": results, "differences": differences,
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
