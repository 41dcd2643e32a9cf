"""Singular values, directions and forms against the SVD of the written-out m×d² matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from quadric import BilinearTensor, QuadricError
from tests.forms.builders import close, noise, random_tensor, rotation, tensors
from tests.oracles import forms as oracle

SHAPES = [(3, 7, 5), (9, 4, 6), (None, 6, 4), (None, 12, 3), (8, 11, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_direct_svd(shape):
    tensor = random_tensor(*shape)
    forms = oracle.matrices(tensor)
    directions, singular, _ = torch.linalg.svd(forms.flatten(1), full_matrices=False)
    rank = int((singular > 1e-6 * singular[0]).sum())
    # At most n neurons and d(d+1)/2 independent forms, so some shapes have fewer than m.
    assert rank == min(tensor.m, tensor.n, tensor.d * (tensor.d + 1) // 2)
    found = tensor.hosvd()
    assert close(found.singular_values, singular[:rank], 1e-8)
    overlap = (found.directions * directions.T[:rank]).sum(1).abs()
    assert close(overlap, torch.ones(rank).double(), 1e-8)
    assert found.directions.gather(1, found.directions.abs().argmax(1, keepdim=True)).min() > 0
    unit = oracle.matrices(found.forms)
    assert close(unit.flatten(1) @ unit.flatten(1).T, torch.eye(rank).double(), 1e-7)
    rebuilt = torch.einsum("r,rk,rab->kab", found.singular_values, found.directions, unit)
    assert close(rebuilt, forms, 1e-7)


def test_rank_keeps_the_leading_triples_and_the_rest_is_the_error():
    tensor = random_tensor(5, 9, 6)
    whole, cut = tensor.hosvd(), tensor.hosvd(rank=2)
    assert torch.equal(cut.singular_values, whole.singular_values[:2])
    assert torch.equal(cut.directions, whole.directions[:2])
    kept = torch.einsum(
        "r,rk,rab->kab", cut.singular_values, cut.directions, oracle.matrices(cut.forms)
    )
    error = (oracle.matrices(tensor) - kept).square().sum()
    assert close(error, whole.singular_values[2:].square().sum(), 1e-8)


def test_unsymmetrised_matricisation_is_told_apart():
    tensor = random_tensor(3, 7, 5)
    wrong = torch.linalg.svdvals(oracle.unsymmetrised(tensor).flatten(1))
    assert not close(tensor.hosvd().singular_values, wrong, 1e-2)
    pairs = torch.triu_indices(5, 5)
    upper = oracle.matrices(tensor)[:, pairs[0], pairs[1]]
    weighted = upper * (1.0 + (pairs[0] != pairs[1]).double()).sqrt()
    assert close(tensor.hosvd().singular_values, torch.linalg.svdvals(weighted), 1e-8)
    assert not close(tensor.hosvd().singular_values, torch.linalg.svdvals(upper), 1e-2)


def test_planted_singular_values_come_back():
    """Three orthonormal rank-one forms, each read out along its own direction."""
    axes, directions = rotation(1, 6)[:3], rotation(2, 5)[:3]
    sigma = torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    found = BilinearTensor(axes, axes, directions.T * sigma).hosvd()
    assert close(found.singular_values, sigma)
    assert close((found.directions * directions).sum(1).abs(), torch.ones(3).double())
    for vector, form in zip(axes, oracle.matrices(found.forms), strict=True):
        assert close(form.abs(), torch.outer(vector, vector).abs(), 1e-9)


def test_cut_drops_what_the_gram_cannot_resolve():
    axes = rotation(1, 4)
    for small, rank in ((1e-12, 2), (1e-3, 3)):
        sigma = torch.tensor([1.0, 0.5, small], dtype=torch.float64)
        out = rotation(3, 6)[:, :3] * sigma
        tensor = BilinearTensor(axes[:3], axes[:3], out)
        assert len(tensor.hosvd().singular_values) == rank
        assert tensor.hosvd(rank=3).forms.m == rank


def test_zero_tensor_has_no_triples():
    tensor = BilinearTensor(noise(1, 4, 3), torch.zeros(4, 3).double(), noise(2, 2, 4))
    found = tensor.hosvd()
    assert (found.singular_values.shape, found.directions.shape) == ((0,), (0, 2))
    assert found.forms.m == 0


@given(tensors())
def test_squares_add_up_to_the_norm(tensor):
    squares = tensor.hosvd().singular_values.square().sum()
    assert close(squares, tensor.norm().square(), 1e-8)


def test_refuses_a_rank_beyond_the_outputs():
    for rank in (0, 4):
        with pytest.raises(QuadricError, match=f"rank is {rank}, expected 1 to 3"):
            random_tensor(3, 7, 5).hosvd(rank)
