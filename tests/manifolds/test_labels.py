"""Token statistics against a loop over rows, and labels of forms whose tokens are known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from quadric.activations.cache import ActivationCache
from quadric.activations.writing import CacheWriter
from quadric.errors import QuadricError
from quadric.manifolds import Label, TokenShare, TokenStatistics
from quadric.manifolds import labels as labels_module
from quadric.manifolds.labels import PLACES

CONTEXT = 10
WORDS = (
    " the", " of", " in", " Monday", "Monday", " friday", " once", "\n", " ", "\x1b", " York",
    " may", " May", " a", " b", " c",
)  # fmt: skip
NUMBER = {word: number for number, word in enumerate(WORDS)}


class Tokenizer:
    """Whole words, one token each."""

    def decode(self, ids: list[int]) -> str:
        return "".join(WORDS[token] for token in ids)


def make_cache(folder: Path, ids: torch.Tensor) -> ActivationCache:
    writer = CacheWriter(
        folder, widths={"h": 1}, dtype=torch.float32, context_size=CONTEXT, description={}
    )
    writer.append({"h": torch.zeros(*ids.shape, 1)}, ids)
    writer.finish()
    return ActivationCache(folder)


@pytest.fixture
def cache(tmp_path: Path) -> ActivationCache:
    """60 contexts of random words, some frequent and some rare."""
    generator = torch.Generator().manual_seed(0)
    chances = torch.tensor([40, 30, 20, 12, 9, 6, 0, 8, 4, 2, 6, 6, 6, 9, 9, 9.0])
    ids = chances.multinomial(60 * CONTEXT, replacement=True, generator=generator)
    ids = ids.reshape(60, CONTEXT)
    ids[7, 4] = ids[30, 2] = NUMBER[" once"]
    return make_cache(tmp_path / "cache", ids)


def ids_of(cache: ActivationCache) -> list[int]:
    return cache.token_ids(torch.arange(len(cache))).tolist()


def labels(cache: ActivationCache, values: torch.Tensor, **options: int) -> list[Label]:
    """All labels, from pieces of uneven length."""
    statistics = TokenStatistics(cache, values.shape[1], **options)
    end = options.get("limit", len(cache))
    rows = torch.arange(end)
    rows = rows[rows % CONTEXT >= options.get("drop_first", 1)]
    for piece in rows.split([1, 5, len(rows) - 6]):
        statistics.add(piece, values[piece])
    return statistics.labels(Tokenizer())  # type: ignore[arg-type]


@pytest.mark.parametrize(("drop_first", "limit"), [(1, 600), (0, 600), (3, 254)])
def test_every_share_and_lift_is_that_of_a_loop(
    cache: ActivationCache, drop_first: int, limit: int
) -> None:
    ids = ids_of(cache)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(600, 3, generator=generator)
    # Let each form prefer some words, on them, after them or before them.
    for row, token in enumerate(ids):
        values[row, 0] *= 9 if token in (3, 4, 5) else 1
        values[row, 1] *= 9 if row % CONTEXT and ids[row - 1] == 2 else 1
        values[row, 2] *= 9 if (row + 1) % CONTEXT and ids[row + 1] == 10 else 1
    found = labels(cache, values, drop_first=drop_first, limit=limit)
    assert [label.place for label in found] == ["token", "before", "after"]
    rows = [row for row in range(limit) if row % CONTEXT >= drop_first]
    often = {token: sum(ids[row] == token for row in rows) for token in range(len(WORDS))}
    for form, label in enumerate(found):
        total = sum(values[row, form].item() ** 2 for row in rows)
        mean = total / len(rows)
        offset = PLACES[label.place]
        words: dict[str, list[float]] = {}
        for token, name in enumerate(WORDS):
            beside = [
                row
                for row in rows
                if 0 <= row % CONTEXT + offset < CONTEXT and ids[row + offset] == token
            ]
            energy = sum(values[row, form].item() ** 2 for row in beside)
            if often[token] >= 5 and (energy + 5 * mean) / ((len(beside) + 5) * mean) >= 3:
                word = words.setdefault(name.strip().casefold(), [0, 0.0])
                word[0] += len(beside)
                word[1] += energy
        assert {word.token.casefold() for word in label.tokens} == set(words) != set()
        for word in label.tokens:
            count, energy = words[word.token.casefold()]
            assert word.count == count
            assert word.energy_share == pytest.approx(energy / total, rel=1e-4)
            assert word.lift == pytest.approx((energy + 5 * mean) / ((count + 5) * mean), rel=1e-4)
        worth = [word.energy_share * math.log(word.lift) for word in label.tokens]
        assert worth == sorted(worth, reverse=True)


def test_labels_name_the_words_that_carry_the_energy(cache: ActivationCache) -> None:
    ids = ids_of(cache)
    columns = []
    for wanted in (
        {" Monday": 3.0, "Monday": 3.5, " friday": 2.5},
        {" once": 10.0, " York": 4.0},  # a token seen twice is no label, however strong
        {"\n": 2.0, " ": 1.0},
        {" May": 5.0, " may": 0.01},
    ):
        columns.append(torch.tensor([wanted.get(WORDS[token], 0.01) for token in ids]))
    after_in = [5.0 if row % CONTEXT and ids[row - 1] == 2 else 0.01 for row in range(600)]
    before_york = [
        5.0 if (row + 1) % CONTEXT and ids[row + 1] == NUMBER[" York"] else 0.01
        for row in range(600)
    ]
    columns += [torch.tensor(after_in), torch.tensor(before_york), torch.zeros(600)]
    columns.append(torch.ones(600))
    found = labels(cache, torch.stack(columns, dim=1))
    assert [label.label for label in found] == [
        "Monday, friday", "York", "⏎, ␣", "May", "after: in", "before: York", "", "",
    ]  # fmt: skip
    monday = found[0].tokens[0]
    assert monday.count == sum(
        WORDS[token].strip() == "Monday" for row, token in enumerate(ids) if row % CONTEXT
    )
    assert found[3].tokens[0].count == sum(
        token == NUMBER[" May"] for row, token in enumerate(ids) if row % CONTEXT
    )  # a variant of another meaning is not counted in
    assert found[6] == found[7] == Label("", "token", [])


def test_a_word_counts_by_what_it_carries(
    cache: ActivationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word "the" has the smaller lift and much more of the energy."""
    wanted = {" the": 2.0, "Monday": 2.4}
    values = torch.tensor([[wanted.get(WORDS[token], 0.01)] for token in ids_of(cache)])
    (label,) = labels(cache, values)
    assert label.label == "the, Monday" and label.tokens[0].lift < label.tokens[1].lift
    monkeypatch.setattr(labels_module, "TYPES_CONSIDERED", 1)
    (label,) = labels(cache, values)
    assert label.label == "the"


def test_the_place_is_where_most_is_said() -> None:
    def word(share: float) -> list[TokenShare]:
        return [TokenShare("x", 10, 9.0, share)]

    on, beside = {"token": word(0.3)}, {"before": word(0.4), "after": word(0.1)}
    assert labels_module._choose(on | beside).label == "x"
    assert labels_module._choose(on | beside | {"before": word(0.5)}).label == "after: x"
    assert labels_module._choose({"token": [], "before": [], "after": word(0.1)}).label == (
        "before: x"
    )
    faint = labels_module._choose({"token": word(0.01), "before": [], "after": []})
    assert faint == Label("", "token", [])


def test_memory_is_bounded(cache: ActivationCache) -> None:
    ids = ids_of(cache)
    statistics = TokenStatistics(cache, 2, memory=3 * 4 * 2 * 3)
    assert len(statistics.types) == 3 and statistics.energy.numel() == 3 * 4 * 2
    frequent = sorted(
        range(len(WORDS)),
        key=lambda token: -sum(ids[row] == token for row in range(600) if row % CONTEXT),
    )[:3]
    assert sorted(statistics.types.tolist()) == sorted(frequent)
    values = torch.tensor([[3.0 * (token == 0), 3.0 * (token == 3)] for token in ids])
    first, second = labels(cache, values, memory=3 * 4 * 2 * 3)
    assert first.label == "the" and first.tokens[0].energy_share == pytest.approx(1)
    assert second.label == ""  # its word had no place of its own
    with pytest.raises(QuadricError, match="nothing to label"):
        statistics.labels(Tokenizer())  # type: ignore[arg-type]
