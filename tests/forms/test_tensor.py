"""The class itself: values, interaction matrices, changes of basis, gradients, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from tests.forms.builders import SHAPES, close, noise, random_tensor, tensors
from tests.oracles import forms as oracle


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_interactions_match_the_written_out_forms(shape):
    tensor = random_tensor(*shape)
    forms = oracle.matrices(tensor)
    x, u = noise(20, 2, 3, tensor.d), noise(21, tensor.m)
    assert close(tensor(x), oracle.values(forms, x))
    q = tensor.interaction(u)
    assert torch.equal(q, q.T)
    assert close(q, torch.einsum("k,kab->ab", u, forms))
    assert close(torch.einsum("ab,...a,...b->...", q, x, x), tensor(x) @ u)


def test_interaction_mutants_are_told_apart():
    tensor = random_tensor(3, 7, 5)
    u, assigned = noise(21, 3), tensor.interaction(noise(21, 3))
    w, v, c = tensor.left, tensor.right, tensor.out.T @ u
    product = w.T @ (c[:, None] * v)
    mutants = {
        "unsymmetrised": product,
        "without the half": product + product.T,
        "one factor used twice": w.T @ (c[:, None] * w),
        "antisymmetrised": (product - product.T) / 2,
    }
    for name, mutant in mutants.items():
        assert not close(assigned, mutant, 1e-3), name
    x = noise(22, 5)  # the first mutant gives the same values: only the matrix tells
    assert close(x @ product @ x, x @ assigned @ x)


@given(tensors(), st.floats(-3, 3))
def test_values_are_homogeneous_of_degree_two_and_even(tensor, t):
    x = noise(5, 4, tensor.d)
    assert close(tensor(t * x), t**2 * tensor(x), 1e-9)
    assert torch.equal(tensor(-x), tensor(x))


@given(tensors(), st.integers(0, 99))
def test_interaction_is_linear_in_the_direction(tensor, seed):
    a, b = noise(seed, tensor.m), noise(seed + 1, tensor.m)
    both = tensor.interaction(2 * a - 3 * b)
    assert close(both, 2 * tensor.interaction(a) - 3 * tensor.interaction(b), 1e-9)


def test_interaction_reads_only_the_neurons_with_weight():
    tensor = random_tensor(3, 7, 5)
    out = tensor.out.clone()
    out[:, 2] = 0
    left = tensor.left.clone()
    left[2] = float("nan")
    u = noise(3, 3)
    clean = BilinearTensor(tensor.left, tensor.right, out).interaction(u)
    assert torch.equal(BilinearTensor(left, tensor.right, out).interaction(u), clean)


def test_bases_change_inputs_and_outputs():
    tensor = random_tensor(3, 7, 5)
    inputs, outputs, y = noise(1, 5, 9), noise(2, 4, 3), noise(3, 6, 9)
    assert close(tensor.with_input_basis(inputs)(y), tensor(y @ inputs.T))
    x = noise(4, 6, 5)
    assert close(tensor.with_output_basis(outputs)(x), tensor(x) @ outputs.T)
    plain, mixing = random_tensor(None, 6, 4), noise(5, 3, 6)
    x = noise(6, 2, 4)
    assert close(plain.with_output_basis(mixing)(x), plain(x) @ mixing.T)


def test_gradients_of_values_interactions_and_inner_products():
    factors = [noise(s, *shape).requires_grad_() for s, shape in ((1, (4, 3)), (2, (4, 3)))]
    out = noise(3, 2, 4)
    out[:, 1] = 0  # a neuron that nobody reads still has a gradient to its weights
    out.requires_grad_()
    other, x, u = random_tensor(2, 5, 3, seed=9), noise(4, 6, 3), noise(5, 2)
    for compute in (
        lambda *f: BilinearTensor(*f)(x),
        lambda *f: BilinearTensor(*f).interaction(u),
        lambda *f: BilinearTensor(*f).inner(other),
        lambda *f: BilinearTensor(*f).gram(),
        lambda *f: BilinearTensor(*f).cosine(other),
        lambda *f: BilinearTensor(*f).gaussian_inner(other, noise(6, 3), torch.eye(3) * 2),
    ):
        assert torch.autograd.gradcheck(compute, (*factors, out))
    BilinearTensor(*factors, out).interaction(u).square().sum().backward()
    assert out.grad[:, 1].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precisions_keep_their_dtype_and_the_answer(dtype):
    tensor = random_tensor(3, 7, 5, dtype=dtype)
    exact = tensor.to(dtype=torch.float64)
    near = 4 * torch.finfo(dtype).eps
    u = noise(8, 3, dtype=dtype)
    pairs = [
        (tensor.interaction(u), exact.interaction(u.double())),
        (tensor.gram(), exact.gram()),
        (tensor.input_gram(), exact.input_gram()),
        (tensor.inner(tensor), exact.inner(exact)),
        (tensor.norm(), exact.norm()),
        (tensor.eigh(u).values, exact.eigh(u.double()).values),
        (tensor.hosvd().singular_values, exact.hosvd().singular_values),
        (tensor.gaussian_mean(), exact.gaussian_mean()),
        (tensor.gaussian_inner(tensor), exact.gaussian_inner(exact)),
        (tensor.truncate(2).bound, exact.truncate(2).bound),
    ]
    for got, expected in pairs:
        assert got.dtype == dtype
        assert close(got.double(), expected, near)


def test_to_moves_every_factor_and_repr_shows_no_numbers():
    tensor = random_tensor(3, 7, 5).to(dtype=torch.float32)
    assert {tensor.left.dtype, tensor.right.dtype, tensor.out.dtype} == {torch.float32}
    assert tensor.to("meta").out.device.type == "meta"
    assert repr(tensor) == "BilinearTensor(m=3, n=7, d=5, dtype=torch.float32, device='cpu')"
    assert random_tensor(None, 6, 4).to(dtype=torch.float32).out is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BilinearTensor(noise(0, 7, 5), noise(0, 5, 7)), "left and right have shapes"),
        (lambda: BilinearTensor(noise(0, 7), noise(0, 7)), r"left has shape \(7,\)"),
        (lambda: BilinearTensor([[1.0]], noise(0, 1, 1)), "left is a list"),
        (lambda: BilinearTensor(noise(0, 7, 5), noise(0, 7, 5).float()), "right is torch.float32"),
        (lambda: BilinearTensor(noise(0, 2, 2).long(), noise(0, 2, 2)), "floating"),
        (
            lambda: BilinearTensor(noise(0, 7, 5), noise(0, 7, 5), noise(0, 7, 3)),
            r"out has shape \(7, 3\), expected \(m, 7\)",
        ),
        (lambda: random_tensor(3, 7, 5)(noise(0, 2, 4)), "last axis to be 5"),
        (lambda: random_tensor(3, 7, 5).interaction(noise(0, 7)), r"expected \(3,\)"),
        (lambda: random_tensor(3, 7, 5).with_input_basis(noise(0, 3, 5)), r"expected \(5, p\)"),
        (lambda: random_tensor(3, 7, 5).with_output_basis(noise(0, 3, 7)), r"expected \(q, 3\)"),
    ],
)
def test_refusals_name_what_was_seen(make, message):
    with pytest.raises(QuadricError, match=message):
        make()
