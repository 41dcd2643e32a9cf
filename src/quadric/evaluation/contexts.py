"""The tokens a latent responds to most, found in one pass over stored activations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder

ROWS_AT_ONCE = 8192


class TopRows(NamedTuple):
    """The strongest activations of every latent, strongest first."""

    rows: Int[Tensor, "latents k"]
    """Row numbers in the store."""
    values: Float[Tensor, "latents k"]
    """The signed latent values there."""


@torch.no_grad()
def top_contexts(
    model: BilinearAutoencoder,
    store: Rows,
    k: int,
    *,
    which: Int[Tensor, " latents"] | None = None,
    limit: int | None = None,
    drop_first: int = 1,
) -> TopRows:
    """The k rows with the largest |latent| for every latent asked for.

    Memory is O(latents · k) beyond one piece of the store. Rows that tie stand in any order.

    Args:
        model: the autoencoder.
        store: activations in their stored order.
        k: how many rows per latent.
        which: the latents to look for, in the order of the answer; all when None.
        limit: how many leading rows of the store to look at; all of them when None.
        drop_first: positions of a context left out, as in training.
    """
    total = min(len(store), limit or len(store))
    which = torch.arange(model.d_sae) if which is None else which
    best_values = torch.zeros(len(which), 0)
    best_rows = torch.zeros(len(which), 0, dtype=torch.int64)
    for start in range(0, total, ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + ROWS_AT_ONCE, total))
        positions = store.positions(rows)
        if positions is not None:
            rows = rows[positions >= drop_first]
        latents = model.encode(store.gather(rows).to(model.device)).cpu().T[which].float()
        values = torch.cat([best_values, latents], dim=1)
        numbers = torch.cat([best_rows, rows.expand(len(which), -1)], dim=1)
        keep = values.abs().topk(min(k, values.shape[1]), dim=1).indices
        best_values, best_rows = values.gather(1, keep), numbers.gather(1, keep)
    return TopRows(best_rows, best_values)
