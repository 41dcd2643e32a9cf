"""The strongest products, block by block, against a topk over all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


@pytest.mark.parametrize("block", [64, 90, 157, 600])
@pytest.mark.parametrize("k", [1, 2, 7, 31])
@pytest.mark.parametrize("order", ["drawn", "weakest first", "strongest first"])
def test_blocks_of_many_groups(order: str, k: int, block: int) -> None:
    """Where later blocks have everything, something, or nothing to add."""
    x, left, right = arguments(rows=9, n=600, d=4)
    if order != "drawn":
        growth = torch.linspace(-5, 5, 600, dtype=torch.float64).exp()[:, None]
        left = left * (growth if order == "weakest first" else growth.flip(0))
    found, expected = strongest_products(x, left, right, k, block=block), dense(x, left, right, k)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.products, expected.products, rtol=1e-12, atol=1e-12)


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


@pytest.mark.parametrize("block", [1, 5, 40])
def test_a_product_of_zero_is_not_kept(block: int) -> None:
    x, left, right = arguments(rows=7)
    x[[0, 4]] = 0
    right[[2, 3, 20]] = 0
    found = strongest_products(x, left, right, N, block=block)
    nothing = torch.full((N,), -1)
    some = torch.tensor([-1, -1, -1, *(j for j in range(N) if j not in (2, 3, 20))])
    for row in range(7):
        assert torch.equal(found.indices[row], nothing if row in (0, 4) else some)
    assert not found.products[found.indices == -1].any()
    few = strongest_products(x, left, right, 3, block=block).indices
    assert (few[[0, 4]] == -1).all() and (few[[1, 2, 3, 5, 6]] >= 0).all()


@pytest.mark.parametrize("broken", [0, 11, 22])
def test_what_is_not_a_number_stays_visible(broken: int) -> None:
    x, left, right = arguments()
    left[2:] *= 1e-3  # so that later blocks have nothing else to add
    left[broken, 2] = float("nan")
    found = strongest_products(x, left, right, 2, block=6)
    assert (found.indices == broken).any(1).all() and found.products.isnan().any(1).all()


class Sorted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that go through a topk."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if func is torch.ops.aten.topk.default:
            self.numbers += args[0].numel()
        return func(*args, **(kwargs or {}))


def test_little_is_sorted() -> None:
    x, left, right = arguments(rows=16, n=6400, d=6)
    with Sorted() as first:
        strongest_products(x, left[:400], right[:400], 4, block=400)
    with Sorted() as all_blocks:
        strongest_products(x, left, right, 4, block=400)
    assert first.numbers <= 16 * (400 // 10 + 4 * 10)
    assert all_blocks.numbers < 16 * first.numbers < 16 * 6400 // 4


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
