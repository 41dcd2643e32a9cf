"""The circuits experiment: planted circuits first, and a circuit built into a layer with text."""

from __future__ import annotations

import copy
import dataclasses
import json
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language import circuits
from quadric.experiments.language.circuits import EXPERIMENT, analyse
from quadric.experiments.language.figures.circuits import draw
from quadric.experiments.language.planted import plant, recovered
from quadric.experiments.language.reading import label, shown
from tests.experiments.language.standin import D, Q, StandIn, stand_in

FEATURE, ARMS, WEIGHT = 7, (4, 21), 3.0
DEAF, PAIR = 11, (3, 19)
"""An output feature with a stronger circuit that is never on; two that are opposite."""


@cache
def layers() -> StandIn:
    """The stand-in with one neuron 3(n·x)(s·x) written to output feature 7, and 11 deaf."""
    made = stand_in(0, bias=True)
    layer = copy.deepcopy(made.layer)
    decoder = made.inputs.decoder.clone()
    turn = torch.linalg.qr(decoder[list(ARMS)].T).Q.T
    decoder[list(ARMS)] = turn
    for factor in (layer.left, layer.right, layer.out):
        factor.weight.mul_(0.4)
    layer.left.weight[0], layer.right.weight[0] = turn[0], turn[1]
    layer.left.bias[0] = layer.right.bias[0] = 0
    layer.out.weight[:, 0] = WEIGHT * made.outputs.encoder[FEATURE]
    encoder, bias = made.outputs.encoder.clone(), made.outputs.bias.clone()
    encoder[DEAF], bias[DEAF] = 3 * encoder[FEATURE], -1000.0
    written = made.readers[1].decoder.clone()
    written[PAIR[1]] = -2 * written[PAIR[0]] + 0.05
    y = layer(made.x)
    outputs = dataclasses.replace(made.outputs, encoder=encoder, bias=bias, centre=y.mean(dim=0))
    return dataclasses.replace(
        made, layer=layer, y=y, outputs=outputs,
        inputs=dataclasses.replace(made.inputs, decoder=decoder),
        readers=(None, SimpleNamespace(decoder=written)),
    )  # fmt: skip


@cache
def measured() -> Measured:
    return analyse(layers(), count=4)


@pytest.mark.parametrize("by", ["gap", "strength"])
@pytest.mark.parametrize("seed", [11, 12])
def test_planted_circuits_come_first(seed: int, by: Any) -> None:
    found = recovered(seed, by)
    assert found["rank"] == 1 and found["arms_first"] and found["opposite_arms"]
    assert found[by] > 1.5 * found["next"]
    assert found["positive"] > 1.5 * found["rest"] < -1.5 * found["negative"] / 0.9
    for arm in found["arms"]:
        assert min(map(abs, arm["cosines"])) > 0.5
    made = plant(seed)
    assert len(made.inputs.decoder) > made.layer.d  # overcomplete
    assert plant(seed + 1).feature != made.feature or plant(seed + 1).arms != made.arms


def test_without_the_neuron_the_feature_is_lost_in_the_noise() -> None:
    found = [recovered(seed, level=6.0) for seed in range(2)]
    assert any(run["rank"] > 1 for run in found)
    # What is left without the circuit scores like any other feature.
    one = recovered(0)
    assert one["bare"] < 0.6 * one["gap"]


def test_a_circuit_in_a_layer_with_text_comes_first() -> None:
    data = measured().data
    json.dumps(data, allow_nan=False)
    first = data["circuits"][0]
    assert first["feature"] == FEATURE
    assert first["positive"] == pytest.approx(WEIGHT / 2, rel=0.15)
    assert first["negative"] == pytest.approx(-WEIGHT / 2, rel=0.15)
    assert {entry["feature"] for entry in first["inputs"][:2]} == set(ARMS)
    assert first["inputs"][0]["arm"] != first["inputs"][1]["arm"]
    assert abs(first["pairs"][0][1]) > 0.8 * WEIGHT / 2
    assert max(abs(first["pairs"][i][i]) for i in range(2)) < 0.25
    assert [entry["feature"] for entry in data["circuits"]].count(DEAF) == 0
    spectrum = data["spectrum"]
    assert len(spectrum) == D and spectrum == sorted(spectrum)
    assert spectrum[-1] == pytest.approx(first["positive"], rel=1e-4)
    assert spectrum[0] == pytest.approx(first["negative"], rel=1e-4)
    assert max(-spectrum[1], spectrum[-2]) == pytest.approx(first["rest"], rel=1e-3)


def test_features_are_named_by_the_tokens_of_their_largest_values() -> None:
    made, data = layers(), measured().data
    ids, codes = made.ids(made.x), made.encode(made.x)
    values, on = made.measure(made.y)
    words = made.language.tokenizer

    def expected(column: Tensor) -> list[dict[str, Any]]:
        largest: dict[int, float] = {}
        for token, value in zip(ids.tolist(), column.tolist(), strict=True):
            largest[token] = max(value, largest.get(token, value))
        best = sorted(largest.items(), key=lambda item: -item[1])[:6]
        return [
            {"token": words.decode([token]), "value": pytest.approx(value, rel=1e-4)}
            for token, value in best
            if value > 0
        ]

    for entry in data["circuits"]:
        assert entry["tokens"] == expected(values[:, entry["feature"]])
        assert entry["on"] == int(on[:, entry["feature"]].sum())
        for feature in entry["inputs"]:
            assert feature["tokens"] == expected(codes[:, feature["feature"]])


def test_two_terms_are_correlated_with_the_measured_feature() -> None:
    made, first = layers(), measured().data["circuits"][0]
    values, on = made.measure(made.y)
    left = made.layer.left.weight.double()
    weights = (made.outputs.encoder[FEATURE] @ made.layer.out.weight).double()
    form = left.T @ (weights[:, None] * made.layer.right.weight.double())
    found, vectors = torch.linalg.eigh((form + form.T) / 2)
    ends = [0, -1]
    guess = (made.x.double() @ vectors[:, ends]).square() @ found[ends]
    for key, some in (
        ("correlation_on", on[:, FEATURE]),
        ("correlation_all", on[:, FEATURE] | True),
    ):
        pair = torch.stack([guess[some], values[some, FEATURE].double()])
        assert first[key] == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-4)
    assert first["correlation_on"] > 0.9


def test_the_most_opposite_pair_is_found() -> None:
    opposite = measured().data["opposite"]
    assert {entry["feature"] for entry in opposite["features"]} == set(PAIR)
    written = layers().readers[1].decoder.double()
    one, other = written[PAIR[0]], written[PAIR[1]]
    cosine = float(one @ other / (one.norm() * other.norm()))
    assert opposite["cosine"] == pytest.approx(cosine, abs=1e-5) and cosine < -0.9
    strongest = {entry["feature"]: entry["positive"] for entry in opposite["features"]}
    assert all(value > 0 for value in strongest.values())


def doctored(planted: dict[str, Any] | None = None, **first: Any) -> Measured:
    data = copy.deepcopy(measured().data) | {"width": 512}
    data["circuits"][0] |= first
    data["planted"][1] |= planted or {}
    return Measured(data)


def test_verdict() -> None:
    decide = EXPERIMENT.compare
    assert decide(measured()).agrees is None
    assert decide(doctored()).agrees is True
    assert decide(doctored(gap=-0.01)).agrees is False
    assert decide(doctored(correlation_on=0.4)).agrees is False
    assert decide(doctored(correlation_on=None)).agrees is False
    for wrong in ({"rank": 2}, {"arms_first": False}, {"opposite_arms": False}):
        assert decide(doctored(wrong)).agrees is False
        narrow = Measured(doctored(wrong).data | {"width": 64})
        assert decide(narrow).agrees is False  # the planted ones need no large model
    rows = decide(measured()).lines
    assert any("−.975" in row["paper"] for row in rows)
    assert any(row["ours"] == "5 of 5" for row in rows)


def test_picture_shows_the_circuits() -> None:
    data = measured().data
    panels = draw(measured()).get_axes()
    assert len(panels) == 4
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in panels)
    names = [tick.get_text() for tick in panels[0].get_yticklabels()]
    assert [int(name.partition(":")[0]) for name in names] == [
        entry["feature"] for entry in data["circuits"]
    ]
    texts = {text.get_text() for text in panels[2].texts}
    assert {label(f["feature"], f["tokens"]) for f in data["circuits"][0]["inputs"]} == texts


def test_tokens_are_safe_to_draw() -> None:
    assert shown(" $a_b$") == r"\$a_b\$"
    assert (shown("\n"), shown("  "), shown("a\nb"), shown("\x00")) == ("↵", "␣", "a↵b", "/x00")
    names = [{"token": token, "value": 1.0} for token in (" not", "not", " $")]
    assert label(5, names) == r"5: not \$"
    assert label(5, []) == "5"


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuadricError, match="count is 0, expected 1 or more"):
        analyse(layers(), count=0)
    with pytest.raises(QuadricError, match=r"by is 'gaps'.*gap"):
        analyse(layers(), by="gaps")  # type: ignore[arg-type]
    with pytest.raises(QuadricError, match="the layer is not bilinear"):
        analyse(stand_in(0, gate="relu"))
    monkeypatch.setattr(circuits, "PLANTED", 1)
    assert len(analyse(layers(), count=1000).data["circuits"]) == measured().data["sampled"] < Q
