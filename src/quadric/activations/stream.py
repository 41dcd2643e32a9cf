"""Training batches from a language model that runs meanwhile, for activations too many to keep.

:class:`StreamSource` shuffles the chunks of :class:`~quadric.activations.chunks.ActivationStream`
and cuts them into batches::

    stream = ActivationStream(HarvestConfig(tokens=50_000_000))
    source = StreamSource(stream, batch_size=4096, seed=0)
    source.next_batch()      # (4096, d) float32

Any chunk can be made again, so a run is continued from two integers: which chunk, and how far into
it. Through :class:`~quadric.activations.prefetch.Prefetched` the language model computes the next
chunk while the trainer uses the last one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from quadric.activations.chunks import ActivationStream, Chunk
from quadric.activations.loader import share_of
from quadric.activations.permutation import Permutation, derive
from quadric.activations.screen import norm_limit
from quadric.activations.turns import COUNTS, Turns
from quadric.errors import QuadricError
from quadric.ranks import ALONE, Ranks

# The purposes of the shuffles, so that no two of them share an order.
_TRAINING, _SAMPLING, _HOLDING_OUT = range(3)


class StreamSource:
    """Shuffled training batches from a stream, in bounded memory; a ``BatchSource``.

    The first chunks are held out. Each later chunk is filtered, shuffled as a whole by a seed of
    its own, and used up row by row; after the last one the stream begins again in another order. So
    every kept row appears once per pass, and memory holds the held-out rows and one chunk.

    Of several ranks each runs the language model on every world-th training chunk only
    (:mod:`quadric.activations.turns`) and gives batch_size / world rows of those. As many ranks
    continue a run bit for bit. Another number of ranks continues it at the next whole chunk that no
    rank had begun: what was left of the begun ones is not used in that pass.
    """

    d_in: int
    """The width of a row."""

    def __init__(
        self,
        stream: ActivationStream,
        *,
        batch_size: int,
        seed: int,
        held_out_chunks: int = 1,
        drop_first: int = 1,
        max_norm_multiple: float | None = 10.0,
        ranks: Ranks = ALONE,
    ) -> None:
        """Compute the held-out chunks, and from the first the largest norm that is kept.

        Args:
            stream: where chunks come from.
            batch_size: rows in a batch, those of all ranks together; may be changed.
            seed: of the shuffles.
            held_out_chunks: how many chunks from the start are never trained on.
            drop_first: positions below this are dropped (the first token is an attention sink).
            max_norm_multiple: rows whose norm exceeds this multiple of the median norm of the first
                chunk (of its positions that are not dropped) are dropped; None keeps them.
            ranks: the processes that share each batch.

        Raises:
            QuadricError: a number is out of range, ``batch_size`` cannot be divided among the
                ranks, or the stream ends with the held-out chunks.
        """
        for name, value, least in (
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
        self._ranks = ranks
        self.batch_size = batch_size
        self._stream, self._seed = stream, seed
        self._skipped, self._drop_first = held_out_chunks, drop_first
        self._limit = math.inf
        self._turns = Turns(ranks)
        self._held_out_rows = 0
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

    @property
    def batch_size(self) -> int:
        """Rows in a batch, those of all ranks together."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int) -> None:
        self._share = share_of(rows, self._ranks)
        self._batch_size = rows

    @property
    def ahead(self) -> int:
        """As many batches as a chunk gives: while they are used, the next chunk is computed."""
        return -(-self._stream.chunk_rows // self._share)

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """This rank's share of the next ``batch_size`` rows; a batch may span chunks.

        Raises:
            QuadricError: the stream cannot go on, or a chunk has no row to keep.
        """
        turns, before = self._turns, copy.deepcopy(self._turns)
        parts: list[Tensor] = []
        missing = self._share
        try:
            while missing:
                loaded = self._current()
                taken = loaded.order[turns.offset : turns.offset + missing]
                parts.append(loaded.activations[taken])
                missing -= len(taken)
                turns.offset += len(taken)
                if missing:
                    del loaded
                    turns.advance()
                    self._loaded = None
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        except BaseException:
            # No row may be lost with the batch that was not given out.
            if turns.chunk != before.chunk:
                self._loaded = None
            self._turns = before
            raise

    def held_out_contexts(self) -> Int[Tensor, "contexts context_size"]:
        """The token ids of the first held-out chunk."""
        return self._held_out_ids.clone()

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` held-out rows; a larger number adds to those of a smaller one."""
        return self._held_out[:rows].clone()

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` random rows of the first training chunk; the position stays."""
        loaded = self._current() if self._turns.chunk == 0 else self._load(0)
        return loaded.activations[_shuffled(loaded.order, self._seed, _SAMPLING)[:rows]]

    def state_dict(self) -> dict[str, int]:
        """``chunk`` (counted on through later passes), ``offset`` in it, and the counts so far.

        With several ranks, those of this rank, see :meth:`Turns.state_dict`.
        """
        return self._turns.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position; stream, seed and options must be those it was taken with.

        Raises:
            QuadricError: the state is incomplete or holds something else than counts.
        """
        self._turns.load_state_dict(state)
        self._loaded = None

    def summary(self) -> dict[str, Any]:
        """Counts so far.

        Returns:
            ``rows`` = ``held_out_rows`` + ``tokens`` + ``dropped_tokens``: the rows of all chunks
            reached so far, each counted once; where ``dropped_tokens`` = ``dropped_first`` (by
            position) + ``dropped_norm`` (by norm) are the training rows left out; ``norm_limit``,
            None without one; ``estimated`` False. The chunks of other ranks are counted up to the
            state that was loaded last.
        """
        counts = self._turns.counts()
        dropped = counts["dropped_first"] + counts["dropped_norm"]
        return {
            "rows": self._held_out_rows + counts["tokens"] + dropped,
            "held_out_rows": self._held_out_rows,
            "tokens": counts["tokens"],
            "dropped_tokens": dropped,
            "dropped_first": counts["dropped_first"],
            "dropped_norm": counts["dropped_norm"],
            "norm_limit": self._limit if math.isfinite(self._limit) else None,
            "estimated": False,
        }

    def _current(self) -> _Loaded:
        """The chunk at the position, computed if it is not there."""
        if self._loaded is None:
            turns = self._turns
            self._loaded = self._load(turns.chunk)
            if turns.offset > len(self._loaded.order):
                raise QuadricError(
                    f"the saved data position is row {turns.offset} of chunk {turns.chunk}, which "
                    f"has {len(self._loaded.order)}: it was taken on another stream"
                )
            # A later pass brings no new rows.
            end = self._stream.length
            if end is None or turns.chunk < end - self._skipped:
                turns.count({key: getattr(self._loaded, key) for key in COUNTS})
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
