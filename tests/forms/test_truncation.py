"""Outputs cut to k eigen-terms: exactness at full rank, the certificate, the best approximation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import QuadricError
from tests.forms.builders import close, noise, random_tensor, tensors
from tests.oracles import forms as oracle

SHAPES = [(3, 7, 5), (2, 3, 11), (None, 6, 4), (None, 5, 12)]


@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
@pytest.mark.parametrize("shape", SHAPES)
def test_cut_outputs_are_the_leading_terms(shape, by):
    tensor = random_tensor(*shape)
    forms, x = oracle.matrices(tensor), noise(3, 6, tensor.d)
    for k in range(tensor.d + 1):
        cut, bound = tensor.truncate(k, by)
        assert (cut.m, cut.n, cut.d) == (tensor.m, k * tensor.m, tensor.d)
        assert (cut.out is None) == (k == 1)  # one term per output needs no m×m identity
        for j, form in enumerate(forms):
            values, vectors = oracle.leading(form, by)
            # Zero eigenvalues outside the span of an output's neurons are no terms.
            alive = values.abs() > 1e-9
            values, vectors = values[alive], vectors[alive]
            kept = torch.einsum("i,ia,ib->ab", values[:k], vectors[:k], vectors[:k])
            assert close(cut(x)[:, j], torch.einsum("ab,ta,tb->t", kept, x, x), 1e-8)
            dropped = values[k:].abs().max() if len(values) > k else torch.zeros(())
            assert abs(bound[j] - dropped) < 1e-9
    full, bound = tensor.truncate(tensor.d, by)
    assert close(full(x), tensor(x))
    assert not bound.any()


@pytest.mark.parametrize("by", ["abs", "pos", "neg"])
def test_bound_is_attained_and_never_passed(by):
    tensor = random_tensor(3, 9, 6)
    cut, bound = tensor.truncate(2, by)
    radius = 2.5
    difference = oracle.matrices(tensor) - oracle.matrices(cut)
    for j, form in enumerate(difference):
        values, vectors = oracle.leading(form, "abs")
        worst = radius * vectors[0]
        error = (tensor(worst) - cut(worst))[j].abs()
        assert close(error, bound[j] * radius**2)
        assert close(values[0].abs(), bound[j])
    x = noise(4, 1000, 6)
    assert ((tensor(x) - cut(x)).abs() <= bound * x.square().sum(1, keepdim=True)).all()


def test_by_abs_the_cut_is_the_best_of_its_rank():
    tensor = random_tensor(3, 9, 6)
    cut = tensor.truncate(2).tensor
    difference = oracle.matrices(tensor) - oracle.matrices(cut)
    for j, form in enumerate(oracle.matrices(tensor)):
        values, _ = oracle.leading(form, "abs")
        assert close(difference[j].square().sum(), values[2:].square().sum())
        mutants = {"smallest kept": values[:-2], "most negative kept": values.sort().values[2:]}
        for name, dropped in mutants.items():
            assert not close(difference[j].square().sum(), dropped.square().sum(), 1e-3), name


@given(tensors(), st.integers(0, 5))
def test_bound_falls_with_the_number_of_terms(tensor, k):
    k = min(k, tensor.d - 1)
    assert (tensor.truncate(k + 1).bound <= tensor.truncate(k).bound).all()


def test_refusals():
    with pytest.raises(QuadricError, match="k is 6, expected 0 to 5"):
        random_tensor(3, 7, 5).truncate(6)
    with pytest.raises(QuadricError, match="by is 'largest'"):
        random_tensor(3, 7, 5).truncate(2, by="largest")
