"""Random and planted tensors for the tests of this folder."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from quadric.forms import BilinearTensor

# (m, n, d) all distinct: few and many neurons, outputs and inputs, and no output matrix (m = None).
SHAPES = [(3, 7, 5), (2, 3, 11), (9, 4, 6), (None, 6, 4)]


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Gaussian numbers of their own for each seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def random_tensor(
    m: int | None, n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> BilinearTensor:
    """A tensor with unrelated random factors; no output matrix when m is None."""
    out = None if m is None else noise(seed + 3, m, n, dtype=dtype)
    left, right = noise(seed + 1, n, d, dtype=dtype), noise(seed + 2, n, d, dtype=dtype)
    return BilinearTensor(left, right, out)


def rotation(seed: int, d: int) -> Tensor:
    """A random orthogonal matrix."""
    return torch.linalg.qr(noise(seed, d, d)).Q


@st.composite
def tensors(
    draw: st.DrawFn, outputs: int | None = None, inputs: int | None = None
) -> BilinearTensor:
    """Tensors of any small shape, some without an output matrix."""
    seed = draw(st.integers(0, 10_000))
    n, d = draw(st.integers(1, 9)), inputs or draw(st.integers(1, 8))
    m = outputs or draw(st.one_of(st.none(), st.integers(1, 7)))
    return random_tensor(m, n, d, seed=10 * seed)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> bool:
    """Equal up to ``tolerance`` of the larger one's size, shapes included."""
    scale = max(float(a.abs().max()), float(b.abs().max()), 1e-300) if a.numel() else 1.0
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance * scale).all())
