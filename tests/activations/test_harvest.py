from __future__ import annotations

import io
import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

import quadric
from quadric import QuadricError
from quadric.activations import harvest as module
from quadric.activations.cache import ActivationCache
from quadric.activations.corpora import documents
from quadric.activations.harvest import HarvestConfig, HarvestSummary, harvest, open_source
from quadric.activations.models import LanguageModel, load_model
from quadric.activations.text import contexts
from quadric.settings import fields
from tests.activations.tiny import save_tiny, tiny_tokenizer

CONTEXT = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a text of random words."""
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "llama")
    generator = random.Random(0)
    texts = [
        "".join(generator.choices("abcdefg ", k=generator.randrange(5, 60))) for _ in range(90)
    ]
    (folder / "text.txt").write_text("\n\n".join(text.strip() or "x" for text in texts))
    return folder


def configure(folder: Path, **changes: object) -> HarvestConfig:
    values = {
        "model": str(folder),
        "dataset": str(folder / "text.txt"),
        "hook": "blocks.1.hook_resid_pre",
        "tokens": 140 * CONTEXT + 5,
        "context_size": CONTEXT,
        "batch_contexts": 6,
        "dtype": "float32",
        "text_seed": 3,
        "device": "cpu",
    }
    return HarvestConfig(**(values | changes))  # type: ignore[arg-type]


def read(path: Path, hook: str | None = None) -> tuple[Tensor, Tensor]:
    """All activations and tokens of a cache."""
    cache = ActivationCache(path, hook)
    everything = torch.arange(len(cache))
    return cache.gather(everything), cache.token_ids(everything)


def expected_tokens(config: HarvestConfig) -> Tensor:
    texts = documents(config.dataset, seed=config.text_seed)
    return torch.stack(list(contexts(tiny_tokenizer(), texts, config.context_size)))


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_cache_holds_the_models_hidden_states(folder: Path, tmp_path: Path, dtype: str) -> None:
    config = configure(folder, dtype=dtype, hook="blocks.1.hook_resid_pre, model.layers.*.mlp")
    summary = harvest(config, tmp_path / "cache")
    tokens = expected_tokens(config)[: config.contexts]
    assert config.contexts == 140 and len(tokens) == 140
    model = load_model(str(folder), dtype=getattr(torch, dtype), device="cpu").model
    states = [
        model(batch, output_hidden_states=True, use_cache=False).hidden_states[1]
        for batch in tokens.split(config.batch_contexts)
    ]
    activations, token_ids = read(tmp_path / "cache", "blocks.1.hook_resid_pre")
    assert torch.equal(activations, torch.cat(states).flatten(0, 1).float())
    assert torch.equal(token_ids, tokens.flatten())

    hooks = {"blocks.1.hook_resid_pre": "model.layers.1.hook_in"} | {
        f"blocks.{i}.hook_mlp_out": f"model.layers.{i}.mlp.hook_out" for i in range(3)
    }
    assert summary == HarvestSummary(
        tmp_path / "cache", hooks, dtype, 1540, 1540, 0, summary.seconds
    )
    assert summary.tokens_per_second == pytest.approx(1540 / summary.seconds)
    assert not summary.ran_out
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert manifest["dtype"] == dtype and manifest["complete"]
    description = manifest["description"]
    assert description["hooks"] == hooks
    assert description["quadric_version"] == quadric.__version__
    assert description["dtype"] == dtype and description["dataset"] == config.dataset
    assert description["tokens"] == 140 * CONTEXT + 5 and "device" not in description


def test_an_interrupted_harvest_goes_on_bit_for_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CONTEXTS_PER_SHARD", 20)  # 18: three batches of 6
    config = configure(folder)
    harvest(config, tmp_path / "whole")
    activations = module.Source.activations
    batches = 0

    def interrupted(source: module.Source, input_ids: Tensor) -> dict[str, Tensor]:
        nonlocal batches
        batches += 1
        if batches == 9:  # after two shards and two batches
            raise KeyboardInterrupt
        return activations(source, input_ids)

    monkeypatch.setattr(module.Source, "activations", interrupted)
    with pytest.raises(KeyboardInterrupt):
        harvest(config, tmp_path / "cut")
    with pytest.raises(QuadricError, match="unfinished"):
        ActivationCache(tmp_path / "cut")
    summary = harvest(config, tmp_path / "cut")
    assert summary.tokens_resumed == 36 * CONTEXT and summary.tokens == 140 * CONTEXT
    assert batches == 9 + -(-(140 - 36) // 6)  # none of what was on disk was computed again
    assert files(tmp_path / "cut") == files(tmp_path / "whole")

    again = harvest(config, tmp_path / "cut")  # complete: nothing to do
    assert batches == 9 + 18 and again.tokens_resumed == again.tokens == 140 * CONTEXT
    assert again.seconds == again.tokens_per_second == 0
    assert "tokens/s" in str(summary) and "tokens/s" not in str(again)


def test_an_automatic_dtype_is_kept_when_going_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(folder, dtype="auto")
    for dtype in (torch.bfloat16, torch.float32):
        monkeypatch.setattr("quadric.kernels.fastest_product_dtype", lambda _, d=dtype: d)
        assert open_source(config).config.dtype == str(dtype).removeprefix("torch.")
    # It was begun in bfloat16 on a calm machine; a busy one would choose float32 now.
    harvest(configure(folder, dtype="bfloat16"), tmp_path / "begun")
    (tmp_path / "begun" / "manifest.json").unlink()
    for file in (tmp_path / "begun").iterdir():
        file.unlink()
    monkeypatch.setattr("quadric.kernels.fastest_product_dtype", lambda _: torch.bfloat16)
    harvest(config, tmp_path / "begun")
    monkeypatch.setattr("quadric.kernels.fastest_product_dtype", lambda _: torch.float32)
    assert harvest(config, tmp_path / "begun").dtype == "bfloat16"
    with pytest.raises(QuadricError, match="dtype is 'bfloat16' there and 'float32' here"):
        harvest(configure(folder), tmp_path / "begun")


def test_another_harvest_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    harvest(configure(folder), tmp_path / "cache")
    with pytest.raises(QuadricError, match=r"holds another harvest: .*seed is 3 there and 1 here"):
        harvest(configure(folder, text_seed=1), tmp_path / "cache")


def test_a_text_that_runs_out_is_used_and_reported(folder: Path, tmp_path: Path) -> None:
    config = configure(folder, tokens=10_000)
    summary = harvest(config, tmp_path / "cache")
    assert summary.tokens == expected_tokens(config).numel() < 10_000
    assert summary.ran_out and summary.tokens_requested == 909 * CONTEXT
    assert "the text ran out before the 9,999 tokens asked for" in str(summary)
    assert len(read(tmp_path / "cache")[1]) == summary.tokens


def test_source_batches_can_start_anywhere(folder: Path) -> None:
    source = open_source(configure(folder))
    tokens = torch.cat(list(source.batches()))
    assert len(tokens) == 140
    for skip in (1, 6, 139, 140):
        assert torch.equal(torch.cat([tokens[:0], *source.batches(skip)]), tokens[skip:])


def test_an_activation_that_is_not_finite_stops_the_harvest(folder: Path, tmp_path: Path) -> None:
    broken = save_tiny(tmp_path / "broken")
    language = load_model(str(broken), dtype=torch.float32, device="cpu")
    token = language.tokenizer("c")["input_ids"][0]
    language.model.get_input_embeddings().weight[token] = torch.inf
    language.model.save_pretrained(broken)
    # At the input of block 0 a bad embedding has not spread to other positions yet.
    config = configure(broken, dataset=str(folder / "text.txt"), hook="blocks.0.hook_resid_pre")
    context, position = torch.nonzero(expected_tokens(config) == token)[0].tolist()
    place = f"'blocks.0.hook_resid_pre', context {context}, position {position}"
    with pytest.raises(QuadricError, match=place):
        harvest(config, tmp_path / "cache")


def test_progress_is_drawn_only_on_a_console(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    harvest(configure(folder), tmp_path / "silent")
    assert capfd.readouterr() == ("", "")
    screen = io.StringIO()
    harvest(
        configure(folder), tmp_path / "drawn", console=Console(file=screen, force_terminal=True)
    )
    assert re.search(r"100%.* [\d,]+ tokens/s", screen.getvalue())
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_harvested_is_said_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    gpt2 = save_tiny(tmp_path / "gpt2", "gpt2")
    for config, message in [
        (configure(folder, hook="blocks.7.hook_resid_pre"), r"model has 3 blocks \(0–2\)"),
        (configure(folder, hook=" , "), "no hook was given"),
        (configure(folder, dataset=str(folder / "no.txt")), "there is no such file"),
        (
            configure(gpt2, dataset=str(folder / "text.txt"), context_size=33),
            "cannot read a context of 33 tokens: it has 32 positions",
        ),
    ]:
        with pytest.raises(QuadricError, match=message):
            harvest(config, tmp_path / "cache")
        assert not list((tmp_path).glob("cache/shard*"))


def test_impossible_sizes() -> None:
    for changes, message in [
        ({"context_size": 0}, "context_size is 0, expected at least 1"),
        ({"batch_contexts": 0}, "batch_contexts is 0, expected at least 1"),
        ({"tokens": 127}, "tokens is 127, expected at least one context of 128"),
    ]:
        with pytest.raises(QuadricError, match=message):
            HarvestConfig(**changes)


def test_every_setting_is_documented() -> None:
    assert all(len(field.doc) > 15 for field in fields(HarvestConfig))
    dtype = next(field for field in fields(HarvestConfig) if field.name == "dtype")
    assert dtype.choices == ("auto", "float32", "bfloat16")


@pytest.mark.e2e
def test_the_default_model_at_block_12(tmp_path: Path, smollm2: LanguageModel) -> None:
    config = HarvestConfig(tokens=16 * 128, dtype="bfloat16", device="cpu")
    summary = harvest(config, tmp_path / "cache")
    assert summary.hooks == {"blocks.12.hook_resid_pre": "model.layers.12.hook_in"}
    language = smollm2
    rows = contexts(language.tokenizer, documents(config.dataset, seed=0), 128)
    tokens = torch.stack(list(islice(rows, 16)))
    states = [
        language.model(batch, output_hidden_states=True, use_cache=False).hidden_states[12]
        for batch in tokens.split(8)
    ]
    activations, token_ids = read(tmp_path / "cache")
    assert torch.equal(token_ids, tokens.flatten())
    assert torch.equal(activations, torch.cat(states).flatten(0, 1).float())
    # What the loaders drop: the first position is an attention sink, far above every other norm.
    norms = activations.norm(dim=1).view(16, 128)
    assert norms[:, 0].min() > 50 * norms[:, 1:].median()
    assert norms[:, 1:].max() < 10 * norms[:, 1:].median()
    # English text, read sensibly: the perplexity is far from that of shuffled tokens.
    with torch.no_grad():
        loss = language.model(tokens[:4], labels=tokens[:4]).loss
    assert loss < 4.5
