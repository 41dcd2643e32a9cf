"""The image classifier is the quadratic forms that its tensor says."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig
from tests.vision.builders import CLASSES, SHAPE, random_images, random_model

PARTS = (
    {},
    {"d_embed": None},
    {"bias": True},
    {"residual": True, "d_hidden": 7},
    {"residual": True},
    {"residual": True, "bias": True},
    {"gate": "swish", "beta": 0.0},
    {"gate": "swish", "beta": 0.0, "bias": True, "gate_side": "left"},
    {"d_embed": 20},
    {"d_embed": None, "residual": True, "bias": True},
)


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("space", ["hidden", "input"])
def test_the_tensor_is_the_model(parts: dict[str, object], space: str) -> None:
    model, x = random_model(**parts), random_images()
    read = x if space == "input" or model.embed is None else model.embed(x)
    if model.lifted:
        read = torch.cat([read, torch.ones(len(read), 1, dtype=read.dtype)], dim=1)
    expected = model(x)
    torch.testing.assert_close(model.tensor(space)(read), expected, rtol=1e-10, atol=1e-10)


def test_a_model_without_biases_is_homogeneous_and_one_with_them_is_not() -> None:
    x = random_images()
    plain, biased = random_model(), random_model(bias=True)
    torch.testing.assert_close(plain(3 * x), 9 * plain(x))
    torch.testing.assert_close(plain(-x), plain(x))
    assert (biased(-x) - biased(x)).abs().max() > 0.1
    assert (biased(torch.zeros(12, dtype=torch.float64))).abs().max() > 0.1


def test_several_blocks_have_no_tensor_but_their_own() -> None:
    model, x = random_model(blocks=2), random_images()
    with pytest.raises(QuadricError, match=r"2 blocks.*degree 4.*blocks\[i\]"):
        model.tensor()
    stream = model.embed(x)
    for block in model.blocks:
        torch.testing.assert_close(block.tensor()(stream), block(stream))
        stream = block(stream)
    torch.testing.assert_close(model.head(stream), model(x))


def test_a_gated_model_has_no_tensor_and_is_told_the_way_out() -> None:
    with pytest.raises(QuadricError, match=r"not bilinear.*relu.*anneal"):
        random_model(gate="relu").tensor("input")


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(QuadricError, match=r"shape \(2, 13\), expected rows of 12 pixels \(3×4×1"):
        random_model()(torch.zeros(2, 13, dtype=torch.float64))


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [((0, 4, 1), CLASSES, "no pixels"), (SHAPE, ("one",), "1 classes, expected two")],
)
def test_a_model_needs_pixels_and_classes(
    shape: tuple[int, int, int], classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(QuadricError, match=message):
        ImageClassifier(ClassifierConfig(), shape, classes)


def test_dropout_and_model_noise_act_in_training_alone() -> None:
    model, x = random_model(dropout=0.5, model_noise=0.3), random_images()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_a_model_without_an_embedding_has_no_input_basis() -> None:
    with pytest.raises(QuadricError, match="no embedding"):
        random_model(d_embed=None).input_basis()
