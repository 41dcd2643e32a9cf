"""Adversarial masks from the weights: images that, added to any other, move one eigenvector.

With rows v_1 … v_r, the most positive eigenvectors of every class, the masks are the columns of V⁺:
v_j·mask_i = δ_ij, so s·mask_i moves the activation a of eigenvector i to a + s, hence its term by
λ[(a + s)² − a²], and leaves the others where they were (arXiv 2410.08417 §4.4).

That needs V to hold what reads the *pixels*: ``space="input"``. The published masks take V⁺ over
the embedding and pull it back by Eᵀ: ``space="hidden"``. Then v_j·E·mask_i = v_jEEᵀ(V⁺)_i, which is
not δ_ij; such a mask moves many eigenvectors, and misleads a model far more.

A mask has no sign: s·mask and −s·mask both move eigenvector i. Here each is turned so that it adds
to what the uniformly bright image activates. Choosing a sign by its effect on images, as published,
would not be free of data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.spectra import spectra

_DEPENDENT = 1e-6
"""Rows whose smallest singular value is below this share of the largest count as dependent."""
_ROWS = 1024
"""Images answered at once."""


class Masks(NamedTuple):
    """Masks for the k most positive eigenvectors of each of m classes."""

    masks: Float[Tensor, "m k p"]
    """The columns of V⁺ as images, of the lengths that they have there."""
    values: Float[Tensor, "m k"]
    """λ, falling."""
    images: Float[Tensor, "m k p"]
    """What each eigenvector reads in the pixels, with the sign of the mask."""
    space: Space
    """Where the pseudo-inverse was taken."""


class Effects(NamedTuple):
    """What masks do to a model's answers, by mask and strength."""

    accuracy: Float[Tensor, "q s"]
    """Share of the images answered right."""
    target: Float[Tensor, "q s"]
    """Share of the images that are not of the mask's class and are taken for it."""
    other: Float[Tensor, "q s"]
    """The same share for the other classes, on average."""


@torch.no_grad()
def adversarial_masks(
    model: ImageClassifier, per_class: int = 10, *, space: Space = "input"
) -> Masks:
    """Masks for the ``per_class`` most positive eigenvectors of every class.

    Fewer where so many are not positive or not independent: an embedding of width d has room for d
    rows. All classes have the same number, in float64 inside.

    Args:
        model: a classifier with one bilinear block; of one with biases the quadratic part is read.
        per_class: eigenvectors per class, the k of the published figure.
        space: "input": V⁺ over pixels, V's rows eigenvectors of EᵀQE. "hidden": V⁺ over the
            embedding, pulled back by Eᵀ, as published.

    Raises:
        QuadricError: the logits are no quadratic forms, ``per_class`` is below 1, or not even one
            eigenvector of each class is positive and independent of the others.
    """
    if per_class < 1:
        raise QuadricError(f"per_class is {per_class}, expected 1 or more")
    m = len(model.classes)
    embed = None if model.embed is None else model.embed.weight.detach().double()
    room = model.d_in if embed is None else min(embed.shape)
    found = spectra(model, k=max(1, min(per_class, room)), by="pos", space=space)
    values, vectors, pictures = (
        part.double() for part in (found.values, found.vectors, found.images)
    )
    for k in range(min(per_class, room // m), 0, -1):
        rows = vectors[:, :k].flatten(0, 1)
        singular = torch.linalg.svdvals(rows)
        if bool((values[:, :k] > 0).all()) and float(singular[-1]) > _DEPENDENT * singular[0]:
            inverse = torch.linalg.pinv(rows).mT
            if space == "hidden" and embed is not None:
                inverse = inverse @ embed
            masks = inverse.view(m, k, -1)
            signs = torch.where(pictures[:, :k].sum(dim=-1, keepdim=True) < 0, -1.0, 1.0)
            kind = found.values.dtype
            return Masks(
                (signs * masks).to(kind),
                found.values[:, :k],
                (signs * pictures[:, :k]).to(kind),
                space,
            )
    raise QuadricError(
        f"no masks: one positive eigenvector of each of the {m} classes are not independent in a "
        f"space of {room} dimensions; use a model with a wider embedding"
    )


def edge(images: Images, share: float = 0.01) -> Bool[Tensor, " p"]:
    """The pixels that are above 0 in less than ``share`` of the images: the outer edge of digits.

    Raises:
        QuadricError: ``share`` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise QuadricError(f"share is {share}, expected more than 0 and at most 1")
    return (images.pixels > 0).double().mean(dim=0) < share


def standardised(
    masks: Float[Tensor, "*batch p"], support: Bool[Tensor, " p"] | None = None
) -> Float[Tensor, "*batch p"]:
    """Masks with standard deviation 1 over the pixels of a support, and 0 outside it.

    Outside the full image v_j·mask_i = δ_ij is lost.

    Raises:
        QuadricError: the support has fewer than two pixels, or a mask is constant on it.
    """
    if support is None:
        support = torch.ones(masks.shape[-1], dtype=torch.bool, device=masks.device)
    if int(support.sum()) < 2:
        raise QuadricError(f"a support of {int(support.sum())} pixels, expected two or more")
    spread = masks[..., support].std(dim=-1, correction=0, keepdim=True)
    if bool((spread == 0).any()):
        raise QuadricError("a mask is constant on its support: it has no standard deviation")
    return torch.where(support, masks / spread, 0.0)


def permuted(
    masks: Float[Tensor, "q p"], support: Bool[Tensor, " p"] | None = None, seed: int = 0
) -> Float[Tensor, "q p"]:
    """Each mask with its values on the support in a random order of its own: the baseline."""
    if support is None:
        support = torch.ones(masks.shape[-1], dtype=torch.bool, device=masks.device)
    ids = support.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    orders = torch.rand(len(masks), len(ids), generator=generator).argsort(dim=1)
    shuffled = masks.clone()
    shuffled[:, ids] = masks[:, ids].gather(1, orders.to(masks.device))
    return shuffled


@torch.no_grad()
def effects(
    model: ImageClassifier,
    images: Images,
    masks: Float[Tensor, "q p"],
    classes: Int[Tensor, " q"],
    strengths: Float[Tensor, " s"],
) -> Effects:
    """Answers to x + s·mask for every image x, mask and strength s (negative ones too).

    The logits are quadratic in s, T(x) + 2s·T(x, mask) + s²·T(mask), so that an image is read once:
    O(n·d·(p + q·m)) for n images, then O(n·m) for each mask and strength.

    Raises:
        QuadricError: the logits are no quadratic forms, or sizes do not fit.
    """
    if images.shape != model.shape or images.classes != model.classes:
        raise QuadricError("the images have another size or other classes than the model")
    if masks.ndim != 2 or masks.shape[1] != model.d_in or classes.shape != masks.shape[:1]:
        raise QuadricError(
            f"masks of shape {tuple(masks.shape)} for {tuple(classes.shape)} classes, expected "
            f"(q, {model.d_in}) and (q,)"
        )
    tensor = model.tensor("hidden")
    assert tensor.out is not None
    m, q = tensor.m, len(masks)
    read = _embedded(model, masks, constant=0)
    left, right = read @ tensor.left.mT, read @ tensor.right.mT
    # With products a ⊙ c at an image, the mixed term of mask i is P(a ⊙ right_i + c ⊙ left_i).
    beside_left = (tensor.out[:, None] * right).flatten(0, 1)
    beside_right = (tensor.out[:, None] * left).flatten(0, 1)
    square = tensor.read_out(left * right).mT[:, None]
    hits, taken = torch.zeros(2, q, len(strengths), dtype=torch.float64)
    for start in range(0, len(images), _ROWS):
        labels = images.labels[start : start + _ROWS, None]
        z = _embedded(model, images.pixels[start : start + _ROWS].to(masks), constant=1)
        a, c = z @ tensor.left.mT, z @ tensor.right.mT
        plain = tensor.read_out(a * c).mT[:, :, None]
        mixed = (a @ beside_left.mT + c @ beside_right.mT).view(-1, m, q).transpose(0, 1)
        mixed = mixed.contiguous()  # classes first: their largest is found without gathering
        strange = labels != classes
        for column, s in enumerate(strengths.tolist()):
            answers = _argmax(plain.add(mixed, alpha=s).add_(square, alpha=s * s))
            hits[:, column] += (answers == labels).sum(dim=0)
            taken[:, column] += ((answers == classes) & strange).sum(dim=0)
    n = len(images)
    return Effects(hits / n, taken / n, (n - hits - taken) / (n * (m - 1)))


def _argmax(logits: Float[Tensor, "m n q"]) -> Int[Tensor, "n q"]:
    """The first of the largest along a long stride, where a loop over classes is the fastest."""
    best, answers = logits[0].clone(), torch.zeros(logits.shape[1:], dtype=torch.long)
    for c in range(1, len(logits)):
        answers.masked_fill_(logits[c] > best, c)
        torch.maximum(best, logits[c], out=best)
    return answers


def _embedded(
    model: ImageClassifier, pixels: Float[Tensor, "n p"], *, constant: float
) -> Float[Tensor, "n f"]:
    """What the hidden forms read, with the constant coordinate where there is one."""
    z = pixels if model.embed is None else model.embed(pixels)
    return torch.nn.functional.pad(z, (0, 1), value=constant) if model.lifted else z
