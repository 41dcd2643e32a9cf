"""How much of an output feature its few largest eigen-terms explain.

An output feature of a dictionary behind a bilinear layer is y_a = xᵀQ_ax + const. Its approximation
of rank k keeps the eigen-terms of the k largest |λ| (arXiv 2410.08417 §5.2)

    ŷ_ak(x) = const + Σ_{i≤k} λ_i (v_i·x)²,

and is compared with the y_a MEASURED at the layer's outputs, over the tokens where TopK keeps the
feature, and over all tokens. At full rank both correlations are 1: anything else says that the
dictionary, the layer and the activations do not belong together.

    approximation = leading_terms(layer, OutputDictionary(W_enc.T, b_enc, b_dec), k=64)
    sums = CorrelationSums(approximation)
    for x, y, kept in batches:      # layer inputs, measured pre-activations, TopK's choice
        sums.update(x, y, kept)
    sums.active().pearson           # (features, ranks)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, lift
from quadric.forms.blocks import row_blocks
from quadric.language.dictionaries import OutputDictionary
from quadric.layers import GatedLayer

MINIMA = (1, 5, 10, 50, 100, 500, 1000)
"""Least numbers of active tokens at which a summary is given."""
HIGH = 0.75
"""A correlation above this counts as high (arXiv 2410.08417 Figure 9)."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """The leading eigen-terms of every output feature; made by ``leading_terms``."""

    values: Float[Tensor, "q k"]
    """λ_i, the largest |λ| first."""
    vectors: Float[Tensor, "q k w"]
    """v_i as orthonormal rows, of [x; 1] where the layer has biases."""
    offset: Float[Tensor, "q"]
    """The constant that every rank includes."""
    lifted: bool
    """Whether the vectors read [x; 1]."""

    @torch.no_grad()
    def __call__(
        self, x: Float[Tensor, "t d"], features: slice = slice(None)
    ) -> Float[Tensor, "t f k"]:
        """ŷ_ak(x) for some features a and all ranks k at once, in float64.

        Raises:
            QuadricError: ``x`` does not have d columns.
        """
        self.check(x)
        x = x.to(self.vectors)
        rows = self.vectors[features]
        read = (lift(x) if self.lifted else x) @ rows.flatten(0, 1).mT
        terms = read.double().square().reshape(len(x), *rows.shape[:2])
        total: Tensor = terms.mul_(self.values[features].double()).cumsum(dim=2)
        return total + self.offset[features, None].double()

    def check(self, x: Tensor) -> None:
        """Refuse inputs of another width.

        Raises:
            QuadricError: ``x`` does not have d columns.
        """
        width = self.vectors.shape[2] - self.lifted
        if x.ndim != 2 or x.shape[1] != width:
            raise QuadricError(
                f"x has shape {tuple(x.shape)}, expected (tokens, {width}): the layer's inputs, "
                "behind its norm"
            )

    @torch.no_grad()
    def rotated(self, seed: int = 0) -> LowRank:
        """A null: the same eigenvalues in random orthonormal frames, one per feature."""
        generator = torch.Generator().manual_seed(seed)
        frames = torch.empty_like(self.vectors)
        _, k, width = self.vectors.shape
        for rows in row_blocks(len(frames), k * width):
            shape = (len(frames[rows]), width, k)
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            frames[rows] = torch.linalg.qr(drawn).Q.mT.to(frames)
        return replace(self, vectors=frames)


@torch.no_grad()
def leading_terms(layer: GatedLayer | BilinearTensor, outputs: OutputDictionary, k: int) -> LowRank:
    """The ``k`` leading eigen-terms by |λ| of every feature that ``outputs`` reads from the layer.

    With biases in the layer, those of the form on [x; 1], so that full rank is d + 1 there. A
    ``BilinearTensor`` counts as a layer without biases.

    Raises:
        QuadricError: the layer is not bilinear, the dictionary's width is not that of its outputs,
            or ``k`` is not in 1…d.
    """
    readout = outputs.read(layer)
    values, vectors = readout.forms.eigh_many(None, k, by="abs")
    return LowRank(values, vectors, readout.offset, readout.lifted)


class Fit(NamedTuple):
    """How every rank's approximation compares with the feature; NaN where nothing varies."""

    tokens: Int[Tensor, "q"]
    """How many there were."""
    pearson: Float[Tensor, "q k"]
    r2: Float[Tensor, "q k"]
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², of ŷ neither scaled nor shifted: it can be negative."""
    slope: Float[Tensor, "q k"]
    """Of the least-squares line y ≈ slope·ŷ + const."""


class Summary(NamedTuple):
    """One rank's active-only correlations, over features that are active often enough."""

    minimum: int
    """Least number of active tokens."""
    features: int
    """Features with that many and a defined correlation."""
    mean: float
    median: float
    high: float
    """Share of them above ``HIGH``."""


class CorrelationSums:
    """Centred sums over tokens, in float64: memory 3·q·k numbers for each of the two sets."""

    def __init__(self, approximation: LowRank, *, everywhere: bool = True) -> None:
        """Args:
        approximation: what to compare with the measured features.
        everywhere: whether to keep the sums over all tokens too. They cost q·k·d a token, those
            over the kept pairs only k·d for each.
        """
        self.approximation = approximation
        self._active = _Moments(approximation.values)
        self._everywhere = _Moments(approximation.values) if everywhere else None

    @torch.no_grad()
    def update(
        self, x: Float[Tensor, "t d"], y: Float[Tensor, "t q"], kept: Bool[Tensor, "t q"]
    ) -> None:
        """Take in some tokens; leave out padding and the first position beforehand.

        Args:
            x: the layer's inputs.
            y: the features' pre-activations, measured at the layer's outputs.
            kept: which of them TopK (or ReLU) lets through.

        Raises:
            QuadricError: a shape is wrong or a number not finite; nothing is taken in then.
        """
        self.approximation.check(x)
        device, q = self.approximation.values.device, len(self.approximation.values)
        for name, values in {"y": y, "kept": kept}.items():
            if values.shape != (len(x), q):
                raise QuadricError(
                    f"{name} has shape {tuple(values.shape)}, expected ({len(x)}, {q}): one row "
                    "per token and one column per output feature"
                )
        if kept.dtype != torch.bool:
            raise QuadricError(f"kept is {kept.dtype}, expected torch.bool")
        for name, values in {"x": x, "y": y}.items():
            if not values.isfinite().all():
                raise QuadricError(f"{name} holds NaN or infinity: leave those tokens out")
        x, y, kept = x.to(device), y.to(device, torch.float64), kept.to(device)
        for feature in kept.any(dim=0).nonzero()[:, 0].tolist():
            one = slice(feature, feature + 1)
            tokens = kept[:, feature]
            self._active.add(one, self.approximation(x[tokens], one), y[tokens, one])
        if self._everywhere is not None and len(x):
            for some in row_blocks(q, len(x) * self.approximation.values.shape[1]):
                self._everywhere.add(some, self.approximation(x, some), y[:, some])

    def active(self) -> Fit:
        """Over the tokens where the feature is kept."""
        return self._active.fit()

    def everywhere(self) -> Fit:
        """Over all tokens.

        Raises:
            QuadricError: they were not asked for.
        """
        if self._everywhere is None:
            raise QuadricError("the sums over all tokens were not kept: give everywhere=True")
        return self._everywhere.fit()

    def summaries(self, rank: int, minima: Sequence[int] = MINIMA) -> list[Summary]:
        """The active-only correlations at one rank, by how often a feature must be active.

        Raises:
            QuadricError: ``rank`` is not in 1…k.
        """
        ranks = self.approximation.values.shape[1]
        if not 1 <= rank <= ranks:
            raise QuadricError(f"rank is {rank}, expected 1 to {ranks}")
        fit = self.active()
        found = fit.pearson[:, rank - 1]
        rows = []
        for minimum in minima:
            some = found[(fit.tokens >= minimum) & ~found.isnan()]
            parts = some.mean(), some.quantile(0.5) if len(some) else some.mean()
            share = (some > HIGH).double().mean()
            rows.append(Summary(minimum, len(some), *map(float, (*parts, share))))
        return rows


class _Moments:
    """Means and centred second moments of y and ŷ per feature, joined batch by batch.

    Two sets with counts n, m, and means a distance δ apart, have Σ(y−ȳ)² larger than the sum of
    theirs by δ²·nm/(n+m), and likewise for products (Chan, Golub and LeVeque 1979).
    """

    def __init__(self, like: Float[Tensor, "q k"]) -> None:
        """Nothing yet, for as many features and ranks as ``like`` has."""
        self.mean_fit, self.square_fit, self.product = (
            torch.zeros_like(like, dtype=torch.float64) for _ in range(3)
        )
        self.count, self.mean, self.square = (self.product.new_zeros(len(like)) for _ in range(3))

    def add(self, rows: slice, fit: Float[Tensor, "t f k"], y: Float[Tensor, "t f"]) -> None:
        """Join some tokens, at least one, to the features in ``rows``."""
        new, old = float(len(y)), self.count[rows]
        mean, mean_fit = y.mean(0), fit.mean(0)
        y, fit = y - mean, fit - mean_fit
        step, step_fit = mean - self.mean[rows], mean_fit - self.mean_fit[rows]
        total = old + new
        weight = old * new / total
        self.square[rows] += y.square().sum(0) + weight * step.square()
        self.square_fit[rows] += fit.square().sum(0) + weight[:, None] * step_fit.square()
        self.product[rows] += (y[..., None] * fit).sum(0)
        self.product[rows] += (weight * step)[:, None] * step_fit
        self.mean[rows] += step * new / total
        self.mean_fit[rows] += step_fit * (new / total)[:, None]
        self.count[rows] = total

    def fit(self) -> Fit:
        square = self.square[:, None]
        nan = torch.full_like(self.product, torch.nan)
        varies = (square > 0) & (self.square_fit > 0)
        pearson = self.product / (square.sqrt() * self.square_fit.sqrt())
        gap = (self.mean[:, None] - self.mean_fit).square() * self.count[:, None]
        missed = square - 2 * self.product + self.square_fit + gap
        return Fit(
            self.count.long(),
            torch.where(varies, pearson.clamp(-1, 1), nan),
            torch.where(square > 0, 1 - missed / square, nan),
            torch.where(varies, self.product / self.square_fit, nan),
        )
