"""Spliced losses by type of position, on a tiny language model, against a loop over positions."""

from __future__ import annotations

import json

import pytest
import torch

from quadric.activations.capture import splice
from quadric.activations.hooks import resolve
from quadric.activations.models import LanguageModel
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.evaluation import SplicedLoss
from quadric.evaluation.positions import TYPES, token_types, type_of
from tests.activations.tiny import tiny_model, tiny_tokenizer

TEXTS = ("It's 12:30, Al\n", "a1 b  C'd'. e7 9")
#        one letter per byte: s start, c continuation, n number, p punctuation, w whitespace
KINDS = ("scpcwnnpnnpwscw", "snwswwspcppwsnw")


def language_model() -> LanguageModel:
    return LanguageModel(tiny_model("llama").float(), tiny_tokenizer(), "tiny")


def contexts() -> torch.Tensor:
    tokenizer = tiny_tokenizer()
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    return torch.tensor([each[:15] for each in ids])


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        (" Monday", "on", "word_start"),
        ("Monday", "\n", "word_start"),
        ("Monday", "", "word_start"),
        ("Monday", ' "', "word_start"),
        ("day", "on", "word_continuation"),
        ("'t", "on", "word_continuation"),
        ("t", "n’", "word_continuation"),
        ("Hello", " '", "word_start"),
        ("th", "19", "word_continuation"),
        (" 1998", "in", "number"),
        ("8", "on", "number"),
        ("½", " ", "punctuation"),
        (" .", "on", "punctuation"),
        ("--", "on", "punctuation"),
        (" \n", "on", "whitespace"),
        ("", "on", "whitespace"),
        ("東", "京", "word_continuation"),
    ],
)
def test_type_of_a_token(text: str, before: str, expected: str) -> None:
    assert type_of(text, before) == expected


def test_types_in_their_contexts() -> None:
    tokenizer = tiny_tokenizer()
    ids = contexts()
    ids[1, 8] = tokenizer.eos_token_id  # a document ends: whatever follows starts anew
    ids[1, 9] = tokenizer("z")["input_ids"][0]
    initials = {"s": 0, "c": 1, "n": 2, "p": 3, "w": 4}
    expected = [[initials[kind] for kind in kinds] for kinds in KINDS]
    expected[1][8:10] = [4, 0]
    assert token_types(tokenizer, ids).tolist() == expected


def test_a_sentencepiece_tokeniser_keeps_its_leading_spaces() -> None:
    class Spelt:
        all_special_ids = (9,)

        def decode(self, ids: list[int]) -> str:
            return {0: "on", 1: "day", 2: "day", 9: "</s>"}[ids[0]]

        def convert_ids_to_tokens(self, token: int) -> str:
            return {0: "▁on", 1: "▁day", 2: "day", 9: "</s>"}[token]

    types = token_types(Spelt(), torch.tensor([[0, 2, 1, 9, 2, 2]]))  # type: ignore[arg-type]
    assert [TYPES[number] for number in types[0]] == [
        "word_start", "word_continuation", "word_start", "whitespace", "word_start",
        "word_continuation",
    ]  # fmt: skip


@pytest.mark.parametrize("keep_first", [1, 3])
@pytest.mark.parametrize(
    "parts",
    [
        {"variant": "vanilla"},
        {"variant": "vanilla", "affine": True},
        {"variant": "mixed", "bottleneck": 0.5},
        {"variant": "composite", "block": 2},
    ],
)
def test_losses_by_type_of_position(parts: dict[str, object], keep_first: int) -> None:
    language, ids = language_model(), contexts()
    (hook,) = resolve(language.model, ["blocks.1.hook_resid_pre"])
    sae = BilinearAutoencoder(AutoencoderConfig(d_in=12, d_sae=20, **parts))  # type: ignore[arg-type]
    mean = torch.linspace(-1, 1, 12)
    found = SplicedLoss(language, hook, ids, mean, keep_first=keep_first).score(sae)

    def losses(replacement: object) -> dict[tuple[int, int], float]:
        def replace(x: torch.Tensor) -> torch.Tensor:
            new = x.clone()
            for context in range(len(x)):
                for position in range(keep_first, x.shape[1]):
                    new[context, position] = replacement(x[context, position])  # type: ignore[operator]
            return new

        with torch.no_grad(), splice(language.model, hook, replace):
            chances = language.model(ids).logits.double().log_softmax(-1)
        return {
            (context, position): -chances[context, position, ids[context, position + 1]].item()
            for context in range(2)
            for position in range(14)
        }

    runs = [losses(lambda x: x), losses(sae), losses(lambda _: mean)]
    names = ("clean", "with_sae", "ablated")
    initial = {name: name.split("_")[-1][0] for name in TYPES} | {"whitespace": "w"}
    for name in TYPES:
        places = [
            place
            for place in runs[0]
            if place[1] >= keep_first and KINDS[place[0]][place[1]] == initial[name]
        ]
        means = [sum(run[place] for place in places) / len(places) for run in runs]
        each = found.ce_by_position_type[name]
        assert each["count"] == len(places) > 0
        assert [each[key] for key in names] == pytest.approx(means, rel=1e-4)  # type: ignore[literal-required]
        clean, spliced, ablated = means
        expected = (ablated - spliced) / (ablated - clean)
        assert each["score"] == pytest.approx(expected, rel=1e-2, abs=1e-3)
    overall = [sum(run.values()) / len(run) for run in runs]
    assert found[1:4] == pytest.approx(overall, rel=1e-4)
    json.dumps(found._asdict(), allow_nan=False)


def test_what_cannot_be_scored_is_none() -> None:
    language = language_model()
    (hook,) = resolve(language.model, ["blocks.1.hook_resid_pre"])
    ids = contexts()[:1, :3]  # "It'": no number and no space
    losses = SplicedLoss(language, hook, ids, torch.zeros(12), keep_first=3)
    found = losses.score(BilinearAutoencoder(AutoencoderConfig(d_in=12, d_sae=4)))
    assert found.ce_loss_score is None and found.ce_loss_with_sae == found.ce_loss_without_sae
    empty = {"count": 0, "clean": None, "with_sae": None, "ablated": None, "score": None}
    assert found.ce_by_position_type == dict.fromkeys(TYPES, empty)
