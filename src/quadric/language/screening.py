"""The largest interactions of all, found without evaluating them all.

Among the q·p(p+1)/2 numbers b̃_abc with b ≤ c the k largest in absolute value are wanted, exactly.
An interaction is never larger than

    |b̃_abc| ≤ ½ Σ_h |c_ah| (|l_hb||r_hc| + |l_hc||r_hb|)   and   |b̃_abc| ≤ ‖d_b‖·‖Q_a d_c‖.

For a tile of features b and c the first bound is taken at the largest |l_h| and |r_h| in it, for
every tile at once; the second, which knows about cancellation between neurons, is taken once
Q_a d_c is there. What cannot beat the k-th largest found so far is skipped: whole outputs,
features, tiles. How much that is depends on the weights. Where all features and neurons are alike
(Gaussian noise) nothing is skipped, and the search costs q·(n·d² + p·d² + p²·d/2) multiplications.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.blocks import row_blocks
from quadric.language.interactions import Indices, Interactions, checked_indices


class TopInteractions(NamedTuple):
    """The k largest |b̃_abc|, largest first."""

    values: Float[Tensor, "k"]
    """b̃_abc with its sign. At a tie for the last place either may be here."""
    outputs: Int[Tensor, "k"]
    """a."""
    first: Int[Tensor, "k"]
    """b, at most c."""
    second: Int[Tensor, "k"]
    """c; p is the bias pseudo-feature."""
    skipped: float
    """Share of the b̃_abc (b ≤ c) that the bounds spared; the answer is the same without them."""


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The features in tiles of alike sizes, with what the first bound needs of each."""

    order: Int[Tensor, "p"]
    """The features' numbers, those of large factors first."""
    basis: Float[Tensor, "p d+1"]
    """Their rows in that order."""
    left: Float[Tensor, "t n"]
    """The largest |l_hb| of each tile."""
    right: Float[Tensor, "t n"]
    """The largest |r_hb|."""
    size: int

    def bounds(self, weights: Float[Tensor, "n"]) -> Float[Tensor, "t t"]:
        """The first bound on |b̃_abc| between every two tiles."""
        product = (self.left * weights.abs()) @ self.right.mT
        return (product + product.mT) / 2


@torch.no_grad()
def top_interactions(
    interactions: Interactions,
    k: int,
    *,
    outputs: Indices | None = None,
    bias: bool = False,
    tile: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> TopInteractions:
    """The ``k`` largest |b̃_abc| over outputs a and features b ≤ c.

    Exact up to the rounding of the factors' dtype. Memory: the factors, p·d for one output at a
    time, a tile, and the k found.

    Args:
        interactions: between which features.
        k: how many to find.
        outputs: the output features to search; None for all.
        bias: whether pairs with the bias pseudo-feature take part (a feature's linear effect).
        tile: features per side of a tile.
        progress: called with the number of outputs done and their total, after each.

    Raises:
        QuadricError: ``k`` is not in 1…number of interactions, ``tile`` is below 1, or an output
            does not exist.
    """
    chosen = range(interactions.q) if outputs is None else outputs
    searched = torch.unique(checked_indices("outputs", chosen, interactions.q))
    features = interactions.p + bias
    total = len(searched) * features * (features + 1) // 2
    if not 1 <= k <= total:
        raise QuadricError(f"k is {k}, expected 1 to {total}, the number of interactions")
    if tile < 1:
        raise QuadricError(f"tile is {tile}, expected 1 or more")
    tiles = _tiles(interactions, features, tile)
    assert interactions.forms.out is not None
    weights = interactions.forms.out
    ceilings = torch.stack([tiles.bounds(weights[a]).max() for a in searched])
    # Sums of this many rounded terms: the bounds are raised by what that can hide.
    terms = interactions.forms.n + interactions.forms.d
    slack = 1 + 4 * terms * torch.finfo(weights.dtype).eps
    best = _Best(k, weights)
    evaluated = 0
    for done, place in enumerate(ceilings.argsort(descending=True).tolist(), start=1):
        if float(ceilings[place]) * slack > best.floor:
            evaluated += _search(interactions, tiles, int(searched[place]), best, slack)
        if progress is not None:
            progress(done, len(searched))
    one, other = tiles.order[best.first], tiles.order[best.second]
    return TopInteractions(
        best.values,
        best.outputs,
        torch.minimum(one, other),
        torch.maximum(one, other),
        1 - evaluated / total,
    )


class _Best:
    """The k largest so far, by absolute value; places are in the tiles' order."""

    def __init__(self, k: int, like: Tensor) -> None:
        self.k = k
        self.values = like.new_zeros(0)
        self.outputs, self.first, self.second = (self.values.long() for _ in range(3))
        self.floor = -1.0
        """The k-th largest, or less than any while there are fewer than k."""

    def add(self, output: int, values: Tensor, first: Tensor, second: Tensor) -> None:
        """Let a tile's values take part; a diagonal tile's lower half holds no pair b ≤ c."""
        sizes = values.abs()
        if first is second:
            below = torch.ones_like(sizes, dtype=torch.bool).tril_(-1)
            sizes = sizes.masked_fill_(below, -1.0)
        if float(sizes.max()) <= self.floor:
            return
        rows, columns = (sizes > self.floor).nonzero(as_tuple=True)
        joined = torch.cat([self.values, values[rows, columns]])
        kept = joined.abs().topk(min(self.k, len(joined))).indices
        self.values = joined[kept]
        self.outputs = torch.cat([self.outputs, torch.full_like(rows, output)])[kept]
        self.first = torch.cat([self.first, first[rows]])[kept]
        self.second = torch.cat([self.second, second[columns]])[kept]
        if len(kept) == self.k:
            self.floor = float(self.values[-1].abs())


def _search(
    interactions: Interactions, tiles: _Tiles, output: int, best: _Best, slack: float
) -> int:
    """Show ``best`` every b̃_abc of one output that could belong there; how many were evaluated."""
    assert interactions.forms.out is not None
    turned = interactions.form(output) @ tiles.basis.mT
    reach = turned.norm(dim=0)
    lengths = tiles.basis.norm(dim=1)
    pad = -len(lengths) % tiles.size
    widest, furthest = (
        torch.nn.functional.pad(sizes, (0, pad)).reshape(-1, tiles.size).amax(1)
        for sizes in (lengths, reach)
    )
    second = torch.minimum(torch.outer(widest, furthest), torch.outer(furthest, widest))
    bounds = torch.minimum(tiles.bounds(interactions.forms.out[output]), second) * slack
    ceilings = bounds.tolist()
    # A pair needs ‖Q_a d_c‖ large on both sides, b and c being interchangeable.
    kept = (reach * (lengths.max() * slack) > best.floor).nonzero()[:, 0]
    parts = [kept[kept // tiles.size == place] for place in range(len(ceilings))]
    evaluated = 0
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[i:], start=i):
            if not len(rows) or not len(columns) or ceilings[i][j] <= best.floor:
                continue
            values = tiles.basis[rows] @ turned[:, columns]
            best.add(output, values, rows, rows if i == j else columns)
            count = len(rows)
            evaluated += count * (count + 1) // 2 if i == j else count * len(columns)
    return evaluated


def _tiles(interactions: Interactions, features: int, size: int) -> _Tiles:
    forms, basis = interactions.forms, interactions.basis[:features]
    sizes = basis.new_empty(features)
    for rows in row_blocks(features, forms.n):
        left, right = basis[rows] @ forms.left.mT, basis[rows] @ forms.right.mT
        sizes[rows] = left.square().sum(1) + right.square().sum(1)
    order = sizes.argsort(descending=True)
    basis = basis[order]
    largest = [
        torch.stack(
            [
                (basis[start : start + size] @ factor.mT).abs().amax(0)
                for start in range(0, features, size)
            ]
        )
        for factor in (forms.left, forms.right)
    ]
    return _Tiles(order, basis, largest[0], largest[1], size)
