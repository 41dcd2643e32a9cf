"""Trained models by size: runs of one recipe that differ in their seed, at one or more widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from quadric.errors import QuadricError
from quadric.experiments.vision.alike import check_alike
from quadric.vision.config import Recipe
from quadric.vision.files import Trained


class Size(NamedTuple):
    """How large a model is; sizes sort by width."""

    width: int
    """Inputs of the bilinear block, and so eigenvectors of a class."""
    products: int
    """Products of the block."""

    @property
    def label(self) -> str:
        """The width, followed by the products where they are not as many."""
        if self.width == self.products:
            return str(self.width)
        return f"{self.width}×{self.products}"


def by_size(models: Sequence[Trained]) -> dict[Size, list[Trained]]:
    """The runs of every size, smallest size first.

    Raises:
        QuadricError: the models differ in more than size and seed, or two of them in nothing.
    """
    check_alike(models, _base, "size and seed")
    groups: dict[Size, list[Trained]] = {}
    for trained in models:
        parts = trained.recipe.classifier
        width = trained.model.d_in if parts.d_embed is None else parts.d_embed
        groups.setdefault(Size(width, parts.d_hidden), []).append(trained)
    for size, runs in groups.items():
        seeds = [trained.recipe.fit.seed for trained in runs]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            raise QuadricError(
                f"two models of size {size.label} have seed {twice}: name runs of different seeds"
            )
    return dict(sorted(groups.items()))


def _base(recipe: Recipe) -> Recipe:
    """The recipe without what runs may differ in: sizes, seed and snapshots."""
    return dataclasses.replace(
        recipe,
        classifier=dataclasses.replace(recipe.classifier, d_embed=None, d_hidden=1),
        fit=dataclasses.replace(recipe.fit, seed=0, snapshots=0),
    )


def colours(count: int) -> list[tuple[float, float, float, float]]:
    """A colour for every size, from dark (smallest) to light, told apart in grey too."""
    from matplotlib import colormaps

    shades = colormaps["viridis"]
    return [shades(0.85 * place / max(1, count - 1)) for place in range(count)]


def percent(mean: float, half: float | None, digits: int = 1) -> str:
    """A share as percent, with half the width of its interval where there is one."""
    spread = "" if half is None else f" ± {100 * half:.{digits}f}"
    return f"{100 * mean:.{digits}f}{spread} %"
