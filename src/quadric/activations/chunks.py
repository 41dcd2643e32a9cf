"""Activations chunk by chunk, computed when asked for.

:class:`ActivationStream` gives the same rows as a harvest, without a disk::

    stream = ActivationStream(HarvestConfig(tokens=50_000_000))
    stream.chunk(3).activations      # (rows, d) float32

A chunk is a fixed stretch of the text, so any chunk can be made again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.config import HarvestConfig
from quadric.activations.harvest import open_source
from quadric.activations.prefetch import check_wanted
from quadric.activations.screen import row_norms
from quadric.errors import QuadricError, nearest


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
    chunk_rows: int
    """Rows in a chunk; the last one may be shorter."""
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
        self.chunk_rows = self._batches_per_chunk * config.batch_contexts * config.context_size
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
        skipped = 0
        for _ in islice(text, (index - start) * size):
            check_wanted()
            skipped += 1
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
            check_wanted()
            found = self._source.activations(batch)[self.hook]
            activations[start : start + len(batch)] = found
            start += len(batch)
        rows = activations.flatten(0, 1)
        first = index * self.chunk_rows
        norms = row_norms(rows, torch.arange(first, first + len(rows)), self._locate)
        positions = torch.arange(context_size).repeat(len(token_ids))
        return Chunk(rows, norms, token_ids.flatten(), positions)

    def _locate(self, row: int) -> str:
        context, position = divmod(row, self.config.context_size)
        return f"hook {self.hook!r}, context {context}, position {position}"
