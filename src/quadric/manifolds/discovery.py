"""From a trained autoencoder to its manifolds, ranked by evidence.

    for manifold in discover(model, x):
        manifold.shape, manifold.p_value, manifold.axes

Every candidate's points (``presence``) are measured along its axes (``shape``) and compared with
nulls (``nulls``). The p-value of a row is that of its ring: on planted data a loop in a form's
points means a manifold, while low dimension and clusters also come from a few unrelated features
that share a form. Where tokens are known, how closed a class of words the form fires on counts
beside it. Rows are ordered by

    evidence = log p / log p_smallest, where p ≤ 0.01, + F₁·(1 − 1/words),

both terms between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.rows import MemoryRows, Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.contexts import Visit
from quadric.forms import name_quadric
from quadric.manifolds import classes, nulls, shape
from quadric.manifolds.candidates import Candidate, candidates
from quadric.manifolds.controls import Control, Measured, measure, random_forms
from quadric.manifolds.nulls import Score, score
from quadric.manifolds.presence import Points, find_points

Shape = Literal["ring", "curved", "clusters", "blob", "unscored"]

LEVEL = 0.01
"""A shape with a larger p-value is not named."""
SMALLEST = 1 / (1 + nulls.POOL)
"""The smallest p-value a row can have."""


@dataclass(frozen=True, eq=False)
class Manifold:
    """One row of the ranked table."""

    rank: int
    """Its place, from 1."""
    candidate: Candidate
    """The form: id, kind, members, weights, axes."""
    shape: Shape
    """The first that is significant: a ring, a curved set (of lower dimension than the slice),
    clusters; a blob where none is; unscored where there are too few points."""
    p_value: float
    """Of the ring, against both its nulls; 1 where nothing was scored."""
    evidence: float
    """What the rows are ordered by, 0 to 2."""
    scores: dict[str, Score] = field(default_factory=dict)
    """ring, dimension, clustering, slice_share; with tokens also token_class and separation."""
    ring_plane: tuple[int, int] | None = None
    """The two axes in whose plane the ring was measured."""
    quadric: str = ""
    """The level surface of the form (its quadratic part, where it is affine) in the slice, at its
    median firing value."""
    token_types: Int[np.ndarray, " t"] | None = None
    """The token ids of its class."""
    words: float = 0.0
    """Effective number of words of the class."""
    points: Points | None = None
    """The points it was scored on."""

    @property
    def axes(self) -> Float[Tensor, "3 d_in"]:
        """The slice: its three leading axes, unit rows in the transformed input space."""
        return self.candidate.axes[: shape.SLICE]

    @property
    def values(self) -> Float[Tensor, "3"]:
        """The form's values along them."""
        return self.candidate.values[: shape.SLICE]


def discover(
    model: BilinearAutoencoder,
    x: Rows | Float[Tensor, "rows d_in"],
    *,
    tokens: Int[Tensor, " rows"] | None = None,
    limit: int | None = None,
    drop_first: int = 1,
    seed: int = 0,
    watch: Callable[[int], Visit] | None = None,
    chosen: Sequence[Candidate] | None = None,
    null: Sequence[Control] | None = None,
) -> list[Manifold]:
    """Rank the manifolds of an autoencoder by evidence.

    Args:
        model: the autoencoder.
        x: activations, as a store or a tensor.
        tokens: a token id for every row, where known.
        limit: leading rows of the store to look at; all when None.
        drop_first: positions of a context left out, as in training.
        seed: of everything random; the same seed gives the same table.
        watch: sees the forms' values on the way, as in ``find_points``.
        chosen: the candidates to examine; all of the autoencoder's when None.
        null: ``random_forms`` of the same candidates, rows and seed, where they are at hand.

    Raises:
        QuadricError: the activations have another width or are too few.
    """
    store = MemoryRows(x) if isinstance(x, Tensor) else x
    if store.d_in != model.d_in:
        raise QuadricError(
            f"activations of width {store.d_in} for an autoencoder of d_in {model.d_in}"
        )
    looked_at = _looked_at(store, limit, drop_first)
    if len(looked_at) < shape.FEWEST_POINTS:
        raise QuadricError(
            f"{len(looked_at)} activations are too few: scores need {shape.FEWEST_POINTS} or more"
        )
    examined = list(candidates(model) if chosen is None else chosen)
    found = find_points(model, store, examined, limit=limit, drop_first=drop_first, watch=watch)
    if null is None:
        null = random_forms(model, store, examined, limit=limit, drop_first=drop_first, seed=seed)
    measured = [control.measured for control in null]
    corpus = None
    if tokens is not None:
        ids = tokens.numpy()
        corpus = np.bincount(ids[looked_at], minlength=int(ids.max()) + 1)
    rows = []
    for candidate, points in zip(examined, found, strict=True):
        row = _examine(candidate, points, measured, seed)
        if tokens is not None and corpus is not None and row.shape != "unscored":
            row = _with_tokens(row, points, tokens, corpus, looked_at, seed)
        rows.append(row)
    order = sorted(rows, key=lambda row: (-row.evidence, row.p_value, row.candidate.id))
    return [replace(row, rank=rank) for rank, row in enumerate(order, 1)]


def _examine(candidate: Candidate, points: Points, null: Sequence[Measured], seed: int) -> Manifold:
    own = measure(candidate, points, seed)
    if own is None:
        return Manifold(0, candidate, "unscored", 1.0, 0.0, points=points)
    similar = sorted(null, key=lambda each: abs(each.effective_rank - own.effective_rank))
    similar = similar[: nulls.POOL]
    cloud = points.coordinates.double().numpy()
    axes = cloud.shape[1]
    scores = {
        "ring": score(
            own.ring.persistence,
            {
                "gaussian": nulls.gaussian("ring", axes),
                "random_forms": [each.ring.persistence for each in similar],
            },
        ),
        "dimension": score(
            own.dimension,
            {
                "gaussian": nulls.gaussian("dimension", min(axes, shape.SLICE)),
                "random_forms": [each.dimension for each in similar],
            },
            tail="low",
        ),
        "clustering": score(
            shape.clustering(cloud, np.random.default_rng([seed, candidate.id, 2])),
            {"gaussian": nulls.gaussian("clustering", min(axes, shape.SLICE))},
        ),
        "slice_share": score(
            own.slice_share, {"random_forms": [each.slice_share for each in similar]}
        ),
    }
    named: dict[str, Shape] = {"ring": "ring", "dimension": "curved", "clustering": "clusters"}
    significant = [name for key, name in named.items() if scores[key].p_value <= LEVEL]
    p_value = scores["ring"].p_value
    return Manifold(
        rank=0,
        candidate=candidate,
        shape=significant[0] if significant else "blob",
        p_value=p_value,
        # A ring that is not significant says nothing, and must not reorder the rows.
        evidence=math.log(p_value) / math.log(SMALLEST) if p_value <= LEVEL else 0.0,
        scores=scores,
        ring_plane=own.ring.plane,
        quadric=name_quadric(candidate.values[: shape.SLICE].tolist(), _level(points)),
        points=points,
    )


def _with_tokens(
    row: Manifold,
    points: Points,
    tokens: Tensor,
    corpus: Int[np.ndarray, " vocabulary"],
    looked_at: Int[np.ndarray, " rows"],
    seed: int,
) -> Manifold:
    generator = np.random.default_rng([seed, row.candidate.id, 1])
    ids = tokens.numpy()
    firing = ids[points.firing.numpy()]
    found = classes.token_class(firing, corpus)
    dealt = [
        classes.token_class(ids[generator.choice(looked_at, len(firing))], corpus).f1
        for _ in range(nulls.SHUFFLES)
    ]
    cloud = points.coordinates[:, : shape.SLICE].double().numpy()
    here = ids[points.rows.numpy()]
    apart = [classes.separation(cloud, generator.permutation(here)) for _ in range(nulls.SHUFFLES)]
    scores = {
        **row.scores,
        "token_class": score(found.f1, {"shuffled_labels": dealt}),
        "separation": score(classes.separation(cloud, here), {"shuffled_labels": apart}),
    }
    closed = found.f1 * (1 - 1 / found.words) if found.words >= 1 else 0.0
    return replace(
        row,
        scores=scores,
        token_types=found.types,
        words=found.words,
        evidence=row.evidence + closed,
    )


def _level(points: Points) -> float:
    return points.values.median().item() if len(points.values) else 0.0


def _looked_at(store: Rows, limit: int | None, drop_first: int) -> Int[np.ndarray, " rows"]:
    rows = torch.arange(len(store) if limit is None else min(limit, len(store)))
    positions = store.positions(rows)
    return (rows if positions is None else rows[positions >= drop_first]).numpy()
