"""Where forms fire: their strongest, weakest and ordinary rows, in one pass over a store.

found = find_contexts(model, store, k=10)           # every latent of an autoencoder
found.most_positive.rows[3]                         # the ten rows where latent 3 is largest
reader = FormReader(model, tensor)                  # or any forms on the model's input
found = find_contexts(reader, store, k=10, visit=statistics.add)

Memory is that of one piece of the store, O(forms · k) for what is found, and whatever ``visit``
keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.permutation import Permutation
from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift

Encode = Callable[[Float[Tensor, "rows d_in"]], Float[Tensor, "rows forms"]]
Visit = Callable[[Int[Tensor, " rows"], Float[Tensor, "rows forms"]], None]

ROWS_AT_ONCE = 2048
FIRST_ROWS = 64
"""Size of the first piece. Later ones are as large as all before them, so that few values of a
piece beat what is already known, until they reach ``ROWS_AT_ONCE``."""
SAMPLE = 4096
"""Rows drawn for the near-zero and random contexts."""


class TopRows(NamedTuple):
    """A few rows for every form, best first."""

    rows: Int[Tensor, "forms k"]
    """Row numbers in the store; −1 where there are fewer than k."""
    values: Float[Tensor, "forms k"]
    """The signed values there; 0 where there is no row."""


class Contexts(NamedTuple):
    """What one pass over a store finds out about each form."""

    most_positive: TopRows
    """The largest values of the whole store; only positive ones."""
    most_negative: TopRows
    """The smallest values of the whole store, smallest first; only negative ones."""
    near_zero: TopRows
    """The smallest |value| in a seeded sample of rows. The whole store would often hold exact zeros
    in plenty, and its first ones are no sample of where a form is silent."""
    random: TopRows
    """Rows drawn without looking at the values, others for each form as far as the sample goes."""
    mean_square: Float[Tensor, " forms"]
    """Mean of value² over all rows, in float64."""
    seen: int
    """The number of rows looked at."""

    def strongest(self) -> TopRows:
        """The largest |value| of the whole store."""
        rows = torch.cat([self.most_positive.rows, self.most_negative.rows], dim=1)
        values = torch.cat([self.most_positive.values, self.most_negative.values], dim=1)
        # A place without a row comes after every row, also after one whose value underflows.
        size = torch.where(rows < 0, -1.0, values.abs())
        order = size.sort(dim=1, descending=True, stable=True).indices
        order = order[:, : self.most_positive.rows.shape[1]]
        return TopRows(rows.gather(1, order), values.gather(1, order))


@dataclass(frozen=True)
class FormReader:
    """Values of forms at activations: x ↦ T(y), y the model's transformed, maybe lifted, x.

    Raises:
        QuadricError: the forms are not on the model's input.
    """

    model: BilinearAutoencoder
    """Whose input the forms read."""
    tensor: BilinearTensor | None = None
    """The forms, on d_in coordinates, or d_in + 1 for an affine model; its latents when None."""

    def __post_init__(self) -> None:
        """Check the widths against each other."""
        width = self.model.left.shape[1]
        if self.tensor is not None and self.tensor.d != width:
            raise QuadricError(
                f"the forms read {self.tensor.d} coordinates, the autoencoder's input has {width}"
            )

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows forms"]:
        """The forms' values at ``x``."""
        y = self.model.transform.apply_to(x.to(self.model.device, self.model.dtype)).y
        y = lift(y) if self.model.config.affine else y
        factors = self.model if self.tensor is None else self.tensor
        products = (y @ factors.left.mT) * (y @ factors.right.mT)
        if self.tensor is None:
            # Faster than the output matrix of ``tensor()`` where a latent is a sum of products.
            return self.model.mixing.latents(products)
        return self.tensor.read_out(products)


@torch.no_grad()
def find_contexts(
    forms: BilinearAutoencoder | Encode,
    store: Rows,
    k: int,
    *,
    limit: int | None = None,
    drop_first: int = 1,
    seed: int = 0,
    visit: Visit | None = None,
) -> Contexts:
    """The k most positive, most negative, near-zero and random rows of every form.

    Args:
        forms: an autoencoder, whose latents are meant, or any map from activations to values.
        store: activations in their stored order.
        k: how many rows of each kind.
        limit: how many leading rows of the store to look at; all of them when None.
        drop_first: positions of a context left out, as in training.
        seed: of the sample behind ``near_zero`` and ``random``.
        visit: called with the row numbers and values (on the CPU) of every piece, in order, for
            whatever else is to be gathered in the same pass.

    Raises:
        QuadricError: k is not positive, or no row is left.
    """
    if k < 1:
        raise QuadricError(f"k is {k}, expected at least one context of each kind")
    encode = FormReader(forms) if isinstance(forms, BilinearAutoencoder) else forms
    total = len(store) if limit is None else min(len(store), limit)
    positive, negative = _Best("positive", k), _Best("negative", k)
    squares: Tensor | float = 0.0
    count = 0
    for rows in _pieces(store, torch.arange, total, drop_first):
        values = encode(store.gather(rows)).cpu().float()
        positive.add(rows, values)
        negative.add(rows, values)
        squares = squares + values.square().sum(0).double()
        count += len(rows)
        if visit is not None:
            visit(rows, values)
    if not count:
        raise QuadricError(
            f"no row to look at: the first {total} of the store's {len(store)} rows hold nothing "
            f"but the first {drop_first} positions of their contexts"
        )
    squares = torch.as_tensor(squares)
    order = Permutation(total, seed)
    shuffled = _pieces(store, lambda *ends: order(torch.arange(*ends)), total, drop_first)
    near, random = _sampled(encode, store, k, len(squares), shuffled)
    return Contexts(positive.found(), negative.found(), near, random, squares / count, count)


def _pieces(
    store: Rows, numbers: Callable[[int, int], Tensor], total: int, drop_first: int
) -> Iterator[Int[Tensor, " rows"]]:
    """Row numbers, some at a time, without the first positions of a context."""
    start = 0
    while start < total:
        size = min(ROWS_AT_ONCE, max(FIRST_ROWS, start))
        rows = numbers(start, min(start + size, total))
        start += size
        positions = store.positions(rows)
        if positions is not None:
            rows = rows[positions >= drop_first]
        if len(rows):
            yield rows


def _sampled(
    encode: Encode, store: Rows, k: int, forms: int, kept: Iterator[Int[Tensor, " rows"]]
) -> tuple[TopRows, TopRows]:
    """The near-zero and the random rows of every form, out of the first ``SAMPLE`` rows of a
    shuffled store."""
    sample = torch.empty(0, dtype=torch.int64)
    while len(sample) < SAMPLE and (rows := next(kept, None)) is not None:
        sample = torch.cat([sample, rows])[:SAMPLE]
    near = _Best("near zero", k)
    # Form j takes the next k of the sample after those of form j − 1, and begins anew at its end.
    wanted = torch.arange(forms)[:, None] * k + torch.arange(min(k, len(sample)))
    wanted = wanted % len(sample)
    there = torch.zeros(wanted.shape)
    for start in range(0, len(sample), ROWS_AT_ONCE):
        rows = sample[start : start + ROWS_AT_ONCE]
        values = encode(store.gather(rows)).cpu().float()
        near.add(rows, values)
        form, place = ((wanted >= start) & (wanted < start + len(rows))).nonzero(as_tuple=True)
        there[form, place] = values[wanted[form, place] - start, form]
    missing = (0, k - wanted.shape[1])
    random = TopRows(
        torch.nn.functional.pad(sample[wanted], missing, value=-1),
        torch.nn.functional.pad(there, missing),
    )
    return near.found(), random


class _Best:
    """The k best values of every form so far.

    A value is compared with the form's k-th best so far, and only those that beat it, which are
    few after the first pieces, are sorted.
    """

    def __init__(self, kind: Literal["positive", "negative", "near zero"], k: int) -> None:
        self.kind, self.k = kind, k
        self.scores = torch.empty(0, k)
        self.values = torch.empty(0, k)
        self.rows = torch.empty(0, k, dtype=torch.int64)

    def add(self, rows: Int[Tensor, " rows"], values: Float[Tensor, "rows forms"]) -> None:
        """Look at one more piece."""
        forms = values.shape[1]
        if not len(self.rows):
            self.values, self.rows = torch.zeros(forms, self.k), torch.full((forms, self.k), -1)
            # A value of the wrong sign is never one of the best.
            floor = -torch.inf if self.kind == "near zero" else 0.0
            self.scores = torch.full((forms, self.k), floor)
        scores = {"positive": values, "negative": -values, "near zero": -values.abs()}[self.kind]
        row, form = (scores > self.scores[:, -1]).nonzero(as_tuple=True)
        if not len(row):
            return
        # Best first within each form: by score, then, keeping that order, by form.
        order = scores[row, form].argsort(descending=True, stable=True)
        order = order[form[order].argsort(stable=True)]
        row, form = row[order], form[order]
        counts = form.bincount(minlength=forms)
        rank = torch.arange(len(form)) - (counts.cumsum(0) - counts)[form]
        row, form, rank = (each[rank < self.k] for each in (row, form, rank))
        place = (form, rank + self.k)
        best = torch.nn.functional.pad(self.scores, (0, self.k), value=-torch.inf)
        found = torch.nn.functional.pad(self.values, (0, self.k))
        numbers = torch.nn.functional.pad(self.rows, (0, self.k), value=-1)
        best[place], found[place], numbers[place] = scores[row, form], values[row, form], rows[row]
        self.scores, kept = best.topk(self.k, dim=1)
        self.values, self.rows = found.gather(1, kept), numbers.gather(1, kept)

    def found(self) -> TopRows:
        """The best so far."""
        return TopRows(self.rows, self.values)
