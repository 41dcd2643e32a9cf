"""Both ends of spectra against dense eigendecompositions, and responses against loops."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.fit import accuracy
from quadric.vision.gallery import confusion, eigen_gallery, mean_responses
from tests.vision.builders import CLASSES, SHAPE, digits_model, random_images, random_model


def some_images(count: int = 40) -> Images:
    labels = torch.arange(count) % len(CLASSES)
    return Images(random_images(count).float(), labels, SHAPE, CLASSES)


def form(model: ImageClassifier, c: int) -> torch.Tensor:
    """Q_c on the embedding, entry by entry."""
    block = model.blocks[0]
    left, right = block.left.weight.detach(), block.right.weight.detach()  # type: ignore[union-attr]
    total = torch.zeros(left.shape[1], left.shape[1], dtype=left.dtype)
    for weight, w, v in zip(model.head.weight.detach()[c], left, right, strict=True):
        total += weight * (torch.outer(w, v) + torch.outer(v, w)) / 2
    return total


def test_both_ends_are_those_of_the_dense_form() -> None:
    model = random_model()
    assert model.embed is not None
    embed = model.embed.weight.detach()
    found = eigen_gallery(model, k=3)
    for c in range(len(CLASSES)):
        values, vectors = torch.linalg.eigh(form(model, c))
        torch.testing.assert_close(found.values[c], values.flip(0))
        torch.testing.assert_close(found.positive.values[c], values.flip(0)[:3])
        torch.testing.assert_close(found.negative.values[c], values[:3])
        for part, columns in ((found.positive, vectors.flip(1)), (found.negative, vectors)):
            for i in range(3):
                picture = columns[:, i] @ embed
                cosine = torch.cosine_similarity(part.images[c, i], picture, dim=0)
                assert cosine.abs().item() == pytest.approx(1, abs=1e-9)
                assert part.images[c, i].norm().item() == pytest.approx(picture.norm().item())


@pytest.mark.parametrize("space", ["hidden", "input"])
def test_all_terms_of_both_ends_are_the_logits(space: Literal["hidden", "input"]) -> None:
    model, x = random_model(), random_images()
    found = eigen_gallery(model, k=7, space=space)
    for part in (found.positive, found.negative):
        terms = part.values[:, :, None] * (part.images @ x.mT).square()
        torch.testing.assert_close(terms.sum(dim=1).mT, model(x).detach())


def test_zeros_of_a_thin_layer_stand_between_the_signs() -> None:
    found = eigen_gallery(random_model(d_hidden=2), k=2)
    assert (found.positive.values > 0.01).all() and (found.negative.values < -0.01).all()
    assert (found.values.diff(dim=1) <= 0).all()
    assert (found.values.abs() < 1e-9).sum(dim=1).tolist() == [3] * len(CLASSES)


def test_responses_are_means_over_each_class() -> None:
    model, images = random_model(), some_images()
    found = eigen_gallery(model, k=2).negative
    answer = mean_responses(found, images)
    for q in range(len(CLASSES)):
        for i in range(2):
            for c in range(len(CLASSES)):
                inside = images.pixels[images.labels == c].double()
                expected = found.values[q, i] * (inside @ found.images[q, i]).square().mean()
                assert answer[q, i, c].item() == pytest.approx(expected.item())


def test_responses_refuse_what_does_not_fit() -> None:
    found = eigen_gallery(random_model(), k=1).positive
    images = some_images()
    absent = images.take((images.labels != 2).nonzero()[:, 0])
    with pytest.raises(QuadricError, match="no image of class 'cat'"):
        mean_responses(found, absent)
    small = Images(images.pixels[:, :6], images.labels, (2, 3, 1), CLASSES)
    with pytest.raises(QuadricError, match="6 pixels and the eigenvectors 12"):
        mean_responses(found, small)


def test_confusion_has_true_classes_in_rows() -> None:
    trained = digits_model()
    test = trained.data().test
    counts = confusion(trained.model, test)
    guessed = trained.model(test.pixels).argmax(dim=1)
    for true in range(10):
        for guess in range(10):
            expected = ((test.labels == true) & (guessed == guess)).sum()
            assert counts[true, guess] == expected
    assert not torch.equal(counts, counts.mT)
    right = counts.diagonal().sum().item() / counts.sum().item()
    assert right == pytest.approx(accuracy(trained.model, test))


def test_a_trained_class_answers_to_its_own_images() -> None:
    trained = digits_model()
    found = eigen_gallery(trained.model, k=1)
    answers = mean_responses(found.positive, trained.data().test)[:, 0].argmax(dim=1)
    assert (answers == torch.arange(10)).sum() >= 8


def test_bad_input_is_named() -> None:
    model = random_model()
    for k in (0, 8):
        with pytest.raises(QuadricError, match=f"k is {k}, expected 1 to 7"):
            eigen_gallery(model, k=k)
    other = Images(some_images().pixels, some_images().labels, SHAPE, ("a", "b", "c", "d", "e"))
    with pytest.raises(QuadricError, match="classes a, b"):
        confusion(model, other)
    with pytest.raises(QuadricError, match="2 blocks"):
        eigen_gallery(random_model(blocks=2), k=1)
