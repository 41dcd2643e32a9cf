"""The tokeniser: lower case, words apart, exact size, and nothing lost but case and NFKC."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from quadric import QuadricError
from quadric.language.tokenizer import END, train_tokenizer
from tests.language.words import documents

SIZE = 301
PIECE = re.compile(r" ?[^\W\d_]+| ?\d+|'(?:s|t|re|ve|m|ll|d)| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
"""A word, a number, a contraction or punctuation with the space before it, or white space."""
OLD = [
    chr(code)
    for code in range(0x110000)
    if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs", "Co")
]
"""Characters of Unicode 3.2: what their forms are has not changed since."""


@cache
def trained() -> Any:
    return train_tokenizer(documents(30), SIZE)


def ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def folded(text: str) -> str:
    """What remains of a text, by Python's own tables; a capital sigma knows no end of word."""
    return "".join(sign.lower() for sign in unicodedata.normalize("NFKC", text))


def test_it_has_exactly_as_many_tokens_as_asked() -> None:
    tokenizer = trained()
    assert len(tokenizer) == SIZE
    assert sorted(tokenizer.get_vocab().values()) == list(range(SIZE))
    assert tokenizer.convert_ids_to_tokens(0) == END
    assert {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id} == {0}
    assert len(train_tokenizer(["a"], 257)) == 257


def test_it_is_the_same_every_time() -> None:
    again = train_tokenizer(iter(documents(30)), SIZE)
    assert again.get_vocab() == trained().get_vocab()
    assert again.backend_tokenizer.to_str() == trained().backend_tokenizer.to_str()


def test_the_most_frequent_pair_is_merged_first() -> None:
    pieces = Counter(piece for text in documents(30) for piece in PIECE.findall(text.lower()))
    pairs: Counter[str] = Counter()
    for piece, count in pieces.items():
        for index in range(len(piece) - 1):
            pairs[piece[index : index + 2]] += count
    (first, most), (_, next_most) = pairs.most_common(2)
    assert most > next_most
    assert trained().convert_ids_to_tokens(257) == first.replace(" ", "Ġ")


def test_case_does_not_matter() -> None:
    tokenizer = trained()
    assert ids(tokenizer, "BAKE Lomi ÄΣİ") == ids(tokenizer, "bake lomi äσi̇")
    tokens = set(tokenizer.get_vocab()) - {END}
    letters = {sign for token in tokens if len(token) > 1 for sign in token}
    assert not any("A" <= sign <= "Z" for sign in letters)


@given(
    st.lists(
        st.sampled_from(["Bake", "lomi", " ", "  ", "12", ",", "!?", "'s", "\n", "é", "_", "%"]),
        max_size=12,
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_no_token_reaches_across_words_numbers_and_punctuation(text: str) -> None:
    tokenizer = trained()
    folded_bytes = 0
    borders = {0}
    for piece in PIECE.findall(folded(text)):
        folded_bytes += len(piece.encode())
        borders.add(folded_bytes)
    end, found = 0, {0}
    for token in ids(tokenizer, text):
        end += len(tokenizer.convert_ids_to_tokens(token))  # one sign a byte
        found.add(end)
    assert borders <= found and end == folded_bytes


@given(st.lists(st.sampled_from(OLD), max_size=20).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_but_for_case_and_compatibility_forms(text: str) -> None:
    tokenizer = trained()
    assert tokenizer.decode(ids(tokenizer, text)) == folded(text)


@pytest.mark.parametrize(
    "text",
    [
        "a b .  c , n't 's",
        " x",
        "x ",
        "\r\n\t",
        "don't",
        "ﬁ ½ Ⅷ ａ",
        "日本語",
        "👩‍👩‍👧 ok",
        "\x00\x7f",
    ],
)
def test_spaces_are_not_tidied(text: str) -> None:
    tokenizer = trained()
    assert tokenizer.decode(ids(tokenizer, text)) == folded(text)


def test_saved_and_read_it_is_the_same(tmp_path: Path) -> None:
    tokenizer = trained()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "Bake LOMI!? Ünicode½\n\n" + documents(1)[0]
    assert ids(again, text) == ids(tokenizer, text) and len(again) == SIZE
    assert again.decode(ids(again, text)) == folded(text)
    assert (again.eos_token, again.eos_token_id) == (END, 0)


def test_text_that_was_learnt_from_needs_fewer_tokens() -> None:
    (text,) = documents(1, seed=9)
    larger = train_tokenizer(documents(30), 340)
    assert len(ids(larger, text)) < len(ids(trained(), text)) < len(text)


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(QuadricError, match=r"^vocab_size is 256, expected at least 257: the 256 b"):
        train_tokenizer(["abc"], 256)
    with pytest.raises(
        QuadricError, match=r"the text is enough for (\d+) tokens, expected 4096"
    ) as e:
        train_tokenizer(["Some words, some WORDS"], 4096)
    found = int(str(e.value).rpartition("vocab_size=")[2])
    assert len(train_tokenizer(["Some words, some WORDS"], found)) == found
