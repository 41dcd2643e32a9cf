"""Slips that a kernel could contain, each told apart by the oracle that the kernel meets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from quadric.kernels import coefficients, reconstruction_energy, sample_energies, tiles
from tests.kernels.problems import Energy, brute, problem, worst_error

TOLERANCE, CLEARLY_WRONG = 1e-10, 1e-3
BLOCK = 7


def mutant(
    gram: Callable[[Tensor, Tensor], Tensor], weight: Callable[[Tensor, Tensor], Tensor]
) -> Energy:
    """Σ C⊙K with a Gram and pair weights (of indices i and j) of one's own."""

    def energy(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
        index = torch.arange(len(left))
        return (g.T @ g * gram(left, right) * weight(index[:, None], index[None, :])).sum()

    return energy


def symmetric_gram(left: Tensor, right: Tensor) -> Tensor:
    cross = left @ right.T
    return 0.5 * ((left @ left.T) * (right @ right.T) + cross * cross.T)


def later(i: Tensor, j: Tensor) -> Tensor:
    return problem().weights[torch.maximum(i, j)]


FORMULAS = {
    "weights by min(i, j)": mutant(
        symmetric_gram, lambda i, j: problem().weights[torch.minimum(i, j)]
    ),
    "weights by row": mutant(symmetric_gram, lambda i, j: problem().weights[i] + 0 * j),
    "no weights": mutant(symmetric_gram, lambda i, j: torch.ones_like(i + j)),
    "dropped P⊙Q": mutant(lambda a, b: 0.5 * (a @ a.T) * (b @ b.T), later),
    "unsymmetrised": mutant(lambda a, b: (a @ a.T) * (b @ b.T), later),
    "P⊙P for P⊙Q": mutant(lambda a, b: 0.5 * ((a @ a.T) * (b @ b.T) + (a @ b.T) ** 2), later),
    "missing ½": mutant(lambda a, b: 2 * symmetric_gram(a, b), later),
    "tiles weighted (i==j)+1": mutant(
        symmetric_gram,
        lambda i, j: later(i, j) * torch.where(i // BLOCK == j // BLOCK, 2.0, 0.5),
    ),
    "diagonal tiles twice": mutant(
        symmetric_gram, lambda i, j: later(i, j) * torch.where(i // BLOCK == j // BLOCK, 2.0, 1.0)
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_wrong_formulas_are_told_apart(name: str) -> None:
    p = problem()
    exact = brute(True, p.weights)
    kernel = partial(reconstruction_energy, weights=p.weights, block=BLOCK)
    assert worst_error(kernel, exact, p.arguments) < TOLERANCE
    assert worst_error(FORMULAS[name], exact, p.arguments) > CLEARLY_WRONG


def earlier_weights(weights: Tensor) -> Tensor:
    index = torch.arange(len(weights))
    return weights[torch.minimum(index[:, None], index[None, :])]


def forgetful_start(self: coefficients.CoefficientTiles, i: int) -> None:
    self._weighted = self._blocks[i]


def one_sided(total: Tensor, a: Tensor, b: Tensor, _: tiles.Scratch) -> None:
    if total.storage_offset() == 0:
        total.addmm_(a, b)


def untransposed(total: Tensor, a: Tensor, b: Tensor, _: tiles.Scratch) -> None:
    square = a.shape[0] == a.shape[1]
    total.addmm_(a.T if square and not a.is_contiguous() else a, b)


def gram_without_cross(self: tiles.SymmetricTiles, i: int, j: int) -> Tensor:
    whole = ORIGINAL_GRAM(self, i, j)
    small = self._small.view(2, self._rows(i), 2, self._rows(j))
    return whole.copy_(small[0, :, 0] * small[1, :, 1])


ORIGINAL_GRAM = tiles.SymmetricTiles.gram

SLIPS: dict[str, tuple[bool, object, str, object]] = {
    "diagonal weights by min(i, j)": (True, coefficients, "diagonal_weights", earlier_weights),
    "rows not weighted": (True, coefficients.CoefficientTiles, "start_row", forgetful_start),
    "missing ½": (True, tiles.SymmetricTiles, "scale", 1.0),
    "a ½ too many": (False, tiles.PlainTiles, "scale", 0.5),
    "K without P⊙Q": (True, tiles.SymmetricTiles, "gram", gram_without_cross),
    "only the first block's gradient": (False, tiles, "add_product", one_sided),
    "Q for P below the diagonal": (True, tiles, "add_product", untransposed),
    "(I, J) for (J, I)": (False, tiles, "add_product", untransposed),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_in_the_kernel_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    symmetric, owner, attribute, wrong = SLIPS[name]
    p = problem(n=21)  # blocks of 7 exactly, so that a forgotten transpose is not a shape error
    exact = brute(symmetric, p.weights)
    kernel = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=BLOCK)
    assert worst_error(kernel, exact, p.arguments) < TOLERANCE
    monkeypatch.setattr(owner, attribute, wrong)
    assert worst_error(kernel, exact, p.arguments) > CLEARLY_WRONG


def test_samples_do_not_share_their_energies() -> None:
    p = problem()
    energies = sample_energies(*p.arguments, weights=p.weights, block=BLOCK)
    for b in range(len(p.g)):
        alone = brute(True, p.weights)(p.g[b : b + 1], p.left, p.right).detach()
        assert abs(float(energies[b] - alone)) < TOLERANCE * float(alone)
        assert abs(float(energies.mean() - alone)) > CLEARLY_WRONG * float(alone)
