"""Shuffling without a list: a keyed pseudorandom order of ``range(length)`` in constant memory.

A training run over 10⁹ rows cannot hold a shuffled list of them, and a shuffle buffer only mixes
neighbours. Here entry p of the order is computed from p alone, so the position in the data is one
integer and resuming costs nothing::

    order = Permutation(1_000_000, seed=7)
    rows = order(torch.arange(4096))          # the first 4096 rows of this epoch
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

_ROUNDS = 10
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_LARGEST = 1 << 62


def derive(seed: int, *path: int) -> int:
    """A 64-bit seed for one purpose: a hash of ``seed`` and of the integers that name the purpose.

    ``derive(s, 1)`` and ``derive(s, 2)`` are unrelated, and so are ``derive(s, 1)`` and
    ``derive(s + 1, 0)``. Negative integers are allowed.
    """
    state = _scramble((seed + _STEP) & _MASK)
    for part in path:
        state = _scramble((state ^ _scramble((part + 2 * _STEP) & _MASK)) + _STEP & _MASK)
    return state


class Permutation:
    """A pseudorandom bijection of range(length), chosen by ``seed``, in O(1) memory.

    A Feistel network on pairs (l, r) of digits in base a = ⌈√length⌉,

        (l, r) → (r, l + F_k(r) mod a),    k = 1 … 10,

    with F_k a keyed 64-bit hash: each round can be undone, so the network permutes range(a²), and
    a² exceeds ``length`` by less than 2a. An image that falls outside range(length) is sent through
    again until it lands inside (cycle walking), which keeps the map a bijection.
    """

    def __init__(self, length: int, seed: int) -> None:
        """Choose the permutation.

        Args:
            length: how many items, 1 ≤ length ≤ 2⁶².
            seed: any integer.

        Raises:
            ValueError: ``length`` is outside that range.
        """
        if not 1 <= length <= _LARGEST:
            raise ValueError(f"length is {length}, expected 1 to 2**62")
        self.length = length
        self.seed = seed
        self._base = np.uint64(math.isqrt(length - 1) + 1)
        self._keys = [np.uint64(derive(seed, number)) for number in range(_ROUNDS)]

    def __call__(self, positions: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
        """The items at ``positions`` of the shuffled order, as int64.

        Raises:
            IndexError: a position is outside range(length).
        """
        if positions.numel() == 0:
            return positions.clone()
        if int(positions.min()) < 0 or int(positions.max()) >= self.length:
            raise IndexError(
                f"positions {int(positions.min())} to {int(positions.max())} are not all in "
                f"0 … {self.length - 1}"
            )
        items = self._network(positions.numpy().astype(np.uint64))
        outside = np.flatnonzero(items >= self.length)
        while outside.size:
            items[outside] = self._network(items[outside])
            outside = outside[items[outside] >= self.length]
        return torch.from_numpy(items.astype(np.int64))

    def _network(self, items: np.ndarray) -> np.ndarray:
        base = self._base
        left, right = items // base, items % base
        for key in self._keys:
            left, right = right, left + _digit(right, key, base)
            right -= np.where(right >= base, base, np.uint64(0))
        return left * base + right


def _digit(values: np.ndarray, key: np.uint64, base: np.uint64) -> np.ndarray:
    """A keyed hash of each value, as a digit 0 … base−1."""
    state = values * np.uint64(_STEP) + key
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    # The high 32 bits times base, divided by 2³²: uniform to within base/2³² and, unlike a
    # remainder, without a division. base ≤ 2³¹, so the product fits 64 bits.
    return ((state >> np.uint64(32)) * base) >> np.uint64(32)


def _scramble(state: int) -> int:
    """The finaliser of splitmix64: every input bit changes about half of the output bits."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
