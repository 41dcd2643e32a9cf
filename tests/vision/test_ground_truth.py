"""The form of a binary classifier: read off a model whose form is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig
from quadric.vision.data.images import Images
from quadric.vision.ground_truth import (
    accuracy_of,
    best_threshold,
    binary_form,
    centred,
    likeness,
    likest,
)
from tests.vision.builders import SHAPE, random_images, random_model

BINARY = ("False", "True")


def binary(**config: object) -> ImageClassifier:
    """A random float64 classifier of 12 pixels, width 7, 9 products and two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        chosen = ClassifierConfig(**{"d_embed": 7, "d_hidden": 9, **config})  # type: ignore[arg-type]
        model = ImageClassifier(chosen, SHAPE, BINARY).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def difference(model: ImageClassifier, x: torch.Tensor) -> torch.Tensor:
    logits = model(x)
    return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize(
    "config", [{}, {"bias": True}, {"residual": True}, {"bias": True, "d_embed": None}]
)
def test_both_forms_are_the_difference_of_the_logits(config: dict[str, object]) -> None:
    model, x = binary(**config), random_images(6)
    form, expected = binary_form(model), difference(binary(**config), x)
    assert torch.allclose(form.score(x), expected, atol=1e-8)
    read = x @ form.folded_images.mT + form.folded_constants
    assert torch.allclose(read.square() @ form.folded_values, expected, atol=1e-8)
    assert len(form.folded_values) == len(form.values) + model.lifted


def test_linear_and_constant_term() -> None:
    model = binary(bias=True)
    form, black = binary_form(model), torch.zeros(1, 12).double()
    assert float(form.constant) == pytest.approx(float(difference(model, black).detach()))
    slope = torch.autograd.functional.jacobian(lambda x: difference(model, x[None])[0], black[0])
    assert torch.allclose(form.linear, slope)


def test_a_planted_form_is_read_back() -> None:
    """(q·x)² − ½(r·x)² + ℓ·x − 2, written into two neurons and two more for the linear part."""
    q, r = torch.eye(12).double()[3], torch.eye(12).double()[8]
    line = torch.linspace(0, 1, 12).double()
    model = binary(d_embed=None, d_hidden=4, bias=True)
    block = model.blocks[0]
    with torch.no_grad():
        block.left.weight.copy_(torch.stack([q, r, line, 0 * q]))  # type: ignore[union-attr]
        block.right.weight.copy_(torch.stack([q, r, 0 * q, 0 * q]))  # type: ignore[union-attr]
        block.left.bias.copy_(torch.tensor([0.0, 0, 0, 1]))  # type: ignore[union-attr]
        block.right.bias.copy_(torch.tensor([0.0, 0, 1, 1]))  # type: ignore[union-attr]
        model.head.weight.copy_(torch.tensor([[1.0, 1, 1, 1], [2, 0.5, 2, -1]]))
    form = binary_form(model)
    assert torch.allclose(form.values[:2], torch.tensor([1, -0.5]).double())
    assert torch.allclose(form.values[2:], torch.zeros(10).double(), atol=1e-12)
    assert float(likeness(form.images[0], q)) == pytest.approx(1)
    assert float(likeness(form.images[1], r)) == pytest.approx(1)
    assert torch.allclose(form.linear, line)
    assert float(form.constant) == pytest.approx(-2)
    order = form.largest()
    assert (order[0], order[-1]) == (0, 1)
    x = random_images(5)
    kept = form.score(x, order[:1])
    assert torch.allclose(kept, (x @ q) ** 2 + x @ line - 2)


def test_two_classes_and_one_block_are_needed() -> None:
    with pytest.raises(QuadricError, match="5 classes ant"):
        binary_form(random_model())
    with pytest.raises(QuadricError, match="2 blocks"):
        binary_form(binary(blocks=2))


def labelled(labels: list[int]) -> Images:
    return Images(torch.zeros(len(labels), 12), torch.tensor(labels), SHAPE, BINARY)


def test_accuracy_of_scores() -> None:
    images = labelled([0, 1, 1, 0])
    scores = torch.tensor([-1.0, 2.0, 0.0, 3.0])
    assert accuracy_of(scores, images) == 0.5  # a score of 0 is False, as equal logits are
    assert accuracy_of(scores, images, threshold=-0.5) == 0.75
    with pytest.raises(QuadricError, match="3 scores for 4"):
        accuracy_of(scores[:3], images)


def test_the_best_threshold_beats_every_other() -> None:
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        scores = torch.randint(0, 6, (15,), generator=generator).double()
        images = labelled(torch.randint(0, 2, (15,), generator=generator).tolist())
        best = accuracy_of(scores, images, best_threshold(scores, images))
        cuts = [-1.0, *[0.5 + step for step in range(6)]]
        assert best == max(accuracy_of(scores, images, cut) for cut in cuts)
    assert best_threshold(torch.tensor([1.0, 3.0]), labelled([0, 1])) == 2.0


def test_likeness_ignores_sign_and_scale() -> None:
    a, b = random_images(2)
    expected = float(F.cosine_similarity(a, b, dim=0))
    assert float(likeness(-3 * a, b)) == pytest.approx(expected)
    assert float(likeness(a, torch.zeros(12))) == 0
    assert torch.allclose(likeness(torch.stack([a, b]), b), torch.tensor([expected, 1]).double())


def test_centred_images_have_no_mean_and_half_the_contrast() -> None:
    t = random_images(1)[0]
    assert float(centred(t).sum()) == pytest.approx(0, abs=1e-12)
    contrast = t - (1 - t)
    assert torch.allclose(centred(contrast), 2 * centred(t))


def test_the_likest_image_is_the_one_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quadric.vision.ground_truth._ROWS", 6)
    images = random_images(20)
    picture = -2 * centred(images[13])
    order = likest(picture, images.float())
    assert order[0] == 13
    expected = torch.stack([likeness(centred(image), picture) for image in images])
    assert order.tolist() == expected.argsort(descending=True).tolist()
