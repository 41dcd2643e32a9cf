"""Effective counts on vectors with a known one, on noise, and on models."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric.vision.sparsity import (
    effective_count,
    effective_pixels,
    effective_rank,
    gaussian_count,
    wigner_count,
)
from tests.vision.builders import random_model
from tests.vision.test_gallery import form


def test_known_vectors() -> None:
    vectors = torch.tensor([[0, 0, -3.0, 0], [2, -2, 2, 2], [0, 0, 0, 0], [0, 5, 0, -5]])
    assert effective_count(vectors).tolist() == [1, 4, 0, 2]
    assert effective_count(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 10)


@given(st.integers(1, 30), st.integers(0, 1000), st.sampled_from([1e-30, 1.0, -1e18]))
def test_it_lies_between_one_and_n_whatever_the_scale(n: int, seed: int, scale: float) -> None:
    y = torch.randn(3, n, generator=torch.Generator().manual_seed(seed))
    found = effective_count(y)
    assert ((found > 1 - 1e-5) & (found < n + 1e-4)).all()
    torch.testing.assert_close(effective_count(scale * y), found, rtol=1e-4, atol=1e-4)


def test_noise_has_the_counts_of_the_closed_forms() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 784, generator=generator, dtype=torch.float64)
    assert effective_count(vectors).mean().item() == pytest.approx(gaussian_count(784), rel=0.01)
    square = torch.randn(400, 400, generator=generator, dtype=torch.float64)
    spectrum = torch.linalg.eigvalsh(square + square.mT)
    assert effective_count(spectrum).item() == pytest.approx(wigner_count(400), rel=0.02)
    assert gaussian_count(784) == pytest.approx(499, abs=0.5)
    assert wigner_count(512) == pytest.approx(369, abs=0.5)


def test_rank_counts_all_eigenvalues() -> None:
    model = random_model()
    for c, found in enumerate(effective_rank(model)):
        values = torch.linalg.eigvalsh(form(model, c))
        expected = values.abs().sum() ** 2 / values.square().sum()
        assert found.item() == pytest.approx(expected.item())
    # One product has two eigenvalues, however wide the embedding is.
    assert (effective_rank(random_model(d_hidden=1)) <= 2).all()


@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
def test_pixels_are_those_of_the_leading_pictures(by: Literal["abs", "pos", "neg"]) -> None:
    model = random_model()
    assert model.embed is not None
    found = effective_pixels(model, k=2, by=by)
    for c in range(len(found)):
        values, vectors = torch.linalg.eigh(form(model, c))
        key = {"abs": -values.abs(), "pos": -values, "neg": values}[by]
        pictures = vectors[:, key.argsort()[:2]].mT @ model.embed.weight.detach()
        expected = pictures.abs().sum(1) ** 2 / pictures.square().sum(1)
        torch.testing.assert_close(found[c], expected)


def test_both_count_in_the_space_asked_for() -> None:
    model = random_model()
    assert model.embed is not None
    embed = model.embed.weight.detach()
    values, vectors = torch.linalg.eigh(embed.mT @ form(model, 0) @ embed)
    rank = values.abs().sum() ** 2 / values.square().sum()
    assert effective_rank(model, space="input")[0].item() == pytest.approx(rank.item())
    first = vectors[:, -1]
    pixels = effective_pixels(model, k=1, by="pos", space="input")[0, 0].item()
    assert pixels == pytest.approx((first.abs().sum() ** 2).item())
