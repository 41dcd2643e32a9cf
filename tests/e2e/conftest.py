"""Run the command line in this process, as a user would in theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from quadric.cli import main


@dataclass
class Answer:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def quadric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """``quadric("train", …)`` runs the command and returns its status and output."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["quadric", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Answer(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def activations(tmp_path: Path) -> Path:
    """A folder of somebody's activations: 600 rows of width 10 in two .npy files."""
    import numpy as np

    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(4, 10, generator=generator)
    strengths = torch.rand(600, 4, generator=generator).pow(5)
    x = strengths @ directions + 0.05 * torch.randn(600, 10, generator=generator)
    folder = tmp_path / "activations"
    folder.mkdir()
    np.save(folder / "a.npy", x[:350].numpy())
    np.save(folder / "b.npy", x[350:].numpy().astype("float16"))
    return folder
