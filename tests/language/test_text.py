"""Text for training: what is dropped, what is held out, and that the two never meet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import QuadricError
from quadric.activations.corpora import documents as shuffled
from quadric.language.config import TextConfig
from quadric.language.text import Deduplicated, read_documents, read_rows
from tests.activations.tiny import tiny_tokenizer
from tests.language.words import documents, write


def by_hand(texts: list[str], size: int, tokens: int) -> torch.Tensor:
    """Rows of one token a byte, documents joined by the end of a text."""
    tokenizer, stream = tiny_tokenizer(), []
    for index, text in enumerate(texts):
        stream += [256] * (index > 0) + tokenizer(text)["input_ids"]
    count = min(len(stream), tokens) // size
    return torch.tensor(stream[: count * size]).view(count, size)


def test_rows_are_the_shuffled_documents_and_the_first_of_them_are_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt")
    order = list(shuffled(str(path), seed=5))
    assert sorted(order) == sorted(documents(40)) and order != documents(40)
    config = TextConfig(str(path), context_size=24, tokens=6007, held_out=7, text_seed=5)
    rows = read_rows(tiny_tokenizer(), config)
    expected = by_hand(order, 24, 6007)
    assert len(expected) == 250 and rows.copies == 0
    assert torch.equal(rows.held_out, expected[:7]) and torch.equal(rows.train, expected[7:])
    assert rows.train.dtype == torch.int16
    whole = read_rows(tiny_tokenizer(), TextConfig(str(path), context_size=24, text_seed=5))
    assert torch.equal(
        torch.cat([whole.held_out, whole.train]), by_hand(order, 24, 10**9)
    )  # read to its end, the rest of a row dropped


def test_held_out_text_is_never_trained_on(tmp_path: Path) -> None:
    texts = documents(60, jumps=1)
    # Copies of every document in another case and spacing, anywhere in the text.
    copies = [re.sub(r" ", "\n  ", text.upper()) for text in texts]
    (tmp_path / "a.txt").write_text("\n\n".join(texts + copies), encoding="utf-8")
    config = TextConfig(str(tmp_path / "a.txt"), context_size=32, held_out=50)
    rows = read_rows(tiny_tokenizer(), config)
    assert rows.copies == 60 and len(rows.held_out) == 50
    words = [
        [tiny_tokenizer().decode(row.tolist()).lower().split() for row in part]
        for part in (rows.held_out, rows.train)
    ]
    held, trained = (
        {word for row in part for word in row if re.fullmatch(r"document\d+\.", word)}
        for part in words
    )
    assert held and trained and not held & trained
    assert not {tuple(row.tolist()) for row in rows.held_out} & {
        tuple(row.tolist()) for row in rows.train
    }
    first = list(Deduplicated(read_documents(config)))[: len(held)]
    assert held == {text.split()[0].lower() for text in first}


def test_no_more_than_a_tenth_is_held_out(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt"))
    for contexts, asked, expected in [(10, 5, 1), (19, 5, 1), (99, 128, 9), (99, 8, 8)]:
        config = TextConfig(path, context_size=16, tokens=16 * contexts + 3, held_out=asked)
        rows = read_rows(tiny_tokenizer(), config)
        assert (len(rows.held_out), len(rows.train)) == (expected, contexts - expected)


def test_the_seed_orders_the_documents(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt"))

    def rows(seed: int) -> torch.Tensor:
        return read_rows(tiny_tokenizer(), TextConfig(path, context_size=16, text_seed=seed)).train

    assert torch.equal(rows(0), rows(0)) and not torch.equal(rows(0), rows(1))


def test_a_large_vocabulary_has_larger_numbers(tmp_path: Path) -> None:
    class Shifted:
        """The bytes as the last tokens of a vocabulary of 70,000."""

        eos_token_id = 69_999

        def __len__(self) -> int:
            return 70_000

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            found = tiny_tokenizer()(texts)["input_ids"]
            return {"input_ids": [[token + 69_700 for token in each] for each in found]}

    path = str(write(tmp_path / "a.txt"))
    config = TextConfig(path, context_size=16)
    small, large = (read_rows(t, config).train for t in (tiny_tokenizer(), Shifted()))  # type: ignore[arg-type]
    assert large.dtype == torch.int32 and large.min() > 69_000
    bytes_ = small != 256
    assert torch.equal(large[bytes_] - 69_700, small[bytes_].int())


@given(
    st.lists(
        st.tuples(st.sampled_from(["bake lo", "bakelo", "bake, lo", "Lo"]), st.integers(0, 3)),
        max_size=12,
    )
)
def test_copies_are_dropped_by_their_words(pairs: list[tuple[str, int]]) -> None:
    forms = (str, str.upper, lambda text: text.replace(" ", "\t\n"), lambda text: f"  {text} ")
    texts = [forms[form](text) for text, form in pairs]
    seen: dict[str, str] = {}
    for (text, _), written in zip(pairs, texts, strict=True):
        seen.setdefault(text.lower(), written)
    once = Deduplicated(texts)
    assert list(once) == list(seen.values())
    assert once.copies == len(texts) - len(seen)


def test_too_little_text(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.txt", 1))
    with pytest.raises(QuadricError, match=r"gives 9 contexts of 16 tokens, expected at least 10"):
        read_rows(tiny_tokenizer(), TextConfig(path, context_size=16, tokens=159))
    with pytest.raises(QuadricError, match=r"more tokens or a smaller context_size$"):
        read_rows(tiny_tokenizer(), TextConfig(path, context_size=16, tokens=15))
    with pytest.raises(QuadricError, match=r"fewer than one context of 4096"):
        read_rows(tiny_tokenizer(), TextConfig(path, context_size=4096))
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n\n ")
    with pytest.raises(QuadricError, match=r"holds no text"):
        read_rows(tiny_tokenizer(), TextConfig(str(empty)))
    with pytest.raises(QuadricError, match=r"no split 'test'"):
        read_rows(tiny_tokenizer(), TextConfig(path, split="test"))
