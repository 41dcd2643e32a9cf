"""A label for every form from token counts alone: which tokens carry its energy.

statistics = TokenStatistics(cache, forms=model.d_sae)
find_contexts(model, cache, k=10, visit=statistics.add)
statistics.labels(tokenizer)[3].label                 # "Monday, Friday, Tuesday"

With E_t = Σ z² over the rows on token type t, n_t their number and m = mean of z² over all N rows,

    energy share   E_t / (m N),
    lift           (E_t + a m) / ((n_t + a) m),

the lift being how many times its average a form's energy on t is, with a = 5 rows of average energy
added, so that a type seen a few times needs more than one strong row. Types are ranked by

    energy share · log lift,

what a type adds to the divergence of the form's energy from the corpus: neither a frequent type
that is barely above average nor a rare one of great lift and no weight comes first. The same is
counted for the token before and the token after, which describe a form that does not care for the
token itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.cache import ActivationCache
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Place = Literal["token", "before", "after"]

PLACES: dict[Place, int] = {"token": 0, "before": -1, "after": 1}
"""Where a token stands, seen from the row: on it, just before it, or just after it."""
MEMORY = 1 << 28
"""Bytes of energies kept. More types than fit share one count, the rarest ones first."""
FEWEST = 5
"""Rows a type needs to be counted on its own, and rows of average energy that smooth a lift."""
LEAST_LIFT = 3.0
"""A type of a smaller lift is not distinctive."""
LEAST_SHARE = 0.02
"""Words that carry less of a form's energy than this, all together, say nothing about it."""
TYPES_CONSIDERED = 64
"""Types per form and place looked at when variants of a word are put together."""
TOKENS_KEPT = 10
TOKENS_IN_LABEL = 4
CLEARLY = 1.5
"""A neighbour makes the label when it says this many times as much as the token itself."""
CHUNK = 1 << 20
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class TokenShare:
    """One word among those that carry a form's energy: a token type with its variants."""

    token: str
    """The most energetic variant, without spaces around it; a space or line end is drawn: ␣, ⏎."""
    count: int
    """Rows on it, or beside it, among those looked at."""
    lift: float
    """How many times its average the form's energy is there."""
    energy_share: float
    """Share of the form's energy there."""


@dataclass(frozen=True)
class Label:
    """What a form responds to, in words of the corpus."""

    label: str
    """Up to four words; "after: …" or "before: …" when they are its neighbours; empty when nothing
    is distinctive."""
    place: Place
    """Where ``tokens`` stand: on the rows themselves, before them or after them."""
    tokens: list[TokenShare]
    """The distinctive words, the most telling first."""


class TokenStatistics:
    """Energies of forms by token type, gathered piece by piece.

    Memory is at most ``memory`` bytes: a type that occurs fewer than five times, or is too rare to
    have a place of its own, counts towards the total only.
    """

    def __init__(
        self,
        cache: ActivationCache,
        forms: int,
        *,
        limit: int | None = None,
        drop_first: int = 1,
        memory: int = MEMORY,
    ) -> None:
        """Count the types of the rows that will come.

        Args:
            cache: the activations, which know their tokens.
            forms: how many forms there are.
            limit: how many leading rows of the cache are looked at; all of them when None.
            drop_first: positions of a context left out.
            memory: bytes to spend on the energies.
        """
        self.cache, self.drop_first = cache, drop_first
        total = len(cache) if limit is None else min(len(cache), limit)
        frequency = torch.zeros(0, dtype=torch.int64)
        for start in range(0, total, CHUNK):
            rows = torch.arange(start, min(start + CHUNK, total))
            ids = cache.token_ids(rows[cache.positions(rows) >= drop_first])
            size = max(len(frequency), int(ids.max()) + 1 if len(ids) else 0)
            frequency = torch.nn.functional.pad(frequency, (0, size - len(frequency)))
            frequency += ids.bincount(minlength=size)
        room = memory // (4 * len(PLACES) * max(1, forms))
        wanted = min(int((frequency >= FEWEST).sum()), room)
        self.types = frequency.argsort(descending=True, stable=True)[:wanted]
        # Slot of every token id; the last slot is everybody else's.
        self.slots = torch.full((len(frequency),), wanted)
        self.slots[self.types] = torch.arange(wanted)
        self.energy = torch.zeros(len(PLACES), wanted + 1, forms)
        self.counts = torch.zeros(len(PLACES), wanted + 1, dtype=torch.int64)

    def add(self, rows: Int[Tensor, " rows"], values: Float[Tensor, "rows forms"]) -> None:
        """Look at one more piece: row numbers in the cache, and the forms' values there."""
        squares = values.float().square()
        position = self.cache.positions(rows)
        for number, offset in enumerate(PLACES.values()):
            inside = (position + offset >= 0) & (position + offset < self.cache.context_size)
            ids = self.cache.token_ids(rows + offset * inside)
            known = inside & (ids < len(self.slots))
            other = len(self.types)
            slots = torch.where(known, self.slots[ids.clamp_max(len(self.slots) - 1)], other)
            self.energy[number].index_add_(0, slots, squares)
            self.counts[number] += slots.bincount(minlength=other + 1)

    def labels(self, tokenizer: PreTrainedTokenizerBase) -> list[Label]:
        """A label for every form.

        Raises:
            QuadricError: no row was added.
        """
        rows = self.counts[0].sum()
        if not rows:
            raise QuadricError("there is nothing to label: no activations were looked at")
        names = [_shown(tokenizer.decode([index])) for index in self.types.tolist()]
        mean = self.energy[0].sum(0) / rows
        places = {
            place: self._distinctive(number, mean, names) for number, place in enumerate(PLACES)
        }
        return [
            _choose({place: found[form] for place, found in places.items()})
            for form in range(self.energy.shape[2])
        ]

    def _distinctive(self, place: int, mean: Tensor, names: list[str]) -> list[list[TokenShare]]:
        """The distinctive words of every form at one place, best first."""
        energy, counts = self.energy[place, :-1], self.counts[place, :-1]
        total = mean * self.counts[place].sum()
        share = energy / total.clamp_min(TINY)
        smoothed = (counts[:, None] + FEWEST) * mean
        lift = (energy + FEWEST * mean) / smoothed.clamp_min(TINY)
        score = torch.where(lift >= LEAST_LIFT, share * lift.log(), 0.0)
        best = score.T.topk(min(TYPES_CONSIDERED, len(score)), dim=1)
        there = energy.T.gather(1, best.indices).tolist()
        often = counts[best.indices].tolist()
        averages, totals = mean.tolist(), total.tolist()
        return [
            _words(
                [
                    _Type(names[slot], count, amount)
                    for slot, count, amount, height in zip(*columns, strict=True)
                    if height > 0
                ],
                averages[form],
                totals[form],
            )
            for form, columns in enumerate(
                zip(best.indices.tolist(), often, there, best.values.tolist(), strict=True)
            )
        ]


class _Type(NamedTuple):
    """A token type beside one form."""

    name: str
    rows: int
    energy: float


def _words(types: list[_Type], mean: float, total: float) -> list[TokenShare]:
    """Types that differ in case or spaces put together, the most telling word first."""
    variants: dict[str, list[_Type]] = {}
    for each in types:
        variants.setdefault(each.name.casefold(), []).append(each)
    words = []
    for same in variants.values():
        count, energy = sum(each.rows for each in same), sum(each.energy for each in same)
        words.append(
            TokenShare(
                token=max(same, key=lambda each: each.energy).name,
                count=count,
                lift=(energy + FEWEST * mean) / ((count + FEWEST) * mean),
                energy_share=energy / total,
            )
        )
    return sorted(words, key=_telling, reverse=True)[:TOKENS_KEPT]


def _telling(word: TokenShare) -> float:
    """energy share · log lift."""
    return word.energy_share * math.log(word.lift)


def _choose(found: dict[Place, list[TokenShare]]) -> Label:
    """The token itself, unless a neighbour says clearly more."""
    weights = {place: sum(map(_telling, words)) for place, words in found.items()}
    weights["token"] *= CLEARLY
    place = max(PLACES, key=lambda place: weights[place])
    words = found[place]
    if sum(word.energy_share for word in words) < LEAST_SHARE:
        return Label("", "token", [])
    text = ", ".join(word.token for word in words[:TOKENS_IN_LABEL])
    # A row whose neighbour BEFORE it is "in" comes after "in".
    side = {"token": "", "before": "after: ", "after": "before: "}[place]
    return Label(side + text, place, words)


def _shown(text: str) -> str:
    """A token for a reader: one line, no control characters, never empty."""
    drawn = text.strip() or text.replace("\r\n", "⏎").replace("\n", "⏎").replace("\t", "⇥")
    visible = "".join(sign if sign.isprintable() else "" for sign in drawn)
    return visible.strip(" ") or "␣"
