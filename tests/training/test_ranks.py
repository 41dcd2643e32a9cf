"""Several processes train what one trains, and go on where another number of them stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from quadric.errors import QuadricError
from quadric.ranks import ALONE, Ranks, join
from quadric.training import checkpoint, log, train
from tests.training.ranks_worker import AUTOENCODERS, Source, config
from tests.training.torchrun import torchrun

WORKER = Path(__file__).with_name("ranks_worker.py")
ADAMW = 2e-5
"""Relative; sums in float32 in another order, over twenty-five steps."""
MUON = 0.05
"""Relative; Muon orthogonalises in bfloat16, whose rounding another order of sums changes."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    folder = tmp_path_factory.mktemp("alone")
    for optimizer in ("adamw", "muon"):
        train(Source(), AUTOENCODERS, config(optimizer), folder / optimizer)
    return folder


def close(found: Path, expected: Path, tolerance: float) -> None:
    """Logs and weights agree."""
    lines, others = log.read(found / log.LOG), log.read(expected / log.LOG)
    for line, other in zip(lines, others, strict=True):
        assert line | {"seconds": 0} == pytest.approx(
            other | {"seconds": 0}, rel=tolerance, abs=tolerance
        )
    for name in AUTOENCODERS:
        folder = "" if name == "main" else name
        weights, truth = (
            load_file(run / folder / "sae_weights.safetensors") for run in (found, expected)
        )
        assert weights.keys() == truth.keys()
        for key, value in truth.items():
            error = (weights[key] - value).norm() / value.norm().clamp_min(1e-30)
            assert error < tolerance, (name, key)


@pytest.mark.e2e
@pytest.mark.parametrize("shards", [1, 2], ids=["copies", "shards"])
def test_two_ranks_train_what_one_does(tmp_path: Path, alone: Path, shards: int) -> None:
    done = torchrun(2, WORKER, tmp_path, shards, "adamw", "muon")
    assert done.returncode == 0, done.stderr
    close(tmp_path / "adamw", alone / "adamw", ADAMW)
    close(tmp_path / "muon", alone / "muon", MUON)
    assert json.loads((tmp_path / "returned-muon-0").read_text()) == [*AUTOENCODERS]
    assert json.loads((tmp_path / "returned-muon-1").read_text()) == []
    assert not (tmp_path / "muon" / "checkpoint").exists()


@pytest.mark.e2e
def test_one_rank_s_signal_stops_all_and_any_number_goes_on(tmp_path: Path, alone: Path) -> None:
    done = torchrun(2, WORKER, tmp_path, 2, "adamw", STOP="9 1")
    assert done.returncode == 0, done.stderr
    messages = [(tmp_path / f"stopped-{rank}").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert "stopped after 10 of 25 steps" in messages[0]
    newest = checkpoint.newest(tmp_path / "adamw")
    assert newest is not None and newest.name == "step-00000010"
    # Four ranks, two copies of two shards, are stopped again; one process goes on to the end.
    done = torchrun(4, WORKER, tmp_path, 2, "adamw", STOP="3 3")
    assert done.returncode == 0, done.stderr
    assert "stopped after 15 of 25 steps" in (tmp_path / "stopped-2").read_text()
    train(Source(), AUTOENCODERS, config("adamw"), tmp_path / "adamw", resume=True)
    close(tmp_path / "adamw", alone / "adamw", ADAMW)


def test_a_process_of_its_own_cannot_share_a_dictionary() -> None:
    with (
        pytest.raises(QuadricError, match="dictionary_shards is 2, but this run is one process"),
        join("cpu", 2),
    ):
        pass
    with join("cpu") as ranks:
        assert (ranks.rank, ranks.world, ranks.shards, ranks.sharing) == (0, 1, 1, None)


def test_shards_divide_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"RANK": "0", "WORLD_SIZE": "6", "MASTER_ADDR": "localhost"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(QuadricError, match="dictionary_shards is 4, expected a divisor of 6 ranks"),
        join("cpu", 4),
    ):
        pass


def test_alone_a_failure_keeps_its_own_words() -> None:
    with pytest.raises(RuntimeError, match="connection closed"), ALONE.watched("no matter"):
        raise RuntimeError("connection closed by somebody else")


def test_a_lost_rank_is_told_from_other_failures() -> None:
    ranks = Ranks(1, 4)
    lost = "rank 1 of 4 stops, because it lost another rank.*; continue with --resume"
    with pytest.raises(QuadricError, match=lost), ranks.watched("continue with --resume"):
        raise RuntimeError("[/pytorch/gloo/pair.cc:547] Connection closed by peer")
    with pytest.raises(torch.OutOfMemoryError), ranks.watched("continue with --resume"):
        raise torch.OutOfMemoryError("out of memory")
