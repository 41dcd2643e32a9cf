"""The truncation experiment on classifiers of the digits."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.experiments.vision.truncation import EXPERIMENT, Options
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    models = [digits_model(0), digits_model(0, 6), digits_model(1)]
    return EXPERIMENT.analyse(models, Options())


def test_the_plan_has_every_size_with_every_seed() -> None:
    planned = EXPERIMENT.plan(QUICK)
    found = {(recipe.classifier.d_embed, recipe.fit.seed) for recipe in planned}
    assert found == {(width, seed) for width in (8, 16, 32) for seed in range(3)}
    assert planned[0] == QUICK.recipe(seed=0, width=8)
    assert len(EXPERIMENT.plan(FULL)) == 9


def test_errors_of_the_digits() -> None:
    data = measured().data
    json.dumps(data, allow_nan=False)
    narrow, wide = data["sizes"]
    assert (narrow["size"], narrow["runs"], wide["size"], wide["runs"]) == ("6", 1, "12", 2)
    whole = 1 - (digits_model(0).test_accuracy + digits_model(1).test_accuracy) / 2
    assert wide["error"][-1] == pytest.approx(whole, abs=1e-5)
    labels = digits_model(0).data().test.labels
    assert wide["error"][0] == pytest.approx(float((labels != 0).double().mean()), abs=1e-5)
    assert narrow["half"] is None and len(wide["half"]) == len(wide["error"]) == 13


def test_leading_eigenvectors_carry_the_classes_and_others_do_not() -> None:
    for size in measured().data["sizes"]:
        # With half of the eigenvectors the error is near the whole model's …
        half = size["width"] // 2
        assert size["error"][half] < size["error"][-1] + 0.05
        # … and far from it with as many random or small ones.
        assert size["random"][half] > size["error"][half] + 0.2
        assert size["smallest"][half] > 0.7
        assert max(size["first"]) <= max(size["lasting"]) <= size["width"]


def test_no_image_exceeds_the_bound() -> None:
    for size in measured().data["sizes"]:
        pairs = list(zip(size["worst"], size["bound"], strict=True))
        assert all(worst <= bound * (1 + 1e-5) for worst, bound in pairs)
        assert pairs[-1] == (0, 0)
        assert size["worst"][0] > 0.02 * size["bound"][0]  # nor is the bound idle


def test_needed_follows_the_tolerance() -> None:
    wide = EXPERIMENT.analyse([digits_model(0)], Options(tolerance=100)).data["sizes"][0]
    assert wide["first"] == wide["lasting"] == [0]
    strict = measured().data["sizes"][1]["first"][0]
    loose = EXPERIMENT.analyse([digits_model(0)], Options(tolerance=5)).data["sizes"][0]
    assert 0 < loose["first"][0] <= strict


def test_picture_has_its_four_panels() -> None:
    for found in (measured(), EXPERIMENT.analyse([digits_model(0, 6)], Options(space="input"))):
        panels = EXPERIMENT.draw(found).get_axes()
        assert len(panels) == 4
        assert all(panel.get_xlabel() and panel.get_ylabel() for panel in panels)
        curve = panels[0].get_lines()[0].get_ydata()
        assert curve[0] == pytest.approx(100 * found.data["sizes"][0]["error"][0])


def with_errors(*errors: tuple[int, list[float]], dataset: str = "mnist") -> Measured:
    """Measured data of sizes 30, 100 … with these errors, continued by their last."""
    sizes: list[dict[str, Any]] = []
    for width, start in errors:
        size = copy.deepcopy(measured().data["sizes"][0])
        size |= {"size": str(width), "width": width, "first": [3], "lasting": [4]}
        size["error"] = start + [start[-1]] * (width + 1 - len(start))
        sizes.append(size)
    return Measured(measured().data | {"sizes": sizes, "dataset": dataset})


def test_verdict_follows_the_errors_with_ten() -> None:
    good, bad = [0.9] * 10 + [0.0209, 0.02], [0.9] * 10 + [0.0211, 0.02]
    assert EXPERIMENT.compare(with_errors((30, good))).agrees is True
    assert EXPERIMENT.compare(with_errors((30, good), (100, bad))).agrees is False
    # Ten of ten or fewer are no truncation.
    small = EXPERIMENT.compare(with_errors((10, [0.9, 0.5, 0.1])))
    assert small.agrees is None and "size 10" in small.measured
    mixed = EXPERIMENT.compare(with_errors((10, [0.9, 0.5, 0.1]), (30, good)))
    assert mixed.agrees is True
    assert mixed.figures["lost_with_10_10"] is None
    assert mixed.figures["lost_with_10_30"] == pytest.approx(0.0009)


def test_table_has_the_reproduction_only_where_it_is_comparable() -> None:
    errors = [0.9] * 10 + [0.03, 0.02]
    rows = EXPERIMENT.compare(with_errors((300, errors))).lines
    found = {row["quantity"]: row for row in rows}
    ten = found["error with 10 eigenvectors per class, size 300"]
    assert (ten["reproductions"], ten["ours"]) == ("", "3.0 %")
    assert found["error with 30 eigenvectors per class, size 300"]["reproductions"] == "1.8 %"
    needed = "eigenvectors per class for the whole model's error + 0.1 point, size 300"
    assert (found[needed]["reproductions"], found[needed]["ours"]) == ("20", "3")
    elsewhere = EXPERIMENT.compare(with_errors((300, errors), dataset="fashion-mnist")).lines
    assert len(elsewhere) == len(rows) and not any(row["reproductions"] for row in elsewhere)


def test_bad_options_and_models() -> None:
    for values, message in (
        ({"tolerance": -0.1}, "tolerance is -0.1"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"draws": 0}, "draws is 0"),
    ):
        with pytest.raises(QuadricError, match=message):
            Options(**values)
    with pytest.raises(QuadricError, match="seed 0: name runs of different seeds"):
        EXPERIMENT.analyse([digits_model(0), digits_model(0)], Options())
