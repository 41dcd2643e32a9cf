"""Hoyer density: how spread out a latent's activity is over a batch, whatever its scale.

    density_j = (‖z_:j‖₁ / ‖z_:j‖₂ − 1) / (√N − 1)  ∈ [0, 1]

It is 0 when one token carries everything and 1 when every token fires equally. Because it does
not change with the scale of a latent, penalising it never shrinks a latent to death. It does
depend on N and on the mix of tokens in the batch: compare figures at equal N on shuffled tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from quadric.kernels.pieces import cached_rows
from quadric.ranks import ALONE, Ranks


def hoyer_density(
    latents: Float[Tensor, "rows latents"],
    ranks: Ranks = ALONE,
    *,
    scale: Float[Tensor, "rows 1"] | None = None,
) -> Float[Tensor, " latents"]:
    """The density of every column; a column of zeros and a single row have density 0.

    Gradients flow to every entry except through columns that are zero. Several ``ranks`` give as
    many rows each, and the columns go through all of them. With a ``scale`` above zero the columns
    are those of scale·latents, which are never stored.
    """
    sizes, squares = _Sums.apply(latents, scale)  # type: ignore[no-untyped-call]
    return density_of_sums(sizes, squares, len(latents), ranks)


def sparse_hoyer_density(
    indices: Int[Tensor, "rows k"],
    latents: Float[Tensor, "rows k"],
    n: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, " n"]:
    """The density of every column of the (rows, n) latents that have these entries and zeros.

    Entries of index −1 count as absent.
    """
    kept = indices.flatten().clamp_min(0)
    values = torch.where(indices >= 0, latents, 0).flatten()
    sizes = values.new_zeros(n).index_add_(0, kept, values.abs())
    squares = values.new_zeros(n).index_add_(0, kept, values.square())
    return density_of_sums(sizes, squares, len(latents), ranks)


def density_of_sums(
    sizes: Float[Tensor, " latents"],
    squares: Float[Tensor, " latents"],
    rows: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, " latents"]:
    """The density of columns with these Σ|z| and Σz² over ``rows`` rows of every rank."""
    if ranks.world > 1:
        sizes, squares = (ranks.mean(each) * ranks.world for each in (sizes, squares))
        rows *= ranks.world
    if rows < 2:
        return torch.zeros_like(sizes)
    silent = squares == 0
    density = (sizes / torch.where(silent, 1.0, squares).sqrt() - 1) / (rows**0.5 - 1)
    return torch.where(silent, 0.0, density)


class _Sums(torch.autograd.Function):
    """Σ|s⊙z_:j| and Σ(s⊙z_:j)², whose gradients together are s_i (a_j sign z_ij + 2b_j s_i z_ij).

    Autograd would make both apart and add them: five arrays of the latents' size.
    """

    @staticmethod
    def forward(ctx: Any, latents: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        sizes, squares = latents.new_zeros(2, latents.shape[1])
        for some in cached_rows(latents):
            room = latents[some].abs()
            if scale is not None:
                room.mul_(scale[some])
            sizes += room.sum(0)
            squares += room.square_().sum(0)
        ctx.save_for_backward(latents, scale)
        return sizes, squares

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_sizes: Tensor, to_squares: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        latents, scale = ctx.saved_tensors
        gradient = torch.empty_like(latents)
        to_scale = torch.empty_like(scale) if ctx.needs_input_grad[1] else None
        for some in cached_rows(latents):
            piece, part = latents[some], gradient[some]
            torch.sign(piece, out=part).mul_(to_sizes)
            if scale is None:
                part.addcmul_(piece, 2 * to_squares)
                continue
            part.addcmul_(piece * scale[some], 2 * to_squares)
            if to_scale is not None:
                to_scale[some] = (part * piece).sum(1, keepdim=True)
            part.mul_(scale[some])
        return gradient, to_scale
