"""How alike the eigenvectors of different runs are, as pictures.

Do two runs of one recipe learn the same things (arXiv 2410.08417, §4.2)? Eigenvectors of one class
are compared as pictures Eᵀv of unit length, by |cos|, since their sign means nothing:

- ``ordered``: the r-th with the r-th, as published. Eigenvectors with near eigenvalues change
  places and turn into each other from run to run, and this is low even where models are alike;
- ``matched``: the first r of both under the best one-to-one matching, which undoes changed places;
- ``subspace``: the spans of the first r of both, by the mean cosine of their principal angles,
  which undoes turning as well.

Each gives one number per pair of runs and rank, the mean over classes; ``quadric.vision.runs``
averages over pairs. What unrelated pictures reach is said by ``other_classes`` and ``floor``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.evaluation.assignment import best_assignment
from quadric.forms import Rule
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import spectra


class Pictures(NamedTuple):
    """The leading eigenvectors of several runs."""

    images: Float[Tensor, "r m k p"]
    """Run, class, rank: the picture at unit length."""
    signed: int
    """How many leading ranks have an eigenvalue of the sign asked for in every run and class (for
    "abs": one that is not 0). By "pos", ranks beyond it are negative ones."""


@torch.no_grad()
def pictures(
    models: Sequence[ImageClassifier], k: int, by: Rule = "abs", space: Space = "hidden"
) -> Pictures:
    """The ``k`` leading eigenvectors of each class of some models, which may differ in width.

    Args:
        models: classifiers with one bilinear block, of the same images and classes.
        k: how many; no model may have fewer.
        by: which lead: the largest |λ|, the largest λ or the smallest.
        space: eigenvectors of Q, shown as Eᵀv (as published), or of EᵀQE on pixels.

    Raises:
        QuadricError: the models read other images, or one has fewer eigenvectors or no forms.
    """
    if space not in get_args(Space):
        raise QuadricError(f"space is {space!r}, expected hidden or input")
    if not models:
        raise QuadricError("there are no models to compare")
    first = models[0]
    images, values = [], []
    for model in models:
        if (model.shape, model.classes) != (first.shape, first.classes):
            raise QuadricError(
                f"one model reads {'×'.join(map(str, first.shape))} images of "
                f"{len(first.classes)} classes and another {'×'.join(map(str, model.shape))} of "
                f"{len(model.classes)}: compare models of the same images"
            )
        found = spectra(model, k=k, by=by, space=space)
        images.append(F.normalize(found.images, dim=-1))
        values.append(found.values)
    each = torch.stack(values)
    right = {"abs": each != 0, "pos": each > 0, "neg": each < 0}[by].all(dim=0).all(dim=0)
    return Pictures(torch.stack(images), int(right.int().cumprod(dim=0).sum()))


def ordered(
    first: Float[Tensor, "r m k p"], second: Float[Tensor, "s m k p"] | None = None
) -> Float[Tensor, "r s k"]:
    """Mean over classes of |cos| between the eigenvectors of equal rank.

    Without ``second`` the runs are compared with each other; entry (i, i) is then 1.

    Raises:
        QuadricError: the pictures differ in classes, ranks or pixels.
    """
    second = _partner(first, second)
    cosines = torch.einsum("rmkp,smkp->rsmk", first, second).abs_()
    return cosines.mean(dim=2)


def other_classes(
    first: Float[Tensor, "r m k p"], second: Float[Tensor, "s m k p"] | None = None
) -> Float[Tensor, "r s k"]:
    """The null of ``ordered``: mean |cos| between eigenvectors of equal rank of DIFFERENT classes.

    It is above ``floor`` because all classes read the same pixels.

    Raises:
        QuadricError: the pictures differ in classes, ranks or pixels, or there is one class.
    """
    second = _partner(first, second)
    classes = first.shape[1]
    if classes < 2:
        raise QuadricError("there is one class, expected two or more to compare classes")
    found = [
        torch.einsum("rmp,snp->rsmn", first[:, :, rank], second[:, :, rank]).abs_()
        for rank in range(first.shape[2])
    ]
    every = torch.stack(found, dim=-1)
    same = torch.einsum("rsmmk->rsk", every)
    return (every.sum(dim=(2, 3)) - same) / (classes * (classes - 1))


def matched(
    first: Float[Tensor, "r m k p"], second: Float[Tensor, "s m k p"] | None = None
) -> Float[Tensor, "r s k"]:
    """Mean |cos| of the best matching between the first r eigenvectors of both, mean over classes.

    Entry r − 1 of the last axis matches the first r, so that it is at least the mean of ``ordered``
    up to there. Needs scipy.

    Raises:
        QuadricError: the pictures differ in classes, ranks or pixels.
    """
    found = _cosines(first, _partner(first, second)).abs()
    runs, others, classes, k, _ = found.shape
    result = found.new_zeros(runs, others, k)
    for i, j in _pairs(runs, others, within=second is None):
        for size in range(1, k + 1):
            whole = slice(0, size)
            totals = [
                best_assignment([(whole, whole, scores[:size, :size])], size, size)
                for scores in found[i, j]
            ]
            result[i, j, size - 1] = sum(totals) / (size * classes)
    return result if second is not None else _mirrored(result)


def subspace(
    first: Float[Tensor, "r m k p"], second: Float[Tensor, "s m k p"] | None = None
) -> Float[Tensor, "r s k"]:
    """Mean over classes of the mean cosine of the principal angles between the first r of both.

    Entry r − 1 of the last axis compares spans of r pictures: 1 where they are the same span, and
    for r = 1 the |cos| of ``ordered``.

    Raises:
        QuadricError: the pictures differ in classes, ranks or pixels.
    """
    basis = _nested(first)
    found = _cosines(basis, basis if second is None else _nested(_partner(first, second)))
    runs, others, _, k, _ = found.shape
    result = found.new_zeros(runs, others, k)
    pairs = _pairs(runs, others, within=second is None)
    if pairs:
        i, j = (torch.tensor(side) for side in zip(*pairs, strict=True))
        for size in range(1, k + 1):
            cosines = torch.linalg.svdvals(found[i, j, :, :size, :size])
            result[i, j, size - 1] = cosines.clamp(max=1).mean(dim=(1, 2))
    return result if second is not None else _mirrored(result)


def floor(p: int) -> float:
    """E|cos| between independent random directions in p dimensions: Γ(p/2)/(√π Γ((p+1)/2)).

    Close to √(2/(πp)): 0.028 for 784 pixels.

    Raises:
        QuadricError: ``p`` is below 1.
    """
    if p < 1:
        raise QuadricError(f"p is {p}, expected 1 or more pixels")
    return math.exp(math.lgamma(p / 2) - math.lgamma((p + 1) / 2)) / math.sqrt(math.pi)


def _partner(first: Tensor, second: Tensor | None) -> Tensor:
    if second is None:
        return first
    if first.shape[1:] != second.shape[1:]:
        raise QuadricError(
            f"pictures have shapes {tuple(first.shape)} and {tuple(second.shape)}, expected the "
            "same classes, ranks and pixels"
        )
    return second


def _cosines(
    first: Float[Tensor, "r m k p"], second: Float[Tensor, "s m k p"]
) -> Float[Tensor, "r s m k k"]:
    """All against all, in float64."""
    return torch.einsum("rmkp,smlp->rsmkl", first.double(), second.double())


def _nested(images: Float[Tensor, "r m k p"]) -> Float[Tensor, "r m k p"]:
    """Orthonormal rows of which the first r span what the first r pictures span."""
    basis, _ = torch.linalg.qr(images.double().mT)
    return torch.as_tensor(basis.mT)


def _pairs(runs: int, others: int, *, within: bool) -> list[tuple[int, int]]:
    return [(i, j) for i in range(runs) for j in range(i + 1 if within else 0, others)]


def _mirrored(upper: Float[Tensor, "r r k"]) -> Float[Tensor, "r r k"]:
    """A symmetric matrix of runs from its upper triangle, with 1 where a run meets itself."""
    whole = upper + upper.transpose(0, 1)
    every = torch.arange(len(whole))
    whole[every, every] = 1
    return whole
