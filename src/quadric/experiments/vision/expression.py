"""A classifier's tensor written through output directions, and cut to few eigen-terms of each.

    quadric vision expression MODEL --leading 3

The logits' tensor is rebuilt from the forms that some directions read (arXiv 2410.08417, appendix
I.1): the classes, which are as many as there are outputs; their differences, which are more but
leave out the direction common to all classes; both together; and a few leading singular directions.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from quadric.errors import QuadricError
from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.forms import BilinearTensor, express
from quadric.vision.config import Recipe
from quadric.vision.expression import Directions, cut_expression, output_directions
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: dict[Directions, str] = {
    "classes": "classes",
    "differences": "differences of classes",
    "both": "classes and differences",
    "leading": "leading singular directions",
}
LOOKS = {
    "classes": ("#0571b0", "o"),
    "differences": ("#1a9641", "^"),
    "both": ("#e66101", "s"),
    "leading": ("#777777", "x"),
}
KEPT = (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 1000)
"""Eigen-terms per direction, as far as the space goes."""
EXACT = 1e-10
"""Relative error, in float64, below which two tensors are the same."""
NEAR = 0.005
"""Loss of accuracy that counts as small."""


@dataclass(frozen=True)
class Options:
    """What to write the tensor through.

    Raises:
        QuadricError: ``leading`` is below 1.
    """

    leading: int = 3
    """Number of leading singular directions in the set of few."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.leading < 1:
            raise QuadricError(f"leading is {self.leading}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """The base model for every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Every model through every set of directions."""
    return Measured({"models": [_measure(trained, options) for trained in models]})


def _measure(trained: Trained, options: Options) -> dict[str, Any]:
    model, images = trained.model, trained.data().test
    tensor = model.tensor("hidden").to(dtype=torch.float64)
    kept = sorted({*(k for k in KEPT if k < tensor.d), tensor.d})
    sets: dict[str, Any] = {}
    for kind in KINDS:
        directions = output_directions(tensor, kind, options.leading)
        expression = express(tensor, directions)
        cuts = cut_expression(model, expression, images, kept)
        overlaps = directions @ expression.readout
        sets[kind] = {
            "directions": len(directions),
            "rank": expression.rank,
            "spans": expression.spans,
            "outside": float(expression.outside() / tensor.norm()),
            "rebuilt_error": _distance(expression.tensor(), tensor),
            "form_error": _distance(
                expression.tensor().with_output_basis(directions), expression.forms
            ),
            "naive_error": _distance(expression.forms.with_output_basis(directions.mT), tensor),
            "off_identity": float((overlaps - torch.eye(len(overlaps)).to(overlaps)).abs().max()),
            "kept": cuts.kept,
            "terms": [k * len(directions) for k in cuts.kept],
            "error": cuts.error.tolist(),
            "accuracy": cuts.accuracy.tolist(),
        }
    return {
        "path": str(trained.path),
        "dataset": trained.recipe.dataset,
        "seed": trained.recipe.fit.seed,
        "classes": len(model.classes),
        "inputs": tensor.d,
        "test_accuracy": trained.test_accuracy,
        "sets": sets,
    }


def _distance(first: BilinearTensor, second: BilinearTensor) -> float:
    """‖A − B‖/‖B‖ of two tensors on the same neurons, without the cancellation of two norms."""
    assert first.out is not None
    assert second.out is not None
    difference = BilinearTensor(second.left, second.right, first.out - second.out)
    size = float(second.norm())
    return float(difference.norm()) / size if size else 0.0


def draw(measured: Measured) -> Figure:
    """Error and accuracy by the number of eigen-terms, one line per model and set."""
    figure = picture.blank(9.2, 3.6)
    errors, accuracies = figure.subplots(1, 2)
    models = measured.data["models"]
    for place, model in enumerate(models):
        for kind, name in KINDS.items():
            colour, marker = LOOKS[kind]
            found = model["sets"][kind]
            look = {"color": colour, "marker": marker, "ms": 3.5, "lw": 1.1, "alpha": 0.8}
            label = f"{name} ({found['directions']}, rank {found['rank']})"
            shown = [i for i, terms in enumerate(found["terms"]) if terms]
            for axes, key in ((errors, "error"), (accuracies, "accuracy")):
                axes.plot(
                    [found["terms"][i] for i in shown], [found[key][i] for i in shown], **look,
                    label=label if place == 0 else None,
                )  # fmt: skip
        accuracies.axhline(model["test_accuracy"], color="#bbbbbb", lw=0.7, ls=":", zorder=0)
    errors.set(ylabel="error of the rebuilt tensor, ‖B − B̂‖ / ‖B‖", ylim=(-0.03, 1.05))
    accuracies.set(ylabel="test accuracy of the rebuilt tensor", ylim=(0, 1.02))
    for axes in (errors, accuracies):
        axes.set_xscale("log")
        axes.set_xlabel("eigen-terms kept, all directions together")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *accuracies.get_legend_handles_labels(), loc="outside upper center", ncols=len(KINDS),
        frameon=False, fontsize=8,
    )  # fmt: skip
    accuracies.text(0.99, 0.02, "dotted: the model", ha="right", fontsize=8, color="#777777",
                    transform=accuracies.transAxes)  # fmt: skip
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether spanning sets rebuild the tensor exactly, and every set recovers its own forms."""
    models = measured.data["models"]
    spanning = [found for model in models for found in model["sets"].values() if found["spans"]]
    every = [found for model in models for found in model["sets"].values()]
    worst = max((found["rebuilt_error"] for found in spanning), default=0.0)
    recovered = max(found["form_error"] for found in every)

    def of(kind: str, key: str) -> list[float]:
        return [model["sets"][kind][key] for model in models]

    needed = {kind: _needed(models, kind) for kind in ("classes", "both")}
    lost = [
        abs(model["sets"]["differences"]["accuracy"][-1] - model["sets"]["classes"]["accuracy"][-1])
        for model in models
    ]
    return Comparison(
        measured=(
            f"The classes rebuild the tensor to {max(of('classes', 'rebuilt_error')):.0e} of its "
            f"norm, classes with their differences to {max(of('both', 'rebuilt_error')):.0e}, "
            "where a sum without the pseudo-inverse is off by "
            f"{spread(of('both', 'naive_error'), '.1f')} times the norm. Differences alone leave "
            f"{spread(of('differences', 'outside'))} outside and change {max(lost):.1%} of "
            f"accuracy. {spread(needed['classes'], '.0f')} eigen-terms of each class keep accuracy "
            f"within {NEAR:.1%}."
        ),
        agrees=worst < EXACT and recovered < EXACT,
        rule=(
            "every set that spans the outputs rebuilds the tensor, and every set its own forms, "
            f"to {EXACT:g} of their norm"
        ),
        figures={
            "largest_error_of_spanning_sets": worst,
            "largest_error_of_forms": recovered,
            "outside_of_differences": statistics.fmean(of("differences", "outside")),
            "outside_of_leading": statistics.fmean(of("leading", "outside")),
            "terms_per_class": statistics.fmean(needed["classes"]),
        },
        lines=lines(
            Line("error of the tensor rebuilt from its classes (complete)", "0", "",
                 f"{max(of('classes', 'rebuilt_error')):.0e}"),
            Line("the same from classes and differences (overcomplete)", "0", "",
                 f"{max(of('both', 'rebuilt_error')):.0e}"),
            Line("… without the pseudo-inverse: counted more than once", "", "",
                 spread(of("both", "naive_error"), ".1f")),
            Line("… largest |u_k·u⁺_l − δ_kl|, overcomplete", "0", "",
                 f"{spread(of('both', 'off_identity'))} (the forms are recovered nevertheless)"),
            Line("error from differences alone (rank m − 1)", "", "",
                 f"{spread(of('differences', 'outside'))}, accuracy changed by {max(lost):.1%}"),
            Line(f"error from {_counts(of('leading', 'directions'))} leading singular directions",
                 "", "",
                 f"{spread(of('leading', 'outside'))}, "
                 f"accuracy {spread([curve[-1] for curve in _curves(models, 'leading')], '.3f')}"),
            Line(f"eigen-terms per class that keep accuracy within {NEAR:.1%}", "", "",
                 f"{spread(needed['classes'], '.1f')} of "
                 f"{_counts([model['inputs'] for model in models])}"),
        ),
    )  # fmt: skip


def _curves(models: Sequence[dict[str, Any]], kind: str) -> list[list[float]]:
    return [model["sets"][kind]["accuracy"] for model in models]


def _needed(models: Sequence[dict[str, Any]], kind: str) -> list[int]:
    """Smallest number of terms per direction from which on the accuracy stays near the last."""
    found = []
    for model in models:
        cuts = model["sets"][kind]
        short = [
            i for i, value in enumerate(cuts["accuracy"]) if value < cuts["accuracy"][-1] - NEAR
        ]
        found.append(cuts["kept"][short[-1] + 1 if short else 0])
    return found


def _counts(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in sorted(set(values)))


EXPERIMENT = VisionExperiment(
    name="expression",
    title="The tensor written through output directions",
    statement=(
        "A complete or overcomplete set of output directions rebuilds the tensor from the forms "
        "they read, through the pseudo-inverse and so without counting similar directions twice, "
        "and each direction's form can be recovered from the rebuilt tensor."
    ),
    source=f"{PAPER}, appendix I.1",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
