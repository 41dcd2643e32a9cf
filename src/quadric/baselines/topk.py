"""A TopK sparse autoencoder: the linear baseline on the same transformed activations.

For y the transformed activation (see ``quadric.autoencoders.transform``),

    z = TopK(ReLU(W(y − b) + c)),      ŷ = Vᵀz + b,      loss ‖y − ŷ‖² / ‖y − mean y‖²,

where TopK keeps the k largest entries of every row, the decoder rows v_j have length 1 and the
encoder starts equal to the decoder (Gao et al., "Scaling and evaluating sparse autoencoders",
arXiv 2406.04093). Latents that stay silent are revived by that paper's auxiliary loss.

    model = train_topk(source, d_sae=4096, k=32, steps=1000)
    error = model.product_error(x)        # of ŷŷᵀ against yyᵀ: comparable with bilinear ones
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.activations.loader import BatchSource
from quadric.autoencoders import InputTransform
from quadric.errors import QuadricError
from quadric.training.config import TrainingConfig
from quadric.training.optimizer import learning_rate, updates

STATISTICS_ROWS = 65_536
"""Rows behind the input transform and the decoder's bias."""
SILENT_STEPS = 50
"""Steps without a single activation after which a latent counts as dead."""
REVIVAL = 1 / 32
"""Weight of the auxiliary loss: dead latents reconstruct what the live ones left over."""


class TopKAutoencoder(nn.Module):
    """A sparse autoencoder whose latents are directions, at most k of them active per row.

    ``encoder`` is W, ``encoder_bias`` c, ``decoder`` V (both (d_sae, d_in)), and ``bias`` b.
    """

    def __init__(self, transform: InputTransform, d_sae: int, k: int, seed: int = 0) -> None:
        """Draw random unit decoder rows; the encoder is a copy of them.

        Raises:
            QuadricError: ``d_sae`` is not positive, or ``k`` is not in 1…d_sae.
        """
        super().__init__()
        if d_sae < 1:
            raise QuadricError(f"d_sae is {d_sae}, expected a positive integer")
        if not 1 <= k <= d_sae:
            raise QuadricError(f"k is {k}, expected 1 to {d_sae}, the number of latents")
        self.transform, self.k, self.d_sae = transform, k, d_sae
        self.d_in = len(transform.mean)
        generator = torch.Generator().manual_seed(seed)
        rows = nn.functional.normalize(torch.randn(d_sae, self.d_in, generator=generator), dim=1)
        self.decoder = nn.Parameter(rows)
        self.encoder = nn.Parameter(rows.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(d_sae))
        self.bias = nn.Parameter(torch.zeros(self.d_in))

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.decoder.dtype

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """The latents of activations: k of them at most differ from zero, none is negative."""
        return _largest(self._drive(self._transformed(x)), self.k)

    def decode(
        self, latents: Float[Tensor, "... d_sae"], *, like: Float[Tensor, "... d_in"] | None = None
    ) -> Float[Tensor, "... d_in"]:
        """Activations from latents, with the norms of ``like`` or else the training data's mean."""
        y = latents @ self.decoder + self.bias
        norm = None if like is None else self.transform.apply_to(like.to(self.dtype)).norm
        return self.transform.undo(y, norm)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """The reconstruction of x, in x's space, with x's own norm."""
        return self.decode(self.encode(x), like=x)

    @torch.no_grad()
    def explained_variance(self, x: Float[Tensor, "rows d_in"]) -> float:
        """1 − Σ‖x − x̂‖² / Σ‖x − mean x‖²."""
        x = x.to(self.dtype)
        residual = (x - self(x)).square().sum()
        return float(1 - residual / (x - x.mean(0)).square().sum())

    @torch.no_grad()
    def product_error(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "..."]:
        """‖yyᵀ − ŷŷᵀ‖² / ‖y‖⁴ = (‖y‖⁴ − 2(y·ŷ)² + ‖ŷ‖⁴) / ‖y‖⁴; 0 for a zero vector."""
        y = self._transformed(x)
        estimate = self.encode(x) @ self.decoder + self.bias
        size = y.square().sum(-1).square()
        error = size - 2 * (y * estimate).sum(-1).square() + estimate.square().sum(-1).square()
        return torch.where(size > 0, error / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)

    def _transformed(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.d_in:
            raise QuadricError(
                f"activations of shape {tuple(x.shape)}: the last dimension must be d_in = "
                f"{self.d_in}"
            )
        return self.transform.apply_to(x.to(self.dtype)).y

    def _drive(self, y: Tensor) -> Tensor:
        """ReLU(W(y − b) + c)."""
        return torch.relu((y - self.bias) @ self.encoder.T + self.encoder_bias)


def train_topk(
    source: BatchSource | Callable[[], Tensor],
    d_sae: int,
    k: int,
    *,
    steps: int = 1000,
    lr: float = 2e-3,
    seed: int = 0,
    transform: InputTransform | None = None,
    device: str | torch.device = "cpu",
    watch: Callable[[int, TopKAutoencoder], None] | None = None,
) -> TopKAutoencoder:
    """Train with AdamW, the learning rate warmed up and falling linearly to zero.

    Args:
        source: a source of batches, or a function that returns the next one, (rows, d_in).
        d_sae, k: the number of latents, and how many are active per row.
        steps, lr: optimiser steps, one batch each, and the peak learning rate.
        seed: of the initial weights.
        transform: a fitted input transform; without one the data is centred and brought to unit
            norm, as bilinear autoencoders do by default.
        device: where to train.
        watch: called before every step, and after the last, with the number of finished steps and
            the autoencoder as it is then.

    Raises:
        QuadricError: an argument is out of range, or the activations' width is not the transform's.
    """
    schedule = updates(TrainingConfig(steps=steps, lr=lr, optimizer="adamw"), "topk")
    batches = source if callable(source) else source.next_batch
    sample = _statistics(source).to(device)
    if transform is None:
        transform = InputTransform(sample.shape[1], centre=True, scale="none", norm="unit")
        transform = transform.to(device).fit(sample)
    model = TopKAutoencoder(transform, d_sae, k, seed).to(device)
    y = model._transformed(sample)
    model.bias.data = y.mean(0)
    variance = (y - y.mean(0)).square().sum(-1).mean().clamp_min(torch.finfo(y.dtype).tiny)
    silent = torch.zeros(d_sae, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for step in range(steps):
        if watch is not None:
            watch(step, model)
        optimizer.param_groups[0]["lr"] = learning_rate(schedule, step)
        optimizer.zero_grad(set_to_none=True)
        drive = model._drive(y := model._transformed(batches().to(device)))
        latents = _largest(drive, k)
        residual = y - latents @ model.decoder - model.bias
        silent = torch.where((latents > 0).any(0), 0, silent + 1)
        loss = residual.square().sum(-1).mean() / variance
        loss = loss + REVIVAL * _revival(model, drive, residual.detach(), silent > SILENT_STEPS)
        loss.backward()  # type: ignore[no-untyped-call]
        _project(model.decoder)
        optimizer.step()
        with torch.no_grad():
            model.decoder.copy_(nn.functional.normalize(model.decoder, dim=1))
    if watch is not None:
        watch(steps, model)
    return model.eval()


def _statistics(source: BatchSource | Callable[[], Tensor]) -> Tensor:
    if not callable(source):
        sample = source.sample(STATISTICS_ROWS)
    else:
        parts = [source()]
        while len(parts[-1]) and sum(map(len, parts)) < STATISTICS_ROWS:
            parts.append(source())
        sample = torch.cat(parts)[:STATISTICS_ROWS]
    if not len(sample):
        raise QuadricError("cannot train on the activations: the source gave no rows")
    return sample.float()


def _largest(drive: Tensor, k: int) -> Tensor:
    """The k largest entries of every row, zero elsewhere."""
    values, indices = drive.topk(k, dim=-1)
    return torch.zeros_like(drive).scatter(-1, indices, values)


def _revival(model: TopKAutoencoder, drive: Tensor, residual: Tensor, dead: Tensor) -> Tensor:
    """How badly the dead latents alone reconstruct the residual, relative to its size."""
    if not dead.any():
        return residual.new_zeros(())
    count = min(int(dead.sum()), max(1, model.d_in // 2))
    estimate = _largest(drive * dead, count) @ model.decoder
    scale = residual.square().sum().clamp_min(torch.finfo(residual.dtype).tiny)
    return (residual - estimate).square().sum() / scale


def _project(decoder: nn.Parameter) -> None:
    """Take from the gradient what would only change the length of a decoder row."""
    assert decoder.grad is not None
    decoder.grad -= (decoder.grad * decoder.data).sum(1, keepdim=True) * decoder.data
