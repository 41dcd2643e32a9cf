"""The next batches, computed in the background while the trainer uses the last one.

    with Prefetched(source, device, batches=1000) as batches:
        for _ in range(1000):
            x = batches.next_batch()          # on the device, ready

Reading, filtering, conversion, the copy to an accelerator and a stream's forward passes all happen
in one thread beside the training steps. The batches and the saved positions are those of the source
alone, bit for bit. Long work in a source asks :func:`check_wanted` between its parts, so that a run
which stops need not wait for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.activations.loader import BatchSource
from quadric.errors import QuadricError

_PATIENCE = 60.0
"""Seconds to wait for a batch that is not wanted any more."""
_this_thread = threading.local()

_Move: TypeAlias = Callable[[Tensor], "tuple[Tensor, torch.cuda.Event | None]"]


class Abandoned(Exception):
    """The batch that a background thread computes is not wanted any more."""


def check_wanted() -> None:
    """Return at once, except in a background thread that was told to end.

    Raises:
        Abandoned: it was.
    """
    unwanted: threading.Event | None = getattr(_this_thread, "unwanted", None)
    if unwanted is not None and unwanted.is_set():
        raise Abandoned


class Prefetched:
    """A :class:`BatchSource` that computes the batches of another one ahead, on the device.

    Memory holds ``ahead`` batches more than without it, counting the one in the making; a stream's
    own chunk comes on top, which makes two chunks in all. On CUDA the batches wait on the device,
    copied from pinned memory on a stream of their own; on a CPU nothing is copied. Nobody else may
    take batches from the source meanwhile.
    """

    def __init__(
        self, source: BatchSource, device: torch.device, *, batches: int, ahead: int | None = None
    ) -> None:
        """Wrap a source; nothing is computed before the first batch is asked for.

        Args:
            source: whose batches they are.
            device: where they are wanted.
            batches: how many will be taken, so that none is computed in vain.
            ahead: how many may be there before they are asked for; what the source itself deems
                worthwhile when None.

        Raises:
            QuadricError: a number is out of range.
        """
        self.d_in = source.d_in
        self.ahead = source.ahead if ahead is None else ahead
        for name, value, least in (("batches", batches, 0), ("ahead", self.ahead, 1)):
            if value < least:
                raise QuadricError(f"{name} is {value}, expected at least {least}")
        # With its index: which accelerator is the current one is a matter of each thread.
        self._source, self._device = source, torch.empty(0, device=device).device
        self._batches, self._given, self._closed = batches, 0, False
        # Whoever calls the source holds this, so that the thread and the trainer never meet in it.
        self._source_free = threading.Lock()
        self._thread: _Thread | None = None
        self._last: _Place | None = None

    def __enter__(self) -> Prefetched:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread."""
        self.close()

    @property
    def batch_size(self) -> int:
        """Rows in a batch, those of all ranks together."""
        return self._source.batch_size

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """The source's next batch, on the device.

        Raises:
            QuadricError: it is closed, or more batches are taken than were announced.
            BaseException: whatever the source raised over this batch, as it raised it. The position
                stays, and the next call tries again.
        """
        if self._closed:
            raise QuadricError("this prefetched source is closed: take batches in its with block")
        if self._given == self._batches:
            raise QuadricError(
                f"all of the {self._batches} batches announced were taken: raise batches"
            )
        if self._thread is None:
            self._begin()
        assert self._thread is not None
        made = self._thread.take()
        if made.error is not None:
            self._thread = None
            raise made.error
        self._given += 1
        self._last = made.place
        return made.arrive(self._device)

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """The source's held-out rows; waits while a batch is being computed."""
        with self._source_free:
            return self._source.held_out(rows)

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """The source's sample of training rows; waits while a batch is being computed."""
        with self._source_free:
            return self._source.sample(rows)

    def state_dict(self) -> dict[str, int]:
        """The position behind the batch last given out, whatever was read ahead."""
        return self._source.state_dict() if self._last is None else dict(self._last.state)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a position; what was read ahead is dropped.

        Raises:
            QuadricError: the state is none of this source's.
        """
        self._end()
        with self._source_free:
            self._source.load_state_dict(state)
        self._last = None

    def summary(self) -> dict[str, Any]:
        """The source's counts at the batch last given out."""
        return self._source.summary() if self._last is None else dict(self._last.summary)

    def close(self) -> None:
        """End the thread, after the batch it is at or at the next :func:`check_wanted` in it.

        If fewer batches were taken than announced, the source stands up to ``ahead`` of them
        further than the trainer: ``source.load_state_dict(prefetched.state_dict())`` sets it back.
        A source that does not answer within a minute is left alone in its thread, which ends with
        the process at the latest.
        """
        self._closed = True
        self._end()

    def _begin(self) -> None:
        # From here on the source runs ahead, so where it stood has to be remembered.
        if self._last is None:
            self._last = _Place.of(self._source)
        count = self._batches - self._given
        self._thread = _Thread(self._source, self._source_free, self._device, self.ahead, count)
        self._thread.start()

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.abandon()


class _Place(NamedTuple):
    """Where a source stands."""

    state: dict[str, int]
    summary: dict[str, Any]

    @staticmethod
    def of(source: BatchSource) -> _Place:
        """Where it stands now."""
        return _Place(source.state_dict(), source.summary())


class _Made(NamedTuple):
    """A batch and the place behind it, or the error that came instead."""

    batch: Tensor | None = None
    place: _Place | None = None
    copied: torch.cuda.Event | None = None
    error: BaseException | None = None

    def arrive(self, device: torch.device) -> Tensor:
        """The batch, safe to use on the current stream of the calling thread."""
        assert self.batch is not None
        if self.copied is not None:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(self.copied)
            # The memory belongs to the copying stream, which must not reuse it under the trainer.
            self.batch.record_stream(stream)
        return self.batch


class _Thread(threading.Thread):
    """Computes so many batches of a source, never more than ``ahead`` beyond those taken."""

    def __init__(
        self,
        source: BatchSource,
        source_free: threading.Lock,
        device: torch.device,
        ahead: int,
        count: int,
    ) -> None:
        # A daemon, so that a source which blocks for ever cannot keep the process from ending.
        super().__init__(name="quadric-prefetch", daemon=True)
        self._source, self._source_free = source, source_free
        self._device, self._ahead, self._count = device, ahead, count
        self._made: deque[_Made] = deque()
        self._changed = threading.Condition()
        self._unwanted = threading.Event()
        # What the source has on the device (a language model) was put there by this stream.
        self._before = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def take(self) -> _Made:
        """The next batch, as soon as it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._made)
            made = self._made.popleft()
            self._changed.notify_all()
        return made

    def abandon(self) -> None:
        """End the thread and drop what it made."""
        self._unwanted.set()
        with self._changed:
            self._changed.notify_all()
        self.join(_PATIENCE)
        self._made.clear()

    def run(self) -> None:
        """Compute batches until all are made, one fails, or nobody wants them."""
        _this_thread.unwanted = self._unwanted
        try:
            with _copying(self._device, self._before) as move:
                for _ in range(self._count):
                    with self._changed:
                        self._changed.wait_for(self._room)
                    check_wanted()
                    self._put(self._make(move))
        except BaseException as error:  # the trainer raises it, when it comes to this batch
            self._put(_Made(error=error))

    def _room(self) -> bool:
        return len(self._made) < self._ahead or self._unwanted.is_set()

    def _make(self, move: _Move) -> _Made:
        with self._source_free:
            batch = self._source.next_batch()
            place = _Place.of(self._source)
        moved, copied = move(batch)
        return _Made(moved, place, copied)

    def _put(self, made: _Made) -> None:
        with self._changed:
            self._made.append(made)
            self._changed.notify_all()


@contextmanager
def _copying(device: torch.device, before: torch.cuda.Stream | None) -> Iterator[_Move]:
    """How this thread brings a batch to the device; on CUDA all it does is on its own stream."""
    if before is None:
        yield lambda batch: (batch.to(device), None)
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(before)

    def move(batch: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        # From pinned memory the copy runs beside the trainer's kernels; the allocator keeps the
        # pinned block until the copy is over.
        ready = batch.pin_memory() if batch.device.type == "cpu" else batch
        return ready.to(device, non_blocking=True), side.record_event()

    with torch.cuda.device(device), torch.cuda.stream(side):
        yield move
