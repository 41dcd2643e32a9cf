"""Features of a layer learned from its weights alone, tested on real images.

    quadric vision pairs MODEL --features 0.25,0.5,2 --space input

A TopK autoencoder learns a dictionary of the vectors that pairs of inputs write to the outputs; no
image is used. Then images come in: their outputs are rebuilt from the dictionary's pseudo-inverse
(linear, so it carries over from pairs to images exactly), from the sparse code of each output, and
from the sparse codes of all pairs added up, which amounts to a model with rebuilt weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.dictionaries import (
    DRAWS,
    averaged,
    configurations,
    decisive,
    draw_curves,
)
from quadric.experiments.vision.experiment import VisionExperiment
from quadric.experiments.vision.seeds import spread
from quadric.experiments.vision.settings import VisionSettings
from quadric.forms import BilinearTensor, pair_count
from quadric.layers.layer import Space
from quadric.vision import pairs as analysis
from quadric.vision.config import Recipe
from quadric.vision.dictionary import (
    DictionaryConfig,
    OutputTest,
    dictionary,
    project,
    random_dictionary,
)
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "linear": ("#e66101", "s", "pseudo-inverse codes"),
    "added": ("#1a9641", "D", "sparse codes of all pairs, added up"),
    "sparse": ("#0571b0", "o", "sparse codes of the outputs"),
    "singular": ("#777777", "x", "singular directions, as many"),
    "random": ("#bbbbbb", "^", "random dictionaries, pseudo-inverse"),
}


@dataclass(frozen=True)
class Options:
    """The dictionaries, and which pairs they are learned from.

    Raises:
        QuadricError: a value is out of range.
    """

    features: str = "0.25,0.5,2"
    """Comma-separated sizes of the dictionaries, in features per output."""
    k: int = 5
    """Features active at once, at most; of a dictionary with fewer, all."""
    steps: int = 300
    """Training steps of each."""
    seed: int = 0
    """Seed of their weights and batches."""
    space: Space = "input"
    """Pairs of what: input for pixels, hidden for coordinates of the embedding."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        configurations(self.features, self.k, self.steps, self.seed, outputs=1000)


def plan(settings: VisionSettings) -> list[Recipe]:
    """The base model for every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Dictionaries of several sizes for every model, from its weights; then the test images."""
    found = [_measure(trained, options) for trained in models]
    return Measured({"space": options.space, "models": found})


def _measure(trained: Trained, options: Options) -> dict[str, Any]:
    model, images = trained.model, trained.data().test
    tensor = analysis.layer_forms(model, options.space)
    test = OutputTest(model, images)
    x = analysis.layer_inputs(model, images, options.space)
    head = model.head.weight.detach()
    configs = configurations(
        options.features, options.k, options.steps, options.seed, outputs=tensor.m
    )
    return {
        "path": str(trained.path),
        "dataset": trained.recipe.dataset,
        "seed": trained.recipe.fit.seed,
        "outputs": tensor.m,
        "inputs": tensor.d,
        "pairs": pair_count(tensor.d),
        "test_accuracy": trained.test_accuracy,
        "dictionaries": [_dictionary(tensor, test, x, head, config) for config in configs],
    }


def _dictionary(
    tensor: BilinearTensor,
    test: OutputTest,
    x: torch.Tensor,
    head: torch.Tensor,
    config: DictionaryConfig,
) -> dict[str, Any]:
    autoencoder = analysis.train_on_pairs(tensor, config)
    columns, given = dictionary(autoencoder), test.outputs
    projection = project(columns)
    added = analysis.superposed(tensor, autoencoder, head, x)
    codes = autoencoder.encode(given.float())
    singular = tensor.hosvd(projection.rank).directions.double()
    drawn = [random_dictionary(tensor.m, config.features, seed) for seed in range(DRAWS)]
    random = [test.recovered(given @ project(other).matrix) for other in drawn]
    first = codes[: len(added.codes)].to(added.codes)
    size = float(first.norm())
    return {
        "features": config.features,
        "k": config.k,
        "rank": projection.rank,
        "active": added.active,
        "l0": added.mean_active,
        "relative_error": added.error,
        "linear": test.recovered(given @ projection.matrix)._asdict(),
        "sparse": test.recovered(autoencoder.decode(codes))._asdict(),
        "added": test.of_logits(added.logits)._asdict(),
        "singular": test.recovered(given @ singular.mT @ singular)._asdict(),
        "random": averaged(random),
        "codes_apart": float((added.codes - first).norm()) / size if size else None,
        "cosines": _best(tensor, columns.mT, head),
        "random_cosines": [
            value for other in drawn for value in _best(tensor, other.mT, head)
        ],
        "code_cosines": _best(tensor, projection.encoder, head),
        "random_code_cosines": [
            value for other in drawn for value in _best(tensor, project(other).encoder, head)
        ],
    }  # fmt: skip


def _best(tensor: BilinearTensor, directions: torch.Tensor, head: torch.Tensor) -> list[float]:
    """Each direction's largest |cos| with the form of a class."""
    cosines = analysis.form_cosines(tensor, directions, head).abs().amax(dim=1)
    return [round(value, 4) for value in cosines.tolist()]


def draw(measured: Measured) -> Figure:
    """Loss recovered by dictionary size; and how alike features' and classes' forms are."""
    figure = picture.blank(9.2, 3.6)
    curves, shares = figure.subplots(1, 2, width_ratios=(1.25, 1))
    models = measured.data["models"]
    draw_curves(curves, models, LOOKS)
    _draw_cosines(shares, models)
    for axes in (curves, shares):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_cosines(axes: Axes, models: Sequence[dict[str, Any]]) -> None:
    for key, colour, label in (
        ("cosines", "#e66101", "learned from pairs"), ("random_cosines", "#999999", "random"),
    ):  # fmt: skip
        values = [
            value for model in models for entry in model["dictionaries"] for value in entry[key]
        ]
        axes.ecdf(values, color=colour, lw=1.6, label=f"{label} ({len(values):,})")
    axes.set(
        xlabel="largest |cosine| with the form of a class", ylabel="share of features below",
        xlim=(0, 1),
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def compare(measured: Measured) -> Comparison:
    """Whether features found without images carry the outputs, better than random ones."""
    models = measured.data["models"]
    every = [entry for model in models for entry in model["dictionaries"]]
    chosen = [decisive(model, "rank") for model in models]
    deciding = [entry for entry in chosen if entry is not None]
    shown = deciding or [model["dictionaries"][0] for model in models]

    def of(key: str) -> list[float]:
        return [100 * entry[key]["share"] for entry in shown]

    learned, random, codes, random_codes = (
        [statistics.fmean(entry[key]) for entry in shown]
        for key in ("cosines", "random_cosines", "code_cosines", "random_code_cosines")
    )
    apart = [entry["codes_apart"] for entry in shown if entry["codes_apart"] is not None]
    gain = statistics.fmean(of("linear")) - statistics.fmean(of("random"))
    closer = statistics.fmean(learned) - statistics.fmean(random)
    sizes = sorted({(entry["features"], model["outputs"])
                    for entry, model in zip(shown, models, strict=False)})  # fmt: skip
    return Comparison(
        measured=(
            f"Features learned from pairs without an image ({_counts(sizes)}) recover "
            f"{spread(of('linear'), '.1f')} % of the loss through their pseudo-inverse; random "
            f"ones recover {spread(of('random'), '.1f')} %, singular directions "
            f"{spread(of('singular'), '.1f')} %. Sparse codes do not add up over pairs: added up "
            f"they recover {spread(of('added'), '.1f')} %, taken from the output "
            f"{spread(of('sparse'), '.1f')} %. Features' forms have |cosine| {spread(learned)} "
            f"with the closest class, random ones {spread(random)}."
        ),
        agrees=(gain > 0 and closer > 0) if deciding else None,
        rule=(
            "in each model's smallest dictionary that has more features than are active at once "
            "and does not span the outputs, learned features' pseudo-inverse recovers more of the "
            "loss than random ones', and their forms are closer to a class, both in the mean"
        ),
        figures={
            "linear": statistics.fmean(of("linear")),
            "random": statistics.fmean(of("random")),
            "singular": statistics.fmean(of("singular")),
            "cosine": statistics.fmean(learned),
            "random_cosine": statistics.fmean(random),
            "code_cosine": statistics.fmean(codes),
            "random_code_cosine": statistics.fmean(random_codes),
            "codes_apart": statistics.fmean(apart) if apart else None,
        },
        lines=lines(
            Line("features active on a pair at all", "3,544 of 5,000 (1,000 outputs)", "",
                 _sizes(models)),
            Line("features active per pair (L0)", "30.4", "",
                 spread([entry["l0"] for entry in every], ".1f")),
            Line("relative squared error on pairs", "0.29", "",
                 spread([entry["relative_error"] for entry in every])),
            Line("loss recovered on images, pseudo-inverse of the pairs' dictionary", "", "",
                 f"{spread(of('linear'), '.1f')} % (random {spread(of('random'), '.1f')} %)"),
            Line("loss recovered by sparse codes of all pairs, added up", "", "",
                 f"{spread(of('added'), '.1f')} %"),
            Line("distance of added codes from the output's own, relative (0 if they superposed)",
                 "", "", spread(apart)),
            Line("|cosine| of a feature's form with the closest class: learned / random", "", "",
                 f"{spread(learned)} / {spread(random)}"),
            Line("… of the form that computes its pseudo-inverse code", "", "",
                 f"{spread(codes)} / {spread(random_codes)}"),
        ),
    )  # fmt: skip


def _sizes(models: Sequence[dict[str, Any]]) -> str:
    """Active of all features, of the largest dictionaries."""
    found = {
        (entry["active"], entry["features"], model["outputs"])
        for model in models
        for entry in model["dictionaries"][-1:]
    }
    return "; ".join(
        f"{active:,} of {features:,} ({outputs:,} outputs)"
        for active, features, outputs in sorted(found)
    )


def _counts(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{features:,} of {outputs:,} outputs" for features, outputs in sizes)


EXPERIMENT = VisionExperiment(
    name="pairs",
    title="Features from the weights alone: a dictionary of pairs of inputs",
    statement=(
        "The vectors that pairs of inputs write to a layer's outputs can stand in for data: an "
        "autoencoder trained on them finds features of the layer from its weights."
    ),
    source="the write-up in the authors' repository tdooms/bilinear-interp",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
