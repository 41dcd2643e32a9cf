"""The suite: models trained once, finished experiments kept, everything written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from quadric.errors import QuadricError
from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines, table
from quadric.experiments.vision.experiment import VisionExperiment
from quadric.experiments.vision.settings import FULL, QUICK, VisionSettings
from quadric.experiments.vision.suite import perform, suite
from quadric.vision.files import Trained

SMALL = VisionSettings(
    dataset="digits", sizes="5,4", seeds=2, epochs=2, batch_size=256, lr=5e-3, noise=0.1
)


class Accuracies:
    """An experiment that counts how often it is measured."""

    def __init__(self) -> None:
        self.calls = 0
        self.experiment = VisionExperiment(
            name="accuracies",
            title="Accuracy by size",
            statement="Larger models are better.",
            source="a test",
            plan=lambda s: [s.recipe(seed=i, width=w) for w in s.widths for i in range(s.seeds)],
            analyse=self.analyse,
            draw=self.draw,
            compare=lambda measured: Comparison(
                "accuracies", True, "none", {"models": len(measured.data["accuracies"])},
                lines(Line("models", "1", "", str(len(measured.data["accuracies"])))),
            ),
        )  # fmt: skip

    def analyse(self, models: Sequence[Trained], _: Any) -> Measured:
        self.calls += 1
        return Measured({"accuracies": [trained.test_accuracy for trained in models]})

    def draw(self, measured: Measured) -> Any:
        figure = picture.blank(3, 2)
        figure.subplots().plot(measured.data["accuracies"])
        return figure


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))


def test_an_experiment_writes_what_it_measured(tmp_path: Path) -> None:
    found = perform(Accuracies().experiment, SMALL, tmp_path / "out", quick=True)
    assert json.loads((tmp_path / "out/experiment.json").read_text()) == found
    assert matplotlib.image.imread(tmp_path / "out/picture.png").std() > 0.01
    recipes = [model["recipe"] for model in found["models"]]
    assert [recipe["classifier"]["d_hidden"] for recipe in recipes] == [4, 4, 5, 5]
    assert [recipe["fit"]["seed"] for recipe in recipes] == [0, 1, 0, 1]
    assert all(recipe["augment"]["noise"] == 0.1 for recipe in recipes)
    assert [model["test_accuracy"] for model in found["models"]] == found["data"]["accuracies"]
    assert found["settings"] == dataclasses.asdict(SMALL) and found["quick"] is True


def test_a_stopped_suite_goes_on_where_it_was(tmp_path: Path) -> None:
    counted = Accuracies()
    broken = dataclasses.replace(counted.experiment, name="broken", plan=_stop)
    with pytest.raises(KeyboardInterrupt):
        suite([counted.experiment, broken], SMALL, tmp_path / "out", quick=True)
    cache = sorted((tmp_path / "cache/vision").glob("*/classifier.json"))
    trained_at = {path: path.stat().st_mtime_ns for path in cache}
    assert len(cache) == 4 and counted.calls == 1
    outcomes = suite([counted.experiment], SMALL, tmp_path / "out", quick=True)
    assert counted.calls == 1 and outcomes[0]["data"]["accuracies"]
    assert {path: path.stat().st_mtime_ns for path in cache} == trained_at
    assert "| models | 1 |  | 4 |" in (tmp_path / "out/table.md").read_text()


@pytest.mark.parametrize("damage", ["settings", "models", "cut"])
def test_what_other_settings_left_is_measured_again(tmp_path: Path, damage: str) -> None:
    counted, settings = Accuracies(), SMALL
    suite([counted.experiment], settings, tmp_path / "out", quick=True)
    path = tmp_path / "out/accuracies/experiment.json"
    if damage == "settings":
        settings = dataclasses.replace(SMALL, seeds=1)
    elif damage == "models":
        values = json.loads(path.read_text())
        values["models"][0]["recipe"]["fit"]["lr"] = 1.0
        path.write_text(json.dumps(values))
    else:
        path.write_text(path.read_text()[:100])
    (outcome,) = suite([counted.experiment], settings, tmp_path / "out", quick=True)
    assert counted.calls == 2 and len(outcome["models"]) == 2 * settings.seeds


def test_the_table_says_what_agrees() -> None:
    comparison = {"agrees": False, "lines": lines(Line("error of |λ|", "1 %", "", "3 %"))}
    text = table([{"title": "Truncation", "comparison": comparison}])
    assert text.splitlines()[2:] == [
        "| **Truncation** | | | does not agree |",
        "| error of \\|λ\\| | 1 % |  | 3 % |",
    ]


def _stop(_: VisionSettings) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": "30,wide"}, "sizes is '30,wide', expected numbers such as 30,100,300"),
        ({"sizes": " ,"}, "sizes is empty"),
        ({"sizes": "0"}, "sizes is '0'"),
        ({"seeds": 0}, "seeds is 0, expected 1 or more"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        dataclasses.replace(SMALL, **wrong)


def test_quick_and_full_settings() -> None:
    assert QUICK.dataset == "digits" and len(QUICK.widths) >= 3
    assert FULL.dataset == "mnist" and FULL.seeds >= 3 and FULL.width == 100
    recipe = FULL.recipe(seed=2, width=30, bias=True, weight_decay=0.5)
    assert (recipe.classifier.d_embed, recipe.classifier.d_hidden) == (30, 30)
    assert recipe.classifier.bias and recipe.fit.weight_decay == 0.5 and recipe.fit.seed == 2
    assert FULL.recipe(d_embed=None).classifier.d_embed is None
