"""A stream as a source of batches: every kept row once a pass, filtered, resumable."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig
from quadric.activations.stream import StreamSource
from quadric.ranks import Ranks
from tests.activations.streams import CHUNK, CONTEXT, CONTEXTS, counted, kept


@pytest.mark.parametrize("batch_size", [5, 64, 300])
def test_a_pass_gives_every_kept_training_row_once(
    stream: ActivationStream, everything: tuple[Tensor, Tensor], batch_size: int
) -> None:
    keep, limit = kept(everything)
    training = everything[0][CHUNK * CONTEXT :][keep[CHUNK * CONTEXT :]]
    assert max(counted(everything[0][keep]).values()) == 1  # rows can be told apart
    source = StreamSource(stream, batch_size=batch_size, seed=3)
    assert source.d_in == 12
    passes = 3
    batches = [source.next_batch() for _ in range(-(-passes * len(training) // batch_size))]
    assert {batch.shape for batch in batches} == {(batch_size, 12)}
    rows = torch.cat(batches)[: passes * len(training)].view(passes, len(training), 12)
    for one in rows:
        assert counted(one) == counted(training)
    assert not torch.equal(rows[0], rows[1])
    assert not counted(rows.flatten(0, 1)) & counted(source.held_out(10**6))

    drops = ~keep[CHUNK * CONTEXT :]
    first = CONTEXTS - CHUNK
    assert int(drops.sum()) - first > 5  # the text does have outliers
    assert source.summary() == {
        "rows": CONTEXTS * CONTEXT,
        "held_out_rows": CHUNK * CONTEXT,
        "tokens": len(training),
        "dropped_tokens": int(drops.sum()),
        "dropped_first": first,
        "dropped_norm": int(drops.sum()) - first,
        "norm_limit": pytest.approx(limit, rel=1e-6),
        "estimated": False,
    }


def test_rows_are_shuffled_within_their_chunk(
    stream: ActivationStream, everything: tuple[Tensor, Tensor]
) -> None:
    keep, _ = kept(everything)
    chunk = everything[0][CHUNK * CONTEXT : 2 * CHUNK * CONTEXT]
    chunk = chunk[keep[CHUNK * CONTEXT : 2 * CHUNK * CONTEXT]]
    batches = [
        StreamSource(stream, batch_size=len(chunk), seed=seed).next_batch() for seed in (0, 1)
    ]
    assert counted(batches[0]) == counted(batches[1]) == counted(chunk)
    assert not torch.equal(batches[0], batches[1]) and not torch.equal(batches[0], chunk)


@given(before=st.integers(0, 14), batch_size=st.sampled_from([17, 60]))
@settings(max_examples=8)
def test_a_resumed_source_goes_on_identically(
    config: HarvestConfig, stream: ActivationStream, before: int, batch_size: int
) -> None:
    source = StreamSource(stream, batch_size=batch_size, seed=1)
    for _ in range(before):
        source.next_batch()
    state = source.state_dict()
    assert all(type(value) is int for value in state.values())
    ahead = [source.next_batch() for _ in range(4)]
    # In another process the stream does not know its length yet.
    fresh = ActivationStream(config, contexts_per_chunk=CHUNK)
    resumed = StreamSource(fresh, batch_size=batch_size, seed=1)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for batch in ahead:
        assert torch.equal(resumed.next_batch(), batch)
    assert resumed.summary() == source.summary()
    assert resumed.state_dict() == source.state_dict()
    source.load_state_dict(state)  # also back, on a source that stands elsewhere
    for batch in ahead:
        assert torch.equal(source.next_batch(), batch)


@pytest.mark.parametrize("broken_part", ["chunk", "batch"])
def test_a_batch_that_fails_loses_no_row(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch, broken_part: str
) -> None:
    """It spans two chunks; at first the second one cannot be computed, or there is no memory."""
    from quadric.activations.harvest import Source

    def source() -> StreamSource:
        return StreamSource(
            ActivationStream(config, contexts_per_chunk=CHUNK), batch_size=50, seed=1
        )

    plain, broken = source(), source()
    assert torch.equal(plain.next_batch(), broken.next_batch())
    state = broken.state_dict()
    concatenate = torch.cat

    def activations(*_: object) -> None:
        raise OSError("unplugged")

    def cat(parts: Any, **options: Any) -> Tensor:
        if parts[0].is_floating_point() and parts[0].ndim == 2:  # the rows of a batch
            raise MemoryError
        return concatenate(parts, **options)

    with monkeypatch.context() as patch, pytest.raises((OSError, MemoryError)):
        if broken_part == "chunk":
            patch.setattr(Source, "activations", activations)
        else:
            patch.setattr(torch, "cat", cat)
        broken.next_batch()
    assert broken.state_dict() == state
    for _ in range(4):
        assert torch.equal(plain.next_batch(), broken.next_batch())
    assert broken.summary() == plain.summary()


def test_held_out_rows_are_fixed_filtered_and_nested(
    stream: ActivationStream, everything: tuple[Tensor, Tensor]
) -> None:
    keep, _ = kept(everything)
    for chunks in (1, 2):
        rows = slice(chunks * CHUNK * CONTEXT)
        expected = counted(everything[0][rows][keep[rows]])
        source = StreamSource(stream, batch_size=9, seed=chunks, held_out_chunks=chunks)
        found = source.held_out(10**6)
        assert counted(found) == expected
        assert source.summary()["held_out_rows"] == chunks * CHUNK * CONTEXT
        source.next_batch()
        assert torch.equal(source.held_out(20), found[:20])
    other = StreamSource(stream, batch_size=9, seed=77).held_out(20)
    assert torch.equal(StreamSource(stream, batch_size=9, seed=0).held_out(20), other)


def test_a_sample_is_of_training_rows_and_moves_nothing(
    stream: ActivationStream, everything: tuple[Tensor, Tensor]
) -> None:
    keep, _ = kept(everything)
    rows = slice(CHUNK * CONTEXT, 2 * CHUNK * CONTEXT)
    expected = counted(everything[0][rows][keep[rows]])
    plain = StreamSource(stream, batch_size=50, seed=4)
    batches = [plain.next_batch() for _ in range(6)]
    source = StreamSource(stream, batch_size=50, seed=4)
    samples = []
    for batch in batches:
        samples.append(source.sample(30))
        assert torch.equal(source.next_batch(), batch)
    assert all(torch.equal(sample, samples[0]) for sample in samples)
    assert len(samples[0]) == 30 and counted(samples[0]) <= expected
    assert counted(source.sample(10**6)) == expected


def test_the_filters_can_be_changed(
    stream: ActivationStream, everything: tuple[Tensor, Tensor]
) -> None:
    first = everything[0][: CHUNK * CONTEXT]
    positions = torch.arange(len(first)) % CONTEXT
    everyone = StreamSource(stream, batch_size=9, seed=0, drop_first=0, max_norm_multiple=None)
    assert counted(everyone.held_out(10**6)) == counted(first)
    assert everyone.summary()["norm_limit"] is None
    late = StreamSource(stream, batch_size=9, seed=0, drop_first=3, max_norm_multiple=None)
    assert counted(late.held_out(10**6)) == counted(first[positions >= 3])
    keep, limit = kept(everything, multiple=1.2)
    strict = StreamSource(stream, batch_size=9, seed=0, max_norm_multiple=1.2)
    assert counted(strict.held_out(10**6)) == counted(first[keep[: len(first)]])
    assert strict.summary()["norm_limit"] == pytest.approx(limit, rel=1e-6)


def test_impossible_sources(config: HarvestConfig, stream: ActivationStream) -> None:
    for options, message in [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"batch_size": 5, "ranks": Ranks(0, 2)}, "batch_size is 5, expected a multiple of the 2"),
        ({"held_out_chunks": 0}, "held_out_chunks is 0, expected at least 1"),
        ({"drop_first": -1}, "drop_first is -1, expected at least 0"),
        ({"drop_first": 7}, "drop_first is 7, but a context has 7 tokens"),
        ({"max_norm_multiple": 0.0}, "max_norm_multiple is 0.0"),
        ({"held_out_chunks": 6}, "held_out_chunks is 6, but the stream has 5 chunks"),
    ]:
        with pytest.raises(QuadricError, match=message):
            StreamSource(stream, **({"batch_size": 4, "seed": 0} | options))  # type: ignore[arg-type]
    fresh = ActivationStream(config, contexts_per_chunk=CHUNK)
    source = StreamSource(fresh, batch_size=4, seed=0, held_out_chunks=5)
    with pytest.raises(QuadricError, match="has 5 chunks and 5 are held out, so none is left"):
        source.next_batch()
    source = StreamSource(stream, batch_size=4, seed=0, max_norm_multiple=1e-6)
    with pytest.raises(QuadricError, match="every row of training chunk 0 is dropped"):
        source.next_batch()


def test_a_state_that_does_not_fit(stream: ActivationStream) -> None:
    source = StreamSource(stream, batch_size=4, seed=0)
    state = source.state_dict()
    for wrong in ({"chunk": -1}, {"offset": 1.5}, {"tokens": None}):
        with pytest.raises(QuadricError, match=f"position has {next(iter(wrong))}"):
            source.load_state_dict({**state, **wrong})  # type: ignore[dict-item]
    for world, wrong in ((0, "world"), (2, r"chunk\.0")):
        if world:
            with pytest.raises(QuadricError, match=f"position has {wrong} None"):
                source.load_state_dict({**state, "world": world})
    source.load_state_dict({**state, "offset": 10_000})
    with pytest.raises(QuadricError, match=r"row 10000 of chunk 0, which has .*another stream"):
        source.next_batch()
