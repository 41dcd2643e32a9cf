"""The k strongest latents of a token: what the topk variant keeps, and how it revives dead ones.

A ``topk`` autoencoder keeps the k products of largest |z|, per token or on average over a batch,
and everything behind them costs O(k·d + k²·d) a token, whatever the dictionary's size. A latent
that no token has kept for :data:`DEAD_STEPS` steps gets no gradient any more; so in every step
some dead latents are fitted to what the live ones leave over of X (as in Gao et al., arXiv
2406.04093, whose residual is one of vectors and not of matrices).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from quadric.autoencoders.density import sparse_hoyer_density
from quadric.autoencoders.loss import Loss
from quadric.kernels import sparse_squared_error, strongest_products
from quadric.ranks import ALONE, Ranks

DEAD_STEPS = 100
"""Steps without being kept after which a latent counts as dead."""
REVIVED = 1 / 32
"""Weight of the error that dead latents leave of the live ones' residual."""
REVIVED_AT_ONCE = 2
"""Dead latents that share a token's residual, as a multiple of k."""
REVIVED_ROWS = 4
"""One row of so many revives: with three times as many latents it costs as much as they do."""
CANDIDATES = 4096
"""Dead latents that are looked at in one step, drawn at random where there are more."""
MOST = 4
"""With a batch's budget a token keeps at most so many times k latents."""


class Active(NamedTuple):
    """The latents that each row keeps."""

    indices: Int[Tensor, "rows most"]
    """Their numbers, −1 where a row keeps fewer."""
    latents: Float[Tensor, "rows most"]
    """Their products, 0 there."""


class TopK(nn.Module):
    """Which latents are kept, and the memory of when each was last.

    Attributes:
        silent: steps since a latent was kept.
        threshold: with a batch's budget, the |z| above which latents are kept outside training:
            the running mean of the least that was kept. Zero without.
    """

    silent: Int[Tensor, " n"]
    threshold: Float[Tensor, ""]

    def __init__(self, n: int, k: int, *, batch: bool) -> None:
        """Args:
        n: number of latents.
        k: how many a token keeps, or on average.
        batch: whether tokens share a budget.
        """
        super().__init__()
        self.n, self.k, self.batch = n, k, batch
        self.register_buffer("silent", torch.zeros(n, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(()))

    @torch.no_grad()
    def select(
        self,
        x: Float[Tensor, "rows d"],
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        *,
        product_dtype: torch.dtype | None = None,
        shared: bool = False,
        ranks: Ranks = ALONE,
    ) -> Active:
        """The latents that rows keep.

        Args:
            x: rows of one length: with a budget, |z| is compared between them.
            left: first factors.
            right: second factors.
            product_dtype: the type of the large matrix products.
            shared: whether the rows are a training batch that shares its budget; otherwise, with a
                budget, the threshold decides.
            ranks: who else has rows of that batch.
        """
        most = min(self.n, self.k * MOST if self.batch else self.k)
        indices, latents = strongest_products(x, left, right, most, product_dtype=product_dtype)
        if self.batch:
            size = latents.abs()
            kept = self._shared(size, ranks) if shared else size > self.threshold
            indices, latents = torch.where(kept, indices, -1), torch.where(kept, latents, 0)
        return Active(indices, latents)

    def loss(
        self,
        x: Float[Tensor, "rows d"],
        size: Float[Tensor, "rows 1"],
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        *,
        symmetric: bool,
        product_dtype: torch.dtype | None = None,
        ranks: Ranks = ALONE,
    ) -> Loss:
        """The error from active atoms alone, and what dead ones leave of its residual.

        Args:
            x: rows of length 1, no gradient is computed for them.
            size: the latents' scale in each row, for their density.
            left: first factors.
            right: second factors.
            symmetric: whether atoms are symmetrised.
            product_dtype: the type of the large matrix products.
            ranks: who else has rows of this batch.
        """
        x = x.detach()
        active = self.select(
            x, left, right, product_dtype=product_dtype, shared=self.training, ranks=ranks
        )
        squared = sparse_squared_error(
            x, left, right, active.indices, symmetric=symmetric, product_dtype=product_dtype
        )
        error = total = squared / len(x)
        if self.training:
            self.remember(active, ranks)
            left_over = self.revival(
                x, left, right, active, symmetric=symmetric, product_dtype=product_dtype
            )
            if left_over is not None:
                scale = ranks.mean(squared.detach()).clamp_min(torch.finfo(x.dtype).tiny)
                total = total + REVIVED * left_over / scale
        latents = active.latents * size
        density = sparse_hoyer_density(active.indices, latents, self.n, ranks).mean()
        return Loss(total, error, density, 0.0)

    def _shared(self, size: Float[Tensor, "rows most"], ranks: Ranks) -> Bool[Tensor, "rows most"]:
        """The rows·k largest of a batch; the threshold follows the least of them."""
        whole = ranks.gathered(size)
        budget = min(whole.numel(), len(whole) * self.k)
        least = whole.flatten().kthvalue(whole.numel() - budget + 1).values
        first = not bool(self.threshold)
        self.threshold.copy_(least if first else 0.99 * self.threshold + 0.01 * least)
        return size >= least

    @torch.no_grad()
    def remember(self, active: Active, ranks: Ranks = ALONE) -> None:
        """Count a training step, in which a latent was kept if any rank kept it."""
        kept = torch.zeros_like(self.silent, dtype=torch.uint8)
        kept[active.indices[active.indices >= 0]] = 1
        self.silent.add_(1).mul_(ranks.largest(kept) == 0)

    def revival(
        self,
        x: Float[Tensor, "rows d"],
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        active: Active,
        *,
        symmetric: bool,
        product_dtype: torch.dtype | None = None,
    ) -> Float[Tensor, ""] | None:
        """Σ ‖(X − X̂) − Σ_dead z_j B_j‖² over the rows, X̂ fixed; None while no latent is dead.

        An estimate from every :data:`REVIVED_ROWS`-th row, since a batch is shuffled.
        """
        dead = (self.silent > DEAD_STEPS).nonzero()[:, 0]
        if not len(dead):
            return None
        if len(dead) > CANDIDATES:
            generator = torch.Generator().manual_seed(int(self.silent.sum() % (2**31)))
            dead = dead[torch.randperm(len(dead), generator=generator)[:CANDIDATES].to(dead.device)]
        count = min(len(dead), REVIVED_AT_ONCE * self.k)
        share = len(x) / len(x[::REVIVED_ROWS])
        x, kept, latents = (each[::REVIVED_ROWS] for each in (x, *active))
        chosen = strongest_products(
            x, left.detach()[dead], right.detach()[dead], count, product_dtype=product_dtype
        ).indices
        return share * sparse_squared_error(
            x,
            left,
            right,
            torch.cat([kept, torch.where(chosen < 0, -1, dead[chosen])], dim=1),
            symmetric=symmetric,
            held=latents,
            product_dtype=product_dtype,
        )
