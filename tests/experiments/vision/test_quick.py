"""The whole suite on the digits, as the command runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pytest

from quadric.experiments.vision.registry import NAMES
from tests.e2e.conftest import Answer

pytestmark = pytest.mark.e2e


def test_every_image_experiment_on_the_digits(
    quadric: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    answer = quadric("experiment", "vision", "--quick", "--out", out, "--json")
    assert answer.status == 0, answer.err
    outcomes = {one["name"].removeprefix("vision-"): one for one in json.loads(answer.out)}
    assert list(outcomes) == list(NAMES)
    text = (out / "table.md").read_text()
    for name, outcome in outcomes.items():
        assert json.loads((out / name / "experiment.json").read_text()) == outcome
        assert matplotlib.image.imread(out / name / "picture.png").std() > 0.01
        assert outcome["comparison"]["agrees"] in (True, False, None)
        assert outcome["comparison"]["measured"] and outcome["comparison"]["rule"]
        assert outcome["title"] in text
        for line in outcome["comparison"]["lines"]:
            assert line["ours"]
    # What holds on the digits whatever the seeds.
    for name in ("truncation", "masks", "expression", "dictionary", "gates"):
        assert outcomes[name]["comparison"]["agrees"] is True, outcomes[name]["comparison"]
    accuracies = [model["test_accuracy"] for one in outcomes.values() for model in one["models"]]
    assert sum(accuracy > 0.8 for accuracy in accuracies) > 0.9 * len(accuracies)
    again = quadric("experiment", "vision", "--quick", "--out", out, "--json")
    assert json.loads(again.out) == json.loads(answer.out)
