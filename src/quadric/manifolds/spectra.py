"""Spectra of an autoencoder's forms, from its weights alone.

A latent is a form Q = Σ_j B_j of few products, so its eigenvalues come from a small core, never
from a d×d matrix. In a mixed or combined autoencoder the latents are single products, and what it
composes of them are the rows of its mixing matrix D, each the form Σ_j D_kj B_j of all products:
``of="rows"`` asks for those, at the price of one d×d eigenproblem a row. For every other variant
the latents are also the rows.

    values = eigenvalues(model)               # (d_sae, k), the largest |λ| first
    facts = summarise(values)                 # importance, effective rank, signature, …
    axes = spectra(model, [7, 12]).vectors    # eigenvectors, for the latents one wants

An affine autoencoder's forms live on d_in + 1 coordinates with the constant last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Blocks, Dense
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, Eigenpairs
from quadric.forms.blocks import row_blocks

Of = Literal["latents", "rows"]
"""The latents' own forms, or the forms of the mixing matrix's rows."""

SIGNED = 1e-6
"""Eigenvalues below this share of the largest |λ| have no sign in a signature."""


@dataclass(frozen=True)
class SpectralSummary:
    """What the eigenvalues of some forms say, one entry per form; an all-zero form has zeros."""

    importance: Float[Tensor, " m"]
    """Σλ², the squared Frobenius norm."""
    effective_rank: Float[Tensor, " m"]
    """(Σ|λ|)²/Σλ²."""
    top3_share: Float[Tensor, " m"]
    """Share of Σ|λ| in the three largest |λ|."""
    positive: Int[Tensor, " m"]
    """n₊: eigenvalues above 10⁻⁶ of the largest |λ|."""
    negative: Int[Tensor, " m"]
    """n₋: eigenvalues below minus that."""


def spectra(model: BilinearAutoencoder, latents: Sequence[int] | None = None) -> Eigenpairs:
    """Eigenpairs of latents, the largest |λ| first: Q_i = Σ_k values[i,k] v_kv_kᵀ.

    All that can be nonzero are given: min(d, 2·products of a latent), d the forms' own width. The
    vectors take as much memory as the encoder; where the values are enough, ask for
    :func:`eigenvalues`.

    Args:
        model: the autoencoder.
        latents: indices of the latents wanted; all of them when None.

    Raises:
        QuadricError: an index is out of range, or a form is not finite.
    """
    tensor, members = _products(model)
    if latents is not None:
        chosen = torch.as_tensor(list(latents), dtype=torch.long, device=model.device)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < model.d_sae:
            wrong = int(chosen.min()) if int(chosen.min()) < 0 else int(chosen.max())
            raise QuadricError(f"latent {wrong} is out of range: there are {model.d_sae}, from 0")
        members = members[chosen]
    return tensor.eigh_sparse(members, torch.ones_like(members, dtype=tensor.dtype), _rank(model))


def eigenvalues(model: BilinearAutoencoder, of: Of = "latents") -> Float[Tensor, "m k"]:
    """All eigenvalues that can be nonzero of every form, the largest |λ| first.

    Eigenvectors are made for some forms at a time and not kept.

    Raises:
        QuadricError: a form is not finite.
    """
    pieces = [pairs.values for pairs in _pieces(model, of)]
    return torch.cat(pieces)


def summarise(values: Float[Tensor, "m k"]) -> SpectralSummary:
    """Importance, effective rank, top-3 share and signature of spectra sorted by |λ|."""
    values = values.double()
    magnitude, squares = values.abs(), values.square().sum(-1)
    total = magnitude.sum(-1)
    threshold = SIGNED * magnitude.amax(-1, keepdim=True)
    # An all-zero form has no rank and no leading share; 0 says so without a NaN.
    alive = squares > 0
    return SpectralSummary(
        importance=squares,
        effective_rank=torch.where(alive, total**2 / squares.where(alive, 1.0), 0.0),
        top3_share=torch.where(alive, magnitude[:, :3].sum(-1) / total.where(alive, 1.0), 0.0),
        positive=(values > threshold).sum(-1),
        negative=(values < -threshold).sum(-1),
    )


def _pieces(model: BilinearAutoencoder, of: Of) -> Iterator[Eigenpairs]:
    mixing = model.mixing
    if of == "rows" and isinstance(mixing, Dense):
        left, right, rows = model.left.detach(), model.right.detach(), mixing.weight.detach()
        k = min(left.shape[1], 2 * len(left))
        for piece in row_blocks(len(rows), k * left.shape[1]):
            yield BilinearTensor(left, right, rows[piece]).eigh_many(None, k)
        return
    for piece in row_blocks(model.d_sae, _rank(model) * model.left.shape[1]):
        yield spectra(model, range(model.d_sae)[piece])


def _products(model: BilinearAutoencoder) -> tuple[BilinearTensor, Int[Tensor, "d_sae block"]]:
    """The products as forms of their own, and which of them every latent sums."""
    block = model.mixing.block if isinstance(model.mixing, Blocks) else 1
    members = torch.arange(model.config.factors, device=model.device).reshape(-1, block)
    return BilinearTensor(model.left.detach(), model.right.detach()), members


def _rank(model: BilinearAutoencoder) -> int:
    """How many eigenvalues of a latent can be nonzero."""
    return min(2 * model.config.factors // model.d_sae, model.left.shape[1])
