"""Batches out of any iterator: the same rows however they are cut, and clear endings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.activations.iterator import IteratorSource
from quadric.activations.loader import BatchSource

WIDTH = 4
HELD_OUT = 10
OUTLIERS = {3, 12, 13, 29}


def rows(count: int) -> Tensor:
    """Rows (row number, 1000, …); outliers are far longer."""
    x = torch.ones(count, WIDTH, dtype=torch.float64)
    x[:, 0] = torch.arange(count)
    x[:, 1] = 1000
    x[[i for i in OUTLIERS if i < count], 1] = 1e6
    return x


def factory(x: Tensor, sizes: Sequence[int]) -> Callable[[], Iterator[Tensor]]:
    """Gives ``x`` in chunks whose sizes repeat ``sizes``."""

    def chunks() -> Iterator[Tensor]:
        start, turn = 0, 0
        while start < len(x):
            size = sizes[turn % len(sizes)]
            yield x[start : start + size]
            start, turn = start + size, turn + 1

    return chunks


def source(count: int = 60, sizes: Sequence[int] = (7,), batch: int = 6) -> IteratorSource:
    return IteratorSource(factory(rows(count), sizes), batch_size=batch, held_out_rows=HELD_OUT)


def names(x: Tensor) -> list[int]:
    return [int(value) for value in x[:, 0].tolist()]


KEPT = [i for i in range(HELD_OUT, 60) if i not in OUTLIERS]


@given(
    sizes=st.lists(st.integers(0, 25), min_size=1, max_size=5).filter(any),
    batch=st.integers(1, 15),
)
def test_batches_do_not_depend_on_the_chunks(sizes: list[int], batch: int) -> None:
    found = source(sizes=sizes, batch=batch)
    batches = [names(found.next_batch()) for _ in range(len(KEPT) // batch)]
    assert all(len(names) == batch for names in batches)
    assert list(chain.from_iterable(batches)) == KEPT[: len(KEPT) // batch * batch]
    assert names(found.held_out(100)) == [i for i in range(HELD_OUT) if i not in OUTLIERS]
    assert names(found.held_out(4)) == [0, 1, 2, 4]


def test_it_is_a_batch_source() -> None:
    found: BatchSource = source()
    assert found.d_in == WIDTH
    assert found.next_batch().dtype == torch.float32


def test_counts() -> None:
    found = source()
    # The lower median of the norms of rows 0 … 9, of which 3 is the longest, is that of row 5.
    limit = 10 * math.sqrt(1000**2 + 5**2 + 2)
    assert found.summary() == {
        "rows": 10,
        "held_out_rows": 10,
        "tokens": 0,
        "dropped_tokens": 0,
        "dropped_first": 0,
        "dropped_norm": 0,
        "norm_limit": pytest.approx(limit, rel=1e-6),
        "estimated": False,
    }
    found.next_batch()
    # The batch 10, 11, 14 … 17 passed over 12 and 13.
    assert found.state_dict() == {"rows": 8, "dropped": 2}
    counts = found.summary()
    assert (counts["rows"], counts["tokens"], counts["dropped_norm"]) == (18, 6, 2)
    free = IteratorSource(
        factory(rows(60), [7]), batch_size=6, held_out_rows=HELD_OUT, max_norm_multiple=None
    )
    assert names(free.next_batch()) == list(range(10, 16))
    assert free.summary()["norm_limit"] is None
    assert len(free.held_out(100)) == 10


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_resuming_skips_what_was_used(batches: int) -> None:
    first = source()
    for _ in range(batches):
        first.next_batch()
    second = source(sizes=(3, 11))
    second.next_batch()
    second.load_state_dict(first.state_dict())
    assert second.summary() == first.summary()
    for _ in range(3):
        assert second.next_batch().equal(first.next_batch())


def test_a_sample_leaves_the_position() -> None:
    found = source()
    found.next_batch()
    assert names(found.sample(5)) == [10, 11, 14, 15, 16]
    assert names(found.sample(1000)) == KEPT
    assert found.state_dict() == {"rows": 8, "dropped": 2}
    assert names(found.next_batch()) == KEPT[6:12]


def test_the_end_is_an_error_that_says_where() -> None:
    found = source(count=20)
    found.next_batch()
    with pytest.raises(QuadricError, match="ended after 20 rows, 4 short of a batch of 6"):
        found.next_batch()
    with pytest.raises(QuadricError, match="ended after 7 rows, 3 too early"):
        source(count=7)
    longer = source()
    for _ in range(4):
        longer.next_batch()
    with pytest.raises(QuadricError, match="ended after 20 rows"):
        source(count=20).load_state_dict(longer.state_dict())


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (torch.ones(3, WIDTH + 1), "width 5 after row 14, but of width 4 before"),
        (torch.ones(WIDTH), r"gave \(4,\) after row 14"),
        (torch.ones(2, WIDTH).int(), r"gave \(2, 4\) after row 14, expected floating-point"),
        ([1.0, 2.0], "gave list after row 14"),
        (torch.tensor([[1.0] * 4, [1.0, math.nan, 1.0, 1.0]]), "row 15 of the iterator holds nan"),
    ],
)
def test_bad_chunks_are_named_by_row(chunk: Any, message: str) -> None:
    def chunks() -> Iterator[Tensor]:
        yield rows(14)
        yield chunk

    found = IteratorSource(chunks, batch_size=2, held_out_rows=HELD_OUT)
    found.next_batch()
    with pytest.raises(QuadricError, match=message):
        found.next_batch()


def test_bad_options_and_states() -> None:
    usual: dict[str, Any] = {"batch_size": 2, "held_out_rows": HELD_OUT}
    for options in ({"batch_size": 0}, {"held_out_rows": 0}, {"max_norm_multiple": -1.0}):
        with pytest.raises(QuadricError, match=next(iter(options))):
            IteratorSource(factory(rows(60), [7]), **{**usual, **options})
    for state in ({"rows": 3}, {"dropped": 3}, {"rows": -1, "dropped": 0}):
        with pytest.raises(QuadricError, match="saved data position"):
            source().load_state_dict(state)
