"""Which latents overlap: neighbours and participation, in tiles of the latents' Gram matrix.

Two latents can read the same thing in two ways. Their forms can point the same way, cosine
⟨Q_i,Q_j⟩/(‖Q_i‖‖Q_j‖); or their forms can act on the same subspace in different ways (x²−y² and xy
share a plane and are orthogonal as forms), which the overlap of leading eigenspaces sees. With
eigenpairs Q_i = Σ_a λ_ia v_iav_iaᵀ both come from one product of eigenvectors, C = V_iV_jᵀ:

    ⟨Q_i,Q_j⟩ = Σ_ab λ_ia λ_jb C_ab²,        ‖U_iU_jᵀ‖² = Σ_{a≤r_i, b≤r_j} C_ab².

In a mixed or combined autoencoder latents are also mixed by DᵀD, a third graph.

    graphs = overlaps(model, k=10)
    graphs.gram.neighbours[7], graphs.gram.values[7]

Pairs of row blocks (i ≤ j only) are made one after another: of an n×n matrix only one tile and
every row's k best and two sums are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Dense
from quadric.errors import QuadricError
from quadric.forms import Eigenpairs, blocks
from quadric.manifolds.spectra import spectra

POWER = 4
"""p of the generalised participation ratio."""
LEADING = 0.9
"""A leading eigenspace holds this share of Σλ²."""


@dataclass(frozen=True)
class Graph:
    """The nearest neighbours of every latent by one measure."""

    neighbours: Int[Tensor, "m k"]
    """The other latents that overlap most, the largest magnitude first."""
    values: Float[Tensor, "m k"]
    """Their overlaps, signed where the measure has a sign."""
    participation: Float[Tensor, " m"]
    """(Σ_j|v_j|⁴)²/Σ_j|v_j|⁸ over a latent's whole row, itself included: about how many latents
    share in it. 1 is a latent that overlaps with no other; 0 stands for an all-zero latent."""


@dataclass(frozen=True)
class Overlaps:
    """Neighbours by every measure that applies."""

    gram: Graph
    """By |⟨Q_i,Q_j⟩|/(‖Q_i‖‖Q_j‖)."""
    subspace: Graph
    """By ‖U_iU_jᵀ‖²/√(r_ir_j), U_i the r_i eigenvectors that hold 90 % of the form's Σλ²: 1 for
    equal subspaces, 0 for orthogonal ones."""
    mixing: Graph | None
    """By |D_i·D_j|/(‖D_i‖‖D_j‖), D_i the columns of D; None for variants that do not mix."""


@torch.no_grad()
def overlaps(
    model: BilinearAutoencoder, k: int = 10, *, pairs: Eigenpairs | None = None
) -> Overlaps:
    """The k nearest neighbours of every latent (all others, where there are fewer).

    Args:
        model: the autoencoder.
        k: neighbours per latent.
        pairs: ``spectra(model)``, where it is at hand.

    Raises:
        QuadricError: k is not positive, or a form is not finite.
    """
    if k < 1:
        raise QuadricError(f"k is {k}, expected at least one neighbour")
    values, vectors = spectra(model) if pairs is None else pairs
    count, rank = values.shape
    norms = values.norm(dim=-1, keepdim=True)
    unit = values / norms.where(norms > 0, 1.0)
    inside = leading_axes(values).to(values)
    scaled = inside / inside.sum(-1, keepdim=True).clamp_min(1).sqrt()

    def forms(rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        flat = vectors[rows].flatten(0, 1) @ vectors[columns].flatten(0, 1).mT
        squares = flat.square_().reshape(-1, len(values[columns]), rank)
        return _summed(squares, unit[rows], unit[columns]), _summed(
            squares, scaled[rows], scaled[columns]
        )

    gram, subspace = _rank_tiles(forms, count, k, rank, measures=2, like=values)
    if not isinstance(model.mixing, Dense):
        return Overlaps(gram, subspace, None)
    mixing = torch.nn.functional.normalize(model.mixing.weight.detach(), dim=0)

    def mixed(rows: slice, columns: slice) -> tuple[Tensor]:
        return (mixing[:, rows].mT @ mixing[:, columns],)

    (graph,) = _rank_tiles(mixed, count, k, 1, measures=1, like=values)
    return Overlaps(gram, subspace, graph)


def leading_axes(values: Float[Tensor, "m k"], share: float = LEADING) -> Tensor:
    """Which eigenvalues span a form's leading eigenspace: the fewest with ``share`` of Σλ²."""
    squares = values.double().square()
    before = squares.cumsum(-1) - squares
    return (before < share * squares.sum(-1, keepdim=True)) & (squares > 0)


def _summed(
    squares: Float[Tensor, "rows*r columns r"],
    rows: Float[Tensor, "rows r"],
    columns: Float[Tensor, "columns r"],
) -> Float[Tensor, "rows columns"]:
    """Σ_ab rows_ia columns_jb squares_iajb."""
    half = (squares * columns).sum(-1).reshape(*rows.shape, -1)
    return (half * rows[..., None]).sum(1)


class _Best:
    """The running k largest entries of every row, and the sums of its fourth and eighth powers."""

    def __init__(self, count: int, k: int, like: Tensor) -> None:
        self.values = like.new_zeros(count, k)
        self.sizes = like.new_full((count, k), -1.0)
        self.indices = torch.zeros(count, k, dtype=torch.long, device=like.device)
        self.sums = torch.zeros(2, count, dtype=torch.float64, device=like.device)

    def add(self, rows: slice, columns: slice, tile: Float[Tensor, "rows columns"]) -> None:
        sizes = tile.abs()
        powers = sizes.pow(POWER)
        self.sums[0, rows] += powers.sum(1).double()
        self.sums[1, rows] += powers.square_().sum(1).double()
        if rows == columns:
            sizes.fill_diagonal_(-1)  # a latent is not its own neighbour
        found = sizes.topk(min(self.sizes.shape[1], sizes.shape[1]), dim=1)
        both = torch.cat([self.sizes[rows], found.values], dim=1)
        best = both.topk(self.sizes.shape[1], dim=1)
        signed = torch.cat([self.values[rows], tile.gather(1, found.indices)], dim=1)
        places = torch.cat([self.indices[rows], found.indices + columns.start], dim=1)
        self.sizes[rows] = best.values
        self.values[rows] = signed.gather(1, best.indices)
        self.indices[rows] = places.gather(1, best.indices)

    def graph(self) -> Graph:
        fourth, eighth = self.sums
        ratio = torch.where(eighth > 0, fourth.square() / eighth.where(eighth > 0, 1.0), 0.0)
        return Graph(self.indices, self.values, ratio)


def _rank_tiles(
    tiles: Callable[[slice, slice], tuple[Tensor, ...]],
    count: int,
    k: int,
    width: int,
    *,
    measures: int,
    like: Tensor,
) -> list[Graph]:
    """Graphs of symmetric matrices that ``tiles`` makes piece by piece."""
    found = [_Best(count, min(k, count - 1), like) for _ in range(measures)]
    for rows, columns in _tile_pairs(count, width):
        for best, tile in zip(found, tiles(rows, columns), strict=True):
            best.add(rows, columns, tile)
            if rows != columns:
                best.add(columns, rows, tile.mT)
    return [best.graph() for best in found]


def _tile_pairs(count: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Pairs i ≤ j of row blocks whose tile of width×width entries a pair stays in bounds."""
    step = max(1, int(blocks.BLOCK_ENTRIES**0.5) // width)
    rows = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    for place, first in enumerate(rows):
        for second in rows[place:]:
            yield first, second
