"""Real processes, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(ranks: int, *arguments: object) -> list[str]:
    """torchrun on this machine, on a port of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", str(ranks), *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """One thread a rank, and the tests' modules importable."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **changes}


def torchrun(ranks: int, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Start the ranks and wait for them."""
    return subprocess.run(
        command(ranks, *arguments),
        env=environment(**changes),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
