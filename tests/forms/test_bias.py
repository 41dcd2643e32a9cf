"""Folding biases into the lifted input and taking a folded tensor apart."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from quadric.forms import lift, lift_moments
from tests.forms.builders import close, noise, random_tensor
from tests.oracles import forms as oracle

M, N, D = 3, 7, 5
TENSOR, B1, B2, BP = random_tensor(M, N, D), noise(31, N), noise(32, N), noise(33, M)
X = noise(34, 2, 4, D)


def test_lift_appends_the_constant_last():
    lifted = lift(X)
    assert torch.equal(lifted[..., :-1], X)
    assert torch.equal(lifted[..., -1], torch.ones(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("out_bias", [None, BP])
@pytest.mark.parametrize("plain", [False, True])
def test_folded_tensor_computes_the_layer_with_biases(out_bias, plain):
    out = None if plain else TENSOR.out
    tensor = BilinearTensor(TENSOR.left, TENSOR.right, out)
    bias = noise(35, N) if plain and out_bias is not None else out_bias
    folded = tensor.fold_bias(B1, B2, bias)
    hidden = oracle.affine_layer(X, TENSOR.left, B1, TENSOR.right, B2)
    expected = (hidden if plain else hidden @ TENSOR.out.T) + (0 if bias is None else bias)
    assert (folded.d, folded.m) == (D + 1, tensor.m)
    assert close(folded(lift(X)), expected)


def test_bias_mutants_are_told_apart():
    folded = TENSOR.fold_bias(B1, B2, BP)
    truth = folded(lift(X))
    mutants = {
        "bias columns swapped": TENSOR.fold_bias(B2, B1, BP)(lift(X)),
        "right bias in both": TENSOR.fold_bias(B2, B2, BP)(lift(X)),
        "constant first": folded(torch.cat([torch.ones(2, 4, 1), X], dim=-1)),
        "no output bias": TENSOR.fold_bias(B1, B2)(lift(X)),
    }
    for name, mutant in mutants.items():
        assert not close(truth, mutant, 1e-3), name


def test_terms_are_the_blocks_of_the_lifted_form_and_sum_to_the_output():
    folded = TENSOR.fold_bias(B1, B2, BP)
    forms = oracle.matrices(folded)
    terms = folded.terms(X)
    assert close(terms.quadratic, oracle.values(forms[:, :D, :D], X))
    assert close(terms.linear, 2 * X @ forms[:, :D, D].T)
    assert not close(terms.linear, X @ forms[:, :D, D].T, 1e-3)  # the 2 matters
    assert close(terms.constant, forms[:, D, D].expand(2, 4, M))
    assert close(sum(terms), folded(lift(X)))
    at_zero = folded.terms(torch.zeros(D, dtype=torch.float64))
    assert close(sum(at_zero), TENSOR.out @ (B1 * B2) + BP)


def test_parts_hold_the_same_blocks():
    folded = TENSOR.fold_bias(B1, B2, BP)
    parts, forms = folded.parts(), oracle.matrices(folded)
    assert close(oracle.matrices(parts.quadratic), forms[:, :D, :D])
    assert close(parts.linear, 2 * forms[:, :D, D])
    assert close(
        parts.linear, TENSOR.out @ (B2[:, None] * TENSOR.left + B1[:, None] * TENSOR.right)
    )
    swapped = TENSOR.out @ (B1[:, None] * TENSOR.left + B2[:, None] * TENSOR.right)
    assert not close(parts.linear, swapped, 1e-3)
    assert close(parts.constant, forms[:, D, D])
    slope = torch.autograd.functional.jacobian(
        lambda x: folded(lift(x)), torch.zeros(D, dtype=torch.float64)
    )
    assert close(parts.linear, slope)
    plain = BilinearTensor(TENSOR.left, TENSOR.right).fold_bias(B1, B2).parts()
    assert close(plain.linear, B2[:, None] * TENSOR.left + B1[:, None] * TENSOR.right)
    assert close(plain.constant, B1 * B2)


@given(st.floats(-4, 4), st.integers(0, 999))
def test_terms_scale_with_their_degrees(t, seed):
    folded = random_tensor(M, N, D + 1, seed=seed)
    x = noise(seed, D)
    one, scaled = folded.terms(x), folded.terms(t * x)
    assert close(scaled.quadratic, t**2 * one.quadratic, 1e-9)
    assert close(scaled.linear, t * one.linear, 1e-9)
    assert torch.equal(scaled.constant, one.constant)


def test_every_two_input_gate_needs_and_finds_its_biases():
    """f = p(x,y) is bilinear on {0,1}²; the ones with f(0,0) = 1 cannot exist without biases."""
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=torch.float64)
    gates = {
        "and": "0001",
        "or": "0111",
        "xor": "0110",
        "nand": "1110",
        "nor": "1000",
        "xnor": "1001",
    }
    # Neurons 1·x, 1·y and x·y; with the output bias they span every function of two bits.
    readers = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    read = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    ones = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    for table in gates.values():
        f00, f01, f10, f11 = (float(bit) for bit in table)
        out = torch.tensor([[f10 - f00, f01 - f00, f11 - f10 - f01 + f00]], dtype=torch.float64)
        tensor = BilinearTensor(readers, read, out)
        bias = torch.tensor([f00], dtype=torch.float64)
        folded = tensor.fold_bias(ones, torch.zeros(3, dtype=torch.float64), bias)
        expected = torch.tensor([f00, f01, f10, f11], dtype=torch.float64)
        assert close(folded(lift(corners))[:, 0], expected)
        assert tensor(corners)[0, 0] == 0


def test_lifted_moments_are_those_of_the_lifted_input():
    x = noise(7, 500, 3) @ noise(8, 3, 3) + noise(9, 3)
    mean, cov = lift_moments(x.mean(0), x.T.cov())
    assert close(mean, lift(x).mean(0))
    assert close(cov, lift(x).T.cov())


def test_refusals():
    with pytest.raises(QuadricError, match=r"left_bias has shape \(3,\), expected \(7,\)"):
        TENSOR.fold_bias(BP, B2)
    with pytest.raises(QuadricError, match=r"right_bias is torch.float32"):
        TENSOR.fold_bias(B1, B2.float())
    with pytest.raises(QuadricError, match=r"out_bias has shape \(7,\), expected \(3,\)"):
        TENSOR.fold_bias(B1, B2, B1)
    with pytest.raises(QuadricError, match="without the constant"):
        TENSOR.fold_bias(B1, B2).terms(lift(X))
    with pytest.raises(QuadricError, match=r"expected \(d,\) and \(d, d\)"):
        lift_moments(noise(0, 3), noise(0, 4, 4))
