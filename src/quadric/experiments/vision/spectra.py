"""Eigenspectra of the classes: their leading eigenvectors as pictures, and what those respond to.

    quadric vision spectra MODEL --classes 2,4,6

The pictures are figures 2B, 3 and 10–12 of arXiv 2410.08417. Two statements about them are checked
on the test images. A positive eigenvector should answer to its own class: the class with the
largest mean of λ(v·x)² is compared with it. A negative one should answer to classes that could be
taken for it: its mean suppression of every other class is correlated with how often the two are
confused, within each class.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import galleries
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.layers.layer import Space
from quadric.vision.config import Recipe
from quadric.vision.files import Trained
from quadric.vision.gallery import confusion, eigen_gallery, mean_responses
from quadric.vision.spectra import class_index

GOAL = 0.8
"""Share of the classes whose first positive eigenvector should answer to them most."""
PUBLISHED = ("5", "2", "4", "6")
"""The classes of the paper's figures 3 and 10–12."""


@dataclass(frozen=True)
class Options:
    """What to look at.

    Raises:
        QuadricError: k is below 1.
    """

    classes: str | None = None
    """Comma-separated classes to draw in full, by name or number, or all; by default the paper's
    5, 2, 4 and 6, or all where there are fewer than seven."""
    k: int = 4
    """Eigenvectors of each sign."""
    space: Space = "hidden"
    """Whose eigenvectors: hidden, as in the paper, or input for those orthonormal in pixels."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.k < 1:
            raise QuadricError(f"k is {self.k}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """The base model of every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Responses of every model; pictures of the first model of each data set."""
    measured: list[dict[str, Any]] = []
    drawn: dict[str, dict[str, Any]] = {}
    for trained in models:
        model, name = trained.model, trained.recipe.dataset
        chosen = _chosen(trained, options.classes)
        found = eigen_gallery(model, k=options.k, space=options.space)
        test = trained.data().test
        measured.append(
            {
                "path": str(trained.path),
                "dataset": name,
                "seed": trained.recipe.fit.seed,
                "width": model.config.d_embed,
                "test_accuracy": trained.test_accuracy,
                "classes": list(model.classes),
                **responses(
                    mean_responses(found.positive, test),
                    mean_responses(found.negative, test),
                    confusion(model, test),
                ),
            }
        )
        drawn.setdefault(name, galleries.pictures(name, trained, found, chosen))
    data = {"space": options.space, "models": measured, "galleries": list(drawn.values())}
    return Measured(data)


def responses(
    positive: Float[Tensor, "m k m"], negative: Float[Tensor, "m k m"], counts: Tensor
) -> dict[str, Any]:
    """What the eigenvectors of each class answer to.

    Args:
        positive: mean of λ(v·x)² for the leading positive eigenvectors of each class on the images
            of each class.
        negative: likewise for the negative ones.
        counts: images of each class (row) by the class they are taken for (column).

    Returns:
        ``own``: share of the classes whose first positive eigenvector answers to them most;
        ``answers``: the class it answers to; ``suppresses``: the class that the first negative one
        answers to; ``confusions``: how many test images are taken for another class; and the two
        correlations over pairs of classes, centred within each class: of the mean ``negative``
        (and ``positive``) response to another class with how often the two are confused. They are
        None with fewer than three classes, or where nothing is confused.
    """
    answers = positive[:, 0].argmax(dim=1)
    suppresses = negative[:, 0].argmin(dim=1)
    other = ~torch.eye(len(counts), dtype=torch.bool)
    mutual = (counts + counts.mT).double()
    return {
        "own": (answers == torch.arange(len(answers))).double().mean().item(),
        "answers": answers.tolist(),
        "suppresses": suppresses.tolist(),
        "confusions": int(counts[other].sum()),
        "negative": _within(-negative.clamp(max=0).sum(dim=1), mutual, other),
        "positive": _within(positive.clamp(min=0).sum(dim=1), mutual, other),
    }


def _within(a: Tensor, b: Tensor, other: Tensor) -> float | None:
    """Correlation over the entries off the diagonal, each row centred; None where undefined."""
    if len(a) < 3:
        return None
    rows = [matrix[other].view(len(a), -1) for matrix in (a, b)]
    first, second = (row - row.mean(dim=1, keepdim=True) for row in rows)
    lengths = first.norm() * second.norm()
    return float((first * second).sum() / lengths) if lengths > 0 else None


def _chosen(trained: Trained, given: str | None) -> list[int]:
    classes = trained.model.classes
    if given is None:
        published = [int(name) for name in PUBLISHED]
        return published if len(classes) > max(published) else list(range(len(classes)))
    if given.strip() == "all":
        return list(range(len(classes)))
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise QuadricError(f"classes is {given!r}, expected names such as 5,2 or all")
    return list(dict.fromkeys(class_index(trained.model, name) for name in names))


def compare(measured: Measured) -> Comparison:
    """Whether positive eigenvectors answer to their class, and negative ones to similar classes."""
    models = measured.data["models"]
    own = [found["own"] for found in models]
    negative = [found["negative"] for found in models if found["negative"] is not None]
    positive = [found["positive"] for found in models if found["positive"] is not None]
    classes_fit = statistics.fmean(own) >= GOAL
    suppress_fit = statistics.fmean(negative) > 0 if negative else None
    agrees = None if classes_fit and suppress_fit is None else bool(classes_fit and suppress_fit)
    both = (
        f"The other classes that its negative eigenvectors suppress most are confused with it "
        f"{'more' if suppress_fit else 'less'} often than the rest (correlation "
        f"{spread(negative)}); those that its positive eigenvectors answer to, with correlation "
        f"{spread(positive)}."
        if negative
        else "Too little is confused to say anything about negative eigenvectors."
    )
    return Comparison(
        measured=(
            f"The first positive eigenvector answers to its own class most in {spread(own)} of "
            f"the classes ({len(models)} models). {both}"
        ),
        agrees=agrees,
        rule=(
            f"in {GOAL:.0%} of the classes the first positive eigenvector answers most to its own "
            "class, and negative responses correlate positively with confusions"
        ),
        figures={
            "own": statistics.fmean(own),
            "negative_correlation": statistics.fmean(negative) if negative else None,
            "positive_correlation": statistics.fmean(positive) if positive else None,
        },
        lines=lines(
            Line("classes that their first positive eigenvector answers to most", "each", "",
                 spread(own)),
            Line("confusion of two classes ~ response of negative eigenvectors", "similar classes",
                 "", spread(negative)),
            Line("confusion of two classes ~ response of positive eigenvectors", "", "",
                 spread(positive)),
            *_most_suppressed(models),
        ),
    )  # fmt: skip


def _most_suppressed(models: Sequence[dict[str, Any]]) -> list[Line]:
    """The paper's example: what the first negative eigenvector of a 4 looks for is a 9."""
    found = [
        model["classes"][model["suppresses"][model["classes"].index("4")]]
        for model in models
        if {"4", "9"} <= set(model["classes"])
    ]
    if not found:
        return []
    return [Line("class that the first negative eigenvector of 4 answers to most", "9", "",
                 ", ".join(found))]  # fmt: skip


EXPERIMENT = VisionExperiment(
    name="spectra",
    title="Eigenspectra of the classes, and the images their eigenvectors answer to",
    statement=(
        "The top positive eigenvector of a class shows a part or the prototype of it; negative "
        "ones look for what would make it another, similar class."
    ),
    source=f"{PAPER}, figures 2, 3 and 10–12",
    plan=plan,
    analyse=analyse,
    draw=galleries.draw,
    compare=compare,
    options=Options,
)
