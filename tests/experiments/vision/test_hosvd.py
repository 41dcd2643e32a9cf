"""Components of classifiers of the digits: cut models, and the same forms in other runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.hosvd import EXPERIMENT, Options, matches
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.vision.hosvd import components
from quadric.vision.store import train
from tests.vision.builders import digits_model, digits_recipe, random_model
from tests.vision.test_hosvd import dense


def test_every_component_together_is_the_model() -> None:
    trained = digits_model()
    measured = EXPERIMENT.analyse([trained], Options(components=3))
    json.dumps(measured.data, allow_nan=False)
    (found,) = measured.data["models"]
    for outputs, count in (("hidden", 12), ("classes", 10)):
        part = found[outputs]
        assert len(part["singular_values"]) == count
        assert part["accuracies"][-1] == pytest.approx(trained.test_accuracy)
        assert len(part["accuracies"]) == count + 1
        assert len(part["values"]) == len(part["images"]) == len(part["readout"]) == 3
    # Seven combinations of the ten classes carry most of it.
    assert found["classes"]["accuracies"][7] > 0.9 * trained.test_accuracy
    figure = EXPERIMENT.draw(measured)
    assert len(figure.get_axes()) == 2 + 2 * 3 * (1 + 2)


def test_forms_are_found_again_whatever_their_order_and_sign() -> None:
    found = components(random_model(), "hidden", "input")
    assert found.frame is not None
    forms = found.forms.with_input_basis(found.frame)
    same = matches(forms, forms, 5)
    assert same["place"] == [0, 1, 2, 3, 4]
    assert same["cosine"] == pytest.approx([1] * 5)
    order = torch.tensor([1, 0, 2, 4, 3])
    signs = torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64)[:, None]
    turned = forms.with_output_basis(torch.eye(9, dtype=torch.float64)[order] * signs)
    other = matches(forms, turned, 5)
    assert other["place"] == [1, 0, 2, 4, 3]
    assert other["cosine"] == pytest.approx([0, 0, 1, 0, 0], abs=1e-9)


def test_runs_that_differ_in_their_seed_are_compared_over_pixels() -> None:
    models = [digits_model(0), digits_model(1), digits_model(0, 8), digits_model(0)]
    data = EXPERIMENT.analyse(models, Options(components=2)).data
    assert [pair["models"] for pair in data["pairs"]] == [[0, 1], [0, 3], [1, 3]]
    assert data["pairs"][1]["cosine"] == pytest.approx([1, 1], abs=1e-4)
    assert data["pairs"][1]["place"] == [0, 1]
    first, second = (
        torch.linalg.svd(dense(model.model, "hidden", "input").double().flatten(1), False)[2]
        for model in models[:2]
    )
    expected = (first[:2] * second[:2]).sum(dim=1).abs().tolist()
    assert data["pairs"][0]["cosine"] == pytest.approx(expected, abs=1e-3)
    # Embeddings of different runs have nothing to do with each other.
    assert EXPERIMENT.analyse(models[:2], Options(space="hidden")).data["pairs"] == []


def test_a_layer_on_pixels_can_be_read(tmp_path: Path) -> None:
    trained = train(digits_recipe(width=6, d_embed=None), tmp_path / "model")
    measured = EXPERIMENT.analyse([trained], Options(space="hidden", components=9, k=70))
    (found,) = measured.data["models"]
    assert found["embedding"] is None and found["products"] == 6
    assert len(found["hidden"]["values"]) == 6 and len(found["hidden"]["images"][0]) == 64
    comparison = EXPERIMENT.compare(measured)
    assert comparison.agrees is None and "layers on the pixels" in comparison.measured
    assert "no two runs" in comparison.measured


def test_the_verdict_follows_the_measurements() -> None:
    model = {
        "embedding": None, "products": 60, "test_accuracy": 0.98,
        "hidden": {"singular_values": [1.0] * 60, "accuracies": [0.98] * 61},
    }  # fmt: skip
    data = {
        "models": [copy.deepcopy(model) for _ in range(2)],
        "pairs": [{"models": [0, 1], "cosine": [1.0, 0.9], "place": [0, 1]}],
    }

    def agrees(few: float, more: float, place: list[int], rank: int = 60) -> bool | None:
        changed = copy.deepcopy(data)
        for entry in changed["models"]:
            entry["hidden"]["accuracies"][20] = 0.98 - few  # type: ignore[index]
            entry["hidden"]["accuracies"][50] = 0.98 - more  # type: ignore[index]
            entry["hidden"]["singular_values"] = [1.0] * rank  # type: ignore[index]
        changed["pairs"][0]["place"] = place
        return EXPERIMENT.compare(Measured(changed)).agrees

    assert agrees(0.01, 0.0, [0, 1]) is True
    assert agrees(0.05, 0.0, [0, 1]) is False
    assert agrees(0.01, 0.01, [0, 1]) is False
    assert agrees(0.01, 0.0, [1, 0]) is False
    assert agrees(0.01, 0.0, [0, 1], rank=50) is None


def test_bad_options_and_models_are_refused(tmp_path: Path) -> None:
    for name in ("components", "k"):
        with pytest.raises(QuadricError, match=f"{name} is 0"):
            Options(**{name: 0})
    biased = train(digits_recipe(width=4, bias=True), tmp_path / "model")
    with pytest.raises(QuadricError, match="not forms of the image alone"):
        EXPERIMENT.analyse([biased], Options())


def test_it_trains_layers_on_pixels_and_the_base_model() -> None:
    *straight, base = EXPERIMENT.plan(FULL)
    assert base == FULL.recipe() and len(straight) == FULL.seeds
    assert {r.classifier.d_embed for r in straight} == {None}
    assert {r.classifier.d_hidden for r in straight} == {300}
    assert EXPERIMENT.plan(QUICK)[0].classifier.d_hidden == 32
