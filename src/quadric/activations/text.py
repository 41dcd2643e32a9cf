"""From documents to contexts: tokens in rows of equal length, without padding.

``contexts(tokenizer, documents, 128)`` tokenises documents, joins them and cuts the stream into
rows; ``batches`` stacks rows. Both are lazy, so an endless dataset is fine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DOCUMENTS_PER_CALL = 64


def contexts(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], context_size: int
) -> Iterator[Int[Tensor, " context_size"]]:
    """Token rows of exactly ``context_size``, in the order of the text.

    The stream is doc₁ EOS doc₂ EOS … docₙ, where EOS is left out if the tokeniser has none, and no
    other special token is added. Row k holds its tokens k·context_size … (k+1)·context_size−1; what
    remains at the end is dropped.

    Raises:
        QuadricError: the text is shorter than one context, or the size is not positive.
    """
    if context_size < 1:
        raise QuadricError(f"context_size is {context_size}, expected at least 1")
    end = tokenizer.eos_token_id
    pending: list[int] = []
    first, filled = True, False
    remaining = iter(documents)
    while texts := list(islice(remaining, _DOCUMENTS_PER_CALL)):
        # verbose=False: that a document is longer than the model's window does not matter here.
        for tokens in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            if not first and end is not None:
                pending.append(end)
            pending.extend(tokens)
            first = False
        whole = len(pending) // context_size
        if whole:
            filled = True
            yield from torch.tensor(pending[: whole * context_size]).view(whole, context_size)
            del pending[: whole * context_size]
    if not filled:
        raise QuadricError(
            f"the text holds {len(pending)} tokens, fewer than one context of {context_size}; "
            "give more text or a smaller context_size"
        )


def batches(
    rows: Iterable[Int[Tensor, " context_size"]], batch_size: int
) -> Iterator[Int[Tensor, "b context_size"]]:
    """Stack rows into batches of ``batch_size``; the last may be smaller.

    Raises:
        QuadricError: the size is not positive.
    """
    if batch_size < 1:
        raise QuadricError(f"the batch holds {batch_size} contexts, expected at least 1")
    remaining = iter(rows)
    while batch := list(islice(remaining, batch_size)):
        yield torch.stack(batch)
