"""Adversarial masks from the weights, against the same masks with their pixels in random order.

    quadric vision masks MODEL… --shown 3

Figures 7 and 23 of arXiv 2410.08417, on test images: masks over the whole image, and over its outer
edge alone. Both kinds are measured: as published, with the pseudo-inverse over the embedding
pulled back to pixels, and exact, with the pseudo-inverse over pixels, so that a mask moves one
eigenvector and no other. Both signs are tried, and their mean is reported: to choose one by its
effect would need images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import masks as drawing
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.mask_table import (
    DECIDING,
    STRENGTHS,
    has_edge,
    mean,
    over,
    rows,
    works,
)
from quadric.experiments.vision.settings import VisionSettings
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.data.images import Images
from quadric.vision.files import Trained
from quadric.vision.masks import (
    Masks,
    adversarial_masks,
    edge,
    effects,
    permuted,
    standardised,
)
from quadric.vision.spectra import class_index

NOISES = (0.0, 0.15, 0.3)
"""Standard deviations of the published models' input noise."""
KINDS: dict[Space, str] = {"hidden": "published", "input": "exact"}
"""How the masks of either space are called."""
SUPPORTS = ("image", "edge")


@dataclass(frozen=True)
class Options:
    """Which masks to make.

    Raises:
        QuadricError: a number is out of range.
    """

    per_class: int = 10
    """Most positive eigenvectors of each class in the pseudo-inverse; fewer where those of all
    classes would fill more than half of the embedding, or are not independent."""
    top: int = 3
    """How many of them get a mask."""
    share: float = 0.01
    """The edge is made of pixels that are not black in less than this share of training images."""
    shown: str | None = None
    """Class whose masks are drawn, by name or number; by default 3, or 0 of fewer than four."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("per_class", "top"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not 0 < self.share <= 1:
            raise QuadricError(f"share is {self.share}, expected more than 0 and at most 1")


class Attack(NamedTuple):
    """One model's standardised masks over one support."""

    masks: Tensor
    """(classes · top, pixels), by class."""
    classes: Tensor
    """The class of each."""
    support: Bool[Tensor, " p"]


def plan(settings: VisionSettings) -> list[Recipe]:
    """The widest model at the three noises: a hundred rows need room."""
    return [
        settings.recipe(seed=seed, width=settings.widths[-1], augment=AugmentConfig(noise=noise))
        for noise in NOISES
        for seed in range(settings.seeds)
    ]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Answers of every model under masks, and pictures of the first model at each noise.

    Raises:
        QuadricError: the models were trained on different data, or have no masks.
    """
    tasks = {(t.recipe.dataset, t.recipe.target, t.recipe.threshold) for t in models}
    if len(tasks) > 1:
        names = ", ".join(sorted(str(task[0]) for task in tasks))
        raise QuadricError(f"the models were trained on different tasks ({names}): give one task's")
    data = models[0].data()
    border = edge(data.train, options.share)
    measured = []
    drawn: dict[float, dict[str, Any]] = {}
    for trained in models:
        model, noise = trained.model, trained.recipe.augment.noise
        count = rows_per_class(model, options.per_class)
        made = {kind: adversarial_masks(model, count, space=space) for space, kind in KINDS.items()}
        curves = {
            kind: {
                name: _measure(model, data.test, attack)
                for name, attack in _attacks(masks, options.top, border).items()
            }
            for kind, masks in made.items()
        }
        measured.append(
            {
                "path": str(trained.path),
                "noise": noise,
                "seed": trained.recipe.fit.seed,
                "width": model.config.d_embed,
                "per_class": made["exact"].masks.shape[1],
                "test_accuracy": trained.test_accuracy,
                "curves": curves,
            }
        )
        if noise not in drawn:
            drawn[noise] = _pictures(made, _shown(model, options))
    return Measured(
        {
            "dataset": data.name,
            "shape": list(data.test.shape),
            "shown": data.test.classes[_shown(models[0].model, options)],
            "edge_pixels": int(border.sum()),
            "strengths": list(STRENGTHS),
            "models": measured,
            "pictures": [{"noise": noise, **found} for noise, found in sorted(drawn.items())],
        }
    )


def rows_per_class(model: ImageClassifier, wanted: int) -> int:
    """As many eigenvectors per class as fill at most half of the embedding, at least one."""
    room = model.d_in if model.embed is None else min(model.embed.weight.shape)
    return max(1, min(wanted, room // (2 * len(model.classes))))


def _attacks(found: Masks, count: int, border: Bool[Tensor, " p"]) -> dict[str, Attack]:
    top = found.masks[:, :count]
    classes = torch.arange(len(top)).repeat_interleave(top.shape[1])
    whole = torch.ones_like(border)
    return {
        name: Attack(standardised(top.flatten(0, 1), support), classes, support)
        for name, support in zip(SUPPORTS, (whole, border), strict=True)
        if int(support.sum()) > 1
    }


def _measure(model: ImageClassifier, test: Images, attack: Attack) -> dict[str, Any]:
    """Accuracy, and share taken for the mask's class and for another, averaged over masks."""
    shuffled = permuted(attack.masks, attack.support)
    signed = torch.tensor([s for sign in (1, -1) for s in (sign * x for x in STRENGTHS)])
    both = torch.cat([attack.masks, shuffled])
    found = effects(model, test, both, attack.classes.repeat(2), signed)
    result: dict[str, Any] = {}
    for name, part in zip(("adversarial", "permuted"), (0, 1), strict=True):
        chosen = slice(part * len(attack.masks), (part + 1) * len(attack.masks))
        result[name] = {
            what: [
                [round(value, 5) for value in half.tolist()]
                for half in getattr(found, what)[chosen].mean(dim=0).chunk(2)
            ]
            for what in ("accuracy", "target", "other")
        }
    return result


def _shown(model: ImageClassifier, options: Options) -> int:
    default = "3" if len(model.classes) > 3 else "0"
    return class_index(model, default if options.shown is None else options.shown)


def _pictures(found: dict[str, Masks], shown: int) -> dict[str, Any]:
    images = [found["published"].images[shown, :1]]
    images += [found[kind].masks[shown, :1] for kind in ("published", "exact")]
    return {"images": pixels.rounded(torch.cat(images))}


def compare(measured: Measured) -> Comparison:
    """Whether the published masks harm more than permuted ones, and towards their class."""
    models = measured.data["models"]
    harmed = [works(model, "published", "image") for model in models]
    exact = [works(model, "exact", "image") for model in models]
    bare = [model for model in models if model["noise"] == 0 and has_edge(model)]
    edges = [works(model, "published", "edge") for model in bare]
    on_edge = (
        f", on the edge alone in {sum(edges)} of {len(edges)} trained without noise"
        if edges
        else ""
    )
    return Comparison(
        measured=(
            f"At strength {DECIDING:g} the published masks leave an accuracy of "
            f"{over(models, 'published', 'image', 'accuracy')} (permuted); they turn "
            f"{over(models, 'published', 'image', 'target')} (permuted) of the images into their "
            f"class. They harm more and towards their class in {sum(harmed)} of {len(models)} "
            f"models{on_edge}. Exact masks, which move one eigenvector only, leave "
            f"{over(models, 'exact', 'image', 'accuracy')} (permuted) and do so in {sum(exact)}."
        ),
        agrees=all(harmed),
        rule=(
            f"at strength {DECIDING:g}, averaged over both signs, in every model: accuracy under "
            "published masks is below that under permuted ones, and more images become the mask's "
            "class than under permuted ones and than become any other"
        ),
        figures={
            "accuracy_published": mean(models, "published", "adversarial", "accuracy"),
            "accuracy_permuted": mean(models, "published", "permuted", "accuracy"),
            "accuracy_exact": mean(models, "exact", "adversarial", "accuracy"),
            "target_published": mean(models, "published", "adversarial", "target"),
            "target_permuted": mean(models, "published", "permuted", "target"),
            "models": len(models),
            "models_harmed_more": sum(harmed),
            "models_harmed_more_by_exact": sum(exact),
            "models_harmed_more_on_edge": sum(edges),
            "edge_pixels": measured.data["edge_pixels"],
        },
        lines=lines(*rows(models)),
    )


EXPERIMENT = VisionExperiment(
    name="masks",
    title="Adversarial masks made from eigenvectors",
    statement=(
        "Masks from the pseudo-inverse of the top eigenvectors mislead a classifier towards their "
        "class far more than the same masks with permuted pixels."
    ),
    source=f"{PAPER}, figures 7 and 23",
    plan=plan,
    analyse=analyse,
    draw=drawing.draw,
    compare=compare,
    options=Options,
)
