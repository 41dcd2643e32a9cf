"""Dictionaries around an MLP: what training writes, what opening gives, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quadric.activations.hooks import resolve
from quadric.activations.models import LanguageModel
from quadric.errors import QuadricError
from quadric.language import features, harvesting, splicing
from quadric.language.config import DictionaryConfig, TextConfig
from quadric.language.harvesting import gated_layer, harvest, held_out
from quadric.language.saelens import LinearAutoencoder, read_saelens
from quadric.language.splicing import LossAdded, SplicedLosses, place_of, quality
from quadric.language.text import read_rows
from quadric.storage import read_json, read_tensors, write_json, write_tensors
from tests.activations.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.forms.builders import close, noise

D, CONTEXT, LAYER = 12, 13, 1
CONFIG = DictionaryConfig(
    layer=LAYER, expansion=3, k=4, steps=25, batch_size=64, dictionary_tokens=900, drop_first=2
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextConfig:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(
        "\n\n".join(f"Story {i} of {i * i} words: {chr(97 + i % 26) * (i % 7)}!" for i in range(90))
    )
    return TextConfig(str(path), context_size=CONTEXT, held_out=11)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, model: str, text: TextConfig) -> Path:
    folder = tmp_path_factory.mktemp("dictionaries") / "both"
    with pytest.MonkeyPatch.context() as patch:  # some machines would harvest in bfloat16
        patch.setattr(harvesting, "fastest_product_dtype", lambda _: torch.float32)
        features.train(model, text, CONFIG, folder, sites=("in", "out", "mid"))
    return folder


def language(kind: str = "llama") -> LanguageModel:
    return LanguageModel(tiny_model(kind), tiny_tokenizer(), f"tiny-{kind}")


def opened(model: str, written: Path) -> features.LayerDictionaries:
    return features.open_dictionaries(model, written)


def contexts(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(257, (count, CONTEXT), generator=generator)


def test_one_pass_reads_training_text_and_the_same_held_out_contexts(text):
    found = language()
    hooks = resolve(found.model, ["blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"])
    few = dataclasses.replace(CONFIG, dictionary_tokens=200)
    whole = read_rows(found.tokenizer, text)
    got = harvest(found, hooks, text, few)
    assert torch.equal(got.held_out, whole.held_out)
    assert torch.equal(held_out(found, text), whole.held_out) and len(whole.held_out) == 11
    count = math.ceil(200 / (CONTEXT - 2))
    assert got.training_tokens == count * (CONTEXT - 2)
    ids = torch.cat([whole.train[:count], whole.held_out]).long()
    mlp = found.model.model.layers[1].mlp
    seen: list[torch.Tensor] = []
    handle = mlp.register_forward_hook(lambda _, x, y: seen.extend([x[0], y]))
    with torch.no_grad():
        found.model(ids)
    handle.remove()
    for hook, expected in zip(hooks, seen, strict=True):
        assert torch.allclose(got.activations[hook.hook_name].double(), expected, atol=1e-5)


def test_what_training_writes_is_what_it_measured(model, written, text):
    metrics = read_json(written / features.METRICS)
    assert features.train(model, text, CONFIG, written, sites=("in", "out", "mid")) == metrics
    layers = opened(model, written)
    kept = 11 * (CONTEXT - CONFIG.drop_first)
    tokens = list(layers.tokens(100))
    x, y = (torch.cat([getattr(part, side) for part in tokens]) for side in "xy")
    assert len(x) == len(y) == kept
    for site, values in (("in", x), ("out", y)):
        found, sae = metrics["dictionaries"][site], read_saelens(written / site)
        assert found["features"] == 3 * D and found["held_out_tokens"] == kept
        z, estimate = sae.encode(values), sae(values)
        assert found["l0"] == pytest.approx(float((z != 0).sum(1).double().mean()), abs=1e-6)
        assert found["alive"] == pytest.approx(float((z != 0).any(0).double().mean()))
        error = (values - estimate).square().sum() / (values - values.mean(0)).square().sum()
        assert found["explained_variance"] == pytest.approx(1 - float(error), abs=1e-5)
        assert found["explained_variance"] > 0.2
        assert found["loss_added"] == pytest.approx(
            (found["loss_patch"] - found["loss_clean"]) / found["loss_clean"]
        )
    config = read_json(written / "mid" / "cfg.json")
    assert config["metadata"]["hook_name"] == f"blocks.{LAYER}.hook_resid_mid"
    assert config["metadata"]["model_name"] == model
    assert config["metadata"]["context_size"] == CONTEXT


def test_the_opened_layer_belongs_to_its_tokens(model, written):
    layers = opened(model, written)
    assert (layers.k_in, layers.k_out, layers.block) == (4, 4, LAYER)
    whole = torch.cat([part.ids for part in layers.tokens(100)])
    some = list(layers.tokens(3))
    assert sum(len(part.ids) for part in some) == 3 * (CONTEXT - 2)
    first = some[0]
    assert torch.equal(first.ids, whole[: len(first.ids)])
    expected = held_out(layers.language, layers.text)[:3, 2:].flatten()
    assert torch.equal(torch.cat([part.ids for part in some]), expected.long())
    with torch.no_grad():
        assert torch.allclose(layers.layer(first.x), first.y, atol=1e-5)
    z = layers.encode(first.x)
    assert z.shape == (len(first.x), 3 * D) and int((z != 0).sum(1).max()) <= 4
    weights = read_tensors(written / "in" / "sae_weights.safetensors")
    assert close(layers.inputs.decoder.double(), weights["W_dec"].double())
    pre, on = layers.measure(first.y)
    out = layers.outputs
    assert torch.allclose(pre, (first.y - out.centre) @ out.encoder.T + out.bias, atol=1e-4)
    best = pre.topk(4, dim=1).indices
    assert torch.equal(on, torch.zeros_like(on).scatter(1, best, True) & (pre > 0))


# --- spliced losses -------------------------------------------------------------------------------

PLACES = ["blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid"]


def by_hand(found: LanguageModel, ids: torch.Tensor, name: str, replace: Callable[..., Any]):
    """The loss of a llama with an activation replaced, its block 1 written out."""

    def block(hidden_states: torch.Tensor, **options: Any) -> torch.Tensor:
        layer = found.model.model.layers[1]
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **options)
        x = hidden_states + attended
        if name.endswith("mid"):
            x = replace(x)
        normed = layer.post_attention_layernorm(x)
        out = layer.mlp(replace(normed) if name.endswith("in") else normed)
        return x + (replace(out) if name.endswith("out") else out)

    original = found.model.model.layers[1].forward
    found.model.model.layers[1].forward = block
    try:
        with torch.no_grad():
            logits = found.model(ids).logits[:, :-1]
    finally:
        found.model.model.layers[1].forward = original
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("keep", [0, 3])
def test_losses_of_replaced_activations(name, keep):
    found, ids = language(), contexts()
    turned = torch.linalg.qr(noise(4, D, D)).Q

    def replace(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :keep], 0.5 * x[:, keep:] @ turned], dim=1)

    def zero(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :keep], torch.zeros_like(x[:, keep:])], dim=1)

    losses = SplicedLosses(found, ids.to(torch.int16), keep_first=keep)
    place = place_of(found.model, name)
    got = losses.measure(place, lambda x: 0.5 * x @ turned)
    expected = [by_hand(found, ids, name, each) for each in (lambda x: x, replace, zero)]
    assert (got.clean, got.patch, got.zero) == pytest.approx(expected, rel=1e-5)
    assert abs(got.patch - got.clean) > 1e-3 and abs(got.zero - got.patch) > 1e-3
    assert got.added == pytest.approx((expected[1] - expected[0]) / expected[0], rel=1e-3)
    ratio = (expected[1] - expected[0]) / (expected[2] - expected[0])
    assert got.recovered == pytest.approx(1 - ratio, rel=1e-3)


@pytest.mark.parametrize("name", PLACES)
def test_identity_adds_nothing_and_zero_recovers_nothing(name):
    found = language()
    losses, place = SplicedLosses(found, contexts()), place_of(found.model, name)
    same = losses.measure(place, lambda x: x)
    assert same.added == 0 and same.recovered == 1
    assert losses.measure(place, torch.zeros_like).recovered == 0
    assert losses.clean == same.clean
    assert LossAdded(2.0, 2.0, 2.0).recovered is None


def test_places_by_their_names():
    model = language().model
    normed = place_of(model, "blocks.1.ln2.hook_normalized")
    assert normed.hook == place_of(model, "blocks.1.mlp.hook_in").hook
    assert normed.block_output is None
    middle = place_of(model, "blocks.2.hook_resid_mid")
    assert middle.hook.hf_hook_name == "model.layers.2.post_attention_layernorm.hook_in"
    with torch.no_grad():
        model.model.layers[1].post_attention_layernorm.weight[3] = 1.5
    with pytest.raises(QuadricError, match=r"before the gain of the norm.*blocks\.1\.mlp\.hook_in"):
        place_of(model, "blocks.1.ln2.hook_normalized")
    with pytest.raises(QuadricError, match=r"names 3 hooks, expected one"):
        place_of(model, "blocks.*.hook_mlp_out")
    gemma = place_of(language("gemma2").model, "blocks.1.hook_resid_mid")
    assert gemma.hook.hf_hook_name == "model.layers.1.pre_feedforward_layernorm.hook_in"
    with pytest.raises(QuadricError, match=r"hook_resid_mid' is not available: GPTNeoXLayer does"):
        place_of(language("neox").model, "blocks.1.hook_resid_mid")


def test_quality_counts_what_is_on(monkeypatch):
    monkeypatch.setattr(splicing, "ROWS_AT_ONCE", 3)
    eye = torch.eye(4)
    sae = LinearAutoencoder(
        eye, torch.zeros(4), eye, torch.zeros(4), True, 1, torch.zeros(4), None, None
    )
    x = torch.tensor([[3.0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [4, 0, 0, 1], [2, 1, 0, 0]])
    found = quality(sae, x)
    total = float((x - x.mean(0)).square().sum())
    assert found == {"explained_variance": pytest.approx(1 - 3 / total), "l0": 0.8, "alive": 0.5}


# --- what is refused ------------------------------------------------------------------------------


def changed(written: Path, folder: Path, site: str, **metadata: Any) -> Path:
    """A copy of the dictionaries with another cfg.json at one side."""
    shutil.copytree(written, folder)
    config = read_json(folder / site / "cfg.json")
    config["metadata"] |= metadata
    write_json(folder / site / "cfg.json", config)
    return folder


@pytest.mark.parametrize(
    ("site", "metadata", "message"),
    [
        ("in", {"hook_name": "blocks.2.mlp.hook_in"}, "different layers, 2 and 1"),
        ("in", {"hook_name": "blocks.1.hook_resid_mid"}, "is on the residual stream, before"),
        ("in", {"hook_name": "blocks.1.hook_mlp_out"}, "expected the input of an MLP"),
        ("out", {"hook_name": "blocks.1.hook_attn_out"}, "expected the output of an MLP"),
        ("in", {"hook_name": None}, "in: cfg.json names no hook"),
        ("out", {"model_name": "other/model"}, "belong to different models"),
    ],
)
def test_dictionaries_of_other_places_are_refused(
    model, written, tmp_path, site, metadata, message
):
    with pytest.raises(QuadricError, match=message):
        features.open_dictionaries(model, changed(written, tmp_path / "x", site, **metadata))


def test_dictionaries_of_another_model_or_width_are_refused(model, written, tmp_path):
    both = changed(written, tmp_path / "both", "in", model_name="org/other")
    config = read_json(both / "out" / "cfg.json")
    config["metadata"]["model_name"] = "org/other"
    write_json(both / "out" / "cfg.json", config)
    with pytest.raises(QuadricError, match=r"in was trained on 'org/other', not on '.*tiny': if"):
        features.open_dictionaries(model, both)
    # A model is recognised by the last part of its name.
    same = changed(written, tmp_path / "same", "in", model_name="org/Tiny")
    config["metadata"]["model_name"] = "org/Tiny"
    write_json(same / "out" / "cfg.json", config)
    assert features.open_dictionaries(model, same).block == LAYER

    wide = changed(written, tmp_path / "wide", "out")
    path = wide / "out" / "sae_weights.safetensors"
    weights = read_tensors(path)
    for name, axis in {"W_enc": 0, "W_dec": 1, "b_dec": 0}.items():
        weights[name] = torch.cat([weights[name], weights[name]], dim=axis)
    write_tensors(path, weights)
    with pytest.raises(QuadricError, match=r"out reads 24 dimensions .*, where .* has 12"):
        features.open_dictionaries(model, wide)


def test_any_two_folders_are_opened_and_their_features_counted(model, written, tmp_path, text):
    """Without TopK, and without quadric's own files."""
    for site in ("in", "out"):
        shutil.copytree(written / site, tmp_path / site)
        config = read_json(tmp_path / site / "cfg.json")
        config["architecture"] = "standard"
        write_json(tmp_path / site / "cfg.json", config)
    found = features.open_dictionaries(model, tmp_path, text)
    assert found.drop_first == 1 and found.text == text
    first = next(found.tokens(16))
    assert len(first.x) == 11 * (CONTEXT - 1)
    counts = (found.encode(first.x) > 0).sum(1), (found.measure(first.y)[0] > 0).sum(1)
    assert (found.k_in, found.k_out) == tuple(round(float(c.double().mean())) for c in counts)
    assert min(found.k_in, found.k_out) > 4


def test_models_that_do_not_fit_are_refused(tmp_path, text, model):
    with pytest.raises(QuadricError, match="the MLP of block 1 of tiny-gpt2 is not a gated pair"):
        gated_layer(language("gpt2"), 1)
    with pytest.raises(QuadricError, match="adds Gemma2RMSNorm of its MLP"):
        gated_layer(language("gemma2"), 1)
    gpt2 = save_tiny(tmp_path / "gpt2", "gpt2")
    with pytest.raises(QuadricError, match="not a gated pair that can be read: GPT2MLP has no"):
        features.train(str(gpt2), text, CONFIG, tmp_path / "out")

    grown = tmp_path / "grown"
    shutil.copytree(model, grown)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(grown)
    with pytest.raises(QuadricError, match="has 259 tokens, but the model has embeddings for 257"):
        features.train(str(grown), text, CONFIG, tmp_path / "out2")


def test_requests_that_do_not_fit_are_refused(tmp_path, text, model, written):
    def run(out: Path, config: DictionaryConfig = CONFIG, read: TextConfig = text) -> None:
        features.train(model, read, config, out)

    with pytest.raises(QuadricError, match=r"model has 3 blocks \(0–2\)"):
        run(tmp_path / "a", dataclasses.replace(CONFIG, layer=3))
    with pytest.raises(QuadricError, match="k is 37, expected 1 to 36"):
        run(tmp_path / "b", dataclasses.replace(CONFIG, k=37))
    with pytest.raises(QuadricError, match="drop_first is 13, but a context has 13 tokens"):
        run(tmp_path / "c", dataclasses.replace(CONFIG, drop_first=13))
    with pytest.raises(QuadricError, match=r"context_size is 33, but .* has 32 positions"):
        run(tmp_path / "d", read=dataclasses.replace(text, context_size=33))
    with pytest.raises(QuadricError, match="was begun with another configuration"):
        run(written)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(QuadricError, match="is not empty: choose another folder"):
        run(tmp_path / "full")


def test_a_splice_leaves_no_trace():
    found, place = language(), place_of(language().model, PLACES[2])
    before = SplicedLosses(found, contexts()).clean
    with pytest.raises(QuadricError, match="was resolved on another model"):
        SplicedLosses(found, contexts()).spliced(place, torch.zeros_like)
    place = place_of(found.model, PLACES[2])
    with pytest.raises(ZeroDivisionError):
        SplicedLosses(found, contexts()).spliced(place, lambda _: torch.tensor(1 // 0))
    assert SplicedLosses(found, contexts()).clean == before
