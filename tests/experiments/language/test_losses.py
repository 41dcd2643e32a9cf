"""The losses experiment: its rows, its table, its verdict, and the command for anyone's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language import dictionaries_command
from quadric.experiments.language.losses import (
    EXPERIMENT,
    MID,
    OUT,
    PUBLISHED,
    LossOptions,
    analyse,
    compare,
    measure,
)
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.language import features
from quadric.language.config import TextConfig
from tests.activations.tiny import save_tiny

SMALL = LanguageSettings(
    vocab_size=300, hidden_size=12, intermediate_size=20, num_hidden_layers=2,
    num_attention_heads=2, context_size=12, steps=3, batch_contexts=4, layer=1, k=4,
    dictionary_expansion=3, dictionary_steps=4,
)  # fmt: skip


def write(path: Path) -> Path:
    words = [
        f"Story {i} of {i * i} words, told {'again ' * (i % 5)}by {i % 11}." for i in range(300)
    ]
    path.write_text("\n\n".join(words))
    return path


def data(added: dict[str, list[float]], blocks: int) -> dict[str, Any]:
    rows = [
        {
            "block": block, "kind": kind, "hook_name": f"blocks.{block}.{kind}", "loss_clean": 2.0,
            "loss_added": value, "loss_recovered": 1 - value, "explained_variance": 0.5,
            "alive": 1.0,
        }
        for kind, values in added.items()
        for block, value in enumerate(values)
    ]  # fmt: skip
    return {
        "dataset": "news", "model": "m", "features_per_dimension": 4, "k": 30, "blocks": blocks,
        "rows": rows,
    }  # fmt: skip


def test_verdicts():
    paper = {kind: list(values) for kind, values in PUBLISHED.items()}
    assert compare(Measured(data(paper, 6))).agrees is True
    swapped = {OUT: paper[MID], MID: paper[OUT]}
    assert compare(Measured(data(swapped, 6))).agrees is False
    falling = {kind: values[::-1] for kind, values in paper.items()}
    assert compare(Measured(data(falling, 6))).agrees is False
    shallow = {kind: values[:2] for kind, values in paper.items()}
    found = compare(Measured(data(shallow, 2)))
    assert found.agrees is None
    assert [(line["paper"], line["ours"]) for line in found.lines] == [
        ("1.19 %", "1.19 %"), ("8.68 % (block 6 of 6)", "2.05 %"),
        ("1.73 %", "1.73 %"), ("28.60 % (block 6 of 6)", "2.78 %"),
    ]  # fmt: skip
    whole = compare(Measured(data(paper, 6)))
    assert [line["paper"] for line in whole.lines] == [line["ours"] for line in whole.lines]
    assert whole.figures[f"blocks.2.{MID}/loss_added"] == 0.0878


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measured]:
    import dataclasses

    folder = tmp_path_factory.mktemp("workshop")
    settings = dataclasses.replace(SMALL, dataset=str(write(folder / "text.txt")))
    return folder, measure(settings, Workshop(folder / "made"))


def test_every_block_has_a_dictionary_of_both_kinds(measured):
    folder, found = measured
    json.dumps(found.data, allow_nan=False)
    expected = {(block, kind) for block in (0, 1) for kind in (OUT, MID)}
    assert {(row["block"], row["kind"]) for row in found.data["rows"]} == expected
    assert len(found.data["rows"]) == 4
    for path in (folder / "made").glob(f"model-*/*/{features.METRICS}"):
        stored = json.loads(path.read_text())
        for one in stored["dictionaries"].values():
            if one["hook_name"].endswith((OUT, MID)):
                (row,) = [r for r in found.data["rows"] if r["hook_name"] == one["hook_name"]]
                assert row["loss_added"] == one["loss_added"]
    assert compare(found).agrees is None


def test_the_picture_shows_what_was_measured(measured):
    figure = EXPERIMENT.draw(measured[1])
    added, recovered = figure.axes
    rows = measured[1].data["rows"]
    for kind in (OUT, MID):
        values = [100 * row["loss_added"] for row in rows if row["kind"] == kind]
        assert any(list(line.get_ydata()) == values for line in added.lines)
        published = [100 * value for value in PUBLISHED[kind]]
        assert any(list(line.get_ydata()) == published for line in added.lines)
    assert len(recovered.lines) == 3  # two kinds and the zero


def test_folders_of_anyone_are_measured(measured, tmp_path):
    folder, _ = measured
    (model,) = (folder / "made").glob("model-*")
    stored = [json.loads(p.read_text()) for p in model.glob(f"*/{features.METRICS}")]
    text = TextConfig(**stored[0]["text"])
    around = next(p.parent for p in model.glob(f"dictionaries-*/{features.METRICS}")
                  if json.loads(p.read_text())["config"]["layer"] == 1)  # fmt: skip
    truth = json.loads((around / features.METRICS).read_text())["dictionaries"]
    arguments = [
        str(model), text.dataset, str(around / "in"), str(around / "out"), "--context-size", "12",
        "--out", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    answer = CliRunner().invoke(dictionaries_command.losses, arguments, catch_exceptions=False)
    outcome = json.loads(answer.stdout)
    for row, site in zip(outcome["data"]["rows"], ("in", "out"), strict=True):
        assert row["block"] == 1 and row["folder"] == str(around / site)
        assert row["hook_name"] == truth[site]["hook_name"]
        for name in ("loss_clean", "loss_patch", "loss_zero"):
            assert row[name] == pytest.approx(truth[site][name], rel=1e-6)
    assert json.loads((tmp_path / "out" / "experiment.json").read_text()) == outcome
    kept = analyse(str(model), text, [around / "out"], LossOptions(keep_first=11)).data["rows"][0]
    # Only the last position is replaced, and nothing is predicted from it.
    assert kept["loss_added"] == 0


def test_what_cannot_be_spliced_is_refused(measured, tmp_path):
    folder, _ = measured
    (model,) = (folder / "made").glob("model-*")
    sae = next(model.glob("residual-*")) / "mid"
    text = TextConfig(str(folder / "text.txt"), context_size=12)
    with pytest.raises(QuadricError, match="keep_first is 12, but a context has 12 tokens"):
        analyse(str(model), text, [sae], LossOptions(keep_first=12))
    with pytest.raises(QuadricError, match="expected 0 or more"):
        LossOptions(keep_first=-1)
    other = save_tiny(tmp_path / "other")
    with pytest.raises(QuadricError, match=r"mid was trained on .*, not on .*other"):
        analyse(str(other), text, [sae], LossOptions())
    assert torch.is_grad_enabled()
