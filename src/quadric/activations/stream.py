"""Activations made while training, for when they are too many to keep.

:class:`ActivationStream` gives the same rows as a harvest, chunk by chunk and without a disk;
:class:`StreamSource` turns them into training batches::

    stream = ActivationStream(HarvestConfig(tokens=50_000_000))
    source = StreamSource(stream, batch_size=4096, seed=0)
    source.next_batch()      # (4096, d) float32

A chunk is a fixed stretch of the text, so any chunk can be made again, and a run is continued from
two integers: which chunk, and how far into it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from quadric.activations.config import HarvestConfig
from quadric.activations.harvest import open_source
from quadric.activations.loader import position_of
from quadric.activations.permutation import Permutation, derive
from quadric.activations.screen import norm_limit, row_norms
from quadric.errors import QuadricError, nearest

# The purposes of the shuffles, so that no two of them share an order.
_TRAINING, _SAMPLING, _HOLDING_OUT = range(3)
_TALLY = ("counted_chunks", "tokens", "dropped_first", "dropped_norm")


class Chunk(NamedTuple):
    """Consecutive rows of a stream: a whole number of contexts."""

    activations: Float[Tensor, "rows d"]
    """float32, on the CPU."""
    norms: Float[Tensor, " rows"]
    """‖x‖₂ of every row."""
    token_ids: Int[Tensor, " rows"]
    """The token at each row."""
    positions: Int[Tensor, " rows"]
    """Its position in its context."""


class ActivationStream:
    """The activations of one hook, chunk by chunk, computed when asked for."""

    hook: str
    """The hook's name."""
    hf_hook: str
    """The same place as a module path of the model."""
    d_in: int
    """The width of its activations."""
    config: HarvestConfig
    """The configuration with ``dtype`` and ``device`` resolved."""
    length: int | None
    """How many chunks there are; None until the end of the stream has been seen."""

    def __init__(
        self, config: HarvestConfig, hook: str | None = None, *, contexts_per_chunk: int = 256
    ) -> None:
        """Load the model and get the text ready.

        Args:
            config: model, text, and how much of it: the stream ends after ``config.tokens``.
            hook: which of the hooks that ``config.hook`` names; may be left out if that is one.
            contexts_per_chunk: contexts in a chunk, rounded up to whole forward passes; a chunk
                takes contexts × context_size × d × 4 bytes.

        Raises:
            QuadricError: the model or the hook is not there, or the hook is not decided.
        """
        if contexts_per_chunk < 1:
            raise QuadricError(f"contexts_per_chunk is {contexts_per_chunk}, expected at least 1")
        source = open_source(config)
        names = list(source.widths)
        if hook is None and len(names) > 1:
            raise QuadricError(
                f"{config.hook!r} names several hooks; choose one: {', '.join(names)}"
            )
        self.hook = names[0] if hook is None else hook
        if self.hook not in names:
            raise QuadricError(
                f"hook {hook!r} is not among those of the configuration: {', '.join(names)}"
                f"{nearest(self.hook, names)}"
            )
        self.d_in = source.widths[self.hook]
        self.config = source.config
        self.length = None
        hooks = [known for known in source.hooks if known.hook_name == self.hook]
        self.hf_hook = hooks[0].hf_hook_name
        self._source = dataclasses.replace(source, hooks=hooks)
        self._batches_per_chunk = -(-contexts_per_chunk // config.batch_contexts)
        self._text: Iterator[Int[Tensor, "b t"]] | None = None
        self._next = 0

    def __iter__(self) -> Iterator[Chunk]:
        """Every chunk from the first to the last."""
        index = 0
        while self.length is None or index < self.length:
            try:
                chunk = self.chunk(index)
            except IndexError:
                return
            yield chunk
            index += 1

    def chunk(self, index: int) -> Chunk:
        """Chunk number ``index``, the same whenever it is asked for.

        The next chunk goes on where the last one ended; a later one skips text without running the
        model; an earlier one starts the text anew.

        Raises:
            IndexError: the stream ends before that chunk.
            QuadricError: an activation is not finite, or the text cannot be read.
        """
        if index < 0:
            raise IndexError(f"chunk {index}: chunks count from 0")
        text, start = self._text, self._next
        if text is None or index < start:
            text, start = self._source.batches(), 0
        # Forgotten until the text has been read: an interrupt in between must not shift chunks.
        self._text = None
        size = self._batches_per_chunk
        skipped = sum(1 for _ in islice(text, (index - start) * size))
        batches = list(islice(text, size))
        if len(batches) < size:  # the end of the text: now the number of chunks is known
            self.length = -(-(start * size + skipped + len(batches)) // size)
        else:
            self._text, self._next = text, index + 1
        if not batches:
            raise IndexError(f"chunk {index}: the stream has {self.length} chunks")
        return self._run(index, batches)

    def _run(self, index: int, batches: list[Int[Tensor, "b t"]]) -> Chunk:
        context_size = self.config.context_size
        token_ids = torch.cat(batches)
        # Filled in place, so that a chunk is never in memory twice.
        activations = torch.empty(*token_ids.shape, self.d_in)
        start = 0
        for batch in batches:
            found = self._source.activations(batch)[self.hook]
            activations[start : start + len(batch)] = found
            start += len(batch)
        rows = activations.flatten(0, 1)
        first = index * self._batches_per_chunk * self.config.batch_contexts * context_size
        norms = row_norms(rows, torch.arange(first, first + len(rows)), self._locate)
        positions = torch.arange(context_size).repeat(len(token_ids))
        return Chunk(rows, norms, token_ids.flatten(), positions)

    def _locate(self, row: int) -> str:
        context, position = divmod(row, self.config.context_size)
        return f"hook {self.hook!r}, context {context}, position {position}"


class StreamSource:
    """Shuffled training batches from a stream, in bounded memory; a ``BatchSource``.

    The first chunks are held out. Each later chunk is filtered, shuffled as a whole by a seed of
    its own, and used up row by row; after the last one the stream begins again in another order. So
    every kept row appears once per pass, and memory holds the held-out rows and one chunk.
    """

    d_in: int
    """The width of a row."""
    batch_size: int
    """Rows in a batch; may be changed."""

    def __init__(
        self,
        stream: ActivationStream,
        *,
        batch_size: int,
        seed: int,
        held_out_chunks: int = 1,
        drop_first: int = 1,
        max_norm_multiple: float | None = 10.0,
    ) -> None:
        """Compute the held-out chunks, and from the first the largest norm that is kept.

        Args:
            stream: where chunks come from.
            batch_size: rows in a batch.
            seed: of the shuffles.
            held_out_chunks: how many chunks from the start are never trained on.
            drop_first: positions below this are dropped (the first token is an attention sink).
            max_norm_multiple: rows whose norm exceeds this multiple of the median norm of the first
                chunk (of its positions that are not dropped) are dropped; None keeps them.

        Raises:
            QuadricError: a number is out of range, or the stream ends with the held-out chunks.
        """
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("held_out_chunks", held_out_chunks, 1),
            ("drop_first", drop_first, 0),
        ):
            if value < least:
                raise QuadricError(f"{name} is {value}, expected at least {least}")
        if drop_first >= stream.config.context_size:
            raise QuadricError(
                f"drop_first is {drop_first}, but a context has {stream.config.context_size} tokens"
            )
        self.d_in = stream.d_in
        self.batch_size = batch_size
        self._stream, self._seed = stream, seed
        self._skipped, self._drop_first = held_out_chunks, drop_first
        self._limit = math.inf
        self._tally = dict.fromkeys(_TALLY, 0)
        self._chunk = self._offset = self._held_out_rows = 0
        self._loaded: _Loaded | None = None
        held: list[Tensor] = []
        for index in range(held_out_chunks):
            try:
                chunk = stream.chunk(index)
            except IndexError as error:
                raise QuadricError(
                    f"held_out_chunks is {held_out_chunks}, but the stream has {index} chunks: "
                    "read more tokens or make the chunks smaller"
                ) from error
            if index == 0:
                body = chunk.positions >= drop_first
                self._limit = norm_limit(chunk.norms[body], max_norm_multiple)
                size = stream.config.context_size
                self._held_out_ids = chunk.token_ids.reshape(-1, size)
            self._held_out_rows += len(chunk.norms)
            held.append(chunk.activations[self._kept(chunk)])
        rows = torch.cat(held)
        # Independent of the seed, so that runs can be compared on the same rows.
        self._held_out = rows[_shuffled(torch.arange(len(rows)), 0, _HOLDING_OUT)]

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """The next ``batch_size`` rows; a batch may span chunks.

        Raises:
            QuadricError: the stream cannot go on, or a chunk has no row to keep.
        """
        parts: list[Tensor] = []
        missing = self.batch_size
        while missing:
            loaded = self._current()
            taken = loaded.order[self._offset : self._offset + missing]
            parts.append(loaded.activations[taken])
            missing -= len(taken)
            self._offset += len(taken)
            if missing:
                del loaded
                self._chunk, self._offset, self._loaded = self._chunk + 1, 0, None
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def held_out_contexts(self) -> Int[Tensor, "contexts context_size"]:
        """The token ids of the first held-out chunk."""
        return self._held_out_ids.clone()

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` held-out rows; a larger number adds to those of a smaller one."""
        return self._held_out[:rows].clone()

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` random rows of the first training chunk; the position stays."""
        loaded = self._current() if self._chunk == 0 else self._load(0)
        return loaded.activations[_shuffled(loaded.order, self._seed, _SAMPLING)[:rows]]

    def state_dict(self) -> dict[str, int]:
        """``chunk`` (counted on through later passes), ``offset`` in it, and the counts so far."""
        return {"chunk": self._chunk, "offset": self._offset, **self._tally}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position; stream, seed and options must be those it was taken with.

        Raises:
            QuadricError: the state is incomplete or holds something else than counts.
        """
        values = {key: position_of(state, key) for key in ("chunk", "offset", *_TALLY)}
        self._chunk, self._offset = values["chunk"], values["offset"]
        self._tally = {key: values[key] for key in _TALLY}
        self._loaded = None

    def summary(self) -> dict[str, Any]:
        """Counts so far.

        Returns:
            ``rows`` = ``held_out_rows`` + ``tokens`` + ``dropped_tokens``: the rows of all chunks
            reached so far, each counted once; where ``dropped_tokens`` = ``dropped_first`` (by
            position) + ``dropped_norm`` (by norm) are the training rows left out; ``norm_limit``,
            None without one; ``estimated`` False.
        """
        tally = self._tally
        dropped = tally["dropped_first"] + tally["dropped_norm"]
        return {
            "rows": self._held_out_rows + tally["tokens"] + dropped,
            "held_out_rows": self._held_out_rows,
            "tokens": tally["tokens"],
            "dropped_tokens": dropped,
            "dropped_first": tally["dropped_first"],
            "dropped_norm": tally["dropped_norm"],
            "norm_limit": self._limit if math.isfinite(self._limit) else None,
            "estimated": False,
        }

    def _current(self) -> _Loaded:
        """The chunk at the position, computed if it is not there."""
        if self._loaded is None:
            self._loaded = self._load(self._chunk)
            if self._offset > len(self._loaded.order):
                raise QuadricError(
                    f"the saved data position is row {self._offset} of chunk {self._chunk}, which "
                    f"has {len(self._loaded.order)}: it was taken on another stream"
                )
            # The position walks through the chunks in order, so each is counted on its first visit.
            end = self._stream.length
            repeated = end is not None and self._chunk >= end - self._skipped
            if self._chunk == self._tally["counted_chunks"] and not repeated:
                self._tally["counted_chunks"] += 1
                for key in ("tokens", "dropped_first", "dropped_norm"):
                    self._tally[key] += getattr(self._loaded, key)
        return self._loaded

    def _load(self, number: int) -> _Loaded:
        """Training chunk ``number``, where numbers go on through later passes."""
        inside = number
        if (length := self._stream.length) is not None:
            if length <= self._skipped:
                raise QuadricError(
                    f"the stream has {length} chunks and {self._skipped} are held out, so none is "
                    "left to train on: read more tokens or make the chunks smaller"
                )
            inside = number % (length - self._skipped)
        try:
            chunk = self._stream.chunk(self._skipped + inside)
        except IndexError:  # the end of the stream: now its length is known
            return self._load(number)
        kept = self._kept(chunk)
        if not len(kept):
            raise QuadricError(
                f"every row of training chunk {number} is dropped: its position is below "
                f"{self._drop_first} or its norm above {self._limit:g}"
            )
        first = int((chunk.positions < self._drop_first).sum())
        return _Loaded(
            activations=chunk.activations,
            order=_shuffled(kept, self._seed, _TRAINING, number),
            tokens=len(kept),
            dropped_first=first,
            dropped_norm=len(chunk.norms) - first - len(kept),
        )

    def _kept(self, chunk: Chunk) -> Int64[Tensor, " k"]:
        """Which rows of a chunk are not dropped."""
        keep = (chunk.positions >= self._drop_first) & (chunk.norms <= self._limit)
        return torch.nonzero(keep).flatten()


class _Loaded(NamedTuple):
    """A training chunk with the order in which its kept rows are used, and its counts."""

    activations: Float[Tensor, "rows d"]
    order: Int64[Tensor, " k"]
    tokens: int
    dropped_first: int
    dropped_norm: int


def _shuffled(items: Int64[Tensor, " k"], seed: int, *purpose: int) -> Int64[Tensor, " k"]:
    if not len(items):
        return items
    return items[Permutation(len(items), derive(seed, *purpose))(torch.arange(len(items)))]
