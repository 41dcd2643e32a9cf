"""Gaussian moments: the written-out fourth moment, Monte Carlo, laws and mutants."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from quadric.forms import lift_moments
from tests.forms.builders import close, noise, random_tensor, tensors
from tests.oracles import forms as oracle

M, D = 3, 5
A, B = random_tensor(M, 7, D), random_tensor(M, 4, D, seed=40)
FORMS = oracle.matrices(A), oracle.matrices(B)
MEAN = noise(51, D)
SPREADS = {
    "full": noise(52, D, D),
    "singular": noise(53, D, 2),
    "point": torch.zeros(D, 1, dtype=torch.float64),
}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("mean", [None, MEAN])
def test_moments_match_the_written_out_fourth_moment(spread, mean):
    cov = SPREADS[spread] @ SPREADS[spread].T
    centre = torch.zeros(D, dtype=torch.float64) if mean is None else mean
    means = [oracle.gaussian_means(forms, centre, cov) for forms in FORMS]
    products = oracle.gaussian_products(*FORMS, centre, cov)
    assert close(A.gaussian_mean(mean, cov), means[0])
    assert close(A.gaussian_inner(B, mean, cov), products.sum())
    covariance = products.sum() - means[0] @ means[1]
    scale = products.abs().sum()
    assert abs(A.gaussian_inner(B, mean, cov, centred=True) - covariance) <= 1e-10 * scale


def test_no_moments_stand_for_the_standard_gaussian():
    zero, identity = torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
    traces = [torch.einsum("kaa->k", forms) for forms in FORMS]
    expected = 2 * A.inner(B) + traces[0] @ traces[1]
    assert close(A.gaussian_inner(B), expected)
    assert close(A.gaussian_inner(B, zero, identity), expected)
    assert close(A.gaussian_mean(), traces[0])
    plain = random_tensor(None, 6, 4)
    assert close(plain.gaussian_mean(), (plain.left * plain.right).sum(1))


def test_moments_are_constants_to_autograd():
    mean, cov = MEAN.clone().requires_grad_(), torch.eye(D, dtype=torch.float64).requires_grad_()
    left = A.left.clone().requires_grad_()
    assert not A.gaussian_inner(B, mean, cov).requires_grad
    assert BilinearTensor(left, A.right, A.out).gaussian_inner(B, mean, cov).requires_grad


def test_cosines_match_the_written_out_moments():
    cov = SPREADS["full"] @ SPREADS["full"].T
    means = [oracle.gaussian_means(forms, MEAN, cov) for forms in FORMS]
    for centred in (False, True):

        def product(i, j, subtract=centred):
            moment = oracle.gaussian_products(FORMS[i], FORMS[j], MEAN, cov).sum()
            return moment - subtract * (means[i] @ means[j])

        expected = product(0, 1) / (product(0, 0) * product(1, 1)).sqrt()
        assert close(A.gaussian_cosine(B, MEAN, cov, centred=centred), expected, 1e-9)


def test_gaussian_mutants_are_told_apart():
    cov = SPREADS["full"] @ SPREADS["full"].T
    a, b = FORMS
    trace = torch.einsum("kab,bc,kce,ea->", a, cov, b, cov)
    slope = torch.einsum("a,kab,bc,kce,e->", MEAN, a, cov, b, MEAN)
    means = oracle.gaussian_means(a, MEAN, cov) @ oracle.gaussian_means(b, MEAN, cov)
    exact = A.gaussian_inner(B, MEAN, cov)
    assert close(exact, 2 * trace + 4 * slope + means)
    factor = torch.linalg.cholesky(cov)
    mutants = {
        "trace once": trace + 4 * slope + means,
        "slopes twice": 2 * trace + 2 * slope + means,
        "no means": 2 * trace + 4 * slope,
        "factor transposed": 2 * A.with_input_basis(factor.T).inner(B.with_input_basis(factor.T))
        + 4 * slope
        + means,
        "covariance for its factor": 2 * A.with_input_basis(cov).inner(B.with_input_basis(cov))
        + 4 * slope
        + means,
    }
    for name, mutant in mutants.items():
        assert not close(exact, mutant, 1e-3), name


def test_layer_with_biases_agrees_with_monte_carlo():
    """The folded tensor with lifted moments, within four standard errors of 400,000 draws."""
    folded = [
        tensor.fold_bias(noise(s, tensor.n), noise(s + 1, tensor.n), noise(s + 2, M))
        for s, tensor in ((60, A), (70, B))
    ]
    spread = 0.6 * SPREADS["full"]
    mean, cov = lift_moments(MEAN, spread @ spread.T)
    x = MEAN + noise(80, 400_000, D) @ spread.T
    f, g = (
        tensor.terms(x).quadratic + tensor.terms(x).linear + tensor.terms(x).constant
        for tensor in folded
    )
    draws = {
        "mean": (f[:, 0], folded[0].gaussian_mean(mean, cov)[0]),
        "product": ((f * g).sum(1), folded[0].gaussian_inner(folded[1], mean, cov)),
        "covariance": (
            ((f - f.mean(0)) * (g - g.mean(0))).sum(1),
            folded[0].gaussian_inner(folded[1], mean, cov, centred=True),
        ),
    }
    for name, (samples, exact) in draws.items():
        error = samples.std() / len(samples) ** 0.5
        assert abs(samples.mean() - exact) < 4 * error, name


@given(tensors(outputs=2, inputs=3), st.integers(0, 99), st.booleans())
def test_the_same_map_in_other_factors_has_cosine_one(tensor, seed, centred):
    order = noise(seed, tensor.n).argsort()
    scale = noise(seed + 1, tensor.n, 1).exp()
    same = BilinearTensor(
        (tensor.right / scale)[order], (tensor.left * scale)[order], tensor.out[:, order]
    )
    mean, spread = noise(seed + 2, 3), noise(seed + 3, 3, 3)
    cosine = tensor.gaussian_cosine(same, mean, spread @ spread.T, centred=centred)
    assert abs(cosine - 1) < 1e-12


@given(tensors(outputs=2, inputs=4), st.integers(0, 99))
def test_moments_move_with_the_input_basis(tensor, seed):
    """f(Ey) under y ~ N(μ, Σ) is f under N(Eμ, EΣEᵀ)."""
    basis, mean, spread = noise(seed, 4, 3), noise(seed + 1, 3), noise(seed + 2, 3, 3)
    cov = spread @ spread.T
    there = tensor.gaussian_inner(tensor, basis @ mean, basis @ cov @ basis.T)
    moved = tensor.with_input_basis(basis)
    assert close(moved.gaussian_inner(moved, mean, cov), there, 1e-8)


def test_refusals():
    eye = torch.eye(D, dtype=torch.float64)
    with pytest.raises(QuadricError, match=r"mean has shape \(4,\), expected \(5,\)"):
        A.gaussian_mean(noise(0, 4))
    with pytest.raises(QuadricError, match=r"cov has shape \(5,\), expected \(5, 5\)"):
        A.gaussian_inner(B, None, noise(0, 5))
    with pytest.raises(QuadricError, match="not symmetric"):
        A.gaussian_inner(B, None, noise(0, 5, 5))
    with pytest.raises(QuadricError, match="smallest eigenvalue is -1"):
        A.gaussian_inner(B, None, torch.diag(torch.tensor([1.0, 1, 1, 1, -1])).double())
    with pytest.raises(QuadricError, match="first tensor has no variance"):
        A.gaussian_cosine(B, MEAN, 0 * eye, centred=True)
    with pytest.raises(QuadricError, match="have 3 and 2 outputs"):
        A.gaussian_cosine(random_tensor(2, 4, D), centred=False)
