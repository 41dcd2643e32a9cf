"""The similarity experiment on classifiers of the digits."""

from __future__ import annotations

import copy
import json
from functools import cache

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.settings import QUICK, VisionSettings
from quadric.experiments.vision.similarity import EXPERIMENT, ORDERS, Options
from quadric.experiments.vision.truncation import EXPERIMENT as TRUNCATION
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    models = [digits_model(2), digits_model(0, 6), digits_model(0), digits_model(1)]
    return EXPERIMENT.analyse(models, Options(ranks=8))


def test_the_plan_shares_its_models_with_truncation() -> None:
    assert EXPERIMENT.plan(QUICK) == TRUNCATION.plan(QUICK)
    alone = EXPERIMENT.plan(VisionSettings(sizes="30", seeds=1))
    assert [recipe.fit.seed for recipe in alone] == [0, 1]  # one run has none to be like


def test_runs_share_eigenvectors_beyond_what_unrelated_ones_do() -> None:
    data = measured().data
    json.dumps(data, allow_nan=False)
    narrow, wide = data["sizes"]
    assert narrow["runs"] == 1 and narrow["orders"] == {}
    assert wide["runs"] == 3
    for by in ("pos", "neg"):
        found = wide["orders"][by]
        assert len(found["mean"]) == len(found["half"]) == 8
        assert found["mean"][0] > found["other_classes"][0] + 0.1 > data["floor"]
        assert found["mean"][0] > found["mean"][found["signed"] - 1]
    assert data["floor"] == pytest.approx(0.1, abs=0.001)


def test_published_average_counts_runs_with_themselves() -> None:
    for by in ORDERS:
        found = measured().data["sizes"][1]["orders"][by]
        for true, counted in zip(found["mean"], found["published"], strict=True):
            assert counted == pytest.approx((3 * true + 3) / 6, abs=1e-5)  # three of six pairs


def test_matching_and_spans_find_what_changed_places() -> None:
    sets = measured().data["sizes"][1]["sets"]
    assert sets["ordered"][0] == pytest.approx(sets["matched"][0], abs=1e-5)
    assert sets["ordered"][0] == pytest.approx(sets["subspace"][0], abs=1e-5)
    assert all(a >= b - 1e-6 for a, b in zip(sets["matched"], sets["ordered"], strict=True))
    assert sets["subspace"][-1] > sets["matched"][-1] > sets["ordered"][-1] + 0.05


def test_sizes_are_compared_without_meeting_themselves() -> None:
    data = measured().data
    assert data["reference"] == "12"
    for by in ORDERS:
        (nobody, small), (again, large) = data["top"][by]
        assert nobody is None and small == again
        assert large == data["sizes"][1]["orders"][by]["mean"][0]
        narrow, wide = data["against"][by]
        assert narrow["mean"][0] == small and len(narrow["mean"]) == 6
        assert narrow["half"] is None  # one run on one side
        assert wide["mean"] == data["sizes"][1]["orders"][by]["mean"]


def test_order_of_models_does_not_matter() -> None:
    models = [digits_model(1), digits_model(0), digits_model(2), digits_model(0, 6)]
    again = EXPERIMENT.analyse(models, Options(ranks=8)).data
    for by in ORDERS:
        one, other = (d["sizes"][1]["orders"][by] for d in (again, measured().data))
        assert one["mean"] == pytest.approx(other["mean"], abs=1e-5)
        assert one["half"] == pytest.approx(other["half"], abs=1e-5)


def test_picture_with_and_without_pairs() -> None:
    lonely = EXPERIMENT.analyse([digits_model(0), digits_model(0, 6)], Options(ranks=3))
    for found in (measured(), lonely):
        panels = EXPERIMENT.draw(found).get_axes()
        assert len(panels) == 6
        assert all(panel.get_title() and panel.get_xlabel() for panel in panels)
    same = EXPERIMENT.draw(measured()).get_axes()[0]
    assert (
        list(same.get_lines()[0].get_ydata())
        == measured().data["sizes"][1]["orders"]["abs"]["mean"]
    )


def with_tops(*tops: float, other: float = 0.2, dataset: str = "mnist") -> Measured:
    """Measured data of sizes 30, 100, 300 whose most negative eigenvectors are this alike."""
    base = measured().data
    sizes = []
    for width, top in zip((30, 100, 300), tops, strict=False):
        size = copy.deepcopy(base["sizes"][1]) | {"size": str(width), "width": width}
        for by in ORDERS:
            size["orders"][by]["mean"][0] = top if by == "neg" else other
            size["orders"][by]["half"][0] = 0.05
        sizes.append(size)
    matrix = {by: [[0.5] * len(sizes)] * len(sizes) for by in ORDERS}
    return Measured(base | {"sizes": sizes, "top": matrix, "dataset": dataset})


def test_verdict_follows_the_similarities() -> None:
    assert EXPERIMENT.compare(with_tops(0.8, 0.82, 0.9)).agrees is True
    assert EXPERIMENT.compare(with_tops(0.9, 0.85, 0.84)).agrees is False
    assert EXPERIMENT.compare(with_tops(0.9, 0.85, 0.86)).agrees is True  # within the intervals
    assert EXPERIMENT.compare(with_tops(0.79, 0.85, 0.9)).agrees is False
    # One size says nothing of growth, and can only contradict.
    assert EXPERIMENT.compare(with_tops(0.9)).agrees is None
    assert EXPERIMENT.compare(with_tops(0.7)).agrees is False
    lonely = EXPERIMENT.analyse([digits_model(0), digits_model(0, 6)], Options(ranks=3))
    found = EXPERIMENT.compare(lonely)
    assert found.agrees is None and "one run of each size" in found.measured
    pair = EXPERIMENT.analyse([digits_model(0), digits_model(1)], Options(ranks=3))
    assert EXPERIMENT.compare(pair).lines


def test_table_shows_both_averages() -> None:
    rows = EXPERIMENT.compare(with_tops(0.7, 0.8, 0.88)).lines
    assert rows[0]["paper"] == "0.8–0.9" and rows[0]["reproductions"] == "0.82"
    assert rows[0]["ours"] == "0.80"  # (5·1 + 10·0.7)/15
    assert rows[1]["reproductions"] == "0.73" and rows[1]["ours"].startswith("0.70")
    assert rows[-1]["reproductions"] == "0.40 (30 and 1000), 0.85 (500 and 1000)"
    elsewhere = EXPERIMENT.compare(with_tops(0.7, 0.8, dataset="fashion-mnist")).lines
    assert not any(row["reproductions"] for row in elsewhere)


def test_bad_options_and_models() -> None:
    with pytest.raises(QuadricError, match="ranks is 0"):
        Options(ranks=0)
    with pytest.raises(QuadricError, match="two models or more"):
        EXPERIMENT.analyse([digits_model(0)], Options())
    models = [digits_model(0), digits_model(0, 6)]
    with pytest.raises(QuadricError, match="reference is '300', expected a size of 6, 12"):
        EXPERIMENT.analyse(models, Options(reference="300"))
    assert EXPERIMENT.analyse(models, Options(ranks=2, reference="6")).data["reference"] == "6"
