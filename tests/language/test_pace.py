"""Step times of several models side by side."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from quadric import QuadricError
from quadric.language import pace
from quadric.language.config import ArchitectureConfig, FitConfig, Recipe, TextConfig
from quadric.language.pace import STEPS, Pace, kept_pace, measure_pace
from quadric.language.text import Rows
from quadric.training import log

SIZES = {"vocab_size": 300, "num_hidden_layers": 1, "num_attention_heads": 2}
NAMES = {"bilinear": "identity", "ReGLU": "relu", "SwiGLU": "silu"}


def recipe(gate: str = "identity", hidden: int = 16, **fit: Any) -> Recipe:
    return Recipe(
        ArchitectureConfig(gate=gate, hidden_size=hidden, intermediate_size=3 * hidden, **SIZES),  # type: ignore[arg-type]
        TextConfig(context_size=13),
        FitConfig(batch_contexts=3, device="cpu", dtype="float32", **fit),
    )


class Clock:
    """Trains nothing: writes the log of a training whose steps take the seconds it is told."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = seconds
        self.turns: list[str] = []
        self.seen: list[tuple[Rows, FitConfig]] = []

    def __call__(self, model: Any, rows: Rows, config: FitConfig, out: Path) -> None:
        gate = model.config.gate
        self.turns.append(gate)
        self.seen.append((rows, config))
        step = self.seconds[gate][self.turns.count(gate) - 1]
        lines = [{"step": 0, "seconds": 100.0}]  # the first step, slow, behind an evaluation
        for done in range(1, config.steps):
            # Slower and faster, the mean as told.
            uneven = step + (done - (config.steps - 1) / 2 - 0.5) * 1e-3
            lines.append({"step": done, "seconds": lines[-1]["seconds"] + uneven})
        lines.append({"step": config.steps, "seconds": lines[-1]["seconds"] + 100, "loss": 1})
        (out / log.LOG).write_text("\n".join(json.dumps(line) for line in lines))


def test_medians_of_turns_that_interleave(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(
        {
            "identity": [99, 2, 3, 2.5, 9, 1],  # the first turn does not count
            "relu": [99, 4, 5, 6, 7, 8],
            "silu": [0.1, 5, 5, 5, 5, 4],
        }
    )
    monkeypatch.setattr(pace, "fit", clock)
    told: list[tuple[int, int]] = []
    found = measure_pace(
        {name: recipe(gate) for name, gate in NAMES.items()},
        rounds=5,
        progress=lambda *done: told.append(done),
    )
    rounds = {
        "bilinear": [2, 3, 2.5, 9, 1], "ReGLU": [4, 5, 6, 7, 8], "SwiGLU": [5, 5, 5, 5, 4]
    }  # fmt: skip
    for name, times in rounds.items():
        assert found.rounds[name] == pytest.approx(times)
    assert found.seconds == pytest.approx({"bilinear": 2.5, "ReGLU": 6, "SwiGLU": 5})
    assert found.tokens == 39 and found.rates["ReGLU"] == pytest.approx(6.5)
    assert found.machine == {"device": "cpu", "dtype": "float32", "threads": 1}
    assert told == [(done, 6) for done in range(1, 7)]
    # Every round has every model once, and whoever began one ends the next.
    there, back = ["identity", "relu", "silu"], ["silu", "relu", "identity"]
    assert clock.turns == (back + there) * 3
    for rows, config in clock.seen:
        # No evaluation falls between the steps that count, and no context is read twice.
        assert config.steps == config.eval_every == STEPS
        assert rows.train.shape == (STEPS * 3, 13) and len(rows.held_out) == 1
        assert int(rows.train.min()) >= 0 and 280 < int(rows.train.max()) < 300


@pytest.mark.parametrize(
    ("times", "expected"),
    [((2.0, 2.0), 300), ((2.0, 2.5), 240), ((2.0, 1.0), 600), ((1.0, 999.0), 1), ((3, 3.11), 289)],
)
def test_steps_in_the_same_time(times: tuple[float, float], expected: int) -> None:
    found = Pace({"a": [times[0]], "b": [times[1]]}, 1, {})
    assert found.steps(300, "a", "b") == expected
    assert found.steps(300, "a", "a") == 300


def test_real_steps_take_longer_in_a_larger_model() -> None:
    before = torch.get_rng_state()
    found = measure_pace({"small": recipe(), "large": recipe("silu", 512)}, rounds=2)
    assert all(len(times) == 2 for times in found.rounds.values())
    assert found.seconds["large"] > 1.5 * found.seconds["small"] > 0
    assert all(math.isfinite(rate) for rate in found.rates.values())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pace_is_kept_for_its_recipes_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock({"identity": [float(n) for n in range(1, 99)], "silu": [5.0] * 99})
    monkeypatch.setattr(pace, "fit", clock)
    recipes = {"a": recipe(), "b": recipe("silu")}
    path = tmp_path / "new/pace.json"
    first = kept_pace(recipes, path)
    turns = len(clock.turns)
    assert turns == 2 * (pace.ROUNDS + 1)
    assert kept_pace(recipes, path) == first and len(clock.turns) == turns
    # Which type multiplies fastest is timed in every process, and decides nothing here.
    monkeypatch.setattr(pace, "compute_dtype", lambda *_: "torch.bfloat16")
    assert kept_pace(recipes, path) == first and first.machine["dtype"] == "float32"
    # Another model of that name, or another machine, has a pace of its own.
    other = kept_pace({**recipes, "b": recipe("silu", 32)}, path)
    assert len(clock.turns) == 2 * turns and other.seconds["a"] > first.seconds["a"]
    values = json.loads(path.read_text())
    values["machine"]["threads"] = 64
    path.write_text(json.dumps(values))
    kept_pace({**recipes, "b": recipe("silu", 32)}, path)
    assert len(clock.turns) == 3 * turns
    path.write_text("{")
    with pytest.raises(QuadricError, match=r"pace\.json is not valid JSON"):
        kept_pace(recipes, path)


def test_refusals() -> None:
    with pytest.raises(QuadricError, match="rounds is 0, expected 1 or more"):
        measure_pace({"a": recipe()}, rounds=0)
    with pytest.raises(QuadricError, match="no recipe to time"):
        measure_pace({})
    for other in (
        dataclasses.replace(recipe(), text=TextConfig(context_size=14)),
        dataclasses.replace(recipe(), fit=FitConfig(batch_contexts=4)),
        dataclasses.replace(recipe(), fit=dataclasses.replace(recipe().fit, dtype="bfloat16")),
    ):
        with pytest.raises(QuadricError, match="recipes of a, b differ in contexts, device or"):
            measure_pace({"a": recipe(), "b": other})
    with pytest.raises(QuadricError, match="one round or more"):
        Pace({"a": [1.0], "b": []}, 1, {})
    with pytest.raises(QuadricError, match="gate is 'tanh'"):
        measure_pace({"a": recipe("tanh")}, rounds=1)
