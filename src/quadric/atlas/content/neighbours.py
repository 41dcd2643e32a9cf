"""Which forms are near which: latents by the run's table, groups computed beside them.

    near = with_groups(model, latents, groups)
    near["gram"].ids[0], near["gram"].overlaps[0]

A group is a form like any other: its Gram cosine with each latent and each other group is exact,
and its subspace is that of its three leading shared directions. Mixing is between latents only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.atlas.contract import Measure
from quadric.autoencoders import BilinearAutoencoder
from quadric.forms import BilinearTensor, Eigenpairs
from quadric.manifolds.overlap import leading_axes
from quadric.manifolds.spectra import eigenvalues, spectra

AT_ONCE = 512
"""Forms in a tile of overlaps."""

MEASURES = {
    "gram": Measure(
        "gram", "Same form",
        "Cosine of the two forms, ⟨Qᵢ,Qⱼ⟩/(‖Qᵢ‖‖Qⱼ‖) with ⟨A,B⟩ = tr(AB): ±1 where one is a "
        "multiple of the other.",
    ),
    "subspace": Measure(
        "subspace", "Same subspace",
        "‖UᵢUⱼᵀ‖²/√(rᵢrⱼ), U the r eigenvectors that hold 90 % of a form's Σλ², or a group's three "
        "leading directions: 1 where both act on the same directions, whatever they do there.",
    ),
    "mixing": Measure(
        "mixing", "Mixed together",
        "Cosine Dᵢ·Dⱼ/(‖Dᵢ‖‖Dⱼ‖) of the latents' columns in the mixing matrix D.",
    ),
}  # fmt: skip
"""In the order in which an atlas lists them."""


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest others of every form, by one measure; latents first, then the groups."""

    ids: Int[Tensor, "n k"]
    """The nearest first."""
    overlaps: Float[Tensor, "n k"]
    """Signed where the measure has a sign."""


@dataclass(frozen=True, eq=False)
class Grouped:
    """The groups of a run."""

    members: Sequence[Sequence[int]]
    """Latents of each."""
    weights: Sequence[Sequence[float]]
    """Their weights."""
    axes: Float[Tensor, "g 3 d_in"]
    """Their leading shared directions."""


@torch.no_grad()
def among(forms: BilinearTensor, pairs: Eigenpairs, k: int) -> dict[str, Near]:
    """The k nearest others (fewer where there are fewer) of every form of a stack.

    Args:
        forms: the stack.
        pairs: the eigenpairs of each, the largest |λ| first.
        k: how many.
    """
    exact = forms.to(dtype=torch.float64)
    norms = _norms(exact)
    inside = leading_axes(pairs.values)
    rank = inside.sum(1)
    kept = max(1, int(rank.max()))
    axes = (pairs.vectors * inside[..., None])[:, :kept].double()
    flat = axes.flatten(0, 1)
    seen = (flat @ flat.T).square().reshape(len(axes), kept, len(axes), kept).sum((1, 3))
    overlaps = {
        "gram": cosines(exact, exact, norms, norms),
        "subspace": seen / (rank[:, None] * rank).clamp_min(1).sqrt(),
    }
    found = {}
    for name, overlap in overlaps.items():
        ids = torch.arange(len(overlap))
        # A form is not its own neighbour, nor does it fill up a list of few others.
        sizes = overlap.abs().fill_diagonal_(-1)
        place = sizes.topk(min(k, len(ids) - 1), dim=1).indices
        found[name] = Near(ids.expand_as(overlap).gather(1, place), overlap.gather(1, place))
    return found


@torch.no_grad()
def with_groups(
    model: BilinearAutoencoder, latents: dict[str, Near], groups: Grouped
) -> dict[str, Near]:
    """Neighbours of latents and groups, from those of latents among themselves.

    Args:
        model: the autoencoder.
        latents: by each measure.
        groups: what is added, numbered from d_sae.
    """
    count = len(groups.members)
    if not count:
        return latents
    sizes = eigenvalues(model).cpu().norm(dim=1)
    among = {name: near for name, near in latents.items() if name != "mixing"}
    own: dict[str, list[Near]] = {name: [] for name in among}
    for start in range(0, count, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, count))
        for name, overlap in _overlaps(model, sizes, groups, rows).items():
            k = among[name].ids.shape[1]
            # A form is not its own neighbour.
            overlap[torch.arange(len(rows)), model.d_sae + torch.tensor(rows)] = 0
            own[name].append(_nearest(torch.arange(overlap.shape[1]), overlap, k))
            numbers = model.d_sae + torch.tensor(rows)
            both = torch.cat([among[name].overlaps, overlap[:, : model.d_sae].T], dim=1)
            ids = torch.cat([among[name].ids, numbers.expand(model.d_sae, -1)], dim=1)
            among[name] = _nearest(ids, both, k)
    joined = {
        name: Near(
            torch.cat([near.ids, *(each.ids for each in own[name])]),
            torch.cat([near.overlaps, *(each.overlaps for each in own[name])]),
        )
        for name, near in among.items()
    }
    return {name: joined.get(name, near) for name, near in latents.items()}


def _nearest(ids: Int[Tensor, "*n c"], overlaps: Float[Tensor, "n c"], k: int) -> Near:
    """The k largest overlaps in magnitude."""
    place = overlaps.abs().topk(min(k, overlaps.shape[1]), dim=1).indices
    return Near(ids.expand_as(overlaps).gather(1, place), overlaps.gather(1, place))


def _overlaps(
    model: BilinearAutoencoder, sizes: Float[Tensor, " m"], groups: Grouped, rows: range
) -> dict[str, Float[Tensor, "rows n"]]:
    """Overlaps of some groups with every latent and every group."""
    mine, axes = _groups(model, groups, rows), groups.axes[rows.start : rows.stop]
    own = _norms(mine)
    gram, subspace = [], []
    for columns in _chunks(model.d_sae):
        theirs = model.tensor(columns).to(device="cpu")
        gram.append(cosines(mine, theirs, own, sizes[columns.start : columns.stop]))
        values, vectors = (each.cpu() for each in spectra(model, columns))
        inside = leading_axes(values).to(values)
        seen = torch.einsum("iad,jbd->ijab", axes, vectors[..., : axes.shape[2]]).square().sum(2)
        rank = inside.sum(1).clamp_min(1)
        subspace.append((seen * inside).sum(2) / (axes.shape[1] * rank).sqrt())
    for columns in _chunks(len(groups.members)):
        theirs = _groups(model, groups, columns)
        gram.append(cosines(mine, theirs, own, _norms(theirs)))
        seen = torch.einsum("iad,jbd->ijab", axes, groups.axes[columns.start : columns.stop])
        subspace.append(seen.square().sum((2, 3)) / axes.shape[1])
    return {"gram": torch.cat(gram, dim=1), "subspace": torch.cat(subspace, dim=1)}


def sums(
    model: BilinearAutoencoder,
    members: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
) -> BilinearTensor:
    """Weighted sums of latents as a stack of forms."""
    block = model.config.block or 1
    flat = torch.tensor([latent for each in members for latent in each], dtype=torch.int64)
    scale = torch.tensor([weight for each in weights for weight in each]).repeat_interleave(block)
    owner = torch.tensor([place for place, each in enumerate(members) for _ in each])
    products = (flat[:, None] * block + torch.arange(block)).flatten()
    left, right = (factor.detach().cpu()[products] for factor in (model.left, model.right))
    out = left.new_zeros(len(members), len(products))
    out[owner.repeat_interleave(block), torch.arange(len(products))] = scale.to(left)
    return BilinearTensor(left, right, out)


def cosines(
    a: BilinearTensor,
    b: BilinearTensor,
    a_norms: Float[Tensor, " m"],
    b_norms: Float[Tensor, " m2"],
) -> Float[Tensor, "m m2"]:
    """⟨Q_i,Q'_j⟩/(‖Q_i‖‖Q'_j‖); 0 for a form that is zero."""
    product = a_norms[:, None] * b_norms
    return torch.where(product > 0, a.cross_gram(b) / product.where(product > 0, 1.0), 0.0)


def _groups(model: BilinearAutoencoder, groups: Grouped, rows: range) -> BilinearTensor:
    some = slice(rows.start, rows.stop)
    return sums(model, groups.members[some], groups.weights[some])


def _norms(tensor: BilinearTensor) -> Float[Tensor, " m"]:
    return tensor.gram().diagonal().clamp_min(0).sqrt()


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]
