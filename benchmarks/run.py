"""All benchmarks of speed in one command: JSON and a page with plots.

    python benchmarks/run.py [--quick] [--only NAME …] [--out runs/benchmarks]

Runs kernel.py, train_step.py, scaling.py, loop.py, end_to_end.py and, where CUDA is available,
gpu.py, one after the other. The folder receives benchmarks.json, with the command, the date and the
machine beside every result, and page.html. What --only leaves out stays there as it was. When a
benchmark fails the others still run, and the exit status is 1.

Nothing else should run on the machine. With --quick everything is small and finishes in minutes: it
shows that all of it works, its figures mean little.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import page
from kernel import matmul_rate
from processes import apart
from quadric.errors import QuadricError
from quadric.storage import make_folder, read_json, write_json

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Benchmark:
    """One script."""

    name: str
    arguments: Callable[[Path], list[str]]
    """Where it is to write, for its command line."""
    results: Callable[[Path], Path]
    """The file of its results."""


def writing_json(name: str) -> Benchmark:
    """A script that takes --json."""

    def results(out: Path) -> Path:
        return out / f"{name}.json"

    return Benchmark(name, lambda out: ["--json", str(results(out))], results)


BENCHMARKS = {
    each.name: each
    for each in (
        writing_json("kernel"),
        writing_json("train_step"),
        writing_json("scaling"),
        writing_json("loop"),
        Benchmark(
            "end_to_end",
            lambda out: ["--out", str(out / "end_to_end")],
            lambda out: out / "end_to_end" / "results.json",
        ),
        writing_json("gpu"),
    )
}


def rates() -> dict[str, float]:
    """The machine's matrix products in GFLOP/s, best of several."""
    shape = 2304, 4096
    return {
        str(dtype).removeprefix("torch."): max(matmul_rate(dtype, *shape) for _ in range(5)) / 1e9
        for dtype in (torch.float32, torch.bfloat16)
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    processor = platform.processor() or platform.machine()
    if (facts := Path("/proc/cpuinfo")).exists():
        named = [line for line in facts.read_text().splitlines() if line.startswith("model name")]
        processor = named[0].partition(":")[2].strip() if named else processor
    found = {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_gigaflops": apart(rates),
    }
    if torch.cuda.is_available():
        found["processor"] += f" and {torch.cuda.get_device_name()}"
    return found


def measure(benchmark: Benchmark, out: Path, quick: bool, facts: dict[str, Any]) -> dict[str, Any]:
    """Run one script; what to keep of it."""
    flags = ["--quick"] if quick else []
    script = HERE / f"{benchmark.name}.py"
    results = benchmark.results(out)
    results.unlink(missing_ok=True)  # what an earlier run left must not pass for this one's
    started, date = time.monotonic(), datetime.now().astimezone().isoformat(" ", "minutes")
    command = [sys.executable, str(script), *flags, *benchmark.arguments(out)]
    status = subprocess.run(command, check=False).returncode
    entry = {
        "command": " ".join(["python", f"benchmarks/{script.name}", *flags]),
        "date": date,
        "seconds": time.monotonic() - started,
        "machine": facts,
    }
    if status:
        return {**entry, "failed": f"exit status {status}"}
    try:
        return {**entry, "results": read_json(results)}
    except QuadricError as error:
        return {**entry, "failed": str(error)}


def main() -> None:
    """Run the benchmarks, and write what they found after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes: does all of it work?")
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), metavar="NAME")
    parser.add_argument("--out", type=Path, help="folder (runs/benchmarks, or …-quick)")
    options = parser.parse_args()
    default = "runs/benchmarks-quick" if options.quick else "runs/benchmarks"
    out = make_folder(options.out or Path(default))
    collected = out / "benchmarks.json"
    entries: dict[str, Any] = read_json(collected) if collected.exists() else {}
    names = options.only or list(BENCHMARKS)
    if "gpu" in names and not torch.cuda.is_available():
        print("gpu left out: torch finds no CUDA device")
        names = [name for name in names if name != "gpu"]
    facts = machine()
    for name in names:
        print(f"\n{name}", flush=True)
        entries[name] = measure(BENCHMARKS[name], out, options.quick, facts)
        # In the order of the page, whatever the order of the commands.
        entries = {each: entries[each] for each in BENCHMARKS if each in entries}
        write_json(collected, entries)
        page.write(out / "page.html", entries)
    print(f"\n{out / 'page.html'} and {collected}")
    if failed := [name for name in names if "failed" in entries[name]]:
        print("; ".join(f"{name} failed: {entries[name]['failed']}" for name in failed))
        sys.exit(1)


if __name__ == "__main__":
    main()
