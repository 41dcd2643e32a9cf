"""Shared products of classifiers: planted ones, exact shares, spaces, matching, mutants."""

from __future__ import annotations

import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.forms import lift
from quadric.vision.factors import accuracy, matched, products, restarts
from quadric.vision.fit import accuracy as accuracy_of
from tests.forms.builders import noise, random_tensor
from tests.oracles import forms as oracle
from tests.vision.builders import digits_model, random_images, random_model

METHODS = ["shared", "hosvd", "eigen"]


def explained(whole: BilinearTensor, cut: BilinearTensor) -> float:
    """1 − ‖B − B̂‖²/‖B‖² with both written out."""
    a, b = oracle.matrices(whole), oracle.matrices(cut)
    return float(1 - (a - b).square().sum() / a.square().sum())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [{}, {"bias": True}, {"residual": True}, {"d_embed": None}])
def test_the_explained_share_is_that_of_the_tensors_written_out(method, kind):
    model = random_model(2, **kind)
    found = products(model, 3, method, steps=5)
    assert found.tensor.n == 3
    assert found.explained == pytest.approx(
        explained(model.tensor("input"), found.tensor), abs=1e-9
    )
    assert found.explained == pytest.approx(
        float(model.tensor("input").cosine(found.tensor)) ** 2, abs=1e-9
    )
    assert 0 < found.explained < 1


@pytest.mark.parametrize("method", METHODS)
def test_in_the_hidden_space_the_share_is_of_the_block(method):
    model = random_model(2, bias=True)
    found = products(model, 3, method, "hidden", steps=5)
    basis = model.input_basis()
    inner = (
        found.tensor.left @ torch.linalg.pinv(basis),
        found.tensor.right @ torch.linalg.pinv(basis),
    )
    block = BilinearTensor(*inner, found.tensor.out)
    assert found.explained == pytest.approx(explained(model.tensor("hidden"), block), abs=1e-9)
    other = explained(model.tensor("input"), found.tensor)
    assert abs(found.explained - other) > 1e-5  # mutant: the pixels' share


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_searching_gains_on_the_hosvd_and_eigen_terms_are_the_largest(rank):
    model = random_model(4)
    shares = {method: products(model, rank, method).explained for method in METHODS}
    assert shares["shared"] >= shares["hosvd"] > 0
    values = model.tensor("input").to(dtype=torch.float64).eigh_many(None, 7, "abs").values
    total = float(model.tensor("input").norm()) ** 2
    largest = values.flatten().abs().sort(descending=True).values[:rank]
    assert shares["eigen"] == pytest.approx(float(largest.square().sum()) / total, abs=1e-9)


def test_as_many_products_as_the_model_has_explain_it():
    """A planted model of three shared products is found, product by product."""
    model = random_model(5, d_hidden=3)
    found = products(model, 3, starts=4, steps=60)
    assert found.explained > 1 - 1e-6
    cosines = matched(found.tensor, model.tensor("input"))
    assert (cosines > 1 - 1e-3).all()
    x = random_images()
    assert torch.allclose(found.tensor(x), model(x).detach(), rtol=1e-2, atol=1e-2)
    eigen = products(model, 3, "eigen")
    assert eigen.explained < 0.9


def test_all_eigen_terms_are_the_model():
    model = random_model(6, bias=True)
    found = products(model, 5 * 8, "eigen")
    assert found.explained == pytest.approx(1, abs=1e-9)
    assert torch.allclose(found.tensor(lift(random_images())), model(random_images()).detach())


def test_matching_ignores_order_length_sign_and_the_exchange_of_factors():
    tensor = random_tensor(4, 6, 9)
    order, scale = noise(1, 6).argsort(), noise(2, 6).exp()
    same = BilinearTensor(
        (tensor.right * scale[:, None])[order],
        -tensor.left[order],
        (tensor.out * noise(3, 6).exp())[:, order],
    )
    assert torch.allclose(matched(tensor, same), torch.ones(6).double(), atol=1e-12)
    # Mutants: other columns, or one factor of each product replaced.
    columns = BilinearTensor(same.left, same.right, same.out.roll(1, 1))
    assert matched(tensor, columns).max() < 0.99
    half = BilinearTensor(same.left, same.right.roll(1, 0), same.out)
    assert matched(tensor, half).max() < 0.95
    assert len(matched(tensor, random_tensor(4, 2, 9))) == 2


def test_matching_is_the_cosine_of_the_terms_as_tensors():
    a, b = random_tensor(3, 1, 5), random_tensor(3, 1, 5, seed=9)
    assert matched(a, b)[0] == pytest.approx(abs(float(a.cosine(b))), abs=1e-12)


def test_restarts_are_unrelated_and_repeatable():
    model = random_model(7)
    first, second = restarts(model, 2, 2, steps=3)
    assert torch.equal(restarts(model, 2, 2, steps=3)[1].tensor.left, second.tensor.left)
    assert not torch.equal(first.tensor.left, second.tensor.left)
    for found in (first, second):
        assert found.explained == pytest.approx(
            explained(model.tensor("input"), found.tensor), abs=1e-9
        )


@pytest.mark.parametrize("space", ["input", "hidden"])
def test_few_shared_products_classify_digits_where_as_many_eigen_terms_do_not(space):
    trained = digits_model()
    test = trained.data().test
    found = {
        method: products(trained.model, 8, method, space, starts=1, steps=6) for method in METHODS
    }
    right = {method: accuracy(one.tensor, test) for method, one in found.items()}
    assert found["shared"].explained > found["hosvd"].explained > found["eigen"].explained
    assert right["shared"] > trained.test_accuracy - 0.1 > right["eigen"]


@pytest.mark.parametrize("bias", [False, True])
def test_accuracy_is_the_models_on_its_own_tensor(bias):
    model, trained = random_model(1, bias=bias), digits_model()
    test = trained.data().test
    assert accuracy(trained.model.tensor("input"), test) == accuracy_of(trained.model, test)
    guess = model.tensor("input")
    with pytest.raises(QuadricError, match=f"reads {12 + bias} inputs, the images have 64"):
        accuracy(guess, test)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: products(random_model(), 0), "rank is 0"),
        (lambda: products(random_model(), 0, "eigen"), "rank is 0"),
        (lambda: products(random_model(), 2, "cp"), "method is 'cp', expected shared, hosvd"),
        (lambda: products(random_model(), 2, space="pixels"), "space is 'pixels'"),
        (lambda: products(random_model(blocks=2), 2), "2 blocks"),
        (lambda: products(random_model(gate="silu"), 2), "passes through silu"),
        (lambda: restarts(random_model(), 2, 0), "count is 0"),
        (lambda: matched(random_tensor(2, 3, 4), random_tensor(3, 3, 4)), "have 2 and 3 outputs"),
        (
            lambda: accuracy(random_tensor(2, 3, 64), digits_model().data().test.take(
                torch.zeros(0, dtype=torch.int64)
            )),
            "no images",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message):
        call()
