"""Inner products between forms, against the written-out tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from quadric.forms import blocks
from tests.forms.builders import SHAPES, close, noise, random_tensor, tensors
from tests.oracles import forms as oracle


@pytest.fixture(params=[1 << 22, 10], ids=["one block", "many blocks"])
def block_entries(request, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", request.param)


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("shape", SHAPES)
def test_grams_match_the_written_out_forms(shape):
    tensor = random_tensor(*shape)
    other = random_tensor(tensor.m, 8, tensor.d, seed=50)
    plain = random_tensor(None, 5, tensor.d, seed=60)
    a, b, c = (oracle.matrices(t) for t in (tensor, other, plain))
    gram = tensor.gram()
    assert torch.equal(gram, gram.T)
    assert close(gram, torch.einsum("kab,lab->kl", a, a))
    assert close(tensor.cross_gram(other), torch.einsum("kab,lab->kl", a, b))
    assert close(tensor.cross_gram(plain), torch.einsum("kab,lab->kl", a, c))
    assert close(plain.cross_gram(tensor), torch.einsum("kab,lab->kl", c, a))
    assert close(tensor.inner(other), (a * b).sum())
    assert close(tensor.norm(), a.square().sum().sqrt())
    assert close(tensor.cosine(other), (a * b).sum() / a.norm() / b.norm(), 1e-9)
    input_gram = tensor.input_gram()
    assert torch.equal(input_gram, input_gram.T)
    assert close(input_gram, torch.einsum("kab,kcb->ac", a, a))


@pytest.mark.usefixtures("block_entries")
def test_inner_products_mix_tensors_with_and_without_an_output_matrix():
    plain, mixed = random_tensor(None, 6, 4), random_tensor(6, 9, 4, seed=70)
    a, b = oracle.matrices(plain), oracle.matrices(mixed)
    assert close(plain.inner(mixed), (a * b).sum())
    assert close(mixed.inner(plain), (a * b).sum())
    other = random_tensor(None, 6, 4, seed=80)
    assert close(plain.inner(other), (a * oracle.matrices(other)).sum())


def test_gram_mutants_are_told_apart():
    tensor = random_tensor(3, 7, 5)
    gram, norm = tensor.gram(), tensor.norm()
    w, v, p = tensor.left, tensor.right, tensor.out
    straight, crossed = (w @ w.T) * (v @ v.T), (w @ v.T) * (v @ w.T)
    mutants = {
        "unsymmetrised": straight,
        "only crossed": crossed,
        "without the half": straight + crossed,
        "antisymmetric part": (straight - crossed) / 2,
        "factors paired with themselves": ((w @ w.T) ** 2 + (v @ v.T) ** 2) / 2,
    }
    assert close(gram, p @ ((straight + crossed) / 2) @ p.T)
    for name, mutant in mutants.items():
        assert not close(gram, p @ mutant @ p.T, 1e-3), name
    assert not close(norm, oracle.unsymmetrised(tensor).norm(), 1e-3)
    unsymmetric = oracle.unsymmetrised(tensor)
    assert not close(
        tensor.input_gram(), torch.einsum("kab,kcb->ac", unsymmetric, unsymmetric), 1e-3
    )


@given(tensors(outputs=3, inputs=4), tensors(outputs=3, inputs=4), st.floats(0.1, 9))
def test_inner_product_laws(a, b, t):
    scaled = BilinearTensor(t * a.left, a.right, a.out)
    assert close(a.inner(b), b.inner(a), 1e-9)
    assert close(scaled.inner(b), t * a.inner(b), 1e-9)
    assert abs(a.inner(b)) <= a.norm() * b.norm() * (1 + 1e-12)
    assert abs(scaled.cosine(b) - a.cosine(b)) < 1e-9
    assert abs(scaled.cosine(a) - 1) < 1e-12
    negative = BilinearTensor(-a.left, a.right, a.out)
    assert abs(negative.cosine(a) + 1) < 1e-12


@given(tensors())
def test_both_grams_hold_the_whole_norm_and_are_positive(tensor):
    square = tensor.norm().square()
    assert close(tensor.gram().trace(), square, 1e-9)
    assert close(tensor.input_gram().trace(), square, 1e-9)
    for gram in (tensor.gram(), tensor.input_gram()):
        assert torch.linalg.eigvalsh(gram)[0] >= -1e-9 * square


def test_training_on_an_inner_product_keeps_no_pair_of_neurons(monkeypatch):
    """Under autograd the tape holds factors, not blocks of the n×n products."""
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", 4000)
    n, d = 400, 6
    left, right = noise(1, n, d).requires_grad_(), noise(2, n, d).requires_grad_()
    tensor = BilinearTensor(left, right, noise(3, 2, n))
    kept: dict[int, int] = {}

    def pack(saved):
        kept[saved.untyped_storage().data_ptr()] = saved.numel()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        value = tensor.inner(tensor)
    assert sum(kept.values()) < n * n / 4
    value.backward()
    delta = 1e-6 * noise(4, n, d)
    with torch.no_grad():
        moved = [
            BilinearTensor(left + s * delta, right, tensor.out).norm().square() for s in (1, -1)
        ]
    assert abs((moved[0] - moved[1]) / 2 - (left.grad * delta).sum()) < 1e-5 * abs(moved[0])
    assert close((left.grad * delta).sum(), (moved[0] - moved[1]) / 2, 1e-6)


def test_refusals():
    tensor = random_tensor(3, 7, 5)
    with pytest.raises(QuadricError, match="read 5 and 4 inputs"):
        tensor.cross_gram(random_tensor(3, 7, 4))
    with pytest.raises(QuadricError, match="have 3 and 2 outputs"):
        tensor.inner(random_tensor(2, 7, 5))
    with pytest.raises(QuadricError, match=r"torch.float64 on cpu and torch.float32"):
        tensor.inner(random_tensor(3, 7, 5, dtype=torch.float32))
    zero = BilinearTensor(torch.zeros_like(tensor.left), tensor.right, tensor.out)
    with pytest.raises(QuadricError, match="second tensor is zero"):
        tensor.cosine(zero)
