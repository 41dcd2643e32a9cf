"""Quick experiments on the real language model, as the command runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pytest

from quadric.experiments.perform import request_for
from quadric.experiments.registry import find
from quadric.runs.data import cache_of
from tests.e2e.conftest import Answer

pytestmark = pytest.mark.e2e


@pytest.fixture
def quick(quadric: Callable[..., Answer], tmp_path: Path) -> Callable[[str], dict[str, object]]:
    """``quick(name)`` runs an experiment and returns what its file holds."""

    def run(name: str) -> dict[str, object]:
        answer = quadric("experiment", name, "--quick", "--out", tmp_path / name, "--json")
        assert answer.status == 0, answer.err
        outcome = json.loads((tmp_path / name / "experiment.json").read_text())
        assert json.loads(answer.out) == outcome
        assert matplotlib.image.imread(tmp_path / name / "picture.png").std() > 0.01
        return outcome

    return run


def test_prefixes_of_an_ordered_dictionary(quick: Callable[[str], dict[str, object]]) -> None:
    outcome = quick("prefixes")
    ordered, own, best = outcome["data"]["errors"].values()
    n = outcome["data"]["products"]
    assert n == 576 and len(ordered) == n + 1
    assert ordered[n // 10] < own[n // 10] - 0.05
    assert best[n // 10] < own[n // 10] and best[n] == pytest.approx(own[n])
    constant = outcome["data"]["autoencoders"]["vanilla"]["product_error_mean_predictor"]
    assert own[n] < 0.8 * constant
    assert outcome["comparison"]["agrees"] is True


def test_one_latent_and_all_of_them(quick: Callable[[str], dict[str, object]]) -> None:
    one = quick("histogram")["data"]
    assert one["trained"]["top_share"] > 2 * one["start"]["top_share"]
    assert one["origin"]["model"] == "smollm2-135m" and one["origin"]["d_in"] == 576
    every = quick("latent_density")["data"]["summary"]
    # The last latents of an ordered dictionary matter to few prefixes, and one may stay small.
    assert every["vanilla"]["dead"] == 0 and every["ordered"]["dead"] <= 3
    assert every["vanilla"]["lowest"] < 0.2 < every["vanilla"]["highest"]


def test_manifolds_have_words_and_share_the_harvest(
    quick: Callable[[str], dict[str, object]],
) -> None:
    outcome = quick("manifolds")
    names = [form["name"] for form in outcome["data"]["forms"]]
    assert len(names) == 6 and sum(": " in name for name in names) >= 3
    assert outcome["comparison"]["figures"]["slices"] == 144
    folders = {
        cache_of(request_for(find(name), {}, quick=True).harvest)
        for name in ("prefixes", "histogram", "manifolds", "similarity", "permutation", "frontier")
    }
    assert len(folders) == 1 and (folders.pop() / "manifest.json").exists()


def test_the_frontier_lies_below_the_constant_predictor(
    quick: Callable[[str], dict[str, object]],
) -> None:
    points = quick("frontier")["data"]["points"]
    assert {point["transform"] for point in points} == {"paper", "quadric"}
    assert {point["variant"] for point in points} == {"vanilla", "ordered", "mixed", "combined"}
    unpenalised = [point for point in points if point["density_weight"] == 0]
    assert len(unpenalised) == 8
    for point in unpenalised:
        assert point["product_error"] < point["product_error_mean_predictor"]
        heaviest = max(
            (
                other
                for other in points
                if (other["transform"], other["variant"]) == (point["transform"], point["variant"])
            ),
            key=lambda other: other["density_weight"],
        )
        assert heaviest["density"] < point["density"] - 0.05


def test_errors_grow_with_depth_for_every_variant(
    quick: Callable[[str], dict[str, object]],
) -> None:
    layers = quick("layers")["data"]["layers"]
    assert [layer["hook"].split(".")[1] for layer in layers] == ["4", "12", "20"]
    for layer in layers:
        assert len(layer["errors"]) == 5
        assert max(layer["errors"].values()) < layer["constant_predictor"]
    for name in layers[0]["errors"]:
        assert layers[0]["errors"][name] < layers[-1]["errors"][name]


def test_maps_agree_more_than_dictionaries(quick: Callable[[str], dict[str, object]]) -> None:
    data = quick("similarity")["data"]
    matrix = data["matrix"]
    assert len(matrix) == len(data["labels"]) == 12
    for i, row in enumerate(matrix):
        assert row[i] == pytest.approx(1, abs=1e-4)
        assert all(0 < value <= 1.0001 for value in row)
        assert row == pytest.approx([other[i] for other in matrix], abs=1e-5)
    assert min(data["twin_similarity"]) > 0.5
    outcome = quick("permutation")
    assert outcome["comparison"]["agrees"] is True
    for pair in outcome["data"]["pairs"].values():
        assert pair["permutation_share"] < pair["map_cosine"] < pair["map_similarity"] < 1
