"""Shuffled batches against a list-based oracle, their resumption, and what they refuse."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Int64
from torch import Tensor

from quadric import QuadricError
from quadric.activations import loader
from quadric.activations.cache import ActivationCache
from quadric.activations.loader import BatchSource, ShuffledRows
from quadric.activations.rows import MemoryRows, Rows, Stack
from quadric.activations.writing import CacheWriter
from tests.activations.numbered import WIDTH, names, numbered
from tests.oracles import activations as oracle


def expected(
    x: Tensor, *, fraction: float, drop_first: int, multiple: float | None
) -> tuple[int, set[int], set[int]]:
    """The oracle's first held-out row, and all kept rows before and after it."""
    context = x.shape[1] if x.ndim == 3 else None
    flat = x.reshape(-1, WIDTH)
    cut = oracle.cut(len(flat), context, fraction)
    allowed = [i for i in range(len(flat)) if context is None or i % context >= drop_first]
    kept = set(allowed)
    if multiple is not None:
        limit = oracle.norm_limit(flat, [i for i in allowed if i < cut], multiple)
        kept = {i for i in allowed if float(flat[i].double().norm()) <= limit}
    return cut, {i for i in kept if i < cut}, {i for i in kept if i >= cut}


CASES: dict[str, tuple[Tensor, dict[str, Any]]] = {
    "flat": (numbered(37), {}),
    "outliers": (numbered(50, outliers=(0, 3, 17, 49)), {"max_norm_multiple": 5.0}),
    "contexts": (numbered(12, 7, outliers=(1, 8, 40)), {}),
    "no drops": (numbered(12, 7, outliers=(1,)), {"drop_first": 0, "max_norm_multiple": None}),
    "drop three": (numbered(12, 7, outliers=(2,)), {"drop_first": 3}),
    "half held out": (numbered(12, 7), {"held_out_fraction": 0.5}),
    "two rows": (numbered(2), {}),
    "one context": (numbered(1, 9), {}),
    "two contexts": (numbered(2, 9), {"held_out_fraction": 0.9}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 5])
def test_batches_follow_the_oracle(case: str, seed: int) -> None:
    x, options = CASES[case]
    cut, training, held_out = expected(
        x,
        fraction=options.get("held_out_fraction", 0.05),
        drop_first=options.get("drop_first", 1),
        multiple=options.get("max_norm_multiple", 10.0),
    )
    batch = max(1, len(training) * 3 // 5)
    source = ShuffledRows(MemoryRows(x), batch_size=batch, seed=seed, **options)
    assert source.training_rows == len(training)
    stream = oracle.stream(cut, seed, training)
    for _ in range(6):
        wanted = list(islice(stream, batch))
        assert names(source.next_batch()) == [row for _, row in wanted]
        assert source.state_dict() == {"position": wanted[-1][0] + 1}
    assert set(names(source.held_out(10_000))) == held_out
    assert set(names(source.sample(10_000))) == training
    counts = source.summary()
    total = x.numel() // WIDTH
    assert counts["rows"] == total
    assert counts["held_out_rows"] == total - cut
    assert counts["tokens"] == len(training)
    assert counts["dropped_tokens"] == cut - len(training)
    assert counts["dropped_first"] + counts["dropped_norm"] == counts["dropped_tokens"]
    assert counts["estimated"] is False


def test_what_is_dropped_is_counted_by_its_reason() -> None:
    # Row 7 stands first in its context, so its norm is never asked for.
    x = numbered(20, 7, outliers=(7, 8, 40, 139))
    counts = ShuffledRows(MemoryRows(x), batch_size=4, seed=0).summary()
    assert counts["held_out_rows"] == 7
    assert counts["dropped_first"] == 19
    assert counts["dropped_norm"] == 2
    assert counts["tokens"] == 133 - 21
    allowed = [i for i in range(133) if i % 7]
    limit = oracle.norm_limit(x.reshape(-1, WIDTH), allowed, 10.0)
    assert counts["norm_limit"] == pytest.approx(limit, rel=1e-6)
    free = ShuffledRows(MemoryRows(x), batch_size=4, seed=0, max_norm_multiple=None)
    assert free.summary()["norm_limit"] is None


@given(
    rows=st.integers(2, 60),
    batch=st.integers(1, 20),
    seed=st.integers(0, 1000),
    fraction=st.floats(0.01, 0.99),
)
def test_an_epoch_visits_every_row_once_and_no_held_out_row(
    rows: int, batch: int, seed: int, fraction: float
) -> None:
    source = ShuffledRows(
        MemoryRows(numbered(rows)), batch_size=1, seed=seed, held_out_fraction=fraction
    )
    kept = source.training_rows
    source.batch_size = min(batch, kept)
    epochs = source.batch_size
    # kept batches of b rows are exactly b epochs.
    seen = Counter(name for _ in range(kept) for name in names(source.next_batch()))
    held_out = names(source.held_out(rows))
    assert held_out
    assert not set(held_out) & set(seen)
    assert set(seen.values()) == {epochs}
    assert set(seen) | set(held_out) == set(range(rows))


def test_epochs_and_seeds_differ() -> None:
    def epochs(seed: int) -> list[list[int]]:
        source = ShuffledRows(MemoryRows(numbered(200)), batch_size=190, seed=seed)
        return [names(source.next_batch()) for _ in range(3)]

    orders = epochs(0) + epochs(1)
    assert len({tuple(order) for order in orders}) == 6
    assert epochs(0) == epochs(0)
    # Not (seed + epoch): the second epoch of one seed is not the first of the next.
    assert orders[1] != orders[3]


def test_tokens_of_a_context_are_scattered() -> None:
    source = ShuffledRows(MemoryRows(numbered(200, 20)), batch_size=400, seed=0, drop_first=0)
    contexts = Counter(name // 20 for name in names(source.next_batch()))
    # 400 tokens of 190 contexts of 20: a shuffle by context would give 20 full contexts.
    assert len(contexts) > 140
    assert max(contexts.values()) < 10


@pytest.mark.parametrize("batches", [0, 1, 2, 7])
def test_a_resumed_source_gives_the_same_batches(batches: int) -> None:
    def source() -> ShuffledRows:
        return ShuffledRows(MemoryRows(numbered(12, 7, outliers=(1, 40))), batch_size=11, seed=3)

    first = source()
    for _ in range(batches):
        first.next_batch()
    state = first.state_dict()
    second = source()
    second.next_batch()
    second.load_state_dict(state)
    for _ in range(20):
        assert first.next_batch().equal(second.next_batch())
    assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32, torch.float64),
        (torch.float64, torch.float64, torch.float64),
        (torch.float16, torch.bfloat16, torch.float16),
    ],
)
def test_rows_of_several_pieces_are_gathered_in_order(dtypes: tuple[torch.dtype, ...]) -> None:
    pieces = [torch.randn(n, WIDTH).to(dtype) for n, dtype in zip((5, 1, 4), dtypes, strict=True)]
    stack = Stack([5, 1, 4], pieces.__getitem__, tail=(WIDTH,), dtype=torch.float32)
    whole = torch.cat([piece.float() for piece in pieces])
    for indices in ([9, 0, 4, 4, 5, 7, 0], [3], []):
        rows = torch.tensor(indices, dtype=torch.int64)
        found = stack.gather(rows)
        assert found.dtype == torch.float32 and found.equal(whole[rows])


def test_samples_do_not_move_the_position() -> None:
    def source() -> ShuffledRows:
        return ShuffledRows(MemoryRows(numbered(300)), batch_size=11, seed=3)

    plain, sampled = source(), source()
    sampled.next_batch()
    sample = sampled.sample(50)
    sampled.held_out(5)
    assert len(set(names(sample))) == 50
    assert sampled.sample(50).equal(sample)
    assert sampled.sample(20).equal(sample[:20])
    plain.next_batch()
    assert plain.next_batch().equal(sampled.next_batch())
    # A sample is not the beginning of the training order.
    again = source()
    beginning = torch.cat([again.next_batch() for _ in range(6)])
    assert not set(names(sample)) <= set(names(beginning))
    # Nor does it depend on the seed: runs on the same data share their input statistics.
    other = ShuffledRows(MemoryRows(numbered(300)), batch_size=11, seed=4)
    assert other.sample(50).equal(sample)
    assert not other.next_batch().equal(source().next_batch())


def test_the_held_out_rows_are_the_same_for_every_seed_and_spread_out() -> None:
    def held_out(seed: int, rows: int) -> list[int]:
        source = ShuffledRows(MemoryRows(numbered(1000)), batch_size=1, seed=seed)
        return names(source.held_out(rows))

    assert held_out(0, 20) == held_out(9, 20)
    assert held_out(0, 7) == held_out(0, 20)[:7]
    assert held_out(0, 20) != sorted(held_out(0, 20))
    assert set(held_out(0, 500)) == set(range(950, 1000))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "position None"),
        ({"position": -1}, "position -1"),
        ({"position": True}, "position True"),
        ({"position": "7"}, "position '7'"),
    ],
)
def test_bad_states(state: Any, message: str) -> None:
    source = ShuffledRows(MemoryRows(numbered(30)), batch_size=2, seed=0)
    with pytest.raises(QuadricError, match=message):
        source.load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"drop_first": -1}, "drop_first is -1"),
        ({"drop_first": 7}, "no row is left to train on: of 77, 77 stand at a position below 7"),
        ({"held_out_fraction": 0.0}, r"held_out_fraction is 0\.0"),
        ({"held_out_fraction": 1.0}, r"held_out_fraction is 1\.0"),
        ({"held_out_fraction": math.nan}, "held_out_fraction is nan"),
        ({"max_norm_multiple": 0.0}, r"max_norm_multiple is 0\.0"),
        ({"max_norm_multiple": math.nan}, "max_norm_multiple is nan"),
        ({"max_norm_multiple": 0.1}, "no row is left to train on: .* 66 exceed the norm limit"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        ShuffledRows(MemoryRows(numbered(12, 7)), **{"batch_size": 2, "seed": 0, **options})


def test_a_batch_larger_than_the_data_says_the_numbers() -> None:
    x = numbered(12, 7, outliers=(1, 8))
    source = ShuffledRows(MemoryRows(x), batch_size=65, seed=0)
    assert source.training_rows == 64
    with pytest.raises(QuadricError) as error:
        source.next_batch()
    message = str(error.value)
    assert "batch_size is 65, but only 64 of 84 rows" in message
    assert "(7 held out, 11 dropped by position, 2 by norm)" in message
    assert source.state_dict() == {"position": 0}
    source.batch_size = 64
    assert len(set(names(source.next_batch()))) == 64


def test_data_too_small_or_too_odd() -> None:
    with pytest.raises(QuadricError, match="there is 1 row: at least 2"):
        ShuffledRows(MemoryRows(numbered(1)), batch_size=1, seed=0)
    with pytest.raises(QuadricError, match="at least half of the activations are all zeros"):
        ShuffledRows(MemoryRows(torch.zeros(9, 2)), batch_size=1, seed=0)
    zeros = ShuffledRows(
        MemoryRows(torch.zeros(9, 2)), batch_size=3, seed=0, max_norm_multiple=None
    )
    assert zeros.next_batch().equal(torch.zeros(3, 2))
    x = numbered(30, outliers=(28, 29))
    source = ShuffledRows(MemoryRows(x), batch_size=1, seed=0)
    with pytest.raises(QuadricError, match="all of the 2 held-out rows are dropped"):
        source.held_out(5)


class Lying:
    """Rows that turn bad after they were scanned, as a file does when its disk fails."""

    def __init__(self, rows: Rows) -> None:
        self.d_in = rows.d_in
        self.bad: int | None = None
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, indices: Int64[Tensor, " k"]) -> Tensor:
        x = self._rows.gather(indices)
        if self.bad is not None:
            x[indices == self.bad, 2] = math.nan
        return x

    def positions(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"] | None:
        return self._rows.positions(indices)

    def locate(self, index: int) -> str:
        return self._rows.locate(index)

    def describe(self) -> dict[str, Any]:
        return self._rows.describe()


def test_a_bad_row_is_named_by_shard_context_and_position(tmp_path: Path) -> None:
    writer = CacheWriter(
        tmp_path,
        widths={"h": WIDTH},
        dtype=torch.float32,
        context_size=5,
        description={},
        contexts_per_shard=4,
    )
    writer.append({"h": numbered(12, 5)}, torch.zeros(12, 5, dtype=torch.int64))
    writer.finish()
    rows = Lying(ActivationCache(tmp_path))
    source = ShuffledRows(rows, batch_size=40, seed=0)
    source.next_batch()
    state = source.state_dict()
    second = names(source.next_batch())
    source.load_state_dict(state)
    rows.bad = next(row for row in second if 20 <= row < 40)  # of the second shard
    context, position = divmod(rows.bad, 5)
    with pytest.raises(QuadricError) as error:
        source.next_batch()
    message = str(error.value)
    place = f"shard-00001.safetensors, context {context}, position {position}"
    assert f"row {rows.bad} ({place}) holds nan" in message
    assert source.state_dict() == state
    with pytest.raises(QuadricError, match="holds nan"):
        ShuffledRows(rows, batch_size=1, seed=0)


def test_above_the_exact_limit_counts_are_estimates_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = numbered(500, 8)
    x.view(-1, WIDTH)[5::20, 1] = 1e6
    exact = ShuffledRows(MemoryRows(x), batch_size=64, seed=0)
    monkeypatch.setattr(loader, "EXACT_ROWS", 1000)
    monkeypatch.setattr(loader, "_SCAN_ROWS", 800)
    source = ShuffledRows(MemoryRows(x), batch_size=64, seed=0)
    true, estimate = exact.summary(), source.summary()
    assert estimate["estimated"] is True
    for key in ("rows", "held_out_rows"):
        assert estimate[key] == true[key]
    for key in ("dropped_first", "dropped_norm"):
        assert estimate[key] == pytest.approx(true[key], rel=0.35)
    assert estimate["dropped_norm"] != true["dropped_norm"]
    assert estimate["tokens"] + estimate["dropped_tokens"] == true["rows"] - true["held_out_rows"]
    # The batches themselves are the same: the limit lies far from every norm.
    assert source.next_batch().equal(exact.next_batch())
    source.batch_size = 100_000
    with pytest.raises(QuadricError, match="batch_size is 100000, but only"):
        source.next_batch()


def test_rows_overflowing_a_float32_norm_are_outliers_not_faults() -> None:
    x = numbered(40)
    x[3, 1] = 3e38
    source = ShuffledRows(MemoryRows(x), batch_size=30, seed=0)
    assert source.summary()["dropped_norm"] == 1
    assert 3 not in names(source.next_batch())


def test_it_is_a_batch_source() -> None:
    source: BatchSource = ShuffledRows(MemoryRows(numbered(30).double()), batch_size=2, seed=0)
    assert source.d_in == WIDTH
    assert source.next_batch().dtype == torch.float32
