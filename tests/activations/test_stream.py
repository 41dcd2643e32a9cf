from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig, harvest
from quadric.activations.stream import StreamSource
from quadric.ranks import Ranks
from tests.activations.tiny import save_tiny, tiny_tokenizer

CONTEXT, CONTEXTS, CHUNK = 7, 53, 12
LOUD = tiny_tokenizer()("z")["input_ids"][0]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> HarvestConfig:
    """A tiny model in which "z" has an outlying norm, and a text with some of them."""
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "llama", loud=LOUD)
    generator = random.Random(0)
    letters = "".join(chr(i) for i in range(33, 122)) + 12 * "z"
    texts = ["".join(generator.choices(letters, k=40)) for _ in range(30)]
    (folder / "text.txt").write_text("\n\n".join(texts))
    return HarvestConfig(
        model=str(folder),
        dataset=str(folder / "text.txt"),
        hook="blocks.1.hook_resid_pre",
        tokens=CONTEXTS * CONTEXT,
        context_size=CONTEXT,
        batch_contexts=4,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def stream(config: HarvestConfig) -> ActivationStream:
    return ActivationStream(config, contexts_per_chunk=CHUNK)


@pytest.fixture(scope="module")
def everything(
    config: HarvestConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tensor, Tensor]:
    """The same rows from a cache: activations and tokens."""
    path = tmp_path_factory.mktemp("harvest") / "cache"
    harvest(config, path)
    cache = ActivationCache(path)
    rows = torch.arange(len(cache))
    return cache.gather(rows), cache.token_ids(rows)


def counted(rows: Tensor) -> Counter[bytes]:
    """Rows as a multiset."""
    return Counter(row.numpy().tobytes() for row in rows)


def kept(everything: tuple[Tensor, Tensor], multiple: float = 10.0) -> tuple[Tensor, float]:
    """Oracle: which rows stay, and the norm limit, from the whole data at once."""
    norms = everything[0].norm(dim=1)
    positions = torch.arange(len(norms)) % CONTEXT
    first_chunk = norms[: CHUNK * CONTEXT][positions[: CHUNK * CONTEXT] >= 1]
    limit = multiple * float(first_chunk.median())
    return (positions >= 1) & (norms <= limit), limit


def test_the_chunks_are_the_harvest(
    stream: ActivationStream, everything: tuple[Tensor, Tensor]
) -> None:
    chunks = list(stream)
    assert [len(chunk.token_ids) for chunk in chunks] == [CHUNK * CONTEXT] * 4 + [5 * CONTEXT]
    assert stream.length == 5 and stream.d_in == 12
    assert torch.equal(torch.cat([chunk.activations for chunk in chunks]), everything[0])
    assert torch.equal(torch.cat([chunk.token_ids for chunk in chunks]), everything[1])
    positions = torch.cat([chunk.positions for chunk in chunks])
    assert torch.equal(positions, torch.arange(CONTEXTS * CONTEXT) % CONTEXT)
    norms = torch.cat([chunk.norms for chunk in chunks])
    torch.testing.assert_close(norms, everything[0].square().sum(1).sqrt())
    assert all(chunk.activations.dtype == torch.float32 for chunk in chunks)


@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=6))
@settings(max_examples=12)
def test_any_chunk_can_be_made_again(
    stream: ActivationStream, everything: tuple[Tensor, Tensor], order: list[int]
) -> None:
    for index in order:
        rows = slice(index * CHUNK * CONTEXT, (index + 1) * CHUNK * CONTEXT)
        assert torch.equal(stream.chunk(index).activations, everything[0][rows])


def test_going_forward_repeats_no_work(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quadric.activations.harvest import Source

    stream = ActivationStream(config, contexts_per_chunk=CHUNK)
    started: list[int] = []
    ran: list[int] = []
    batches, activations = Source.batches, Source.activations
    monkeypatch.setattr(
        Source, "batches", lambda self, skip=0: (started.append(skip), batches(self, skip))[1]
    )
    monkeypatch.setattr(
        Source, "activations", lambda self, ids: (ran.append(len(ids)), activations(self, ids))[1]
    )
    for index in (0, 1, 3):
        stream.chunk(index)
    assert len(started) == 1 and sum(ran) == 3 * CHUNK  # chunk 2 was skipped without the model
    stream.chunk(2)
    assert len(started) == 2 and sum(ran) == 4 * CHUNK


def test_the_end_of_the_stream(config: HarvestConfig) -> None:
    exact = ActivationStream(
        dataclasses.replace(config, tokens=4 * CHUNK * CONTEXT), contexts_per_chunk=CHUNK
    )
    assert exact.length is None
    for index in (9, 4):
        with pytest.raises(IndexError, match=f"chunk {index}: the stream has 4 chunks"):
            exact.chunk(index)
        assert exact.length == 4
    with pytest.raises(IndexError, match="chunks count from 0"):
        exact.chunk(-1)
    assert len(list(exact)) == 4
    short = ActivationStream(dataclasses.replace(config, tokens=10**6), contexts_per_chunk=CHUNK)
    text = 30 * 40 + 29  # documents and the end tokens between them
    assert sum(len(chunk.token_ids) for chunk in short) == text // CONTEXT * CONTEXT


def test_chunks_are_rounded_up_to_forward_passes(config: HarvestConfig) -> None:
    chunk = ActivationStream(config, contexts_per_chunk=5).chunk(0)
    assert len(chunk.token_ids) == 8 * CONTEXT


def test_choosing_a_hook(config: HarvestConfig, everything: tuple[Tensor, Tensor]) -> None:
    both = dataclasses.replace(config, hook="blocks.0.hook_mlp_out,blocks.1.hook_resid_pre")
    with pytest.raises(QuadricError, match=r"names several hooks; choose one: blocks\.0\.hook_mlp"):
        ActivationStream(both)
    with pytest.raises(QuadricError, match=r"'blocks.1.hook_resid_pr' is not .* did you mean"):
        ActivationStream(both, "blocks.1.hook_resid_pr")
    stream = ActivationStream(both, "blocks.1.hook_resid_pre", contexts_per_chunk=CHUNK)
    assert torch.equal(stream.chunk(0).activations, everything[0][: CHUNK * CONTEXT])
    with pytest.raises(QuadricError, match="contexts_per_chunk is 0"):
        ActivationStream(config, contexts_per_chunk=0)


def test_a_row_that_is_not_finite_is_named(config: HarvestConfig, tmp_path: Path) -> None:
    broken = save_tiny(tmp_path / "broken", loud=LOUD)
    from quadric.activations.models import load_model

    model = load_model(str(broken), dtype=torch.float32, device="cpu").model
    model.get_input_embeddings().weight[LOUD] = torch.nan
    model.save_pretrained(broken)
    # At the input of block 0 a bad embedding has not spread to other positions yet.
    here = dataclasses.replace(config, model=str(broken), hook="blocks.0.hook_resid_pre")
    stream = ActivationStream(here, contexts_per_chunk=CHUNK)
    healthy = ActivationStream(config, contexts_per_chunk=CHUNK).chunk(1)
    row = int(torch.nonzero(healthy.token_ids == LOUD)[0])
    context, position = divmod(row, CONTEXT)
    place = f"context {CHUNK + context}, position {position} holds nan"
    with pytest.raises(QuadricError, match=place):
        stream.chunk(1)


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
