"""torchrun and the command line: the same result, and a rank that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quadric.training import checkpoint
from tests.training.torchrun import ROOT, command, environment, torchrun

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def activations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((6, 16))
    rows = generator.random((3000, 6)) ** 6 @ directions + 0.05 * generator.standard_normal(
        (3000, 16)
    )
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, rows.astype(np.float32))
    return path


def train(activations: Path, out: Path, steps: int, *flags: str) -> list[str]:
    return [
        "-m", "quadric", "train", "--activations", str(activations), "--out", str(out),
        "--variant", "topk", "--k", "4", "--d-sae", "65", "--steps", str(steps), "--batch-size",
        "64", "--product-dtype", "float32", "--optimizer", "adamw", "--lr", "0.01", "--device",
        "cpu", "--json", *flags,
    ]  # fmt: skip


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_two_ranks_answer_once_and_as_one_does(activations: Path, tmp_path: Path) -> None:
    both = torchrun(2, *train(activations, tmp_path / "two", 40, "--dictionary-shards", "2"))
    assert both.returncode == 0, both.stderr
    one = alone(*train(activations, tmp_path / "one", 40))
    assert one.returncode == 0, one.stderr
    found, expected = (json.loads(run.stdout)["autoencoders"]["main"] for run in (both, one))
    assert found.keys() == expected.keys()
    assert found["product_error"] == pytest.approx(expected["product_error"], rel=1e-4)
    assert found["product_error"] < 0.9
    refused = torchrun(2, *train(activations, tmp_path / "two", 40))
    assert refused.returncode == 1
    assert refused.stderr.count("holds a finished run") == 1  # the first rank says it, once


def rank_of(launcher: int, rank: int) -> int:
    """The process number of a rank that this torchrun started."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise AssertionError(f"no rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_killed_rank_stops_the_others_and_leaves_a_whole_checkpoint(
    activations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = train(activations, out, 1500, "--checkpoint-minutes", "0.005")
    with subprocess.Popen(
        command(2, *arguments), env=environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE
    ) as launcher:
        deadline = time.monotonic() + 120
        while checkpoint.newest(out) is None:
            assert launcher.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(rank_of(launcher.pid, 1), signal.SIGKILL)
        _, said = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert "rank 0 of 2 stops, because it lost another rank" in said
    assert f"continue with --resume from the checkpoint in {out}" in said
    assert "Traceback" not in said.split("rank 0 of 2 stops")[0]
    newest = checkpoint.newest(out)
    assert newest is not None
    reached = int(newest.name.partition("-")[2])
    assert 0 < reached < 1500
    rest = alone(*arguments, "--resume")
    assert rest.returncode == 0, rest.stderr
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1500))
