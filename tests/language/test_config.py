"""Configurations of language models: ranges, JSON form and digests."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadric import QuadricError
from quadric.language.config import (
    AnnealConfig,
    ArchitectureConfig,
    BilinearizeRequest,
    DictionaryConfig,
    FineTuneConfig,
    FitConfig,
    Recipe,
    TextConfig,
)
from quadric.settings import fields

CONFIGS = (
    ArchitectureConfig, TextConfig, FitConfig, FineTuneConfig, AnnealConfig, DictionaryConfig
)  # fmt: skip


def test_reading_them_loads_no_torch() -> None:
    code = "import sys, quadric.language.config; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_says_what_it_is(config: Any) -> None:
    assert all(field.doc.endswith(".") for field in fields(config))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextConfig(context_size=1), r"^context_size is 1, expected 2 or more: there is n"),
        (lambda: TextConfig(context_size=0), r"^context_size is 0, expected a positive integer$"),
        (lambda: TextConfig(tokens=0), r"^tokens is 0"),
        (lambda: TextConfig(held_out=0), r"^held_out is 0"),
        (lambda: FitConfig(steps=0), r"^steps is 0"),
        (lambda: FitConfig(batch_contexts=-1), r"^batch_contexts is -1"),
        (lambda: FitConfig(eval_every=0), r"^eval_every is 0"),
        (lambda: FitConfig(lr=0.0), r"^lr is 0.0, expected a positive number$"),
        (lambda: FitConfig(lr=float("nan")), r"^lr is nan"),
        (lambda: FitConfig(max_grad_norm=0), r"^max_grad_norm is 0"),
        (lambda: FitConfig(checkpoint_minutes=-1), r"^checkpoint_minutes is -1"),
        (lambda: FitConfig(lr_warmup=-1), r"^lr_warmup is -1, expected 0 or more$"),
        (lambda: FitConfig(weight_decay=float("nan")), r"^weight_decay is nan"),
        (lambda: FitConfig(micro_batch=17), r"^micro_batch is 17, expected 1 to 16, the contexts"),
        (lambda: FitConfig(micro_batch=0), r"^micro_batch is 0"),
        (lambda: FineTuneConfig(loggers="wandb,trackia"), r"unknown logger 'trackia'"),
        (lambda: AnnealConfig(part=1.1), r"^part is 1.1, expected 0 to 1$"),
        (lambda: AnnealConfig(part=float("nan")), r"^part is nan"),
        (lambda: DictionaryConfig(layer=-1), r"layer and drop_first are counted from 0"),
        (lambda: DictionaryConfig(k=0), r"^k is 0"),
        (lambda: DictionaryConfig(lr=0), r"^lr is 0"),
    ],
)
def test_values_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        make()


def test_values_at_the_edge_of_their_range() -> None:
    FitConfig(steps=1, batch_contexts=1, micro_batch=1, eval_every=1, lr_warmup=0, weight_decay=0)
    FitConfig(micro_batch=16)
    TextConfig(context_size=2, tokens=1, held_out=1)
    AnnealConfig(part=0)
    AnnealConfig(part=1)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=5))
def test_layers_are_numbers_and_ranges(ranges: list[tuple[int, int]]) -> None:
    text = ", ".join(
        f"{first}" if more == 0 else f"{first} - {first + more}" for first, more in ranges
    )
    expected = {layer for first, more in ranges for layer in range(first, first + more + 1)}
    assert AnnealConfig(layers=text).chosen == sorted(expected)


def test_no_layers_are_all() -> None:
    assert AnnealConfig().chosen is None
    assert AnnealConfig(layers="0").chosen == [0]


@pytest.mark.parametrize(
    "layers", ["a", "1-", "-1", "1--2", "1-2-3", "5-2", ",", " ", "1,,2", "1,", "1.5", "²", "1;2"]
)
def test_layers_that_cannot_be_read(layers: str) -> None:
    with pytest.raises(QuadricError, match=r"^layers is .*, expected numbers such as 0,2,10-20$"):
        AnnealConfig(layers=layers)


RECIPE = Recipe(
    ArchitectureConfig("relu", 300, 16, 24, 2, 4, 2),
    TextConfig("a.txt", 32, 5000, 4, 1, "test", "body"),
    FitConfig(7, 4, 2, 0.1, 3, "cosine", 0.2, 2.0, "float32", 5, 1.5, "cpu", "tensorboard", 9),
    "some/model",
)
REQUEST = BilinearizeRequest(
    "some/model", RECIPE.text, FineTuneConfig(steps=3), AnnealConfig("1", "cosine", 0.5, False)
)


@pytest.mark.parametrize("whole", [RECIPE, REQUEST, Recipe(), BilinearizeRequest("x")])
def test_json_gives_the_same_back(whole: Any) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(whole)))
    assert type(whole).from_dict(values, "here") == whole
    assert type(whole).from_dict(values, "here").digest() == whole.digest()


@pytest.mark.parametrize("whole", [RECIPE, REQUEST])
def test_every_field_counts_in_the_digest(whole: Any) -> None:
    digests = {whole.digest()}
    count = 1

    def other(value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        return value + 1 if isinstance(value, int | float) else f"{value}x"

    for part in dataclasses.fields(whole):
        inner = getattr(whole, part.name)
        if not dataclasses.is_dataclass(inner):
            digests.add(dataclasses.replace(whole, **{part.name: other(inner)}).digest())
            count += 1
            continue
        for field in dataclasses.fields(inner):
            changed = dataclasses.asdict(inner) | {field.name: other(getattr(inner, field.name))}
            loose = object.__new__(type(inner))  # choices are not checked here
            for name, value in changed.items():
                object.__setattr__(loose, name, value)
            digests.add(dataclasses.replace(whole, **{part.name: loose}).digest())
            count += 1
    assert len(digests) == count > 10


def test_dictionaries_of_other_text_are_others() -> None:
    config = DictionaryConfig()
    assert config.digest(TextConfig()) == DictionaryConfig().digest(TextConfig())
    assert config.digest(TextConfig()) != config.digest(TextConfig(held_out=3))
    assert config.digest(TextConfig()) != DictionaryConfig(k=3).digest(TextConfig())


def test_unknown_keys_name_the_nearest_and_where() -> None:
    values = RECIPE.as_dict()
    values["fit"]["step"] = 3
    with pytest.raises(QuadricError, match=r"^x.json, fit: unknown key 'step'; .*'steps'\?$"):
        Recipe.from_dict(values, "x.json")
    with pytest.raises(QuadricError, match=r"^x.json: unknown key 'architectur'"):
        Recipe.from_dict({"architectur": {}}, "x.json")
    with pytest.raises(QuadricError, match=r"x.json, architecture: gate is 'rely', .*'relu'"):
        Recipe.from_dict({"architecture": {"gate": "rely"}}, "x.json")
    with pytest.raises(QuadricError, match=r"x.json: missing key 'model'"):
        BilinearizeRequest.from_dict({}, "x.json")
    with pytest.raises(QuadricError, match=r"x.json, anneal: part is '1', expected a float"):
        BilinearizeRequest.from_dict({"model": "m", "anneal": {"part": "1"}}, "x.json")


def test_fine_tuning_is_gentler() -> None:
    gentle, new = FineTuneConfig(), FitConfig()
    differing = {
        field.name
        for field in dataclasses.fields(FitConfig)
        if getattr(gentle, field.name) != getattr(new, field.name)
    }
    assert differing == {"lr", "weight_decay"} and gentle.lr < new.lr
    with pytest.raises(QuadricError, match="steps is 0"):
        FineTuneConfig(steps=0)
