"""Planted ground truth: activations whose manifolds are known, with dials for how hard they are.

A row is a sum of what is active in it, each manifold and each linear feature by its own chance:

    x = Σ_active manifolds  p_i(θ) U_i  +  Σ_active features  s_j f_j  +  noise,

with U_i an orthonormal basis (rows) of the manifold's span and p_i(θ) a point of its shape for a
random parameter θ. Shapes are centred and scaled to E‖p‖² = 1; features are unit vectors with
strengths s between ½ and 1½. Superposition is the number of dimensions planted in all, spans and
features together, per dimension of the space: up to 1 all of them are orthogonal, above 1 they
are random and interfere.

    planted = plant(PlantedConfig(superposition=1.5, noise=0.1, seed=3))
    sample = planted.sample(4096, seed=0)           # sample.x, sample.active, sample.parameters
    source = planted.source(batch_size=4096)        # endless training batches
    planted.bases[0]                                # the true span of the first manifold
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quadric.activations.iterator import IteratorSource
from quadric.activations.permutation import derive
from quadric.errors import QuadricError, nearest

Kind = Literal["circle", "sphere", "torus", "helix", "moebius", "line", "clusters"]

SPAN = {"circle": 2, "sphere": 3, "torus": 3, "helix": 3, "moebius": 3, "line": 1, "clusters": 3}
"""Dimensions of the linear span of each kind."""

_CHUNK = 8192
_TUBE, _TURNS, _WIDTH = 0.5, 2, 0.5


@dataclass(frozen=True)
class PlantedConfig:
    """What is planted, and how deep.

    Raises:
        QuadricError: a value is out of range, a kind is unknown, or the manifolds alone need more
            dimensions than the superposition allows.
    """

    d: int = 48
    """Width of the activations."""
    manifolds: tuple[str, ...] = ("circle", "circle", "circle")
    """The kinds: circle, sphere, torus, helix, moebius (the edge of a Möbius strip), line and
    clusters (four points, the corners of a tetrahedron)."""
    superposition: float = 1.0
    """Planted dimensions per dimension of the space; what the spans leave becomes features."""
    noise: float = 0.05
    """Root mean square length of the Gaussian noise; a manifold's or a feature's is about 1."""
    probability: float = 0.1
    """Chance of every single manifold to be active in a row."""
    feature_probability: float = 0.025
    """Chance of every single linear feature to be active in a row."""
    seed: int = 0
    """Seed of the spans and features."""

    def __post_init__(self) -> None:
        """Check the ranges and that everything fits."""
        for kind in self.manifolds:
            if kind not in SPAN:
                hint = nearest(kind, SPAN)
                raise QuadricError(f"unknown manifold {kind!r}, expected {', '.join(SPAN)}{hint}")
        for name in ("probability", "feature_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected a number in [0, 1]")
        if not 0 <= self.noise < math.inf:
            raise QuadricError(f"noise is {self.noise}, expected 0 or more")
        span = sum(SPAN[kind] for kind in self.manifolds)
        if self.d < max((SPAN[kind] for kind in self.manifolds), default=1):
            raise QuadricError(f"d is {self.d}: too narrow for {', '.join(self.manifolds)}")
        if self.features < 0 or self.features + len(self.manifolds) == 0:
            raise QuadricError(
                f"superposition {self.superposition:g} of width {self.d} is "
                f"{round(self.superposition * self.d)} dimensions, the manifolds alone need {span}"
            )

    @property
    def features(self) -> int:
        """The number of linear features."""
        return round(self.superposition * self.d) - sum(SPAN[kind] for kind in self.manifolds)


class PlantedSample(NamedTuple):
    """Rows and what is in them."""

    x: Float[Tensor, "rows d"]
    """The activations, float32."""
    active: Bool[Tensor, "rows manifolds"]
    """Which manifolds are active in a row."""
    parameters: Float[Tensor, "rows manifolds 2"]
    """Where on the manifold: angles in radians, a height in [−1, 1], a position on the line, or
    the number of the cluster; zero where the manifold is not active or needs only one."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Manifolds and features in their places."""

    config: PlantedConfig
    """What was asked for."""
    bases: tuple[Float[Tensor, "k d"], ...]
    """Orthonormal rows that span each manifold, in float64."""
    features: Float[Tensor, "features d"]
    """The unit directions of the linear features, in float64."""

    def sample(self, rows: int, seed: int) -> PlantedSample:
        """Draw rows; the same seed draws the same rows.

        A row in which nothing would be active gets one manifold or feature, so that none is noise
        alone.

        Raises:
            QuadricError: ``rows`` is negative.
        """
        if rows < 0:
            raise QuadricError(f"rows is {rows}, expected 0 or more")
        config, kinds = self.config, self.config.manifolds
        generator = torch.Generator().manual_seed(derive(config.seed, seed))
        chances = torch.full((len(kinds) + config.features,), config.probability)
        chances[len(kinds) :] = config.feature_probability
        active = torch.rand(rows, len(chances), generator=generator) < chances
        chosen = torch.randint(len(chances), (rows,), generator=generator)
        empty = ~active.any(1)
        active[empty, chosen[empty]] = True
        of_manifold, of_feature = active[:, : len(kinds)], active[:, len(kinds) :]

        noise = torch.randn(rows, config.d, generator=generator, dtype=torch.float64)
        x = noise * (config.noise / config.d**0.5)
        strengths = 0.5 + torch.rand(of_feature.shape, generator=generator, dtype=torch.float64)
        x += (strengths * of_feature) @ self.features
        parameters = torch.zeros(rows, len(kinds), 2, dtype=torch.float64)
        for i, (kind, basis) in enumerate(zip(kinds, self.bases, strict=True)):
            uniform = torch.rand(rows, 2, generator=generator, dtype=torch.float64)
            here = of_manifold[:, i, None]
            parameters[:, i], points = (part * here for part in _SHAPES[kind](uniform))
            x += points @ basis
        return PlantedSample(x.float(), of_manifold, parameters.float())

    def source(self, batch_size: int, seed: int = 0) -> IteratorSource:
        """Endless training batches, new rows in every one, as a batch source."""

        def chunks() -> Iterator[Tensor]:
            for index in itertools.count():
                yield self.sample(_CHUNK, derive(seed, index)).x

        return IteratorSource(chunks, batch_size=batch_size, max_norm_multiple=None)


def plant(config: PlantedConfig) -> Planted:
    """Draw the spans and features: orthogonal while they fit, random in superposition."""
    generator = torch.Generator().manual_seed(config.seed)
    sizes = [SPAN[kind] for kind in config.manifolds]
    total = sum(sizes) + config.features
    rows = torch.randn(total, config.d, generator=generator, dtype=torch.float64)
    if total <= config.d:
        rows = torch.linalg.qr(rows.T).Q.T
    *spans, features = torch.split(rows, [*sizes, config.features])
    bases = tuple(torch.linalg.qr(span.T).Q.T.contiguous() for span in spans)
    return Planted(config, bases, torch.nn.functional.normalize(features, dim=1))


Shape = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From uniform numbers (rows, 2) to parameters (rows, 2) and points (rows, span), E‖p‖² = 1."""


def _circle(uniform: Tensor) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * uniform[:, 0]
    return _one(angle), torch.stack([angle.cos(), angle.sin()], 1)


def _sphere(uniform: Tensor) -> tuple[Tensor, Tensor]:
    angle, height = 2 * math.pi * uniform[:, 0], 2 * uniform[:, 1] - 1
    radius = (1 - height.square()).clamp_min(0).sqrt()
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)
    return torch.stack([angle, height], 1), points


def _torus(uniform: Tensor) -> tuple[Tensor, Tensor]:
    around, tube = (2 * math.pi * uniform).unbind(1)
    radius = 1 + _TUBE * tube.cos()
    points = torch.stack([radius * around.cos(), radius * around.sin(), _TUBE * tube.sin()], 1)
    return torch.stack([around, tube], 1), points / (1 + _TUBE**2) ** 0.5


def _helix(uniform: Tensor) -> tuple[Tensor, Tensor]:
    angle = _TURNS * 2 * math.pi * uniform[:, 0]
    height = 2 * uniform[:, 0] - 1
    return _one(angle), torch.stack([angle.cos(), angle.sin(), height], 1) / (4 / 3) ** 0.5


def _moebius(uniform: Tensor) -> tuple[Tensor, Tensor]:
    angle = 4 * math.pi * uniform[:, 0]
    radius = 1 + _WIDTH * (angle / 2).cos()
    height = _WIDTH * (angle / 2).sin()
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)
    return _one(angle), points / (1 + _WIDTH**2) ** 0.5


def _line(uniform: Tensor) -> tuple[Tensor, Tensor]:
    place = 2 * uniform[:, 0] - 1
    return _one(place), place[:, None] * 3**0.5


def _clusters(uniform: Tensor) -> tuple[Tensor, Tensor]:
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).to(uniform)
    which = (4 * uniform[:, 0]).long().clamp_max(3)
    return _one(which.to(uniform)), corners[which] / 3**0.5


def _one(parameter: Tensor) -> Tensor:
    return torch.stack([parameter, torch.zeros_like(parameter)], 1)


_SHAPES: dict[str, Shape] = dict(
    zip(
        get_args(Kind),
        (_circle, _sphere, _torus, _helix, _moebius, _line, _clusters),
        strict=True,
    )
)
