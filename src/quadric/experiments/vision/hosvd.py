"""The singular components of a model's tensor: what it computes, found without naming any output.

    quadric vision hosvd MODEL --components 5

Two decompositions are made (arXiv 2410.08417, §3.3): of the logits, whose components are
combinations of classes, and of the products before the head, whose components are features that
several classes may read. A component has a strength σ, an output direction u and a form q, drawn by
its eigenvectors. Cut to its first components the model is tested again, for every number of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import components as drawing
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.forms import BilinearTensor
from quadric.forms.spectrum import sign_fixed
from quadric.layers.layer import Space
from quadric.vision.config import FitConfig, Recipe
from quadric.vision.files import Trained
from quadric.vision.hosvd import Components, Outputs, components, truncation_accuracies

FEW, MORE = 20, 50
"""Numbers of components that the authors kept of 1,000."""
LOSS, NOTHING = 0.015, 0.005
"""Losses of accuracy that count as one percent, and as none."""
SAME = 0.9
"""Share of the leading components that should keep their place from run to run."""
RIVALS = 10
"""How many components of another run a component is looked for among, at least."""
OUTPUTS: tuple[Outputs, ...] = ("hidden", "classes")


@dataclass(frozen=True)
class Options:
    """What to look at.

    Raises:
        QuadricError: a number is below 1.
    """

    components: int = 5
    """Components drawn, and compared between runs."""
    k: int = 2
    """Eigenvectors drawn of each component, by |λ|."""
    space: Space = "input"
    """Where the forms are orthonormal: input for the pixels, hidden for the embedding."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("components", "k"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """A layer straight on the pixels in the largest size for every seed, and the base model."""
    width = settings.widths[-1]
    straight = [
        settings.recipe(seed=seed, width=width, d_embed=None) for seed in range(settings.seeds)
    ]
    return [*straight, settings.recipe()]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Both decompositions of every model; those that differ by their seed only are compared."""
    found = [_measure(trained, options) for trained in models]
    groups: dict[Recipe, list[int]] = {}
    for place, trained in enumerate(models):
        comparable = options.space == "input" or trained.model.embed is None
        if comparable:
            key = replace(trained.recipe, fit=replace(trained.recipe.fit, seed=FitConfig.seed))
            groups.setdefault(key, []).append(place)
    pairs = []
    for places in groups.values():
        for first, second in combinations(places, 2):
            match = matches(found[first][1], found[second][1], options.components)
            pairs.append({"models": [first, second], **match})
    return Measured({"space": options.space, "models": [data for data, _ in found], "pairs": pairs})


def _measure(trained: Trained, options: Options) -> tuple[dict[str, Any], BilinearTensor]:
    """What is kept of a model, and the leading forms of its products over pixels."""
    model, data = trained.model, trained.data()
    entry: dict[str, Any] = {
        "path": str(trained.path),
        "dataset": trained.recipe.dataset,
        "seed": trained.recipe.fit.seed,
        "embedding": model.config.d_embed,
        "products": model.config.d_hidden,
        "test_accuracy": trained.test_accuracy,
        "names": list(model.classes),
        "shape": list(model.shape),
    }
    leading = None
    for outputs in OUTPUTS:
        found = components(model, outputs, options.space)
        entry[outputs] = {
            "singular_values": found.singular_values.tolist(),
            "accuracies": truncation_accuracies(model, data.test, found).tolist(),
            **_pictures(found, options),
        }
        if outputs == "hidden":
            leading = _over_pixels(found, max(RIVALS, options.components))
    assert leading is not None
    return entry, leading


def _pictures(found: Components, options: Options) -> dict[str, Any]:
    count = min(options.components, len(found.singular_values))
    values, images = found.eigen(count, min(options.k, found.forms.d))
    return {
        "readout": found.readout[:count].tolist(),
        "values": values.tolist(),
        "images": [pixels.rounded(sign_fixed(rows)) for rows in images],
    }


def _over_pixels(found: Components, count: int) -> BilinearTensor:
    """The first forms, as outputs of a tensor over the pixels."""
    out = found.forms.out
    assert out is not None
    forms = replace(found.forms, out=out[:count])
    return forms if found.frame is None else forms.with_input_basis(found.frame)


def matches(first: BilinearTensor, second: BilinearTensor, count: int) -> dict[str, Any]:
    """Whether the leading orthonormal forms of two runs are the same ones in the same order.

    Args:
        first: forms q_i of one run over the pixels, leading ones first.
        second: those of the other.
        count: how many of the first to look for among all of the second; at most all of it.

    Returns:
        ``cosine``: |⟨q_i, q'_i⟩| in each place; ``place``: where the most similar form stands.
    """
    cosines: Tensor = first.cross_gram(second)[:count].abs()
    return {"cosine": cosines.diagonal().tolist(), "place": cosines.argmax(dim=1).tolist()}


def compare(measured: Measured) -> Comparison:
    """Whether a few components carry a model, and whether they come in one order."""
    data = measured.data
    models = data["models"]
    straight = [i for i, model in enumerate(models) if model["embedding"] is None]
    chosen = straight or list(range(len(models)))
    few, more = ([_lost(models[i], count) for i in chosen] for count in (FEW, MORE))
    pairs = [pair for pair in data["pairs"] if pair["models"][0] in chosen]
    kept = [place == i for pair in pairs for i, place in enumerate(pair["place"])]
    same = sum(kept) / len(kept) if kept else None
    cosines = [statistics.fmean(pair["cosine"]) for pair in pairs]
    ranks = [len(models[i]["hidden"]["singular_values"]) for i in chosen]
    accuracies = [models[i]["test_accuracy"] for i in chosen]
    agrees = None
    if straight and min(ranks) > MORE and same is not None:
        agrees = (
            statistics.fmean(few) <= LOSS and statistics.fmean(more) <= NOTHING and same >= SAME
        )
    reads = "the pixels" if straight else "an embedding"
    order = (
        f"{same:.0%} of the leading components keep their place from run to run."
        if same is not None
        else "There are no two runs whose components could be compared."
    )
    return Comparison(
        measured=(
            f"Of up to {max(ranks)} components of layers on {reads}, the first {FEW} lose "
            f"{spread(few, '.3f')} of accuracy and the first {MORE} {spread(more, '.3f')}. {order}"
        ),
        agrees=agrees,
        rule=(
            f"on layers straight on the pixels with over {MORE} components, {FEW} lose at most "
            f"{LOSS:.1%} and {MORE} at most {NOTHING:.1%} of accuracy, and {SAME:.0%} of the "
            "leading components keep their place in another run"
        ),
        figures={
            "lost_with_few": statistics.fmean(few),
            "lost_with_more": statistics.fmean(more),
            "same_place": same,
            "cosine_in_place": statistics.fmean(cosines) if cosines else None,
        },
        lines=lines(
            Line(f"test accuracy, layer on {reads}", "0.978 (1,000 products)", "",
                 f"{spread(accuracies, '.3f')} ({_sizes(models, chosen)})"),
            Line(f"accuracy lost with {FEW} components", "0.01", "", spread(few, ".3f")),
            Line(f"accuracy lost with {MORE} components (or all)", "0", "", spread(more, ".3f")),
            Line("leading components in the same place in another run", "all of 5", "",
                 "–" if same is None else f"{same:.0%} (cosine {spread(cosines)})"),
        ),
    )  # fmt: skip


def _lost(model: dict[str, Any], count: int) -> float:
    """Accuracy lost by keeping the first components of the products."""
    accuracies = model["hidden"]["accuracies"]
    return float(model["test_accuracy"] - accuracies[min(count, len(accuracies) - 1)])


def _sizes(models: Sequence[dict[str, Any]], chosen: Sequence[int]) -> str:
    sizes = sorted({models[i]["products"] for i in chosen})
    return ", ".join(f"{size:,}" for size in sizes) + " products"


EXPERIMENT = VisionExperiment(
    name="hosvd",
    title="Singular components of the products and of the classes",
    statement=(
        "Without naming any output, a singular value decomposition finds the features: of 1,000, "
        "20 suffice for all but 1 % of accuracy and 50 for all of it, and the first five come in "
        "the same order in every run."
    ),
    source=f"{PAPER}, §3.3, and the write-up in its authors' repository tdooms/bilinear-interp",
    plan=plan,
    analyse=analyse,
    draw=drawing.draw,
    compare=compare,
    options=Options,
)
