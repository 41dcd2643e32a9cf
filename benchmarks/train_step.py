"""Tokens a second and memory of whole training steps: quadric's, the published one, and peers'.

    python benchmarks/train_step.py [--d-sae 4096 16384 65536] [--d-in 576] [--rows 2048] [--k 64]
                                    [--rounds 5] [--peers .peers] [--quick] [--json FILE]

A step is loss, backward pass and optimiser on one fixed random batch, without logging; it stays the
same work until latents die, which none does here. The dense autoencoder, the published tiling and
plain autograd (all three vanilla, see kernel.py) take time that grows with the square of d_sae and
run up to --dense-up-to only. The peers are the TopK autoencoders of sae-lens and eai-sparsify with
their own optimisers, losses and defaults, at the same d_in, d_sae, k and batch; they need the
environment that scripts/get_peers.sh makes. Each has a second row with bfloat16 autocast.

Every case runs in a process of its own, and all those of one d_sae take turns, round after round,
so that a busy machine disturbs them alike. Ratios compare medians and are above 1 for what is
faster: dense rows stand against the tiling with the same optimiser, sparse ones against the fastest
row of a peer. Memory is the peak of weights, optimiser, gradients and all between, over that of the
libraries.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from processes import Worker, WorkerFailed
from quadric.storage import write_json

HERE = Path(__file__).resolve().parent
OURS, PEERS = HERE / "steps.py", HERE / "peers.py"
TILING = "published tiling"
REFERENCES = (TILING, "sae-lens", "sparsify")


@dataclass(frozen=True)
class Case:
    """One kind of training step."""

    family: str
    """Whose step it is."""
    precision: str
    optimizer: str
    options: dict[str, Any]
    script: Path = OURS
    dense: bool = False
    """Whether its time grows with the square of d_sae."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.family}, {self.precision} {self.optimizer}"


def own(family: str, method: str, bf16: bool, optimizer: str) -> Case:
    """A step of steps.py."""
    options = {"method": method, "bf16": bf16, "optimizer": optimizer.lower()}
    return Case(family, "bf16" if bf16 else "f32", optimizer, options, dense=method != "topk")


OPTIMIZERS = ("Muon", "AdamW")
CASES = [
    *(own("dense", "dense", bf16, each) for bf16 in (True, False) for each in OPTIMIZERS),
    *(own(TILING, "tiling", False, each) for each in OPTIMIZERS),
    *(own("plain autograd", "autograd", False, each) for each in OPTIMIZERS),
    *(own("topk", "topk", bf16, each) for bf16 in (True, False) for each in OPTIMIZERS),
    Case("sae-lens", "f32", "Adam", {"peer": "saelens"}, PEERS),
    Case("sae-lens", "bf16 autocast", "Adam", {"peer": "saelens", "bf16": True}, PEERS),
    Case("sparsify", "f32", "signum", {"peer": "sparsify"}, PEERS),
    Case("sparsify", "bf16 autocast", "signum", {"peer": "sparsify", "bf16": True}, PEERS),
]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    family: str
    optimizer: str
    dense: bool
    d_sae: int
    best: float
    median: float
    rounds: list[float]
    tokens_per_second: float
    """At the median."""
    peak_bytes: int
    speedups: dict[str, float] = field(default_factory=dict)
    """Its speed over that of a reference family's row; see :func:`compared`."""


def measure(cases: list[Case], python: Path, shape: dict[str, int], rounds: int) -> dict[str, Any]:
    """Time the cases in turn; those that fail are told apart by a sentence each.

    Returns:
        The rows, versions of packages, and the sentences.
    """
    versions: dict[str, str] = {}
    failed: list[str] = []
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    peaks: dict[str, int] = {}
    with ExitStack() as stack:
        workers = {}
        for case in cases:
            interpreter = python if case.script == PEERS else Path(sys.executable)
            worker = workers[case.name] = Worker(interpreter, case.script, shape | case.options)
            stack.callback(worker.close)
            try:
                # One at a time: built together they would want their memory together.
                versions |= worker.ready()
                worker.step()  # the first allocates the optimiser's state
            except WorkerFailed as error:
                failed.append(f"{case.name} left out at d_sae = {shape['d_sae']}: {error}")
                del workers[case.name]
        for _ in range(rounds):
            for name, worker in list(workers.items()):
                try:
                    taken, peaks[name] = worker.step()
                    seconds[name].append(taken)
                except WorkerFailed as error:
                    failed.append(f"{name} left out at d_sae = {shape['d_sae']}: {error}")
                    del workers[name]
    rows = [
        Row(
            name=case.name,
            family=case.family,
            optimizer=case.optimizer,
            dense=case.dense,
            d_sae=shape["d_sae"],
            best=min(seconds[case.name]),
            median=statistics.median(seconds[case.name]),
            rounds=seconds[case.name],
            tokens_per_second=shape["rows"] / statistics.median(seconds[case.name]),
            peak_bytes=peaks[case.name],
        )
        for case in cases
        if case.name in workers
    ]
    return {"rows": compared(rows), "versions": versions, "failed": failed}


def compared(rows: list[Row]) -> list[Row]:
    """The rows with their ratios to the references of their kind, dense or sparse.

    A reference is the family's row with the same optimiser, where it has one, else its fastest.
    """
    found = []
    for row in rows:
        speedups = {}
        for family in REFERENCES:
            others = [each for each in rows if each.family == family and each.dense == row.dense]
            same = [each for each in others if each.optimizer == row.optimizer]
            if others:
                speedups[family] = min(each.median for each in same or others) / row.median
        found.append(replace(row, speedups=speedups))
    return found


def table(rows: list[Row], shape: dict[str, int], rounds: int) -> Table:
    """The rows of one d_sae for a reader."""
    result = Table(
        title=f"d_sae = {shape['d_sae']:,}, d_in = {shape['d_in']}, {shape['rows']:,} rows, "
        f"k = {shape['k']}, {torch.get_num_threads()} threads, {rounds} rounds",
    )
    result.add_column("")
    shown = [name for name in REFERENCES if any(name in row.speedups for row in rows)]
    headings = "median ms", "best", "tokens/s", "memory", *(f"vs {name}" for name in shown)
    for heading in headings:
        result.add_column(heading, justify="right")
    for row in rows:
        result.add_row(
            row.name,
            f"{row.median * 1e3:.0f}",
            f"{row.best * 1e3:.0f}",
            f"{row.tokens_per_second:,.0f}",
            f"{row.peak_bytes / 2**20:,.0f} MiB",
            *(f"{row.speedups[name]:.2f}×" if name in row.speedups else "" for name in shown),
        )
    return result


def main() -> None:
    """Measure every d_sae, print its table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--d-sae", type=int, nargs="+")
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--rows", type=int, help="tokens in a batch (2048)")
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--rounds", type=int, help="timed steps of every case (5)")
    parser.add_argument("--dense-up-to", type=int, default=4096, metavar="D_SAE")
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".peers")
    parser.add_argument("--quick", action="store_true", help="one small size, no Muon, two rounds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = options.d_sae or ([1024] if options.quick else [4096, 16_384, 65_536])
    rows = options.rows or (512 if options.quick else 2048)
    rounds = options.rounds or (2 if options.quick else 5)
    console = Console(width=None if sys.stdout.isatty() else 130)
    python = options.peers / "bin" / "python"
    cases = [case for case in CASES if not options.quick or case.optimizer != "Muon"]
    left_out: list[str] = []
    if not python.exists():
        missing = os.path.relpath(python)
        left_out = [f"no peers: {missing} does not exist; make it with scripts/get_peers.sh"]
        console.print(left_out[0], soft_wrap=True)
        cases = [case for case in cases if case.script != PEERS]
    versions: dict[str, str] = {}
    results = []
    for d_sae in sizes:
        shape = {"d_in": options.d_in, "d_sae": d_sae, "rows": rows, "k": options.k}
        here = [case for case in cases if d_sae <= options.dense_up_to or not case.dense]
        found = measure(here, python, shape, rounds)
        for sentence in found["failed"]:
            console.print(sentence, soft_wrap=True)
        left_out += found["failed"]
        console.print(table(found["rows"], shape, rounds))
        versions |= found["versions"]
        results.append({"d_sae": d_sae, "rows": [asdict(row) for row in found["rows"]]})
    print(", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    if options.json:
        write_json(
            options.json,
            {
                "d_in": options.d_in, "batch": rows, "k": options.k, "rounds": rounds,
                "threads": torch.get_num_threads(), "versions": versions,
                "left_out": left_out, "results": results,
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
