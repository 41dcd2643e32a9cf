"""The experiment on gates: what is trained, how long, and what the comparison says of it."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest

from quadric.experiments.experiment import Measured
from quadric.experiments.language import gates
from quadric.experiments.language.gates import EXPERIMENT, GATES, first_share, half_range
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.language.pace import Pace
from quadric.storage import read_json
from tests.language.words import write

SECONDS = {"bilinear": [2.0, 9.0, 1.0], "ReGLU": [2.5], "SwiGLU": [4.0]}


def small(folder: Path, **changes: Any) -> LanguageSettings:
    values: dict[str, Any] = {
        "vocab_size": 300, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "context_size": 16, "steps": 40, "batch_contexts": 4, "lr": 0.01,
        "seeds": 2, "layer": 1, "seed": 3,
    }  # fmt: skip
    return LanguageSettings(str(write(folder / "text.txt")), **values | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageSettings, Workshop]:
    folder = tmp_path_factory.mktemp("gates")
    return small(folder), Workshop(folder / "workshop")


@pytest.fixture
def measured(
    trained: tuple[LanguageSettings, Workshop], monkeypatch: pytest.MonkeyPatch
) -> Measured:
    monkeypatch.setattr(gates, "kept_pace", lambda *_: Pace(SECONDS, 64, {"device": "toaster"}))
    return EXPERIMENT.measure(*trained)


def test_every_gate_is_trained_for_the_same_steps_and_for_the_same_time(
    trained: tuple[LanguageSettings, Workshop], measured: Measured
) -> None:
    settings, workshop = trained
    expected = {
        "same_steps": {"identity": 40, "relu": 40, "silu": 40},
        "same_time": {"identity": 40, "relu": 32, "silu": 20},
    }
    runs = measured.data["runs"]
    assert [(run["setting"], run["gate"]) for run in runs] == [
        (setting, gate) for setting in expected for gate in GATES
    ]
    folders = set()
    for run in runs:
        steps = expected[run["setting"]][run["gate"]]
        step_seconds = {"identity": 2.0, "relu": 2.5, "silu": 4.0}[run["gate"]]
        curve = run["curve"]
        assert run["steps"] == steps == curve["steps"][-1] and curve["steps"][0] == 0
        assert curve["tokens"] == [64 * step for step in curve["steps"]]
        assert curve["seconds"] == [step_seconds * step for step in curve["steps"]]
        for place, seed in enumerate((3, 4)):
            recipe = settings.recipe(gate=run["gate"], seed=seed, steps=steps)
            folder = workshop.folder / f"model-{recipe.digest()}"
            folders.add(folder)
            found = read_json(folder / "metrics.json")
            assert found["gate"] == run["gate"] and found["step"] == steps
            assert run["losses"][place] == found["loss"] == curve["losses"][place][-1]
            assert curve["losses"][place] == [point["loss"] for point in found["points"]]
            assert run["clock_seconds"][place] == found["seconds"]
            # Its own schedule: the rate has fallen almost to zero by the last of its steps.
            log = (folder / "metrics.jsonl").read_text().splitlines()
            assert len(log) == steps + 1 and '"lr"' in log[-2]
        low, high = sorted(run["losses"])
        assert run["mean"] == pytest.approx((low + high) / 2)
        assert run["half_range"] == pytest.approx((high - low) / 2)
    # Equal time and equal steps are one training of the bilinear model.
    assert len(folders) == 10 and set(workshop.folder.glob("model-*")) == folders
    assert measured.data["tokens_per_step"] == 64 and measured.data["seeds"] == 2


def test_measuring_again_trains_nothing(
    trained: tuple[LanguageSettings, Workshop], measured: Measured
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained[1].folder.rglob("*")}
    assert EXPERIMENT.measure(*trained) == measured
    assert {path: path.stat().st_mtime_ns for path in trained[1].folder.rglob("*")} == before


def test_models_of_a_seed_begin_alike(measured: Measured) -> None:
    """At step 0 the gates differ, the weights do not: the losses are ln V but for a little."""
    by_gate = {run["gate"]: run["curve"]["losses"] for run in measured.data["runs"][:3]}
    for place in range(2):
        starts = [by_gate[gate][place][0] for gate in GATES]
        assert max(starts) - min(starts) < 0.01 and min(starts) > 5.5
    assert by_gate["identity"][0] != by_gate["identity"][1]


def test_real_step_times_are_measured_once(tmp_path: Path) -> None:
    settings, workshop = small(tmp_path, seeds=1, steps=2), Workshop(tmp_path / "workshop")
    first = EXPERIMENT.measure(settings, workshop)
    times = first.data["pace"]["seconds"]
    assert list(times) == list(GATES) and all(seconds > 0 for seconds in times.values())
    assert all(len(found) >= 5 for found in first.data["pace"]["rounds"].values())
    assert first.data["pace"]["machine"]["threads"] == 1
    again = EXPERIMENT.measure(settings, workshop)
    assert again == first


def data(
    seconds: tuple[float, float] = (1.05, 1.1),
    *,
    steps: tuple[tuple[float, ...], tuple[float, ...]],
    time: tuple[tuple[float, ...], tuple[float, ...]],
    share: tuple[float | None, ...] = (0.9, 0.95, 0.94),
) -> Measured:
    """Data with these differences to a bilinear model, seed by seed."""
    base = [3.0, 3.1, 3.2, 3.3][: len(steps[0])]
    runs = []
    for setting, found in (("same_steps", steps), ("same_time", time)):
        for gate, apart in zip(GATES, ((0.0,) * len(base), *found), strict=True):
            losses = [one + other for one, other in zip(base, apart, strict=True)]
            count = 100 if setting == "same_steps" else 90
            curve = {
                "steps": [0, count], "tokens": [0, count * 1e4], "seconds": [0.0, count * 0.5],
                "losses": [[6.0, loss] for loss in losses],
            }  # fmt: skip
            runs.append({
                "setting": setting, "gate": gate, "steps": count, "parameters": 7,
                "losses": losses, "mean": sum(losses) / len(losses),
                "half_range": half_range(losses), "curve": curve,
            })  # fmt: skip
    times = dict(zip(GATES, (1.0, *seconds), strict=True))
    return Measured(
        {
            "dataset": "news", "blocks": 2, "width": 16, "tokens_per_step": 64,
            "seeds": len(base), "runs": runs, "share": list(share[: len(base)]),
            "pace": {
                "seconds": times, "machine": {"device": "cpu", "dtype": "float32", "threads": 3}
            },
        }
    )  # fmt: skip


WIN, LOSE, MIXED = (-0.02, -0.01, -0.03), (0.01, 0.02, 0.01), (-0.02, 0.001, -0.02)
NEARLY, LESS = (-0.009, -0.008, -0.01), (-0.013, -0.012, -0.014)


@pytest.mark.parametrize(
    ("steps", "time", "agrees"),
    [
        ((WIN, WIN), (LOSE, LOSE), True),
        ((WIN, WIN), (MIXED, MIXED), True),
        ((WIN, WIN), (NEARLY, NEARLY), True),
        ((WIN, WIN), (NEARLY, LESS), False),
        ((WIN, WIN), (NEARLY, WIN), False),
        ((WIN, WIN), (WIN, NEARLY), False),
        ((MIXED, WIN), (LOSE, LOSE), False),
        ((WIN, MIXED), (LOSE, LOSE), False),
        ((LOSE, WIN), (LOSE, LOSE), False),
        ((WIN[:2], WIN[:2]), (LOSE[:2], LOSE[:2]), None),
        ((LOSE[:1], WIN[:1]), (LOSE[:1], LOSE[:1]), None),
    ],
)
def test_what_agrees(steps: Any, time: Any, agrees: bool | None) -> None:
    assert EXPERIMENT.compare(data(steps=steps, time=time)).agrees is agrees


def test_the_comparison_says_what_was_measured() -> None:
    found = EXPERIMENT.compare(data(steps=(WIN, NEARLY), time=(LOSE, MIXED)))
    assert "bilinear 3.1000 ± 0.1000" in found.measured and "3 seeds" in found.measured
    assert "same steps ReGLU -0.0200 ± 0.0100, SwiGLU -0.0090 ± 0.0010" in found.measured
    assert "same time ReGLU +0.0133 ± 0.0050, SwiGLU -0.0130 ± 0.0105" in found.measured
    assert "ReGLU 1.050, SwiGLU 1.100 times" in found.measured and "within" not in found.measured
    assert "after 93.0% of its steps" in found.measured and "fewer" in found.measured
    figures = found.figures
    assert figures["same_steps_SwiGLU_difference"] == pytest.approx(-0.009)
    assert figures["same_time_ReGLU_difference"] == pytest.approx(0.04 / 3)
    assert figures["same_time_SwiGLU_loss"] == pytest.approx(3.087)
    assert figures["SwiGLU_steps_in_the_same_time"] == 90
    assert figures["swiglu_share"] == pytest.approx(0.93)
    rows = {line["quantity"]: line for line in found.lines}
    assert [line["paper"][:5] for line in found.lines[:6]] == [
        "1.337", "1.332", "1.321", "1.337", "1.337", "1.336"
    ]  # fmt: skip
    assert rows["held-out loss, the same time, SwiGLU"]["ours"] == (
        "3.0870 ± 0.1000 (90 steps, -0.0130 ± 0.0105 against bilinear)"
    )
    assert rows["steps that SwiGLU needs fewer for the bilinear model's loss"]["ours"] == (
        "7.0% at least"
    )
    assert rows["step time against bilinear, SwiGLU"]["ours"] == "1.100 on cpu, float32, 3 threads"


def test_nearly_equal_step_times_and_losses_never_reached_are_named() -> None:
    found = EXPERIMENT.compare(
        data((1.019, 0.99), steps=(WIN, WIN), time=(WIN, WIN), share=(0.9, None, 0.8))
    )
    assert "within 2%, so that equal time is nearly equal steps" in found.measured
    assert "does not reach" in found.measured and found.figures["swiglu_share"] is None
    assert "15.0% at least (2 of 3 seeds reach it)" in [line["ours"] for line in found.lines]
    never = EXPERIMENT.compare(data(steps=(WIN, WIN), time=(WIN, WIN), share=(None,) * 3))
    assert "never reached" in [line["ours"] for line in never.lines]


def test_when_a_curve_first_reaches_a_loss() -> None:
    steps, losses = [0, 10, 20, 40], [5.0, 4.0, 4.5, 2.5]
    assert first_share(steps, losses, 4.0) == pytest.approx(10 / 40)
    assert first_share(steps, losses, 4.2) == pytest.approx(8 / 40)
    assert first_share(steps, losses, 3.5) == pytest.approx(30 / 40)
    assert first_share(steps, losses, 2.5) == 1
    assert first_share(steps, losses, 2.4) is None
    assert first_share(steps, losses, 5.0) == first_share(steps, losses, 9.0) == 0


def test_shares_compare_curves_of_one_seed() -> None:
    found = data(steps=((0.0, 0.0, 0.0), WIN), time=(WIN, LOSE))
    runs = copy.deepcopy(found.data["runs"])
    expected = [
        (6 - base) / (6 - base - apart) for base, apart in zip((3, 3.1, 3.2), WIN, strict=True)
    ]
    assert gates._shares(runs) == pytest.approx(expected)
    assert half_range([1.0]) is None and half_range([1.0, 4.0, 2.0]) == 1.5


def test_the_picture_shows_what_was_measured(measured: Measured) -> None:
    figure = EXPERIMENT.draw(measured)
    over_tokens, apart, over_time, ends = figure.axes
    runs = measured.data["runs"]
    for panel, shown, key in ((over_tokens, runs[:3], "tokens"), (over_time, runs[3:], "seconds")):
        lines = panel.get_lines()
        assert [line.get_label() for line in lines] == list(GATES.values())
        for line, run in zip(lines, shown, strict=True):
            unit = {"tokens": 1e6, "seconds": 1.0}[key]
            assert list(line.get_xdata()) == pytest.approx([x / unit for x in run["curve"][key]])
            mean = [sum(pair) / 2 for pair in zip(*run["curve"]["losses"], strict=True)]
            assert list(line.get_ydata()) == pytest.approx(mean)
    assert "seconds" in over_time.get_xlabel()
    zero, relu, _ = apart.get_lines()
    assert set(zero.get_ydata()) == {0.0}
    assert relu.get_ydata()[-1] == pytest.approx(runs[1]["mean"] - runs[0]["mean"])
    dots = list(itertools.chain(*(line.get_ydata() for line in ends.get_lines()[:6])))
    assert sorted(dots) == sorted(loss for run in runs for loss in run["losses"])
    figure.canvas.draw()
