"""Similarity of classifiers as functions: across seeds and sizes, and along training.

    quadric vision functional RUN RUN …

Cosines come from the weights and, for the images' Gaussian, from the mean and covariance of the
training images; beside them stands what the models do on the test images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import fmean, pstdev
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, NoOptions, VisionExperiment
from quadric.experiments.vision.figures.functional import BEST, draw
from quadric.experiments.vision.settings import VisionSettings
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.data.images import ImageData
from quadric.vision.files import Trained
from quadric.vision.fit import accuracy
from quadric.vision.functional import agreement, correlation, moments, similarity

SNAPSHOTS = 6
MEASURES = ("weights", "standard", "standard, centred", "images", "images, centred")


def plan(settings: VisionSettings) -> list[Recipe]:
    """Every size and seed, and two seeds of the middle size with copies along training."""
    seeds = range(settings.seeds)
    grid = [settings.recipe(seed=seed, width=width) for width in settings.widths for seed in seeds]
    return grid + [settings.recipe(seed=seed, snapshots=SNAPSHOTS) for seed in seeds[:2]]


def analyse(models: Sequence[Trained], options: NoOptions) -> Measured:  # noqa: ARG001
    """All pairs of models; for models with snapshots, every snapshot too.

    Images and moments are those of the first model's data set.

    Raises:
        QuadricError: the models are not of one task, or one has no quadratic logits.
    """
    data = models[0].data()
    given = moments(data.train)
    chosen = _distinct(models)
    networks = [trained.model for trained in chosen]
    found = similarity(networks, given)
    matrices = {name: found[name].total for name in MEASURES}  # type: ignore[index]
    matrices["agreement"] = agreement(networks, data.test)
    matrices["test images, centred"] = correlation(networks, data.test)
    twins = _twins(chosen)
    classes = found[BEST].classes  # type: ignore[index]
    return Measured(
        {
            "labels": _labels(chosen),
            "accuracy": [trained.test_accuracy for trained in chosen],
            "classes": list(chosen[0].model.classes),
            "matrices": {name: _rounded(matrix) for name, matrix in matrices.items()},
            "by_class": _rounded(
                torch.stack([classes[:, i, j] for i, j in twins]).mean(0) if twins else None
            ),
            "twins": _by_width(chosen, twins, matrices),
            "ranks": _ranks(matrices) if len(chosen) > 2 else {},
            "training": _training(models, data, given),
        }
    )


def _distinct(models: Sequence[Trained]) -> list[Trained]:
    """The models without those that another only follows more closely."""
    kept: dict[str, Trained] = {}
    for trained in models:
        fit = dataclasses.replace(trained.recipe.fit, snapshots=0)
        kept.setdefault(dataclasses.replace(trained.recipe, fit=fit).digest(), trained)
    return list(kept.values())


def _labels(models: Sequence[Trained]) -> list[str]:
    """Width and seed where these tell the models apart, else their folders."""
    labels = [f"{m.recipe.classifier.d_hidden}, seed {m.recipe.fit.seed}" for m in models]
    return labels if len(set(labels)) == len(labels) else [m.path.name for m in models]


def _unseeded(recipe: Recipe) -> str:
    fit = dataclasses.replace(recipe.fit, seed=0, snapshots=0)
    return dataclasses.replace(recipe, fit=fit).digest()


def _twins(models: Sequence[Trained]) -> list[tuple[int, int]]:
    """Pairs of models that differ in their seed alone."""
    keys = [_unseeded(trained.recipe) for trained in models]
    return [(i, j) for i, j in combinations(range(len(models)), 2) if keys[i] == keys[j]]


def _by_width(
    models: Sequence[Trained],
    twins: Sequence[tuple[int, int]],
    matrices: dict[str, Float[Tensor, "K K"]],
) -> list[dict[str, Any]]:
    """Mean and spread over the pairs of seeds of each kind of model, by width."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for i, j in twins:
        groups.setdefault(_unseeded(models[i].recipe), []).append((i, j))
    rows = []
    for pairs in groups.values():
        row: dict[str, Any] = {
            "width": models[pairs[0][0]].recipe.classifier.d_hidden,
            "pairs": len(pairs),
        }
        for name, matrix in matrices.items():
            values = [float(matrix[i, j]) for i, j in pairs]
            row[name] = {"mean": fmean(values), "spread": pstdev(values)}
        rows.append(row)
    return sorted(rows, key=lambda row: int(row["width"]))


def _ranks(matrices: dict[str, Float[Tensor, "K K"]]) -> dict[str, float]:
    """Spearman's correlation over pairs of each measure with the agreement of predictions."""
    count = len(matrices["agreement"])
    upper = torch.triu_indices(count, count, 1).unbind()
    places = {name: matrix[upper].argsort().argsort().double() for name, matrix in matrices.items()}
    goal = places.pop("agreement")
    return {
        name: float(torch.corrcoef(torch.stack([place, goal]))[0, 1])
        for name, place in places.items()
    }


@torch.no_grad()
def _training(models: Sequence[Trained], data: ImageData, given: Any) -> list[dict[str, Any]]:
    """Each model with snapshots against its own end and against the end of another seed."""
    followed = [trained for trained in models if trained.recipe.fit.snapshots]
    found = []
    for trained in followed:
        other = next(
            (
                m
                for m in models
                if m is not trained
                and m.recipe.fit.seed != trained.recipe.fit.seed
                and _unseeded(m.recipe) == _unseeded(trained.recipe)
            ),
            None,
        )
        recipe = trained.recipe
        start = ImageClassifier.build(data.train, recipe.classifier, recipe.fit.seed).eval()
        along = {0: start, **trained.snapshots()}
        ends = [trained.model] + ([] if other is None else [other.model])
        networks = [*along.values(), *ends]
        cosines = similarity(networks, given)
        shares = agreement(networks, data.test)
        count = len(along)
        row: dict[str, Any] = {
            "seed": recipe.fit.seed,
            "epochs": list(along),
            "accuracy": [accuracy(model, data.test) for model in along.values()],
        }
        for place, end in enumerate(("own", "other")[: len(ends)]):
            row[end] = {
                name: _rounded(cosines[name].total[:count, count + place])  # type: ignore[index]
                for name in ("weights", BEST)
            }
            row[end]["agreement"] = _rounded(shares[:count, count + place])
        found.append(row)
    return found


def _rounded(values: Tensor | None) -> Any:
    if values is None:
        return None
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [None if value.isnan() else round(float(value), 6) for value in values]


def compare(measured: Measured) -> Comparison:
    """Whether seeds agree more in wider models, and which measure foretells agreement."""
    data = measured.data
    twins, ranks = data["twins"], data["ranks"]
    widths = [row["width"] for row in twins]
    means = [row[BEST]["mean"] for row in twins]
    decided = len(set(widths)) == len(widths) >= 2
    pieces = [
        f"width {row['width']}: {row['weights']['mean']:.2f} by the weights, "
        f"{row[BEST]['mean']:.3f} as functions of images, {row['agreement']['mean']:.1%} equal "
        "predictions"
        for row in twins
    ]
    sentence = f"Between seeds, {'; '.join(pieces)}." if pieces else ""
    across = _extremes(data["matrices"])
    if across:
        sentence = f"{sentence} {across}".strip()
    if ranks:
        sentence += (
            f" Over all pairs the rank correlation with equal predictions is "
            f"{ranks['weights']:.2f} for the weights' cosine and {ranks[BEST]:.2f} for the "
            "functional one."
        )
    figures: dict[str, float | int | None] = {
        f"{name}_{row['width']}": row[name]["mean"]
        for row in twins
        for name in ("weights", BEST, "agreement")
    }
    figures |= {f"rank_{name}": value for name, value in ranks.items()}
    return Comparison(
        measured=sentence or "One model has nothing to be compared with.",
        agrees=all(a < b for a, b in pairwise(means)) if decided else None,
        rule="similarity between seeds, with the images' moments, rises with every size",
        figures=figures,
        lines=lines(
            *(
                Line(
                    f"Functional similarity between seeds, width {row['width']}",
                    "0.8–0.9, more in wider models (top eigenvectors)" if row is twins[0] else "",
                    "",
                    f"{row[BEST]['mean']:.3f} ± {row[BEST]['spread']:.3f} (weights "
                    f"{row['weights']['mean']:.3f}; equal predictions "
                    f"{row['agreement']['mean']:.1%})",
                )
                for row in twins
            )
        ),
    )


def _extremes(matrices: dict[str, Any]) -> str:
    """The pair that is least alike by its weights, as a sentence."""
    weights = matrices["weights"]
    pairs = list(combinations(range(len(weights)), 2))
    if not pairs:
        return ""
    i, j = min(pairs, key=lambda pair: float(weights[pair[0]][pair[1]]))
    return (
        f"The two models least alike by their weights ({weights[i][j]:.2f}) are "
        f"{matrices[BEST][i][j]:.2f} alike as functions and agree on "
        f"{matrices['agreement'][i][j]:.1%} of test images."
    )


EXPERIMENT = VisionExperiment(
    name="functional",
    title="Similarity of classifiers as functions",
    statement=(
        "Classifiers of other seeds and sizes learn the same features, and the more so the wider "
        "they are."
    ),
    source=f"{PAPER} §4.2, figure 5",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    fewest=2,
)
