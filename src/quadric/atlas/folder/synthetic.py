"""An atlas of known surfaces, for tests and timings.

    write_synthetic(folder, forms=16_384)

Forms cycle through SURFACES. The points of a form that were drawn because they are ``present`` lie
exactly on its level set f(p) = level in its first three axes; others are scattered. Its further
axes carry small coordinates, and a known noise stands for the eigen-directions that are not stored,
so that slice, remainder and value can be told without reading the code that draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quadric.atlas.contract import SHAPES, Comparison, Manifest, Measure, Statistic
from quadric.atlas.folder.writer import SHARD_BYTES, AtlasWriter
from quadric.atlas.records import (
    Context,
    Control,
    FormPoints,
    FormRow,
    Neighbour,
    NullScore,
    Page,
    Pair,
)

NOISE = 0.03
"""Root mean square of what the stored axes leave out, for forms that have more axes."""
PRESENT = 0.75
"""The part of the points that lie on the level set."""
HOSTILE = '<img src=x onerror="window.pwned=1">'
IMAGE = (8, 8, 1)
WORDS = 1_024
CONTEXT_SIZE = 128
CREATED = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Surface:
    """The level set λ₀p₀² + λ₁p₁² + λ₂p₂² + b·p₂ = level, with λ₀ = 1."""

    name: str
    """Of the quadric."""
    eigenvalues: tuple[float, float, float]
    """λ; the zeros, if any, come last."""
    level: float
    slope: float = 0.0
    """b."""

    @property
    def full(self) -> bool:
        """Whether all three axes bend it: only then has the form further ones."""
        return all(self.eigenvalues)


SURFACES = (
    Surface("ellipsoid", (1, 0.7, 0.5), 1),
    Surface("one-sheet hyperboloid", (1, 0.8, -0.6), 1),
    Surface("two-sheet hyperboloid", (1, -0.8, -0.7), 1),
    Surface("cone", (1, -0.9, 0.8), 0),
    Surface("elliptic cylinder", (1, 0.7, 0), 1),
    Surface("hyperbolic cylinder", (1, -0.7, 0), 1),
    Surface("elliptic paraboloid", (1, 0.6, 0), 1, slope=0.8),
    Surface("hyperbolic paraboloid", (1, -0.6, 0), 0, slope=0.8),
    Surface("parallel planes", (1, 0, 0), 1),
    Surface("intersecting planes", (1, -0.6, 0), 0),
)

STATISTICS = [
    Statistic("density", "Density", "How evenly the points respond, from 0 to 1."),
    Statistic("effective_rank", "Effective rank", "(Σ|λ|)² / Σλ²", logarithmic=True),
    Statistic("importance", "Importance", "Synthetic; best first.", logarithmic=True),
    Statistic("frequency", "Frequency", "Unknown for every seventh form."),
]
MEASURES = [
    Measure("gram", "Products", "Cosine of the two forms."),
    Measure("subspace", "Subspaces", "‖UᵀV‖² / √(r s)"),
]


def write_synthetic(
    folder: Path,
    *,
    forms: int = 64,
    points: int = 256,
    seed: int = 0,
    axes: int = 5,
    comparison: bool = False,
    text: bool = True,
    images: bool = False,
    hostile: bool = False,
    controls: int = 4,
    rows: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Manifest:
    """Write the atlas of ``forms`` forms with ``points`` points each, and return its manifest.

    Rows are images with ``images``, else tokens with ``text``, else vectors; the same arguments
    give the same bytes. ``hostile`` makes the first label, one of its words, its partner's
    label and every 37th token a piece of HTML that sets window.pwned where a page takes text for
    markup. ``rows`` is the size of the store, ``shard_bytes`` about that of a file of pages.
    """
    source = _Source(forms, points, seed, axes, images, text and not images, hostile, rows)
    modality: Any = "image" if images else "text" if text else "vector"
    writer = AtlasWriter(
        folder,
        title="Synthetic surfaces",
        modality=modality,
        facts={"model": "none", "forms": f"{forms:,}", "seed": str(seed)},
        rows=source.rows,
        context_size=source.context_size,
        statistics=STATISTICS,
        colour="effective_rank",
        size="importance",
        measures=MEASURES,
        comparison=Comparison("Another synthetic run", {"seed": "other"}) if comparison else None,
        image_shape=IMAGE if images else None,
        pixel_range=(0.0, 1.0) if images else None,
        created=CREATED,
        shard_bytes=shard_bytes,
    )
    with writer:
        for place in range(forms):
            page = source.page(place)
            writer.add(page, source.pair(page, place) if comparison else None)
        writer.finish(
            [source.row(place) for place in range(forms)],
            [source.control() for _ in range(controls)],
            tokens=token_ids if modality == "text" else None,
            texts=source.texts if modality == "text" else None,
            pixels=image_bytes if images else None,
        )
    return writer.manifest


def surface_of(place: int) -> Surface:
    """The surface of the form at a place."""
    return SURFACES[place % len(SURFACES)]


def token_ids(start: int, stop: int) -> np.ndarray:
    """The tokens of rows: a fixed hash of the row, so that no store is needed."""
    mixed = np.arange(start, stop, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    tokens: np.ndarray = ((mixed >> np.uint64(40)) % np.uint64(WORDS)).astype(np.int64)
    return tokens


def word(token: int) -> str:
    """The text of a token: two syllables behind a space, and a few that are hard to show."""
    odd = ["\n", " é", " 日本", "<b>", " &amp;", "\u200f", "\t", " \U0001f642"]
    if token < len(odd):
        return odd[token]
    first, second = divmod(token, 32)
    consonants, vowels = "bdfgklmnprstvwyz", "ao"
    syllables = [consonants[i // 2] + vowels[i % 2] for i in (first, second)]
    return " " + "".join(syllables)


def image_bytes(rows: np.ndarray) -> np.ndarray:
    """Images of rows: a slope whose direction the row gives."""
    height, width, _ = IMAGE
    y, x = np.mgrid[0:height, 0:width] / (height - 1) - 0.5
    angle = np.asarray(rows)[:, None, None] * 0.1
    slope = 0.5 + 0.7 * (np.cos(angle) * x + np.sin(angle) * y)
    images: np.ndarray = np.rint(255 * slope.clip(0, 1)).astype(np.uint8)[..., None]
    return images


class _Source:
    """Draws the records."""

    def __init__(
        self,
        forms: int,
        points: int,
        seed: int,
        axes: int,
        images: bool,
        text: bool,
        hostile: bool,
        rows: int | None,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._points, self._axes, self._images, self._hostile = points, axes, images, hostile
        self.context_size = CONTEXT_SIZE if text else 1
        self.rows = rows or (4_096 if images else 262_144)
        self._window = 12 if text else 1
        # Every eighth form is a group; latents have scattered ids, as in a list of the best.
        self._latents = 2 * forms
        group = np.arange(forms) % 8 == 7
        ids = self._random.permutation(self._latents)[:forms]
        self._ids = np.where(group, self._latents + np.arange(forms), ids)
        self._group = group

    def page(self, place: int) -> Page:
        """What the form at a place shows."""
        draw = self._random
        surface = surface_of(place)
        present = np.arange(self._points) < round(PRESENT * self._points)
        points = self._on(surface, present)
        edges = np.linspace(points.value.min() - 1e-3, points.value.max() + 1e-3, 25)
        counts, _ = np.histogram(points.value, edges)
        images = None
        if self._images:
            images = draw.normal(size=(len(points.linear), *IMAGE))
        return Page(
            id=int(self._ids[place]),
            points=points,
            rows=draw.integers(0, self.rows, self._points),
            present=present,
            ring_plane=(0, 1) if SHAPES[place % len(SHAPES)] == "ring" else None,
            histogram_edges=edges,
            histogram_counts=counts,
            contexts=self._contexts(),
            neighbours=self._neighbours(place),
            scores=[
                NullScore("ring", 3.2, "gaussian", 1.1, 0.5, 4.2, 0.01, 99),
                NullScore("ring", 3.2, "random_forms", 1.6, 0.8, 2.0, 0.04, 99),
                NullScore("clustering", 0.4, "gaussian", 0.4, 0.1, 0.0, 0.52, 99),
            ],
            images=images,
        )

    def pair(self, page: Page, place: int) -> Pair:
        """The partner: the next surface, on the same rows."""
        points = self._on(surface_of(place + 1), page.present)
        label = HOSTILE if self._hostile and place == 0 else f"partner of {page.id}"
        return Pair(page.id, partner=place, overlap=0.8, label=label, points=points)

    def control(self) -> Control:
        """A form along random axes."""
        return Control(3.0, self._on(SURFACES[0], np.zeros(self._points, bool)))

    def row(self, place: int) -> FormRow:
        """The form at a place, on the map and in the lists."""
        surface = surface_of(place)
        turn = 2 * np.pi * (place % len(SURFACES)) / len(SURFACES)
        wobble = self._random.normal(size=2) * 0.06
        words = tuple(word(int(token)) for token in self._random.integers(8, WORDS, 4))
        label = f"{surface.name}:{words[0]}{words[1]}"
        if self._hostile and place == 0:
            label, words = HOSTILE, (HOSTILE, *words)
        members = (int(self._ids[place]),)
        if self._group[place]:
            members = tuple(self._random.integers(0, self._latents, 3).tolist())
        eigenvalues = np.abs(self._spectrum(surface))
        return FormRow(
            id=int(self._ids[place]),
            kind="group" if self._group[place] else "latent",
            shape=SHAPES[place % len(SHAPES)],
            x=float(np.clip(0.7 * np.cos(turn) + wobble[0], -1, 1)),
            y=float(np.clip(0.7 * np.sin(turn) + wobble[1], -1, 1)),
            positive=int((np.array(surface.eigenvalues) > 0).sum()),
            negative=int((np.array(surface.eigenvalues) < 0).sum()),
            statistics={
                "density": float(self._random.random()),
                "effective_rank": float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum()),
                "importance": 1 / (1 + place),
                "frequency": np.nan if place % 7 == 3 else float(self._random.random()),
            },
            label=label,
            tokens=words,
            quadric=surface.name,
            members=members,
            weights=(1.0,) * len(members),
        )

    def texts(self, ids: list[int]) -> list[str]:
        """The words of tokens."""
        return [HOSTILE if self._hostile and id % 37 == 9 else word(id) for id in ids]

    def _spectrum(self, surface: Surface) -> np.ndarray:
        bent = np.array([value for value in surface.eigenvalues if value])
        if not surface.full:
            return bent
        further = 0.2 * 0.8 ** np.arange(2 * self._axes) * (-1) ** np.arange(2 * self._axes)
        return np.concatenate([bent, further])

    def _on(self, surface: Surface, present: np.ndarray) -> FormPoints:
        """The form of a surface, where ``present`` on its level set, on ``axes`` or three axes."""
        draw, n = self._random, len(present)
        spectrum = self._spectrum(surface)
        r = max(self._axes, 3) if surface.full else 3
        form = np.zeros(r)
        form[: min(r, len(spectrum))] = spectrum[:r]
        linear = np.zeros(r)
        linear[2] = surface.slope
        coordinates = draw.normal(size=(n, r)) * np.where(np.arange(r) < 3, 0.5, 0.15)
        on = int(present.sum())
        coordinates[present, :3] = self._level_set(surface, on)
        value = (coordinates * form + linear) * coordinates
        noise = draw.normal(size=n)
        noise *= NOISE * surface.full / np.sqrt(np.mean(noise**2))
        kinds: list[Any] = ["eigenvector" if form[k] else "principal" for k in range(r)]
        return FormPoints(
            spectrum, kinds, np.diag(form), linear, 0.0, coordinates, value.sum(axis=1) + noise
        )

    def _level_set(self, surface: Surface, n: int) -> np.ndarray:
        """Points of the surface: p₁ and p₂ at random, p₀ solved for and of either sign."""
        _, second, third = surface.eigenvalues
        p = self._random.uniform(-1.5, 1.5, size=(2, 8 * n + 8))
        square = surface.level - second * p[0] ** 2 - third * p[1] ** 2 - surface.slope * p[1]
        good = np.flatnonzero(square >= 0)[:n]
        sign = np.where(np.arange(n) % 2, 1.0, -1.0)
        return np.stack([sign * np.sqrt(square[good]), p[0, good], p[1, good]], axis=1)

    def _contexts(self) -> list[Context]:
        draw, size, window = self._random, self.context_size, self._window
        kinds = ("most_positive", "most_negative", "near_zero", "random")
        start = draw.integers(0, self.rows // size, 8) * size
        start += draw.integers(0, size - window + 1, 8)
        at = draw.integers(0, window, 8)
        values = draw.normal(size=(8, window)) * 0.2
        values[np.arange(8), at] = np.repeat([2.0, -2.0, 0.01, 0.3], 2)
        return [
            Context(kinds[i // 2], int(start[i] + at[i]), int(start[i]), values[i])  # type: ignore[arg-type]
            for i in range(8)
        ]

    def _neighbours(self, place: int) -> list[Neighbour]:
        forms, near = len(self._ids), []
        for measure in range(len(MEASURES)):
            steps = 1 + self._random.choice(forms - 1, min(6, forms - 1), replace=False)
            for i, id in enumerate(self._ids[(place + steps) % forms].tolist()):
                near.append(Neighbour(measure, id, 0.9 - 0.1 * i))
        return near
