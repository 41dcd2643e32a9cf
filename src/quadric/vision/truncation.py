"""Classifiers cut to a few eigenvectors per class: what is lost, and what can at most be lost.

With one bilinear block a logit is Σ_i λ_i(v_i·h)² with h = Ex (arXiv 2410.08417, §3.2). Keeping k
terms of each class leaves an error of at most |λ_{k+1}|·‖h‖², with λ_{k+1} the largest in size that
was dropped; at h along its eigenvector this is attained (§4.2 measures accuracies only). One pass
over the images gives every rank at once: the cumulative sums of the sorted terms.

A model with biases or a residual path has linear and constant terms besides: they stay in.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import Rule
from quadric.forms.blocks import row_blocks
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import constants, spectra


class TruncationCurves(NamedTuple):
    """Errors by the number k = 0 … d of eigenvectors kept per class; d is all of them."""

    leading: Float[Tensor, "d+1"]
    """Share of images classified wrong with the k largest |λ|; the last is the whole model's."""
    random: Float[Tensor, "d+1"]
    """The same with k random eigenvectors per class, mean over the draws."""
    smallest: Float[Tensor, "d+1"]
    """The same with the k smallest |λ|."""
    dropped: Float[Tensor, "m d+1"]
    """|λ_{k+1}| of every class, 0 at k = d: |logit − logit_k| ≤ dropped·‖h‖² for EVERY image."""
    worst: Float[Tensor, "m d+1"]
    """Largest |logit − logit_k| over these images."""
    norm: float
    """Largest ‖h‖ over these images: ``worst`` ≤ ``dropped``·``norm``²."""


@torch.no_grad()
def truncated_logits(
    model: ImageClassifier,
    x: Float[Tensor, "*batch p"],
    k: int,
    by: Rule = "abs",
    space: Space = "hidden",
) -> Float[Tensor, "*batch m"]:
    """Logits with the ``k`` leading eigenvectors of each class: Σ_{i≤k} λ_i(v_i·h)².

    Args:
        model: a classifier with one bilinear block.
        x: images as rows of pixels.
        k: how many; with 0 a model without biases and residual path answers 0 for every class.
        by: which lead: the largest |λ|, the largest λ or the smallest.
        space: whose eigenvectors: of Q, which reads h = Ex, or of EᵀQE, which reads h = x.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``k`` is out of range.
    """
    fixed = constants(model)
    logits = x @ fixed.linear.mT + fixed.constant
    if k == 0:
        return logits
    found = spectra(model, k=k, by=by, space=space)
    read = torch.einsum("...p,mkp->...mk", x, found.images)
    return logits + (found.values * read.square()).sum(dim=-1)


@torch.no_grad()
def truncation_curves(
    model: ImageClassifier,
    pixels: Float[Tensor, "n p"],
    labels: Int[Tensor, " n"],
    *,
    space: Space = "hidden",
    draws: int = 3,
    seed: int = 0,
) -> TruncationCurves:
    """The error at every rank, beside two baselines and the certified bound, in float64.

    Where logits tie, the first class is chosen: with k = 0 and no biases all images are of class 0.

    Args:
        model: a classifier with one bilinear block.
        pixels: the images.
        labels: their classes.
        space: whose eigenvectors, and so whose norm bounds the error: "hidden" reads h = Ex,
            "input" h = x.
        draws: random orders behind ``random``, drawn anew for each class.
        seed: of those orders.

    O(n·m·d²) once, then O(n·m·d) for each order; images pass in blocks of bounded memory.

    Raises:
        QuadricError: the logits are no quadratic forms, there are no images or no draws, or images
            and labels do not fit.
    """
    if space not in get_args(Space):
        raise QuadricError(f"space is {space!r}, expected hidden or input")
    if draws < 1:
        raise QuadricError(f"draws is {draws}, expected 1 or more")
    if not len(pixels) or len(pixels) != len(labels):
        raise QuadricError(f"there are {len(pixels)} images and {len(labels)} labels")
    exact = copy.deepcopy(model).double()
    found, fixed = spectra(exact, space=space), constants(exact)
    m, d = found.values.shape
    generator = torch.Generator().manual_seed(seed)
    ordered = torch.arange(d).expand(m, d)
    shuffled = [torch.rand(m, d, generator=generator).argsort(dim=1) for _ in range(draws)]
    orders = [ordered, ordered.flip(1), *shuffled]
    wrong = torch.zeros(len(orders), d + 1, dtype=torch.int64)
    worst = found.values.new_zeros(m, d + 1)
    norm = 0.0
    for rows in row_blocks(len(pixels), 2 * m * d):
        x, label = pixels[rows].to(found.values), labels[rows].to(found.values.device)
        h = x if space == "input" or exact.embed is None else exact.embed(x)
        norm = max(norm, float(h.norm(dim=1).max()))
        terms = found.values * torch.einsum("nd,mkd->nmk", h, found.vectors).square()
        start = x @ fixed.linear.mT + fixed.constant
        for place, order in enumerate(orders):
            best, guess = None, torch.zeros(len(x), d + 1, dtype=torch.int32, device=x.device)
            for c in range(m):  # one class at a time: it stays in the processor's cache
                kept = terms[:, c] if place == 0 else terms[:, c, order[c]]
                logit = torch.cat([start[:, c, None], kept], dim=1).cumsum(dim=1)
                if place == 0:
                    missed = (logit[:, -1:] - logit).abs_().amax(dim=0)
                    torch.maximum(worst[c], missed, out=worst[c])
                if best is None:
                    best = logit
                else:
                    guess.masked_fill_(logit > best, c)  # a tie leaves the earlier class
                    torch.maximum(best, logit, out=best)
            wrong[place] += (guess != label[:, None]).sum(dim=0).cpu()
    error = wrong.double() / len(pixels)
    return TruncationCurves(
        leading=error[0],
        random=error[2:].mean(dim=0),
        smallest=error[1],
        dropped=torch.nn.functional.pad(found.values.abs(), (0, 1)),
        worst=worst,
        norm=norm,
    )


class Ranks(NamedTuple):
    """Where a curve of errors comes near its end."""

    first: int
    """Smallest k whose error is within the tolerance."""
    lasting: int
    """Smallest k from which on it stays so."""


def ranks_needed(error: Float[Tensor, "d+1"], tolerance: float) -> Ranks:
    """How many eigenvectors per class keep the error within ``tolerance`` of the last, whole one.

    Args:
        error: share of images by rank, from ``TruncationCurves``.
        tolerance: a share: 0.001 is a tenth of a percentage point.

    Raises:
        QuadricError: ``tolerance`` is negative.
    """
    if not tolerance >= 0:
        raise QuadricError(f"tolerance is {tolerance}, expected 0 or more")
    # Shares are counts over n: the slack takes up their rounding, far below one image.
    near = error <= error[-1] + tolerance + 1e-9
    beyond = (~near).nonzero()
    return Ranks(int(near.int().argmax()), int(beyond[-1]) + 1 if len(beyond) else 0)
