"""The suite: models trained once, finished experiments kept, everything written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language import registry
from quadric.experiments.language.experiment import LanguageExperiment
from quadric.experiments.language.settings import QUICK, LanguageSettings
from quadric.experiments.language.suite import perform, suite
from quadric.experiments.language.workshop import Workshop
from quadric.experiments.table import Line, lines
from quadric.storage import read_json
from tests.e2e.conftest import Answer
from tests.language.words import write


class Losses:
    """An experiment that counts how often it is measured; its model is the settings' own."""

    def __init__(self, name: str = "counted", fails: int = 0) -> None:
        self.calls, self.fails = 0, fails
        self.experiment = LanguageExperiment(
            name=name,
            title=f"Loss of a model: {name}",
            statement="Models have losses.",
            source="a test",
            settings=tuple(field.name for field in dataclasses.fields(LanguageSettings)),
            measure=self.measure,
            draw=self.draw,
            compare=lambda measured: Comparison(
                "a loss", True, "none", {"loss": measured.data["loss"]},
                lines(Line("loss", "1", "", f"{measured.data['loss']:.2f}")),
            ),
        )  # fmt: skip

    def measure(self, settings: LanguageSettings, workshop: Workshop) -> Measured:
        self.calls += 1
        metrics = read_json(workshop.model(settings.recipe()) / "metrics.json")
        if self.calls <= self.fails:
            raise KeyboardInterrupt
        return Measured({"loss": metrics["loss"]}, [{"loss": metrics["loss"]}])

    def draw(self, measured: Measured) -> Any:
        figure = picture.blank(3, 2)
        figure.subplots().plot([0, measured.data["loss"]])
        return figure


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/language"


@pytest.fixture
def settings(tmp_path: Path) -> LanguageSettings:
    return LanguageSettings(
        str(write(tmp_path / "text.txt")), vocab_size=300, hidden_size=8, intermediate_size=12,
        num_hidden_layers=1, num_attention_heads=2, context_size=8, steps=3, batch_contexts=2,
        layer=0,
    )  # fmt: skip


def models(cache: Path) -> dict[Path, int]:
    """When each model was finished."""
    return {path: path.stat().st_mtime_ns for path in cache.glob("model-*/metrics.json")}


def test_an_experiment_writes_what_it_measured(
    tmp_path: Path, cache: Path, settings: LanguageSettings
) -> None:
    found = perform(Losses().experiment, settings, tmp_path / "out", quick=True)
    assert json.loads((tmp_path / "out/experiment.json").read_text()) == found
    assert matplotlib.image.imread(tmp_path / "out/picture.png").std() > 0.01
    assert (tmp_path / "out/table.parquet").is_file()
    assert found["name"] == "lm-counted" and found["quick"] is True and found["seconds"] > 0
    assert found["settings"] == dataclasses.asdict(settings)
    assert found["published"] == {"statement": "Models have losses.", "source": "a test"}
    assert found["comparison"]["figures"]["loss"] == found["data"]["loss"] > 1
    (folder,) = cache.iterdir()  # without a workshop of one's own, models are in the cache
    assert folder.name == f"model-{settings.recipe().digest()}"


def test_a_stopped_suite_goes_on_where_it_was(
    tmp_path: Path, cache: Path, settings: LanguageSettings
) -> None:
    first, second = Losses("first"), Losses("second", fails=1)
    both = [first.experiment, second.experiment]
    with pytest.raises(KeyboardInterrupt):
        suite(both, settings, tmp_path / "out", quick=True)
    trained = models(cache)
    assert len(trained) == 1 and (first.calls, second.calls) == (1, 1)
    assert not (tmp_path / "out/table.md").exists()
    outcomes = suite(both, settings, tmp_path / "out", quick=True)
    assert (first.calls, second.calls) == (1, 2) and models(cache) == trained
    assert [outcome["name"] for outcome in outcomes] == ["lm-first", "lm-second"]
    loss = f"{outcomes[0]['data']['loss']:.2f}"
    assert (tmp_path / "out/table.md").read_text().splitlines()[2:] == [
        "| **Loss of a model: first** | | | agrees |", f"| loss | 1 |  | {loss} |",
        "| **Loss of a model: second** | | | agrees |", f"| loss | 1 |  | {loss} |",
    ]  # fmt: skip
    assert suite(both, settings, tmp_path / "out", quick=True) == outcomes
    assert (first.calls, second.calls) == (1, 2)


@pytest.mark.parametrize("damage", ["settings", "cut", "missing"])
def test_what_other_settings_left_is_measured_again(
    tmp_path: Path, cache: Path, settings: LanguageSettings, damage: str
) -> None:
    counted = Losses()
    suite([counted.experiment], settings, tmp_path / "out", quick=True)
    path = tmp_path / "out/counted/experiment.json"
    if damage == "settings":
        settings = dataclasses.replace(settings, k=9)  # of no model, but of the experiment
    elif damage == "cut":
        path.write_text(path.read_text()[:100])
    else:
        path.unlink()
    suite([counted.experiment], settings, tmp_path / "out", quick=True)
    assert counted.calls == 2 and len(models(cache)) == 1
    assert read_json(path)["settings"] == dataclasses.asdict(settings)


def test_the_command_runs_all_of_them(
    quadric: Callable[..., Answer],
    tmp_path: Path,
    cache: Path,
    settings: LanguageSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``quadric experiment lm`` gives flags and quick settings on, and names every folder."""
    some = [Losses("first").experiment, Losses("second").experiment]
    monkeypatch.setattr(registry, "every", lambda: some)
    monkeypatch.setattr(registry, "find", lambda name: {e.name: e for e in some}[name])
    changed = {
        name: value for name, value in dataclasses.asdict(settings).items()
        if value != getattr(QUICK, name)
    }  # fmt: skip
    flags = [
        word for name, value in changed.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    out = tmp_path / "out"
    answer = quadric("experiment", "lm", "--quick", *flags, "--out", out, "--json")
    assert answer.status == 0, answer.err
    outcomes = json.loads(answer.out)
    assert [read_json(out / name / "experiment.json") for name in ("first", "second")] == outcomes
    assert outcomes[0]["settings"] == dataclasses.asdict(settings) and outcomes[0]["quick"]
    told = quadric("experiment", "lm", "--quick", *flags, "--out", out)
    assert str(out / "table.md") in told.out and str(out / "second") in told.out
    one = quadric("experiment", "lm-second", "--quick", *flags, "--out", tmp_path / "one", "--json")
    assert json.loads(one.out)["data"] == outcomes[1]["data"] and len(models(cache)) == 1
