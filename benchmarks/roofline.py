"""Work counted on paper, and what it takes at least on a device of measured rates.

Flops are those of matrix products. Bytes are what has to pass through memory when a call's inputs
come from there and its results go back, whatever the caches keep: a bound from above where tiles
fit in them.
"""

from __future__ import annotations

from dataclasses import dataclass

SINGLE = 4  # bytes of float32, in which totals, weights and the optimiser's state are kept


@dataclass(frozen=True)
class Rates:
    """What the device reaches, measured."""

    flops: float
    """Flops per second of a large matrix product."""
    bytes: float
    """Bytes per second of a large copy, reading and writing counted."""


@dataclass(frozen=True)
class Work:
    """What a step does."""

    flops: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        """One after the other."""
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def least_seconds(self, rates: Rates) -> float:
        """The time below which the device cannot be, if it computes while it copies."""
        return max(self.flops / rates.flops, self.bytes / rates.bytes)

    def limit(self, rates: Rates) -> str:
        """Which of the two takes longer, and by how much."""
        compute, copy = self.flops / rates.flops, self.bytes / rates.bytes
        name = "compute" if compute >= copy else "bytes"
        return f"{name}, {max(compute, copy) / max(min(compute, copy), 1e-30):.1f}× the other"


def fused_energy(
    n: int, samples: int, d: int, *, symmetric: bool, number: int, size: int, span: int
) -> Work:
    """Value and gradients by quadric.kernels.fused_energy, products in numbers of some bytes."""
    grams = 4 if symmetric else 2
    flops = copied = 0.0
    for first in range(0, n, size):
        rows = min(size, n - first)
        for start in range(0, first + rows, span):
            columns = min(span, first + rows - start)
            mirrored = max(0, min(columns, first - start))
            # C and the Grams of the panel; both sides' products with them.
            flops += 2 * rows * (2 * columns + mirrored) * (samples + grams * d)
            # C is written, read, and replaced by K, which each side reads; so is M.
            copied += number * rows * (4 * columns + mirrored)
            copied += number * grams * rows * (2 * columns + mirrored)
            # G and the factors for C, the kernel and both sides; the totals are read and written.
            copied += number * (samples + 2 * d) * (rows + 2 * columns + (mirrored and rows))
            copied += 2 * SINGLE * (samples + 2 * d) * (rows + mirrored)
    return Work(flops, copied)


def selection(n: int, rows: int, d: int, k: int, *, number: int, block: int) -> Work:
    """The strongest products of every row, by quadric.kernels.selection."""
    flops = 4 * rows * n * d
    blocks = -(-n // block)
    # Weights are read and rounded, x is read for each block; l·x is written, read with r·x, written
    # again, made absolute, searched.
    copied = 2 * n * d * (SINGLE + 2 * number) + 2 * blocks * rows * d * number
    copied += 8 * rows * n * number + blocks * rows * k * (SINGLE + 8)
    return Work(flops, copied)


def fused_sparse(rows: int, d: int, k: int, *, symmetric: bool, columns: int) -> Work:
    """Error and gradients from k active atoms, by quadric.kernels.fused_sparse."""
    grams = 4 if symmetric else 2
    blocks = -(-k // columns)
    atoms = 2 * SINGLE * rows * k * d
    # Atoms are read with x; then, for every pair of blocks u and v, u's once, v's three times, and
    # u's gradients, which are also written.
    return Work(4 * grams * rows * k**2 * d + 4 * rows * k * d, atoms * (1 + 6 * blocks))


def adamw(numbers: int) -> Work:
    """An AdamW step: weights and two moments are read and written, the gradient read; and zeroed
    and clipped, which is a write and a read and write more.
    """
    return Work(0, SINGLE * numbers * 10)
