"""Singular components against those of the dense tensor, and cut models against loops."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.hosvd import Outputs, components, truncation_accuracies
from tests.vision.builders import CLASSES, digits_model, random_images, random_model
from tests.vision.test_gallery import some_images

CASES: list[tuple[Outputs, Literal["hidden", "input"]]] = [
    ("classes", "hidden"), ("classes", "input"), ("hidden", "hidden"), ("hidden", "input"),
]  # fmt: skip


def dense(model: ImageClassifier, outputs: str, space: str, symmetric: bool = True) -> torch.Tensor:
    """The m×d×d tensor, entry by entry."""
    block = model.blocks[0]
    left, right = block.left.weight.detach(), block.right.weight.detach()  # type: ignore[union-attr]
    if space == "input" and model.embed is not None:
        left, right = left @ model.embed.weight.detach(), right @ model.embed.weight.detach()
    products = torch.einsum("ni,nj->nij", left, right)
    if symmetric:
        products = (products + products.mT) / 2
    if outputs == "hidden":
        return products
    return torch.einsum("cn,nij->cij", model.head.weight.detach(), products)


@pytest.mark.parametrize(("outputs", "space"), CASES)
def test_components_are_those_of_the_dense_tensor(
    outputs: Outputs, space: Literal["hidden", "input"]
) -> None:
    model, x = random_model(), random_images()
    found = components(model, outputs, space)
    tensor = dense(model, outputs, space)
    u, sigma, forms = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
    torch.testing.assert_close(found.singular_values, sigma)
    assert found.singular_values.square().sum().item() == pytest.approx(
        tensor.square().sum().item()
    )
    cosines = (found.directions * u.mT).sum(dim=1)
    torch.testing.assert_close(cosines.abs(), torch.ones_like(cosines))
    # Every form agrees on images with the dense one of the same sign.
    assert model.embed is not None
    read = x @ model.embed.weight.detach().mT if space == "hidden" else x
    size = read.shape[1]
    q = forms.view(-1, size, size) * cosines.sign()[:, None, None]
    values = torch.einsum("ni,rij,nj->nr", read, q, read)
    terms, pictures = found.eigen(len(sigma), found.forms.d)
    torch.testing.assert_close(
        (terms * (torch.einsum("np,rkp->nrk", x, pictures)).square()).sum(dim=2), values
    )
    # And together they are the model.
    torch.testing.assert_close(values @ found.readout, model(x).detach())


@pytest.mark.parametrize(("outputs", "space"), CASES)
def test_an_unsymmetrised_tensor_has_other_singular_values(outputs: Outputs, space: str) -> None:
    model = random_model()
    found = components(model, outputs, "input" if space == "input" else "hidden")
    wrong = torch.linalg.svdvals(dense(model, outputs, space, symmetric=False).flatten(1))
    assert (wrong[0] - found.singular_values[0]).abs() > 0.01 * wrong[0]


def test_leading_eigenvectors_have_the_largest_magnitude() -> None:
    model = random_model()
    values, pictures = components(model, "classes", "input").eigen(4, 3)
    assert values.shape == (4, 3) and pictures.shape == (4, 3, 12)
    forms = torch.linalg.svd(dense(model, "classes", "input").flatten(1), full_matrices=False)[2]
    for found, form in zip(values, forms.view(-1, 12, 12), strict=False):
        expected = torch.linalg.eigvalsh(form).abs().sort(descending=True).values[:3]
        torch.testing.assert_close(found.abs(), expected)
    assert (values < 0).any() and (values > 0).any()
    torch.testing.assert_close(pictures.norm(dim=2), torch.ones(4, 3, dtype=torch.float64))


def test_without_an_embedding_the_spaces_are_one() -> None:
    model, x = random_model(d_embed=None), random_images()
    hidden, pixels = (components(model, "hidden", space) for space in ("hidden", "input"))  # type: ignore[arg-type]
    torch.testing.assert_close(hidden.singular_values, pixels.singular_values)
    assert hidden.frame is None and pixels.frame is None
    torch.testing.assert_close(pixels.forms(x) @ pixels.readout, model(x).detach())


@pytest.mark.parametrize(("outputs", "space"), CASES)
def test_accuracies_are_those_of_projected_outputs(
    outputs: Outputs, space: Literal["hidden", "input"]
) -> None:
    model, images = random_model(), some_images(60)
    found = components(model, outputs, space)
    answer = truncation_accuracies(model, images, found)
    assert len(answer) == len(found.singular_values) + 1
    head, x = model.head.weight.detach(), images.pixels.double()
    for r in range(len(answer)):
        span = found.directions[:r]
        projector = span.mT @ span
        read = model.hidden(x).detach()
        logits = read @ head.mT @ projector if outputs == "classes" else read @ projector @ head.mT
        expected = (logits.argmax(dim=1) == images.labels).double().mean()
        assert answer[r].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("outputs", ["classes", "hidden"])
def test_all_components_are_the_trained_model(outputs: Outputs) -> None:
    trained = digits_model()
    test = trained.data().test
    found = components(trained.model, outputs)
    answer = truncation_accuracies(trained.model, test, found)
    assert answer[-1].item() == pytest.approx(trained.test_accuracy, abs=1e-12)
    assert answer[0].item() == pytest.approx((test.labels == 0).double().mean().item())
    assert answer[-1] > answer[2] > answer[0]


def test_swapping_and_rescaling_the_factors_changes_nothing() -> None:
    model, other = random_model(), random_model()
    block = other.blocks[0]
    scale = torch.linspace(0.5, 2, 9, dtype=torch.float64)[:, None]
    with torch.no_grad():
        left = block.left.weight.clone()  # type: ignore[union-attr]
        block.left.weight.copy_(block.right.weight * scale)  # type: ignore[union-attr]
        block.right.weight.copy_(left / scale)  # type: ignore[union-attr]
    for outputs, space in CASES:
        torch.testing.assert_close(
            components(model, outputs, space).singular_values,
            components(other, outputs, space).singular_values,
        )


def test_what_cannot_be_decomposed_is_refused() -> None:
    for part in ({"bias": True}, {"residual": True}):
        with pytest.raises(QuadricError, match="not forms of the image alone"):
            components(random_model(**part))
    with pytest.raises(QuadricError, match="2 blocks"):
        components(random_model(blocks=2))
    with pytest.raises(QuadricError, match="not bilinear"):
        components(random_model(gate="relu"))


def test_bad_input_is_named() -> None:
    model = random_model()
    with pytest.raises(QuadricError, match="outputs is 'head'"):
        components(model, "head")  # type: ignore[arg-type]
    with pytest.raises(QuadricError, match="space is 'pixels'"):
        components(model, space="pixels")  # type: ignore[arg-type]
    with pytest.raises(QuadricError, match="rank is 6, expected 1 to 5"):
        components(model, "classes", rank=6)
    found = components(model, "classes", rank=2)
    with pytest.raises(QuadricError, match="components is 3, expected 1 to 2"):
        found.eigen(3, 1)
    wider = components(random_model(d_hidden=8), "hidden")
    images: Images = some_images()
    with pytest.raises(QuadricError, match="8 hidden outputs and the model has 9"):
        truncation_accuracies(model, images, wider)
    assert model.classes == CLASSES
