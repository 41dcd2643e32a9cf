"""Shuffled training batches out of activations, resumable by one integer.

:class:`ShuffledRows` shuffles single tokens over the whole data, not within a buffer and not by
context, because the density penalty is estimated over a batch. A trainer sees only
:class:`BatchSource`::

    source = ShuffledRows(open_rows(Path("cache")), batch_size=4096, seed=0)
    held_out = source.held_out(8192)
    x = source.next_batch()                   # (4096, d) float32
    state = source.state_dict()               # {"position": 4129}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from quadric.activations.permutation import Permutation, derive
from quadric.activations.rows import Rows, chunks
from quadric.activations.screen import norm_limit, row_norms
from quadric.errors import QuadricError
from quadric.ranks import ALONE, Ranks

EXACT_ROWS = 4_000_000
"""Up to so many training rows, every one is read at the start and the counts are exact."""
_SCAN_ROWS = 65_536
# The purposes of the permutations, so that no two of them share an order.
_TRAINING, _SAMPLING, _SCANNING, _HOLDING_OUT = range(4)


class BatchSource(Protocol):
    """Where a trainer's batches come from.

    Of several ranks each has a source of its own, which gives its share of every batch.
    """

    d_in: int
    """The width of the activations."""

    @property
    def batch_size(self) -> int:
        """Rows in a batch, those of all ranks together."""
        ...

    @property
    def ahead(self) -> int:
        """How many batches are worth computing before they are asked for."""
        ...

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """The next training batch, float32; of several ranks, this one's rows of it."""
        ...

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` rows that are never trained on, the same ones at every call."""
        ...

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` training rows, for input statistics; the position does not move."""
        ...

    def state_dict(self) -> dict[str, int]:
        """The position in the data; of several ranks, what is kept is the union of their states."""
        ...

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a position that :meth:`state_dict` gave."""
        ...

    def summary(self) -> dict[str, Any]:
        """Counts for the report: at least rows, tokens, dropped_tokens and norm_limit."""
        ...


class ShuffledRows:
    """A true shuffle of all training rows, a new one each epoch, as a :class:`BatchSource`.

    The last part of the rows is held out, cut between contexts where positions are known. Of the
    other n rows, position p of the run is row Permutation(n, seed, p // n)(p mod n). Two kinds of
    rows are left out of batches, samples and the held-out part alike: the first ``drop_first``
    positions of a context, and rows whose norm exceeds ``max_norm_multiple`` × the median norm of
    the training rows with allowed positions.

    Of W ranks, rank r takes rows r·B/W … (r+1)·B/W − 1 of every batch of B. The position is that of
    the whole batch, so it is the same on all ranks, and any number of ranks goes on from it with
    the same batches.
    """

    ahead = 2
    """One batch in use, one ready, one in the making."""

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        held_out_fraction: float = 0.05,
        drop_first: int = 1,
        max_norm_multiple: float | None = 10.0,
        ranks: Ranks = ALONE,
    ) -> None:
        """Divide the rows, find the norm limit and count what it drops.

        This reads every training row once and remembers which are kept, or, of more than
        :data:`EXACT_ROWS`, reads a random 65,536: then the counts are estimates, :meth:`summary`
        says so, and a rank reads the rows of the whole batch to know which of them are dropped.

        Args:
            rows: the activations.
            batch_size: rows in a batch, those of all ranks together; may be set lower afterwards,
                see :attr:`training_rows`.
            seed: chooses the order of the rows.
            held_out_fraction: the share of rows to hold out, in (0, 1), rounded to whole contexts
                upwards; at least one row.
            drop_first: leave out positions below this one; without effect on rows that do not know
                their positions.
            max_norm_multiple: the norm limit in medians; None for no limit.
            ranks: the processes that share each batch.

        Raises:
            QuadricError: an argument is out of range, ``batch_size`` cannot be divided among the
                ranks, there are fewer than two rows, nothing is left to train on, or a row is not
                finite.
        """
        if drop_first < 0:
            raise QuadricError(f"drop_first is {drop_first}, expected 0 or more")
        self.d_in = rows.d_in
        self._ranks = ranks
        self.batch_size = batch_size
        self._seed = seed
        self._rows = rows
        self._drop_first = drop_first
        self._training = _cut(rows, held_out_fraction)
        self._position = 0
        self._epoch = self._order(_TRAINING, 0)
        self._epoch_number = 0

        self._exact = self._training <= EXACT_ROWS
        scanned = self._training
        if not self._exact:
            scanned = min(scanned, _SCAN_ROWS)
        indices, norms = self._scan(scanned)
        self._limit = norm_limit(norms, max_norm_multiple) if len(norms) else math.inf
        fits = norms <= self._limit
        scale = self._training / scanned
        self._dropped_first = round(scale * (scanned - len(norms)))
        self._dropped_norm = round(scale * int((~fits).sum()))
        self._keep: Bool[Tensor, " training"] | None = None
        if self._exact:
            self._keep = torch.zeros(self._training, dtype=torch.bool)
            self._keep[indices[fits]] = True
        if not self.training_rows:
            raise QuadricError(
                f"no row is left to train on: of {self._training}, {self._dropped_first} stand at "
                f"a position below {drop_first} and {self._dropped_norm} exceed the norm limit"
            )

    @property
    def training_rows(self) -> int:
        """Rows that an epoch gives: what is neither held out nor dropped (estimated if not exact).

        ``source.batch_size = min(source.batch_size, source.training_rows)`` fits a batch to it.
        """
        return self._training - self._dropped_first - self._dropped_norm

    @property
    def batch_size(self) -> int:
        """Rows in a batch, those of all ranks together."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, rows: int) -> None:
        self._share = share_of(rows, self._ranks)
        self._batch_size = rows

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """This rank's share of the next ``batch_size`` kept rows, float32.

        The position moves just past the last row of the whole batch.

        Raises:
            QuadricError: an epoch has fewer rows than a batch, or a row is not finite.
        """
        if self._exact and self.batch_size > self.training_rows:
            raise self._too_few(self.training_rows)
        position, first = self._position, self._position
        start = self._ranks.rank * self._share
        parts: list[Tensor] = []
        found = 0
        while missing := self.batch_size - found:
            # Two epochs in a row contain a whole one; needed where the counts are estimates.
            if position - first > 2 * self._training:
                raise self._too_few(found)
            epoch, offset = divmod(position, self._training)
            if epoch != self._epoch_number:
                self._epoch, self._epoch_number = self._order(_TRAINING, epoch), epoch
            stop = min(offset + _window(missing), self._training)
            share = slice(max(start - found, 0), max(start + self._share - found, 0))
            x, which = self._shared(self._epoch(torch.arange(offset, stop)), share)
            parts.append(x)
            enough = len(which) >= missing
            position += int(which[missing - 1]) + 1 if enough else stop - offset
            found += min(len(which), missing)
        self._position = position
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` held-out rows, spread over the held-out part; fewer if it is smaller.

        They depend neither on the seed nor on the position, so runs can be compared on them.

        Raises:
            QuadricError: every held-out row is dropped.
        """
        size = len(self._rows) - self._training
        found = self._take(Permutation(size, derive(0, _HOLDING_OUT)), self._training, rows)
        if not len(found):
            raise QuadricError(
                f"all of the {size} held-out rows are dropped by position or norm: raise "
                "held_out_fraction"
            )
        return found

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` random training rows, the same at every call; the position stays.

        They do not depend on the seed, so runs on the same data share their input statistics.

        Raises:
            QuadricError: a row is not finite.
        """
        return self._take(Permutation(self._training, derive(0, _SAMPLING)), 0, rows)

    def state_dict(self) -> dict[str, int]:
        """``{"position": p}``: the place in the endless sequence of shuffled epochs."""
        return {"position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position; rows, seed and options must be those it was taken with.

        Raises:
            QuadricError: the state holds no position.
        """
        self._position = position_of(state, "position")

    def summary(self) -> dict[str, Any]:
        """What an epoch holds and what was left out.

        Returns:
            ``rows`` = ``held_out_rows`` + ``tokens`` + ``dropped_tokens``, where ``tokens`` are the
            training rows an epoch gives and ``dropped_tokens`` = ``dropped_first`` (by position) +
            ``dropped_norm`` (by norm) the ones it leaves out; ``norm_limit``, None without one; and
            ``estimated``, whether the counts were scaled up from a sample.
        """
        return {
            "rows": len(self._rows),
            "held_out_rows": len(self._rows) - self._training,
            "tokens": self.training_rows,
            "dropped_tokens": self._dropped_first + self._dropped_norm,
            "dropped_first": self._dropped_first,
            "dropped_norm": self._dropped_norm,
            "norm_limit": self._limit if math.isfinite(self._limit) else None,
            "estimated": not self._exact,
        }

    def _order(self, purpose: int, epoch: int) -> Permutation:
        return Permutation(self._training, derive(self._seed, purpose, epoch))

    def _scan(self, count: int) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
        """``count`` training rows, less those at dropped positions, and their norms."""
        order = self._order(_SCANNING, 0)
        seen, norms = [], []
        for run in chunks(count, self.d_in):
            indices = run if count == self._training else order(run)
            indices = indices[self._allowed(indices)]
            seen.append(indices)
            norms.append(row_norms(self._rows.gather(indices), indices, self._rows.locate))
        return torch.cat(seen), torch.cat(norms)

    def _allowed(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " m"]:
        """The entries of ``indices`` whose position is not dropped."""
        positions = self._rows.positions(indices)
        if positions is None or not self._drop_first:
            return torch.arange(len(indices))
        return torch.nonzero(positions >= self._drop_first).flatten()

    def _shared(
        self, indices: Int64[Tensor, " k"], share: slice
    ) -> tuple[Tensor, Int64[Tensor, " m"]]:
        """A share of the training rows of ``indices`` that are kept, and which entries are kept."""
        if self._keep is None:
            x, which = self._kept(indices)
            # A copy, so that the other ranks' rows do not stay in memory beneath it.
            return x[share] if self._ranks.world == 1 else x[share].clone(), which
        which = torch.nonzero(self._keep[indices]).flatten()
        chosen = indices[which[share]]
        x = self._rows.gather(chosen)
        # Their norms are known to fit; this finds what has turned bad on the disk since.
        row_norms(x, chosen, self._rows.locate)
        return x, which

    def _kept(self, indices: Int64[Tensor, " k"]) -> tuple[Tensor, Int64[Tensor, " m"]]:
        """The rows of ``indices`` that are not dropped, and which entries those are."""
        which = self._allowed(indices)
        x = self._rows.gather(indices[which])
        fits = row_norms(x, indices[which], self._rows.locate) <= self._limit
        return (x, which) if fits.all() else (x[fits], which[fits])

    def _take(self, order: Permutation, start: int, rows: int) -> Tensor:
        """The first ``rows`` kept rows of start + order, or as many as there are."""
        parts = [torch.empty(0, self.d_in)]
        missing, position = rows, 0
        while missing > 0 and position < order.length:
            stop = min(position + _window(missing), order.length)
            parts.append(self._kept(start + order(torch.arange(position, stop)))[0][:missing])
            missing -= len(parts[-1])
            position = stop
        return torch.cat(parts)

    def _too_few(self, found: int) -> QuadricError:
        return QuadricError(
            f"batch_size is {self.batch_size}, but only {found} of {len(self._rows)} rows are left "
            f"to train on ({len(self._rows) - self._training} held out, {self._dropped_first} "
            f"dropped by position, {self._dropped_norm} by norm): lower batch_size"
        )


def share_of(batch_size: int, ranks: Ranks) -> int:
    """The rows of each rank in a batch.

    Raises:
        QuadricError: there is none, or the ranks cannot share the batch equally.
    """
    if batch_size < 1:
        raise QuadricError(f"batch_size is {batch_size}, expected at least 1")
    if batch_size % ranks.world:
        raise QuadricError(
            f"batch_size is {batch_size}, expected a multiple of the {ranks.world} ranks that "
            f"share each batch, such as {max(1, batch_size // ranks.world) * ranks.world}"
        )
    return batch_size // ranks.world


def _window(missing: int) -> int:
    """Rows to read for ``missing`` kept ones: some are dropped, and one window should do."""
    return missing + missing // 32 + 8


def position_of(state: Mapping[str, int], key: str) -> int:
    """One non-negative integer of a saved state.

    Raises:
        QuadricError: it is missing, not an integer, or negative.
    """
    value = state.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise QuadricError(
            f"the saved data position has {key} {value!r}, expected an integer of 0 or more"
        )
    return value


def _cut(rows: Rows, fraction: float) -> int:
    """How many rows are for training: the held-out part begins there."""
    if not 0 < fraction < 1:
        raise QuadricError(f"held_out_fraction is {fraction}, expected a number between 0 and 1")
    total = len(rows)
    if total < 2:
        raise QuadricError(f"there is {total} row: at least 2 are needed, one to hold out")
    cut = min(max(total - round(total * fraction), 1), total - 1)
    position = rows.positions(torch.tensor([cut]))
    # Rows of one context are related, so a context must not lie on both sides; but a single
    # context has to be cut.
    aligned = cut if position is None else cut - int(position[0])
    return aligned or cut
