"""The numbers that the map can show, and the histogram of a form's values.

Every statistic is defined here once, for the atlas's readers; ``sampled`` takes those that come
from a sample of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.atlas.contract import Statistic
from quadric.errors import QuadricError

BINS = 41
"""Bars of a histogram."""

DEFINITIONS = [
    Statistic(
        "evidence", "Evidence",
        "log p / log p_smallest for the ring's p-value, where p ≤ 0.01 and else 0, plus "
        "F₁·(1 − 1/words) of its token class; what the list is ordered by, 0 to 2.",
    ),
    Statistic(
        "p_value", "p-value of the ring",
        "(1 + draws whose ring is at least as persistent)/(1 + draws), the larger of that against "
        "Gaussian clouds and that against forms along random axes.",
        logarithmic=True,
    ),
    Statistic(
        "ring", "Ring",
        "Longest lifetime of a loop of the points in their roundest plane, whitened, in units of "
        "their root mean square radius: √3 for a dense circle, about ⅓ for a Gaussian blob.",
    ),
    Statistic(
        "dimension", "Dimension",
        "Intrinsic dimension of the points in the first three axes, whitened: the slope d of "
        "−log(1 − F(μ)) = d·log μ, with μ = r₂/r₁ the ratio of the distances to the two nearest.",
    ),
    Statistic(
        "clustering", "Clusters",
        "The best mean silhouette of Ward's 2, 3, 4 or 6 clusters of the points in the first three "
        "axes, whitened; at most 1.",
    ),
    Statistic(
        "slice_share", "Share in three axes",
        "Variance of the points along the first three axes ÷ their variance in all directions.",
    ),
    Statistic(
        "token_class", "Token class",
        "F₁ = 2·|firing rows on the class|/(firing rows + all rows on the class) of those tokens "
        "that predict best where the form fires.",
    ),
    Statistic(
        "separation", "Separation of tokens",
        "η²: the share of the points' variance in the first three axes that lies between tokens "
        "and not within them.",
    ),
    Statistic(
        "words", "Words",
        "exp(−Σ s·log s), s the shares of the firing rows that fall on each token of its class.",
    ),
    Statistic(
        "importance", "Importance",
        "Σλ², the squared Frobenius norm of the form; for a group the sum of its members'.",
        logarithmic=True,
    ),
    Statistic(
        "accuracy", "Accuracy",
        "Of a class: the share of its test images on which its logit is the largest. Of a "
        "difference of two classes: the share of their test images on which it has the right sign.",
    ),
    Statistic(
        "effective_rank", "Effective rank",
        "(Σ|λ|)²/Σλ² over the eigenvalues of the form: 1 where one carries all.",
    ),
    Statistic(
        "top3_share", "Share of three eigenvalues",
        "Share of Σ|λ| in the three largest |λ|.",
    ),
    Statistic(
        "mean_square", "Mean square",
        "Mean of f² over {rows} sampled rows.",
        logarithmic=True,
    ),
    Statistic(
        "frequency", "Frequency",
        "Share of {rows} sampled rows on which |f| exceeds its root mean square over them.",
        logarithmic=True,
    ),
    Statistic(
        "max_positive", "Largest value",
        "The largest f over the {searched} rows searched; 0 where it is never positive.",
    ),
    Statistic(
        "max_negative", "Smallest value",
        "The smallest f over the {searched} rows searched; 0 where it is never negative.",
    ),
    Statistic(
        "points", "Points",
        "Rows where the form is present: the strongest Σᵢ(aᵢ·y)² over its axes aᵢ, up to half of "
        "the squares' sum, 64 to 1,024 of them.",
    ),
]  # fmt: skip


class Sampled(NamedTuple):
    """What a sample of rows says of some forms."""

    edges: Float[Tensor, "forms b+1"]
    """Edges of the histograms, even in asinh(f/s) with s the median |f|."""
    counts: Int[Tensor, "forms b"]
    """Rows between them."""
    mean_square: Float[Tensor, " forms"]
    """Mean of f²."""
    frequency: Float[Tensor, " forms"]
    """Share of rows with |f| above its root mean square."""


def definitions(known: Iterable[str], *, rows: int, searched: int) -> list[Statistic]:
    """The statistics that an atlas has, in the order to offer them.

    Raises:
        QuadricError: one has no definition.
    """
    names = set(known)
    listed = [
        Statistic(
            each.name,
            each.title,
            each.definition.format(rows=f"{rows:,}", searched=f"{searched:,}"),
            each.logarithmic,
        )
        for each in DEFINITIONS
        if each.name in names
    ]
    if missing := names - {each.name for each in listed}:
        raise QuadricError(f"the statistic {sorted(missing)[0]!r} has no definition")
    return listed


def sampled(values: Float[Tensor, "forms rows"], bins: int = BINS) -> Sampled:
    """Histograms and moments of forms on a sample of rows."""
    size = values.abs()
    low, high = values.amin(1), values.amax(1)
    # A form that never varies still gets bars: one unit around its value, or around zero.
    flat = high <= low
    width = torch.where(size.amax(1) > 0, size.amax(1), 1.0)
    low, high = torch.where(flat, low - width, low), torch.where(flat, high + width, high)
    scale = size.median(1).values.maximum(1e-4 * size.amax(1)).double()
    scale = torch.where(scale > 0, scale, 1.0)
    ends = [torch.asinh(end.double() / scale) for end in (low, high)]
    steps = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    even = ends[0][:, None] + (ends[1] - ends[0])[:, None] * steps
    edges = (scale[:, None] * torch.sinh(even)).float()
    edges[:, 0], edges[:, -1] = low, high
    # Where float32 cannot tell two edges apart, evenly spaced ones are used instead.
    crowded = (edges.diff(dim=1) <= 0).any(1)
    if crowded.any():
        span = (high - low)[crowded, None].double()
        edges[crowded] = (low[crowded, None] + span * steps).float()
    place = torch.searchsorted(edges[:, 1:-1].contiguous(), values.contiguous(), right=True)
    place = place + bins * torch.arange(len(values))[:, None]
    counts = place.flatten().bincount(minlength=bins * len(values)).reshape(len(values), bins)
    squares = values.double().square().mean(1)
    often = (size > squares.sqrt().float()[:, None]).double().mean(1)
    return Sampled(edges, counts, squares, often)


def by_spectrum(values: Sequence[float]) -> dict[str, float]:
    """Effective rank and top-3 share of eigenvalues sorted by |λ|; 0 for a form that is zero."""
    sizes = [abs(value) for value in values]
    total, squares = sum(sizes), sum(value * value for value in values)
    if not squares:
        return {"effective_rank": 0.0, "top3_share": 0.0}
    return {"effective_rank": total**2 / squares, "top3_share": sum(sizes[:3]) / total}
