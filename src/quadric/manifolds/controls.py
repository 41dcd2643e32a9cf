"""Forms along random axes, and what they show in the same activations: what chance looks like.

    controls = random_forms(model, store, candidates(model))
    discover(model, store, null=controls)

A control has the values of some candidate along axes drawn at random, and points that are chosen in
the same way. Choosing what lies far out in a subspace makes a shell, and a shell has a hole; a
control has the same hole. ``measure`` takes the statistics that candidates and controls are
compared by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.manifolds import nulls, shape
from quadric.manifolds.candidates import Candidate
from quadric.manifolds.presence import Points, find_points

ROWS = 65_536
"""Leading rows of the store in which random forms look for their points."""
FORMS = 2 * nulls.POOL
"""Random forms, among which every candidate has its most similar ones."""


@dataclass(frozen=True)
class Measured:
    """Statistics of one cloud."""

    effective_rank: float
    """(Σ|λ|)²/Σλ² of the form's values along its axes."""
    ring: shape.Ring
    """The roundest plane."""
    dimension: float
    """Intrinsic dimension of the slice."""
    slice_share: float
    """Share of the points' variance in the slice."""


@dataclass(frozen=True, eq=False)
class Control:
    """A form along random axes."""

    candidate: Candidate
    """Its axes and values; members and weights are those of the candidate it copies."""
    points: Points
    """The points that are present on its axes."""
    measured: Measured
    """Their statistics."""


def random_forms(
    model: BilinearAutoencoder,
    store: Rows,
    examined: Sequence[Candidate],
    *,
    limit: int | None = None,
    drop_first: int = 1,
    seed: int = 0,
) -> list[Control]:
    """Forms with the candidates' values along random axes; none where none has enough points.

    Args:
        model: the autoencoder, whose transformed input the axes lie in.
        store: activations.
        examined: the candidates whose values are copied.
        limit: leading rows of the store to look at, if fewer than 65,536.
        drop_first: positions of a context left out, as in training.
        seed: of the axes.
    """
    if not examined:
        return []
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(examined), generator=generator)
    picks = order.repeat(-(-FORMS // len(examined)))[:FORMS]
    twins = []
    for number, pick in enumerate(picks.tolist()):
        original = examined[pick]
        random = torch.randn(model.d_in, len(original.axes), generator=generator)
        axes = torch.linalg.qr(random).Q.T.to(original.axes)
        twins.append(replace(original, id=number, axes=axes))
    found = find_points(model, store, twins, limit=min(ROWS, limit or ROWS), drop_first=drop_first)
    measured = [measure(twin, points, seed + 1) for twin, points in zip(twins, found, strict=True)]
    return [
        Control(twin, points, each)
        for twin, points, each in zip(twins, found, measured, strict=True)
        if each is not None
    ]


def measure(candidate: Candidate, points: Points, seed: int) -> Measured | None:
    """The statistics of a form's points; None where there are too few, or all are one."""
    cloud = points.coordinates.double().numpy()
    if len(cloud) < shape.FEWEST_POINTS or points.variance <= 0:
        return None
    generator = np.random.default_rng([seed, candidate.id])
    values = candidate.values.double().abs()
    return Measured(
        effective_rank=float(values.sum() ** 2 / values.square().sum().clamp_min(1e-30)),
        ring=shape.ring(cloud, generator),
        dimension=shape.dimension(cloud, generator),
        slice_share=float(cloud[:, : shape.SLICE].var(0).sum() / points.variance),
    )
