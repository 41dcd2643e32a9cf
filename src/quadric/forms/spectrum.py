"""Eigenpairs of interaction matrices, one or many.

An output direction u reads Q_u = Σ_j c_jB_j with c = Pᵀu. When only r neurons have c_j ≠ 0 and
2r < d, the nonzero spectrum comes from a 2r×2r core: with A = [W_rᵀ V_rᵀ] = ZR (QR),
Q_u = Z · R ½[[0, diag c], [diag c, 0]] Rᵀ · Zᵀ. Then Q_u is not built and no other neuron is
read. Otherwise Q_u is built and decomposed. Both run in float64 and answer in the tensor's dtype.

Eigenpairs are sorted by a rule and each vector's sign is fixed: its largest entry in absolute
value is positive (the first of them, where entries tie). They are not differentiable; for a
gradient use λ_i = v_iᵀQ_uv_i with v_i held fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError, nearest
from quadric.forms.blocks import row_blocks
from quadric.forms.interaction import Support, neuron_weights, supports, weighted_form

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor

Rule = Literal["abs", "pos", "neg"]
"""Which eigenvalues lead: the largest |λ|, the largest λ, or the smallest λ."""

_TIE = 1 - 1e-6
"""Entries this close to the largest count as tied, so rounding does not choose the sign."""


class Eigenpairs(NamedTuple):
    """Eigenvalues with their eigenvectors, sorted; a leading axis when there are many forms."""

    values: Float[Tensor, "*q k"]
    """λ_i, leading ones first."""
    vectors: Float[Tensor, "*q k d"]
    """v_i as orthonormal ROWS, signs fixed."""


class Spectra(NamedTuple):
    """Whole sorted spectra of some forms, with the leading eigenvectors only."""

    rows: Int[Tensor, "c"]
    values: Float[Tensor, "c w"]
    """All w = min(d, 2s) eigenvalues that can be nonzero, in float64."""
    vectors: Float[Tensor, "c min(k,w) d"]


def eigh(
    tensor: BilinearTensor, u: Float[Tensor, "m"], k: int | None = None, by: Rule = "abs"
) -> Eigenpairs:
    """The eigenpairs of Q_u in the span of the neurons that u reads, sorted ``by`` the rule.

    With r neurons read there are min(d, 2r) of them; the remaining eigenvalues of Q_u are exactly
    zero and are not listed. ``k`` keeps the leading min(k, min(d, 2r)). By "pos" the negative
    eigenvalues come after the positive ones (and the other way round by "neg"): look at the sign.

    Raises:
        QuadricError: ``u`` does not have m entries, ``k`` is not in 1…d, ``by`` is unknown, or
            Q_u is not finite.
    """
    weights = neuron_weights(tensor, u)
    if k is not None:
        _check_rank(tensor, k)
    active = weights.nonzero()[:, 0]
    support = Support(active.new_zeros(1), active[None], weights[active][None])
    ((_, values, vectors),) = spectra(tensor, iter([support]), k or tensor.d, by)
    return Eigenpairs(values[0, : vectors.shape[1]].to(tensor.dtype), vectors[0])


def eigh_many(
    tensor: BilinearTensor, us: Float[Tensor, "q m"] | None, k: int, by: Rule = "abs"
) -> Eigenpairs:
    """``eigh`` for every row of ``us`` (None: for every output), values (q, k), vectors (q, k, d).

    Directions that read equally many neurons share batched decompositions, in chunks of bounded
    memory. A direction with fewer than k pairs is filled up with λ = 0, v = 0.

    Raises:
        QuadricError: as for ``eigh``.
    """
    count = tensor.m if us is None else len(us)
    return _leading(tensor, supports(tensor, us), count, k, by)


def eigh_sparse(
    tensor: BilinearTensor,
    neurons: Int[Tensor, "q s"],
    weights: Float[Tensor, "q s"],
    k: int,
    by: Rule = "abs",
) -> Eigenpairs:
    """``eigh_many`` for forms Q_i = Σ_s weights[i,s]·B_{neurons[i,s]}, without any dense direction.

    ``out`` plays no part. This is the way for ten thousand composites of a few neurons each. A
    zero weight counts as a neuron that is read, and adds zero eigenvalues.

    Raises:
        QuadricError: ``neurons`` and ``weights`` differ in shape, a neuron does not exist, or as
            for ``eigh``.
    """
    if neurons.ndim != 2 or neurons.shape != weights.shape:
        raise QuadricError(
            f"neurons and weights have shapes {tuple(neurons.shape)} and {tuple(weights.shape)}, "
            "expected the same (q, s)"
        )
    if neurons.numel() and not 0 <= int(neurons.min()) <= int(neurons.max()) < tensor.n:
        raise QuadricError(
            f"neurons range from {int(neurons.min())} to {int(neurons.max())}, "
            f"expected 0 to {tensor.n - 1}"
        )
    rows = torch.arange(len(neurons), device=neurons.device)
    return _leading(tensor, iter([Support(rows, neurons, weights)]), len(neurons), k, by)


def _check_rank(tensor: BilinearTensor, k: int) -> None:
    """Refuse a number of eigenpairs outside 1…d."""
    if not 1 <= k <= tensor.d:
        raise QuadricError(f"k is {k}, expected 1 to {tensor.d}, the number of inputs")


@torch.no_grad()
def spectra(
    tensor: BilinearTensor, groups: Iterator[Support], k: int, by: Rule
) -> Iterator[Spectra]:
    """Sorted spectra of the forms in ``groups``, some forms at a time.

    Raises:
        QuadricError: ``by`` is unknown or a form is not finite.
    """
    if by not in get_args(Rule):
        hint = nearest(str(by), get_args(Rule))
        raise QuadricError(f"by is {by!r}, expected one of {', '.join(get_args(Rule))}{hint}")
    for rows, neurons, weights in groups:
        size = neurons.shape[1]
        decompose = _core_eigh if 2 * size < tensor.d else _dense_eigh
        for chunk in row_blocks(len(rows), tensor.d * min(tensor.d, 2 * size)):
            values, basis, turns = decompose(tensor, neurons[chunk], weights[chunk].double())
            key = {"abs": -values.abs(), "pos": -values, "neg": values}[by]
            order = key.argsort(dim=-1, stable=True)
            kept = turns.take_along_dim(order[:, None, :k], dim=-1)
            vectors = (kept if basis is None else basis @ kept).mT
            yield Spectra(
                rows[chunk],
                values.take_along_dim(order, dim=-1),
                sign_fixed(vectors).to(tensor.dtype),
            )


def _leading(
    tensor: BilinearTensor, groups: Iterator[Support], count: int, k: int, by: Rule
) -> Eigenpairs:
    _check_rank(tensor, k)
    values = tensor.left.new_zeros(count, k)
    vectors = tensor.left.new_zeros(count, k, tensor.d)
    for rows, all_values, leading in spectra(tensor, groups, k, by):
        width = leading.shape[1]
        values[rows, :width] = all_values[:, :width].to(tensor.dtype)
        vectors[rows, :width] = leading
    return Eigenpairs(values, vectors)


def _dense_eigh(
    tensor: BilinearTensor, neurons: Int[Tensor, "c s"], weights: Float[Tensor, "c s"]
) -> tuple[Float[Tensor, "c d"], None, Float[Tensor, "c d d"]]:
    """Eigenvalues (ascending) and eigenvectors (columns) of the d×d forms, built and decomposed."""
    forms = weights.new_zeros(len(neurons), tensor.d, tensor.d)
    for part in row_blocks(neurons.shape[1], tensor.d):
        for form, some, weight in zip(forms, neurons[:, part], weights[:, part], strict=True):
            form.add_(weighted_form(tensor.left[some], tensor.right[some], weight))
    values, vectors = torch.linalg.eigh(_finite(forms))
    return values, None, vectors


def _core_eigh(
    tensor: BilinearTensor, neurons: Int[Tensor, "c s"], weights: Float[Tensor, "c s"]
) -> tuple[Float[Tensor, "c w"], Float[Tensor, "c d w"], Float[Tensor, "c w w"]]:
    """Eigenvalues of the small cores, the bases Z, and the cores' eigenvectors (columns).

    The eigenvectors of the forms are Z @ those. Z has orthonormal columns even where the factor
    rows repeat or depend on each other; the surplus ones get eigenvalue zero.
    """
    size = neurons.shape[1]
    factors = torch.cat([tensor.left[neurons], tensor.right[neurons]], dim=1).double()
    basis, triangle = torch.linalg.qr(factors.mT)
    left, right = triangle[..., :size], triangle[..., size:]
    product = (left * weights[:, None]) @ right.mT
    values, turns = torch.linalg.eigh(_finite((product + product.mT) / 2))
    return values, basis, turns


def _finite(forms: Tensor) -> Tensor:
    if not forms.isfinite().all():
        raise QuadricError("a form is not finite: its factors or weights hold NaN or infinity")
    return forms


def sign_fixed(vectors: Float[Tensor, "c k d"]) -> Float[Tensor, "c k d"]:
    """Each row with its first (nearly) largest entry in absolute value made positive."""
    sizes = vectors.abs()
    largest = (sizes >= _TIE * sizes.amax(dim=-1, keepdim=True)).int().argmax(-1, keepdim=True)
    return vectors * torch.where(vectors.take_along_dim(largest, dim=-1) < 0, -1.0, 1.0)
