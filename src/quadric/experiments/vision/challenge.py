"""The task with a known answer: do the weights show the target that decides the labels?

    quadric vision challenge MODEL

A classifier with biases learns whether an image is like a target or like its complement (figure 6
of arXiv 2410.08417). Read from its weights are the spectrum of True − False, the linear and the
constant term; then the first eigenvector's picture is held beside the target and beside all other
training images. If the target is the one most alike, it could have been found without the labels.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from quadric.errors import QuadricError
from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.report import figures
from quadric.vision.config import Recipe
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.data.datasets import open_images
from quadric.vision.data.images import ImageData
from quadric.vision.data.target import base_rate, target_index, target_threshold
from quadric.vision.files import Trained
from quadric.vision.ground_truth import (
    BinaryForm,
    accuracy_of,
    best_threshold,
    binary_form,
    centred,
    likeness,
    likest,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, NOISE = 64, 0.1
"""Width (less where all planned models are narrower) and input noise of the published model."""
WEIGHT_DECAYS = (1.0, 2.0)
"""The published one, and the one that a reproduction needed."""
LIKE, ALONE = 0.7, 3.0
"""What counts as showing the target, and as one eigenvalue that stands alone."""
KEPT = (1, 2, 3, 5, 10, 20)
"""How many of the largest |λ| stay when the spectrum is cut."""
SHOWN = 12
"""Eigenvalues in the data, from either end."""


def plan(settings: VisionSettings) -> list[Recipe]:
    """Two weight decays; the paper's target, and a threshold that divides the images evenly."""
    data = open_images(settings.dataset)
    target = target_index(data)
    threshold = target_threshold(data, target)
    return [
        settings.recipe(
            seed=seed,
            width=min(WIDTH, settings.widths[-1]),
            weight_decay=weight_decay,
            target=target,
            threshold=threshold,
            augment=AugmentConfig(noise=NOISE),
            bias=True,
        )
        for weight_decay in WEIGHT_DECAYS
        for seed in range(settings.seeds)
    ]


def analyse(models: Sequence[Trained], options: Any) -> Measured:  # noqa: ARG001
    """Every model's form, and its eigenvectors beside the target.

    Raises:
        QuadricError: a model was not trained on a target's likeness.
    """
    measured, drawn = [], None
    opened: dict[tuple[object, ...], ImageData] = {}
    for trained in models:
        recipe = trained.recipe
        if recipe.target is None:
            raise QuadricError(
                f"{trained.path} tells the classes of {recipe.dataset!r} apart: challenge reads "
                "models trained on a target's likeness (a recipe with a target)"
            )
        task = (recipe.dataset, recipe.target, recipe.threshold)
        data = opened[task] if task in opened else opened.setdefault(task, trained.data())
        form = binary_form(trained.model)
        rate = base_rate(data.test)
        measured.append(
            {
                "path": str(trained.path),
                "dataset": recipe.dataset,
                "seed": recipe.fit.seed,
                "weight_decay": recipe.fit.weight_decay,
                "threshold": recipe.threshold,
                "base_rate": max(rate, 1 - rate),
                "test_accuracy": trained.test_accuracy,
                **describe(form, data, recipe.target),
            }
        )
        if drawn is None:
            drawn = _pictures(form, data, recipe.target, trained.model.shape)
    return Measured({"models": measured, "pictures": drawn})


def describe(form: BinaryForm, data: ImageData, target: int) -> dict[str, Any]:
    """A form's spectrum and biases, what it says of the target, and what parts of it suffice."""
    order = form.largest()
    first = form.images[order[0]]
    values = form.values[order]
    rest = float(values[1:].abs().max())
    train = data.train
    t = train.pixels[target]
    ranking = likest(first, train.pixels)
    same = (_classes(data, target) & (torch.arange(len(train)) != target)).nonzero()[:, 0]
    wrong = likeness(centred(train.pixels[same]), first)
    alone = values[0] * (train.pixels @ first).square()
    tested = values[0] * (data.test.pixels @ first).square()
    return {
        "values": [*values[:SHOWN].tolist(), *values[max(SHOWN, len(values) - SHOWN) :].tolist()],
        "folded_values": form.folded_values[:SHOWN].tolist(),
        "first": float(values[0]),
        "second_positive": float(values[1]),
        "most_negative": float(values[-1]),
        "dominance": float(values[0]) / rest if rest > 0 else None,
        "constant": float(form.constant),
        "linear": float(form.linear.norm()),
        "linear_mean": float((data.test.pixels @ form.linear).mean()),
        "likeness": float(likeness(first, centred(t))),
        "contrast": float(likeness(first, 2 * t - 1)),
        "next_likeness": float(likeness(form.images[order[1]], centred(t))),
        "difference": float(likeness(first, F.normalize(t, dim=0) - F.normalize(1 - t, dim=0))),
        "wrong_targets": len(wrong),
        "wrong_likeness": float(wrong.mean()) if len(wrong) else None,
        "wrong_likeness_most": float(wrong.max()) if len(wrong) else None,
        "likest": int(ranking[0]),
        "target": target,
        "rank": int((ranking == target).nonzero()) + 1,
        "candidates": len(train),
        "kept": [
            [k, accuracy_of(form.score(data.test.pixels, torch.arange(k)), data.test)]
            for k in KEPT
            if k < len(values)
        ],
        "first_and_biases": accuracy_of(form.score(data.test.pixels, order[:1]), data.test),
        "first_alone": accuracy_of(tested, data.test, best_threshold(alone, data.train)),
    }


def _classes(data: ImageData, target: int) -> torch.Tensor:
    """Which training images are of the target's class by the data's own labels."""
    labels = open_images(data.name).train.labels
    return labels == labels[target]


def _pictures(
    form: BinaryForm, data: ImageData, target: int, shape: tuple[int, int, int]
) -> dict[str, Any]:
    order = form.largest()
    chosen = [int(order[0]), int(order[1]), int(order[-1])]
    return {
        "shape": list(shape),
        "target": [round(value, 4) for value in data.train.pixels[target].tolist()],
        "eigenvectors": pixels.rounded(form.images[chosen]),
        "eigenvalues": form.values[chosen].tolist(),
        "linear": pixels.rounded(form.linear[None])[0],
    }


def draw(measured: Measured) -> Figure:
    """The spectra, and the first model's eigenvectors beside the target."""
    figure = picture.blank(9.5, 4.6)
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    spectrum, cuts = top.subplots(1, 2)
    models, shown = measured.data["models"], measured.data["pictures"]
    for model in models:
        strong = model["weight_decay"] == max(m["weight_decay"] for m in models)
        look = {"color": figures.POSITIVE if strong else figures.GREY, "lw": 1.1, "alpha": 0.8}
        label = f"weight decay {model['weight_decay']:g}"
        spectrum.plot(range(1, len(model["values"]) + 1), model["values"], ".-", ms=4, **look)
        steps = [*model["kept"], [None, model["test_accuracy"]]]
        cuts.plot([str(k or "all") for k, _ in steps], [a for _, a in steps], ".-", ms=4,
                  label=label, **look)  # fmt: skip
    spectrum.axhline(0, color=figures.GREY, lw=0.6)
    spectrum.set(xlabel=f"the {SHOWN} largest and the {SHOWN} smallest", ylabel="eigenvalue λ",
                 title="True − False")  # fmt: skip
    cuts.axhline(models[0]["base_rate"], color="#000000", lw=0.8, ls=":")
    cuts.text(0, models[0]["base_rate"], "always the same answer", fontsize=7, va="bottom")
    cuts.set(xlabel="eigenvectors kept (largest |λ|), with the biases", ylabel="test accuracy")
    handles, labels = cuts.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    cuts.legend(unique.values(), unique.keys(), frameon=False, fontsize=8)
    panels = bottom.subplots(1, 5)
    names = ("most positive", "second positive", "most negative")
    panels[0].imshow(
        torch.tensor(shown["target"]).view(*shown["shape"]).mean(dim=2).tolist(),
        cmap="gray", vmin=0, vmax=1,
    )  # fmt: skip
    panels[0].set_xticks([])
    panels[0].set_yticks([])
    panels[0].set_title("the target", fontsize=8)
    for panel, image, value, name in zip(
        panels[1:4], shown["eigenvectors"], shown["eigenvalues"], names, strict=True
    ):
        pixels.show(panel, image, shown["shape"], f"{name}\nλ = {value:+.3f}")
    pixels.show(panels[4], shown["linear"], shown["shape"],
                f"linear term\nconstant {models[0]['constant']:+.3f}")  # fmt: skip
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether one eigenvalue stands alone, and its eigenvector is the target."""
    models = measured.data["models"]
    decays = sorted({model["weight_decay"] for model in models})
    alone = [(model["dominance"] or 0) >= ALONE for model in models]
    like = [model["likeness"] >= LIKE and model["rank"] == 1 for model in models]
    beats = [model["test_accuracy"] > model["base_rate"] for model in models]

    def of(key: str, form: str = ".2f", decay: float | None = None) -> str:
        found = [m[key] for m in models if decay in (None, m["weight_decay"])]
        return spread([value for value in found if value is not None], form)

    recovered = sum(model["rank"] == 1 for model in models)
    rows = [
        row
        for decay in decays
        for row in (
            Line(f"λ₁ over the next largest |λ|, weight decay {decay:g}", "one high, rest near 0",
                 "+.23 beside +.03, −.03, −.01 (decay 2)", of("dominance", ".1f", decay)),
            Line(f"|cos| of the first eigenvector and the target, weight decay {decay:g}",
                 "the exact similarity", "", of("likeness", ".2f", decay)),
            Line(f"accuracy, all terms, weight decay {decay:g}", "", "",
                 of("test_accuracy", ".3f", decay)),
            Line(f"accuracy, λ₁ and the biases, weight decay {decay:g}", "sufficient", "",
                 of("first_and_biases", ".3f", decay)),
            Line(f"accuracy, λ₁ alone and a threshold from training data, weight decay {decay:g}",
                 "", "", of("first_alone", ".3f", decay)),
            Line(f"constant term, weight decay {decay:g}", "negative", "",
                 of("constant", ".2f", decay)),
        )
    ]  # fmt: skip
    return Comparison(
        measured=(
            f"The first eigenvalue is {of('dominance', '.1f')} times the next in size; its "
            f"eigenvector has |cos| {of('likeness')} with the target and {of('wrong_likeness')} "
            f"with others of its class, and in {recovered} of {len(models)} models the target "
            f"is the likest of all {models[0]['candidates']} training images. λ₁ with the "
            f"biases answers {of('first_and_biases', '.3f')} of the test images right, all terms "
            f"{of('test_accuracy', '.3f')}, always the same answer {of('base_rate', '.3f')}."
        ),
        agrees=all(alone) and all(like) and all(beats),
        rule=(
            f"in every model λ₁ is at least {ALONE:g} times any other |λ|, its eigenvector has "
            f"|cos| of at least {LIKE:g} with the target, which no training image exceeds, and the "
            "accuracy is above the base rate"
        ),
        figures={
            "dominance": statistics.fmean(model["dominance"] or 0 for model in models),
            "likeness": statistics.fmean(model["likeness"] for model in models),
            "targets_recovered": recovered,
            "models": len(models),
            "accuracy": statistics.fmean(model["test_accuracy"] for model in models),
            "accuracy_first_and_biases": statistics.fmean(m["first_and_biases"] for m in models),
            "accuracy_first_alone": statistics.fmean(m["first_alone"] for m in models),
            "base_rate": statistics.fmean(model["base_rate"] for model in models),
        },
        lines=lines(*rows),
    )


EXPERIMENT = VisionExperiment(
    name="challenge",
    title="Ground truth: the eigenvectors of a model that knows one target",
    statement=(
        "One positive eigenvalue stands alone, and its eigenvector computes the likeness to the "
        "target against its complement; biases set the threshold."
    ),
    source=f"{PAPER}, figure 6",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
)
