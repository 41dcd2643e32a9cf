"""A stream's forward passes beside the trainer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from quadric import QuadricError
from quadric.activations.harvest import HarvestConfig, Source
from quadric.activations.prefetch import Prefetched
from tests.activations.fetching import (
    CPU,
    PATIENCE,
    shuffled,
    streamed,
    text_and_model,
    threads,
)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert not threads()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> HarvestConfig:
    return text_and_model(tmp_path_factory.mktemp("tiny"))


def test_sources_of_quadric_report_their_errors_through_it(config: HarvestConfig) -> None:
    source = streamed(config, 5)
    with Prefetched(source, CPU, batches=1) as fetched:
        fetched.load_state_dict({**source.state_dict(), "offset": 10_000})
        with pytest.raises(QuadricError, match=r"row 10000 of chunk 0, which has"):
            fetched.next_batch()
    rows = shuffled()
    with Prefetched(rows, CPU, batches=1) as fetched:
        rows.batch_size = 10_000
        assert fetched.batch_size == 10_000
        with pytest.raises(QuadricError, match="batch_size is 10000, but only"):
            fetched.next_batch()


def test_the_model_runs_on_the_next_chunk_while_one_is_used(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch of chunk 0 is given out while the model is held up in chunk 1."""
    held, proceed = threading.Event(), threading.Event()
    forward = Source.activations
    contexts: list[int] = []

    def activations(self: Source, ids: Tensor) -> Any:
        contexts.append(len(ids))
        if sum(contexts) > 2 * 12:  # the held-out chunk and chunk 0
            held.set()
            assert proceed.wait(PATIENCE)
        return forward(self, ids)

    plain = streamed(config, 12)
    wanted = [plain.next_batch() for _ in range(13)]
    source = streamed(config, 12)
    contexts.clear()
    contexts.append(12)
    monkeypatch.setattr(Source, "activations", activations)
    assert source.ahead == 7  # 84 rows, of which 72 are kept
    with Prefetched(source, CPU, batches=13) as fetched:
        assert torch.equal(fetched.next_batch(), wanted[0])
        assert held.wait(PATIENCE)
        for batch in wanted[1:6]:
            assert torch.equal(fetched.next_batch(), batch)
        assert sum(contexts) == 2 * 12 + 4
        proceed.set()
        for batch in wanted[6:]:
            assert torch.equal(fetched.next_batch(), batch)


def test_a_stream_is_left_between_two_forward_passes(
    config: HarvestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, proceed = threading.Event(), threading.Event()
    forward = Source.activations
    passes: list[int] = []

    def activations(self: Source, ids: Tensor) -> Any:
        passes.append(len(ids))
        if len(passes) == 4:  # the first of chunk 1
            begun.set()
            assert proceed.wait(PATIENCE)
        return forward(self, ids)

    source = streamed(config, 12)
    monkeypatch.setattr(Source, "activations", activations)
    with Prefetched(source, CPU, batches=20) as fetched:
        first = fetched.next_batch()
        assert begun.wait(PATIENCE)
        threading.Timer(0.05, proceed.set).start()
    assert len(passes) == 4  # of the three that chunk 1 takes, one ran
    # The source can be used on, from where the trainer stood.
    source.load_state_dict(fetched.state_dict())
    plain = streamed(config, 12)
    assert torch.equal(first, plain.next_batch())
    for _ in range(8):
        assert torch.equal(source.next_batch(), plain.next_batch())
