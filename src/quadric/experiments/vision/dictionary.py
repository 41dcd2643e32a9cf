"""Sparse codes of a model's outputs against the linear codes of the same dictionary.

    quadric vision dictionary MODEL --features 0.25,0.5,1,2 --k 5

A TopK autoencoder learns a dictionary of the outputs that the head reads. The outputs are rebuilt
from its sparse codes and from the codes of the dictionary's pseudo-inverse, and the loss says how
much of each survives. Dictionaries of several sizes are trained, because one that spans the outputs
is rebuilt exactly by its pseudo-inverse and decides nothing. As a yardstick, the best projection of
the same rank (the leading principal directions of the training outputs) and a random dictionary.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from quadric.baselines import TopKAutoencoder
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
from quadric.vision import dictionary as analysis
from quadric.vision.config import Recipe
from quadric.vision.dictionary import DictionaryConfig, OutputTest
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "sparse": ("#0571b0", "o", "sparse (TopK) codes"),
    "linear": ("#e66101", "s", "pseudo-inverse codes"),
    "principal": ("#777777", "x", "principal directions, as many"),
    "random": ("#bbbbbb", "^", "random dictionary, pseudo-inverse"),
}
SHOWN = 300
"""Points of each kind in the scatter."""


@dataclass(frozen=True)
class Options:
    """The dictionaries.

    Raises:
        QuadricError: a value is out of range.
    """

    features: str = "0.25,0.5,1,2"
    """Comma-separated sizes of the dictionaries, in features per output."""
    k: int = 5
    """Features active at once, at most; of a dictionary with fewer, all."""
    steps: int = 300
    """Training steps of each."""
    seed: int = 0
    """Seed of their weights and batches."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        configurations(self.features, self.k, self.steps, self.seed, outputs=1000)


def plan(settings: VisionSettings) -> list[Recipe]:
    """The base model for every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Dictionaries of several sizes for every model, tested on the test images."""
    return Measured({"models": [_measure(trained, options) for trained in models]})


def _measure(trained: Trained, options: Options) -> dict[str, Any]:
    model, data = trained.model, trained.data()
    test = OutputTest(model, data.test)
    outputs = analysis.hidden_outputs(model, data.train).float()
    configs = configurations(
        options.features, options.k, options.steps, options.seed, outputs=outputs.shape[1]
    )
    found = [_dictionary(test, outputs, config) for config in configs]
    sparse = [i for i, config in enumerate(configs) if config.k < config.features]
    return {
        "path": str(trained.path),
        "dataset": trained.recipe.dataset,
        "seed": trained.recipe.fit.seed,
        "outputs": outputs.shape[1],
        "classes": len(model.classes),
        "loss": test.clean,
        "test_accuracy": trained.test_accuracy,
        "scatter": found[sparse[0] if sparse else 0].pop("scatter"),
        "scatter_of": configs[sparse[0] if sparse else 0].features,
        "dictionaries": [{k: v for k, v in entry.items() if k != "scatter"} for entry in found],
    }


def _dictionary(
    test: OutputTest, outputs: torch.Tensor, config: DictionaryConfig
) -> dict[str, Any]:
    autoencoder = analysis.train_on_outputs(outputs, config)
    columns, given = analysis.dictionary(autoencoder), test.outputs
    active = analysis.active_features(autoencoder, outputs)
    whole, alive = analysis.project(columns), analysis.project(columns[:, active])
    drawn = [
        analysis.random_dictionary(len(columns), config.features, seed) for seed in range(DRAWS)
    ]
    random = [test.recovered(given @ analysis.project(other).matrix) for other in drawn]
    _, _, principal = torch.linalg.svd(outputs.double(), full_matrices=False)
    principal = principal[: alive.rank]
    codes = autoencoder.encode(given.float())
    rebuilt = autoencoder.decode(codes).double()
    linear = analysis.linear_codes(autoencoder, given, whole)
    alike = analysis.correlations(autoencoder, given.float(), linear)
    return {
        "features": config.features,
        "k": config.k,
        "active": int(active.sum()),
        "rank": whole.rank,
        "rank_active": alive.rank,
        "l0": float((codes != 0).double().sum(dim=1).mean()),
        "relative_error": float((given - rebuilt).square().sum() / given.square().sum()),
        "sparse": test.recovered(rebuilt)._asdict(),
        "linear": test.recovered(given @ alive.matrix)._asdict(),
        "linear_all": test.recovered(given @ whole.matrix)._asdict(),
        "principal": test.recovered(given @ principal.mT @ principal)._asdict(),
        "random": averaged(random),
        "effective": {
            "sparse": analysis.effective_number(codes),
            "linear": analysis.effective_number(linear),
        },
        "correlation": alike._asdict(),
        "scatter": _scatter(autoencoder, given, linear, codes != 0),
    }


def _scatter(
    autoencoder: TopKAutoencoder,
    outputs: torch.Tensor,
    linear: torch.Tensor,
    active: torch.Tensor,
) -> dict[str, list[list[float]]]:
    """Some (drive, linear code) points where the sparse code is active, and where it is not."""
    drive = analysis.sparse_drive(autoencoder, outputs.float())
    found = {}
    for name, where in (("active", active), ("inactive", ~active)):
        points = torch.stack([drive[where].double(), linear[where]], dim=1)
        step = max(1, len(points) // SHOWN)
        found[name] = [[round(a, 4), round(b, 4)] for a, b in points[::step][:SHOWN].tolist()]
    return found


def draw(measured: Measured) -> Figure:
    """Loss recovered by dictionary size; and both codes of one dictionary against each other."""
    figure = picture.blank(9.2, 3.6)
    curves, scatter = figure.subplots(1, 2, width_ratios=(1.25, 1))
    models = measured.data["models"]
    draw_curves(curves, models, LOOKS)
    _draw_scatter(scatter, models[0])
    for axes in (curves, scatter):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_scatter(axes: Axes, model: dict[str, Any]) -> None:
    for name, colour, size in (("inactive", "#bbbbbb", 5), ("active", "#e66101", 9)):
        points = model["scatter"][name]
        axes.scatter(
            [point[0] for point in points], [point[1] for point in points], s=size, color=colour,
            alpha=0.7, linewidths=0, label=f"{name} in the sparse code",
        )  # fmt: skip
    axes.axhline(0, color="#dddddd", lw=0.6, zorder=0)
    axes.axvline(0, color="#dddddd", lw=0.6, zorder=0)
    axes.set_xlabel("encoder, before ReLU and TopK")
    axes.set_ylabel("pseudo-inverse code")
    axes.set_title(f"{model['scatter_of']} features of {model['outputs']} outputs", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


def compare(measured: Measured) -> Comparison:
    """Whether linear codes keep more of the loss than sparse ones where neither keeps all."""
    models = measured.data["models"]
    chosen = [decisive(model, "rank_active") for model in models]
    deciding = [entry for entry in chosen if entry is not None]
    shown = deciding or [model["dictionaries"][0] for model in models]
    spanning = [
        entry for model in models for entry in model["dictionaries"]
        if entry["rank"] == model["outputs"]
    ]  # fmt: skip

    def of(key: str) -> list[float]:
        return [100 * entry[key]["share"] for entry in shown]

    gains = [entry["linear"]["share"] - entry["sparse"]["share"] for entry in deciding]
    exact = [abs(entry["linear_all"]["share"] - 1) for entry in spanning]
    alike = {
        side: [e["correlation"][side] for e in shown if e["correlation"][side] is not None]
        for side in ("active", "inactive")
    }
    effective = {
        key: spread([entry["effective"][key] for entry in shown], ".1f")
        for key in ("sparse", "linear")
    }
    agrees = None if not gains else statistics.fmean(gains) > 0
    if agrees and exact:
        agrees = max(exact) < 1e-9
    return Comparison(
        measured=(
            f"With {_sizes(shown, models)}, sparse codes recover {spread(of('sparse'), '.1f')} % "
            f"of the loss and pseudo-inverse codes {spread(of('linear'), '.1f')} %; as many "
            f"principal directions recover {spread(of('principal'), '.1f')} %, random dictionaries "
            f"{spread(of('random'), '.1f')} %. The linear codes are not sparse: they share an "
            f"image among {effective['linear']} features, the sparse ones among "
            f"{effective['sparse']}."
        ),
        agrees=agrees,
        rule=(
            "in each model's smallest dictionary that has more features than are active at once "
            "and does not span the outputs, pseudo-inverse codes recover more of the loss in the "
            "mean; and where all features span the outputs they recover all of it, to 1e-9"
        ),
        figures={
            "sparse": statistics.fmean(of("sparse")),
            "linear": statistics.fmean(of("linear")),
            "gain": statistics.fmean(gains) if gains else None,
            "dictionaries": len(deciding),
            "distance_from_all_where_spanning": max(exact) if exact else None,
        },
        lines=lines(
            Line("loss recovered by sparse codes (paper: ReLU with a penalty; ours: TopK)",
                 "87.1 %", "", f"{spread(of('sparse'), '.1f')} %"),
            Line("loss recovered by pseudo-inverse codes of active features", "98.1 %", "",
                 f"{spread(of('linear'), '.1f')} %"),
            Line("… where the features span the outputs", "", "",
                 "100 % (exact)" if exact and max(exact) < 1e-9 else "–"),
            Line("… by as many principal directions", "", "",
                 f"{spread(of('principal'), '.1f')} %"),
            Line("active features; of them active per image (L0)",
                 "87 of 1,000 outputs; 5.2", "",
                 f"{_sizes(shown, models)}; {spread([e['l0'] for e in shown], '.1f')}"),
            Line("relative squared error of the sparse codes", "0.28", "",
                 spread([entry["relative_error"] for entry in shown])),
            Line("correlation of the codes where the sparse code is active / is not", "", "",
                 f"{spread(alike['active'])} / {spread(alike['inactive'])}"),
        ),
    )  # fmt: skip


def _sizes(entries: Sequence[dict[str, Any]], models: Sequence[dict[str, Any]]) -> str:
    """How many features are active at all, and of how many outputs."""
    active = ", ".join(f"{size:,}" for size in sorted({entry["active"] for entry in entries}))
    outputs = ", ".join(f"{size:,}" for size in sorted({model["outputs"] for model in models}))
    return f"{active} features of {outputs} outputs"


EXPERIMENT = VisionExperiment(
    name="dictionary",
    title="A sparse dictionary of the outputs, and its pseudo-inverse",
    statement=(
        "Rebuilding a layer's outputs from the features of a sparse autoencoder recovers 87.1 % of "
        "the loss with the autoencoder's own codes, and 98.1 % with the codes of the dictionary's "
        "pseudo-inverse, which are linear in the outputs and so quadratic forms of the image."
    ),
    source="the write-up in the authors' repository tdooms/bilinear-interp",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
