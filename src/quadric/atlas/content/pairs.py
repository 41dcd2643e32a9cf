"""The partner of every form in another autoencoder that reads the same activations.

    matched = match(model, other, members, weights, x)
    matched.partner[0], matched.overlap[0]

Where the two transform their input alike, the partner is the other's latent of the largest |cosine|
of forms, from the weights alone. Where they do not, forms cannot be compared as matrices, and it is
the latent of the largest |correlation| of values on the rows ``x``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.atlas.content.neighbours import AT_ONCE, cosines, sums
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.similarity import check_comparable
from quadric.forms import BilinearTensor
from quadric.manifolds.spectra import eigenvalues

Matching = Literal["cosine", "correlation"]


@dataclass(frozen=True, eq=False)
class Matched:
    """Partners in the other autoencoder."""

    partner: Int[Tensor, " n"]
    """Its latent."""
    overlap: Float[Tensor, " n"]
    """The signed cosine, or correlation."""
    by: Matching
    """Which of the two."""


@torch.no_grad()
def match(
    model: BilinearAutoencoder,
    other: BilinearAutoencoder,
    members: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
    x: Float[Tensor, "rows d_in"],
) -> Matched:
    """Find the partners.

    Args:
        model: whose forms are matched.
        other: among whose latents partners are looked for.
        members: latents of each form.
        weights: their weights.
        x: activations, for two that transform their input differently.

    Raises:
        QuadricError: the two read activations of different width.
    """
    if model.d_in != other.d_in:
        raise QuadricError(
            f"autoencoders of d_in {model.d_in} and {other.d_in} cannot be compared: they read "
            "different activations"
        )
    try:
        check_comparable(model, other)
        by: Matching = "cosine"
    except QuadricError:
        by = "correlation"
    tables = _by_weights if by == "cosine" else _by_values
    partner = torch.zeros(len(members), dtype=torch.int64)
    overlap = torch.zeros(len(members))
    for rows, columns, table in tables(model, other, members, weights, x):
        best = table.abs().argmax(1)
        found = table.gather(1, best[:, None])[:, 0]
        better = found.abs() > overlap[rows].abs()
        partner[rows] = torch.where(better, best + columns.start, partner[rows])
        overlap[rows] = torch.where(better, found.to(overlap), overlap[rows])
    return Matched(partner, overlap.clamp(-1, 1), by)


_Tables = Iterator[tuple[slice, range, Float[Tensor, "rows columns"]]]


def _pieces(count: int) -> list[range]:
    return [range(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]


def _by_weights(
    model: BilinearAutoencoder,
    other: BilinearAutoencoder,
    members: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
    x: Tensor,  # noqa: ARG001
) -> _Tables:
    """Cosines of forms, in tiles."""
    width = max(model.left.shape[1], other.left.shape[1])
    sizes = eigenvalues(other).cpu().norm(dim=1)
    for rows in _pieces(len(members)):
        some = slice(rows.start, rows.stop)
        mine = widened(sums(model, members[some], weights[some]), width)
        own = mine.gram().diagonal().clamp_min(0).sqrt()
        for columns in _pieces(other.d_sae):
            theirs = widened(other.tensor(columns).to(device="cpu", dtype=mine.dtype), width)
            yield (
                some, columns,
                cosines(mine, theirs, own, sizes[columns.start : columns.stop].to(own)),
            )  # fmt: skip


def widened(tensor: BilinearTensor, width: int) -> BilinearTensor:
    """Zeros in the constant's place for a tensor that has none."""
    missing = (0, width - tensor.d)
    left, right = (torch.nn.functional.pad(f, missing) for f in (tensor.left, tensor.right))
    return BilinearTensor(left, right, tensor.out)


def _by_values(
    model: BilinearAutoencoder,
    other: BilinearAutoencoder,
    members: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
    x: Float[Tensor, "rows d_in"],
) -> _Tables:
    """Correlations of values, in tiles."""
    own, theirs = (each.encode(x.to(each.device)).cpu() for each in (model, other))
    theirs = _standardised(theirs)
    for rows in _pieces(len(members)):
        some = slice(rows.start, rows.stop)
        mixed = torch.zeros(model.d_sae, len(rows))
        for place, (latents, factors) in enumerate(zip(members[some], weights[some], strict=True)):
            mixed[list(latents), place] = torch.tensor(list(factors))
        mine = _standardised(own @ mixed.to(own))
        for columns in _pieces(other.d_sae):
            yield some, columns, mine.T @ theirs[:, columns.start : columns.stop]


def _standardised(values: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """Centred columns of length 1; zero for a column that does not vary."""
    centred = values - values.mean(0)
    size = centred.norm(dim=0)
    standardised: Tensor = centred / size.where(size > 0, 1.0)
    return standardised
