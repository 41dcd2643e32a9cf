"""Weight decay against input noise: how many eigenvalues a class has, how many pixels they read.

    quadric vision sparsity MODEL…

Both are counted by s(y) = ‖y‖₁²/‖y‖₂² (arXiv 2410.08417, appendix D and figure 17): of the
eigenvalues it is an effective rank, of an eigenvector's picture an effective number of pixels. The
paper contradicts itself on the rank: §4.1 says that noise lowers it, appendix D that noise raises
it. Which is so is decided here by the sign of the change and its spread over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.alike import check_alike
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.seeds import effect, goes, spread, verdict
from quadric.experiments.vision.settings import QUICK, VisionSettings
from quadric.forms import Rule
from quadric.layers.layer import Space
from quadric.report import figures
from quadric.vision.config import FitConfig, Recipe
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.sparsity import (
    effective_count,
    effective_pixels,
    gaussian_count,
    wigner_count,
)
from quadric.vision.spectra import spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {"rank": "effective eigenvalues", "pixels_abs": "effective pixels, {k} largest |λ|"}
"""What is drawn, with its name; the other rules are in the table."""
AXES = ("noise", "weight_decay")
ALIKE = 0.25
"""Weight decay leaves eigenvectors alone if it changes their pixels by less than this share of what
noise changes."""

REPRODUCED = {
    ("rank", False, False): "≈55 of 512",
    ("rank", False, True): "≈185 of 512 (σ 1)",
    ("rank", True, False): "≈25 of 512",
    ("rank", True, True): "≈65 of 512 (σ 1)",
    ("pixels_abs", False, False): "≈420 of 784",
    ("pixels_abs", False, True): "≈265 of 784 (σ 1)",
    ("pixels_abs", True, False): "≈420 of 784",
    ("pixels_abs", True, True): "≈265 of 784 (σ 1)",
}
"""Read off the plots of the reproduction ipantelidis/bilinear-mlp-repro, on MNIST, by measure,
whether there is weight decay (1) and whether there is noise (1). It counts the pixels of the five
most negative eigenvectors, as the paper's script does."""


@dataclass(frozen=True)
class Options:
    """What to look at.

    Raises:
        QuadricError: k is below 1.
    """

    k: int = 5
    """Eigenvectors per class whose pixels are counted."""
    space: Space = "hidden"
    """Whose eigenvectors: hidden, as in the paper, or input for those orthonormal in pixels."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.k < 1:
            raise QuadricError(f"k is {self.k}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """Every weight decay with every noise, on every seed.

    Each takes none, half and all of the settings' weight decay, and none, once and twice their
    noise; on the digits, which are there for a quick look, only none and all, and none and once.
    """
    decay, noise = settings.weight_decay, settings.noise
    decays, noises = [0.0, decay / 2, decay], [0.0, noise, 2 * noise]
    if settings.dataset == QUICK.dataset:
        decays, noises = [0.0, decay], [0.0, noise]
    return [
        settings.recipe(seed=seed, weight_decay=decay, augment=AugmentConfig(noise=noise))
        for decay in dict.fromkeys(decays)
        for noise in dict.fromkeys(noises)
        for seed in range(settings.seeds)
    ]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Both counts of every model, as means over its classes.

    Raises:
        QuadricError: the models differ in more than weight decay, noise and seed, or k is larger
            than their width.
    """
    check_alike(models, _plain, "weight decay, noise and seed")
    first = models[0].model
    entries = []
    for trained in models:
        values = spectra(trained.model, space=options.space).values
        entries.append(
            {
                "path": str(trained.path),
                "weight_decay": trained.recipe.fit.weight_decay,
                "noise": trained.recipe.augment.noise,
                "seed": trained.recipe.fit.seed,
                "test_accuracy": trained.test_accuracy,
                "rank": effective_count(values).mean().item(),
                **{
                    f"pixels_{by}": effective_pixels(
                        trained.model, k=options.k, by=by, space=options.space
                    )
                    .mean()
                    .item()
                    for by in get_args(Rule)
                },
            }
        )
    eigenvalues = values.shape[1]
    return Measured(
        {
            "k": options.k,
            "space": options.space,
            "dataset": models[0].recipe.dataset,
            "eigenvalues": eigenvalues,
            "pixels": first.d_in,
            "rank_of_noise": wigner_count(eigenvalues),
            "pixels_of_noise": gaussian_count(first.d_in),
            "models": entries,
        }
    )


def _plain(recipe: Recipe) -> Recipe:
    """A recipe without what the grid varies."""
    return replace(
        recipe,
        fit=replace(recipe.fit, weight_decay=0.0, seed=FitConfig.seed),
        augment=replace(recipe.augment, noise=0.0),
    )


def draw(measured: Measured) -> Figure:
    """Both counts over weight decay and noise, with their spread over seeds."""
    data = measured.data
    models = data["models"]
    decays, noises = (sorted({m[name] for m in models}) for name in ("weight_decay", "noise"))
    figure = figures.blank(2.2 + 2 * 1.3 * len(noises), 1.3 + 0.75 * len(decays))
    panels = figure.subplots(1, 2)
    nulls = (
        f"{data['eigenvalues']} in all, {data['rank_of_noise']:.0f} of a random matrix",
        f"{data['pixels']} in all, {data['pixels_of_noise']:.0f} of Gaussian noise",
    )
    for panel, (key, title), null in zip(panels, MEASURES.items(), nulls, strict=True):
        cells = [[_cell(models, key, d, n) for n in noises] for d in decays]
        means = [
            [statistics.fmean(cell) if cell else float("nan") for cell in row] for row in cells
        ]
        panel.imshow(means, cmap="cividis", aspect="auto", origin="lower")
        middle = sum(panel.images[0].get_clim()) / 2
        for i, row in enumerate(cells):
            for j, cell in enumerate(row):
                panel.text(
                    j, i, spread(cell, ".1f").replace(" ± ", "\n± "), ha="center", va="center",
                    fontsize=8, color="black" if cell and means[i][j] > middle else "white",
                )  # fmt: skip
        panel.set_xticks(range(len(noises)), [f"{noise:g}" for noise in noises], fontsize=8)
        panel.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays], fontsize=8)
        panel.set_xlabel("noise σ per pixel", fontsize=8)
        panel.set_ylabel("weight decay", fontsize=8)
        panel.set_title(f"{title.format(k=data['k'])}\n({null})", fontsize=8)
    return figure


def _cell(models: Sequence[dict[str, Any]], key: str, decay: float, noise: float) -> list[float]:
    """A measure of the models with a weight decay and a noise, one value per seed."""
    return [m[key] for m in models if (m["weight_decay"], m["noise"]) == (decay, noise)]


def compare(measured: Measured) -> Comparison:
    """Which way both counts go with noise and with weight decay."""
    data = measured.data
    models = data["models"]
    rank, pixels = (
        {axis: effect(models, key, axis, other) for axis, other in (AXES, AXES[::-1])}
        for key in MEASURES
    )
    rank_up = goes(rank["noise"], 1)
    ratio = None
    if pixels["noise"] and pixels["weight_decay"] and pixels["noise"].size:
        ratio = abs(pixels["weight_decay"].size / pixels["noise"].size)
    who = {
        True: "Appendix D is right about the rank, and §4.1 is not.",
        False: "§4.1 is right about the rank, and appendix D is not.",
        None: "These models cannot decide between §4.1 and appendix D.",
    }[rank_up]
    return Comparison(
        measured=(
            f"Noise changes the effective number of eigenvalues by {rank['noise'] or 'nothing'} "
            f"and weight decay by {rank['weight_decay'] or 'nothing'} of {data['eigenvalues']}; it "
            f"changes the effective pixels of the {data['k']} leading eigenvectors by "
            f"{pixels['noise'] or 'nothing'} and weight decay by "
            f"{pixels['weight_decay'] or 'nothing'} of {data['pixels']}. {who}"
        ),
        agrees=verdict(
            (
                rank_up,
                goes(rank["weight_decay"], -1),
                goes(pixels["noise"], -1),
                None if ratio is None else ratio < ALIKE,
            )
        ),
        rule=(
            "noise raises the rank and lowers the pixels, weight decay lowers the rank (from its "
            "least to its largest value, beyond twice the standard error over seeds), and weight "
            f"decay changes the pixels by less than {ALIKE:.0%} of what noise does"
        ),
        figures={
            **{
                f"{axis}_on_{name}": None if found is None else found.size
                for name, changes in (("rank", rank), ("pixels", pixels))
                for axis, found in changes.items()
            },
            "weight_decay_over_noise_on_pixels": ratio,
            "rank_of_noise": data["rank_of_noise"],
            "pixels_of_noise": data["pixels_of_noise"],
        },
        lines=lines(*_rows(data)),
    )


def _rows(data: dict[str, Any]) -> list[Line]:
    """A line for each measure at each corner of the grid, and for the pixels by each rule."""
    models = data["models"]
    decays, noises = (sorted({m[name] for m in models}) for name in ("weight_decay", "noise"))
    nulls = {
        "rank": f"{data['eigenvalues']}; random matrix {data['rank_of_noise']:.1f}",
        "pixels_abs": f"{data['pixels']}; Gaussian noise {data['pixels_of_noise']:.1f}",
    }
    rows = []
    for key, title in MEASURES.items():
        for decay in dict.fromkeys((decays[0], decays[-1])):
            for noise in dict.fromkeys((noises[0], noises[-1])):
                ours = spread(_cell(models, key, decay, noise), ".1f")
                rows.append(
                    Line(
                        f"{title.format(k=data['k'])}, weight decay {decay:g}, σ {noise:g}",
                        "",
                        REPRODUCED[key, decay > 0, noise > 0],
                        f"{ours} of {nulls[key]}",
                    )
                )
    decay, noise = max((m["weight_decay"], m["noise"]) for m in models)
    for by in get_args(Rule):
        where = f"weight decay {decay:g}, σ {noise:g}"
        ours = spread(_cell(models, f"pixels_{by}", decay, noise), ".1f")
        rows.append(Line(f"pixels of the {data['k']} leading by {by}, {where}", "", "", ours))
    return rows


EXPERIMENT = VisionExperiment(
    name="sparsity",
    title="Effective rank and effective pixels over weight decay and input noise",
    statement=(
        "Input noise makes eigenvectors sparser in pixels and weight decay does not; noise raises "
        "the number of important eigenvalues and weight decay lowers it (while §4.1 says that "
        "noise lowers it)."
    ),
    source=f"{PAPER}, appendix D and figure 17",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
