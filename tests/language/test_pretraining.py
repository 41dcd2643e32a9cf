"""A language model from scratch, as the folder that it becomes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

import quadric.layers.transformer  # makes the model known to transformers
from quadric.activations.models import load_model
from quadric.errors import Interrupted, QuadricError
from quadric.language import loop, pretraining
from quadric.language.config import ArchitectureConfig, FitConfig, Recipe, TextConfig
from quadric.language.pretraining import build, read_recipe, train
from quadric.language.text import read_rows
from quadric.language.tokenizer import train_tokenizer
from quadric.layers import wrap
from quadric.training import log
from tests.activations.tiny import save_tiny, tiny_tokenizer
from tests.language.words import documents, write

assert quadric.layers.transformer
SIZES = ArchitectureConfig("identity", 300, 16, 24, 2, 4, 2)
FIT = FitConfig(
    steps=12, batch_contexts=4, lr=0.02, lr_warmup=2, eval_every=5, dtype="float32", device="cpu",
    checkpoint_minutes=1e-9,
)  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(SIZES, TextConfig(str(write(tmp_path / "a.txt")), 24, held_out=5), FIT)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """Let a step fail, as a signal or a crash would."""
    original = loop._Run.step

    def stopped(self: Any, done: int) -> dict[str, float]:
        if done == step:
            raise error()
        return original(self, done)

    monkeypatch.setattr(loop._Run, "step", stopped)


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(ids.long()).logits
    return found


def test_the_folder_is_a_transformers_model_and_its_figures_are_true(
    recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    metrics = train(recipe, out)
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert not (out / "checkpoint").exists()
    assert {path.name for path in out.iterdir()} == {
        "config.json", "generation_config.json", "metrics.json", "metrics.jsonl",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json",
    }  # fmt: skip
    assert read_recipe(out) == recipe

    model = AutoModelForCausalLM.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    rows = read_rows(tokenizer, recipe.text)
    language = load_model(str(out), dtype=torch.float32, device="cpu")
    assert type(model).__name__ == "GatedTransformerForCausalLM" == type(language.model).__name__
    assert torch.equal(logits(language.model, rows.held_out), logits(model, rows.held_out))
    assert wrap(model.model.layers[1].mlp).gate == "identity"
    assert model.config.vocab_size == 300 == len(tokenizer) and model.dtype == torch.float32

    ids = rows.held_out.long()
    loss = functional.cross_entropy(
        logits(model, ids)[:, :-1].double().reshape(-1, 300), ids[:, 1:].reshape(-1)
    )
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert metrics["parameters"] == sum(
        weight.numel() for weight in model.parameters()
    ) == 2 * 300 * 16 + 2 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24)  # fmt: skip
    assert metrics["text_tokens"] == rows.train.numel() and metrics["gate"] == "identity"
    lines = [line for line in log.read(out / log.LOG) if "held_out_loss" in line]
    assert [(p["step"], p["tokens"], p["loss"], p["seconds"]) for p in metrics["points"]] == [
        (line["step"], line["tokens"], line["held_out_loss"], line["seconds"]) for line in lines
    ]
    assert [p["step"] for p in metrics["points"]] == [0, 5, 10, 12]
    assert metrics["step"] == 12 and metrics["tokens"] == 12 * 4 * 24
    assert metrics["points"][0]["loss"] == pytest.approx(5.7, abs=0.1)  # ln 300
    assert metrics["loss"] < metrics["points"][0]["loss"] - 0.5


def test_it_writes_on_with_and_without_a_cache(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = tokenizer(["bake bami", "Lora MINU sola"], padding=True, padding_side="left",
                       return_tensors="pt")  # fmt: skip
    settings = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": False}
    cached = model.generate(**prompt, **settings, use_cache=True)
    assert torch.equal(cached, model.generate(**prompt, **settings, use_cache=False))
    # Token by token by hand, the second text alone.
    ids = tokenizer("lora minu sola", return_tensors="pt")["input_ids"]
    begin = ids.shape[1]
    for _ in range(10):
        scores = logits(model, ids)[0, -1]
        scores[tokenizer.eos_token_id] = -torch.inf
        ids = torch.cat([ids, scores.argmax().view(1, 1)], dim=1)
    assert torch.equal(cached[1, -10:], ids[0, begin:])


def test_seed_and_gate(recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(documents(40), 300)
    before = torch.get_rng_state()
    one, again = build(recipe, tokenizer), build(recipe, tokenizer)
    other = build(dataclasses.replace(recipe, fit=dataclasses.replace(FIT, seed=1)), tokenizer)
    relu = build(
        dataclasses.replace(recipe, architecture=dataclasses.replace(SIZES, gate="relu")), tokenizer
    )
    assert torch.equal(torch.get_rng_state(), before)
    weight = "model.layers.1.mlp.left.weight"
    assert torch.equal(one.state_dict()[weight], again.state_dict()[weight])
    assert torch.equal(one.state_dict()[weight], relu.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])
    assert (one.config.eos_token_id, one.config.max_position_embeddings) == (0, 24)
    assert train(recipe, tmp_path / "one")["loss"] == train(recipe, tmp_path / "two")["loss"]
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_the_tokeniser_of_another_model(recipe: Recipe, tmp_path: Path) -> None:
    first = tmp_path / "first"
    train(recipe, first)
    second = dataclasses.replace(recipe, tokenizer=str(first))
    train(second, tmp_path / "second")
    assert weights(tmp_path / "second") == weights(first)
    llama = save_tiny(tmp_path / "llama")
    metrics = train(dataclasses.replace(recipe, tokenizer=str(llama)), tmp_path / "third")
    config = json.loads((tmp_path / "third/config.json").read_text())
    assert config["vocab_size"] == 257 and config["eos_token_id"] == 256
    rows = read_rows(tiny_tokenizer(), recipe.text)
    assert metrics["text_tokens"] == rows.train.numel()
    assert "pad_token_id" not in config or config["pad_token_id"] is None


@pytest.mark.parametrize("step", [0, 1, 7, 11])
def test_killed_in_a_step_it_goes_on_to_the_same_model(
    recipe: Recipe, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe, tmp_path / "whole")
    out = tmp_path / "out"
    stop_at(step, monkeypatch, KeyError)
    with pytest.raises(KeyError):
        train(recipe, out)
    monkeypatch.undo()
    assert not (out / "metrics.json").exists() and not (out / "model.safetensors").exists()
    with pytest.raises(QuadricError, match=r"is not empty: choose another folder, or --resume"):
        train(recipe, out)
    metrics = train(recipe, out, resume=True)
    assert weights(out) == weights(tmp_path / "whole")
    assert metrics["loss"] == json.loads((tmp_path / "whole/metrics.json").read_text())["loss"]
    assert [line["step"] for line in log.read(out / log.LOG)] == list(range(13))


def test_killed_while_the_weights_are_written_nothing_is_trained_again(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pretraining.GatedTransformerForCausalLM, "save_pretrained", full)
        with pytest.raises(OSError, match="No space left"):
            train(recipe, out)
    stop_at(11, monkeypatch, lambda: AssertionError("trained again"))
    train(recipe, out, resume=True)
    assert (out / "metrics.json").is_file() and not (out / "checkpoint").exists()


def test_killed_while_the_tokeniser_is_written(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe, tmp_path / "whole")
    out = tmp_path / "out"
    replaced: list[str] = []
    original = Path.replace

    def killed(self: Path, target: Any) -> Path:
        if self.parent.parent == out:  # a file on its way into the folder
            replaced.append(self.name)
            if len(replaced) == 2:
                raise KeyError
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyError):
            train(recipe, out)
    assert replaced[-1] == "tokenizer.json"
    train(recipe, out, resume=True)
    assert weights(out) == weights(tmp_path / "whole")


def test_a_finished_one_is_only_read(recipe: Recipe, tmp_path: Path) -> None:
    metrics = train(recipe, tmp_path / "out")
    (tmp_path / "a.txt").unlink()
    assert train(recipe, tmp_path / "out", resume=True) == metrics


def test_another_recipe_does_not_resume(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out")
    other = dataclasses.replace(recipe, fit=dataclasses.replace(FIT, lr=0.3))
    with pytest.raises(QuadricError, match=r"was begun with another configuration"):
        train(other, tmp_path / "out", resume=True)
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(QuadricError, match=r"no language model in training: training.json is"):
            train(recipe, folder, resume=True)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("architecture", {"num_attention_heads": 3}, r"hidden_size is 16, expected a multiple of"),
        ("architecture", {"num_key_value_heads": 3}, r"num_key_value_heads is 3, expected a divis"),
        ("architecture", {"gate": "swish"}, r"gate is 'swish', expected one of identity, relu"),
        ("architecture", {"hidden_size": 0}, r"hidden_size is 0"),
        ("architecture", {"vocab_size": 256}, r"vocab_size is 256, expected at least 257"),
        ("architecture", {"vocab_size": 9000}, r"enough for \d+ tokens, expected 9000"),
        ("text", {"context_size": 5000}, r"fewer than one context of 5000"),
        ("text", {"tokens": 200}, r"gives 8 contexts of 24 tokens, expected at least 10"),
        ("text", {"dataset": "none.txt"}, r"there is no such file"),
        ("fit", {"device": "tpu9"}, r"device 'tpu9' cannot be used"),
    ],
)
def test_what_cannot_be_leaves_no_folder(
    recipe: Recipe, part: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    changed = dataclasses.replace(getattr(recipe, part), **changes)
    with pytest.raises(QuadricError, match=message):
        train(dataclasses.replace(recipe, **{part: changed}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sizes_are_refused_before_the_text_is_read(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(pretraining, "read_documents", read)
    monkeypatch.setattr(pretraining, "read_rows", read)
    bad = dataclasses.replace(recipe, architecture=dataclasses.replace(SIZES, hidden_size=15))
    with pytest.raises(QuadricError, match="hidden_size is 15"):
        train(bad, tmp_path / "out")


def test_a_stopped_run_says_so(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(3, monkeypatch, lambda: Interrupted("stopped"))
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "out")
    monkeypatch.undo()
    assert read_recipe(tmp_path / "out") == recipe
    (tmp_path / "out/training.json").write_text("{")
    with pytest.raises(QuadricError, match=r"training.json is not valid JSON"):
        read_recipe(tmp_path / "out")
