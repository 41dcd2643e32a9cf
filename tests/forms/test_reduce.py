"""Spectra behind an embedding: the small decomposition against the p×p one."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.forms import reduce_inputs
from tests.forms.builders import close, noise, random_tensor
from tests.forms.test_invariances import rewritten
from tests.oracles import forms as oracle


@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
# (m, n, d), p: many neurons, few (a small core), no output matrix, and an embedding that widens.
@pytest.mark.parametrize(
    ("shape", "p"), [((3, 9, 5), 11), ((3, 2, 6), 13), ((None, 8, 4), 9), ((3, 9, 7), 5)]
)
def test_spectra_are_those_of_the_wide_tensor(shape, p, by):
    tensor, basis = random_tensor(*shape), noise(40, shape[2], p)
    wide, reduced = tensor.with_input_basis(basis), reduce_inputs(tensor, basis)
    size = min(tensor.d, p)
    assert (reduced.tensor.d, reduced.frame.shape) == (size, (size, p))
    y, us = noise(41, 6, p), noise(42, 4, tensor.m)
    assert close(reduced.tensor(y @ reduced.frame.T), wide(y))
    k = 2 if by == "abs" else 1  # by a sign, zeros that are not listed could come second
    for asked in (us, None):
        found = reduced.eigh_many(asked, k, by)
        expected = wide.eigh_many(asked, k, by)
        assert close(found.values, expected.values, 1e-8)
        assert close(found.vectors, expected.vectors, 1e-7)
    found = reduced.eigh_many(us, size, by)
    rebuilt = torch.einsum("qk,qka,qkb->qab", found.values, found.vectors, found.vectors)
    forms = torch.einsum("qo,oab->qab", us, oracle.matrices(wide))
    assert close(rebuilt, forms, 1e-9)
    largest = found.vectors.gather(-1, found.vectors.abs().argmax(-1, keepdim=True))
    assert (largest >= 0).all()


def test_eigenvectors_of_the_hidden_form_pulled_back_are_others():
    tensor, basis = random_tensor(3, 9, 5), noise(40, 5, 11)
    u = noise(42, 1, 3)
    pulled = tensor.eigh_many(u, 5).vectors[0] @ basis
    pulled = pulled / pulled.norm(dim=1, keepdim=True)
    true = reduce_inputs(tensor, basis).eigh_many(u, 5).vectors[0]
    assert close(true @ true.T, torch.eye(5).double())
    assert not close(pulled @ pulled.T, torch.eye(5).double(), 1e-2)
    assert (pulled * true).sum(1).abs().min() < 0.99


def test_everything_else_is_measured_alike():
    tensor, basis = random_tensor(3, 9, 5), noise(40, 5, 11)
    wide, small = tensor.with_input_basis(basis), reduce_inputs(tensor, basis).tensor
    assert close(small.gram(), wide.gram())
    assert close(small.hosvd().singular_values, wide.hosvd().singular_values, 1e-8)
    assert close(small.truncate(2).bound, wide.truncate(2).bound)
    # The embedding's own inputs are no orthonormal coordinates.
    assert not close(tensor.gram(), wide.gram(), 1e-2)


def test_dependent_rows_of_the_embedding_add_zero_eigenvalues():
    tensor, basis = random_tensor(3, 9, 5), noise(40, 2, 11)
    basis = noise(43, 5, 2) @ basis
    us = noise(42, 2, 3)
    found = reduce_inputs(tensor, basis).eigh_many(us, 5)
    expected = tensor.with_input_basis(basis).eigh_many(us, 2)
    assert close(found.values[:, :2], expected.values)
    assert found.values[:, 2:].abs().max() < 1e-9
    assert close(found.vectors[:, :2], expected.vectors, 1e-8)


def test_folded_biases_go_through_a_lifted_embedding():
    tensor, embedding = random_tensor(3, 9, 5), noise(40, 5, 11)
    folded = tensor.fold_bias(noise(1, 9), noise(2, 9))
    lifted = torch.block_diag(embedding, torch.ones(1, 1).double())
    found = reduce_inputs(folded, lifted).eigh_many(None, 6)
    expected = tensor.with_input_basis(embedding).fold_bias(noise(1, 9), noise(2, 9))
    assert close(found.values, expected.eigh_many(None, 6).values, 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_spectra_depend_on_the_map_alone(seed):
    tensor, basis = random_tensor(3, 9, 5, seed), noise(40, 5, 11)
    first, second = (
        reduce_inputs(t, basis).eigh_many(None, 3) for t in (tensor, rewritten(tensor, seed))
    )
    assert close(first.values, second.values, 1e-9)
    assert close(first.vectors, second.vectors, 1e-6)


def test_refusals():
    tensor = random_tensor(3, 9, 5)
    with pytest.raises(QuadricError, match=r"basis has shape \(4, 11\), expected \(5, p\)"):
        reduce_inputs(tensor, noise(1, 4, 11))
    with pytest.raises(QuadricError, match="basis holds NaN"):
        reduce_inputs(tensor, torch.full((5, 11), torch.nan).double())
