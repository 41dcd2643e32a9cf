"""Forms on their own few axes: eigenvalues, axes, and f(p) = pᵀAp + b·p + c along them.

    forms = latent_forms(model, [3, 7])
    forms[0].axes, forms[0].matrix, forms[0].values_at(y)

A latent's axes are the leading eigenvectors of its quadratic part, along which A is diagonal. A
group's are the directions that its members share: the leading eigenvectors of Σ_j Q_j²/‖Q_j‖², on
which A is its form's whole matrix, not only the diagonal. The affine part b, c is zero unless the
autoencoder is affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.atlas.contract import MOST_AXES
from quadric.atlas.records import AxisKind
from quadric.autoencoders import BilinearAutoencoder
from quadric.forms import BilinearTensor, Eigenpairs, lift
from quadric.forms.spectrum import sign_fixed
from quadric.manifolds.spectra import SIGNED

EMPTY = 1e-6
"""Below this share of the largest energy, a direction is not shared by a group."""
FORMS_AT_ONCE = 512
"""Latents decomposed together, which bounds the memory of their eigenvectors."""


class Group(NamedTuple):
    """Some latents and their weights."""

    id: int
    members: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Form:
    """A latent or a group of latents, ready to be read on rows."""

    id: int
    """The latent, or d_sae plus a group's number."""
    members: tuple[int, ...]
    """The latents it sums."""
    weights: tuple[float, ...]
    """Their weights."""
    spectrum: Float[Tensor, " e"]
    """All eigenvalues of the quadratic part that can be nonzero, the largest |λ| first."""
    axes: Float[Tensor, "r d_in"]
    """Orthonormal rows in the transformed input space, at most ``MOST_AXES``."""
    axis_kind: tuple[AxisKind, ...]
    """What each of them is."""
    matrix: Float[Tensor, "r r"]
    """A, in float64."""
    linear: Float[Tensor, " r"]
    """b, in float64."""
    constant: float
    """c."""
    left: Float[Tensor, "s width"]
    """The left factors of the products that the form sums, lifted where the model is affine."""
    right: Float[Tensor, "s width"]
    """Their right factors, times their weights."""

    @property
    def lifted(self) -> bool:
        """Whether it has linear and constant parts: its factors read [y; 1]."""
        return self.left.shape[1] > self.axes.shape[1]

    def values_at(self, y: Float[Tensor, "rows d_in"]) -> Float[Tensor, " rows"]:
        """The form on all of its axes at transformed activations."""
        y = lift(y) if self.lifted else y
        return ((y @ self.left.T) * (y @ self.right.T)).sum(1)

    @property
    def signature(self) -> tuple[int, int]:
        """Eigenvalues above 10⁻⁶ of the largest |λ|, and below minus that."""
        least = SIGNED * self.spectrum.abs().max() if len(self.spectrum) else 0.0
        return int((self.spectrum > least).sum()), int((self.spectrum < -least).sum())

    def with_axes(self, more: Float[Tensor, "k d_in"]) -> Form:
        """The same form with further axes, along which it is flat."""
        k = len(more)
        return replace(
            self,
            axes=torch.cat([self.axes, more.to(self.axes)]),
            axis_kind=self.axis_kind + _kinds("principal", k),
            matrix=torch.nn.functional.pad(self.matrix, (0, k, 0, k)),
            linear=torch.nn.functional.pad(self.linear, (0, k)),
        )


@torch.no_grad()
def latent_forms(model: BilinearAutoencoder, ids: Sequence[int]) -> list[Form]:
    """Latents on their leading eigenvectors.

    Raises:
        QuadricError: a latent does not exist, or a form is not finite.
    """
    forms: list[Form] = []
    for start in range(0, len(ids), FORMS_AT_ONCE):
        forms += _latents(model, ids[start : start + FORMS_AT_ONCE])
    return forms


@torch.no_grad()
def group_forms(model: BilinearAutoencoder, groups: Sequence[Group]) -> list[Form]:
    """Weighted sums of latents on the directions that the latents share.

    Raises:
        QuadricError: a member does not exist, or a form is not finite.
    """
    if not groups:
        return []
    members = [latent for group in groups for latent in group.members]
    parts, pairs = _eigenpairs(model, members)
    block = parts.n // len(members)
    scale = torch.tensor([weight for group in groups for weight in group.weights])
    right = parts.right * scale.repeat_interleave(block)[:, None].to(parts.right)
    values = pairs.values.double()
    norms = values.norm(dim=1, keepdim=True)
    unit = (values / norms.where(norms > 0, 1.0))[..., None] * pairs.vectors.double()
    counts = [len(group.members) for group in groups]
    sizes = [count * block for count in counts]
    spectra = _spectra(parts.left[:, : model.d_in], right[:, : model.d_in], sizes)
    split = (torch.split(each, sizes) for each in (parts.left, right))
    return [
        _form(group, spectrum, _shared(rows.flatten(0, 1)), "shared", *factors)
        for group, spectrum, rows, *factors in zip(
            groups, spectra, torch.split(unit, counts), *split, strict=True
        )
    ]


def _latents(model: BilinearAutoencoder, ids: Sequence[int]) -> list[Form]:
    parts, pairs = _eigenpairs(model, ids)
    split = (torch.split(each, parts.n // len(ids)) for each in (parts.left, parts.right))
    forms = []
    for latent, values, vectors, *factors in zip(ids, *pairs, *split, strict=True):
        forms.append(eigen_form(Group(latent, (latent,), (1.0,)), values, vectors, *factors))
    return forms


def eigen_form(
    group: Group,
    values: Float[Tensor, " e"],
    vectors: Float[Tensor, "e d_in"],
    left: Float[Tensor, "s width"],
    right: Float[Tensor, "s width"],
    *,
    both_signs: bool = False,
) -> Form:
    """The form Σ_s (l_s·y)(r_s·y) on the leading of its eigenvectors.

    Args:
        group: what it is a sum of.
        values: the eigenvalues of its quadratic part, the largest |λ| first.
        vectors: their eigenvectors as orthonormal rows.
        left: the factors l, on [y; 1] where the form has linear and constant parts.
        right: the factors r, likewise.
        both_signs: choose the leading ones of each sign, as many of one as of the other where
            there are so many, instead of the largest |λ|. The order stays that of |λ|.
    """
    alive = values.abs() > SIGNED * values.abs().max()
    places = torch.arange(max(1, int(alive.sum())))
    if both_signs:
        # How many of its own sign lead each eigenvalue; of two that are equally far, by |λ|.
        positive = values[places] > 0
        rank = torch.where(positive, positive.cumsum(0), (~positive).cumsum(0))
        half = MOST_AXES // 2
        places = places[(rank > half).int().argsort(stable=True)]
    places = places[:MOST_AXES].sort().values
    form = _form(group, values, vectors[places], "eigenvector", left, right)
    return replace(form, matrix=values[places].double().diag())


def _form(
    group: Group,
    spectrum: Float[Tensor, " e"],
    axes: Float[Tensor, "r d_in"],
    kind: AxisKind,
    left: Float[Tensor, "s width"],
    right: Float[Tensor, "s width"],
) -> Form:
    """The form Σ_s (l_s·y)(r_s·y) on some axes."""
    axes = axes.to(left)
    matrix, linear, constant = _on_axes(left, right, axes)
    return Form(
        id=group.id,
        members=group.members,
        weights=group.weights,
        spectrum=spectrum,
        axes=axes,
        axis_kind=_kinds(kind, len(axes)),
        matrix=matrix,
        linear=linear,
        constant=constant,
        left=left,
        right=right,
    )


def _kinds(kind: AxisKind, count: int) -> tuple[AxisKind, ...]:
    return tuple(kind for _ in range(count))


def _eigenpairs(
    model: BilinearAutoencoder, ids: Sequence[int]
) -> tuple[BilinearTensor, Eigenpairs]:
    """The products of latents one after the other, and the eigenpairs of their quadratic parts."""
    tensor, d = model.tensor(ids).to(device="cpu"), model.d_in
    block = tensor.n // len(ids)
    neurons = torch.arange(tensor.n).reshape(len(ids), block)
    quadratic = BilinearTensor(tensor.left[:, :d], tensor.right[:, :d])
    weights = torch.ones(neurons.shape).to(tensor.left)
    return tensor, quadratic.eigh_sparse(neurons, weights, min(2 * block, d))


def _spectra(left: Tensor, right: Tensor, sizes: Sequence[int]) -> list[Float[Tensor, " e"]]:
    """All eigenvalues of sums of ``sizes`` products each; equally large sums share one call."""
    tensor, starts = BilinearTensor(left, right), torch.tensor([0, *sizes]).cumsum(0)
    found: dict[int, Tensor] = {}
    for size in sorted(set(sizes)):
        places = [place for place, each in enumerate(sizes) if each == size]
        neurons = starts[places][:, None] + torch.arange(size)
        ones = torch.ones(neurons.shape).to(left)
        values = tensor.eigh_sparse(neurons, ones, min(2 * size, tensor.d)).values
        found |= dict(zip(places, values, strict=True))
    return [found[place] for place in range(len(sizes))]


def _shared(rows: Float[Tensor, "k d_in"]) -> Float[Tensor, "r d_in"]:
    """The leading directions of rows, as far as they span."""
    _, sizes, axes = torch.linalg.svd(rows, full_matrices=False)
    spanned = max(1, int((sizes.square() > EMPTY * sizes[0].square()).sum()))
    return sign_fixed(axes[None, : min(spanned, MOST_AXES)])[0]


def _on_axes(
    left: Tensor, right: Tensor, axes: Float[Tensor, "r d_in"]
) -> tuple[Float[Tensor, "r r"], Float[Tensor, " r"], float]:
    """A, b and c of Σ_s (l_s·y)(r_s·y) along the axes."""
    d = axes.shape[1]
    axes, left, right = axes.double(), left.double(), right.double()
    on_left, on_right = left[:, :d] @ axes.T, right[:, :d] @ axes.T
    product = on_left.T @ on_right
    matrix = (product + product.T) / 2
    if left.shape[1] == d:
        return matrix, matrix.new_zeros(len(axes)), 0.0
    linear = on_left.T @ right[:, d] + on_right.T @ left[:, d]
    return matrix, linear, float(left[:, d] @ right[:, d])
