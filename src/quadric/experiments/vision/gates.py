"""Boolean gates of two inputs: exact layers, and what training finds.

    quadric vision gates

No images and no models: one product with biases computes each of the sixteen gates, and small
layers learn six of them for all pairs of a few inputs. Where the values do not say which term of a
layer must hold them (x² = x on {0, 1}, x² = 1 on {−1, 1}), the figure shows which one did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from quadric.errors import QuadricError
from quadric.experiments import picture
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.settings import VisionSettings
from quadric.layers.boolean import GATES, boolean_layer, multilinear
from quadric.layers.layer import GatedLayer
from quadric.layers.pair_gates import PairTask, forms, learn, read
from quadric.vision.config import Recipe
from quadric.vision.files import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNT = ("and", "or", "xor", "nand", "nor", "xnor")
FITS = 0.05
"""Largest error of a value, or of an entry of a form, that still counts as found."""


@dataclass(frozen=True)
class Options:
    """How the gates are learnt.

    Raises:
        QuadricError: a value is out of range.
    """

    inputs: int = 5
    """Inputs, 2 to 10; each pair of them is one output."""
    hidden: int = 15
    """Products of a layer; at least one for each pair."""
    steps: int = 1000
    """Steps of Adam."""
    seeds: int = 5
    """Layers learnt of each gate."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the task can be solved."""
        if self.seeds < 1:
            raise QuadricError(f"seeds is {self.seeds}, expected 1 or more")
        pairs = len(self.task().pairs)
        if self.hidden < pairs:
            raise QuadricError(
                f"hidden is {self.hidden}, but {self.inputs} inputs have {pairs} pairs and an "
                f"exact layer needs a product for each: give at least {pairs}"
            )

    def task(self, *, bias: bool = False, low: float = 0.0) -> PairTask:
        """The toy task with these sizes."""
        return PairTask(self.inputs, self.hidden, bias=bias, low=low, steps=self.steps)


def plan(settings: VisionSettings) -> list[Recipe]:  # noqa: ARG001
    """No image model is read."""
    return []


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Exact weights of all sixteen gates; six learnt without and with biases, and on {−1, 1}.

    Raises:
        QuadricError: a model is given.
    """
    if models:
        raise QuadricError("gates learns small layers of its own and reads no model: name none")
    zero = [gate for gate in LEARNT if not GATES[gate][0]]
    seeds = range(options.seeds)
    plain = learn(zero, options.task(), seeds)
    biased = learn(LEARNT, options.task(bias=True), seeds)
    signed = learn(LEARNT, options.task(bias=True, low=-1.0), seeds)
    return Measured(
        {
            "exact": [_exact(gate) for gate in GATES],
            "plain": [
                _plain(gate, layers, options)
                for gate, layers in zip(zero, plain, strict=True)
            ],
            "biased": [
                _biased(gate, layers, options.task(bias=True))
                for gate, layers in zip(LEARNT, biased, strict=True)
            ],
            "signed": [
                _biased(gate, layers, options.task(bias=True, low=-1.0))
                for gate, layers in zip(LEARNT, signed, strict=True)
            ],
            "inputs": options.inputs,
        }
    )  # fmt: skip


def _exact(gate: str) -> dict[str, Any]:
    """One row of the table of gates: values, polynomial, weights of its one product."""
    layer, function = boolean_layer(gate, dtype=torch.float64), multilinear(gate)
    weights = {name: weight.flatten().tolist() for name, weight in layer.state_dict().items()}
    answers = layer(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64))
    return {
        "gate": gate,
        "values": list(GATES[gate]),
        "answers": answers.flatten().tolist(),
        "constant": float(function.constant),
        "linear": function.linear.tolist(),
        "interaction": 2 * float(function.pairs[0, 1]),
        "without_biases": GATES[gate][0] == 0,
        "weights": weights,
    }


@torch.no_grad()
def _error(layer: GatedLayer, task: PairTask, gate: str) -> float:
    bits, _ = task.examples()
    return float((layer(task.encode(bits)) - task.targets(gate)).abs().max())


def _plain(gate: str, layers: Sequence[GatedLayer], options: Options) -> dict[str, Any]:
    """Learnt without biases: worst value, and worst entry of the forms against the exact ones."""
    truth = forms(gate, options.inputs)
    found = [read(layer).forms for layer in layers]
    return {
        "gate": gate,
        "worst_value": [_error(layer, options.task(), gate) for layer in layers],
        "worst_entry": [float((f - truth).abs().max()) for f in found],
        "form": [[round(v, 4) for v in row] for row in found[0][0].tolist()],
        "exact": truth[0].tolist(),
    }


def _biased(gate: str, layers: Sequence[GatedLayer], task: PairTask) -> dict[str, Any]:
    """Learnt with biases: which terms hold the part that could be in either.

    On {0, 1} that is the linear part, a_i = ℓ_i + A_ii; on {−1, 1} the constant, c + tr A. The
    share is what least squares assigns to the biases: ⟨biases' part, whole⟩/⟨whole, whole⟩.
    """
    places = torch.tensor(task.pairs)
    shares, constants, errors = [], [], []
    for layer in layers:
        found = read(layer)
        squares = found.forms.diagonal(dim1=1, dim2=2)
        if task.low == 0:
            part, rest = found.linear.gather(1, places), squares.gather(1, places)
        else:
            part, rest = found.constant, squares.sum(1)
        whole = part + rest
        size = float(whole.square().sum())
        shares.append(float((part * whole).sum()) / size if size > 1e-3 * whole.numel() else None)
        constants.append(float(found.constant.mean()))
        errors.append(_error(layer, task, gate))
    return {"gate": gate, "share": shares, "constant": constants, "worst_value": errors}


def draw(measured: Measured) -> Figure:
    """Learnt forms of one pair beside the exact ones; below, where biases are used."""
    data = measured.data
    figure = picture.blank(8.2, 4.8)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1, 1.9])
    panels = halves[0].subplots(1, 2 * len(data["plain"]))
    for place, row in enumerate(data["plain"]):
        for offset, key in enumerate(("form", "exact")):
            axes = panels[2 * place + offset]
            axes.imshow(row[key], cmap=picture.signed_colours(), vmin=-1, vmax=1)
            for i, entries in enumerate(row[key]):
                for j, value in enumerate(entries):
                    if abs(value) >= FITS:
                        axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=6)
            axes.set_xticks([])
            axes.set_yticks([])
            title = "learnt" if key == "form" else "exact"
            axes.set_title(f"{row['gate'].upper()} of x₁, x₂\n{title}", fontsize=8)
    lower = halves[1].subplots(1, 2)
    _draw_shares(
        lower[0], data["biased"], "linear part held by biases\n(the rest: x² = x, on 0 and 1)"
    )
    _draw_shares(
        lower[1], data["signed"], "constant held by biases\n(the rest: x² = 1, on −1 and 1)"
    )
    return figure


def _draw_shares(axes: Axes, rows: list[dict[str, Any]], label: str) -> None:
    """One point per seed and gate; gates without such a part are left empty."""
    for place, row in enumerate(rows):
        found = [share for share in row["share"] if share is not None]
        axes.plot([place] * len(found), found, "o", color="#e66101", ms=4, mfc="none")
        if not found:
            axes.text(place, 0.5, "none", ha="center", fontsize=7, color="#777777")
    axes.axhline(0, color="#777777", lw=0.6)
    axes.axhline(1, color="#777777", lw=0.6)
    axes.set_ylim(-0.3, 1.5)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_xticks(range(len(rows)), [row["gate"].upper() for row in rows], fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=7)


def compare(measured: Measured) -> Comparison:
    """Whether all gates are exact, and whether training leaves constants to squares."""
    data = measured.data
    exact = all(row["values"] == [round(v, 9) for v in row["answers"]] for row in data["exact"])
    entries = [value for row in data["plain"] for value in row["worst_entry"]]
    found = sum(value < FITS for value in entries)
    forced = [row for row in data["biased"] if row["gate"] in ("nor", "xnor", "nand")]
    layers = [
        (constant, error)
        for row in forced
        for constant, error in zip(row["constant"], row["worst_value"], strict=True)
    ]
    constants = sum(abs(constant - 1) < FITS for constant, _ in layers)
    linear, signed = _mean_shares(data["biased"]), _mean_shares(data["signed"])
    shares = [share for gate in LEARNT for share in _shares(data["signed"], gate)]
    unused = sum(share < 0.5 for share in shares)
    degenerate = unused > len(shares) / 2
    return Comparison(
        measured=(
            f"With biases {'all 16 gates are' if exact else 'not all gates are'} exact on one "
            f"product; without, the 8 that are 1 at 0 cannot be. Without biases training finds the "
            f"exact forms to {FITS} in {found} of {len(entries)} layers (worst entry "
            f"{max(entries):.3f}). With biases it finds the constant of NAND, NOR and XNOR in "
            f"{constants} of {len(layers)} layers, since at 0 nothing else is there; but on −1 and "
            f"1, where squares are constant too, {unused} of {len(shares)} layers put less than "
            f"half of their constant into biases (XOR {_shown(signed['xor'])}, XNOR "
            f"{_shown(signed['xnor'])} on average)."
        ),
        agrees=exact and degenerate,
        rule=(
            "all 16 gates are exact, and most layers learnt on −1 and 1 hold less than half of "
            "their constant in biases"
        ),
        figures={
            "worst_entry": max(entries),
            "found_without_biases": found / len(entries),
            "found_constants": constants / len(layers),
            "unused_constants": unused / len(shares),
            **{f"linear_in_biases_{gate}": share for gate, share in linear.items()},
            **{f"constant_in_biases_{gate}": share for gate, share in signed.items()},
        },
        lines=lines(
            Line("Gates of two inputs that one biased product computes", "all binary gates", "",
                 "16 of 16" if exact else "fewer"),
            Line(f"Learnt without biases: layers with the exact forms to {FITS}", "", "",
                 f"{found} of {len(entries)}"),
            Line("Learnt with biases on −1 and 1: share of XNOR's constant in biases",
                 "often fails to use learned constants", "", _shown(signed["xnor"])),
            Line("Learnt with biases on 0 and 1: share of XNOR's linear part in biases", "", "",
                 _shown(linear["xnor"])),
        ),
    )  # fmt: skip


def _shares(rows: list[dict[str, Any]], gate: str) -> list[float]:
    (row,) = (row for row in rows if row["gate"] == gate)
    return [share for share in row["share"] if share is not None]


def _mean_shares(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    return {
        row["gate"]: fmean(found) if (found := _shares(rows, row["gate"])) else None for row in rows
    }


def _shown(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"


EXPERIMENT = VisionExperiment(
    name="gates",
    title="Boolean gates: exact layers and learnt ones",
    statement=(
        "With biases a bilinear layer expresses every binary gate, but training often leaves the "
        "constants to quadratic invariances."
    ),
    source=f"{PAPER}, appendix J",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
    fewest=0,
)
