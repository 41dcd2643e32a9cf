"""Whether models may be compared: they differ in nothing but what an experiment varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quadric.errors import QuadricError
from quadric.vision.config import Recipe
from quadric.vision.files import Trained


def check_alike(
    models: Sequence[Trained], without: Callable[[Recipe], Recipe], varied: str
) -> None:
    """Refuse models that differ in more than what is varied.

    Args:
        models: trained classifiers.
        without: a recipe with everything that may vary set to one value.
        varied: the names of that, for the message.

    Raises:
        QuadricError: two recipes still differ; the message names the models and the field.
    """
    for trained in models[1:]:
        ours, theirs = (_flat(without(model.recipe)) for model in (models[0], trained))
        for key, value in ours.items():
            if theirs[key] != value:
                raise QuadricError(
                    f"{models[0].path} has {key} {value!r} and {trained.path} {theirs[key]!r}: "
                    f"name models that differ only in {varied}"
                )


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Every field by its dotted name."""
    flat: dict[str, Any] = {}
    for key, value in recipe.as_dict().items():
        if isinstance(value, dict):
            flat |= {f"{key}.{part}": each for part, each in value.items()}
        else:
            flat[key] = value
    return flat
