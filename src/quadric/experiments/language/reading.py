"""What readings of the dictionaries around a language model's MLP share: opening, and names.

A feature is named by the tokens of held-out text at which it is largest, each token counted once,
with its largest value:

    peaks = Peaks(len(features), len(tokenizer))
    for batch in layers.tokens(contexts):
        peaks.update(batch.ids, layers.encode(batch.x)[:, features])
    peaks.names(tokenizer)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from quadric.experiments.language.settings import LanguageSettings
    from quadric.experiments.language.workshop import Workshop
    from quadric.language.features import LayerDictionaries, LayerTokens

CONTEXTS = 256
"""Held-out contexts that are read, where there are so many (arXiv 2410.08417 §5.2 reads 256)."""
WELL_SAMPLED = 10
"""Tokens at which a feature must be on for anything to be said of it."""
NAMED_BY = 6
"""Tokens that name a feature."""
DECIDING_WIDTH = 256
"""A narrower model says nothing about the published one, of width 512."""


def open_layer(settings: LanguageSettings, workshop: Workshop) -> LayerDictionaries:
    """The settings' bilinear model with the dictionaries around one of its MLPs.

    Both are trained first where they are missing.

    Raises:
        QuadricError: as for training them.
    """
    from quadric.language.features import open_dictionaries

    recipe = settings.recipe()
    model = workshop.model(recipe)
    folder = workshop.dictionaries(model, recipe.text, settings.dictionaries())
    return open_dictionaries(str(model), folder, recipe.text)


class Usage(NamedTuple):
    """How often every output feature is on over some held-out text."""

    tokens: int
    """Tokens that were read."""
    on: Int[Tensor, "q"]
    """At how many of them TopK keeps the feature."""

    def sampled(self) -> Int[Tensor, "s"]:
        """The features that are on at ``WELL_SAMPLED`` tokens or more, ascending.

        Raises:
            QuadricError: there is none.
        """
        found = (self.on >= WELL_SAMPLED).nonzero()[:, 0]
        if not len(found):
            raise QuadricError(
                f"no output feature is on at {WELL_SAMPLED} of the {self.tokens} held-out tokens: "
                "read more contexts, or train the dictionaries longer"
            )
        return found


def usage(layers: LayerDictionaries, text: Sequence[LayerTokens]) -> Usage:
    """Count at which of the tokens every output feature is on."""
    on = torch.zeros(len(layers.outputs.encoder), dtype=torch.long)
    for batch in text:
        on += layers.measure(batch.y)[1].sum(dim=0)
    return Usage(sum(len(batch.ids) for batch in text), on)


class Peaks:
    """The largest value of some features at every token of the vocabulary: features × tokens."""

    def __init__(self, features: int, vocabulary: int) -> None:
        """Nothing seen yet."""
        self.largest = torch.full((vocabulary, features), -math.inf)

    def update(self, ids: Int[Tensor, "t"], values: Float[Tensor, "t s"]) -> None:
        """Take in the features' values at some tokens."""
        where = ids.long()[:, None].expand(values.shape)
        self.largest.scatter_reduce_(0, where, values.to(self.largest), "amax")

    def names(
        self, tokenizer: PreTrainedTokenizerBase, count: int = NAMED_BY
    ) -> list[list[dict[str, Any]]]:
        """Of every feature the tokens with its largest positive values, as JSON values."""
        found = self.largest.T.topk(min(count, len(self.largest)), dim=1)
        return [
            [
                {"token": str(tokenizer.decode([number])), "value": rounded(value)}
                for value, number in zip(values, numbers, strict=True)
                if value > 0
            ]
            for values, numbers in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]


def shown(token: str) -> str:
    """A token in a picture: on one line, visible, and no mathematics to matplotlib."""
    text = token.strip(" ")
    if not text:
        return "␣"
    text = text.replace("\n", "↵").replace("\t", "⇥")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text.replace("\\", "/").replace("$", r"\$")


def label(feature: int, names: Sequence[dict[str, Any]], count: int = 2) -> str:
    """A feature in a picture: its number and its first distinct tokens."""
    distinct = dict.fromkeys(shown(name["token"]) for name in names)
    tokens = " ".join(list(distinct)[:count])
    return f"{feature}: {tokens}" if tokens else f"{feature}"


def rounded(value: float) -> float | None:
    """Six digits for JSON; None for what is not a number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def listed(values: Tensor) -> Any:
    """A tensor as nested lists of rounded numbers."""
    if values.ndim == 0:
        return rounded(float(values))
    return [listed(row) for row in values] if values.ndim > 1 else [*map(rounded, values.tolist())]
