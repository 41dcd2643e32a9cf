"""Figures of the masks experiment at single strengths: what decides, and the lines of its table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from quadric.experiments.table import Line
from quadric.experiments.vision.figures.masks import mean_curve
from quadric.experiments.vision.seeds import spread

STRENGTHS = tuple(round(0.025 * step, 3) for step in range(1, 13))
"""Standard deviations of a mask over its pixels, in units of brightness."""
DECIDING = 0.2
"""The strength at which the comparison is made."""
REPRODUCED = {
    (0.15, "image", 0.2): ("0.85 / 0.985", "0.09 / 0"),
    (0.15, "image", 0.3): ("0.62 / 0.97", "0.27 / 0"),
    (0.0, "edge", 0.15): ("0.63 / 0.90", "0.15 / 0.014"),
    (0.0, "edge", 0.3): ("0.31 / 0.67", "0.32 / 0.06"),
}
"""Accuracy, and share taken for the class, under masks / permuted ones on training images, read off
the plots of a reproduction; by noise, support and strength."""


def at(model: dict[str, Any], kind: str, support: str, name: str, what: str, s: float) -> float:
    """One figure of one model, the mean of both signs; s is one of the strengths."""
    return mean_curve(model, kind, support, name, what)[STRENGTHS.index(s)]


def works(model: dict[str, Any], kind: str, support: str) -> bool:
    """Whether masks harm more than permuted ones, and most towards their class, at one strength."""

    def of(name: str, what: str) -> float:
        return at(model, kind, support, name, what, DECIDING)

    return (
        of("adversarial", "accuracy") < of("permuted", "accuracy")
        and of("adversarial", "target") > of("permuted", "target")
        and of("adversarial", "target") > of("adversarial", "other")
    )


def rows(models: Sequence[dict[str, Any]]) -> list[Line]:
    """Both kinds of masks at one strength, and published ones where a reproduction has figures."""
    found = []
    for noise in sorted({model["noise"] for model in models}):
        chosen = [model for model in models if model["noise"] == noise]
        known = [(support, s) for n, support, s in REPRODUCED if n == noise]
        for support, s in dict.fromkeys([("image", DECIDING), *known]):
            if support == "edge" and not all(has_edge(model) for model in chosen):
                continue
            others = REPRODUCED.get((noise, support, s), ("", ""))
            where = f"{support}, noise {noise:g}, strength {s:g}: mask / permuted"
            found += [
                Line(f"accuracy, {where}", "lower", others[0],
                     over(chosen, "published", support, "accuracy", s)),
                Line(f"taken for the mask's class, {where}", "higher", others[1],
                     over(chosen, "published", support, "target", s)),
            ]  # fmt: skip
        found.append(
            Line(f"accuracy, image, noise {noise:g}, strength {DECIDING:g}: exact mask / permuted",
                 "", "", over(chosen, "exact", "image", "accuracy"))
        )  # fmt: skip
    return found


def has_edge(model: dict[str, Any]) -> bool:
    """Whether the images have an edge, so that masks on it were tried."""
    return "edge" in model["curves"]["published"]


def over(
    models: Sequence[dict[str, Any]], kind: str, support: str, what: str, s: float = DECIDING
) -> str:
    """A figure under masks and under permuted ones, with its spread over models."""
    return " / ".join(
        spread([at(model, kind, support, name, what, s) for model in models])
        for name in ("adversarial", "permuted")
    )


def mean(models: Sequence[dict[str, Any]], kind: str, name: str, what: str) -> float:
    """The mean over models at the deciding strength, over the whole image."""
    return statistics.fmean(at(model, kind, "image", name, what, DECIDING) for model in models)
