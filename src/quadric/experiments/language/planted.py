"""A circuit planted in a layer, hidden, and searched for: what ``find_circuits`` must find.

One neuron c(n·x)(s·x) with orthonormal n and s is written to one output feature. It is hidden among
noise neurons that every feature reads, in a random basis, with its neurons shuffled and rescaled,
and read by an overcomplete dictionary two of whose many features are n and s. The neuron alone has
the eigenvalues ±c/2, with eigenvectors (n ± s)/√2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from quadric.experiments.language.reading import listed, rounded
from quadric.forms import BilinearTensor
from quadric.language import (
    InputDictionary,
    OutputDictionary,
    circuit_geometry,
    find_circuits,
)
from quadric.language.circuits import Score

INPUTS, NEURONS, OUTPUTS = 32, 160, 48
"""Sizes of the layer."""
FEATURES_IN, FEATURES_OUT = 128, 96
"""Sizes of the dictionaries around it."""
WEIGHT = 1.28
"""c: the difference of the published eigenvalues, .62 and −.66."""
NOISE = 1.2
"""Weight of the noise neurons; at 1.2 their largest eigenvalues are half of the circuit's."""
LEVELS = (0.6, 1.2, 1.8, 2.4, 3.6)
"""Weights of the noise at which it is asked how often the circuit still comes first."""


class Planted(NamedTuple):
    """A layer with one circuit in it, and where the circuit is."""

    layer: BilinearTensor
    inputs: InputDictionary
    outputs: OutputDictionary
    feature: int
    """The output feature that it is written to."""
    arms: tuple[int, int]
    """The input features that it reads."""


def plant(seed: int, *, weight: float = WEIGHT, level: float = NOISE) -> Planted:
    """A layer that differs with the seed in everything, the circuit's place included."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    turn = torch.linalg.qr(noise(INPUTS, INPUTS)).Q
    left, right = noise(NEURONS, INPUTS) / INPUTS**0.5, noise(NEURONS, INPUTS) / INPUTS**0.5
    left[0], right[0] = turn[0], turn[1]
    scales = torch.exp(noise(NEURONS, 1))
    shuffle = torch.randperm(NEURONS, generator=generator)
    encoder = normalize(noise(FEATURES_OUT, OUTPUTS), dim=1)
    feature = int(torch.randint(FEATURES_OUT, (), generator=generator))
    out = level * noise(OUTPUTS, NEURONS) / NEURONS**0.5
    out[:, 0] = weight * encoder[feature]
    decoder = normalize(noise(FEATURES_IN, INPUTS), dim=1)
    first, second = torch.randperm(FEATURES_IN, generator=generator)[:2].tolist()
    decoder[first], decoder[second] = turn[0], turn[1]
    layer = BilinearTensor((left * scales)[shuffle], (right / scales)[shuffle], out[:, shuffle])
    return Planted(
        layer, InputDictionary(decoder), OutputDictionary(encoder), feature, (first, second)
    )


def recovered(seed: int, by: Score = "gap", level: float = NOISE) -> dict[str, Any]:
    """Where the search puts the planted circuit of a seed, as JSON values.

    ``next`` is the best score of any other feature, ``bare`` that of the layer without the circuit.
    """
    made = plant(seed, level=level)
    found = find_circuits(made.layer, made.outputs, FEATURES_OUT, by)
    order = [circuit.feature for circuit in found]
    circuit = found[order.index(made.feature)]
    shown = circuit_geometry(circuit, made.inputs, FEATURES_IN)
    places = shown.features.tolist()
    arms = [places.index(feature) for feature in made.arms]
    bare = plant(seed, weight=0.0, level=level)
    return {
        "seed": seed,
        "rank": order.index(made.feature) + 1,
        "features": FEATURES_OUT,
        "positive": rounded(circuit.positive),
        "negative": rounded(circuit.negative),
        "rest": rounded(circuit.rest),
        by: rounded(getattr(circuit, by)),
        "next": max(rounded(getattr(other, by)) or 0.0 for other in found if other is not circuit),
        "bare": rounded(getattr(find_circuits(bare.layer, bare.outputs, 1, by)[0], by)),
        "arms_first": sorted(places[:2]) == sorted(made.arms),
        "opposite_arms": bool(shown.arm[arms[0]] != shown.arm[arms[1]]),
        "arms": [
            {"cosines": listed(shown.cosines[row]), "arm": int(shown.arm[row])} for row in arms
        ],
        "others": [listed(pair) for row, pair in enumerate(shown.cosines) if row not in arms],
    }


def limits(seeds: int, by: Score = "gap") -> list[dict[str, Any]]:
    """At every level of noise, how often the circuit is first and how large the noise is."""
    found = []
    for level in LEVELS:
        first, rest = 0, 0.0
        for seed in range(seeds):
            made = plant(seed, level=level)
            first += find_circuits(made.layer, made.outputs, 1, by)[0].feature == made.feature
            alone = OutputDictionary(made.outputs.encoder[[made.feature]])
            rest += find_circuits(made.layer, alone, 1, by)[0].rest / seeds
        found.append({"level": level, "seeds": seeds, "first": first, "rest": rounded(rest)})
    return found
