"""Circuits of a bilinear MLP: output features that read the product of two directions.

    quadric lm circuits MODEL DICTIONARIES

Output features are ranked by two eigenvalues of opposite sign that stand out of their spectrum, and
the input features nearest to the pair's arms are shown with the tokens at which they are largest:
the two kinds of input of an AND, such as a negation and a sentiment (arXiv 2410.08417 §5.1,
figures 8 and 24). The search proves itself on circuits planted in noise, which must come out first.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.circuits import draw
from quadric.experiments.language.planted import limits, recovered
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
from quadric.language.circuits import Circuit, Geometry, Score, circuit_geometry, find_circuits
from quadric.language.dictionaries import OutputDictionary
from quadric.language.low_rank import CorrelationSums, LowRank

if TYPE_CHECKING:
    from quadric.experiments.language.settings import LanguageSettings
    from quadric.experiments.language.workshop import Workshop
    from quadric.language.features import LayerDictionaries

COUNT = 10
"""Circuits that are shown."""
NEAREST = 12
"""Input features that are shown of each."""
PLANTED = 5
"""Planted circuits, one a seed."""
CORRELATED = 0.5
"""From here on two eigenvectors say something about when a feature is on."""


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """The circuits of the settings' model, trained first where it is missing."""
    return analyse(open_layer(settings, workshop))


def analyse(
    layers: LayerDictionaries,
    contexts: int = CONTEXTS,
    count: int = COUNT,
    by: Score = "gap",
) -> Measured:
    """The circuits among the output features that are on often enough, and the planted ones.

    Args:
        layers: the layer and its dictionaries.
        contexts: of the held-out text, to name features and to correlate.
        count: how many circuits to show, at most.
        by: how they are ranked.

    Raises:
        QuadricError: the layer is not bilinear, no feature is on often enough, or ``count`` or
            ``by`` is wrong.
    """
    if count < 1:
        raise QuadricError(f"count is {count}, expected 1 or more")
    text = list(layers.tokens(contexts))
    read = usage(layers, text)
    sampled = read.sampled()
    found = _search(layers, sampled, min(count, len(sampled)), by)
    pair, cosine = _opposite(layers.readers[1].decoder, sampled)
    opposite = _search(layers, pair, 2, by)
    features = [circuit.feature for circuit in (*found, *opposite)]
    nearest = min(NEAREST, len(layers.inputs.decoder))
    geometry = [circuit_geometry(circuit, layers.inputs, nearest) for circuit in found]
    inputs = torch.unique(torch.cat([shown.features for shown in geometry]))
    vocabulary = len(layers.language.tokenizer)
    named_in, named_out = Peaks(len(inputs), vocabulary), Peaks(len(features), vocabulary)
    sums = CorrelationSums(_pairs([*found, *opposite]))
    for batch in text:
        values, kept = layers.measure(batch.y)
        sums.update(batch.x, values[:, features], kept[:, features])
        named_in.update(batch.ids, layers.encode(batch.x)[:, inputs])
        named_out.update(batch.ids, values[:, features])
    tokenizer = layers.language.tokenizer
    reads = dict(zip(inputs.tolist(), named_in.names(tokenizer), strict=True))
    active, everywhere = sums.active().pearson[:, -1], sums.everywhere().pearson[:, -1]
    shown = [
        {
            **_circuit(circuit),
            "tokens": tokens,
            "on": int(read.on[circuit.feature]),
            "correlation_on": rounded(float(on)),
            "correlation_all": rounded(float(always)),
        }
        for circuit, tokens, on, always in zip(
            [*found, *opposite], named_out.names(tokenizer), active, everywhere, strict=True
        )
    ]
    for entry, place in zip(shown, geometry, strict=False):
        entry["pairs"] = listed(place.pairs)
        entry["inputs"] = _inputs(place, reads)
    width = layers.layer.left.in_features
    return Measured(
        {
            "model": layers.language.name,
            "block": layers.block,
            "width": width,
            "features": len(read.on),
            "sampled": len(sampled),
            "minimum": WELL_SAMPLED,
            "tokens": read.tokens,
            "by": by,
            "circuits": shown[: len(found)],
            "spectrum": listed(_spectrum(layers, found[0].feature)),
            "opposite": {"cosine": rounded(cosine), "features": shown[len(found) :]},
            "planted": [recovered(seed, by) for seed in range(PLANTED)],
            "limits": limits(PLANTED, by),
        }
    )


def _search(
    layers: LayerDictionaries, features: Int[Tensor, "s"], count: int, by: Score
) -> list[Circuit]:
    """Circuits among some features, under the features' own numbers."""
    some = OutputDictionary(layers.outputs.encoder[features])
    return [
        dataclasses.replace(circuit, feature=int(features[circuit.feature]))
        for circuit in find_circuits(layers.layer, some, count, by)
    ]


def _opposite(
    decoder: Float[Tensor, "q m"], sampled: Int[Tensor, "s"]
) -> tuple[Int[Tensor, "2"], float]:
    """The two output features that write most nearly opposite directions, and their cosine."""
    unit = torch.nn.functional.normalize(decoder[sampled].float(), dim=1)
    cosines = unit @ unit.T
    place = int(cosines.argmin())
    pair = torch.tensor([place // len(sampled), place % len(sampled)])
    return sampled[pair], float(cosines.flatten()[place])


def _pairs(circuits: list[Circuit]) -> LowRank:
    """The two eigen-terms of every circuit, as approximations of its feature."""
    vectors = torch.stack([circuit.vectors for circuit in circuits])
    values = vectors.new_tensor([[circuit.positive, circuit.negative] for circuit in circuits])
    return LowRank(values, vectors, vectors.new_zeros(len(circuits)), lifted=False)


def _spectrum(layers: LayerDictionaries, feature: int) -> Float[Tensor, "d"]:
    """All eigenvalues of a feature's quadratic part, ascending."""
    forms = layers.outputs.read(layers.layer).forms
    unit = forms.left.new_zeros(forms.m)
    unit[feature] = 1
    width = layers.layer.left.in_features
    values: Tensor = torch.linalg.eigvalsh(forms.interaction(unit)[:width, :width].double())
    return values


def _circuit(circuit: Circuit) -> dict[str, Any]:
    names = ("positive", "negative", "rest", "gap", "strength", "balance")
    found = {name: rounded(getattr(circuit, name)) for name in names}
    return {"feature": circuit.feature, **found}


def _inputs(geometry: Geometry, names: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "feature": feature,
            "cosines": listed(geometry.cosines[row]),
            "arms": listed(geometry.arms[row]),
            "arm": int(geometry.arm[row]),
            "tokens": names[feature],
        }
        for row, feature in enumerate(geometry.features.tolist())
    ]


def compare(measured: Measured) -> Comparison:
    """Whether planted circuits come first and a real one stands out and says when it is on."""
    data = measured.data
    first, planted = data["circuits"][0], data["planted"]
    ranks = [found["rank"] for found in planted]
    recovered_all = all(
        found["rank"] == 1 and found["arms_first"] and found["opposite_arms"] for found in planted
    )
    on = first["correlation_on"]
    real = first["gap"] > 0 and on is not None and on > CORRELATED
    agrees: bool | None = real and recovered_all
    if recovered_all and data["width"] < DECIDING_WIDTH:
        agrees = None
    standing = sum(circuit["gap"] > 0 for circuit in data["circuits"])
    cosine = data["opposite"]["cosine"]
    text = (
        f"Planted circuits come out at ranks {', '.join(map(str, ranks))} of "
        f"{planted[0]['features']}. In block {data['block']} of {data['model']}, feature "
        f"{first['feature']} of {data['sampled']} well-sampled ones has the eigenvalues "
        f"{first['positive']:+.3g} and {first['negative']:+.3g}, the others at most "
        f"{first['rest']:.3g}; its two eigenvectors correlate {_number(on)} with it where it is "
        f"on. {standing} of {len(data['circuits'])} shown stand out. The most opposite features "
        f"have a decoder cosine of {cosine:+.3f}."
    )
    return Comparison(
        measured=text,
        agrees=agrees,
        rule=(
            "every planted circuit comes first, with its inputs on opposite arms; and the first "
            f"real one stands out of its spectrum and correlates above {CORRELATED:g} where it is "
            f"on (undecided below width {DECIDING_WIDTH})"
        ),
        figures={
            "planted_first": sum(rank == 1 for rank in ranks),
            "planted": len(ranks),
            "positive": first["positive"],
            "negative": first["negative"],
            "rest": first["rest"],
            "balance": first["balance"],
            "correlation_on": on,
            "correlation_all": first["correlation_all"],
            "opposite_cosine": cosine,
        },
        lines=lines(
            Line(
                "outlying eigenvalues of the first circuit",
                "+.62, −.66",
                "",
                f"{first['positive']:+.3g}, {first['negative']:+.3g} (rest {first['rest']:.2g})",
            ),
            Line(
                "correlation of its two eigenvectors, feature on",
                ".66 (.76 at large activations)",
                "",
                _number(on),
            ),
            Line(
                "most opposite decoder rows of two output features, cosine",
                "−.975",
                "−.73 and −.16 (fw-medium, script and abstract)",
                f"{cosine:+.3f}",
            ),
            Line(
                "planted circuits that come out first",
                "",
                "",
                f"{sum(rank == 1 for rank in ranks)} of {len(ranks)}",
            ),
            *(
                Line(
                    f"the same, noise eigenvalues up to {level['rest']:.2f} beside ±.64",
                    "",
                    "",
                    f"{level['first']} of {level['seeds']}",
                )
                for level in data["limits"]
            ),
            Line(
                "eigenvalues of a planted circuit",
                "±.64 without noise",
                "",
                f"{planted[0]['positive']:+.3g}, {planted[0]['negative']:+.3g} "
                f"(rest {planted[0]['rest']:.2g})",
            ),
        ),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


EXPERIMENT = LanguageExperiment(
    name="circuits",
    title="Circuits by two outlying eigenvalues of opposite sign",
    statement=(
        "An output feature that flips a negated sentiment has one large positive and one large "
        "negative eigenvalue (.62 and −.66), whose eigenvectors correlate .66 with it where it is "
        "on; negation and sentiment features lie on the diagonals of their plane. Its opposite "
        "has a decoder cosine of −.975."
    ),
    source=f"{PAPER} §5.1, figures 8 and 24",
    settings=(*MODEL, *DICTIONARIES, "layer"),
    measure=measure,
    draw=draw,
    compare=compare,
)
