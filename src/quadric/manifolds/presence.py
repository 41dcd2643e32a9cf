"""Where a candidate is present: the activations that lie in its subspace.

A form's own strong activations show only part of a manifold: with eigenvalues of both signs a
latent fires on an arc, and other latents on the rest of the ring. So the points are chosen by how
much of them lies in the subspace, whatever the form's value there,

    presence(y) = Σ_i (a_i·y)²,

the strongest of which, up to half of Σ presence², are the candidate's points. Beside them stand
the rows on which the form itself fires: the (Σz²)²/Σz⁴ strongest ones of its dominant sign, which
is all of a class whose members fire alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.evaluation.contexts import (
    Contexts,
    Encode,
    FormReader,
    TopRows,
    Visit,
    find_contexts,
)
from quadric.manifolds.candidates import Candidate

ENERGY = 0.5
"""Share of the presence's energy that the points hold."""
FEWEST, MOST = 64, 1024
"""Bounds on the number of points and of firing rows, where the data has them."""
AT_ONCE = 512
"""Candidates in one pass over the data, which bounds the memory."""
SHOWN = 10
"""Rows of each kind that a form is shown on."""


class Responses(NamedTuple):
    """Rows to show a form on, at most ``SHOWN`` of each kind."""

    most_positive: Int[Tensor, " p"]
    """Where it is largest, largest first."""
    most_negative: Int[Tensor, " m"]
    """Where it is smallest, smallest first."""
    near_zero: Int[Tensor, " z"]
    """The smallest |value| of a sample of rows."""
    random: Int[Tensor, " q"]
    """Rows drawn without looking."""


class Points(NamedTuple):
    """A candidate's points."""

    rows: Int[Tensor, " n"]
    """Rows of the store where it is present, most present first."""
    coordinates: Float[Tensor, "n r"]
    """Their transformed activations along the candidate's axes."""
    variance: float
    """Their total variance in the transformed space, around their mean."""
    firing: Int[Tensor, " f"]
    """Rows on which the form fires, in its dominant sign, strongest first."""
    values: Float[Tensor, " f"]
    """The form's values there."""
    responses: Responses
    """Rows to show the form on."""


@torch.no_grad()
def find_points(
    model: BilinearAutoencoder,
    store: Rows,
    chosen: Sequence[Candidate],
    *,
    limit: int | None = None,
    drop_first: int = 1,
    watch: Callable[[int], Visit] | None = None,
) -> list[Points]:
    """The points of every candidate, in passes over the store that take 512 candidates each.

    Args:
        model: the autoencoder.
        store: activations in their stored order.
        chosen: the candidates.
        limit: leading rows of the store to look at; all when None.
        drop_first: positions of a context left out, as in training.
        watch: called at the start of a pass with its number of candidates; what it returns is
            called with the rows and the forms' values of every piece of that pass.
    """
    found: list[Points] = []
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen[start : start + AT_ONCE]
        visit = watch(len(part)) if watch else None
        found += _one_pass(model, store, part, limit, drop_first, visit)
    return found


def _one_pass(
    model: BilinearAutoencoder,
    store: Rows,
    part: Sequence[Candidate],
    limit: int | None,
    drop_first: int,
    visit: Visit | None,
) -> list[Points]:
    members = sorted({latent for candidate in part for latent in candidate.members})
    place = {latent: i for i, latent in enumerate(members)}
    weights = torch.zeros(len(part), len(members))
    for i, candidate in enumerate(part):
        of = [place[latent] for latent in candidate.members]
        weights[i, of] = torch.tensor(candidate.weights)
    encode = _reader(model, members)

    def transform(x: Tensor) -> Tensor:
        y: Tensor = model.transform.apply_to(x.to(model.device, model.dtype)).y.cpu()
        return y

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        return encode(x.to(model.device)).cpu().float() @ weights.T, transform(x)

    axes = [candidate.axes for candidate in part]
    return points_of(read, transform, axes, store, limit=limit, drop_first=drop_first, visit=visit)


@torch.no_grad()
def points_of(
    read: Callable[[Tensor], tuple[Tensor, Tensor]],
    transform: Callable[[Tensor], Tensor],
    axes: Sequence[Float[Tensor, "r d"]],
    store: Rows,
    *,
    limit: int | None = None,
    drop_first: int = 1,
    visit: Visit | None = None,
) -> list[Points]:
    """The points of any forms, in one pass over a store.

    Args:
        read: rows of the store → the forms' values (rows, forms) and the rows y (rows, d) as the
            forms read them.
        transform: the latter alone.
        axes: orthonormal rows for every form, along which it is present.
        store: rows in their stored order.
        limit: leading rows of the store to look at; all when None.
        drop_first: positions of a context left out.
        visit: called with the rows and the forms' values of every piece.
    """
    count, widest = len(axes), max(len(rows) for rows in axes)
    # Forms with fewer axes get zero rows, along which nothing is present.
    padded = torch.zeros(count, widest, axes[0].shape[1])
    for i, rows in enumerate(axes):
        padded[i, : len(rows)] = rows
    flat = padded.flatten(0, 1)

    def both(x: Tensor) -> Tensor:
        values, y = read(x)
        presence = (y.float() @ flat.T).square().view(len(x), count, widest).sum(2)
        return torch.cat([values, presence], dim=1)

    def forward(rows: Tensor, values: Tensor) -> None:
        if visit is not None:
            visit(rows, values[:, :count])

    contexts = find_contexts(both, store, MOST, limit=limit, drop_first=drop_first, visit=forward)
    energy = contexts.mean_square * contexts.seen
    points = []
    for i, own in enumerate(axes):
        rows = _present(contexts.most_positive, count + i, energy[count + i].item())
        firing, values = _firing(contexts, i, energy[i].item())
        y = transform(store.gather(rows))
        points.append(
            Points(
                rows=rows,
                coordinates=y @ own.T,
                variance=(y - y.mean(0)).square().sum(1).mean().item() if len(y) else 0.0,
                firing=firing,
                values=values,
                responses=_responses(contexts, i),
            )
        )
    return points


def _reader(model: BilinearAutoencoder, latents: Sequence[int]) -> Encode:
    """Values of some latents; a large autoencoder is not read as a whole for a few of them."""
    if 2 * len(latents) > model.d_sae:
        chosen = torch.tensor(latents, device=model.device)
        everything = len(latents) == model.d_sae
        return lambda x: model.encode(x) if everything else model.encode(x)[:, chosen]
    return FormReader(model, model.tensor(latents))


def _present(top: TopRows, form: int, energy: float) -> Tensor:
    """The rows of largest presence up to half its energy, at least 64 where there are as many."""
    held = top.values[form].double().square().cumsum(0) <= ENERGY * energy
    rows = top.rows[form][: max(FEWEST, int(held.sum()))]
    return rows[rows >= 0]


def _firing(contexts: Contexts, form: int, energy: float) -> tuple[Tensor, Tensor]:
    """The rows on which a form fires, and its values there."""
    sides = contexts.most_positive, contexts.most_negative
    squares = [side.values[form].double().square() for side in sides]
    # The fourth powers beyond the rows kept are too small to matter.
    fourth = sum(square.square().sum().item() for square in squares)
    count = max(FEWEST, round(energy**2 / fourth)) if fourth > 0 else 0
    side = sides[0] if squares[0].sum() >= squares[1].sum() else sides[1]
    rows, values = side.rows[form][:count], side.values[form][:count]
    return rows[rows >= 0], values[rows >= 0]


def _responses(contexts: Contexts, form: int) -> Responses:
    """The first rows of every kind."""
    # Every form's random rows begin a few further on, so that not all are shown on the same ones.
    others = contexts.random.rows[form].roll(-SHOWN * form)
    kinds = contexts.most_positive, contexts.most_negative, contexts.near_zero
    found = [each[each >= 0][:SHOWN] for each in (*(kind.rows[form] for kind in kinds), others)]
    return Responses(*found)
