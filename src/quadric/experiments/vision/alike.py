"""Whether models may be compared: they differ in nothing but what an experiment varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        QuadricError: two recipes still differ; the message names the two models and the part.
    """
    for trained in models[1:]:
        first, other = (without(model.recipe).as_dict() for model in (models[0], trained))
        for part in first:
            if first[part] != other[part]:
                raise QuadricError(
                    f"{trained.path} and {models[0].path} differ in their {part}: name models that "
                    f"differ in {varied} only"
                )
