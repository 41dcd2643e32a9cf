"""Bilinear autoencoders around a small model's MLP: trained once, opened, composed, drawn."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
import pytest
import torch
from click.testing import CliRunner

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language.compose_command import compose
from quadric.experiments.language.composition import EXACT, EXPERIMENT, analyse
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.language import pretraining, quadratic_dictionaries
from quadric.language.composition import explained
from quadric.language.config import TextConfig
from quadric.language.latent_forms import rotation
from quadric.language.quadratic_dictionaries import Between, QuadraticConfig, open_between, train
from quadric.storage import read_json, write_json
from tests.language.words import write

BLOCK = 1


class Made(NamedTuple):
    settings: LanguageSettings
    measured: Measured
    model: Path
    runs: Path
    between: Between


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("composition")
    text = write(root / "words.txt", 60)
    settings = LanguageSettings(
        dataset=str(text), vocab_size=300, hidden_size=16, intermediate_size=24,
        num_hidden_layers=2, num_attention_heads=4, context_size=24, steps=30, batch_contexts=8,
        lr=0.02, layer=BLOCK, dictionary_expansion=2, dictionary_steps=20,
    )  # fmt: skip
    measured = EXPERIMENT.measure(settings, Workshop(root / "shop"))
    (model,) = (root / "shop").iterdir()
    (runs,) = model.glob("quadratic-*")
    between = open_between(str(model), runs / "in", runs / "out", settings.recipe().text)
    return Made(settings, measured, model, runs, between)


def test_what_is_measured(made: Made) -> None:
    data = made.measured.data
    json.dumps(data, allow_nan=False)
    assert data["exact_gap"] < 1e-10 < EXACT
    assert data["measured_gap"] < 1e-4  # activations come in float32
    assert (data["inputs"]["latents"], data["outputs"]["latents"]) == (32, 8)
    assert data["inputs"]["width"] == data["outputs"]["width"] == 16
    # Nothing is centred at the input and nothing has a bias: no form has linear terms.
    assert all(row["overlap"]["linear"] == 0 for row in data["latents"])
    found, tokens = made.between.composition, made.between.tokens(128)
    assert len(tokens.x) == data["tokens"] == len(tokens.ids)
    x = tokens.x.double()
    latents = found.outputs.encode(tokens.y.double())
    centred = latents - latents.mean(0)
    r2 = 1 - (latents - found.predict(x)).square().sum(0) / centred.square().sum(0)
    assert data["r2"] == pytest.approx(r2.tolist(), rel=1e-4)
    best = data["latents"][0]
    assert best["latent"] == int(latents.var(0).argmax())
    assert best["r2"] == data["r2"][best["latent"]]
    latent = found.latent(best["latent"])
    assert best["quartic"] == pytest.approx(latent.spectrum().values.tolist(), rel=1e-4)
    assert len(best["quartic"]) <= 8
    # The single largest pair, by hand.
    codes = found.codes(x)
    pair = latent.top_pairs(1, codes.square().mean(0).sqrt())
    lifted = torch.nn.functional.pad(codes, (0, 1), value=1.0)
    values = float(pair.weights) * lifted[:, int(pair.first)] * lifted[:, int(pair.second)]
    both = torch.stack([latents[:, best["latent"]], values])
    assert best["by_pairs"][0] == pytest.approx(float(both.corrcoef()[0, 1]), rel=1e-4)
    assert data["pairs"] == [1 << power for power in range(len(data["pairs"]))]
    # With nearly all pairs it is nearly what all of them give.
    assert best["by_pairs"][-1] == pytest.approx(best["pearson"], abs=0.05)


def test_the_null_is_the_rotated_dictionary(made: Made) -> None:
    data, found, tokens = made.measured.data, made.between.composition, made.between.tokens(128)
    x = tokens.x.double()
    latents = found.outputs.encode(tokens.y.double())
    chance = explained(latents, found.null(made.settings.seed).predict(x))
    assert data["null_r2"] == pytest.approx(chance.r2.tolist(), rel=1e-4)
    assert data["null_pearson"] == pytest.approx(chance.pearson.tolist(), rel=1e-4)
    assert data["null_r2"] != data["r2"]
    turn = rotation(found.forms, made.settings.seed)
    row = data["latents"][1]
    latent = found.latent(row["latent"])
    for key, given in (("overlap", None), ("null", turn)):
        overlap = latent.overlap(found.dictionary, given)
        assert row[key]["span"] == pytest.approx(float(overlap.span.mean()))
        assert row[key]["kept"] == pytest.approx(float(overlap.kept.mean()))
        assert row[key]["kept"] <= row[key]["span"] + 1e-9


def test_comparison_and_picture(made: Made) -> None:
    comparison = EXPERIMENT.compare(made.measured)
    assert comparison.agrees is None
    assert "nothing was published" in comparison.rule
    assert all(line["ours"] and not line["paper"] for line in comparison.lines)
    ordered = sorted(made.measured.data["r2"])
    assert comparison.figures["r2_median"] == ordered[3]
    panels = EXPERIMENT.draw(made.measured).get_axes()
    assert len(panels) == 6
    assert all(panel.get_title() for panel in panels)
    assert sum(bool(panel.get_xlabel()) for panel in panels) >= 5
    shown = made.measured.data["shown"]
    largest = max(shown["pairs"], key=lambda pair: pair["size"])
    labels = [text.get_text() for text in panels[5].get_yticklabels()]
    assert labels[-1].startswith(str(largest["first"]))
    # A latent that never varies has no figures and does not stop the picture.
    data = copy.deepcopy(made.measured.data)
    data["r2"][0] = data["null_r2"][0] = None
    data["latents"][0]["by_pairs"][0] = None
    EXPERIMENT.compare(Measured(data))
    EXPERIMENT.draw(Measured(data))


def test_nothing_is_trained_twice(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadratic_dictionaries, "harvest", None)
    again = EXPERIMENT.measure(made.settings, Workshop(made.model.parent))
    assert again.data == made.measured.data
    metrics = read_json(made.runs / quadratic_dictionaries.METRICS)
    text = made.settings.recipe().text
    other = dataclasses.replace(QuadraticConfig(layer=BLOCK), seed=4)
    assert other.digest(text) != QuadraticConfig(layer=BLOCK).digest(text)
    assert other.digest(text) != other.digest(dataclasses.replace(text, text_seed=1))
    with pytest.raises(QuadricError, match="holds other autoencoders"):
        train(metrics["model"], text, other, made.runs)
    saved = BilinearAutoencoder.load_from_disk(made.runs / "in")
    assert saved.metadata.hook_name == f"blocks.{BLOCK}.mlp.hook_in"
    assert metrics["product_error"]["in"] < 1


def test_the_command(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [str(made.model), str(made.runs / "in"), str(made.runs / "out")]
    # The text is the output autoencoder's own; the number of held-out contexts is not among it.
    found = CliRunner().invoke(compose, [*arguments, "--json"], catch_exceptions=False)
    assert found.exit_code == 0
    outcome = json.loads(found.stdout)
    assert outcome["data"]["r2"] == made.measured.data["r2"]
    folder = tmp_path / "runs" / "lm" / "composition"
    assert json.loads((folder / "experiment.json").read_text()) == outcome
    assert matplotlib.image.imread(folder / "picture.png").std() > 0.01
    fewer = CliRunner().invoke(
        compose, [*arguments, "--out", "b", "--contexts", "2", "--dataset", made.settings.dataset,
                  "--context-size", "12", "--seed", "3", "--json"],
    )  # fmt: skip
    values = json.loads(fewer.stdout)
    assert values["data"]["tokens"] == 2 * 11
    assert values["options"]["seed"] == 3


def test_refusals(made: Made, tmp_path: Path) -> None:
    model, first, second = str(made.model), made.runs / "in", made.runs / "out"
    with pytest.raises(QuadricError, match=r"trained at 'blocks.1.hook_mlp_out', expected"):
        open_between(model, second, second)
    with pytest.raises(QuadricError, match=r"expected blocks.N.hook_mlp_out"):
        open_between(model, first, first)
    with pytest.raises(QuadricError, match="not on '/elsewhere/other'"):
        open_between("/elsewhere/other", first, second)
    moved = shutil.copytree(first, tmp_path / "moved")
    values = read_json(moved / "cfg.json")
    values["metadata"]["hook_name"] = "blocks.0.mlp.hook_in"
    write_json(moved / "cfg.json", values)
    with pytest.raises(QuadricError, match=r"at block 0 and .* at block 1"):
        open_between(model, moved, second)
    values["metadata"]["hook_name"] = "blocks.1.mlp.hook_in"
    values["affine"], values["norm"] = True, "unit"
    wide = BilinearAutoencoder(AutoencoderConfig(16, 32, affine=True))
    wide.save_pretrained(moved)
    values = read_json(moved / "cfg.json") | {"metadata": values["metadata"]}
    write_json(moved / "cfg.json", values)
    with pytest.raises(QuadricError, match="affine with norm='unit'"):
        open_between(model, moved, second)
    recipe = made.settings.recipe(gate="silu", steps=1)
    gated = tmp_path / made.model.name
    pretraining.train(recipe, gated)
    with pytest.raises(QuadricError, match="not bilinear"):
        open_between(str(gated), first, second)
    for values in ({"products": 0}, {"block": 0}):
        with pytest.raises(QuadricError, match="expected a positive integer"):
            QuadraticConfig(**values)
    with pytest.raises(QuadricError, match="blocks"):
        train(model, TextConfig(made.settings.dataset), QuadraticConfig(layer=7), tmp_path / "x")


def test_a_narrow_layer_is_read_whole(made: Made) -> None:
    few = analyse(made.between, contexts=1)
    assert few.data["tokens"] == made.settings.context_size - 1
