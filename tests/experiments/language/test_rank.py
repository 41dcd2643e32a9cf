"""The rank experiment against a float64 oracle, on a layer and dictionaries made by hand."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.language.rank import EXPERIMENT, SHOWN, analyse
from tests.experiments.language.standin import CONTEXTS, LENGTH, D, Q, StandIn, stand_in

RARE = 3
"""An output feature that is made to be on at a few tokens only."""


@cache
def layers() -> StandIn:
    made = stand_in(0)
    for shift in torch.linspace(0, 5, 100):
        bias = made.outputs.bias.clone()
        bias[RARE] -= shift
        found = dataclasses.replace(made, outputs=dataclasses.replace(made.outputs, bias=bias))
        if int(found.measure(found.y)[1][:, RARE].sum()) < 8:
            break
    return found


@cache
def measured() -> Measured:
    return analyse(layers())


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


@cache
def oracle(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every feature's approximation, value and whether it is on, at all tokens."""
    made = layers()
    layer = made.layer
    ones = torch.ones(len(made.x), 1)
    x = torch.cat([made.x, ones], dim=1).double()
    left = torch.cat([layer.left.weight, layer.left.bias[:, None]], dim=1).double()
    right = torch.cat([layer.right.weight, layer.right.bias[:, None]], dim=1).double()
    guesses = []
    for row in made.outputs.encoder.double() @ layer.out.weight.double():
        form = sum(c * torch.outer(w, v) for c, w, v in zip(row, left, right, strict=True))
        # The output bias is a constant, which the form on [x; 1] holds in its last entry.
        form = (form + form.T) / 2
        form[-1, -1] += made.outputs.encoder[len(guesses)].double() @ layer.out.bias.double()
        values, vectors = torch.linalg.eigh(form)
        kept = values.abs().argsort(descending=True)[:rank]
        guesses.append((x @ vectors[:, kept]).square() @ values[kept])
    values, on = made.measure(made.y)
    return torch.stack(guesses, dim=1), values.double(), on


def test_correlations_are_those_of_the_oracle() -> None:
    data, table = measured().data, measured().table
    json.dumps(data, allow_nan=False)
    assert len(table) == Q and [row["feature"] for row in table] == list(range(Q))
    for rank in (1, 2, 8):
        guesses, values, on = oracle(rank)
        for a in range(Q):
            if a == RARE:
                continue
            some = on[:, a]
            expected = correlation(guesses[some, a], values[some, a])
            assert table[a][f"active_{rank}"] == pytest.approx(expected, abs=1e-4)
            everywhere = correlation(guesses[:, a], values[:, a])
            assert table[a][f"everywhere_{rank}"] == pytest.approx(everywhere, abs=1e-4)
            assert table[a]["on"] == int(some.sum())


def test_only_features_that_are_on_often_enough_count() -> None:
    data, table = measured().data, measured().table
    assert 0 < table[RARE]["on"] < data["minimum"] == 10
    assert data["sampled"] == sum(row["on"] >= 10 for row in table) < Q
    for rank in (1, 2):
        found = [row[f"active_{rank}"] for row in table if row["on"] >= 10]
        assert data["curves"]["active"]["mean"][rank - 1] == pytest.approx(sum(found) / len(found))
        share = sum(value > 0.75 for value in found) / len(found)
        assert data["shares"]["active"][rank - 1] == pytest.approx(share)
        row = {line["minimum"]: line for line in data["sensitivity"][str(rank)]}[10]
        assert (row["features"], row["high"]) == (len(found), pytest.approx(share))
        low, median, high = (
            data["curves"]["active"][k][rank - 1] for k in ("low", "median", "high")
        )
        assert low < median < high
    assert [line["minimum"] for line in data["sensitivity"]["2"]] == [1, 5, 10, 50, 100, 500, 1000]
    for counts in (*data["histograms"]["active"], *data["histograms"]["null"]):
        assert sum(counts) == data["sampled"]


def test_full_rank_is_exact_and_random_frames_are_not() -> None:
    data = measured().data
    assert data["full_rank"] == data["check"]["rank"] == D + 1
    assert max(data["check"]["active"], data["check"]["everywhere"]) < 1e-9
    most = sorted(range(Q), key=lambda a: -measured().table[a]["on"])[:5]
    assert data["check"]["features"] == sorted(most)
    assert data["curves"]["active"]["mean"][-1] > 0.999
    assert data["curves"]["null"]["mean"][-1] < 0.5
    assert data["r2"][-1] > 0.999 and data["slope"][-1] == pytest.approx(1, abs=1e-2)
    assert data["r2"][0] < 0.9


def test_a_layer_of_another_model_fails_the_check() -> None:
    other = dataclasses.replace(layers(), layer=stand_in(50).layer)
    data = analyse(other).data
    assert data["check"]["active"] > 0.05
    enough = Measured({**data, "width": 512, "sampled": 200})
    assert EXPERIMENT.compare(enough).agrees is False


def test_the_scatter_is_of_the_median_feature() -> None:
    data, table = measured().data, measured().table
    scatter = data["scatter"]
    found = sorted(row["active_2"] for row in table if row["on"] >= 10)
    assert table[scatter["feature"]]["active_2"] == found[(len(found) - 1) // 2]
    guesses, values, on = oracle(2)
    column = scatter["feature"]
    pairs = torch.stack([guesses[:, column], values[:, column]], dim=1)
    shift = float(values[0, column] - oracle(D + 1)[0][0, column])  # constants of the dictionary
    pairs[:, 0] += shift
    for name, some in (("on", on[:, column]), ("off", ~on[:, column])):
        expected = pairs[some][:600]
        assert torch.allclose(torch.tensor(scatter[name]).double(), expected, atol=1e-3)


def test_fewer_contexts_are_fewer_tokens() -> None:
    assert measured().data["tokens"] == CONTEXTS * LENGTH
    assert analyse(layers(), contexts=2).data["tokens"] == 2 * LENGTH


def test_picture_shows_the_data() -> None:
    data = measured().data
    panels = EXPERIMENT.draw(measured()).get_axes()
    assert len(panels) == 4
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in panels)
    ticks = [tick.get_text() for tick in panels[0].get_xticklabels()]
    assert ticks == [str(rank) for rank in SHOWN if rank <= D + 1]
    curve = panels[1].get_lines()[0].get_ydata()
    assert list(curve) == data["curves"]["active"]["mean"]
    two = panels[2].get_lines()[1].get_ydata()
    expected = [100 * row["high"] for row in data["sensitivity"]["2"] if row["features"]]
    assert list(two) == pytest.approx(expected)


def doctored(**values: Any) -> Measured:
    data = {**measured().data, "width": 512, "sampled": 200, **values}
    return Measured(data)


def shares(active: float, null: float) -> dict[str, list[float]]:
    return {"active": [0.1, active], "null": [0.0, null], "everywhere": [0.0, 0.0]}


def test_verdict() -> None:
    decide = EXPERIMENT.compare
    assert decide(measured()).agrees is None
    assert decide(doctored(shares=shares(0.51, 0.1))).agrees is True
    assert decide(doctored(shares=shares(0.49, 0.1))).agrees is False
    assert decide(doctored(shares=shares(0.6, 0.7))).agrees is False
    assert decide(doctored(shares=shares(0.6, 0.1), sampled=99)).agrees is None
    assert decide(doctored(shares=shares(0.6, 0.1), width=255)).agrees is None
    bad = {**measured().data["check"], "everywhere": 2e-6}
    assert decide(doctored(shares=shares(0.6, 0.1), check=bad)).agrees is False


def test_table_has_paper_reproductions_and_ours() -> None:
    rows = {row["quantity"]: row for row in EXPERIMENT.compare(measured()).lines}
    row = rows["features above 0.75 with two eigenvectors"]
    assert row["paper"] == "69 %" and "45 % (fw-medium" in row["reproductions"]
    assert row["ours"] == f"{100 * measured().data['shares']['active'][1]:.0f} %"
    assert rows["mean correlation with one eigenvector, feature on"]["paper"] == ".67"


def test_refusals() -> None:
    with pytest.raises(QuadricError, match="the layer is not bilinear"):
        analyse(stand_in(0, gate="silu"))
    silent = dataclasses.replace(layers().outputs, bias=torch.full((Q,), -100.0))
    with pytest.raises(QuadricError, match="on at 10 of the 900 held-out tokens"):
        analyse(dataclasses.replace(layers(), outputs=silent))
