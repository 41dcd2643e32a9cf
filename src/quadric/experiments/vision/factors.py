"""Few shared products in place of a classifier: how many explain it, and whether they are unique.

    quadric vision factors RUN RUN …

Products that all classes share are searched for from the weights alone and set beside as many
eigen-terms of the classes and of the higher-order SVD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from statistics import fmean
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures import pixels
from quadric.experiments.vision.figures.factors import LOOKS, draw
from quadric.experiments.vision.settings import VisionSettings
from quadric.experiments.vision.sizes import by_size
from quadric.forms import BilinearTensor
from quadric.forms.gram import gram
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.data.images import Images
from quadric.vision.factors import Method, Products, accuracy, matched, products, restarts
from quadric.vision.files import Trained

SHOWN = 6
"""Products whose pictures are drawn."""
NEAR = 0.01
"""A model on few products is as good as the whole one when its accuracy is this near."""


@dataclass(frozen=True)
class Options:
    """How many products, and how they are searched for.

    Raises:
        QuadricError: a value is out of range.
    """

    ranks: str = "5,10,20,40"
    """Comma-separated numbers of products."""
    rank: int = 10
    """Number of products whose searches are compared and of which some are shown."""
    starts: int = 1
    """Searches for each number: one from the HOSVD's terms, further ones from random factors."""
    restarts: int = 4
    """Random starts of the first model that are compared with each other."""
    steps: int = 8
    """Tens of iterations of a search."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.numbers:
            raise QuadricError("ranks is empty, expected numbers such as 5,10,20")
        for name in ("rank", "starts", "restarts", "steps"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 1 or more")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The ranks as numbers, ascending."""
        parts = [part.strip() for part in self.ranks.split(",") if part.strip()]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise QuadricError(f"ranks is {self.ranks!r}, expected numbers such as 5,10,20")
        return tuple(sorted({int(part) for part in parts}))


def plan(settings: VisionSettings) -> list[Recipe]:
    """The middle size in every seed."""
    return [settings.recipe(seed=seed) for seed in range(settings.seeds)]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Explained share and accuracy by number of products, agreement of searches, and pictures.

    Raises:
        QuadricError: the models differ in more than their seed, or have no quadratic logits.
    """
    sizes = by_size(models)
    if len(sizes) > 1:
        names = ", ".join(size.label for size in sizes)
        raise QuadricError(f"the models have the sizes {names}: name models of one size")
    test = models[0].data().test
    search = cache(
        lambda place, rank, method, space: products(
            models[place].model, rank, method, space, starts=options.starts, steps=options.steps
        )
    )
    curves: dict[str, Any] = {}
    for space in get_args(Space):
        # The block's own space is there for comparison: one model shows it.
        chosen = models if space == "input" else models[:1]
        curves[space] = {
            method: [
                _curve(
                    trained.model,
                    test,
                    {rank: partial(search, place, rank, method, space) for rank in options.numbers},
                    exact=method == "shared",
                )
                for place, trained in enumerate(chosen)
            ]
            for method in get_args(Method)
        }
    rank = min(options.rank, models[0].model.config.d_hidden)
    best = [search(place, rank, "shared", "input") for place in range(len(models))]
    return Measured(
        {
            "ranks": list(options.numbers),
            "products": models[0].model.config.d_hidden,
            "seeds": [trained.recipe.fit.seed for trained in models],
            "accuracy": [accuracy(t.model.tensor("input"), test) for t in models],
            "curves": curves,
            "rank": rank,
            "restarts": _agreement(models, best, rank, options),
            "shape": list(models[0].model.shape),
            "classes": list(models[0].model.classes),
            "cancelling": [_cancelling(found.tensor) for found in best],
            "pictures": _pictures(best[0].tensor, models[0].model.d_in),
        }
    )


def _curve(
    model: ImageClassifier, test: Images, made: dict[int, Callable[[], Products]], *, exact: bool
) -> dict[str, list[float]]:
    """Explained share and test accuracy by rank; ``exact``: the model's own products count."""
    explained, right = [], []
    whole = model.tensor("input")
    for rank, make in made.items():
        found = Products(whole, 1.0) if exact and rank >= whole.n else make()
        explained.append(round(found.explained, 6))
        right.append(accuracy(found.tensor, test))
    return {"explained": explained, "accuracy": right}


def _agreement(
    models: Sequence[Trained], best: Sequence[Products], rank: int, options: Options
) -> dict[str, Any]:
    """Matched cosines between searches of one model, between models, and of random products."""
    searched = restarts(models[0].model, rank, options.restarts, steps=options.steps)
    within = [matched(a.tensor, b.tensor) for a, b in combinations(searched, 2)]
    whole = [float(a.tensor.cosine(b.tensor)) for a, b in combinations(searched, 2)]
    across = [matched(a.tensor, b.tensor) for a, b in combinations(best, 2)]
    generator = torch.Generator().manual_seed(0)
    like = best[0].tensor
    assert like.out is not None

    def chance() -> BilinearTensor:
        left, right = torch.randn(2, rank, like.d, generator=generator).to(like.left)
        return BilinearTensor(left, right, torch.randn(like.m, rank, generator=generator).to(left))

    return {
        "explained_from_random": [round(found.explained, 6) for found in searched],
        "explained_from_hosvd": [round(found.explained, 6) for found in best],
        "within": _sorted(within),
        "within_whole": fmean(whole) if whole else None,
        "across": _sorted(across),
        "chance": _sorted([matched(chance(), chance()) for _ in range(5)]),
    }


def _cancelling(tensor: BilinearTensor) -> float:
    """The terms' squared norms added up, over that of their sum; 1 where none cancels another."""
    assert tensor.out is not None
    squares = gram(BilinearTensor(tensor.left, tensor.right)).diagonal()
    return float((squares * tensor.out.square().sum(0)).sum() / tensor.norm().square())


def _sorted(cosines: Sequence[Float[Tensor, "r"]]) -> list[float] | None:
    """The mean over pairs of the largest, second largest … cosine."""
    if not cosines:
        return None
    return [round(value, 4) for value in torch.stack(list(cosines)).mean(0).tolist()]


def _pictures(tensor: BilinearTensor, pixels_in: int) -> list[dict[str, Any]]:
    """The products with the largest columns, as two rows of pixels and what classes read."""
    assert tensor.out is not None
    sizes = tensor.left.norm(dim=1) * tensor.right.norm(dim=1)
    out = tensor.out * sizes
    order = (-out.norm(dim=0)).argsort(stable=True)[:SHOWN]
    scale = float(out.abs().max()) or 1.0
    lefts, rights = (
        pixels.rounded(factor[order, :pixels_in]) for factor in (tensor.left, tensor.right)
    )
    columns = (out[:, order] / scale).mT.tolist()
    return [
        {"left": left, "right": right, "classes": [round(value, 4) for value in column]}
        for left, right, column in zip(lefts, rights, columns, strict=True)
    ]


def compare(measured: Measured) -> Comparison:
    """Whether shared products need fewer than the classes' own eigen-terms, and are unique."""
    data = measured.data
    found = {
        method: [
            _needed(data["ranks"], curve["accuracy"], whole)
            for curve, whole in zip(data["curves"]["input"][method], data["accuracy"], strict=True)
        ]
        for method in LOOKS
    }
    last = len(data["ranks"]) + 1
    fewer: list[bool] = []
    for shared, eigen in zip(found["shared"], found["eigen"], strict=True):
        if shared is not None or eigen is not None:
            order = [last if n is None else data["ranks"].index(n) for n in (shared, eigen)]
            fewer.append(order[0] < order[1])
    fewer_than_all = [rank for rank in data["ranks"] if rank < data["products"]] or data["ranks"]
    middle = fewer_than_all[len(fewer_than_all) // 2]
    at = {
        method: {
            key: fmean(
                curve[key][data["ranks"].index(middle)] for curve in data["curves"]["input"][method]
            )
            for key in ("explained", "accuracy")
        }
        for method in LOOKS
    }
    within, across = (
        None if data["restarts"][key] is None else fmean(data["restarts"][key])
        for key in ("within", "across")
    )
    chance = fmean(data["restarts"]["chance"])
    cancelling = (
        f" The {data['rank']} shared products cancel in part: their squared norms add up to "
        f"{fmean(data['cancelling']):.1f} times that of their sum."
    )
    unique = "" if within is None else (
        f" Random starts for {data['rank']} products end at matched cosines of {within:.2f} on "
        f"average (by chance {chance:.2f}): they are {'' if within > 0.95 else 'not '}unique, "
        f"while the tensors they make have cosine {data['restarts']['within_whole']:.3f}."
    )  # fmt: skip
    return Comparison(
        measured=(
            f"On {middle} products in place of {data['products']}, "
            + "; ".join(
                f"{LOOKS[method][0]} explain {at[method]['explained']:.1%} of the tensor and "
                f"classify {at[method]['accuracy']:.1%}"
                for method in LOOKS
            )
            + f" (the whole model {fmean(data['accuracy']):.1%}). "
            + _sentence(found)
            + unique
            + cancelling
        ),
        agrees=all(fewer) if fewer else None,
        rule=(
            f"in every model shared products come within {NEAR:.0%} of its accuracy at a smaller "
            "number than the classes' own eigen-terms"
        ),
        figures={
            "products": data["products"],
            "rank": middle,
            **{f"{key}_{m}": at[m][key] for m in LOOKS for key in ("explained", "accuracy")},
            "cancelling": fmean(data["cancelling"]),
            "matched_restarts": within,
            "matched_models": across,
            "matched_chance": chance,
        },
        lines=lines(
            *(
                Line(
                    f"Test accuracy on {middle} {LOOKS[method][0]}", "", "",
                    f"{at[method]['accuracy']:.1%} (explained {at[method]['explained']:.1%})",
                )
                for method in LOOKS
            )
        ),
    )  # fmt: skip


def _needed(ranks: Sequence[int], accuracies: Sequence[float], whole: float) -> int | None:
    """The first rank from which on the accuracy stays near the whole model's."""
    kept = None
    for rank, value in zip(reversed(ranks), reversed(accuracies), strict=True):
        if value < whole - NEAR:
            break
        kept = rank
    return kept


def _sentence(found: dict[str, list[int | None]]) -> str:
    parts = []
    for method, needed in found.items():
        some = sorted({n for n in needed if n is not None})
        shown = (
            "none of these numbers"
            if not some
            else "–".join(map(str, (some[0], some[-1])[: len(some)]))
        )
        parts.append(f"{shown} for {LOOKS[method][0]}")
    return f"Within {NEAR:.0%} of its accuracy come {', '.join(parts)}."


EXPERIMENT = VisionExperiment(
    name="factors",
    title="Shared products in place of a classifier",
    statement=(
        "Follow-up code fits one small set of products that all classes share, by the cosine "
        "between tensors; no figures were published."
    ),
    source=f"{PAPER}, the code beside it",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
)
