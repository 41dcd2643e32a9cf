"""Prefix errors against truncated dictionaries written out, and the greedy order's claims."""

from __future__ import annotations

import itertools

import pytest
import torch

from quadric.autoencoders import BilinearAutoencoder
from quadric.experiments.experiment import Measured
from quadric.experiments.prefixes import (
    EXPERIMENT,
    PrefixTerms,
    compare,
    greedy_order,
    prefix_errors,
    prefix_terms,
)
from tests.autoencoders.test_identities import CASES, activations, make
from tests.oracles import autoencoders as oracle


def brute(model: BilinearAutoencoder, x: torch.Tensor, kept: list[int]) -> float:
    """Mean error with the kept atoms only, their coefficients unchanged."""
    mixing, atoms = oracle.mixing_matrix(model), oracle.atoms(model)
    errors = []
    for row in x:
        y = oracle.lifted_input(model, row)
        g = mixing.T @ (mixing @ oracle.products(model, row))
        target = torch.outer(y, y)
        estimate = sum((g[j] * atoms[j] for j in kept), torch.zeros_like(target))
        errors.append((target - estimate).pow(2).sum() / target.pow(2).sum())
    return torch.stack(errors).mean().item()


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_errors_are_those_of_truncated_dictionaries(
    variant: str, symmetric: bool, affine: bool
) -> None:
    model, x = make(variant, symmetric, affine), activations(6)
    terms = prefix_terms(model, x)
    n = model.config.factors
    order = torch.randperm(n, generator=torch.Generator().manual_seed(2))
    found, shuffled = prefix_errors(terms), prefix_errors(terms, order)
    assert len(found) == n + 1 and found[0] == 1
    for p in (1, 4, n - 1, n):
        assert found[p].item() == pytest.approx(brute(model, x, list(range(p))), rel=1e-9)
        assert shuffled[p].item() == pytest.approx(brute(model, x, order[:p].tolist()), rel=1e-9)
    assert found[n].item() == pytest.approx(model.product_error(x).mean().item(), rel=1e-9)
    # In the end the order does not matter.
    assert shuffled[n].item() == pytest.approx(found[n].item(), rel=1e-9)


def test_their_mean_is_what_the_ordered_variant_trains() -> None:
    model, x = make("ordered", True, False), activations(9)
    errors = prefix_errors(prefix_terms(model, x))
    assert errors[1:].mean().item() == pytest.approx(model.loss(x, 0).error.item(), rel=1e-9)


def test_greedy_takes_the_best_next_atom() -> None:
    model, x = make("vanilla", True, False), activations(8)
    order = greedy_order(prefix_terms(model, x)).tolist()
    assert sorted(order) == list(range(11))
    for p in (0, 1, 5):
        choices = {j: brute(model, x, [*order[:p], j]) for j in set(range(11)) - set(order[:p])}
        assert order[p] == min(choices, key=choices.__getitem__)


def test_greedy_counts_an_overlap_twice() -> None:
    energy = torch.tensor([[0.9, 0.4, 0.0], [0.4, 0.9, 0.0], [0.0, 0.0, 0.6]]).double()
    terms = PrefixTerms(torch.tensor([1.0, 0.9, 0.5]).double(), energy)
    assert greedy_order(terms).tolist() == [0, 2, 1]


def test_greedy_is_the_best_order_where_atoms_do_not_overlap() -> None:
    cross = torch.tensor([0.1, 0.5, 0.2, 0.4], dtype=torch.float64)
    terms = PrefixTerms(cross, torch.diag(torch.tensor([0.1, 0.9, 0.1, 0.3]).double()))
    best = prefix_errors(terms, greedy_order(terms))
    for order in itertools.permutations(range(4)):
        assert (best <= prefix_errors(terms, torch.tensor(order)) + 1e-12).all()
    assert greedy_order(terms).tolist()[0] == 3


def test_rows_that_say_nothing_do_not_count() -> None:
    model, x = make("vanilla", True, False), activations(6)
    silent = torch.cat([x, model.transform.mean[None].double()])
    torch.testing.assert_close(
        prefix_errors(prefix_terms(model, silent)), prefix_errors(prefix_terms(model, x))
    )


def test_the_comparison_counts_lengths() -> None:
    def of(ordered: list[float], own: list[float]) -> object:
        errors = {"ordered": ordered, "vanilla, own order": own, "vanilla, best order": own}
        return compare(Measured({"errors": errors}))

    good = of([1, 0.5, 0.4, 0.3, 0.25], [1, 0.8, 0.6, 0.2, 0.2])
    assert good.agrees and good.figures["cost_of_ordering"] == pytest.approx(0.05)
    assert good.figures["share_of_lengths_below_own_order"] == pytest.approx(2 / 3)
    assert not of([1, 0.9, 0.8, 0.7, 0.25], [1, 0.8, 0.6, 0.2, 0.2]).agrees
    assert not of([1, 0.5, 0.4, 0.3, 0.5], [1, 0.8, 0.6, 0.2, 0.2]).agrees
    assert EXPERIMENT.name == "prefixes"
