"""A classifier on few products that all classes share, found from its weights alone.

    logit_c(x) ≈ Σ_r D_cr (l_r·x)(r_r·x),

the canonical polyadic form of the logits' tensor (``quadric.forms.factors``). A classifier of n
products is exact at r = n; eigen-terms λ(v·x)² are products too, each read by one class, and so
are the terms of the higher-order SVD. In the "input" space the approximated tensor is that of the
pixels, found in the row space of the embedding (nothing of 784 × 784 is made); in the "hidden"
space it is the block's own, and the embedding only stands before it. The two weigh errors
differently.

Where a model has biases or a residual path, products read [x; 1].
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError, nearest
from quadric.forms import (
    BilinearTensor,
    Reduced,
    eigen_factors,
    fit_factors,
    lift,
    reduce_inputs,
    refine_factors,
)
from quadric.forms.gram import cross_gram, gram
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.fit import EVALUATE_AT_ONCE

Method = Literal["shared", "hosvd", "eigen"]
"""Products searched for, made of the HOSVD's eigen-terms, or the classes' own eigen-terms."""


class Products(NamedTuple):
    """Few products in place of a classifier's own."""

    tensor: BilinearTensor
    """The approximate logits on pixels ([x; 1] where the model is lifted): r products."""
    explained: float
    """1 − ‖B − B̂‖²/‖B‖² in the space it was found in: the squared cosine of the two tensors."""


def products(
    model: ImageClassifier,
    rank: int,
    method: Method = "shared",
    space: Space = "input",
    *,
    starts: int = 2,
    steps: int = 20,
    seed: int = 0,
) -> Products:
    """The model's logits on ``rank`` products.

    Args:
        model: a classifier with one bilinear block.
        rank: number r of products.
        method: "shared": searched for, every class reads each. "hosvd": pairs of eigen-terms of the
            leading output directions, the start of that search. "eigen": the largest |λ| of all
            classes, each read by its class alone.
        space: whose tensor is approximated.
        starts: searches from different factors, of which the best is kept ("shared").
        steps: tens of iterations of a search ("shared").
        seed: of the random factors ("shared").

    Raises:
        QuadricError: the logits are no quadratic forms, the method or space is unknown, or ``rank``
            is not positive.
    """
    reduced = _reduced(model, space)
    if method == "eigen":
        tensor, explained = _eigen_terms(reduced.tensor, rank)
    elif method == "hosvd":
        found = eigen_factors(reduced.tensor, rank)
        tensor, explained = found.tensor, found.explained
    elif method == "shared":
        found = fit_factors(reduced.tensor, rank, starts=starts, steps=steps, seed=seed)
        tensor, explained = found.tensor, found.explained
    else:
        hint = nearest(str(method), get_args(Method))
        raise QuadricError(f"method is {method!r}, expected shared, hosvd or eigen{hint}")
    return Products(tensor.with_input_basis(reduced.frame), explained)


def restarts(
    model: ImageClassifier, rank: int, count: int, *, steps: int = 20, seed: int = 0
) -> list[Products]:
    """Shared products on pixels from ``count`` unrelated random starts, to be compared.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``rank`` or ``count`` is not positive.
    """
    for name, value in (("rank", rank), ("count", count)):
        if value < 1:
            raise QuadricError(f"{name} is {value}, expected 1 or more")
    reduced = _reduced(model, "input")
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        left, right = torch.randn(2, rank, reduced.tensor.d, generator=generator).to(
            reduced.tensor.left
        )
        found = refine_factors(reduced.tensor, left, right, steps)
        made.append(Products(found.tensor.with_input_basis(reduced.frame), found.explained))
    return made


@torch.no_grad()
def matched(first: BilinearTensor, second: BilinearTensor) -> Float[Tensor, "r"]:
    """Cosines |cos(D_i, D'_j)|·|cos(product_i, product'_j)| of the best one-to-one matching.

    That is the cosine between two terms as tensors of rank one, which neither the factors' lengths
    nor their order nor the exchange of l and r touches. Largest first; as many as the smaller has.

    Raises:
        QuadricError: the tensors read different inputs or have different outputs.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = (tensor.to(dtype=torch.float64) for tensor in (first, second))
    if (a.d, a.m) != (b.d, b.m):
        raise QuadricError(
            f"the tensors read {a.d} and {b.d} inputs and have {a.m} and {b.m} outputs, expected "
            "the same"
        )
    forms = [BilinearTensor(tensor.left, tensor.right) for tensor in (a, b)]
    sizes = [gram(form).diagonal().clamp(min=1e-300).sqrt() for form in forms]
    inputs = cross_gram(*forms) / sizes[0][:, None] / sizes[1]
    eye = torch.eye(a.m, dtype=torch.float64)
    columns = [
        torch.nn.functional.normalize(eye if t.out is None else t.out, dim=0) for t in (a, b)
    ]
    scores = (inputs * (columns[0].mT @ columns[1])).abs()
    rows, places = linear_sum_assignment(scores.numpy(), maximize=True)
    return scores[torch.from_numpy(rows), torch.from_numpy(places)].sort(descending=True).values


@torch.no_grad()
def accuracy(tensor: BilinearTensor, images: Images) -> float:
    """Share of images whose largest output of a tensor on pixels, or on [x; 1], is their label's.

    Raises:
        QuadricError: there are no images, or the tensor reads another number of pixels.
    """
    if not len(images):
        raise QuadricError("there are no images")
    if tensor.d not in (images.d_in, images.d_in + 1):
        raise QuadricError(f"the tensor reads {tensor.d} inputs, the images have {images.d_in}")
    right = 0
    for start in range(0, len(images), EVALUATE_AT_ONCE):
        x = images.pixels[start : start + EVALUATE_AT_ONCE].to(tensor.left)
        guess = tensor(x if tensor.d == images.d_in else lift(x)).argmax(dim=1)
        right += int((guess == images.labels[start : start + EVALUATE_AT_ONCE]).sum())
    return right / len(images)


def _reduced(model: ImageClassifier, space: Space) -> Reduced:
    """The tensor that is approximated, and what stands between it and the pixels."""
    if space not in get_args(Space):
        raise QuadricError(f"space is {space!r}, expected hidden or input")
    tensor = model.tensor("hidden")
    if model.embed is None:
        return Reduced(tensor, torch.eye(tensor.d, dtype=tensor.dtype))
    basis = model.input_basis()
    return Reduced(tensor, basis) if space == "hidden" else reduce_inputs(tensor, basis)


def _eigen_terms(tensor: BilinearTensor, rank: int) -> tuple[BilinearTensor, float]:
    """The ``rank`` eigen-terms λ(v·x)² of largest |λ| over all outputs."""
    if rank < 1:
        raise QuadricError(f"rank is {rank}, expected at least 1")
    exact = tensor.to(dtype=torch.float64)
    values, vectors = exact.eigh_many(None, min(rank, exact.d), "abs")
    chosen = (-values.abs()).flatten().argsort(stable=True)[:rank]
    kept, directions = values.flatten()[chosen], vectors.flatten(0, 1)[chosen]
    out = torch.zeros(exact.m, len(chosen), dtype=torch.float64)
    out[chosen // values.shape[1], torch.arange(len(chosen))] = kept
    explained = float(kept.square().sum() / exact.norm().square())
    return BilinearTensor(directions, directions, out).to(dtype=tensor.dtype), explained
