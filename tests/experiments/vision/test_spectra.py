"""What eigenvectors answer to: on made-up responses, and on classifiers of the digits."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.experiments.vision.spectra import EXPERIMENT, Options, responses
from tests.vision.builders import digits_model


def test_responses_follow_confusions_within_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 9, (4, 4), generator=generator)
    mutual = (counts + counts.mT).double()
    offsets = torch.tensor([5.0, 50, 500, 7], dtype=torch.float64)[:, None]
    positive = torch.eye(4, dtype=torch.float64)[:, None, [1, 0, 2, 3]]
    found = responses(positive, -(mutual + offsets)[:, None], counts)
    assert found["negative"] == pytest.approx(1)
    assert responses(positive, (mutual - 20 - offsets)[:, None], counts)["negative"] == (
        pytest.approx(-1)
    )
    # Eigenvectors answer to 1, 0, 2 and 3: two of four to their own class.
    assert found["answers"] == [1, 0, 2, 3] and found["own"] == 0.5
    assert found["confusions"] == int(counts.sum() - counts.diagonal().sum())
    assert found["suppresses"] == mutual.argmax(dim=1).tolist()


def test_several_eigenvectors_add_up_and_wrong_signs_count_nothing() -> None:
    counts = torch.tensor([[9, 1, 2], [0, 9, 4], [1, 0, 9]])
    mutual = (counts + counts.mT).double()
    parts = torch.stack([-0.25 * mutual, -0.75 * mutual, 100 * mutual.flip(1)], dim=1)
    assert responses(-parts, parts, counts)["negative"] == pytest.approx(1)


def test_correlations_need_classes_and_confusions() -> None:
    two = torch.rand(2, 1, 2)
    assert responses(two, -two, torch.ones(2, 2))["negative"] is None
    three = torch.rand(3, 1, 3)
    assert responses(three, -three, torch.eye(3))["positive"] is None


def test_trained_classes_answer_to_themselves() -> None:
    models = [digits_model(0), digits_model(1)]
    measured = EXPERIMENT.analyse(models, Options(k=2))
    json.dumps(measured.data, allow_nan=False)
    for found, trained in zip(measured.data["models"], models, strict=True):
        assert found["own"] >= 0.8
        assert found["confusions"] == round((1 - trained.test_accuracy) * 360)
    # Several models of one data set share one gallery, that of the first.
    (gallery,) = measured.data["galleries"]
    assert [entry["class"] for entry in gallery["chosen"]] == [5, 2, 4, 6]
    for entry in gallery["chosen"]:
        assert entry["positive_values"] == entry["values"][:2]
        assert entry["negative_values"] == entry["values"][:-3:-1]
        for rows in (entry["positive_images"], entry["negative_images"]):
            lengths = torch.tensor(rows).norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones(2), atol=1e-3, rtol=0)
    assert gallery["first"][5] == gallery["chosen"][0]["positive_images"][0]
    zero = torch.tensor(gallery["first"][0]).view(8, 8)
    assert zero[3:5, 3:5].mean() < zero[3:5, 2].mean()  # the hole of the 0
    figure = EXPERIMENT.draw(measured)
    assert len(figure.get_axes()) == 10 + 4 * (1 + 2 * 2)


def test_the_verdict_follows_the_measurements() -> None:
    measured = EXPERIMENT.analyse([digits_model(0)], Options(k=1))
    data = copy.deepcopy(measured.data)
    cases = [
        (1.0, 0.3, True), (1.0, -0.3, False), (0.5, 0.3, False), (1.0, None, None),
        (0.5, None, False),
    ]  # fmt: skip
    for own, negative, expected in cases:
        data["models"][0].update(own=own, negative=negative)
        comparison = EXPERIMENT.compare(Measured(data))
        assert comparison.agrees is expected
        assert all(row["ours"] for row in comparison.lines)
    data["models"][0].update(own=1.0, negative=-0.3)
    assert "confused with it less often" in EXPERIMENT.compare(Measured(data)).measured


def test_classes_are_chosen_by_name() -> None:
    trained = digits_model(0)

    def chosen(classes: str | None) -> list[int]:
        data = EXPERIMENT.analyse([trained], Options(classes, k=1)).data
        return [entry["class"] for entry in data["galleries"][0]["chosen"]]

    assert chosen("3, 0,3") == [3, 0]
    assert chosen("all") == list(range(10))
    for classes, message in (("12", "no class '12'"), (" , ", "expected names such as")):
        with pytest.raises(QuadricError, match=message):
            chosen(classes)
    with pytest.raises(QuadricError, match="k is 0"):
        Options(k=0)
    with pytest.raises(QuadricError, match="k is 13, expected 1 to 12"):
        EXPERIMENT.analyse([trained], Options(k=13))


def test_it_trains_the_base_model_of_every_seed() -> None:
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(3)]
    assert len(EXPERIMENT.plan(FULL)) == FULL.seeds
