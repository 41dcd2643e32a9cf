"""The interactions experiment against brute force, on a layer between two dictionaries by hand."""

from __future__ import annotations

import copy
import dataclasses
import json
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language.interactions import EXPERIMENT, analyse
from tests.experiments.language.standin import P, Q, StandIn, stand_in

OUTPUT, SILENT = 9, 5
COUNT = 7


@cache
def layers() -> StandIn:
    """The stand-in; output 5 has by far the largest interactions but is never on."""
    made = stand_in(0)
    outputs = made.outputs
    encoder, bias = outputs.encoder.clone(), outputs.bias.clone()
    encoder[SILENT] *= 20
    bias[SILENT] = -1e4
    return dataclasses.replace(
        made, outputs=dataclasses.replace(outputs, encoder=encoder, bias=bias)
    )


@cache
def measured(output: int | None = OUTPUT) -> Measured:
    return analyse(layers(), output=output, count=COUNT)


@cache
def tensor() -> Tensor:
    """b̃ between features, all of it, in float64."""
    made = layers()
    decoder = made.inputs.decoder.double()
    left = decoder @ made.layer.left.weight.double().T
    right = decoder @ made.layer.right.weight.double().T
    weights = made.outputs.encoder.double() @ made.layer.out.weight.double()
    product = torch.einsum("an,bn,cn->abc", weights, left, right)
    return (product + product.mT) / 2


def largest(values: Tensor) -> list[float]:
    rows, columns = torch.triu_indices(P, P)
    found = values[..., rows, columns].flatten()
    return found[found.abs().argsort(descending=True)[:COUNT]].tolist()


def test_the_largest_interactions_of_outputs_that_are_ever_on() -> None:
    data = measured().data
    json.dumps(data, allow_nan=False)
    live = [a for a in range(Q) if a != SILENT]
    assert data["sampled"] == len(live)
    assert [row["value"] for row in data["top"]] == pytest.approx(largest(tensor()[live]), rel=1e-4)
    for row in data["top"]:
        assert tensor()[row["output"], row["first"], row["second"]] == pytest.approx(
            row["value"], rel=1e-4
        )
    assert data["searched"] == len(live) * P * (P + 1) // 2
    assert 0 <= data["skipped"] < 1
    assert [row["value"] for row in data["own"]] == pytest.approx(
        largest(tensor()[OUTPUT]), rel=1e-4
    )
    assert {row["output"] for row in data["own"]} == {OUTPUT}


def test_without_an_output_that_of_the_largest_interaction_is_shown() -> None:
    data = measured(None).data
    assert data["output"] == data["top"][0]["output"] != SILENT


def test_the_block_holds_the_features_of_the_largest_interactions() -> None:
    data = measured().data
    side = data["side"]
    asked = [feature for row in data["own"] for feature in (row["first"], row["second"])]
    assert side == list(dict.fromkeys(asked))[:12]
    expected = tensor()[OUTPUT][side][:, side]
    assert torch.allclose(torch.tensor(data["block_values"]).double(), expected, atol=1e-5)
    assert set(data["names"]["inputs"]) >= {str(feature) for feature in side}


def test_histograms_are_of_the_output() -> None:
    data = measured().data
    values = tensor()[OUTPUT]
    cross = 2 * values[*torch.triu_indices(P, P, 1)]
    found = data["histograms"]
    assert found["cross"]["std"] == pytest.approx(float(cross.std(correction=0)), rel=1e-4)
    assert found["cross"]["largest"] == pytest.approx(float(cross.abs().max()), rel=1e-4)
    own = values.diagonal()
    assert found["self_"]["std"] == pytest.approx(float(own.std(correction=0)), rel=1e-4)
    assert sum(found["self_"]["counts"]) == sum(found["null_self"]["counts"]) == P
    assert sum(found["cross"]["counts"]) == P * (P - 1) // 2
    assert data["outside"] == int((cross.abs() > found["null_cross"]["largest"]).sum())


def test_sums_over_pairs_are_exact() -> None:
    check = measured().data["check"]
    assert check["tokens"] == 256
    assert check["relative"] < 1e-8
    assert check["measured"] < 1e-4  # float32


def test_sums_show_text_of_another_layer() -> None:
    other = dataclasses.replace(layers(), y=stand_in(50).layer(layers().x))
    check = analyse(other, count=1).data["check"]
    assert check["relative"] < 1e-8 and check["measured"] > 0.5


def test_the_division_sums_to_one_and_follows_from_the_parts() -> None:
    made, division = layers(), measured().data["division"]
    for shares in division["shares"].values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    codes = made.encode(made.x).double()
    pairs = torch.einsum("abc,tb,tc->ta", tensor(), codes, codes)
    values, kept = made.measure(made.y)
    values = values.double()
    share = float((pairs * values)[kept].sum() / values[kept].square().sum())
    assert division["shares"]["all"]["pairs"] == pytest.approx(share, rel=1e-3)
    some = kept[:, OUTPUT]
    column = values[some, OUTPUT]
    share = float(pairs[some, OUTPUT] @ column / column.square().sum())
    assert division["shares"]["output"]["pairs"] == pytest.approx(share, rel=1e-3)
    bare = dataclasses.replace(made.inputs, bias=torch.zeros(made.x.shape[1]))
    error = made.x.double() - codes @ bare.decoder.double() - made.inputs.bias.double()
    exact = dataclasses.replace(made, x=(made.x.double() - error).float())
    exact = dataclasses.replace(exact, y=exact.layer(exact.x))
    assert division["kept"]["all"] == int(kept.sum())
    assert float(error.norm()) > 0  # the error's share is a real one
    assert abs(division["shares"]["all"]["error"]) > 1e-3


def doctored(**values: Any) -> Measured:
    return Measured(copy.deepcopy(measured().data) | {"width": 512, **values})


def test_verdict() -> None:
    decide = EXPERIMENT.compare
    check = measured().data["check"]
    assert decide(measured()).agrees is None
    assert decide(doctored(outside=1)).agrees is True
    assert decide(doctored(outside=0)).agrees is False
    wrong = {**check, "relative": 2e-6}
    assert decide(doctored(outside=1, check=wrong)).agrees is False
    assert decide(doctored(outside=1, check=wrong, width=64)).agrees is False
    rows = {row["quantity"]: row for row in decide(measured()).lines}
    row = rows["standard deviation of cross-interactions"]
    assert row["paper"] == ".004"
    assert float(row["ours"]) == pytest.approx(
        measured().data["histograms"]["cross"]["std"], rel=0.01
    )


def test_picture_shows_the_block_and_the_histograms() -> None:
    data = measured().data
    cross, block, self_, parts, _ = EXPERIMENT.draw(measured()).get_axes()
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in (cross, self_, parts))
    shown = torch.tensor(block.get_images()[0].get_array().tolist())
    assert torch.equal(shown, torch.tensor(data["block_values"]))
    ticks = [tick.get_text() for tick in block.get_yticklabels()]
    assert [int(tick.partition(":")[0]) for tick in ticks] == data["side"]
    heights = [bar.get_height() for bar in parts.patches[:4]]
    assert heights == pytest.approx([100 * v for v in data["division"]["shares"]["all"].values()])


def test_refusals() -> None:
    with pytest.raises(QuadricError, match=f"output: no feature {Q}, expected 0 to {Q - 1}"):
        analyse(layers(), output=Q)
    with pytest.raises(QuadricError, match="k is 0"):
        analyse(layers(), count=0)
    with pytest.raises(QuadricError, match="the layer is not bilinear"):
        analyse(stand_in(0, gate="gelu"))
