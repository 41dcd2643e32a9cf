"""Where a training run's time goes: the kernel, the loss around it, the optimiser, and the rest.

    python benchmarks/loop.py [--n 8192 16384] [--samples 4096] [--d 576] [--steps 6] [--json FILE]

A real run of :func:`quadric.training.train` on activations in memory, with prefetching, metrics and
its log, without evaluations. The kernel is what :mod:`quadric.kernels` does: the latents' products
with their sums, the reconstruction energy and all gradients (dense; the energy alone is given
too), or the selection and the sparse error with theirs (topk). The loss is what remains of loss and
backward pass. The first step is left out. Shares are of the median step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.kernels import fastest_product_dtype
from quadric.storage import write_json
from quadric.training import TrainingConfig, log, train

PARTS = ("kernel", "loss", "updating", "rest")
"""What a step is divided into; they add up to it."""


@dataclass(frozen=True)
class Shares:
    """Seconds of a median step and what they were spent on."""

    variant: str
    n: int
    optimizer: str
    step: float
    kernel: float
    energy: float
    """The part of the kernel over pairs of atoms; 0 for topk."""
    loss: float
    updating: float

    @property
    def rest(self) -> float:
        """Loading, clipping, metrics, the log."""
        return self.step - self.kernel - self.loss - self.updating


class Clock:
    """Adds up the time of some calls, step by step."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.spent: dict[str, list[float]] = {}

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` with its time added to the last entry of ``name``."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.spent.setdefault(name, [0.0])[-1] += time.perf_counter() - start

        return timed

    def next_step(self) -> None:
        """Begin a new entry of everything."""
        for entries in self.spent.values():
            entries.append(0.0)


@contextmanager
def watching(clock: Clock) -> Iterator[None]:
    """Put the clock around what a step calls."""
    sparsity, sums = "quadric.autoencoders.sparsity", "quadric.kernels.sums"
    places = {
        "quadric.autoencoders.objective.product_sums": "kernel",
        f"{sums}._Sums.backward": "kernel",
        f"{sums}.sweep": "energy",
        f"{sparsity}.strongest_products": "kernel",
        f"{sparsity}.sparse_squared_error": "kernel",
        "torch.Tensor.backward": "backward",
        "torch.optim.Muon.step": "updating",
        "torch.optim.AdamW.step": "updating",
    }
    with ExitStack() as stack:
        for place, name in places.items():
            module, _, attribute = place.rpartition(".")
            target = _resolve(module)
            timed = clock.watch(name, getattr(target, attribute))
            stack.enter_context(mock.patch.object(target, attribute, timed))
        loss = clock.watch("loss", BilinearAutoencoder.loss)

        def counted(*arguments: Any, **options: Any) -> Any:
            clock.next_step()
            return loss(*arguments, **options)

        stack.enter_context(mock.patch.object(BilinearAutoencoder, "loss", counted))
        yield


def _resolve(name: str) -> Any:
    import importlib

    for parts in range(name.count(".") + 1, 0, -1):
        pieces = name.split(".")
        try:
            found: Any = importlib.import_module(".".join(pieces[:parts]))
        except ModuleNotFoundError:
            continue
        for piece in pieces[parts:]:
            found = getattr(found, piece)
        return found
    raise ModuleNotFoundError(name)


def measure(variant: str, n: int, samples: int, d: int, steps: int, optimizer: str) -> Shares:
    """Train for some steps and divide their time."""
    rows = MemoryRows(torch.randn(4 * samples, d))
    source = ShuffledRows(rows, batch_size=samples, seed=0, max_norm_multiple=None)
    autoencoder = AutoencoderConfig(d_in=d, d_sae=n, variant=variant)  # type: ignore[arg-type]
    config = TrainingConfig(
        steps=steps + 1, batch_size=samples, eval_every=steps + 1, eval_rows=64,
        optimizer=optimizer, lr=0.2 if optimizer == "muon" else 0.003,  # type: ignore[arg-type]
    )  # fmt: skip
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, watching(clock):
        train(source, {"main": autoencoder}, config, Path(folder))
        lines = log.read(Path(folder) / log.LOG)
    # The last step is followed by an evaluation, so it is left out like the first.
    seconds = [after["seconds"] - before["seconds"] for before, after in pairwise(lines[:-1])]
    spent = {name: statistics.median(each[-steps:-1]) for name, each in clock.spent.items()}
    whole = spent["loss"] + spent["backward"]
    return Shares(
        variant, n, optimizer, statistics.median(seconds), spent["kernel"],
        spent.get("energy", 0.0), whole - spent["kernel"], spent["updating"],
    )  # fmt: skip


def table(rows: list[Shares], samples: int, d: int) -> Table:
    """The shares for a reader."""
    result = Table(
        title=f"{samples} rows a step, d = {d}, {torch.get_num_threads()} threads, products in "
        f"{str(fastest_product_dtype()).removeprefix('torch.')}"
    )
    for heading in ("variant", "n", "optimiser", "step", *PARTS, "(energy)"):
        result.add_column(heading, justify="right" if heading != "variant" else "left")
    for row in rows:
        parts = (getattr(row, name) for name in (*PARTS, "energy"))
        result.add_row(
            row.variant,
            f"{row.n:,}",
            row.optimizer,
            f"{row.step:.2f} s",
            *(f"{part / row.step:.1%}" for part in parts),
        )
    return result


def main() -> None:
    """Measure every case, print the table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--n", type=int, nargs="+", default=[8192, 16384])
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--d", type=int, default=576)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.n, options.samples = [1024], 1024
    rows = [
        measure(variant, n, options.samples, options.d, options.steps, optimizer)
        for n in options.n
        for variant, optimizer in (("vanilla", "muon"), ("topk", "muon"), ("topk", "adamw"))
    ]
    Console(width=120).print(table(rows, options.samples, options.d))
    if options.json:
        found = [{**asdict(row), "rest": row.rest} for row in rows]
        shape = {"samples": options.samples, "d": options.d, "parts": PARTS}
        write_json(options.json, {**shape, "rows": found})


if __name__ == "__main__":
    main()
