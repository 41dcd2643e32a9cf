"""The loop of language models when it is stopped, killed, begun anew and resumed."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from quadric.errors import Interrupted, QuadricError
from quadric.language import loop
from quadric.language.loop import fit
from quadric.training import checkpoint, log
from tests.language.trained import CONFIG, lines, model, rows, same


def stopping(at: int, number: signal.Signals = signal.SIGTERM) -> Any:
    """A ``before`` that sends this process a signal ahead of step ``at``."""

    def before(step: int) -> dict[str, float]:
        if step == at:
            os.kill(os.getpid(), number)
        return {}

    return before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tied", [False, True])
def test_stopped_and_resumed_it_is_the_same_to_the_bit(
    number: signal.Signals, tied: bool, tmp_path: Path
) -> None:
    whole, parts = model(tied=tied), model(tied=tied)
    config = dataclasses.replace(CONFIG, weight_decay=0.1, micro_batch=2)
    fit(whole, rows(), config, tmp_path / "whole")
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"stopped after 4 of 9 steps; .*--resume$"):
        fit(parts, rows(), config, tmp_path / "parts", before=stopping(3, number))
    assert signal.getsignal(number) is handler
    for at, message in ((4, "stopped after 5"), (6, "stopped after 7")):
        again = model(tied=tied, seed=8)  # its weights come from the checkpoint
        torch.manual_seed(5)
        with pytest.raises(Interrupted, match=message):
            fit(
                again, rows(), config, tmp_path / "parts",
                before=stopping(at, number), resume=True,
            )  # fmt: skip
    last = model(tied=tied, seed=9)
    points = fit(last, rows(), config, tmp_path / "parts", resume=True)
    assert same(last, whole) and not same(last, model(tied=tied))
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert (last.lm_head.weight is last.model.embed_tokens.weight) == tied
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)


def test_a_stop_in_the_last_step_comes_too_late(tmp_path: Path) -> None:
    points = fit(model(), rows(), CONFIG, tmp_path, before=stopping(8))
    assert points[-1].step == 9


def test_resuming_without_a_checkpoint_begins(tmp_path: Path) -> None:
    whole, again = model(), model()
    fit(whole, rows(), CONFIG, tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    log_lines = (tmp_path / "whole" / log.LOG).read_text()
    (killed / log.LOG).write_text(log_lines[: len(log_lines) // 2])  # kill -9, a torn line
    fit(again, rows(), CONFIG, killed, resume=True)
    assert same(again, whole) and lines(killed) == lines(tmp_path / "whole")


def test_beginning_anew_drops_the_old_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(model(seed=4), rows(), CONFIG, tmp_path, before=stopping(2))
    assert checkpoint.newest(tmp_path) is not None
    subject, whole = model(), model()
    fit(subject, rows(), CONFIG, tmp_path)
    fit(whole, rows(), CONFIG, tmp_path / "whole")
    assert same(subject, whole) and checkpoint.newest(tmp_path) is None
    assert len(lines(tmp_path)) == 10


def test_what_auto_took_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which type is faster is measured, and may come out otherwise in another process."""
    config = dataclasses.replace(CONFIG, dtype="auto")
    monkeypatch.setattr(loop, "fastest_product_dtype", lambda _: torch.bfloat16)
    whole, parts = model(), model()
    fit(whole, rows(), config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(parts, rows(), config, tmp_path / "parts", before=stopping(3))
    monkeypatch.setattr(loop, "fastest_product_dtype", lambda _: torch.float32)
    fit(parts, rows(), config, tmp_path / "parts", resume=True)
    assert same(parts, whole) and lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_finish_is_called_while_the_checkpoint_is_there(tmp_path: Path) -> None:
    seen = []
    config = dataclasses.replace(CONFIG, checkpoint_minutes=1e-9)
    subject = model()

    def finish() -> None:
        seen.append(checkpoint.newest(tmp_path))

    fit(subject, rows(), config, tmp_path, finish=finish)
    assert [path and path.name for path in seen] == ["step-00000009"]
    assert checkpoint.newest(tmp_path) is None

    def fail() -> None:
        raise QuadricError("cannot write: No space left on device")

    with pytest.raises(QuadricError, match="No space left"):
        fit(model(), rows(), config, tmp_path, finish=fail)
    again = model(seed=3)
    fit(again, rows(), config, tmp_path, resume=True)  # nothing is trained again
    assert same(again, subject) and [line["step"] for line in lines(tmp_path)] == list(range(10))
