"""Batches made ahead: the same ones, really beside the trainer, and always with an end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.activations import prefetch
from quadric.activations.harvest import HarvestConfig
from quadric.activations.loader import BatchSource, ShuffledRows
from quadric.activations.prefetch import Prefetched, check_wanted
from quadric.activations.rows import MemoryRows
from tests.activations.fetching import (
    CPU,
    PATIENCE,
    shuffled,
    streamed,
    text_and_model,
    threads,
)


class Scripted:
    """Batches 0, 1, 2 … of one row; ``before(number)`` runs in the thread that makes one."""

    d_in, batch_size, ahead = 1, 1, 2

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.before, self.position = before, 0
        self.inside = 0
        self.made: list[Tensor] = []

    def next_batch(self) -> Tensor:
        with self:
            self.before(self.position)
            self.made.append(torch.full((1, 1), float(self.position)))
            self.position += 1
            return self.made[-1]

    def held_out(self, rows: int) -> Tensor:
        with self:
            return torch.full((rows, 1), -1.0)

    def sample(self, rows: int) -> Tensor:
        with self:
            return torch.full((rows, 1), -2.0)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        with self:
            self.position = state["position"]

    def summary(self) -> dict[str, Any]:
        return {"tokens": self.position}

    def __enter__(self) -> None:
        self.inside += 1
        assert self.inside == 1, "two threads are in the source at once"

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert not threads()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> HarvestConfig:
    return text_and_model(tmp_path_factory.mktemp("tiny"))


@given(
    steps=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    ahead=st.sampled_from([None, 1, 4]),
)
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("kind", ["rows", "stream"])
def test_batches_states_and_counts_are_those_of_the_source(
    config: HarvestConfig, kind: str, steps: list[int], ahead: int | None
) -> None:
    """In any mixture of taking batches, looking at the data, and going back."""

    def source() -> BatchSource:
        return shuffled() if kind == "rows" else streamed(config, 37)

    plain = source()
    with Prefetched(source(), CPU, batches=20, ahead=ahead) as fetched:
        assert (fetched.d_in, fetched.batch_size) == (plain.d_in, plain.batch_size)
        saved = plain.state_dict()
        for step in steps:
            for _ in range(step):
                assert torch.equal(fetched.next_batch(), plain.next_batch())
                assert fetched.state_dict() == plain.state_dict()
                assert fetched.summary() == plain.summary()
            assert torch.equal(fetched.held_out(9), plain.held_out(9))
            assert torch.equal(fetched.sample(9), plain.sample(9))
            here = plain.state_dict()
            for one in (fetched, plain):
                one.load_state_dict(saved)
            saved = here
    assert fetched.state_dict() == plain.state_dict()


@pytest.mark.parametrize("kind", ["rows", "stream"])
def test_a_run_continues_from_what_was_given_out(config: HarvestConfig, kind: str) -> None:
    def source() -> BatchSource:
        return shuffled() if kind == "rows" else streamed(config, 37)

    whole = source()
    wanted = [whole.next_batch() for _ in range(9)]
    found: list[Tensor] = []
    state = source().state_dict()
    for count in (2, 3, 4):  # every part in a fresh process, so to speak, and each closed early
        with Prefetched(source(), CPU, batches=9) as fetched:
            fetched.load_state_dict(state)
            found += [fetched.next_batch() for _ in range(count)]
        state = fetched.state_dict()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert state == whole.state_dict()


def test_the_next_batch_is_made_while_one_is_used() -> None:
    begun, proceed = threading.Event(), threading.Event()

    def before(number: int) -> None:
        if number == 1:
            begun.set()
            assert proceed.wait(PATIENCE)

    source = Scripted(before)
    with Prefetched(source, CPU, batches=5) as fetched:
        assert fetched.next_batch().item() == 0  # though the second one is not finished
        assert begun.wait(PATIENCE)
        assert fetched.state_dict() == {"position": 1} and fetched.summary() == {"tokens": 1}
        proceed.set()
        assert [fetched.next_batch().item() for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_are_made_than_allowed_and_none_in_vain(ahead: int) -> None:
    source = Scripted()
    with Prefetched(source, CPU, batches=7, ahead=ahead) as fetched:
        assert source.position == 0 and not threads()  # nothing before it is asked for
        for taken in range(1, 8):
            fetched.next_batch()
            allowed = min(taken + ahead, 7)
            until(lambda allowed=allowed: source.position >= allowed)
            time.sleep(0.02)
            assert source.position == allowed
        with pytest.raises(QuadricError, match="all of the 7 batches announced were taken"):
            fetched.next_batch()


def test_on_a_cpu_nothing_is_copied() -> None:
    source = Scripted()
    with Prefetched(source, CPU, batches=2) as fetched:
        batches = [fetched.next_batch() for _ in range(2)]
    for batch, made in zip(batches, source.made, strict=True):
        assert batch.data_ptr() == made.data_ptr()


class Odd(RuntimeError):
    pass


def test_an_error_comes_with_its_batch_and_the_position_stays() -> None:
    failures = [Odd("the disk is gone"), Odd("and again")]
    failed = threading.Event()

    def before(number: int) -> None:
        if number == 2 and failures:
            failed.set()
            raise failures.pop(0)

    with Prefetched(Scripted(before), CPU, batches=4) as fetched:
        assert fetched.next_batch().item() == 0
        assert failed.wait(PATIENCE)
        assert fetched.next_batch().item() == 1  # the batches before it are good
        for message in ("the disk is gone", "and again"):
            with pytest.raises(Odd, match=f"^{message}$"):
                fetched.next_batch()
            assert fetched.state_dict() == {"position": 2} and fetched.summary() == {"tokens": 2}
        assert [fetched.next_batch().item() for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("error", [Odd, KeyboardInterrupt])
def test_the_thread_ends_with_the_block_also_by_an_error(error: type[BaseException]) -> None:
    begun = threading.Event()

    def before(number: int) -> None:
        if number == 1:
            begun.set()
            while True:  # a long forward pass in parts
                check_wanted()
                time.sleep(0.001)

    fetched = Prefetched(Scripted(before), CPU, batches=5)
    with pytest.raises(error), fetched:
        fetched.next_batch()
        assert begun.wait(PATIENCE)
        raise error
    assert not threads()
    assert fetched.state_dict() == {"position": 1}
    with pytest.raises(QuadricError, match="is closed: take batches in its with block"):
        fetched.next_batch()
    fetched.close()  # may be closed twice


def test_ctrl_c_reaches_a_trainer_that_waits() -> None:
    def before(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            check_wanted()
            time.sleep(0.001)

    # A process that a shell starts in the background ignores the signal from its first moment.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            Prefetched(Scripted(before), CPU, batches=5) as fetched,
        ):
            fetched.next_batch()
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert not threads()


def test_the_position_before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has made two batches, and the trainer is interrupted before it has any."""
    source = Scripted()

    def interrupted(_: object) -> None:
        until(lambda: source.position == 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(prefetch._Thread, "take", interrupted)
    with pytest.raises(KeyboardInterrupt), Prefetched(source, CPU, batches=5) as fetched:
        fetched.next_batch()
    assert fetched.state_dict() == {"position": 0} and fetched.summary() == {"tokens": 0}


def test_closing_while_all_batches_wait() -> None:
    """The thread waits for room, and nobody takes a batch any more."""
    source = Scripted()
    with Prefetched(source, CPU, batches=50) as fetched:
        fetched.next_batch()
        until(lambda: source.position == 3)
    assert source.position == 3


def test_a_source_that_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefetch, "_PATIENCE", 0.05)
    begun, proceed = threading.Event(), threading.Event()

    def before(number: int) -> None:
        if number == 1:
            begun.set()
            proceed.wait(PATIENCE)

    with Prefetched(Scripted(before), CPU, batches=3) as fetched:
        fetched.next_batch()
        assert begun.wait(PATIENCE)
    (left,) = threads()
    assert left.daemon  # so the process may end without it
    proceed.set()
    left.join(PATIENCE)


def test_looking_at_the_data_waits_for_the_batch_in_the_making() -> None:
    """``Scripted`` fails when two threads are in it at once."""
    source = Scripted(lambda _: time.sleep(0.002))
    with Prefetched(source, CPU, batches=30, ahead=5) as fetched:
        for number in range(30):
            assert fetched.next_batch().item() == number
            assert fetched.held_out(2).tolist() == [[-1.0]] * 2
            assert fetched.sample(1).tolist() == [[-2.0]]


def test_numbers_out_of_range() -> None:
    for options, message in [
        ({"batches": -1}, "batches is -1, expected at least 0"),
        ({"ahead": 0}, "ahead is 0, expected at least 1"),
    ]:
        with pytest.raises(QuadricError, match=message):
            Prefetched(shuffled(), CPU, **{"batches": 1, **options})
    check_wanted()  # outside a background thread nothing is unwanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device() -> None:
    """Many large batches whose memory is reused while the trainer's kernels are still queued."""
    x = torch.randn(60_000, 512)

    def source() -> ShuffledRows:
        return ShuffledRows(MemoryRows(x), batch_size=8192, seed=0)

    plain = source()
    with Prefetched(source(), torch.device("cuda"), batches=40, ahead=3) as fetched:
        sums = []
        for _ in range(40):
            batch = fetched.next_batch()
            assert batch.device == torch.device("cuda", torch.cuda.current_device())
            busy = batch @ batch.T  # keeps the stream behind the thread
            sums.append((batch.double().sum(0), busy.sum()))
            del batch, busy
    for found, _ in sums:
        torch.testing.assert_close(found.cpu(), plain.next_batch().double().sum(0))
