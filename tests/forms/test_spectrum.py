"""Eigenpairs: small core and dense path, batches, planted spectra, signs and refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from quadric.forms import Eigenpairs, blocks
from tests.forms.builders import close, noise, random_tensor, rotation, tensors
from tests.oracles import forms as oracle

RULES = ["abs", "pos", "neg"]
# (m, n, d): small core, one neuron, just below and just above the switch to dense, dense.
SHAPES = [(3, 4, 20), (None, 6, 13), (2, 3, 7), (2, 4, 7), (3, 9, 5)]


def rebuilt(pairs: Eigenpairs) -> torch.Tensor:
    return torch.einsum("...k,...ka,...kb->...ab", pairs.values, pairs.vectors, pairs.vectors)


def check_signs(vectors: torch.Tensor) -> None:
    largest = vectors.gather(-1, vectors.abs().argmax(-1, keepdim=True))
    assert (largest > 0).all()


@pytest.fixture(params=[1 << 22, 20], ids=["one block", "many blocks"])
def block_entries(request, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", request.param)


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("shape", SHAPES)
def test_eigenpairs_match_the_written_out_form(shape, by):
    tensor = random_tensor(*shape)
    u = noise(9, tensor.m)
    pairs = tensor.eigh(u, by=by)
    form = torch.einsum("k,kab->ab", u, oracle.matrices(tensor))
    count = min(tensor.d, 2 * tensor.n)
    assert pairs.values.shape == (count,)
    assert close(rebuilt(pairs), form)
    assert close(pairs.vectors @ pairs.vectors.T, torch.eye(count, dtype=torch.float64))
    expected, _ = oracle.leading(form, by)
    nonzero = expected[expected.abs() > 1e-9]
    assert close(pairs.values[pairs.values.abs() > 1e-9], nonzero)
    key = {"abs": -pairs.values.abs(), "pos": -pairs.values, "neg": pairs.values}[by]
    assert (key.diff() >= 0).all()
    check_signs(pairs.vectors)
    leading = tensor.eigh(u, 2, by)
    assert torch.equal(leading.values, pairs.values[:2])
    assert close(leading.vectors, pairs.vectors[:2])
    terms = pairs.values * (noise(10, tensor.d) @ pairs.vectors.T).square()
    assert close(terms.sum(), tensor(noise(10, tensor.d)) @ u)


@pytest.mark.parametrize("d", [3, 11])
def test_one_neuron_has_two_known_eigenvalues(d):
    tensor = random_tensor(None, 1, d)
    w, v = tensor.left[0], tensor.right[0]
    values = tensor.eigh(torch.ones(1, dtype=torch.float64), by="pos").values
    dot, size = w @ v, w.norm() * v.norm()
    assert close(values[0], (dot + size) / 2)
    assert close(values[-1], (dot - size) / 2)


def test_lower_triangle_of_the_unsymmetrised_matrix_is_told_apart():
    tensor = random_tensor(3, 4, 20)
    u = noise(9, 3)
    values = tensor.eigh(u).values
    product = tensor.left.T @ ((tensor.out.T @ u)[:, None] * tensor.right)
    wrong = torch.linalg.eigvalsh(product)
    wrong = wrong[(-wrong.abs()).argsort()][: len(values)]
    assert not close(values, wrong, 1e-2)


@given(
    st.integers(0, 99),
    st.lists(st.floats(-3, 3).filter(lambda v: abs(v) > 0.05), min_size=1, max_size=5, unique=True),
    st.sampled_from([6, 30]),
    st.sampled_from(RULES),
)
def test_planted_spectrum_comes_back(seed, planted, d, by):
    """Each λvvᵀ is one neuron, split in two unequal parts, rescaled, swapped and shuffled."""
    spectrum = torch.tensor(planted, dtype=torch.float64)
    # Equal sizes may come in either order, and eigenvectors of near-equal values may turn.
    assume((spectrum.abs().sort().values.diff() > 1e-3).all())
    axes = rotation(seed, d)[: len(planted)]
    share, scale = 0.3, noise(seed + 1, 2 * len(planted), 1).exp()
    left = torch.cat([spectrum[:, None] * axes * share, axes * (1 - share)]) * scale
    right = torch.cat([axes, spectrum[:, None] * axes]) / scale
    order = noise(seed + 2, 2 * len(planted)).argsort()
    tensor = BilinearTensor(left[order], right[order], torch.ones(1, len(left)).double())
    pairs = tensor.eigh(torch.ones(1, dtype=torch.float64), by=by)
    alive = pairs.values.abs() > 1e-8
    key = {"abs": -spectrum.abs(), "pos": -spectrum, "neg": spectrum}[by]
    order = key.argsort()
    assert close(pairs.values[alive], spectrum[order])
    assert close(
        (pairs.vectors[alive] * axes[order]).sum(1).abs(), torch.ones(len(planted)).double()
    )


def test_and_gate_has_the_sum_and_difference_as_eigenvectors():
    """One neuron (n̂·x)(ŝ·x) of weight c: λ = ±c/2 along (n̂ ± ŝ)/√2; ŝ alone cancels."""
    n_hat, s_hat = rotation(4, 9)[:2]
    tensor = BilinearTensor(n_hat[None], s_hat[None], torch.tensor([[0.8]], dtype=torch.float64))
    pairs = tensor.eigh(torch.ones(1, dtype=torch.float64), by="pos")
    assert close(pairs.values, torch.tensor([0.4, -0.4], dtype=torch.float64))
    assert abs(abs(pairs.vectors[0] @ (n_hat + s_hat)) - 2**0.5) < 1e-12
    assert abs(abs(pairs.vectors[1] @ (n_hat - s_hat)) - 2**0.5) < 1e-12
    assert abs(tensor(s_hat)) < 1e-12


@pytest.mark.parametrize("d", [4, 25])
def test_repeated_dependent_and_zero_factor_rows(d):
    """Six neurons of which the third to sixth repeat, rescale, equal their pair or vanish."""
    left, right = noise(1, 6, d), noise(2, 6, d)
    left[2], right[2] = left[0], right[0]
    left[3], right[3] = right[1], left[1]
    right[4] = 2 * left[4]
    left[5] = 0
    tensor, u = BilinearTensor(left, right), noise(3, 6)
    pairs = tensor.eigh(u)
    assert close(rebuilt(pairs), torch.einsum("k,kab->ab", u, oracle.matrices(tensor)))
    assert close(pairs.vectors @ pairs.vectors.T, torch.eye(len(pairs.values)).double())


def test_sign_of_a_tie_does_not_depend_on_rounding():
    vector = torch.tensor([0.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    for nudge in (1e-13, -1e-13):
        moved = (vector + nudge * torch.tensor([0, 1.0, -1.0, 1.0]).double())[None]
        found = BilinearTensor(moved, moved).eigh(torch.ones(1).double(), 1).vectors[0]
        assert close(found, -vector / 3**0.5)


def test_directions_that_read_nothing_have_no_pairs():
    tensor = random_tensor(None, 6, 13)
    pairs = tensor.eigh(torch.zeros(6, dtype=torch.float64))
    assert (pairs.values.shape, pairs.vectors.shape) == ((0,), (0, 13))
    many = tensor.eigh_many(torch.zeros(2, 6, dtype=torch.float64), 3)
    assert not many.values.any()
    assert not many.vectors.any()


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("shape", SHAPES)
def test_many_directions_equal_one_at_a_time(shape, by):
    tensor = random_tensor(*shape)
    us = noise(11, 8, tensor.m)
    if tensor.out is None:  # supports of several sizes, none among them
        us = us * (noise(12, 8, tensor.m) > torch.linspace(-1, 2, 8)[:, None])
        us[3] = 0
    k = min(tensor.d, 4)
    many = tensor.eigh_many(us, k, by)
    assert (many.values.shape, many.vectors.shape) == ((8, k), (8, k, tensor.d))
    for u, values, vectors in zip(us, *many, strict=True):
        one = tensor.eigh(u, k, by)
        width = len(one.values)
        assert close(values[:width], one.values)
        alive = one.values.abs() > 1e-9
        assert close(vectors[:width][alive], one.vectors[alive], 1e-8)
        assert not values[width:].any()
        assert not vectors[width:].any()
    every = tensor.eigh_many(None, k, by)
    spelt = tensor.eigh_many(torch.eye(tensor.m, dtype=torch.float64), k, by)
    assert close(every.values, spelt.values)
    alive = spelt.values.abs() > 1e-9
    assert close(every.vectors[alive], spelt.vectors[alive], 1e-8)


@pytest.mark.parametrize("d", [5, 30])
def test_forms_given_by_their_neurons_equal_dense_directions(d):
    tensor = random_tensor(2, 12, d)
    neurons = torch.stack([noise(s, 12).argsort()[:3] for s in range(7)])
    weights = noise(8, 7, 3)
    us = torch.zeros(7, 12, dtype=torch.float64).scatter(1, neurons, weights)
    plain = BilinearTensor(tensor.left, tensor.right)
    got, expected = tensor.eigh_sparse(neurons, weights, 4), plain.eigh_many(us, 4)
    assert close(got.values, expected.values)
    assert close(got.vectors, expected.vectors, 1e-8)


def test_a_few_neurons_among_many_leave_the_others_unread():
    """Every other row is NaN: whatever touched one would show it."""
    n, d = 100_000, 24
    left = torch.full((n, d), float("nan"))
    right = left.clone()
    active = torch.tensor([5, 70_000, 99_999, 17])
    left[active], right[active] = noise(1, 4, d).float(), noise(2, 4, d).float()
    tensor = BilinearTensor(left, right)
    u = torch.zeros(n)
    u[active] = torch.tensor([1.0, -2.0, 0.5, 3.0])
    small = BilinearTensor(left[active].double(), right[active].double())
    expected = small.eigh(u[active].double(), 3)
    for pairs in (
        tensor.eigh(u, 3),
        Eigenpairs(*(part[0] for part in tensor.eigh_many(u[None], 3))),
        Eigenpairs(*(part[0] for part in tensor.eigh_sparse(active[None], u[active][None], 3))),
    ):
        assert close(pairs.values.double(), expected.values, 1e-6)
        assert close(pairs.vectors.double(), expected.vectors, 1e-5)
    assert close(tensor.interaction(u).double(), small.interaction(u[active].double()), 1e-6)


@given(tensors(), st.sampled_from(RULES), st.integers(0, 99))
def test_reversing_the_form_reverses_the_spectrum(tensor, by, seed):
    u = noise(seed, tensor.m)
    mirrored = {"abs": "abs", "pos": "neg", "neg": "pos"}[by]
    plus, minus = tensor.eigh(u, by=by).values, tensor.eigh(-u, by=mirrored).values
    plus, minus = (plus.abs(), minus.abs()) if by == "abs" else (plus, -minus)
    assert close(plus, minus, 1e-9)


def test_refusals():
    tensor = random_tensor(3, 7, 5)
    u = noise(1, 3)
    for k in (0, 6):
        with pytest.raises(QuadricError, match=f"k is {k}, expected 1 to 5"):
            tensor.eigh(u, k)
        with pytest.raises(QuadricError, match=f"k is {k}, expected 1 to 5"):
            tensor.eigh_many(None, k)
    with pytest.raises(QuadricError, match="did you mean 'pos'"):
        tensor.eigh(u, by="post")
    with pytest.raises(QuadricError, match=r"u has shape \(7,\), expected \(3,\)"):
        tensor.eigh(noise(1, 7))
    with pytest.raises(QuadricError, match=r"us has shape \(2, 7\), expected \(q, 3\)"):
        tensor.eigh_many(noise(1, 2, 7), 2)
    with pytest.raises(QuadricError, match="neurons range from 0 to 7, expected 0 to 6"):
        tensor.eigh_sparse(torch.tensor([[0, 7]]), noise(1, 1, 2), 2)
    with pytest.raises(QuadricError, match="expected the same"):
        tensor.eigh_sparse(torch.tensor([[0, 1]]), noise(1, 2, 1), 2)
    for shape in ((3, 7, 5), (3, 2, 9)):
        broken = random_tensor(*shape)
        broken.left[0, 0] = float("nan")
        with pytest.raises(QuadricError, match="not finite"):
            broken.eigh(u)
