"""The keyed permutation: a bijection for every length, and a good shuffle."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quadric.activations import permutation
from quadric.activations.permutation import Permutation, derive

LENGTHS = [1, 2, 3, 4, 5, 9, 10, 97, 1000, 4096, 65536, 65537]
N = 65537


def image(length: int, seed: int) -> Tensor:
    return Permutation(length, seed)(torch.arange(length))


def affine(length: int, seed: int) -> Tensor:
    """A mutant: bijective, but it shifts neighbours by a constant."""
    return (torch.arange(length) * 40503 + seed) % length


def by_context(length: int, seed: int) -> Tensor:
    """A mutant: contexts of 128 are shuffled, the tokens inside them are not."""
    contexts = torch.split(torch.arange(length), 128)
    order = torch.randperm(len(contexts), generator=torch.Generator().manual_seed(seed))
    return torch.cat([contexts[i] for i in order])


def swapped_once(length: int, seed: int) -> Tensor:
    """A mutant: one Feistel round leaves the digit r in plain sight."""
    base = math.isqrt(length - 1) + 1
    left, right = np.divmod(np.arange(length, dtype=np.uint64), np.uint64(base))
    key = np.uint64(derive(seed, 0))
    digit = permutation._digit(right, key, np.uint64(base))
    items = right * np.uint64(base) + (left + digit) % np.uint64(base)
    return torch.from_numpy(items.astype(np.int64))


MUTANTS = {"affine": affine, "by context": by_context, "one round": swapped_once}


def prefix_deviation(shuffled: Tensor) -> float:
    """χ² of where the first tenth lands, over 64 cells, in standard deviations from its mean."""
    length = len(shuffled)
    prefix = shuffled[: length // 10]
    counts = torch.bincount(prefix * 64 // length, minlength=64).double()
    expected = len(prefix) / 64
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    return (chi2 - 63) / math.sqrt(2 * 63)


def serial_correlation(shuffled: Tensor, lag: int) -> float:
    """Correlation of entries ``lag`` apart, times √n: about N(0, 1) for a random order."""
    x = shuffled.double() - shuffled.double().mean()
    return float((x[:-lag] * x[lag:]).mean() / x.square().mean()) * math.sqrt(len(x))


def step_deviation(shuffled: Tensor) -> float:
    """χ² of the steps between neighbours modulo n over 64 cells, in standard deviations."""
    steps = (shuffled[1:] - shuffled[:-1]) % len(shuffled)
    counts = torch.bincount(steps * 64 // len(shuffled), minlength=64).double()
    expected = len(steps) / 64
    return float((((counts - expected) ** 2 / expected).sum() - 63) / math.sqrt(2 * 63))


def is_well_shuffled(shuffled: Tensor) -> bool:
    return (
        abs(prefix_deviation(shuffled)) < 5
        and abs(step_deviation(shuffled)) < 5
        and all(abs(serial_correlation(shuffled, lag)) < 5 for lag in (1, 2, 16, 256))
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seed", [0, 1, -3])
def test_every_item_comes_exactly_once(length: int, seed: int) -> None:
    assert image(length, seed).sort().values.equal(torch.arange(length))


@given(length=st.integers(1, 3000), seed=st.integers())
def test_is_a_bijection(length: int, seed: int) -> None:
    assert len(set(image(length, seed).tolist())) == length


def test_without_cycle_walking_it_would_not_be_a_bijection() -> None:
    order = Permutation(97, 0)
    folded = order._network(np.arange(97, dtype=np.uint64)) % 97
    assert len(set(folded.tolist())) < 97


@given(length=st.integers(2**40, 2**62), seed=st.integers(0, 9))
def test_large_lengths_stay_in_range_and_do_not_collide(length: int, seed: int) -> None:
    positions = torch.cat([torch.arange(500), length - 1 - torch.arange(500)])
    items = Permutation(length, seed)(positions)
    assert int(items.min()) >= 0
    assert int(items.max()) < length
    assert len(set(items.tolist())) == 1000


def test_an_item_does_not_depend_on_its_company() -> None:
    order = Permutation(1000, 7)
    positions = torch.tensor([999, 3, 3, 500])
    assert order(positions).tolist() == [int(order(positions[i : i + 1])) for i in range(4)]
    assert order(torch.empty(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_is_well_shuffled(seed: int) -> None:
    assert is_well_shuffled(image(N, seed))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_bad_shuffles_are_told_apart(mutant: str) -> None:
    assert not is_well_shuffled(MUTANTS[mutant](N, 1))


@pytest.mark.parametrize(("length", "prefix"), [(2, 2), (3, 3), (4, 4), (7, 2), (10, 2)])
def test_beginnings_of_short_orders_are_about_equally_likely(length: int, prefix: int) -> None:
    draws = 4000
    counts = Counter(tuple(image(length, seed)[:prefix].tolist()) for seed in range(draws))
    possible = list(permutations(range(length), prefix))
    expected = draws / len(possible)
    chi2 = sum((counts[order] - expected) ** 2 / expected for order in possible)
    freedom = len(possible) - 1
    assert (chi2 - freedom) / math.sqrt(2 * freedom) < 5


def test_seeds_give_unrelated_orders() -> None:
    first = image(1000, 0)
    for seed in (1, 2, 1 << 40, -1):
        other = image(1000, seed)
        # Two random orders agree in about one place.
        assert int((first == other).sum()) < 10
        assert abs(float(torch.corrcoef(torch.stack([first, other]).double())[0, 1])) < 0.15


def test_derived_seeds_do_not_collide() -> None:
    seeds = {
        derive(seed, purpose, epoch)
        for seed in range(-10, 10)
        for purpose in range(5)
        for epoch in range(20)
    } | {derive(seed) for seed in range(-10, 10)}
    assert len(seeds) == 20 * 5 * 20 + 20
    assert derive(0, 1, 2) != derive(0, 2, 1)


def test_positions_and_lengths_out_of_range_are_refused() -> None:
    with pytest.raises(IndexError, match="0 … 9"):
        Permutation(10, 0)(torch.tensor([10]))
    with pytest.raises(IndexError, match="-1"):
        Permutation(10, 0)(torch.tensor([-1]))
    for length in (0, -1, 2**62 + 1):
        with pytest.raises(ValueError, match="length"):
            Permutation(length, 0)
