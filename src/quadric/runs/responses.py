"""Rows of a store as text for a reader: a token, the window around it, a latent's value on each.

found = find_contexts(model, store, k=10)
ResponseReader(model, store, tokenizer).read(latent, found, place, 10)["top"][0].before
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from quadric.activations.cache import ActivationCache
from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.evaluation.contexts import Contexts, FormReader

TOKENS_BEFORE, TOKENS_AFTER = 8, 3
KINDS = ("top", "most_positive", "most_negative", "near_zero", "random")


@dataclass(frozen=True)
class TopToken:
    """One response of a latent, with the window of text around it."""

    token: str
    """The token, as text."""
    value: float
    """The signed latent."""
    before: str
    """The text before it in its context."""
    after: str
    """The text after it."""
    tokens: list[str] = field(default_factory=list)
    """Every token of the window, the one above among them; empty where the text is not known."""
    values: list[float] = field(default_factory=list)
    """The signed latent on each of them."""


class ResponseReader:
    """Turns row numbers into text, where a store knows its tokens, else into places."""

    def __init__(self, model: BilinearAutoencoder, store: Rows, tokenizer: Any) -> None:
        """Args:
        model: whose latents are meant.
        store: the rows.
        tokenizer: turns token ids into text, or None.
        """
        self.model, self.store, self.tokenizer = model, store, tokenizer
        self.cache: ActivationCache | None = None
        """The store, if its rows can be shown as text."""
        if isinstance(store, ActivationCache) and tokenizer is not None:
            self.cache = store
        self._decoded: dict[int, str] = {}

    def read(self, latent: int, found: Contexts, place: int, top: int) -> dict[str, list[TopToken]]:
        """The ``top`` responses of one latent, of each of ``KINDS``.

        The latent is read once more on the windows of these rows, so that a response has the value
        that its window shows, to the bit.

        Args:
            latent: its index in the model.
            found: contexts of several latents.
            place: the latent's place among them.
            top: responses of each kind.
        """
        candidates = {
            kind: [row for row in getattr(found, kind).rows[place].tolist() if row >= 0]
            for kind in ("most_positive", "most_negative", "near_zero", "random")
        }
        windows = {row: self._window(row) for rows in candidates.values() for row in rows}
        shown = torch.tensor(sorted({each for window in windows.values() for each in window}))
        measured = FormReader(self.model, self.model.tensor([latent]))(self.store.gather(shown))
        values = dict(zip(shown.tolist(), measured[:, 0].cpu().tolist(), strict=True))
        ids: dict[int, int] = {}
        if self.cache is not None:
            ids = dict(zip(shown.tolist(), self.cache.token_ids(shown).tolist(), strict=True))
        strong = {*candidates["most_positive"], *candidates["most_negative"]}
        kinds = {
            "top": sorted(strong, key=lambda row: -abs(values[row])),
            "most_positive": sorted(
                (row for row in candidates["most_positive"] if values[row] > 0),
                key=lambda row: -values[row],
            ),
            "most_negative": sorted(
                (row for row in candidates["most_negative"] if values[row] < 0),
                key=values.__getitem__,
            ),
            "near_zero": sorted(candidates["near_zero"], key=lambda row: abs(values[row])),
            "random": candidates["random"],
        }
        return {
            kind: [self._response(row, windows[row], ids, values) for row in rows[:top]]
            for kind, rows in kinds.items()
        }

    def _response(
        self, row: int, window: range, ids: Mapping[int, int], values: Mapping[int, float]
    ) -> TopToken:
        if self.cache is None:
            return TopToken(self.store.locate(row), values[row], "", "")
        text = [ids[each] for each in window]
        here = row - window.start
        return TopToken(
            token=self._decode(text[here]),
            value=values[row],
            before=self.tokenizer.decode(text[:here]),
            after=self.tokenizer.decode(text[here + 1 :]),
            tokens=[self._decode(each) for each in text],
            values=[values[each] for each in window],
        )

    def _window(self, row: int) -> range:
        """The rows shown around ``row``, within its context; itself where there is no text."""
        if self.cache is None:
            return range(row, row + 1)
        size = self.cache.context_size
        start = row - row % size
        first = max(start, row - TOKENS_BEFORE)
        return range(first, min(start + size, row + TOKENS_AFTER + 1))

    def _decode(self, token: int) -> str:
        if token not in self._decoded:
            self._decoded[token] = self.tokenizer.decode([token])
        return self._decoded[token]
