"""How alike the eigenvectors of different runs are, at one size and across sizes.

    quadric vision similarity MODEL MODEL…

Mean |cos| between eigenvectors of equal rank, over classes and pairs of DIFFERENT runs (arXiv
2410.08417, figures 5A, 18B and 18C), for three orders of the eigenvalues. The published average
also counts each run's comparison with itself, which is 1; both are measured here. Matching and
subspaces say how much of what is missing is only changed order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from quadric.errors import QuadricError
from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import lines
from quadric.experiments.vision.experiment import PAPER, VisionExperiment
from quadric.experiments.vision.figures.similarity import draw
from quadric.experiments.vision.settings import VisionSettings
from quadric.experiments.vision.similarity_table import table, top_of
from quadric.experiments.vision.sizes import by_size
from quadric.forms import Rule
from quadric.layers.layer import Space
from quadric.vision.config import Recipe
from quadric.vision.files import Trained
from quadric.vision.runs import Interval, across, over_pairs
from quadric.vision.similarity import (
    Pictures,
    floor,
    matched,
    ordered,
    other_classes,
    pictures,
    subspace,
)

GOAL = 0.8
"""The published similarity of top eigenvectors at the least similar size."""
ORDERS: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Options:
    """What may be chosen of the similarity of runs.

    Raises:
        QuadricError: a value is out of range.
    """

    ranks: int = 20
    """Leading eigenvectors of each class that are compared; a narrower model has fewer."""
    reference: str = ""
    """Size that the others are compared with, as it is labelled; the largest when empty."""
    space: Space = "hidden"
    """Whose eigenvectors: of the forms on the embedding, as published, or of those on pixels."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.ranks < 1:
            raise QuadricError(f"ranks is {self.ranks}, expected 1 or more")


def plan(settings: VisionSettings) -> list[Recipe]:
    """Every size with every seed; two seeds at least."""
    return [
        settings.recipe(seed=seed, width=width)
        for width in settings.widths
        for seed in range(max(2, settings.seeds))
    ]


def analyse(models: Sequence[Trained], options: Options) -> Measured:
    """Similarities within and across sizes, and those of unrelated eigenvectors.

    Raises:
        QuadricError: there is one model, the models differ in more than size and seed, their logits
            are no forms, or there is no size of the reference's label.
    """
    if len(models) < 2:
        raise QuadricError("similarity compares runs: name two models or more")
    groups = by_size(models)
    labels = [size.label for size in groups]
    reference = options.reference or labels[-1]
    if reference not in labels:
        raise QuadricError(f"reference is {reference!r}, expected a size of {', '.join(labels)}")
    sizes: list[dict[str, Any]] = [
        {"size": size.label, "width": size.width, "runs": len(runs), "orders": {}}
        for size, runs in groups.items()
    ]
    against: dict[str, list[Any]] = {}
    top: dict[str, list[list[float | None]]] = {}
    for by in ORDERS:
        found = [
            pictures(
                [trained.model for trained in runs],
                min(options.ranks, size.width, models[0].model.d_in),
                by,
                options.space,
            )
            for size, runs in groups.items()
        ]
        for size_data, own in zip(sizes, found, strict=True):
            if size_data["runs"] > 1:
                size_data["orders"][by] = _within(own)
                if by == "abs":
                    size_data["sets"] = _sets(own)
        base = found[labels.index(reference)]
        against[by] = [_between(own, base) for own in found]
        top[by] = [[_first(_between(one, other, ranks=1)) for other in found] for one in found]
    return Measured(
        {
            "dataset": models[0].recipe.dataset,
            "space": options.space,
            "floor": floor(models[0].model.d_in),
            "reference": reference,
            "sizes": sizes,
            "against": against,
            "top": top,
        }
    )


def _within(own: Pictures) -> dict[str, Any]:
    """One size and order: different runs, the published average, and different classes."""
    pairs = ordered(own.images)
    return {
        **_interval(over_pairs(pairs)),
        "published": _listed(over_pairs(pairs, self_pairs=True).mean),
        "other_classes": _listed(over_pairs(other_classes(own.images)).mean),
        "signed": own.signed,
    }


def _sets(own: Pictures) -> dict[str, list[float]]:
    """The first r of one size as a list, matched and as a span."""
    in_order = over_pairs(ordered(own.images)).mean
    counts = in_order.new_ones(len(in_order)).cumsum(dim=0)
    return {
        "ordered": _listed(in_order.cumsum(dim=0) / counts),
        "matched": _listed(over_pairs(matched(own.images)).mean),
        "subspace": _listed(over_pairs(subspace(own.images)).mean),
    }


def _between(one: Pictures, other: Pictures, ranks: int | None = None) -> dict[str, Any] | None:
    """Runs of one size with runs of another, or with each other; None for a run by itself."""
    k = min(one.images.shape[2], other.images.shape[2], ranks or one.images.shape[2])
    if one is not other:
        return _interval(across(ordered(one.images[:, :, :k], other.images[:, :, :k])))
    if len(one.images) < 2:
        return None
    return _interval(over_pairs(ordered(one.images[:, :, :k])))


def _first(found: Mapping[str, Any] | None) -> float | None:
    return None if found is None else float(found["mean"][0])


def _interval(found: Interval) -> dict[str, Any]:
    return {
        "mean": _listed(found.mean),
        "half": None if found.half is None else _listed(found.half),
    }


def _listed(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def compare(measured: Measured) -> Comparison:
    """Whether top eigenvectors agree to 0.8 at every size, and better at larger sizes."""
    data = measured.data
    sizes = [size for size in data["sizes"] if size["orders"]]
    alike = [by for by in ORDERS if sizes and min(_tops(sizes, by)) >= GOAL]
    agrees = None
    if len(sizes) > 1:
        agrees = any(_grows(sizes, by) for by in alike)
    elif sizes and not alike:
        agrees = False
    return Comparison(
        measured=_sentence(data, sizes),
        agrees=agrees,
        rule=(
            f"under one of the three orders the top eigenvectors of different runs have a mean "
            f"|cos| of at least {GOAL} at every size, and the largest size is not less alike than "
            "the smallest beyond their intervals; one size can only contradict"
        ),
        figures={
            "floor": data["floor"],
            **{
                f"{name}_{by}_{size['size']}": size["orders"][by][key][0]
                for size in sizes
                for by in ORDERS
                for name, key in (
                    ("top", "mean"),
                    ("published_average", "published"),
                    ("other_classes", "other_classes"),
                )
            },
            **{
                f"first_{len(values)}_{name}_{size['size']}": values[-1]
                for size in sizes
                for name, values in size["sets"].items()
            },
        },
        lines=lines(*table(data, sizes)),
    )


def _tops(sizes: Sequence[dict[str, Any]], by: Rule) -> list[float]:
    """The similarity of top eigenvectors by size."""
    return [size["orders"][by]["mean"][0] for size in sizes]


def _grows(sizes: Sequence[dict[str, Any]], by: Rule) -> bool:
    """Whether runs of the largest size are as alike as those of the smallest, or more."""
    found = _tops(sizes, by)
    halves = [size["orders"][by]["half"] for size in (sizes[0], sizes[-1])]
    slack = max((half[0] for half in halves if half is not None), default=0.0)
    return found[-1] + slack >= found[0]


def _sentence(data: dict[str, Any], sizes: Sequence[dict[str, Any]]) -> str:
    if not sizes:
        first, last = data["sizes"][0]["size"], data["sizes"][-1]["size"]
        return (
            f"On {data['dataset']} there is one run of each size; the top eigenvectors (by |λ|) "
            f"of sizes {first} and {last} have a mean |cos| of {data['top']['abs'][0][-1]:.2f}."
        )
    parts = [
        f"size {size['size']} {top_of(size, 'abs')} by |λ|, {top_of(size, 'pos')} at the positive "
        f"and {top_of(size, 'neg')} at the negative end"
        for size in sizes
    ]
    last, sets = sizes[-1]["orders"]["abs"], sizes[-1]["sets"]
    return (
        f"Mean |cos| of the top eigenvectors of different runs on {data['dataset']}: "
        f"{'; '.join(parts)}. At size {sizes[-1]['size']}, counting each run's comparison with "
        f"itself would make {last['published'][0]:.2f} of the first; eigenvectors of different "
        f"classes reach {last['other_classes'][0]:.2f} and random directions {data['floor']:.2f}; "
        f"its first {len(sets['ordered'])} together reach {sets['ordered'][-1]:.2f} rank by rank, "
        f"{sets['matched'][-1]:.2f} under the best matching and {sets['subspace'][-1]:.2f} as "
        "spans."
    )


EXPERIMENT = VisionExperiment(
    name="similarity",
    title="Similarity of eigenvectors between runs and sizes",
    statement=(
        "The top eigenvectors of equally large models have cosine similarities between 0.8 and "
        "0.9, more alike the larger the models; the top ones agree across near sizes too."
    ),
    source=f"{PAPER} §4.2 and appendix E, figures 5A, 18B and 18C",
    plan=plan,
    analyse=analyse,
    draw=draw,
    compare=compare,
    options=Options,
    fewest=2,
)
