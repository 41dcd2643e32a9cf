"""The forms that are examined for manifolds, from the weights alone.

Candidates are the latents of a composite autoencoder, and, in any autoencoder, groups of latents
that act in the same small subspace. Every one is a form Q = Σ_j w_j Q_j over a few latents, so it
can be rebuilt from its ``members`` and ``weights``, and a set of axes: directions of the
transformed input in which it lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Blocks
from quadric.manifolds.overlap import Overlaps, overlaps
from quadric.manifolds.selection import agglomerate, group_space
from quadric.manifolds.spectra import spectra

Kind = Literal["composite", "group"]

NEIGHBOURS = 16
"""Neighbours of every latent that groups grow along."""
SMALL = 0.03
"""Eigenvalues below this share of the largest |λ| add no axis."""
FEWEST_AXES = 3


@dataclass(frozen=True, eq=False)
class Candidate:
    """A form to be examined."""

    id: int
    """Its number: the latent it is, or, for a group, d_sae plus the group's number."""
    kind: Kind
    """A latent of a composite autoencoder, or a group of latents that share a subspace."""
    members: tuple[int, ...]
    """The latents it sums."""
    weights: tuple[float, ...]
    """Their weights w_j."""
    values: Float[Tensor, " r"]
    """v_iᵀQv_i along its axes: eigenvalues, for a composite."""
    axes: Float[Tensor, "r d_in"]
    """Orthonormal rows in the transformed input space, the leading ones first, r ≥ 3 where d_in is.
    For a composite the eigenvectors of Q, largest |λ| first; for a group those of Σ_j Q_j²/‖Q_j‖²,
    which has every direction that a member has. Of an affine form it is the quadratic block."""


@torch.no_grad()
def candidates(model: BilinearAutoencoder, graphs: Overlaps | None = None) -> list[Candidate]:
    """What there is to examine in an autoencoder.

    Args:
        model: the autoencoder.
        graphs: ``overlaps(model, NEIGHBOURS)``, where it is at hand.
    """
    found = []
    if isinstance(model.mixing, Blocks):
        pairs = spectra(model)
        for i in range(model.d_sae):
            values, vectors = pairs.values[i].cpu(), pairs.vectors[i].cpu()
            kept = max(FEWEST_AXES, int((values.abs() > SMALL * values.abs().max()).sum()))
            axes = _input_axes(vectors[:kept], model.d_in)
            found.append(_candidate(model, i, "composite", (i,), (1.0,), axes))
    if model.d_sae < FEWEST_AXES:
        return found
    graphs = graphs or overlaps(model, NEIGHBOURS)
    for number, group in enumerate(agglomerate(model, graphs)):
        axes = _input_axes(group_space(model, group, FEWEST_AXES).vectors.cpu(), model.d_in)
        found.append(
            _candidate(model, model.d_sae + number, "group", group.members, group.weights, axes)
        )
    return found


def _candidate(
    model: BilinearAutoencoder,
    number: int,
    kind: Kind,
    members: tuple[int, ...],
    weights: tuple[float, ...],
    axes: Tensor,
) -> Candidate:
    forms = model.tensor(members).to(device="cpu")
    left, right = forms.left[:, : model.d_in] @ axes.T, forms.right[:, : model.d_in] @ axes.T
    out = torch.eye(len(forms.left)).to(left) if forms.out is None else forms.out
    values = torch.tensor(weights).to(left) @ (out @ (left * right))
    return Candidate(number, kind, members, weights, values, axes)


def _input_axes(vectors: Float[Tensor, "r w"], d_in: int) -> Float[Tensor, "r2 d_in"]:
    """Orthonormal rows in input space; at least three, filled up where the form has fewer.

    An affine form's vectors lose their constant coordinate and are made orthonormal again.
    """
    wanted = min(max(len(vectors), FEWEST_AXES), d_in)
    inside = vectors[:, :d_in]
    if len(inside) == wanted and vectors.shape[1] == d_in:
        return inside
    # The identity's rows complete whatever is missing; QR keeps the given ones' order and sign.
    padded = torch.cat([inside, torch.eye(d_in).to(inside)])
    basis, triangle = torch.linalg.qr(padded.T.double())
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0).double()
    rows: Tensor = (basis * signs).T[:wanted]
    return rows.to(vectors.dtype)
