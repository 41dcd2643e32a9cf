"""What goes into an atlas, in real units; ``writer`` turns it into the tables of ``contract``.

Arrays are numpy's, so that nothing here needs torch: n points, r ≤ MOST_AXES stored axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

AxisKind = Literal["eigenvector", "shared", "principal"]
ContextKind = Literal["most_positive", "most_negative", "near_zero", "random"]


@dataclass(frozen=True, eq=False)
class FormPoints:
    """A form on some points: f(p) = pᵀAp + b·p + c on its stored axes, plus a remainder."""

    spectrum: Float[np.ndarray, " e"]
    """Its eigenvalues, the largest |λ| first, at most MOST_EIGENVALUES."""
    axis_kind: Sequence[AxisKind]
    """What each of the r axes is."""
    form: Float[np.ndarray, "r r"]
    """A: diagonal where the axes are eigenvectors."""
    linear: Float[np.ndarray, " r"]
    """b; zero unless the autoencoder is affine."""
    constant: float
    """c; likewise."""
    coordinates: Float[np.ndarray, "n r"]
    """p: the transformed activations along the axes."""
    value: Float[np.ndarray, " n"]
    """The form itself at the points, on all of its axes."""


@dataclass(frozen=True, eq=False)
class Context:
    """A response: a row and the window of its context around it."""

    kind: ContextKind
    row: int
    """The row that responds."""
    start: int
    """The first row of the window."""
    values: Float[np.ndarray, " w"]
    """The form on every row of the window."""

    @property
    def value(self) -> float:
        """The form at the row itself."""
        return float(self.values[self.row - self.start])


@dataclass(frozen=True)
class Neighbour:
    """A form that is near."""

    measure: int
    """Into the manifest's measures."""
    id: int
    """The other form."""
    overlap: float
    """How near, at most 1."""


@dataclass(frozen=True)
class NullScore:
    """A score beside one of its nulls."""

    name: str
    """ring, dimension, clustering, …"""
    value: float
    """The statistic."""
    null: str
    """gaussian, random_forms, shuffled_labels."""
    mean: float
    """Of the null's draws."""
    sd: float
    """Their standard deviation."""
    z: float
    """(value − mean)/sd, positive where it is evidence."""
    p_value: float
    """(1 + draws at least as extreme)/(1 + draws)."""
    draws: int
    """How many."""


@dataclass(frozen=True, eq=False)
class Page:
    """Everything the page of one form shows."""

    id: int
    points: FormPoints
    rows: Int[np.ndarray, " n"]
    """The row of the store behind each point."""
    present: Bool[np.ndarray, " n"]
    """True where a point was chosen because the form's subspace holds much of it, false where it
    was drawn at random."""
    ring_plane: tuple[int, int] | None = None
    """The two axes in whose plane a ring was measured."""
    histogram_edges: Float[np.ndarray, " b+1"] = field(default_factory=lambda: np.zeros(0))
    """Of the form's values on a sample of rows; empty where it was not counted."""
    histogram_counts: Int[np.ndarray, " b"] = field(default_factory=lambda: np.zeros(0, int))
    """Rows between the edges."""
    contexts: Sequence[Context] = ()
    neighbours: Sequence[Neighbour] = ()
    scores: Sequence[NullScore] = ()
    images: Float[np.ndarray, "r h w c"] | None = None
    """Its axes as pictures, where rows are images."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A form's partner in another autoencoder, on the points of the form's own page."""

    id: int
    """The form here."""
    partner: int
    """Its index there."""
    overlap: float
    """Cosine of the two forms."""
    label: str
    """The partner's; empty if unknown."""
    points: FormPoints
    """The partner's, on the rows of the form's page."""


@dataclass(frozen=True, eq=False)
class Control:
    """A form along random axes, and the points that are present there."""

    effective_rank: float
    points: FormPoints


@dataclass(frozen=True)
class FormRow:
    """A form on the map and in the lists."""

    id: int
    kind: str
    """One of KINDS."""
    shape: str
    """One of SHAPES."""
    x: float
    """Place on the map, −1 … 1."""
    y: float
    positive: int
    """Eigenvalues above zero."""
    negative: int
    """Eigenvalues below zero."""
    statistics: dict[str, float]
    """By the names of the manifest's statistics; NaN or missing where unknown."""
    label: str = ""
    """Its distinctive words."""
    written_label: str = ""
    """What a language model called it."""
    tokens: Sequence[str] = ()
    """The words or tokens it responds to."""
    quadric: str = ""
    """The name of its level surface in the first three axes."""
    members: Sequence[int] = ()
    """The latents it sums."""
    weights: Sequence[float] = ()
    """Their weights."""
