"""The explanation experiment on digits: examples follow their rules, sums are the logits."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision import explanation
from quadric.experiments.vision.settings import QUICK
from quadric.vision.explanation import Forces, forces
from tests.vision.builders import digits_model

EXPERIMENT = explanation.EXPERIMENT


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([digits_model(0), digits_model(1)], explanation.Options(terms=5))


def test_the_plan_shares_the_base_models() -> None:
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(3)]


def test_listed_terms_and_the_rest_are_the_logit() -> None:
    for example in measured().data["examples"]:
        for found in example["classes"]:
            assert len(found["contributions"]) == 5
            total = sum(found["contributions"]) + found["remainder"]
            total += found["linear"] + found["constant"]
            assert total == pytest.approx(found["logit"], abs=1e-8)
            assert abs(found["remainder"]) > 0
            logit = found["excitation"] + found["suppression"]
            assert logit == pytest.approx(found["logit"], abs=1e-8)
        logits = sorted(example["logits"], reverse=True)
        assert [found["logit"] for found in example["classes"][:3]] == logits[:3]
        names = [found["class"] for found in example["classes"]]
        assert example["label"] in names
        rest = [] if example["label"] in names[:3] else [example["label"]]
        assert names[3:] == rest


def test_the_examples_follow_their_rules() -> None:
    trained = digits_model(0)
    test = trained.data().test
    logits = trained.model(test.pixels)
    right, wrong = measured().data["examples"]
    assert (right["rule"], wrong["rule"]) == ("right by suppression", "classified wrong")
    found = forces(trained.model, test.pixels)
    label = int(test.labels[right["index"]])
    assert int(logits[right["index"]].argmax()) == label
    assert int(found.excitation[right["index"]].argmax()) != label
    assert int(found.suppression[right["index"]].argmax()) == label
    margins = logits.amax(dim=1) - logits[torch.arange(len(test)), test.labels]
    assert wrong["index"] == int(margins.argmax())
    assert margins[wrong["index"]] > 0


def test_pictures_have_the_sign_that_the_image_activates() -> None:
    for example in measured().data["examples"]:
        image = torch.tensor(example["image"])
        for found in example["classes"]:
            assert (torch.tensor(found["images"]) @ image > -1e-3).all()


def test_shares_are_counted() -> None:
    excitation = torch.tensor([[3.0, 2.0], [3.0, 2.0], [2.0, 3.0], [3.0, 2.0]])
    suppression = torch.tensor([[0.0, 0.0], [-4.0, -1.0], [-1.0, -4.0], [-4.0, -1.0]])
    labels = torch.tensor([0, 1, 0, 0])
    found = explanation.shares(Forces(excitation, suppression), excitation + suppression, labels)
    assert (found["right"], found["wrong"]) == (3, 1)
    assert found["right_by_suppression"] == pytest.approx(2 / 3)
    assert found["wrong_by_suppression"] == 1
    assert found["least_suppressed"] == 2
    assert found["accuracy_excitation"] == 0.5


def test_the_decision_follows_the_data() -> None:
    assert EXPERIMENT.compare(measured()).agrees is True
    data = {**measured().data}
    data["models"] = [{**model, "least_suppressed": 0} for model in data["models"]]
    assert EXPERIMENT.compare(Measured(data)).agrees is False


def test_an_image_that_is_asked_for() -> None:
    found = EXPERIMENT.analyse(
        [digits_model(0)], explanation.Options(index=4, shown=2, terms=100, space="input")
    )
    (example,) = found.data["examples"]
    assert (example["index"], example["rule"]) == (4, "asked for")
    assert all(len(chosen["contributions"]) == 12 for chosen in example["classes"])
    assert all(chosen["remainder"] == 0 for chosen in example["classes"])
    figure = EXPERIMENT.draw(found)
    assert len(figure.axes) == 1 + 2 * len(example["classes"]) + 2
    comparison = EXPERIMENT.compare(found)
    assert comparison.measured.startswith("Test image 4, a ")
    assert comparison.agrees is not None


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(QuadricError, match="test image 360 does not exist: there are 360"):
        EXPERIMENT.analyse([digits_model(0)], explanation.Options(index=360))
    with pytest.raises(QuadricError, match="index is -1"):
        explanation.Options(index=-1)
    with pytest.raises(QuadricError, match="shown is 5"):
        explanation.Options(shown=5)
    with pytest.raises(QuadricError, match="terms is 0"):
        explanation.Options(terms=0)
