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

from quadric.ranks import ALONE, Ranks

CACHED = 2**19
"""Numbers at a time that stay in a processor's caches."""


def hoyer_density(
    latents: Float[Tensor, "rows latents"], ranks: Ranks = ALONE
) -> Float[Tensor, " latents"]:
    """The density of every column; a column of zeros and a single row have density 0.

    Gradients flow to every entry except through columns that are zero. Several ``ranks`` give as
    many rows each, and the columns go through all of them.
    """
    total, length = _Norms.apply(latents)  # type: ignore[no-untyped-call]
    return _over_ranks(total, length, len(latents), ranks)


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
    total = values.new_zeros(n).index_add_(0, kept, values.abs())
    square = values.new_zeros(n).index_add_(0, kept, values.square())
    return _over_ranks(total, square.sqrt(), len(latents), ranks)


def _norms(latents: Float[Tensor, "rows latents"]) -> tuple[Tensor, Tensor]:
    if latents.device.type != "cpu":
        one, two = (torch.linalg.vector_norm(latents, ord=order, dim=0) for order in (1, 2))
        return one, two
    # A processor takes much longer for norms along columns than for sums of rows that
    # stay in its caches.
    rows = max(1, CACHED // latents.shape[1])
    total, square = latents.new_zeros(2, latents.shape[1])
    scratch = latents.new_empty(min(rows, len(latents)), latents.shape[1])
    for piece in torch.split(latents, rows):
        room = scratch[: len(piece)]
        total += torch.abs(piece, out=room).sum(0)
        square += torch.mul(piece, piece, out=room).sum(0)
    return total, square.sqrt_()


class _Norms(torch.autograd.Function):
    """‖z_:j‖₁ and ‖z_:j‖₂, whose gradients together are one pass, a_j sign z_ij + b_j z_ij.

    Autograd would make both apart and add them: three arrays of the latents' size.
    """

    @staticmethod
    def forward(ctx: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
        total, length = _norms(latents)
        ctx.save_for_backward(latents, length)
        return total, length

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_total: Tensor, to_length: Tensor) -> Tensor:
        latents, length = ctx.saved_tensors
        # A column of zeros gets no gradient; its sign is zero too.
        slope = torch.where(length == 0, 0.0, to_length / torch.where(length == 0, 1.0, length))
        gradient: Tensor = latents.sign().mul_(to_total).addcmul_(latents, slope)
        return gradient


def _over_ranks(total: Tensor, length: Tensor, rows: int, ranks: Ranks) -> Tensor:
    if ranks.world > 1:
        total = ranks.mean(total) * ranks.world
        square = ranks.mean(length.square()) * ranks.world
        length = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    return _density(total, length, rows * ranks.world)


def _density(total: Tensor, length: Tensor, rows: int) -> Tensor:
    if rows < 2:
        return torch.zeros_like(total)
    silent = length == 0
    density = (total / torch.where(silent, 1.0, length) - 1) / (rows**0.5 - 1)
    return torch.where(silent, 0.0, density)
