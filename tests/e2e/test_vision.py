"""``quadric vision`` and ``quadric experiment vision`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pytest

from quadric.experiments.vision.registry import NAMES
from tests.e2e.conftest import Answer
from tests.e2e.test_cli import refused

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(quadric: Callable[..., Answer], tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    answer = quadric(
        "vision", "train", "digits", "--out", folder, "--d-embed", 12, "--d-hidden", 12,
        "--epochs", 10, "--lr", 0.005, "--noise", 0.3, "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert found["test_accuracy"] > 0.75 and found["recipe"]["fit"]["epochs"] == 10
    return folder


def test_train_then_cut(quadric: Callable[..., Answer], model: Path, tmp_path: Path) -> None:
    answer = quadric("vision", "truncation", model, "--out", tmp_path / "cut", "--json")
    assert answer.status == 0, answer.err
    written = json.loads((tmp_path / "cut/experiment.json").read_text())
    assert json.loads(answer.out) == written and written["models"] == [str(model)]
    assert matplotlib.image.imread(tmp_path / "cut/picture.png").std() > 0.01


def test_what_is_wrong_is_said_in_one_line(
    quadric: Callable[..., Answer], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused(quadric("vision", "spectra", tmp_path / "none", "--out", out), "no trained image")
    refused(quadric("vision", "truncation", "--out", out), "truncation reads 1 or more models")
    refused(quadric("vision", "spectre", model), "no command 'spectre'", "did you mean 'spectra'")
    refused(quadric("vision", "train", "digit", "--out", out), "did you mean 'digits'")
    refused(quadric("vision", "train", "digits", "--out", out, "--gate", "identiti"), "'identiti'")
    refused(quadric("experiment", "vision-cut"), "no image experiment 'cut'")
    refused(quadric("experiment", "vision", "--quick", "--steps", 3), "--steps does not apply")
    refused(quadric("experiment", "frontier", "--epochs", 3), "--epochs does not apply to frontier")
    refused(quadric("experiment", "vision", "--sizes", "a,b"), "sizes is 'a,b'")


def test_a_gated_or_deep_model_is_not_bilinear(
    quadric: Callable[..., Answer], tmp_path: Path
) -> None:
    for flags, words in (
        (("--gate", "relu"), ("not bilinear", "anneal")),
        (("--blocks", 2), ("2 blocks", "degree 4")),
    ):
        folder = tmp_path / flags[0]
        small = ("--d-embed", 6, "--d-hidden", 6, "--epochs", 1)
        answer = quadric("vision", "train", "digits", "--out", folder, *small, *flags)
        assert answer.status == 0, answer.err
        refused(quadric("vision", "spectra", folder, "--out", tmp_path / "out"), *words)


def test_the_list_names_every_image_experiment(quadric: Callable[..., Answer]) -> None:
    listed = json.loads(quadric("experiment", "--list", "--json").out)
    names = [one["name"] for one in listed]
    assert [name for name in names if name.startswith("vision-")] == [
        f"vision-{name}" for name in NAMES
    ]
    assert all(one["statement"] and one["source"] for one in listed)


def test_killed_while_it_trains_it_goes_on(own_cache: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "quadric", "experiment", "vision-truncation", "--quick", "--sizes",
        "6", "--seeds", "4", "--epochs", "12", "--out", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    whole = own_cache / "vision"
    limit = time.monotonic() + 120
    while not list(whole.glob("*/classifier.json")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/experiment.json").exists()
    before = {path: path.stat().st_mtime_ns for path in whole.glob("*/classifier.json")}
    assert 1 <= len(before) < 4
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert len(json.loads(again.stdout)["models"]) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(whole.glob("*/classifier.json"))) == 4
