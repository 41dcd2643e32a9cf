"""Are an output feature's interactions larger than chance, given the same dictionary?

Self-interactions b̃_bb and cross-interactions 2b̃_bc (b < c), what a pair at activation 1 adds to
the output feature, beside those of a matched null: D G Dᵀ with G a symmetric Gaussian (Wigner)
matrix of the norm of Q_a, in Q_a's own space. The null keeps the dictionary's overlaps and the rank
d of DQ_aDᵀ, which a Gaussian p×p matrix would not (arXiv 2410.08417 Figure 24).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.blocks import row_blocks
from quadric.language.interactions import Interactions


class Histogram(NamedTuple):
    """Some numbers in bins."""

    counts: Int[Tensor, "bins"]
    mean: float
    std: float
    largest: float
    """Largest absolute value."""


class InteractionHistograms(NamedTuple):
    """One output feature's interactions between features, and those of its null."""

    edges: Float[Tensor, "bins+1"]
    """Shared by all four, symmetric about zero; nothing lies outside."""
    self_: Histogram
    """b̃_bb."""
    cross: Histogram
    """2b̃_bc, b < c."""
    null_self: Histogram
    null_cross: Histogram
    outside: int
    """How many cross-interactions are larger than every one of the null."""


@torch.no_grad()
def interaction_histograms(
    interactions: Interactions, output: int, bins: int = 101, seed: int = 0
) -> InteractionHistograms:
    """Self- and cross-interactions of ``output`` against the null drawn with ``seed``.

    Streams over DQ_aDᵀ and its null twice: for the range, then for the counts. The bias
    pseudo-feature takes no part.

    Raises:
        QuadricError: there is no such output, there is one input feature only, or ``bins`` < 1.
    """
    if bins < 1:
        raise QuadricError(f"bins is {bins}, expected 1 or more")
    if interactions.p < 2:
        raise QuadricError("one input feature has no cross-interactions: expected 2 or more")
    decoder = interactions.basis[:-1, :-1]
    form = interactions.form(output)[:-1, :-1]
    forms = {"true": form, "null": matched_null(form, seed)}
    ranges = {name: [_Range(), _Range()] for name in forms}
    for name, matrix in forms.items():
        for parts in _parts(decoder, matrix):
            for values, seen in zip(parts, ranges[name], strict=True):
                seen.add(values)
    limit = max(seen.largest for pair in ranges.values() for seen in pair) or 1.0
    edges = torch.linspace(-limit, limit, bins + 1, dtype=torch.float64)
    beyond = ranges["null"][1].largest
    counts = {name: torch.zeros(2, bins, dtype=torch.long) for name in forms}
    outside = 0
    for name, matrix in forms.items():
        for parts in _parts(decoder, matrix):
            for row, values in enumerate(parts):
                binned = torch.histc(values.double(), bins, -limit, limit)
                counts[name][row] += binned.long().cpu()
            if name == "true":
                outside += int((parts[1].abs() > beyond).sum())
    made = [
        seen.histogram(into)
        for name in forms
        for seen, into in zip(ranges[name], counts[name], strict=True)
    ]
    return InteractionHistograms(edges, made[0], made[1], made[2], made[3], outside)


def matched_null(form: Float[Tensor, "d d"], seed: int) -> Float[Tensor, "d d"]:
    """A symmetric Gaussian matrix with the Frobenius norm of ``form``, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(form.shape, generator=generator, dtype=torch.float64)
    drawn = drawn + drawn.mT
    drawn *= form.double().norm().cpu() / drawn.norm()
    return drawn.to(form)


class _Range:
    """Count, mean, squared deviations and largest size of numbers that come in parts."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviation, self.largest = 0, 0.0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        count = values.numel()
        if not count:
            return
        values = values.double()
        mean = float(values.mean())
        step = mean - self.mean
        joined = self.count + count
        self.deviation += float((values - mean).square().sum())
        self.deviation += step * step * self.count * count / joined
        self.mean += step * count / joined
        self.count = joined
        self.largest = max(self.largest, float(values.abs().max()))

    def histogram(self, counts: Int[Tensor, "bins"]) -> Histogram:
        return Histogram(counts, self.mean, (self.deviation / self.count) ** 0.5, self.largest)


def _parts(
    decoder: Float[Tensor, "p d"], form: Float[Tensor, "d d"]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The self-interactions of some features and their cross-interactions with later ones."""
    turned = form @ decoder.mT
    for rows in row_blocks(len(decoder), len(decoder)):
        values = decoder[rows] @ turned[:, rows.start :]
        later = torch.ones_like(values, dtype=torch.bool).triu_(1)
        yield values.diagonal(), 2 * values[later]
