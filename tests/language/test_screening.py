"""The search for the largest interactions: exact beside sorting them all, and it really skips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric import BilinearTensor, QuadricError
from quadric.language import (
    InputDictionary,
    Interactions,
    OutputDictionary,
    interactions_between,
    top_interactions,
)
from tests.forms.builders import noise, random_tensor


def sorted_out(found: Interactions, k: int, *, bias: bool = False) -> list[tuple]:
    """(|b̃|, b̃, a, b, c) of the k largest, all of them evaluated and sorted."""
    features = range(found.p + bias)
    whole = found.block(range(found.q), features, features)
    rows = [
        (abs(float(whole[a, b, c])), float(whole[a, b, c]), a, b, c)
        for a in range(found.q)
        for b in features
        for c in features
        if b <= c
    ]
    return sorted(rows, reverse=True)[:k]


def same(found: Interactions, k: int, *, tile: int, bias: bool = False) -> bool:
    answer = top_interactions(found, k, tile=tile, bias=bias)
    truth = sorted_out(found, k, bias=bias)
    places = zip(
        answer.outputs.tolist(), answer.first.tolist(), answer.second.tolist(), strict=True
    )
    expected = torch.tensor([row[1] for row in truth], dtype=torch.float64)
    return list(places) == [row[2:] for row in truth] and torch.allclose(answer.values, expected)


def scaled(seed: int, spread: float) -> Interactions:
    """Features, outputs and neurons of sizes that differ by e^±spread."""
    tensor = random_tensor(4, 9, 5, seed)
    sizes = [torch.exp(spread * noise(seed + place, size, 1)) for place, size in enumerate((9, 7))]
    tensor = BilinearTensor(tensor.left * sizes[0], tensor.right, tensor.out)
    decoder = noise(seed + 11, 13, 5) * torch.exp(spread * noise(seed + 12, 13, 1))
    return interactions_between(
        tensor,
        InputDictionary(decoder, noise(seed + 13, 5)),
        OutputDictionary(noise(seed + 14, 7, 4) * sizes[1], noise(seed + 15, 7)),
    )


@given(
    st.integers(0, 500),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 5, 64]),
    st.booleans(),
)
def test_the_search_is_exact(seed, spread, k, tile, bias):
    assert same(scaled(seed, spread), k, tile=tile, bias=bias)


def test_everything_can_be_asked_for():
    found = scaled(3, 1.0)
    total = found.q * found.p * (found.p + 1) // 2
    assert same(found, total, tile=4)
    assert top_interactions(found, total, tile=4).skipped == 0


def planted(seed: int = 0) -> tuple[Interactions, set[tuple[int, int, int]]]:
    """Three strong products of two features each, in weak noise neurons."""
    p, d, q = 70, 40, 20
    decoder = torch.nn.functional.normalize(noise(seed, p, d), dim=1)
    n = 64
    left, right = 0.02 * noise(seed + 1, n, d), 0.02 * noise(seed + 2, n, d)
    weights = 0.1 * noise(seed + 3, q, n)
    circuits = {(4, 17, 50), (11, 3, 5), (19, 60, 69)}
    for neuron, (a, b, c) in enumerate(sorted(circuits)):
        left[neuron], right[neuron] = 3 * decoder[b], 3 * decoder[c]
        weights[:, neuron] = 0
        weights[a, neuron] = 1
    tensor = BilinearTensor(left, right)
    found = interactions_between(tensor, InputDictionary(decoder), OutputDictionary(weights))
    return found, circuits


@pytest.mark.parametrize("seed", range(3))
def test_planted_products_are_found_and_most_of_the_rest_is_skipped(seed):
    found, circuits = planted(10 * seed)
    answer = top_interactions(found, 3, tile=16)
    places = {*zip(*(part.tolist() for part in answer[1:4]), strict=True)}
    assert places == circuits
    # Half of 3² times the weight 1, plus what the two features' overlap adds.
    assert bool((answer.values > 4.2).all())
    assert answer.skipped > 0.98
    # In one tile only the bound of single features spares anything beyond whole outputs.
    assert top_interactions(found, 3, tile=70).skipped > 0.9
    assert same(found, 25, tile=16)


def test_both_bounds_hold_for_every_interaction():
    from quadric.language.screening import _tiles

    found = scaled(5, 1.0)
    tiles = _tiles(found, found.p, 3)
    for a in range(found.q):
        bounds = tiles.bounds(found.forms.out[a])
        places = tiles.order.tolist()
        block = found.block([a], places, places)[0]
        reach = (found.form(a) @ tiles.basis.T).norm(dim=0)
        for b in range(found.p):
            for c in range(found.p):
                assert abs(float(block[b, c])) <= float(bounds[b // 3, c // 3]) * (1 + 1e-12)
                assert abs(float(block[b, c])) <= float(tiles.basis[b].norm() * reach[c]) + 1e-12
    # The first bound at tiles of one feature is the published sum over neurons.
    single = _tiles(found, found.p, 1)
    left, right = (single.basis @ factor.T for factor in (found.forms.left, found.forms.right))
    written = torch.einsum("h,bh,ch->bc", found.forms.out[2].abs(), left.abs(), right.abs())
    assert torch.allclose(single.bounds(found.forms.out[2]), (written + written.T) / 2)


def test_some_outputs_progress_and_float32():
    found = scaled(8, 0.5)
    seen = []
    answer = top_interactions(
        found, 9, outputs=[5, 2, 5], tile=4, progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 2), (2, 2)]
    expected = [row for row in sorted_out(found, 7 * 91) if row[2] in (2, 5)][:9]
    assert answer.outputs.tolist() == [row[2] for row in expected]
    single = BilinearTensor(*(f.float() for f in (found.forms.left, found.forms.right)))
    small = Interactions(
        BilinearTensor(single.left, single.right, found.forms.out.float()), found.basis.float()
    )
    half = top_interactions(small, 9, tile=4)
    truth = top_interactions(found, 9, tile=4)
    assert half.values.dtype == torch.float32
    assert torch.allclose(half.values.double(), truth.values, rtol=1e-4)


def test_bad_questions_are_named():
    found = scaled(1, 0.0)
    with pytest.raises(QuadricError, match="k is 0, expected 1 to 637"):
        top_interactions(found, 0)
    with pytest.raises(QuadricError, match="k is 106, expected 1 to 105"):
        top_interactions(found, 106, outputs=[3], bias=True)
    with pytest.raises(QuadricError, match="tile is 0"):
        top_interactions(found, 1, tile=0)
    with pytest.raises(QuadricError, match="outputs: no feature 7, expected 0 to 6"):
        top_interactions(found, 1, outputs=[7])
