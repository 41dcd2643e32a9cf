"""Eigenvectors of classes in either space, and what a biased model adds to them."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.spectra import class_index, constants, spectra
from tests.vision.builders import random_images, random_model


@pytest.mark.parametrize("parts", [{}, {"d_embed": 20}, {"d_embed": None}], ids=str)
@pytest.mark.parametrize("space", ["hidden", "input"])
@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
def test_terms_sum_to_the_logits(parts: dict[str, object], space: str, by: str) -> None:
    model, x = random_model(**parts), random_images()
    found = spectra(model, space=space, by=by)
    terms = found.values * torch.einsum("np,qkp->nqk", x, found.images).square()
    torch.testing.assert_close(terms.sum(-1), model(x), rtol=1e-8, atol=1e-8)
    key = {"abs": -found.values.abs(), "pos": -found.values, "neg": found.values}[by]
    found_pairs = found.vectors.norm(dim=2).sum(dim=1).round().int()  # the rest is filled up with 0
    assert (found_pairs >= 7).all()
    for row, count in zip(key, found_pairs, strict=True):
        assert (row[:count].diff() >= -1e-9).all() and not row[count:].any()


def test_input_space_is_the_eigendecomposition_in_pixels() -> None:
    model = random_model()
    found = spectra(model, space="input")
    assert found.values.shape == (5, 7) and found.images.shape == (5, 7, 12)
    for u, values, images in zip(torch.eye(5).double(), found.values, found.images, strict=True):
        form = model.tensor("input").interaction(u)
        exact = torch.linalg.eigvalsh(form)
        exact = exact[exact.abs().argsort(descending=True)][:7]
        torch.testing.assert_close(values, exact)
        torch.testing.assert_close(images @ images.mT, torch.eye(7).double())
        torch.testing.assert_close(form @ images.mT, images.mT * values)


def test_hidden_pictures_are_exact_but_not_orthonormal() -> None:
    model = random_model()
    found = spectra(model, k=3)
    assert found.vectors.shape == (5, 3, 7) and found.images.shape == (5, 3, 12)
    for rows in found.vectors:
        torch.testing.assert_close(rows @ rows.mT, torch.eye(3).double())
    gram = found.images @ found.images.mT
    assert (gram - torch.eye(3)).abs().max() > 0.5
    torch.testing.assert_close(found.images, found.vectors @ model.embed.weight.detach())


def test_directions_combine_classes() -> None:
    model, x = random_model(), random_images()
    u = torch.tensor([[1.0, -1, 0, 0, 0], [0, 0.5, 0.5, 0, -1]]).double()
    found = spectra(model, u, space="input")
    terms = found.values * torch.einsum("np,qkp->nqk", x, found.images).square()
    torch.testing.assert_close(terms.sum(-1), model(x) @ u.mT, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "parts", [{"bias": True}, {"residual": True}, {"bias": True, "residual": True}]
)
@pytest.mark.parametrize("space", ["hidden", "input"])
def test_lifted_models_have_three_parts(parts: dict[str, bool], space: str) -> None:
    model, x = random_model(**parts), random_images()
    found, rest = spectra(model, space=space), constants(model)
    quadratic = (found.values * torch.einsum("np,qkp->nqk", x, found.images).square()).sum(-1)
    total = quadratic + x @ rest.linear.mT + rest.constant
    torch.testing.assert_close(total, model(x), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(rest.constant, model(torch.zeros(12).double()))


def test_a_plain_model_has_no_linear_and_constant_terms() -> None:
    rest = constants(random_model(), torch.eye(5).double()[:2])
    assert rest.linear.shape == (2, 12) and rest.constant.shape == (2,)
    assert not rest.linear.any() and not rest.constant.any()


def test_classes_by_name_and_number() -> None:
    model = random_model()
    assert class_index(model, "cat") == 2 == class_index(model, 2) == class_index(model, "2")
    for wrong in ("cow", 5, -1, ""):
        with pytest.raises(
            QuadricError, match=r"no class .*ant, bee, cat, dog, elk, numbered 0 to 4"
        ):
            class_index(model, wrong)
