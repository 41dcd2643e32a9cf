"""Decoding to x: the affine linear block and the leading eigenpair."""

from __future__ import annotations

import pytest
import torch

from quadric.autoencoders.decode import leading_vector, linear_part
from tests.autoencoders.test_identities import activations, make
from tests.oracles import autoencoders as oracle

VARIANTS = ("vanilla", "ordered", "mixed", "combined", "composite")


@pytest.mark.parametrize("variant", VARIANTS)
def test_affine_decode_is_the_linear_block(variant: str) -> None:
    model, x = make(variant, True, True), activations(5)
    latents = model.encode(x)
    for row, latent in zip(x, latents, strict=True):
        block = oracle.reconstruction(model, row)[:5, 5]
        expected = block * model.transform.mean_norm + model.transform.mean
        torch.testing.assert_close(model.decode(latent), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        2 * model.decode(latents[0]) - model.decode(0 * latents[0]), model.decode(2 * latents[0])
    )  # linear in the latents


@pytest.mark.parametrize("variant", VARIANTS)
def test_leading_eigenpair_against_dense(variant: str) -> None:
    model, x = make(variant, True, False), activations(6)
    reconstruction = model(x)
    for row, found in zip(x, reconstruction, strict=True):
        values, vectors = torch.linalg.eigh(oracle.reconstruction(model, row))
        y = oracle.lifted_input(model, row)
        expected = vectors[:, -1] * values[-1].clamp_min(0).sqrt()
        expected = expected * torch.sign(expected @ y)
        norm = (row - model.transform.mean).norm()
        torch.testing.assert_close(found, expected * norm + model.transform.mean)


def test_sign_comes_from_like_and_is_announced_as_arbitrary_without() -> None:
    model, x = make("vanilla", True, False), activations(4)
    latents = model.encode(x)
    torch.testing.assert_close(model.decode(latents, like=x), model(x))
    mirrored = 2 * model.transform.mean - x
    torch.testing.assert_close(model.encode(mirrored), latents)  # products are even
    torch.testing.assert_close(
        model(mirrored) - model.transform.mean, model.transform.mean - model(x)
    )
    with pytest.warns(UserWarning, match="arbitrary sign"):
        blind = model.decode(latents)
    y = (blind - model.transform.mean) / model.transform.mean_norm
    norms = (x - model.transform.mean).norm(dim=-1, keepdim=True)
    seen = (model(x) - model.transform.mean) / norms
    torch.testing.assert_close(y.abs(), seen.abs())
    assert (y.gather(1, y.abs().argmax(-1, keepdim=True)) > 0).all()


def test_a_perfect_dictionary_returns_x() -> None:
    """With one latent per symmetric product X̂ = X, so forward must be the identity."""
    pairs = [(i, j) for i in range(5) for j in range(i, 5)]
    model = make("vanilla", True, False)
    eye = torch.eye(5, dtype=torch.float64)
    scale = torch.tensor([1.0 if i == j else 2**0.5 for i, j in pairs]).double().sqrt()
    model.left.data = eye[[i for i, _ in pairs]] * scale[:, None]
    model.right.data = eye[[j for _, j in pairs]] * scale[:, None]
    model.config = model.config.replace(d_sae=15)
    x = activations(20)
    assert model.product_error(x).max() < 1e-12
    torch.testing.assert_close(model(x), x, rtol=1e-7, atol=1e-7)


def test_no_positive_eigenvalue_gives_zero() -> None:
    left = torch.eye(3, dtype=torch.float64)
    found = leading_vector(-torch.ones(2, 3, dtype=torch.float64), left, left)
    assert found.abs().max() == 0


def test_many_dimensions_need_only_a_few_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(300, 120, generator=generator).double() for _ in range(2))
    x = torch.randn(8, 120, generator=generator).double()
    strong = torch.cat([left, 9 * x]), torch.cat([right, x])
    coefficients = torch.cat(
        [0.1 * torch.randn(8, 300, generator=generator).double(), torch.eye(8).double()], dim=1
    )
    found = leading_vector(coefficients, *strong)
    for row, vector in enumerate(found):
        form = torch.einsum("j,jk,jl->kl", coefficients[row], *strong)
        values, vectors = torch.linalg.eigh((form + form.T) / 2)
        expected = vectors[:, -1] * values[-1].sqrt()
        assert abs(vector @ expected) / expected.norm() ** 2 == pytest.approx(1, abs=1e-4)


def test_swapping_constants_in_the_linear_part_is_caught() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(7, 4, generator=generator).double() for _ in range(2))
    g = torch.randn(2, 7, generator=generator).double()
    wrong = g @ (0.5 * (left[:, -1:] * left[:, :-1] + right[:, -1:] * right[:, :-1]))
    assert (linear_part(g, left, right) - wrong).abs().max() > 0.1


def test_gathered_factors_are_those_of_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(9, 6, generator=generator).double() for _ in range(2))
    g = torch.randn(4, 3, generator=generator).double()
    kept = torch.rand(4, 9, generator=generator).argsort(1)[:, :3]
    dense = torch.zeros(4, 9).double().scatter(1, kept, g)
    for way in (leading_vector, linear_part):
        found = way(g, left[kept], right[kept])
        torch.testing.assert_close(found, way(dense, left, right))
