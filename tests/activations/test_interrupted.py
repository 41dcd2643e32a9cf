"""Harvests that are killed, or whose disk is full, go on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from tests.activations.test_cache import FIRST, SECOND, contents, data, fill, writer

SLOW_HARVEST = """
import sys, time
from pathlib import Path
from tests.activations.test_cache import data, writer
out = writer(Path(sys.argv[1]))
x, tokens = data(120)
for start in range(out.contexts_written, 120):
    piece = slice(start, start + 1)
    out.append({hook: tensor[piece] for hook, tensor in x.items()}, tokens[piece])
out.finish()
"""


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_kill_minus_nine_then_resume_gives_the_same_bytes(tmp_path: Path) -> None:
    uninterrupted = writer(tmp_path / "whole")
    fill(uninterrupted, contexts=120)
    uninterrupted.finish()
    path = tmp_path / "killed"
    for shards in (3, 15):
        process = run(SLOW_HARVEST, str(path))
        deadline = time.monotonic() + 60
        while not (path / f"shard-{shards:05d}.safetensors").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(QuadricError, match="unfinished"):
            ActivationCache(path, FIRST)
        listed = json.loads((path / "manifest.json").read_text())["shards"]
        assert len(listed) >= shards
        for shard in listed:
            assert (path / shard["file"]).stat().st_size == shard["bytes"]
    again = writer(path)
    assert 0 < again.contexts_written < 120
    fill(again, contexts=120)
    again.finish()
    assert contents(path) == contents(tmp_path / "whole")


LIMITED_HARVEST = """
import resource, signal, sys
from pathlib import Path
from quadric import QuadricError
from tests.activations.test_cache import fill, writer
out = writer(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    fill(out)
except QuadricError as error:
    print("refused:", error)
"""


def test_a_write_that_fails_leaves_no_file_under_a_final_name(tmp_path: Path) -> None:
    output = run(LIMITED_HARVEST, str(tmp_path), "700").communicate()[0]
    assert f"refused: cannot write {tmp_path / 'shard-00000.safetensors'}" in output
    assert list(contents(tmp_path)) == ["manifest.json"]
    assert writer(tmp_path).contexts_written == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "c"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(36 * 1024))
    out = writer(path, contexts_per_shard=100)
    with pytest.raises(QuadricError, match=r"cannot write .*shard-0000"):
        fill(out, 7, contexts=1000)
    written = out.contexts_written
    assert written > 0
    assert not [name for name in contents(path) if name.startswith(".")]
    assert len(contents(path)) == 1 + written // 100
    ballast.unlink()
    again = writer(path, contexts_per_shard=100)
    assert again.contexts_written == written
    fill(again, 7, contexts=300)
    again.finish()
    x, _ = data(300)
    read = ActivationCache(path, SECOND).gather(torch.arange(1500))
    assert read.equal(x[SECOND].bfloat16().float().flatten(0, 1))


def test_a_writer_that_met_a_full_disk_can_go_on(small_disk: Path) -> None:
    path, ballast = small_disk / "c", small_disk / "ballast"
    out = writer(path, contexts_per_shard=20)
    ballast.write_bytes(bytes(60 * 1024))
    x, tokens = data(70)
    for start in range(0, 70, 7):
        piece = slice(start, start + 7)
        batch = {hook: tensor[piece] for hook, tensor in x.items()}
        if start == 35:
            ballast.unlink()
        if 14 <= start < 35:
            with pytest.raises(QuadricError, match=r"cannot write .*shard-00000"):
                out.append(batch, tokens[piece])
        else:
            out.append(batch, tokens[piece])
    out.finish()
    read = ActivationCache(path, SECOND).gather(torch.arange(350))
    assert read.equal(x[SECOND].bfloat16().float().flatten(0, 1))
