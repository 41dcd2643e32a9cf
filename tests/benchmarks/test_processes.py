"""Workers that take turns, and which rows of a benchmark are compared with which."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPT = """
print("noise on import")
from processes import serve

def touched(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(range(0, size, 4096))
    return block

libraries = touched(2**27)

def build(*, size, fail=False):
    if fail and size > 1:
        raise ValueError("no such size")
    kept = []
    def step():
        print("noise in a step")
        touched(size)
        kept.append(touched(size))
        touched(size)
    return step

serve(build, {"size": 1}, {"tool": "1.2"})
"""


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))


def worker(folder: Path, **options: Any) -> Any:
    from processes import Worker

    script = folder / "script.py"
    script.write_text(SCRIPT)
    return Worker(sys.executable, script, options)


def test_a_worker_answers_although_its_packages_print(tmp_path: Path) -> None:
    size = 64 * 2**20
    each = worker(tmp_path, size=size)
    assert each.ready() == {"tool": "1.2"}
    first, second = each.step(), each.step()
    each.close()
    # Each step keeps a block, and has held one more for a moment.
    for blocks, (seconds, peak) in enumerate((first, second), 2):
        assert seconds > 0
        assert abs(peak / size - blocks) < 0.1


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    from processes import WorkerFailed

    each = worker(tmp_path, size=2, fail=True)
    with pytest.raises(WorkerFailed, match=r"^ValueError: no such size$"):
        each.ready()
    each.close()


def test_a_worker_that_is_gone_is_noticed(tmp_path: Path) -> None:
    from processes import WorkerFailed

    each = worker(tmp_path, size=1)
    each.ready()
    each._process.kill()
    each._process.wait()
    with pytest.raises(WorkerFailed, match="ended with status -9"):
        each.step()
    each.close()


def test_rows_stand_against_references_of_their_kind() -> None:
    from train_step import TILING, Row, compared

    def row(family: str, optimizer: str, dense: bool, median: float) -> Row:
        return Row("", family, optimizer, dense, 7, median, median, [median], 1.0, 1)

    rows = [
        row("dense", "Muon", True, 2.0), row("dense", "AdamW", True, 1.0),
        row(TILING, "Muon", True, 6.0), row(TILING, "AdamW", True, 5.0),
        row("topk", "AdamW", False, 3.0),
        row("sae-lens", "Adam", False, 9.0), row("sae-lens", "Adam", False, 12.0),
    ]  # fmt: skip
    speedups = [each.speedups for each in compared(rows)]
    assert speedups[:4] == [{TILING: 3.0}, {TILING: 5.0}, {TILING: 1.0}, {TILING: 1.0}]
    assert speedups[4:] == [{"sae-lens": 3.0}, {"sae-lens": 1.0}, {"sae-lens": 0.75}]
