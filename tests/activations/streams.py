"""What tests of streams share: the sizes of one, and oracles over its rows from a cache."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from tests.activations.tiny import tiny_tokenizer

CONTEXT, CONTEXTS, CHUNK = 7, 53, 12
LOUD = tiny_tokenizer()("z")["input_ids"][0]


def counted(rows: Tensor) -> Counter[bytes]:
    """Rows as a multiset."""
    return Counter(row.numpy().tobytes() for row in rows)


def kept(everything: tuple[Tensor, Tensor], multiple: float = 10.0) -> tuple[Tensor, float]:
    """Oracle: which rows stay, and the norm limit, from the whole data at once."""
    norms = everything[0].norm(dim=1)
    positions = torch.arange(len(norms)) % CONTEXT
    first_chunk = norms[: CHUNK * CONTEXT][positions[: CHUNK * CONTEXT] >= 1]
    limit = multiple * float(first_chunk.median())
    return (positions >= 1) & (norms <= limit), limit
