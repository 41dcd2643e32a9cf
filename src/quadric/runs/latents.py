"""``latents.parquet``: what each latent's weights say and which tokens it responds to most."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from quadric.activations.cache import ActivationCache
from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Blocks
from quadric.evaluation import top_contexts
from quadric.forms import BilinearTensor, Eigenpairs
from quadric.storage import replacing

FILE = "latents.parquet"
TOKENS_BEFORE, TOKENS_AFTER = 8, 3


@dataclass(frozen=True)
class TopToken:
    """One strong response of a latent."""

    token: str
    """The token, as text."""
    value: float
    """The signed latent."""
    before: str
    """The text before it in its context."""
    after: str
    """The text after it."""


@dataclass(frozen=True)
class Latent:
    """One latent: its form's spectrum and its strongest responses."""

    id: int
    """Its index."""
    importance: float
    """Σλ², the squared Frobenius norm of its form."""
    effective_rank: float
    """(Σ|λ|)²/Σλ²."""
    top3_share: float
    """Share of Σ|λ| in the three largest |λ|."""
    positive: int
    """Eigenvalues above 10⁻⁶ of the largest |λ|."""
    negative: int
    """Eigenvalues below minus that."""
    eigenvalues: list[float]
    """All that can be nonzero, the largest |λ| first."""
    top: list[TopToken]
    """The strongest responses, strongest first."""


def spectra(model: BilinearAutoencoder) -> Eigenpairs:
    """All eigenvalues a latent's form can have, for every latent, largest |λ| first."""
    tensor = BilinearTensor(model.left.detach(), model.right.detach())
    block = model.mixing.block if isinstance(model.mixing, Blocks) else 1
    neurons = torch.arange(model.config.factors, device=model.device).reshape(-1, block)
    k = min(2 * block, tensor.d)
    return tensor.eigh_sparse(neurons, torch.ones_like(neurons, dtype=tensor.dtype), k)


def describe_latents(
    model: BilinearAutoencoder,
    store: Rows | None,
    tokenizer: Any,
    *,
    which: Int[Tensor, " chosen"] | None = None,
    top: int = 10,
    limit: int | None = None,
    drop_first: int = 1,
) -> list[Latent]:
    """Latents of an autoencoder, the most important first.

    Args:
        model: the autoencoder.
        store: activations to search for strong responses; none are listed when None.
        tokenizer: turns token ids into text; without it, or for a store that knows no tokens, a
            response is named by the place of its row.
        which: the latents wanted; all when None.
        top: responses per latent.
        limit: leading rows of the store to search; all when None.
        drop_first: positions of a context left out, as in training.
    """
    which = torch.arange(model.d_sae) if which is None else which
    values = spectra(model).values[which].double()
    which = which[(order := values.square().sum(-1).argsort(descending=True))]
    values = values[order]
    responses: list[list[TopToken]] = [[] for _ in which]
    if store is not None:
        found = top_contexts(model, store, top, which=which, limit=limit, drop_first=drop_first)
        responses = [
            [
                _response(row, value, store, tokenizer)
                for row, value in zip(rows, heights, strict=True)
            ]
            for rows, heights in zip(found.rows.tolist(), found.values.tolist(), strict=True)
        ]
    return [
        _describe(index, spectrum, strongest)
        for index, spectrum, strongest in zip(which.tolist(), values, responses, strict=True)
    ]


def write_latents(latents: list[Latent], path: Path) -> None:
    """Write the table as Parquet, atomically."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([asdict(latent) for latent in latents])
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def _describe(index: int, values: Tensor, top: list[TopToken]) -> Latent:
    magnitude, squares = values.abs(), values.square().sum()
    total, threshold = magnitude.sum(), 1e-6 * magnitude.max()
    # An all-zero form has no rank and no leading share; 0 says so without a NaN.
    alive = bool(squares > 0)
    return Latent(
        id=index,
        importance=squares.item(),
        effective_rank=(total**2 / squares).item() if alive else 0.0,
        top3_share=(magnitude[:3].sum() / total).item() if alive else 0.0,
        positive=int((values > threshold).sum()),
        negative=int((values < -threshold).sum()),
        eigenvalues=values.tolist(),
        top=top,
    )


def _response(row: int, value: float, store: Rows, tokenizer: Any) -> TopToken:
    if not isinstance(store, ActivationCache) or tokenizer is None:
        return TopToken(token=store.locate(row), value=value, before="", after="")
    start = row - row % store.context_size
    first = max(start, row - TOKENS_BEFORE)
    last = min(start + store.context_size, row + TOKENS_AFTER + 1)
    ids = store.token_ids(torch.arange(first, last)).tolist()
    here = row - first
    return TopToken(
        token=tokenizer.decode(ids[here : here + 1]),
        value=value,
        before=tokenizer.decode(ids[:here]),
        after=tokenizer.decode(ids[here + 1 :]),
    )
