"""The one pass over a store against sorting everything."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import FormReader, contexts, find_contexts
from quadric.forms import BilinearTensor
from tests.autoencoders.test_identities import activations, make

CONTEXT = 15


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "ROWS_AT_ONCE", 17)
    monkeypatch.setattr(contexts, "FIRST_ROWS", 3)


@pytest.fixture
def model() -> BilinearAutoencoder:
    return BilinearAutoencoder(AutoencoderConfig(d_in=5, d_sae=9))


def rows() -> torch.Tensor:
    return activations(90).float().reshape(6, CONTEXT, 5)


@pytest.mark.parametrize("k", [1, 4, 60])
def test_strongest_rows_are_the_true_ones(model: BilinearAutoencoder, k: int) -> None:
    x = rows()
    found = find_contexts(model, MemoryRows(x), k)
    latents = model.encode(x.reshape(-1, 5)).detach()
    counted = torch.arange(90) % CONTEXT != 0  # position 0 of every context does not count
    assert found.seen == 84 and found.mean_square.shape == (9,)
    torch.testing.assert_close(
        found.mean_square, latents[counted].double().square().mean(0), rtol=1e-6, atol=0
    )
    for j, column in enumerate(latents.T):
        for sign, top in ((1, found.most_positive), (-1, found.most_negative)):
            allowed = (counted & (sign * column > 0)).nonzero()[:, 0]
            best = allowed[(sign * column[allowed]).argsort(descending=True)][:k]
            assert top.rows[j].tolist() == best.tolist() + [-1] * (k - len(best))
            torch.testing.assert_close(top.values[j, : len(best)], column[best])
            assert not top.values[j, len(best) :].any()
        strongest = found.strongest()
        best = counted.nonzero()[:, 0]
        best = best[column[best].abs().argsort(descending=True)][:k]
        assert strongest.rows[j].tolist() == best.tolist()
        torch.testing.assert_close(strongest.values[j], column[best])


def test_near_zero_and_random_rows(
    model: BilinearAutoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryRows(rows())
    latents = model.encode(rows().reshape(-1, 5)).detach()
    counted = torch.arange(90) % CONTEXT != 0
    found = find_contexts(model, store, 4)
    for j, column in enumerate(latents.T):  # the sample is larger than the store: all of it
        best = column.abs().masked_fill(~counted, torch.inf).topk(4, largest=False).indices
        assert found.near_zero.rows[j].tolist() == best.tolist()
        torch.testing.assert_close(found.near_zero.values[j], column[best])
        assert counted[found.random.rows[j]].all()
        torch.testing.assert_close(found.random.values[j], column[found.random.rows[j]])
    assert len(set(found.random.rows.flatten().tolist())) == 9 * 4
    again = find_contexts(model, store, 4)
    assert again.random.rows.tolist() == found.random.rows.tolist()
    other = find_contexts(model, store, 4, seed=1)
    assert other.random.rows.tolist() != found.random.rows.tolist()
    assert other.most_positive.rows.tolist() == found.most_positive.rows.tolist()
    monkeypatch.setattr(contexts, "SAMPLE", 20)
    few = find_contexts(model, store, 6)
    sample = set(few.random.rows.flatten().tolist())
    assert len(sample) == 20 and 0 not in {row % CONTEXT for row in sample}
    kept = torch.tensor(sorted(sample))
    for j, column in enumerate(latents.T):
        best = kept[column[kept].abs().argsort()][:6]
        assert few.near_zero.rows[j].tolist() == best.tolist()


def test_fewer_rows_than_asked_for(model: BilinearAutoencoder) -> None:
    found = find_contexts(model, MemoryRows(rows()), 4, limit=20)
    assert found.most_positive.rows.max() < 20 and found.seen == 18
    everything = find_contexts(model, MemoryRows(rows()), 500, drop_first=0)
    assert everything.seen == 90 and everything.near_zero.rows.shape == (9, 500)
    for top in (everything.near_zero, everything.random, everything.strongest()):
        for row in top.rows:
            assert sorted(row[row >= 0].tolist()) == list(range(90))
            assert (row[90:] == -1).all()
    with pytest.raises(QuadricError, match="first 15 positions"):
        find_contexts(model, MemoryRows(rows()), 4, drop_first=15)
    with pytest.raises(QuadricError, match="k is 0"):
        find_contexts(model, MemoryRows(rows()), 0)


@pytest.mark.parametrize("affine", [True, False])
def test_any_stack_of_forms_through_the_transform(affine: bool) -> None:
    model = make("composite", True, affine)
    model.transform.fit(activations(40, 3) + 0.7)
    x, width = activations(90) * 3, 5 + int(affine)
    generator = torch.Generator().manual_seed(4)
    left, right, out = (
        torch.randn(size, generator=generator).double() for size in ((7, width), (7, width), (3, 7))
    )
    tensor = BilinearTensor(left, right, out)
    values = FormReader(model, tensor)(x)
    for row, value in zip(x, values, strict=True):
        y = (row - model.transform.mean) / model.transform.scales
        y = y / y.norm()
        y = torch.cat([y, torch.ones(int(affine)).double()])
        expected = torch.stack([y @ tensor.interaction(u) @ y for u in torch.eye(3).double()])
        torch.testing.assert_close(value, expected)
    found = find_contexts(FormReader(model, tensor), MemoryRows(x), 2)
    assert found.strongest().rows.tolist() == values.abs().topk(2, dim=0).indices.T.tolist()
    with pytest.raises(QuadricError, match=rf"4 coordinates.*has {width}"):
        FormReader(model, BilinearTensor(left[:, :4], right[:, :4]))


def test_every_piece_is_visited_once_in_order(model: BilinearAutoencoder) -> None:
    seen: list[int] = []

    def visit(numbers: torch.Tensor, values: torch.Tensor) -> None:
        seen.extend(numbers.tolist())
        there = rows().reshape(-1, 5)[numbers]
        torch.testing.assert_close(values, model.encode(there).detach())

    find_contexts(model, MemoryRows(rows()), 2, visit=visit)
    assert seen == [row for row in range(90) if row % CONTEXT]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 5))
def test_ties_and_repeats(numbers: list[int], k: int, piece: int) -> None:
    best = {kind: contexts._Best(kind, k) for kind in ("positive", "negative", "near zero")}
    values = torch.tensor(numbers, dtype=torch.float32)[:, None]
    for start in range(0, len(numbers), piece):
        part = torch.arange(start, min(start + piece, len(numbers)))
        for each in best.values():
            each.add(part, values[part])
    expected = {
        "positive": sorted((n for n in numbers if n > 0), reverse=True),
        "negative": sorted(n for n in numbers if n < 0),
        "near zero": sorted(numbers, key=abs),
    }
    for kind, each in best.items():
        found = each.found()
        there = found.rows[0] >= 0
        heights = found.values[0, there].tolist()
        key = abs if kind == "near zero" else float
        assert list(map(key, heights)) == list(map(key, expected[kind][:k]))
        assert heights == [numbers[row] for row in found.rows[0, there].tolist()]
        assert len(set(found.rows[0, there].tolist())) == len(heights)
