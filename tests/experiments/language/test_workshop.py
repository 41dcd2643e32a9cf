"""The workshop trains nothing twice, and what was stopped or killed goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.experiments.language.workshop import Workshop
from quadric.language import bilinearize, pretraining
from quadric.language.config import (
    ArchitectureConfig,
    BilinearizeRequest,
    DictionaryConfig,
    FineTuneConfig,
    FitConfig,
    Recipe,
    TextConfig,
)
from quadric.storage import read_json, read_tensors
from quadric.training.checkpoint import newest
from tests.activations.tiny import save_tiny
from tests.language.words import write

STEPS = 40
FIT = FitConfig(
    steps=STEPS, batch_contexts=4, lr=0.01, lr_warmup=3, eval_every=7, dtype="float32",
    device="cpu", checkpoint_minutes=1e-9,
)  # fmt: skip

CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from quadric.experiments.language.workshop import Workshop
from quadric.language import loop
from quadric.language.config import Recipe
from quadric.storage import read_json
from quadric.training import checkpoint

folder, recipe, in_step, in_checkpoint = sys.argv[1:]
torch.set_num_threads(1)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

save, write_json, batch_of = checkpoint.save, checkpoint.write_json, loop.batch_of

def save_every_fifth(run, progress, *rest):
    if progress.step % 5 == 0:
        save(run, progress, *rest)

def write_state(path, state):  # the last file of a checkpoint before it gets its name
    if state["step"] == int(in_checkpoint):
        die()
    write_json(path, state)

def take(rows, config, done):
    if done == int(in_step):
        die()
    return batch_of(rows, config, done)

checkpoint.save, checkpoint.write_json, loop.batch_of = save_every_fifth, write_state, take
Workshop(Path(folder)).model(Recipe.from_dict(read_json(Path(recipe)), recipe))
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextConfig:
    folder = tmp_path_factory.mktemp("text")
    return TextConfig(str(write(folder / "a.txt")), context_size=13, held_out=6)


def recipe_of(text: TextConfig, **changes: Any) -> Recipe:
    sizes = ArchitectureConfig(
        vocab_size=290, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    return Recipe(sizes, text, dataclasses.replace(FIT, **changes))


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def without_clock(folder: Path) -> list[dict[str, Any]]:
    """Every line of a log but for its seconds."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_model_is_trained_once(text: TextConfig, tmp_path: Path) -> None:
    workshop, recipe = Workshop(tmp_path / "new/workshop"), recipe_of(text, steps=5)
    folder = workshop.model(recipe)
    assert folder == tmp_path / f"new/workshop/model-{recipe.digest()}"
    assert read_json(folder / "metrics.json")["step"] == 5
    before = times(folder)
    # An equal recipe, made again, and another workshop on the same folder.
    again = Recipe.from_dict(recipe.as_dict(), "here")
    assert Workshop(workshop.folder).model(again) == folder
    others = [recipe_of(text, steps=5, seed=1), recipe_of(text, steps=4)]
    assert len({folder, *map(workshop.model, others)}) == 3 == len(list(workshop.folder.iterdir()))
    assert times(folder) == before


def test_models_are_in_the_cache_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    assert Workshop().folder == tmp_path / "language"


def test_a_killed_model_goes_on_to_the_same_bits(text: TextConfig, tmp_path: Path) -> None:
    """kill -9 twice: within a step whose checkpoint is two steps old, and within a checkpoint."""
    recipe = recipe_of(text)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.as_dict()))
    killed = Workshop(tmp_path / "killed")
    folder = killed.folder / f"model-{recipe.digest()}"
    for in_step, in_checkpoint, kept in ((18, -1, 15), (-1, 30, 25)):
        arguments = [killed.folder, tmp_path / "recipe.json", in_step, in_checkpoint]
        child = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        found = newest(folder)
        assert found is not None and found.name == f"step-{kept:08d}"
        assert not (folder / "metrics.json").exists()
    assert list(folder.glob("checkpoint/.*"))  # the half-written one
    assert killed.model(recipe) == folder
    whole = Workshop(tmp_path / "whole").model(recipe)
    expected = read_tensors(whole / "model.safetensors")
    weights = read_tensors(folder / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(bool((weights[name] == expected[name]).all()) for name in expected)
    assert without_clock(folder) == without_clock(whole)
    assert [line["step"] for line in without_clock(folder)] == list(range(STEPS + 1))
    metrics = [read_json(one / "metrics.json") for one in (folder, whole)]
    for one in metrics:
        for point in (one, *one["points"]):
            del point["seconds"]
    assert metrics[0] == metrics[1]
    assert not (folder / "checkpoint").exists()


def test_a_model_stopped_before_its_first_checkpoint_begins_again(
    text: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, recipe = Workshop(tmp_path), recipe_of(text, steps=3)
    with monkeypatch.context() as stopped:
        stopped.setattr(pretraining, "fit", _stop)
        with pytest.raises(KeyboardInterrupt):
            workshop.model(recipe)
    folder = tmp_path / f"model-{recipe.digest()}"
    assert (folder / "training.json").is_file() and not (folder / "metrics.json").exists()
    tokenizer = (folder / "tokenizer.json").stat().st_mtime_ns
    assert workshop.model(recipe) == folder and (folder / "metrics.json").is_file()
    assert (folder / "tokenizer.json").stat().st_mtime_ns == tokenizer


def test_dictionaries_are_trained_once_for_each_configuration(
    text: TextConfig, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path)
    model = workshop.model(recipe_of(text, steps=3))
    config = DictionaryConfig(layer=1, expansion=2, k=3, steps=4, batch_size=64)
    folder = workshop.dictionaries(model, text, config)
    assert folder == model / f"dictionaries-{config.digest(text)}"
    assert {path.name for path in folder.iterdir()} >= {"in", "out", "dictionaries.json"}
    before = times(model)
    assert workshop.dictionaries(model, text, dataclasses.replace(config)) == folder
    assert times(model) == before
    other = workshop.dictionaries(model, text, dataclasses.replace(config, layer=0))
    assert other != folder and times(folder).items() <= before.items()
    with pytest.raises(QuadricError, match=r"model has 2 blocks"):
        workshop.dictionaries(model, text, dataclasses.replace(config, layer=2))


def test_a_model_and_its_control_are_trained_once_each(
    text: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = FineTuneConfig(steps=4, batch_contexts=2, eval_every=2, dtype="float32", device="cpu")
    request = BilinearizeRequest(str(save_tiny(tmp_path / "llama")), text, fit)
    workshop, trained, real = Workshop(tmp_path / "workshop"), [], bilinearize.fit

    def counted(*arguments: Any, **options: Any) -> Any:
        trained.append(arguments[3].name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(bilinearize, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        workshop.bilinear(request)
    folder = workshop.bilinear(request)
    assert trained == ["annealed", "control", "control"]
    assert folder == workshop.folder / f"bilinear-{request.digest()}"
    before = times(folder)
    assert workshop.bilinear(dataclasses.replace(request)) == folder and times(folder) == before
    assert len(trained) == 3


def _stop(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt
