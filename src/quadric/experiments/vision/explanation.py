"""One image explained: what every eigenvector adds to the logits that compete.

    quadric vision explanation MODEL --index 340

Figures 15 and 16 of arXiv 2410.08417: an image that is classified right because its class is the
least suppressed, and one that is classified wrong. Unless one is asked for, they are found by rule
among the test images. How often suppression decides is counted over all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.layers.layer import Space
from quadric.report import figures
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.data.images import Images
from quadric.vision.explanation import Forces, error_margin, explain, forces, suppression_lead
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

COLOURS = ("#e66101", "#5e3c99", "#1a9641", "#0571b0", "#777777")
"""One for each class that is shown, the right one included."""
MARKERS = "os^Dv"
"""And a marker, so that they are not told apart by colour alone."""


@dataclass(frozen=True)
class Options:
    """Which image, and how much of its explanation to show.

    Raises:
        QuadricError: a number is out of range.
    """

    index: int | None = None
    """Position of the test image. By default two: one classified right by suppression and one
    classified wrong, the clearest of each."""
    shown: int = 3
    """How many classes to show, those with the highest logits, and the right one; at most 4."""
    terms: int = 20
    """How many contributions of each class to list, the largest in size; the rest is one number."""
    space: Space = "hidden"
    """Whose eigenvectors: hidden, as in the paper, or input for those orthonormal in pixels."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.index is not None and self.index < 0:
            raise QuadricError(f"index is {self.index}, expected 0 or more")
        if not 1 <= self.shown < len(COLOURS):
            raise QuadricError(f"shown is {self.shown}, expected 1 to {len(COLOURS) - 1}")
        if self.terms < 1:
            raise QuadricError(f"terms is {self.terms}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """The base model of every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """How often suppression decides in every model, and the examples of the first.

    Raises:
        QuadricError: there is no such test image, or a model's logits are no quadratic forms.
    """
    measured, examples, shape = [], [], None
    for trained in models:
        model, test = trained.model, trained.data().test
        found = forces(model, test.pixels)
        with torch.no_grad():
            logits = model(test.pixels)
        measured.append(
            {
                "path": str(trained.path),
                "dataset": trained.recipe.dataset,
                "seed": trained.recipe.fit.seed,
                "test_accuracy": trained.test_accuracy,
                **shares(found, logits, test.labels),
            }
        )
        if shape is None:
            shape = test.shape
            chosen = choose(found, logits, test.labels) if options.index is None else {
                "asked for": options.index
            }  # fmt: skip
            examples = [example(model, test, at, rule, options) for rule, at in chosen.items()]
    return Measured({"models": measured, "shape": shape, "examples": examples})


def shares(
    found: Forces, logits: Float[Tensor, "n m"], labels: Int[Tensor, " n"]
) -> dict[str, Any]:
    """How many answers, right and wrong, another class than the answer is excited more for."""
    answers = logits.argmax(dim=1)
    suppressed = found.excitation.argmax(dim=1) != answers
    right = answers == labels
    most = found.excitation.argmax(dim=1) == labels
    return {
        "right": int(right.sum()),
        "wrong": int((~right).sum()),
        "right_by_suppression": _share(suppressed[right]),
        "wrong_by_suppression": _share(suppressed[~right]),
        "least_suppressed": int((suppression_lead(found, logits, labels) > 0).sum()),
        "accuracy_excitation": _share(most),
        "accuracy_suppression": _share(found.suppression.argmax(dim=1) == labels),
    }


def _share(flags: Tensor) -> float | None:
    return float(flags.double().mean()) if len(flags) else None


def choose(
    found: Forces, logits: Float[Tensor, "n m"], labels: Int[Tensor, " n"]
) -> dict[str, int]:
    """The clearest answer that suppression gets right, and the clearest error, if there are any."""
    leads = {
        "right by suppression": suppression_lead(found, logits, labels),
        "classified wrong": error_margin(logits, labels),
    }
    return {
        rule: int(lead.argmax())
        for rule, lead in leads.items()
        if len(lead) and float(lead.max()) > -math.inf
    }


def example(
    model: ImageClassifier, test: Images, index: int, rule: str, options: Options
) -> dict[str, Any]:
    """One image's explanation as JSON values.

    Raises:
        QuadricError: there is no such image.
    """
    if index >= len(test):
        raise QuadricError(f"test image {index} does not exist: there are {len(test)}, from 0")
    found = explain(model, test.pixels[index], space=options.space)
    count = min(options.terms, found.contributions.shape[1])
    kept, rest = found.strongest(count), found.remainder(count)
    leading = found.logits.argsort(descending=True, stable=True)[: options.shown].tolist()
    label = int(test.labels[index])
    classes = []
    for c in leading if label in leading else [*leading, label]:
        terms = found.contributions[c]
        ends = [0, len(terms) - 1]
        images = found.images[c][ends]
        # An eigenvector has no sign: it is drawn with the one that this image activates.
        images = images * torch.where(images @ test.pixels[index].double() < 0, -1, 1)[:, None]
        classes.append(
            {
                "class": model.classes[c],
                "logit": float(found.logits[c]),
                "linear": float(found.linear[c]),
                "constant": float(found.constant[c]),
                "contributions": terms[kept[c]].tolist(),
                "eigenvalues": found.values[c][kept[c]].tolist(),
                "remainder": float(rest[c]),
                "excitation": float(terms.clamp(min=0).sum()),
                "suppression": float(terms.clamp(max=0).sum()),
                "ends": terms[ends].tolist(),
                "images": pixels.rounded(images),
            }
        )
    return {
        "rule": rule,
        "index": index,
        "label": model.classes[label],
        "image": [round(value, 4) for value in test.pixels[index].tolist()],
        "logits": found.logits.tolist(),
        "names": list(model.classes),
        "classes": classes,
    }


def draw(measured: Measured) -> Figure:
    """For each example: contributions, the two strongest eigenvectors of each class, the logits."""
    examples = measured.data["examples"]
    count = max((len(found["classes"]) for found in examples), default=1)
    figure = picture.blank(7.2 + 1.1 * count, 2.9 * max(1, len(examples)))
    parts = figure.subfigures(max(1, len(examples)), 1, squeeze=False)[:, 0]
    for part, found in zip(parts, examples, strict=False):
        _draw_example(part, found, measured.data["shape"])
    return figure


def _draw_example(part: SubFigure, found: dict[str, Any], shape: list[int]) -> None:
    left, middle, right = part.subfigures(
        1, 3, width_ratios=(3.0, 1.1 * len(found["classes"]), 3.4), squeeze=False
    )[0]
    axes = left.subplots()
    for number, chosen in enumerate(found["classes"]):
        terms, rest = chosen["contributions"], chosen["remainder"]
        label = f"{chosen['class']}, rest {rest:+.2f}" if rest else chosen["class"]
        axes.plot(range(1, len(terms) + 1), terms, marker=MARKERS[number], ms=3, lw=1,
                  color=COLOURS[number], label=label)  # fmt: skip
    axes.axhline(0, color=figures.GREY, lw=0.6)
    axes.set(xlabel="eigenvector, sorted", ylabel="contribution to the logit")
    axes.legend(frameon=False, fontsize=8, title="class", title_fontsize=8)
    grid = middle.subplots(2, len(found["classes"]), squeeze=False)
    for number, chosen in enumerate(found["classes"]):
        for row in range(2):
            pixels.show(grid[row][number], chosen["images"][row], shape,
                        f"{chosen['class']}: {chosen['ends'][row]:+.2f}")  # fmt: skip
    image, bars = right.subplots(1, 2)
    image.imshow(torch.tensor(found["image"]).view(*shape).mean(dim=2).tolist(),
                 cmap="gray", vmin=0, vmax=1)  # fmt: skip
    image.set_xticks([])
    image.set_yticks([])
    image.set_title(f"test image {found['index']}, a {found['label']}\n({found['rule']})",
                    fontsize=8)  # fmt: skip
    shown = [chosen["class"] for chosen in found["classes"]]
    colours = [
        COLOURS[shown.index(name)] if name in shown else "#cccccc" for name in found["names"]
    ]
    bars.barh(range(len(found["names"])), found["logits"], color=colours)
    bars.set_yticks(range(len(found["names"])), found["names"], fontsize=7)
    bars.invert_yaxis()
    bars.axvline(0, color=figures.GREY, lw=0.6)
    bars.set_xlabel("logit")


def compare(measured: Measured) -> Comparison:
    """Whether suppression decides right answers, and errors mostly not."""
    models, examples = measured.data["models"], measured.data["examples"]

    def of(key: str) -> list[float]:
        return [model[key] for model in models if model[key] is not None]

    right, wrong = of("right_by_suppression"), of("wrong_by_suppression")
    told = "; ".join(_told(found) for found in examples)
    return Comparison(
        measured=(
            f"{told}. Of the right answers {spread(right, '.1%')} have another class excited more, "
            f"so that suppression decides, of the wrong ones {spread(wrong, '.1%')}. By "
            f"excitation alone {spread(of('accuracy_excitation'), '.1%')} would be right, by "
            f"suppression alone {spread(of('accuracy_suppression'), '.1%')}."
        ),
        agrees=all(model["least_suppressed"] > 0 for model in models),
        rule=(
            "in every model some test image is classified right although another class is excited "
            "more, and its class is the least suppressed of all"
        ),
        figures={
            "right_by_suppression": statistics.fmean(right) if right else None,
            "wrong_by_suppression": statistics.fmean(wrong) if wrong else None,
            "accuracy_excitation": statistics.fmean(of("accuracy_excitation")),
            "accuracy_suppression": statistics.fmean(of("accuracy_suppression")),
            "models": len(models),
        },
        lines=lines(
            Line("right answers that suppression decides", "an example", "", spread(right, ".1%")),
            Line("wrong answers that suppression decides", "not in the example", "",
                 spread(wrong, ".1%")),
        ),
    )  # fmt: skip


def _told(found: dict[str, Any]) -> str:
    """One example in words: the class and its rivals, excited and suppressed how much."""
    sums = ", ".join(
        f"{chosen['class']} {chosen['excitation']:+.1f} {chosen['suppression']:+.1f}"
        for chosen in found["classes"]
    )
    return (
        f"Test image {found['index']}, a {found['label']} ({found['rule']}): excitation and "
        f"suppression {sums}"
    )


EXPERIMENT = VisionExperiment(
    name="explanation",
    title="Why one image got its logits, eigenvector by eigenvector",
    statement=(
        "The contributions of the eigenvectors are the logit; some images are classified right "
        "because their class is the least suppressed, not the most excited."
    ),
    source=f"{PAPER}, figures 15 and 16",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
