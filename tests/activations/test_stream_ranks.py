"""Ranks of one run take turns with the chunks of a stream, and count together."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig
from quadric.activations.stream import StreamSource
from quadric.ranks import Ranks
from tests.activations.streams import CHUNK, CONTEXT, counted, kept


def chunk_rows(everything: tuple[Tensor, Tensor], number: int) -> Counter[bytes]:
    """Oracle: the kept rows of a training chunk."""
    keep, _ = kept(everything)
    rows = slice((number + 1) * CHUNK * CONTEXT, (number + 2) * CHUNK * CONTEXT)
    return counted(everything[0][rows][keep[rows]])


def joined(sources: list[StreamSource]) -> dict[str, int]:
    """What a checkpoint keeps of the positions of all ranks."""
    return {key: value for source in sources for key, value in source.state_dict().items()}


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_take_turns_with_the_chunks(
    config: HarvestConfig,
    everything: tuple[Tensor, Tensor],
    world: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four training chunks, the last one shorter, in two passes: eight turns."""
    from quadric.activations.harvest import Source

    ran: list[int] = []
    activations = Source.activations
    monkeypatch.setattr(
        Source, "activations", lambda self, ids: (ran.append(len(ids)), activations(self, ids))[1]
    )
    for rank in range(world):
        stream = ActivationStream(config, contexts_per_chunk=CHUNK)
        source = StreamSource(stream, batch_size=6 * world, seed=3, ranks=Ranks(rank, world))
        ran.clear()
        turns = list(range(rank, 8, world))
        expected = [chunk_rows(everything, turn % 4) for turn in turns]
        total = sum(sum(rows.values()) for rows in expected)
        batches = [source.next_batch() for _ in range(-(-total // 6))]
        assert {len(batch) for batch in batches} == {6}
        found = torch.cat(batches)[:total]
        for turn, rows in zip(turns, expected, strict=True):
            first, found = found.split([sum(rows.values()), len(found) - sum(rows.values())])
            assert counted(first) == rows, turn
        beyond = 0 if total % 6 == 0 else (5 if (turns[-1] + world) % 4 == 3 else CHUNK)
        assert sum(ran) == sum(5 if turn % 4 == 3 else CHUNK for turn in turns) + beyond


def test_ranks_look_at_the_same_rows_and_count_together(stream: ActivationStream) -> None:
    alone = StreamSource(stream, batch_size=20, seed=1)
    sources = [StreamSource(stream, batch_size=20, seed=1, ranks=Ranks(rank, 2)) for rank in (0, 1)]
    for source in sources:
        assert torch.equal(source.held_out(30), alone.held_out(30))
        assert torch.equal(source.sample(30), alone.sample(30))
        assert source.ahead == -(-CHUNK * CONTEXT // 10)
    for _ in range(30):  # into the second pass, so everything has been counted
        alone.next_batch()
        for source in sources:
            source.next_batch()
    state = joined(sources)
    for source in sources:
        source.load_state_dict(state)
        assert source.summary() == alone.summary()


@pytest.mark.parametrize("before", [0, 3, 9, 25])
def test_as_many_ranks_continue_identically(config: HarvestConfig, before: int) -> None:
    def sources() -> list[StreamSource]:
        return [
            StreamSource(
                ActivationStream(config, contexts_per_chunk=CHUNK),
                batch_size=34,
                seed=1,
                ranks=Ranks(rank, 2),
            )
            for rank in (0, 1)
        ]

    first = sources()
    for _ in range(before):
        for source in first:
            source.next_batch()
    state = joined(first)
    assert state["world"] == 2 and all(type(value) is int for value in state.values())
    for source, again in zip(first, sources(), strict=True):
        again.load_state_dict(state)
        alone = source.state_dict()
        assert again.state_dict() == alone
        for _ in range(4):
            assert torch.equal(again.next_batch(), source.next_batch())
        source.load_state_dict(alone)  # a rank's own state is enough for that rank
        assert source.state_dict() == alone


def begun_by(everything: tuple[Tensor, Tensor], rank: int, rows: int) -> int:
    """Oracle: the last chunk that rank ``rank`` of two begins with its first ``rows`` rows."""
    last, turn = -1, rank
    while rows > 0:
        last, rows = turn, rows - sum(chunk_rows(everything, turn % 4).values())
        turn += 2
    return last


@pytest.mark.parametrize("batches", [(0, 0), (0, 1), (1, 1), (5, 5), (8, 11), (13, 9)])
@pytest.mark.parametrize("world", [1, 3])
def test_another_number_of_ranks_begins_the_first_untouched_chunk(
    stream: ActivationStream,
    everything: tuple[Tensor, Tensor],
    batches: tuple[int, int],
    world: int,
) -> None:
    two = [StreamSource(stream, batch_size=40, seed=1, ranks=Ranks(rank, 2)) for rank in (0, 1)]
    for source, count in zip(two, batches, strict=True):
        for _ in range(count):
            source.next_batch()
    state = joined(two)
    begun = max(begun_by(everything, rank, 20 * batches[rank]) for rank in (0, 1))
    for rank in range(world):
        source = StreamSource(stream, batch_size=world * 5, seed=1, ranks=Ranks(rank, world))
        source.load_state_dict(state)
        number = next(n for n in range(begun + 1, 20) if n % world == rank)
        rows = chunk_rows(everything, number % 4)
        found = torch.cat([source.next_batch() for _ in range(sum(rows.values()) // 5)])
        assert counted(found) <= rows
        # The order is that of this chunk's number, whoever uses it.
        alone = StreamSource(stream, batch_size=5, seed=1)
        alone.load_state_dict({**alone.state_dict(), "chunk": number})
        assert torch.equal(alone.next_batch(), found[:5])
    # What was counted is carried over once.
    ranks = [
        StreamSource(stream, batch_size=world, seed=1, ranks=Ranks(rank, world))
        for rank in range(world)
    ]
    totals = [sum(state[f"{key}.{rank}"] for rank in (0, 1)) for key in ("tokens", "dropped_norm")]
    for source in ranks:
        source.load_state_dict(state)
        summary = source.summary()
        assert [summary["tokens"], summary["dropped_norm"]] == totals
    again = joined(ranks)
    for source in ranks:
        source.load_state_dict(again)
        assert source.summary() == summary
