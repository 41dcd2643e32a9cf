"""Text as token rows for training a language model: deduplicated, and some of it held out.

    rows = read_rows(tokenizer, TextConfig(dataset="news", context_size=128))
    rows.train[0], rows.held_out

Documents are shuffled once; the first of them are held out. Exact copies are dropped beforehand,
by their words alone, so that no held-out text was trained on under another spacing or case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from quadric.activations.corpora import documents
from quadric.activations.text import contexts
from quadric.errors import QuadricError
from quadric.language.config import TextConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from quadric.activations.models import LanguageModel

HELD_OUT_SHARE = 10
"""At most one in so many contexts is held out."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Contexts of equal length, as token ids."""

    train: Int[Tensor, "contexts tokens"]
    """What is trained on; int32, or int16 for small vocabularies."""
    held_out: Int[Tensor, "others tokens"]
    """What is only measured on; of other documents than those before it, but for one that may
    reach across the boundary."""
    copies: int
    """Documents dropped as copies of others."""


def read_rows(tokenizer: PreTrainedTokenizerBase, config: TextConfig) -> Rows:
    """Read, deduplicate and tokenise the text of a configuration, up to its number of tokens.

    Everything is held in memory, 2 to 4 bytes a token.

    Raises:
        QuadricError: the text cannot be read, or holds fewer than ten contexts.
    """
    once = Deduplicated(read_documents(config))
    dtype = torch.int16 if len(tokenizer) <= torch.iinfo(torch.int16).max else torch.int32
    rows = contexts(tokenizer, once, config.context_size)
    kept = [row.to(dtype) for row in islice(rows, config.tokens // config.context_size)]
    if len(kept) < HELD_OUT_SHARE:
        raise QuadricError(
            f"the text gives {len(kept)} contexts of {config.context_size} tokens, expected at "
            f"least {HELD_OUT_SHARE}: give more text, more tokens or a smaller context_size"
        )
    count = min(config.held_out, len(kept) // HELD_OUT_SHARE)
    stacked = torch.stack(kept)
    return Rows(stacked[count:], stacked[:count], once.copies)


def check_text(language: LanguageModel, text: TextConfig) -> None:
    """Refuse a tokeniser or a context that the model cannot read.

    Raises:
        QuadricError: the tokeniser has more tokens than the model has embeddings, or a context
            more tokens than the model has positions.
    """
    rows = language.model.get_input_embeddings().weight.shape[0]
    if len(language.tokenizer) > rows:
        raise QuadricError(
            f"the tokeniser of {language.name} has {len(language.tokenizer)} tokens, but the model "
            f"has embeddings for {rows}: they do not belong together"
        )
    positions = getattr(language.model.config, "max_position_embeddings", None)
    if positions is not None and text.context_size > positions:
        raise QuadricError(
            f"context_size is {text.context_size}, but {language.name} has {positions} positions"
        )


def read_documents(config: TextConfig) -> Iterator[str]:
    """The documents of a configuration, copies included, in their shuffled order.

    Raises:
        QuadricError: the text cannot be read.
    """
    return documents(
        config.dataset, seed=config.text_seed, split=config.split, column=config.column
    )


class Deduplicated:
    """Documents without the copies of earlier ones, compared by their words in lower case.

    Memory: 16 bytes a document and Python's set around them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Iterating reads ``texts``."""
        self.texts = texts
        self.copies = 0
        """Copies dropped so far."""

    def __iter__(self) -> Iterator[str]:
        """Each text once."""
        seen: set[bytes] = set()
        for text in self.texts:
            words = " ".join(text.lower().split()).encode()
            digest = hashlib.blake2b(words, digest_size=16).digest()
            if digest in seen:
                self.copies += 1
            else:
                seen.add(digest)
                yield text
