from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import QuadricError
from quadric.activations.text import batches, contexts
from tests.activations.tiny import tiny_tokenizer

TOKENIZER, WITHOUT_END = tiny_tokenizer(), tiny_tokenizer(eos=None)


def joined(documents: list[str], *, end: bool) -> list[int]:
    """Oracle: one document at a time, an end token between two."""
    tokens: list[int] = []
    for number, document in enumerate(documents):
        if number and end:
            tokens.append(256)
        tokens += TOKENIZER(document, add_special_tokens=False)["input_ids"]
    return tokens


@given(
    documents=st.lists(st.text(max_size=30), min_size=1, max_size=150),
    size=st.integers(1, 11),
    end=st.booleans(),
)
def test_contexts_are_the_joined_text_cut_into_rows(
    documents: list[str], size: int, end: bool
) -> None:
    tokens = joined(documents, end=end)
    tokenizer = TOKENIZER if end else WITHOUT_END
    if len(tokens) < size:
        message = f"holds {len(tokens)} tokens, fewer than one context of {size}"
        with pytest.raises(QuadricError, match=message):
            list(contexts(tokenizer, documents, size))
        return
    rows = list(contexts(tokenizer, documents, size))
    assert all(row.shape == (size,) and row.dtype == torch.int64 for row in rows)
    whole = len(tokens) // size
    assert torch.cat(rows).tolist() == tokens[: whole * size]


def test_what_one_call_of_the_tokeniser_leaves_over_begins_the_next() -> None:
    documents = ["abc" * (number % 5) + "d" for number in range(200)]
    tokens = joined(documents, end=True)
    assert (
        torch.cat(list(contexts(TOKENIZER, documents, 11))).tolist()
        == tokens[: len(tokens) // 11 * 11]
    )


def test_the_tokenisers_own_special_tokens_are_left_out() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A", special_tokens=[("<eos>", 256)]
    )
    assert tokenizer("ab")["input_ids"][0] == 256
    (row,) = contexts(tokenizer, ["ab"], 2)
    assert row.tolist() == joined(["ab"], end=True)


def test_the_end_token_stands_only_between_documents() -> None:
    (row,) = contexts(TOKENIZER, ["ab", "", "c"], 5)
    a, b, c = TOKENIZER("abc")["input_ids"]
    assert row.tolist() == [a, b, 256, 256, c]


def test_an_endless_text_is_read_as_far_as_needed() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "abcdefg"

    rows = list(islice(contexts(TOKENIZER, endless(), 10), 3))
    assert len(rows) == 3 and read <= 64


@given(count=st.integers(0, 20), size=st.integers(1, 7))
def test_batches_are_the_rows_in_order(count: int, size: int) -> None:
    rows = [torch.tensor([i, -i]) for i in range(count)]
    stacked = list(batches(rows, size))
    assert [len(batch) for batch in stacked[:-1]] == [size] * (len(stacked) - 1)
    assert torch.equal(
        torch.cat([torch.empty(0, 2), *stacked]),
        torch.tensor([[i, -i] for i in range(count)], dtype=torch.float32).reshape(-1, 2),
    )


def test_sizes_must_be_positive() -> None:
    with pytest.raises(QuadricError, match="context_size is 0, expected at least 1"):
        next(contexts(TOKENIZER, ["abc"], 0))
    with pytest.raises(QuadricError, match="the batch holds 0 contexts"):
        next(batches([], 0))
