"""Similarities of autoencoders: dense maps, permutations by brute force, and Monte Carlo."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import (
    assignment,
    dictionary,
    gaussian_similarity,
    input_moments,
    map_similarity,
    permutation_similarity,
)
from quadric.evaluation.similarity import Moments
from tests.autoencoders.test_identities import CASES, activations, make

D = 5


def other(model: BilinearAutoencoder) -> BilinearAutoencoder:
    """A relative: the same parts, disturbed weights."""
    changed = copy.deepcopy(model)
    for parameter in changed.parameters():
        parameter.data = parameter.data + 0.6 * parameter.data.roll(1, 0)
    return changed


def shuffled(model: BilinearAutoencoder) -> BilinearAutoencoder:
    """The same map: latents permuted, factors rescaled, and some left and right ones swapped."""
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    block = model.config.block or 1
    order = torch.randperm(model.d_sae, generator=generator)
    atoms = (order[:, None] * block + torch.arange(block)).flatten()
    left, right = model.left.data[atoms], model.right.data[atoms]
    scale = torch.linspace(-3, 2.7, len(left)).double()[:, None]
    swap = (torch.arange(len(left)) % 2 == 0)[:, None]
    changed.left.data = torch.where(swap, right, left) * scale
    changed.right.data = torch.where(swap, left, right) / scale
    if model.config.bottleneck is not None:
        weight = model.mixing.weight.data[:, atoms]
        rows = torch.randperm(len(weight), generator=generator)
        changed.mixing.weight.data = -weight[rows]
    return changed


def dense_forms(model: BilinearAutoencoder) -> torch.Tensor:
    """(m, 6, 6): every form of the map, symmetrised, on [x; 1]."""
    left, right = model.left.detach(), model.right.detach()
    outer = torch.einsum("ja,jb->jab", left, right)
    atoms = (outer + outer.transpose(1, 2)) / 2
    config = model.config
    if config.block is not None:
        atoms = atoms.reshape(config.d_sae, config.block, *atoms.shape[1:]).sum(1)
    if config.bottleneck is not None:
        atoms = torch.einsum("bj,jxy->bxy", model.mixing.weight.detach(), atoms)
    padded = torch.zeros(len(atoms), D + 1, D + 1).double()
    padded[:, : atoms.shape[1], : atoms.shape[2]] = atoms
    return padded


def dense_map(model: BilinearAutoencoder) -> torch.Tensor:
    forms = dense_forms(model).flatten(1)
    return torch.einsum("ia,ib->ab", forms, forms)


@pytest.fixture(params=[1024, 4], ids=["whole", "tiles"])
def forms_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "FORMS_AT_ONCE", request.param)


PAIRS = [(CASES[i], CASES[(7 * i + 3) % len(CASES)]) for i in range(len(CASES))]


@pytest.mark.usefixtures("forms_at_once")
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_maps_of_all_kinds_against_dense_ones(one: tuple, two: tuple) -> None:
    first, second = make(*one), other(make(*two))
    a, b = dense_map(first), dense_map(second)
    found = map_similarity(first, second)
    inner = (a * b).sum()
    assert found.cosine == pytest.approx((inner / a.norm() / b.norm()).item(), rel=1e-10)
    expected = 2 * inner.sqrt() / (a.norm() + b.norm())
    assert found.frobenius == pytest.approx(expected.item(), rel=1e-10)
    assert map_similarity(second, first) == pytest.approx(found)


@pytest.mark.usefixtures("forms_at_once")
@pytest.mark.parametrize("case", CASES)
def test_copies_in_another_order_scale_and_side_are_equal(case: tuple) -> None:
    model = make(*case)
    copied, moments = shuffled(model), input_moments(model, activations(40))
    for measure in (
        map_similarity(model, copied),
        permutation_similarity(model, copied),
        gaussian_similarity(model, copied, moments),
    ):
        assert measure == pytest.approx((1, 1), abs=1e-10)
    copied.left.data[0] += torch.linspace(0, 2, len(copied.left[0])).double()
    for measure in (
        map_similarity(model, copied),
        permutation_similarity(model, copied)[:1],
        gaussian_similarity(model, copied, moments),
    ):
        assert max(measure) < 0.9999


@pytest.mark.usefixtures("forms_at_once")
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_the_gaussian_similarity_against_monte_carlo(one: tuple, two: tuple) -> None:
    first, second = make(*one), other(make(*two))
    moments = Moments(*(2 * part for part in input_moments(first, activations(40))))
    found = gaussian_similarity(first, second, moments)
    generator = torch.Generator().manual_seed(4)
    samples, batches = 20_000, 40
    factor = torch.linalg.cholesky(moments.cov)
    outputs = []
    for model in (first, second):
        maps = dense_forms(model).flatten(1)
        outputs.append(maps.T @ maps)
    estimates = []
    for _ in range(batches):
        noise = torch.randn(samples // batches, D, generator=generator, dtype=torch.float64)
        x = torch.cat([moments.mean + noise @ factor.T, torch.ones(len(noise), 1).double()], 1)
        # The constant is there only for autoencoders that have one: the forms' padding says so.
        squares = torch.einsum("na,nb->nab", x, x).flatten(1)
        estimates.append(torch.stack([squares @ output for output in outputs]))
    x_hats = torch.cat(estimates, dim=1)  # (2, samples, 36)
    for value, centred in zip(found, (True, False), strict=True):
        y = x_hats - x_hats.mean(1, keepdim=True) if centred else x_hats
        products = torch.stack([(y[0] * y[1]).sum(1), y[0].square().sum(1), y[1].square().sum(1)])
        mean = products.mean(1)
        ratio = mean[0] / (mean[1] * mean[2]).sqrt()
        # Delta method: the ratio's sensitivity to each of the three means.
        slope = torch.stack(
            [1 / (mean[1] * mean[2]).sqrt(), -ratio / 2 / mean[1], -ratio / 2 / mean[2]]
        )
        influence = slope @ (products - mean[:, None])
        error = influence.std() / samples**0.5
        assert error < 0.02
        assert abs(value - ratio) < 4 * error


def test_gaussian_mutants_are_told_apart() -> None:
    """The written-out expectation, without its mean terms, or without the traces, is another."""
    first, second = make("composite", True, False), other(make("vanilla", True, False))
    moments = input_moments(first, activations(40))
    moments = Moments(3 * moments.mean + 0.4, moments.cov)
    mean, cov = moments
    a, b = (dense_forms(model)[:, :D, :D] for model in (first, second))

    def product(f: torch.Tensor, g: torch.Tensor, slopes: float, centred: bool) -> torch.Tensor:
        h = torch.einsum("iab,jab->ij", f, g)
        e = 2 * torch.einsum("iab,bc,jcd,da->ij", f, cov, g, cov)
        e = e + slopes * torch.einsum("a,iab,bc,jcd,d->ij", mean, f, cov, g, mean)
        if not centred:
            second_moment = cov + torch.outer(mean, mean)
            means = [torch.einsum("iab,ab->i", forms, second_moment) for forms in (f, g)]
            e = e + torch.outer(*means)
        return (h * e).sum()

    for place, centred in enumerate((True, False)):
        values = [
            product(a, b, slopes, centred)
            / (product(a, a, slopes, centred) * product(b, b, slopes, centred)).sqrt()
            for slopes in (4, 2, 0)
        ]
        found = gaussian_similarity(first, second, moments)[place]
        assert found == pytest.approx(values[0].item(), rel=1e-9)
        assert all(abs(found - wrong) > 1e-6 for wrong in values[1:])


@pytest.mark.usefixtures("forms_at_once")
def test_the_permutation_share_by_brute_force() -> None:
    first = BilinearAutoencoder(AutoencoderConfig(d_in=D, d_sae=5, seed=1)).double()
    second = BilinearAutoencoder(AutoencoderConfig(d_in=D, d_sae=7, seed=2)).double()
    first.left.data[2] = 0  # a dead form counts for nothing, and is no NaN
    a, b = dense_forms(first).flatten(1), dense_forms(second).flatten(1)
    weights_a, weights_b = (forms.square().sum(1) for forms in (a, b))
    weights = (weights_a[:, None] / weights_a.sum() + weights_b / weights_b.sum()) / 2
    cosines = (a @ b.T).abs() / (weights_a[:, None] * weights_b).sqrt()
    cosines[2] = 0
    score = weights * cosines.square()
    best = max(
        sum(score[i, j].item() for i, j in enumerate(order))
        for order in itertools.permutations(range(7), 5)
    )
    found = permutation_similarity(first, second)
    assert found.share == pytest.approx(best, rel=1e-10)
    each = torch.cat([cosines.amax(1), cosines.amax(0)])
    assert found.median_match == pytest.approx(each.quantile(0.5).item())
    assert permutation_similarity(second, first) == pytest.approx(found)


def test_sparse_matching_keeps_the_best_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(23, 17, generator=generator, dtype=torch.float64).pow(3)
    tiles = [
        (slice(i, i + 10), slice(j, j + 9), scores[i : i + 10, j : j + 9])
        for i in (0, 10, 20)
        for j in (0, 9)
    ]
    exact = assignment.best_assignment(tiles, 23, 17)
    monkeypatch.setattr(assignment, "DENSE_ENTRIES", 1)
    assert assignment.best_assignment(tiles, 23, 17) == pytest.approx(exact)
    monkeypatch.setattr(assignment, "CANDIDATES", 3)
    assert 0.98 * exact < assignment.best_assignment(tiles, 23, 17) <= exact + 1e-9
    monkeypatch.setattr(assignment, "CANDIDATES", 1)
    assert assignment.best_assignment([(slice(0, 2), slice(0, 3), 0 * scores[:2, :3])], 2, 3) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    model = make("vanilla", True, False)
    wide = BilinearAutoencoder(AutoencoderConfig(d_in=6, d_sae=4)).double()
    with pytest.raises(QuadricError, match="d_in 5 and 6"):
        map_similarity(model, wide)
    with pytest.raises(QuadricError, match="norm='unit' and norm='none'"):
        permutation_similarity(model, make("vanilla", True, False, norm="none"))
    moved = make("vanilla", True, False)
    moved.transform.mean[0] += 0.01
    assert map_similarity(model, moved) == pytest.approx((1, 1))
    moved.transform.mean += 3
    with pytest.raises(QuadricError, match=r"means differ by \d+%.*different activations"):
        map_similarity(model, moved)
    scaled = [make("vanilla", True, False, scale="dimension") for _ in range(2)]
    scaled[1].transform.scales[2] *= 1.5
    with pytest.raises(QuadricError, match="scales differ by 50%"):
        map_similarity(*scaled)
    dead = copy.deepcopy(model)
    dead.left.data.zero_()
    moments = input_moments(model, activations(9))
    for measure in (map_similarity, permutation_similarity):
        with pytest.raises(QuadricError, match="all forms of an autoencoder are zero"):
            measure(model, dead)
    with pytest.raises(QuadricError, match="does not vary"):
        gaussian_similarity(dead, model, moments)
    with pytest.raises(QuadricError, match=r"\(3,\).*5 coordinates"):
        gaussian_similarity(model, model, Moments(torch.zeros(3), torch.eye(3)))
    with pytest.raises(QuadricError, match="at least two rows of width 5"):
        input_moments(model, activations(1))
