"""The strongest products, block by block, against a topk over all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quadric import QuadricError
from quadric.kernels import Strongest, strongest_products
from tests.kernels.memory import LargestTensor

N = 23


def arguments(rows: int = 11, n: int = N, d: int = 5, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, d), (n, d), (n, d))
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)


def dense(x: Tensor, left: Tensor, right: Tensor, k: int) -> Strongest:
    """All products of a row at once, then the k largest, in the order of their atoms."""
    found = []
    for row in x:
        products = torch.stack([(a @ row) * (b @ row) for a, b in zip(left, right, strict=True)])
        indices = products.abs().argsort(descending=True)[:k].sort().values
        found.append((indices, products[indices]))
    return Strongest(*(torch.stack(parts) for parts in zip(*found, strict=True)))


@pytest.mark.parametrize("k", [1, 4, 9, N])
@pytest.mark.parametrize("block", [1, 3, 7, 12, N, 4096])
def test_it_is_the_topk_over_all_products(k: int, block: int) -> None:
    problem = arguments()
    found, expected = strongest_products(*problem, k, block=block), dense(*problem, k)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.products, expected.products, rtol=1e-13, atol=1e-13)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 31), st.integers(0, 10**6), st.data())
def test_any_shape(rows: int, n: int, block: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    problem = arguments(rows, n, 3, seed)
    found = strongest_products(*problem, k, block=block)
    assert torch.equal(found.indices, dense(*problem, k).indices)


@given(
    st.randoms(use_true_random=False),
    st.floats(-4, 4).filter(lambda s: abs(s) > 0.1),
    st.integers(1, N),
)
def test_scale_and_the_order_of_atoms(random: object, s: float, k: int) -> None:
    x, left, right = arguments()
    order = list(range(N))
    random.shuffle(order)  # type: ignore[attr-defined]
    scale = torch.linspace(0.5, 2, N, dtype=torch.float64)[:, None]
    plain = strongest_products(x, left, right, k, block=7)
    moved = strongest_products(s * x, (left * scale)[order], (-right / scale)[order], k, block=7)
    sets = torch.tensor(order)[moved.indices].sort(dim=1)
    assert torch.equal(sets.values, plain.indices)
    torch.testing.assert_close(moved.products.gather(1, sets.indices), -s * s * plain.products)


def test_a_negative_product_counts_by_its_size() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0, 3.0, 0.5]], dtype=torch.float64)
    found = strongest_products(x, eye, eye * torch.tensor([-1.0, 1, -1, 1]), 2, block=3)
    assert found.indices.tolist() == [[1, 2]] and found.products.tolist() == [[4.0, -9.0]]


@pytest.mark.parametrize("block", [1, 2, 5, 40])
def test_ties_take_any_of_the_tied_and_each_once(block: int) -> None:
    x, left, right = arguments(rows=6, n=4)
    copies = (each.repeat(5, 1) for each in (left, right))  # atoms j, j + 4, … are the same
    found = strongest_products(x, *copies, 7, block=block)
    expected = dense(x, left, right, 2)
    for row in range(6):
        assert len(set(found.indices[row].tolist())) == 7
        sizes = found.products[row].abs()
        first = expected.products[row].abs().max()
        assert torch.isclose(sizes, sizes.max()).sum() == 5
        torch.testing.assert_close(sizes.max(), first)
        torch.testing.assert_close(sizes.min(), expected.products[row].abs().min())
        own = (left @ x[row]) * (right @ x[row])
        torch.testing.assert_close(found.products[row], own[found.indices[row] % 4])


def test_products_in_a_lower_type() -> None:
    x, left, right = arguments(rows=40, n=300, d=16)
    exact = strongest_products(x, left, right, 12, block=64)
    found = strongest_products(x, left, right, 12, product_dtype=torch.bfloat16, block=64)
    assert found.products.dtype == torch.float64
    shared = (found.indices[:, :, None] == exact.indices[:, None, :]).any(2).double().mean()
    assert 0.9 < shared < 1  # rounding moves those near the edge, and nothing else
    own = (x[:, None] * left[found.indices]).sum(2) * (x[:, None] * right[found.indices]).sum(2)
    error = (found.products - own).norm() / own.norm()
    assert 1e-4 < error < 2e-2


def test_no_rows() -> None:
    x, left, right = arguments()
    found = strongest_products(x[:0], left, right, 3, block=7)
    assert found.indices.shape == found.products.shape == (0, 3)


def test_nothing_of_the_size_of_all_products_is_made() -> None:
    x, left, right = arguments(rows=64, n=3000, d=4)
    with LargestTensor() as largest:
        strongest_products(x, left, right, 5, block=50)
    assert largest.numbers <= 64 * 50 < x.shape[0] * left.shape[0] // 50


def test_what_is_refused() -> None:
    x, left, right = arguments()
    for k in (0, -1, N + 1):
        with pytest.raises(QuadricError, match=f"k is {k}, expected 1 to 23, the number of atoms"):
            strongest_products(x, left, right, k)
    with pytest.raises(QuadricError, match="block is 0, expected at least 1"):
        strongest_products(x, left, right, 3, block=0)
    for wrong in ((x[:, :4], left, right), (x, left[:7], right), (x[0], left, right)):
        with pytest.raises(QuadricError, match=r"shapes .* expected \(rows, d\), 2× \(n, d\)"):
            strongest_products(*wrong, 3)
