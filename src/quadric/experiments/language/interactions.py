"""How pairs of input features make an output feature of a bilinear MLP, from weights alone.

    quadric lm interactions MODEL DICTIONARIES

The largest interactions b̃_abc of all (with the share that a bound spared), one output feature's
interactions beside a matched null, and the block in which its largest ones lie (arXiv 2410.08417
§3.1 and §5.1, figures 8A and 24A). Then the sums over pairs are held against what the layer
computes on held-out text, and divided into what pairs of features, single features, the constants
and the input dictionary's error give.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.interactions import draw
from quadric.experiments.language.reading import (
    CONTEXTS,
    DECIDING_WIDTH,
    WELL_SAMPLED,
    Peaks,
    listed,
    open_layer,
    rounded,
    usage,
)
from quadric.experiments.language.settings import DICTIONARIES, MODEL
from quadric.experiments.table import Line, lines
from quadric.language.dictionaries import InputDictionary, OutputDictionary
from quadric.language.histograms import Histogram, interaction_histograms
from quadric.language.interactions import Interactions, checked_indices, interactions_between
from quadric.language.screening import TopInteractions, top_interactions

if TYPE_CHECKING:
    from quadric.experiments.language.settings import LanguageSettings
    from quadric.experiments.language.workshop import Workshop
    from quadric.language.features import LayerDictionaries

COUNT = 20
"""Interactions that are listed, of all outputs and of one."""
SIDE = 12
"""Input features of the block that is shown, at most."""
PARTS = ("pairs", "linear", "constant", "error")
"""What the sum over pairs is divided into."""
EXACT = 1e-6
"""Relative difference to the layer's own value that counts as none."""
CHECKED, DIVIDED = 256, 4096
"""Tokens on which the sums are held against the layer in float64, and are divided."""


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """The interactions of the settings' model, trained first where it is missing."""
    return analyse(open_layer(settings, workshop), seed=settings.seed)


def analyse(
    layers: LayerDictionaries,
    contexts: int = CONTEXTS,
    output: int | None = None,
    count: int = COUNT,
    seed: int = 0,
) -> Measured:
    """Interactions between the dictionaries of a layer.

    Args:
        layers: the layer and its dictionaries.
        contexts: of the held-out text, to name features.
        output: the output feature to show; that of the largest interaction when None.
        count: how many interactions to list, at most.
        seed: of the null.

    Raises:
        QuadricError: the layer is not bilinear, no feature is on often enough, there is no such
            output, or ``count`` is below 1.
    """
    found = interactions_between(layers.layer, layers.inputs, layers.outputs)
    if output is not None:
        checked_indices("output", [output], found.q)
    text = list(layers.tokens(contexts))
    read = usage(layers, text)
    sampled = read.sampled()
    per_output = found.p * (found.p + 1) // 2
    top = top_interactions(found, min(count, len(sampled) * per_output), outputs=sampled)
    chosen = int(top.outputs[0]) if output is None else output
    own = top_interactions(found, min(max(count, 1), per_output), outputs=[chosen])
    pairs = torch.stack([own.first, own.second], dim=1).flatten().tolist()
    side = list(dict.fromkeys(pairs))[:SIDE]
    inputs = torch.unique(torch.cat([top.first, top.second, own.first, own.second]))
    outputs = torch.unique(torch.cat([top.outputs, torch.tensor([chosen])]))
    vocabulary = len(layers.language.tokenizer)
    named_in, named_out = Peaks(len(inputs), vocabulary), Peaks(len(outputs), vocabulary)
    division = _Division()
    checks: list[dict[str, float]] = []
    for batch in text:
        values, kept = layers.measure(batch.y)
        codes = layers.encode(batch.x)
        named_in.update(batch.ids, codes[:, inputs])
        named_out.update(batch.ids, values[:, outputs])
        if not checks:
            checks.append(_check(layers, batch.x[:CHECKED], codes[:CHECKED], values[:CHECKED]))
        if division.tokens < DIVIDED:
            division.add(found, codes, batch.x, kept, chosen)
    tokenizer = layers.language.tokenizer
    names_in = dict(zip(inputs.tolist(), named_in.names(tokenizer), strict=True))
    names_out = dict(zip(outputs.tolist(), named_out.names(tokenizer), strict=True))
    histograms = interaction_histograms(found, chosen, seed=seed)
    return Measured(
        {
            "model": layers.language.name,
            "block": layers.block,
            "width": layers.layer.left.in_features,
            "inputs": found.p,
            "outputs": found.q,
            "sampled": len(sampled),
            "minimum": WELL_SAMPLED,
            "tokens": read.tokens,
            "seed": seed,
            "searched": len(sampled) * per_output,
            "skipped": rounded(top.skipped),
            "top": _listed(top),
            "output": chosen,
            "output_on": int(read.on[chosen]),
            "own": _listed(own),
            "own_skipped": rounded(own.skipped),
            "side": side,
            "block_values": listed(found.block([chosen], side, side)[0]),
            "edges": listed(histograms.edges),
            "histograms": {
                name: _histogram(getattr(histograms, name))
                for name in ("self_", "cross", "null_self", "null_cross")
            },
            "outside": histograms.outside,
            "check": checks[0],
            "division": division.found(),
            "names": {
                "inputs": {str(key): value for key, value in names_in.items()},
                "outputs": {str(key): value for key, value in names_out.items()},
            },
        }
    )


def _check(
    layers: LayerDictionaries,
    x: Float[Tensor, "t d"],
    codes: Float[Tensor, "t p"],
    measured: Float[Tensor, "t q"],
) -> dict[str, float]:
    """The largest difference between the sums over pairs and the layer, relative to its values.

    In float64 against the layer run in float64, entry by entry; and against what the model gave in
    float32, relative to each feature's root mean square.
    """
    layer = copy.deepcopy(layers.layer).double()
    inputs, outputs = _double(layers)
    x, measured = x.double(), measured.double()
    account = interactions_between(layer, inputs, outputs).account(codes.double(), x)
    total = torch.stack([getattr(account, part) for part in PARTS]).sum(dim=0)
    y = layer(x)
    if outputs.centre is not None:
        y = y - outputs.centre
    exact = y @ outputs.encoder.T
    if outputs.bias is not None:
        exact = exact + outputs.bias
    scale = measured.square().mean(dim=0).sqrt()
    return {
        "tokens": len(x),
        "relative": float(((total - exact).abs() / exact.abs()).nan_to_num(0.0).max()),
        "measured": float(((total - measured).abs() / scale).nan_to_num(0.0).max()),
    }


def _double(layers: LayerDictionaries) -> tuple[InputDictionary, OutputDictionary]:
    def double(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.double()

    inputs, outputs = layers.inputs, layers.outputs
    return (
        InputDictionary(inputs.decoder.double(), double(inputs.bias)),
        OutputDictionary(outputs.encoder.double(), double(outputs.bias), double(outputs.centre)),
    )


class _Division:
    """What each part of the sum gives to the pre-activations where features are on.

    The share of a part s is Σ s·y / Σ y², so that the shares of all parts sum to 1.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.kept = {"all": 0, "output": 0}
        self.products = {name: torch.zeros(len(PARTS), dtype=torch.float64) for name in self.kept}
        self.squares = dict.fromkeys(self.kept, 0.0)

    def add(self, found: Interactions, codes: Tensor, x: Tensor, kept: Tensor, chosen: int) -> None:
        account = found.account(codes, x)
        parts = torch.stack([getattr(account, part) for part in PARTS]).double()
        only = torch.zeros_like(kept)
        only[:, chosen] = kept[:, chosen]
        for name, where in (("all", kept), ("output", only)):
            some = parts[:, where]
            total = some.sum(dim=0)
            self.products[name] += some @ total
            self.squares[name] += float(total.square().sum())
            self.kept[name] += int(where.sum())
        self.tokens += len(x)

    def found(self) -> dict[str, Any]:
        shares = {
            name: dict(zip(PARTS, listed(self.products[name] / self.squares[name]), strict=True))
            for name in self.kept
            if self.squares[name]
        }
        return {"tokens": self.tokens, "kept": self.kept, "shares": shares}


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "counts": histogram.counts.tolist(),
        "mean": rounded(histogram.mean),
        "std": rounded(histogram.std),
        "largest": rounded(histogram.largest),
    }


def _listed(found: TopInteractions) -> list[dict[str, Any]]:
    columns = [found.values, found.outputs, found.first, found.second]
    return [
        {"value": rounded(value), "output": output, "first": first, "second": second}
        for value, output, first, second in zip(*(c.tolist() for c in columns), strict=True)
    ]


def compare(measured: Measured) -> Comparison:
    """Whether the sums are exact and the largest interactions lie beyond the null's."""
    data = measured.data
    cross, null = data["histograms"]["cross"], data["histograms"]["null_cross"]
    relative = data["check"]["relative"]
    exact = relative <= EXACT
    share = data["division"]["shares"].get("all", {})
    agrees: bool | None = exact and data["outside"] > 0
    if exact and data["width"] < DECIDING_WIDTH:
        agrees = None
    largest = data["top"][0]
    text = (
        f"In block {data['block']} of {data['model']} the largest of {data['searched']:,} "
        f"interactions is {largest['value']:+.3g} (output {largest['output']}, inputs "
        f"{largest['first']} and {largest['second']}); {100 * data['skipped']:.1f} % were never "
        f"evaluated. Output {data['output']}: cross-interactions have the standard deviation "
        f"{cross['std']:.3g} and reach {cross['largest']:.3g}, those of the null {null['std']:.3g} "
        f"and {null['largest']:.3g}; {data['outside']} lie beyond all of the null. The sums over "
        f"pairs differ from the layer by {relative:.1e} at most. Of the pre-activations where "
        f"features are on, {_percent(share.get('pairs'))} come from pairs of features, "
        f"{_percent(share.get('linear'))} from single ones, {_percent(share.get('constant'))} "
        f"from constants and {_percent(share.get('error'))} from the dictionary's error."
    )
    return Comparison(
        measured=text,
        agrees=agrees,
        rule=(
            f"sums over pairs equal the layer to {EXACT:g}, and some cross-interactions exceed "
            f"every one of the matched null (undecided below width {DECIDING_WIDTH})"
        ),
        figures={
            "largest": largest["value"],
            "skipped": data["skipped"],
            "cross_std": cross["std"],
            "cross_largest": cross["largest"],
            "null_cross_largest": null["largest"],
            "outside": data["outside"],
            "relative_difference": relative,
            **{f"share_{part}": share.get(part) for part in PARTS},
        },
        lines=lines(
            Line("standard deviation of cross-interactions", ".004", "", f"{cross['std']:.3g}"),
            Line(
                "largest cross-interaction, in standard deviations (null)",
                "clearly outside",
                "",
                f"{_times(cross)} ({_times(null)})",
            ),
            Line("sum over pairs against the layer, relative", "", "", f"{relative:.1e}"),
            Line(
                "part of the pre-activations from pairs of features alone",
                "",
                "",
                _percent(share.get("pairs")),
            ),
            Line("interactions that the bounds spared", "", "", _percent(data["skipped"])),
        ),
    )


def _times(histogram: dict[str, Any]) -> str:
    return f"{histogram['largest'] / histogram['std']:.1f}" if histogram["std"] else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


EXPERIMENT = LanguageExperiment(
    name="interactions",
    title="Interactions of input features in an output feature",
    statement=(
        "The cross-interactions of an output feature spread with a standard deviation of .004; "
        "the largest lie clearly outside and form an AND."
    ),
    source=f"{PAPER} §3.1 and §5.1, figures 8A and 24A",
    settings=(*MODEL, *DICTIONARIES, "layer"),
    measure=measure,
    draw=draw,
    compare=compare,
)
