"""Groups of latents that may share a manifold, from the weights alone.

A manifold of more than one dimension needs several products, so in a dictionary of single products
(or where composites were split) it shows as latents that overlap. Two selections:

``rows_with_small_participation`` is the published one: a latent whose row of DᵀD (of the normalised
Gram, where nothing is mixed) has a small participation ratio above 1 stands for a group, and the
form is its row's weighted sum of the ten or so most overlapping latents. Every member of a group
finds it again, with other weights; overlap as forms misses latents of the same plane that are
orthogonal as forms.

``agglomerate`` finds a group once and by its subspace. From a seed and its closest neighbours it
takes the pooled eigenspace, the fewest leading eigenvectors of Σ_j Q_j²/‖Q_j‖² that hold 80 % of
its trace, and then in turns collects the latents whose form lies inside that space and pools them
again. A latent belongs to one group at most. The group's form has the weights w that make
‖Σ_j w_j Q_j/‖Q_j‖‖ largest at ‖w‖ = 1, so members add up instead of cancelling. Still, any weighted
sum can lose a direction that each of its members has, and noise then decides about it: the group's
subspace is better read from the pooled members (``group_space``) than from the form
(``group_spectrum``).

    graphs = overlaps(model)
    for group in agglomerate(model, graphs):
        axes = group_space(model, group).vectors      # unit vectors, the leading ones first
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, Eigenpairs
from quadric.forms.spectrum import sign_fixed
from quadric.manifolds.overlap import Overlaps, leading_axes
from quadric.manifolds.spectra import spectra

SHARED, CROWDED = 1.1, 16.0
"""Participation ratios from which a latent counts as sharing, and beyond which as everywhere."""
MEMBERS = 10
"""Latents in a group of the published selection."""
SEEDED, CLOSE = 3, 0.5
"""Most neighbours that a seed starts with, and the least subspace overlap beyond the first."""
INSIDE = 0.5
"""A member has this share of its form's squared norm inside the group's subspace."""
POOLED, LEAST, MOST = 0.8, 2, 4
"""Share of the pooled forms' trace that a group's subspace holds, and its dimensions' range: one
axis would split a plane's latents by the direction they read most."""
SHARED_AXES = 1.5
"""The members' leading axes are together at least so many times the subspace's dimensions: two
unrelated latents also lie inside the space they span."""
EMPTY = 1e-6
"""Below this share of the largest energy, a direction is not spanned by a group."""
LARGEST = 48
"""Most members of an agglomerated group."""
ROUNDS = 6
"""Turns of collecting and pooling."""


@dataclass(frozen=True)
class Group:
    """Some latents and the form Σ_j weights_j·Q_j they make together."""

    members: tuple[int, ...]
    """The latents, the one that the group started from first."""
    weights: tuple[float, ...]
    """The weight of each member's form."""
    participation: float
    """Participation ratio of the first member's row of overlaps."""


@torch.no_grad()
def rows_with_small_participation(
    model: BilinearAutoencoder, graphs: Overlaps, *, size: int = MEMBERS
) -> list[Group]:
    """The published selection, the smallest participation first.

    Args:
        model: the autoencoder.
        graphs: ``overlaps(model, k)``, k ≥ size − 1.
        size: most members of a group.

    Raises:
        QuadricError: ``graphs`` hold too few neighbours, or are another autoencoder's.
    """
    graph = graphs.mixing or graphs.gram
    _check(model, graphs, size - 1)
    if graphs.mixing is None:
        # Rows of the normalised Gram weigh unit forms; Q_j itself is ‖Q_j‖ of those.
        scale = _inverse(spectra(model).values.norm(dim=-1))
    else:
        # Rows of the normalised DᵀD, back to D_i·D_j up to the row's own factor.
        weight = model.get_parameter("mixing.weight")
        scale = weight.norm(dim=0)
    ratios = graph.participation
    chosen = ((ratios > SHARED) & (ratios < CROWDED)).nonzero()[:, 0]
    found = []
    for row in chosen[ratios[chosen].argsort(stable=True)].tolist():
        values = graph.values[row, : size - 1]
        others = graph.neighbours[row, : size - 1][values != 0]
        members = torch.cat([others.new_tensor([row]), others])
        overlap = torch.cat([values.new_ones(1), values[values != 0]])
        found.append(_group(members, overlap * scale[members], ratios[row]))
    return found


@torch.no_grad()
def agglomerate(model: BilinearAutoencoder, graphs: Overlaps) -> list[Group]:
    """Groups by shared subspace, each latent in one at most; the most members first.

    Args:
        model: the autoencoder.
        graphs: ``overlaps(model, k)``; more neighbours find larger groups in fewer rounds.

    Raises:
        QuadricError: ``graphs`` hold no neighbours, or are another autoencoder's.
    """
    _check(model, graphs, 1)
    values, vectors = spectra(model)
    norms = values.norm(dim=-1)
    pairs = Eigenpairs(values * _inverse(norms)[:, None], vectors)
    near = torch.cat([graphs.subspace.neighbours, graphs.gram.neighbours], dim=1)
    ratios = graphs.subspace.participation
    free = norms > 0
    found = []
    for seed in ratios.argsort(descending=True, stable=True).tolist():
        if not free[seed] or ratios[seed] <= SHARED:
            continue
        members = _grown(seed, pairs, near, graphs, free)
        if members is None:
            continue
        free[members] = False
        weights = _aligned(pairs, members) * _inverse(norms)[members]
        found.append(_group(members, weights, graphs.gram.participation[seed]))
    return sorted(found, key=lambda group: -len(group.members))


@torch.no_grad()
def group_spectrum(model: BilinearAutoencoder, group: Group, k: int = 3) -> Eigenpairs:
    """The k leading eigenpairs of a group's form, by |λ|.

    Raises:
        QuadricError: a member does not exist, or ``k`` is not in 1…width.
    """
    _check_members(model, group)
    block = model.config.block or 1
    members = torch.tensor(group.members, device=model.device)
    products = (members[:, None] * block + torch.arange(block, device=model.device)).flatten()
    weights = torch.tensor(group.weights, device=model.device).repeat_interleave(block)
    tensor = BilinearTensor(model.left.detach(), model.right.detach())
    found = tensor.eigh_sparse(products[None], weights.to(tensor.dtype)[None], k)
    return Eigenpairs(found.values[0], found.vectors[0])


@torch.no_grad()
def group_space(model: BilinearAutoencoder, group: Group, k: int = 3) -> Eigenpairs:
    """The k leading eigenpairs of Σ_j Q_j²/‖Q_j‖² over a group's members: where they all act.

    Fewer than k where the members span less.

    Raises:
        QuadricError: a member does not exist, or ``k`` is not in 1…width.
    """
    _check_members(model, group)
    width = model.left.shape[1]
    if not 1 <= k <= width:
        raise QuadricError(f"k is {k}, expected 1 to {width}, the forms' width")
    values, vectors = spectra(model, group.members)
    values = values * _inverse(values.norm(dim=-1))[:, None]
    energies, axes = _pooled(Eigenpairs(values, vectors))
    spanned = int((energies > EMPTY * energies[0]).sum())
    return Eigenpairs(energies[: min(k, spanned)], sign_fixed(axes[None, : min(k, spanned)])[0])


def _grown(
    seed: int, pairs: Eigenpairs, near: Int[Tensor, "m k"], graphs: Overlaps, free: Tensor
) -> Tensor | None:
    """The latents inside the subspace that a seed and its neighbours grow into, the seed first."""
    start, overlap = graphs.subspace.neighbours[seed], graphs.subspace.values[seed]
    start, overlap = start[free[start]][:SEEDED], overlap[free[start]][:SEEDED]
    close = overlap >= CLOSE
    close[:1] = True
    members = torch.cat([start.new_tensor([seed]), start[close]])
    for _ in range(ROUNDS):
        space = _space(Eigenpairs(pairs.values[members], pairs.vectors[members]))
        around = torch.unique(torch.cat([members, near[members].flatten()]))
        around = around[free[around]]
        share = _inside(pairs, around, space)
        best = share.argsort(descending=True, stable=True)[:LARGEST]
        inside = around[best[share[best] >= INSIDE]]
        axes = int(leading_axes(pairs.values[inside]).sum())
        if not (inside == seed).any() or axes < SHARED_AXES * len(space):
            return None
        same = len(inside) == len(members) and bool((inside.sort()[0] == members.sort()[0]).all())
        members = inside
        if same:
            break
    return torch.cat([members.new_tensor([seed]), members[members != seed]])


def _pooled(pairs: Eigenpairs) -> Eigenpairs:
    """Eigenpairs of Σ_j Q_j² for a few forms, from the small Gram of the rows λ_jav_ja."""
    rows = (pairs.values[..., None] * pairs.vectors).flatten(0, 1)
    energies, turns = torch.linalg.eigh(rows @ rows.mT)
    axes = turns.mT.flip(0) @ rows
    lengths = axes.norm(dim=1)
    return Eigenpairs(energies.flip(0).clamp_min(0), axes * _inverse(lengths)[:, None])


def _space(pairs: Eigenpairs) -> Float[Tensor, "r d"]:
    """The leading eigenvectors of Σ_j Q_j² that make a group's subspace."""
    energies, axes = _pooled(pairs)
    # leading_axes reads eigenvalues and squares them; the energies are squares already.
    count = int(leading_axes(energies.sqrt()[None], POOLED)[0].sum())
    return axes[: min(MOST, max(LEAST, count))]


def _inside(
    pairs: Eigenpairs, latents: Int[Tensor, " c"], space: Float[Tensor, "r d"]
) -> Float[Tensor, " c"]:
    """‖UQ_jUᵀ‖²/‖Q_j‖² for every latent, U an orthonormal basis."""
    seen = pairs.vectors[latents] @ space.mT
    cut = torch.einsum("ck,cka,ckb->cab", pairs.values[latents], seen, seen)
    return cut.square().sum((1, 2))


def _aligned(pairs: Eigenpairs, members: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
    """The leading eigenvector of the unit forms' Gram, its sum not negative."""
    values, vectors = pairs.values[members], pairs.vectors[members]
    flat = vectors.flatten(0, 1)
    squares = (flat @ flat.mT).square().reshape(*values.shape, *values.shape)
    gram = torch.einsum("iajb,ia,jb->ij", squares, values, values)
    leading: Tensor = torch.linalg.eigh(gram).eigenvectors[:, -1]
    return -leading if leading.sum() < 0 else leading


def _inverse(norms: Tensor) -> Tensor:
    """1/‖·‖, and 0 for an all-zero latent."""
    return torch.where(norms > 0, 1 / norms.where(norms > 0, 1.0), 0.0)


def _group(members: Tensor, weights: Tensor, participation: Tensor) -> Group:
    return Group(tuple(members.tolist()), tuple(weights.tolist()), float(participation))


def _check_members(model: BilinearAutoencoder, group: Group) -> None:
    if not group.members or not 0 <= min(group.members) <= max(group.members) < model.d_sae:
        raise QuadricError(
            f"the group's latents are {group.members}, expected some of 0 to {model.d_sae - 1}"
        )


def _check(model: BilinearAutoencoder, graphs: Overlaps, neighbours: int) -> None:
    count, k = graphs.gram.neighbours.shape
    if count != model.d_sae:
        raise QuadricError(f"the graphs are of {count} latents, the autoencoder has {model.d_sae}")
    if k < min(neighbours, count - 1) or k == 0:
        raise QuadricError(
            f"the graphs hold {k} neighbours a latent, {max(1, neighbours)} are needed: make them "
            f"with overlaps(model, {max(1, neighbours)})"
        )
