"""The experiment on annealing: what it asks for, what it reads, and what the comparison says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language.annealing import ENOUGH, EXPERIMENT, request
from quadric.experiments.language.settings import FULL, QUICK, LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.language.text import read_rows
from quadric.storage import read_json
from tests.activations.tiny import save_tiny, tiny_tokenizer
from tests.language.words import write


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LanguageSettings:
    folder = tmp_path_factory.mktemp("annealing")
    return LanguageSettings(
        str(write(folder / "text.txt")), context_size=12, anneal_steps=20, anneal_contexts=3,
        anneal_lr=0.02, base_model=str(save_tiny(folder / "llama")), seed=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def measured(settings: LanguageSettings, workshop: Workshop) -> Measured:
    return EXPERIMENT.measure(settings, workshop)


def test_the_gap_is_the_difference_of_the_two_logs(
    settings: LanguageSettings, workshop: Workshop, measured: Measured
) -> None:
    (folder,) = workshop.folder.iterdir()
    assert folder.name == f"bilinear-{request(settings).digest()}"
    found = read_json(folder / "metrics.json")
    data = measured.data
    assert data | found == data  # all that the run wrote down
    steps = [point["step"] for point in data["curves"]["annealed"]]
    assert steps == [0, 3, 6, 9, 12, 15, 18, 20] and data["tokens"] == 20 * 3 * 12
    pairs = zip(*(data["curves"][name] for name in ("annealed", "control")), strict=True)
    assert data["gaps"] == [one["loss"] - other["loss"] for one, other in pairs]
    assert data["gaps"][0] == 0 and data["gaps"][-1] == found["gap"] != 0
    assert data["betas"] == pytest.approx([1, 0.5, 0, 0, 0, 0, 0, 0])
    assert data["largest_gap_without_gates"] == max(data["gaps"][2:])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert EXPERIMENT.measure(settings, workshop) == measured
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_short_training_reads_little_and_nothing_twice(settings: LanguageSettings) -> None:
    asked = request(settings)
    rows = read_rows(tiny_tokenizer(), asked.text)
    assert len(rows.held_out) == 12 and len(rows.train) >= 20 * 3
    assert rows.train.numel() + rows.held_out.numel() <= asked.text.tokens == 120 * 12
    assert asked.fit.lr_warmup == 2 and asked.fit.seed == 2 and asked.fit.lr == 0.02
    assert asked.model == settings.base_model and asked.anneal.control


def test_the_published_run_and_the_quick_one() -> None:
    full, quick = request(FULL), request(QUICK)
    assert (full.anneal.anneal, full.anneal.part) == ("linear", 0.3)
    assert full.fit.steps == 20_000 and full.fit.eval_every == 1000 and full.fit.lr_warmup == 50
    assert full.text.held_out == 128 and full.text.tokens == (20_000 * 64 + 128) * 256
    assert quick.fit.lr_warmup == 0 and quick.fit.steps // quick.fit.eval_every <= 4
    assert quick.text.held_out * quick.text.context_size <= 1024


def test_a_model_without_swiglu_is_refused(settings: LanguageSettings, tmp_path: Path) -> None:
    other = dataclasses.replace(settings, base_model=str(save_tiny(tmp_path / "gpt2", "gpt2")))
    workshop = Workshop(tmp_path / "workshop")
    with pytest.raises(QuadricError, match="no gated MLP"):
        EXPERIMENT.measure(other, workshop)
    assert not workshop.folder.exists()


def data(gap: float, largest: float, tokens: int = ENOUGH) -> Measured:
    return Measured(
        {
            "model": "m", "dataset": "news", "tokens": tokens, "gap": gap, "loss_before": 3.0,
            "largest_gap_without_gates": largest, "loss_abrupt": 11.0, "loss_bilinear": 2.5 + gap,
            "loss_control": 2.5,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "largest", "tokens", "agrees"),
    [
        (0.05, 0.4, ENOUGH, True),
        (0.1, 0.4, ENOUGH, True),
        (0.11, 0.4, ENOUGH, False),
        (0.05, 0.05, ENOUGH, False),
        (-0.01, 0.0, ENOUGH, True),
        (0.05, 0.4, ENOUGH - 1, None),
        (3.0, 3.0, 1, None),
    ],
)
def test_what_agrees(gap: float, largest: float, tokens: int, agrees: bool | None) -> None:
    assert EXPERIMENT.compare(data(gap, largest, tokens)).agrees is agrees


def test_the_comparison_says_what_was_measured() -> None:
    found = EXPERIMENT.compare(data(0.07, 0.4))
    assert "3.0000 before, 2.5700 with bilinear MLPs, 2.5000 for the control" in found.measured
    assert "a gap of +0.0700 nats; it was at most +0.4000" in found.measured
    assert "at once costs +8.0000 nats" in found.measured
    assert "on news, 10 million tokens" in found.measured
    assert found.figures["abrupt"] == 8 and found.figures["gap"] == 0.07
    assert [line["ours"] for line in found.lines] == [
        "+0.0700 (m, 10 million tokens of news)", "+0.4000", "+8.0000", "-0.5000"
    ]  # fmt: skip
    assert "1,536 tokens" in EXPERIMENT.compare(data(0.07, 0.4, 1536)).measured


def test_the_picture_shows_curves_gap_and_beta(measured: Measured) -> None:
    figure = EXPERIMENT.draw(measured)
    losses, betas, gap = figure.axes
    data = measured.data
    tokens = [point["tokens"] / 1e6 for point in data["curves"]["annealed"]]
    values: dict[Any, Any] = {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in losses.get_lines()
    }
    for label, name in (("β annealed to 0", "annealed"), ("control, β = 1", "control")):
        assert values[label] == (tokens, [point["loss"] for point in data["curves"][name]])
    assert list(betas.get_lines()[0].get_ydata()) == data["betas"]
    assert list(gap.get_lines()[0].get_ydata()) == data["gaps"]
    assert f"at once {data['loss_abrupt']:.2f}" in losses.get_title()
    figure.canvas.draw()
    tops = [panel.get_position().y1 for panel in (losses, gap, betas)]
    assert tops == sorted(tops, reverse=True)  # the gap between the losses and β
