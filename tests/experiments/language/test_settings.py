"""Settings of the experiments on language models, and what the command line refuses of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.experiments.language.registry import NAMES, every, find
from quadric.experiments.language.settings import FULL, QUICK, LanguageSettings
from quadric.language.config import Recipe
from tests.e2e.conftest import Answer
from tests.e2e.test_cli import refused


def test_the_full_settings_are_the_published_model() -> None:
    """Arxiv 2410.08417, tables 1 and 2 of appendix F: 29.36 million parameters untied."""
    sizes = FULL.recipe().architecture
    d, n, blocks, tokens = (
        sizes.hidden_size, sizes.intermediate_size, sizes.num_hidden_layers, sizes.vocab_size
    )  # fmt: skip
    assert blocks * (4 * d * d + 3 * n * d) + 2 * tokens * d == 29_360_128
    fit = FULL.recipe().fit
    assert (fit.lr, fit.lr_warmup, fit.schedule, fit.weight_decay) == (1e-3, 50, "linear", 0.1)
    assert fit.batch_contexts == 512 and FULL.recipe().text.context_size == 256
    assert 0.95 < fit.steps * fit.batch_contexts * 256 / 10e9 < 1.05  # five times 2·10⁹
    dictionaries = FULL.dictionaries()
    assert (dictionaries.expansion, dictionaries.k, dictionaries.layer) == (4, 30, 4)


def test_a_recipe_takes_the_settings_but_for_what_is_given() -> None:
    settings = dataclasses.replace(QUICK, seed=5, steps=41)
    recipe = settings.recipe()
    assert recipe == Recipe.from_dict(recipe.as_dict(), "here")
    assert recipe.architecture.gate == "identity" and recipe.fit.seed == 5
    assert recipe.fit.steps == 41 and recipe.fit.eval_every == 2
    other = settings.recipe(gate="silu", seed=7, steps=33, lr=0.5)
    assert other.architecture == dataclasses.replace(recipe.architecture, gate="silu")
    assert other.fit == dataclasses.replace(recipe.fit, seed=7, steps=33, lr=0.5)
    assert other.text == recipe.text and other.digest() != recipe.digest()
    assert settings.recipe(seed=5, gate="identity", steps=41).digest() == recipe.digest()
    assert settings.recipe(seed=0).fit.seed == 0  # not the setting's
    for field in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"):
        assert getattr(recipe.architecture, field) == getattr(QUICK, field)
    assert dataclasses.replace(QUICK, steps=3).recipe().fit.eval_every == 1


def test_dictionaries_are_those_of_a_layer() -> None:
    settings = dataclasses.replace(QUICK, seed=5)
    found = settings.dictionaries()
    assert (found.layer, found.k, found.steps, found.seed) == (1, 8, 300, 5)
    assert settings.dictionaries(0) == dataclasses.replace(found, layer=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": 2}, r"layer is 2: the model has 2 blocks \(0–1\)"),
        ({"layer": -1}, r"layer is -1: the model has 2 blocks"),
        ({"num_hidden_layers": 1}, "layer is 1: the model has 1 blocks"),
    ],
)
def test_the_layer_is_checked_where_it_is_used(wrong: dict[str, Any], message: str) -> None:
    settings = dataclasses.replace(QUICK, **wrong)
    settings.check(find("gates").settings)
    with pytest.raises(QuadricError, match=message):
        settings.check(find("rank").settings)


def test_seeds_are_checked() -> None:
    with pytest.raises(QuadricError, match="seeds is 0, expected 1 or more"):
        dataclasses.replace(QUICK, seeds=0)


def test_an_experiment_uses_known_settings_and_says_which() -> None:
    known = {field.name for field in dataclasses.fields(LanguageSettings)}
    for experiment in every():
        used = experiment.settings
        assert set(used) <= known and len(set(used)) == len(used) and "seed" in used
    assert known == {name for experiment in every() for name in experiment.settings}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0, expected a positive integer"),
        ({"batch_contexts": 0}, "batch_contexts is 0"),
        ({"context_size": 1}, "context_size is 1, expected 2 or more"),
        ({"lr": 0.0}, "lr is 0.0, expected a positive number"),
    ],
)
def test_recipes_check_what_settings_leave_to_them(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        dataclasses.replace(QUICK, **wrong).recipe()


def test_experiments_are_found_by_name() -> None:
    assert [experiment.name for experiment in every()] == list(NAMES)
    for experiment in every():
        assert experiment.title and experiment.statement
        published = experiment.name != "composition"
        assert ("2410.08417" in experiment.source) == published
    with pytest.raises(QuadricError, match=r"no experiment on language models 'gate'.*'gates'"):
        find("gate")
    with pytest.raises(QuadricError, match="there are gates, annealing, losses"):
        find("zzz")


def test_the_command_line_refuses_in_one_line(
    quadric: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    out = ("--out", tmp_path / "out")
    for arguments, words in {
        ("lm-nonsense",): ("no experiment on language models 'nonsense'", "gates, annealing"),
        ("lm-gate",): ("'gates'",),
        ("lm-gates", "--sizes", "5,4"): ("--sizes does not apply to lm-gates",),
        ("lm-gates", "--epochs", 3): ("--epochs does not apply to lm-gates",),
        ("lm", "--noise", 0.1): ("--noise does not apply to lm",),
        ("lm-gates", "--activations", tmp_path): ("--activations does not apply to lm-gates",),
        ("lm-gates", "--hook", "h"): ("--hook does not apply to lm-gates",),
        ("lm-gates", "--run", tmp_path): ("--run applies to manifolds, not to lm-gates",),
        ("vision-gates", "--vocab-size", 9): ("--vocab-size does not apply to vision-gates",),
        ("lm-gates", "--seeds", 0): ("seeds is 0, expected 1 or more",),
        ("lm-rank", "--layer", 6): ("layer is 6: the model has 6 blocks",),
        ("lm", "--layer", 6): ("layer is 6: the model has 6 blocks",),
        ("lm-gates", "--layer", 1): ("--layer does not apply to lm-gates",),
        ("lm-annealing", "--steps", 9): ("--steps does not apply to lm-annealing",),
        ("lm-gates", "--quick", "--dataset", "./none.txt"): ("none.txt", "no such file"),
        ("lm-gates", "--quick", "--vocab-size", 9): ("vocab_size is 9, expected at least 257",),
    }.items():
        refused(quadric("experiment", *arguments, *out), *words)
    assert not (tmp_path / "out/experiment.json").exists()


def test_experiments_on_language_models_are_listed(quadric: Callable[..., Answer]) -> None:
    listed = json.loads(quadric("experiment", "--list", "--json").out)
    names = [one["name"] for one in listed]
    assert [name for name in names if name.startswith("lm-")] == [f"lm-{name}" for name in NAMES]


def test_settings_are_json() -> None:
    values = json.loads(json.dumps(dataclasses.asdict(QUICK)))
    assert LanguageSettings(**values) == QUICK
