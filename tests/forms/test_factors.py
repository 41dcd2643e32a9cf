"""Shared products: planted ones come back, the share explained is exact and above eigen-terms."""

from __future__ import annotations

import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.forms import Factors, eigen_factors, fit_factors, refine_factors, solve_out
from tests.forms.builders import close, noise, random_tensor, rotation
from tests.forms.test_invariances import rewritten
from tests.oracles import forms as oracle


def hidden(tensor: BilinearTensor, seed: int) -> BilinearTensor:
    """The same map with twice the neurons, each product split in two unequal halves, shuffled."""
    share = noise(seed, tensor.n)
    out = torch.cat([tensor.out * share, tensor.out * (1 - share)], dim=1)
    doubled = BilinearTensor(tensor.left.repeat(2, 1), tensor.right.repeat(2, 1), out)
    return rewritten(doubled, seed)


def written_out_share(tensor: BilinearTensor, found: Factors) -> float:
    forms, rebuilt = oracle.matrices(tensor), oracle.matrices(found.tensor)
    return float(1 - (forms - rebuilt).square().sum() / forms.square().sum())


# m, d, rank: fewer and more products than outputs, more outputs than inputs.
@pytest.mark.parametrize(("m", "d", "rank"), [(5, 7, 4), (9, 6, 5), (2, 8, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_planted_products_come_back(m, d, rank, seed):
    planted = random_tensor(m, rank, d, seed)
    tensor = hidden(planted, seed)
    assert tensor.n == 2 * rank
    found = fit_factors(tensor, rank, starts=8, seed=seed)
    assert found.cosine > 0.999999
    assert tensor.cosine(found.tensor) > 0.999999
    assert close(oracle.matrices(found.tensor), oracle.matrices(planted), 1e-2)
    assert fit_factors(tensor, rank - 1, starts=1, steps=3).explained < 0.9999
    assert (torch.tensor(found.history).diff() > -1e-12).all()
    if m >= rank:  # unique up to order, sign and exchange of the two factors
        overlap = product_cosines(planted, found.tensor)
        assert overlap.amax(dim=1).min() > 0.999


def product_cosines(a: BilinearTensor, b: BilinearTensor) -> torch.Tensor:
    """|cos| between the single products of two tensors."""
    plain = [BilinearTensor(t.left, t.right) for t in (a, b)]
    sizes = [t.gram().diagonal().sqrt() for t in plain]
    return plain[0].cross_gram(plain[1]).abs() / sizes[0][:, None] / sizes[1]


@pytest.mark.parametrize("m", [4, None])
def test_share_is_exact_and_above_that_of_the_eigen_terms(m):
    tensor = random_tensor(m, 11, 6)
    shares = []
    for rank in (1, 3, 6):
        floor, found = eigen_factors(tensor, rank), fit_factors(tensor, rank, starts=2, steps=8)
        for each in (floor, found):
            assert abs(each.explained - written_out_share(tensor, each)) < 1e-9
            assert abs(each.cosine - tensor.cosine(each.tensor)) < 1e-9
            assert (each.tensor.m, each.tensor.n) == (tensor.m, rank)
            for factor in (each.tensor.left, each.tensor.right):
                assert close(factor.norm(dim=1), torch.ones(rank).double())
            assert (each.tensor.out.norm(dim=0).diff() <= 1e-12).all()
        assert found.explained > floor.explained + 1e-5
        shares.append(found.explained)
        # The first search starts there, but for the read-out, which is better, and a little noise.
        begun = fit_factors(tensor, rank, starts=1, steps=1).history[0]
        assert floor.explained - 1e-3 < begun < found.explained
    assert shares == sorted(shares)


def test_eigen_factors_are_the_largest_pairs_of_opposite_terms():
    tensor = random_tensor(4, 11, 6)
    forms = oracle.matrices(tensor)
    _, singular, right = torch.linalg.svd(forms.flatten(1), full_matrices=False)
    energies = []  # of every leading form
    for sigma, form in zip(singular, right, strict=True):
        values = torch.linalg.eigvalsh(form.reshape(6, 6))
        positive = values.flip(0).clamp(min=0).square()
        negative = values.clamp(max=0).square()
        energies.append(sigma**2 * (positive + negative))
    for rank in (1, 2, 5, 9):
        best = torch.cat(energies[:rank]).sort(descending=True).values[:rank]
        expected = best.sum() / forms.square().sum()
        assert abs(eigen_factors(tensor, rank).explained - expected) < 1e-9
    # Together they are everything, and asking for more adds empty products.
    whole = eigen_factors(tensor, 40)
    assert abs(whole.explained - 1) < 1e-7
    assert close(oracle.matrices(whole.tensor), forms, 1e-6)
    assert whole.tensor.n == 40
    assert not whole.tensor.out[:, 24:].any()


def test_one_form_needs_one_product_for_a_positive_and_a_negative_eigenvalue():
    axes = rotation(3, 5)
    values = torch.tensor([3.0, -2.0, 1.0, -0.5], dtype=torch.float64)
    tensor = BilinearTensor(axes[:4], axes[:4], values[None])
    for rank, expected in ((1, 13.0), (2, 14.25)):
        assert abs(eigen_factors(tensor, rank).explained - expected / 14.25) < 1e-12


@pytest.mark.parametrize("m", [4, None])
def test_read_out_is_the_least_squares_solution(m):
    tensor = random_tensor(m, 7, 5)
    left, right = noise(50, 3, 5), noise(51, 3, 5)
    found = solve_out(tensor, left, right)
    products = oracle.matrices(BilinearTensor(left, right)).flatten(1)
    forms = oracle.matrices(tensor).flatten(1)
    assert close(found.out, torch.linalg.lstsq(products.T, forms.T).solution.T)
    assert close(solve_out(tensor, tensor.left, tensor.right).out, oracle.weights(tensor), 1e-8)
    # Without symmetrisation another solution comes out.
    plain = torch.einsum("ra,rb->rab", left, right).flatten(1)
    assert not close(found.out, torch.linalg.lstsq(plain.T, forms.T).solution.T, 1e-2)


def test_repeated_and_empty_products_share_what_they_explain():
    tensor = random_tensor(4, 7, 5)
    left, right = noise(50, 3, 5), noise(51, 3, 5)
    once = solve_out(tensor, left, right)
    zero = torch.zeros(1, 5).double()
    more = solve_out(
        tensor, torch.cat([left, 2 * right[:1], zero]), torch.cat([right, left[:1], zero])
    )
    assert close(oracle.matrices(more), oracle.matrices(once), 1e-6)
    assert more.out.abs().max() < 10 * once.out.abs().max()


def test_a_search_climbs_from_where_it_starts():
    tensor = hidden(random_tensor(5, 4, 7), 1)
    left, right = noise(60, 4, 7), noise(61, 4, 7)
    found = refine_factors(tensor, 3 * left, right / 5, steps=40)
    start = solve_out(tensor, left, right)
    begun = (
        1 - (oracle.matrices(tensor) - oracle.matrices(start)).square().sum() / tensor.norm() ** 2
    )
    assert abs(found.history[0] - begun) < 1e-9
    assert found.explained > begun + 0.1
    assert abs(found.explained - written_out_share(tensor, found)) < 1e-9
    again = refine_factors(tensor, found.tensor.left, found.tensor.right, steps=1)
    assert 0 <= again.explained - found.explained < 1e-6
    with pytest.raises(QuadricError, match="a factor of zeros"):
        refine_factors(tensor, left * torch.tensor([[0.0], [1], [1], [1]]), right)
    with pytest.raises(QuadricError, match="read 7 and 6 inputs"):
        refine_factors(tensor, left[:, :6], right[:, :6])


def test_seed_decides_and_dtype_is_kept():
    tensor = random_tensor(3, 9, 6, dtype=torch.float32)
    first, second = (fit_factors(tensor, 3, starts=2, steps=3, seed=4) for _ in range(2))
    assert torch.equal(first.tensor.left, second.tensor.left)
    assert first.tensor.dtype == torch.float32
    assert abs(first.explained - written_out_share(tensor, first)) < 1e-5


@pytest.mark.parametrize("seed", range(2))
def test_fit_depends_on_the_map_alone(seed):
    tensor = random_tensor(3, 9, 6, seed)
    same = rewritten(tensor, seed)
    assert abs(eigen_factors(tensor, 4).explained - eigen_factors(same, 4).explained) < 1e-10
    first, second = (fit_factors(t, 2, starts=2, seed=seed) for t in (tensor, same))
    assert abs(first.explained - second.explained) < 1e-6


def test_refusals():
    tensor = random_tensor(3, 7, 5)
    for name in ("rank", "starts", "steps"):
        given = {"rank": 2, **{name: 0}}
        with pytest.raises(QuadricError, match=f"{name} is 0, expected at least 1"):
            fit_factors(tensor, **given)
    with pytest.raises(QuadricError, match="the tensor is zero"):
        fit_factors(BilinearTensor(noise(1, 4, 3), torch.zeros(4, 3).double()), 2)
    with pytest.raises(QuadricError, match="NaN or infinity"):
        solve_out(tensor, noise(1, 2, 5) * torch.inf, noise(2, 2, 5))
    with pytest.raises(QuadricError, match="read 5 and 4 inputs"):
        solve_out(tensor, noise(1, 2, 4), noise(2, 2, 4))
