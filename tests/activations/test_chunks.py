"""A stream of chunks: the harvest's rows, made again in any order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig
from tests.activations.streams import CHUNK, CONTEXT, CONTEXTS, LOUD
from tests.activations.tiny import save_tiny


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
