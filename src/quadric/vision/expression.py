"""A classifier's tensor written through output directions, and cut there.

The logits' tensor is B = Σ_k u⁺_k ⊗ Q_k over directions u_k, whose forms are
Q_k = Σ_i λ_ki v_ki ⊗ v_ki (arXiv 2410.08417, appendix I.1). ``quadric.forms.expression`` does the
algebra for any directions; here are those that classes suggest, and what keeping k eigen-terms of
each costs in test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError, nearest
from quadric.forms import BilinearTensor, Expression, lift
from quadric.forms.blocks import row_blocks
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images

Directions = Literal["classes", "differences", "both", "leading"]
"""Sets of directions: the m classes; their m(m−1)/2 differences; these together; or the leading
singular directions of the tensor."""


class Cuts(NamedTuple):
    """An expression with the leading eigen-terms of every direction only."""

    kept: list[int]
    """Terms per direction."""
    error: Float[Tensor, " r"]
    """‖B − B̂_k‖/‖B‖ in float64, with what lies outside the directions' span; 1e-8 is rounding."""
    accuracy: Float[Tensor, " r"]
    """Share of images whose largest logit, by the cut expression, is their label's."""


def output_directions(
    tensor: BilinearTensor, kind: Directions, leading: int = 3
) -> Float[Tensor, "q m"]:
    """A set of output directions as rows.

    Args:
        tensor: the logits' forms.
        kind: which set. Differences span all but the direction (1, …, 1), to which neither the
            largest logit nor the cross-entropy responds.
        leading: for the leading singular directions: how many (fewer where the tensor has fewer).

    Raises:
        QuadricError: there is no such set, or ``leading`` is not in 1…m.
    """
    if kind not in get_args(Directions):
        hint = nearest(str(kind), get_args(Directions))
        raise QuadricError(
            f"kind is {kind!r}, expected one of {', '.join(get_args(Directions))}{hint}"
        )
    if kind == "leading":
        return tensor.hosvd(leading).directions
    classes = torch.eye(tensor.m, dtype=tensor.dtype, device=tensor.device)
    if kind == "classes":
        return classes
    first, second = torch.triu_indices(tensor.m, tensor.m, offset=1)
    differences = classes[first] - classes[second]
    return differences if kind == "differences" else torch.cat([classes, differences])


@torch.no_grad()
def cut_expression(
    model: ImageClassifier, expression: Expression, images: Images, kept: Sequence[int]
) -> Cuts:
    """Error and accuracy of B̂_k = Σ_j Σ_{i≤k} λ_ji u⁺_j ⊗ v_ji ⊗ v_ji for several k, by |λ|.

    Args:
        model: the classifier.
        expression: of ``model.tensor("hidden")``, in any dtype; float64 is used.
        images: what to classify.
        kept: numbers k of terms per direction, each in 0…d.

    One eigendecomposition serves all k. O(q·d³) for each error with q directions, and O(N·q·d²) for
    the images.

    Raises:
        QuadricError: a k is out of range, or the expression is of another model.
    """
    source = expression.source.to(dtype=torch.float64)
    directions, readout = expression.directions.double(), expression.readout.double()
    if any(not 0 <= k <= source.d for k in kept):
        raise QuadricError(f"kept is {list(kept)}, expected numbers in 0 to {source.d}")
    h = _embedded(model, images)
    if h.shape[1] != source.d or source.m != len(model.classes):
        raise QuadricError(
            f"the expression has {source.m} outputs of {source.d} inputs and the model "
            f"{len(model.classes)} of {h.shape[1]}: it belongs to another model"
        )
    exact = Expression(source, directions, readout, expression.rank)
    values, vectors = exact.eigenpairs(source.d)
    overlap = readout.mT @ readout
    total, outside = float(source.norm()), float(exact.outside())
    errors = []
    for k in kept:
        dropped = (vectors[:, k:].mT * values[:, None, k:]) @ vectors[:, k:]
        flat = dropped.flatten(1)
        square = float((overlap * (flat @ flat.mT)).sum())
        errors.append((outside**2 + max(square, 0.0)) ** 0.5 / total if total else 0.0)
    right = torch.zeros(len(kept), dtype=torch.int64)
    places = torch.tensor(list(kept))
    for rows in row_blocks(len(h), values.numel()):
        terms = values * torch.einsum("nd,qkd->nqk", h[rows], vectors).square()
        codes = torch.nn.functional.pad(terms.cumsum(dim=2), (1, 0))[:, :, places]
        logits = torch.einsum("nqr,mq->nrm", codes, readout)
        right += (logits.argmax(dim=2) == images.labels[rows, None]).sum(dim=0)
    return Cuts(list(kept), torch.tensor(errors, dtype=torch.float64), right.double() / len(h))


def _embedded(model: ImageClassifier, images: Images) -> Float[Tensor, "n d"]:
    """What the hidden-space forms read, in float64."""
    x = images.pixels.double()
    h = x if model.embed is None else x @ model.embed.weight.detach().double().mT
    return lift(h) if model.lifted else h
