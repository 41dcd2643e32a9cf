"""Vectors of input pairs against polarised outputs, and their principal components."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.forms import blocks, pair_blocks, pair_count, pair_moments, pair_vectors, sample_pairs
from quadric.forms.pairs import _numbered
from tests.forms.builders import SHAPES, close, noise, random_tensor
from tests.forms.test_invariances import rewritten
from tests.oracles import forms as oracle


@pytest.fixture(params=[1 << 22, 20], ids=["one block", "many blocks"])
def block_entries(request, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", request.param)


def every_pair(tensor):
    return [torch.cat(parts) for parts in zip(*pair_blocks(tensor), strict=True)]


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_are_the_polarised_outputs_each_once(shape):
    tensor = random_tensor(*shape)
    first, second, vectors = every_pair(tensor)
    listed = list(zip(first.tolist(), second.tolist(), strict=True))
    assert listed == [(i, j) for j in range(tensor.d) for i in range(j + 1)]
    assert len(listed) == pair_count(tensor.d)
    forms, axes = oracle.matrices(tensor), torch.eye(tensor.d).double()
    for (i, j), vector in zip(listed, vectors, strict=True):
        assert close(vector, forms[:, i, j])
        polarised = tensor(axes[i] + axes[j]) - tensor(axes[i]) - tensor(axes[j])
        assert close(vector, polarised / 2)
        if i != j:  # the output at the sum of two inputs is not their pair's vector
            assert not close(vector, tensor(axes[i] + axes[j]), 1e-2)
    assert close(pair_vectors(tensor, second, first), vectors)  # in either order


def test_outputs_are_weighted_sums_of_pair_vectors():
    tensor, x = random_tensor(3, 7, 5), noise(5, 5)
    first, second, vectors = every_pair(tensor)
    twice = 1 + (first < second).double()
    assert close(((twice * x[first] * x[second])[:, None] * vectors).sum(0), tensor(x))


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("shape", [*SHAPES, (4, 9, 6)])
def test_components_of_all_pairs_are_those_of_the_tensor(shape):
    tensor = random_tensor(*shape)
    second = torch.zeros(tensor.m, tensor.m, dtype=torch.float64)
    plain = torch.zeros_like(second)
    for pairs in pair_blocks(tensor):  # the pass over the pairs that hosvd does without
        second += pairs.weighted.T @ pairs.weighted
        plain += pairs.vectors.T @ pairs.vectors
    found = tensor.hosvd()
    rank = len(found.singular_values)
    squares, columns = torch.linalg.eigh(second)
    assert close(found.singular_values.square(), squares.flip(0)[:rank], 1e-8)
    overlap = (found.directions * columns.T.flip(0)[:rank]).sum(1).abs()
    assert close(overlap, torch.ones(rank).double(), 1e-8)
    # Without √2 for i < j they differ.
    squares = torch.linalg.eigvalsh(plain).flip(0)[:rank]
    assert not close(found.singular_values.square(), squares, 1e-2)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_the_averages_over_all_pairs(shape, weighted):
    tensor = random_tensor(*shape)
    (first, second, vectors), moments = every_pair(tensor), pair_moments(tensor, weighted=weighted)
    if weighted:
        vectors = vectors * (1 + (first < second).double()).sqrt()[:, None]
    assert close(moments.mean, vectors.mean(0))
    assert close(moments.second, vectors.T @ vectors / len(vectors))


def test_samples_are_uniform_over_the_pairs():
    tensor = random_tensor(3, 7, 5)
    count = 30_000
    drawn = sample_pairs(tensor, count, torch.Generator().manual_seed(1))
    assert (drawn.first <= drawn.second).all()
    forms = oracle.matrices(tensor)
    assert close(drawn.vectors, forms[:, drawn.first, drawn.second].T)
    places = drawn.second * (drawn.second + 1) // 2 + drawn.first
    seen = torch.bincount(places, minlength=15).double()
    expected = count / 15
    assert len(seen) == 15
    assert (seen - expected).square().sum() / expected < 36.1  # χ² of 14 degrees at 0.1 %
    again = sample_pairs(tensor, count, torch.Generator().manual_seed(1))
    assert torch.equal(again.vectors, drawn.vectors)
    mean = drawn.weighted.mean(0)
    spread = drawn.weighted.std(0) / count**0.5
    assert ((mean - pair_moments(tensor, weighted=True).mean).abs() < 4 * spread).all()


def test_numbering_holds_where_the_root_is_rounded():
    for d in (94_906_267, 1_000_000_007):  # (8k + 1) is beyond what float64 counts exactly
        start = d * (d + 1) // 2
        first, second = _numbered(torch.tensor([start - 1, start, start + d]))
        assert first.tolist() == [d - 1, 0, d]
        assert second.tolist() == [d - 1, d, d]


def test_pairs_of_features_are_pairs_in_their_basis():
    tensor, features = random_tensor(3, 7, 5), noise(6, 5, 4)
    first, second, vectors = every_pair(tensor.with_input_basis(features))
    expected = torch.einsum("oab,ac,bc->co", oracle.matrices(tensor), features[:, first],
                            features[:, second])  # fmt: skip
    assert close(vectors, expected)


def test_folded_biases_make_pairs_with_the_constant():
    tensor = random_tensor(3, 7, 5)
    left_bias, right_bias = noise(7, 7), noise(8, 7)
    folded = tensor.fold_bias(left_bias, right_bias)
    first = torch.arange(6)
    vectors = pair_vectors(folded, first, torch.full((6,), 5))

    def layer(x: torch.Tensor) -> torch.Tensor:
        products = oracle.affine_layer(x, tensor.left, left_bias, tensor.right, right_bias)
        return products @ tensor.out.T

    axes = torch.eye(5).double()
    assert close(vectors[:5], (layer(axes) - layer(-axes)) / 4)  # half the linear part
    assert close(vectors[5], layer(torch.zeros(5).double()))
    swapped = tensor.fold_bias(right_bias, left_bias)
    assert not close(vectors[:5], pair_vectors(swapped, first, torch.full((6,), 5))[:5], 1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_depend_on_the_map_alone(seed):
    tensor = random_tensor(3, 7, 5, seed)
    same = rewritten(tensor, seed)
    assert close(every_pair(tensor)[2], every_pair(same)[2], 1e-9)
    for weighted in (True, False):
        first, second = (pair_moments(t, weighted=weighted) for t in (tensor, same))
        assert close(first.mean, second.mean, 1e-9)
        assert close(first.second, second.second, 1e-9)


def test_refusals():
    tensor = random_tensor(3, 7, 5)
    with pytest.raises(QuadricError, match="second ranges from 1 to 5, expected 0 to 4"):
        pair_vectors(tensor, torch.tensor([0, 1]), torch.tensor([1, 5]))
    with pytest.raises(QuadricError, match=r"shapes \(2,\) and \(3,\)"):
        pair_vectors(tensor, torch.arange(2), torch.arange(3))
