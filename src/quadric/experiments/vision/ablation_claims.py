"""What the paper says of each regulariser and augmentation, decided from the measurements.

A change is the mean over classes and seeds of variant − reference, each pair of one class and one
seed, with the standard error of that mean. It counts where it exceeds twice that error.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.table import Line, lines
from quadric.experiments.vision.seeds import Change, goes, paired, spread, verdict

NAMES = {
    "noise": "Gaussian noise σ {:g}",
    "salt_pepper": "salt and pepper on {:.0%}",
    "perlin": "Perlin noise up to {:g}",
    "model_noise": "noise on activations σ {:g}",
    "weight_decay": "weight decay {:g}",
    "dropout": "dropout {:g}",
    "translate": "translation up to {:.0%}",
    "rotate": "rotation up to {:g}°",
    "blur": "blur σ {:g} pixels",
}
NOISE = 0.4
"""The strength of Gaussian noise that claims are about; the nearest one there is."""
FIXED = 0.5
"""Overfitting has ended where its score is below this share of the reference's."""
ALIKE = 0.25
"""A change below this share of what Gaussian noise changes counts as none."""
MEASURES = ("overfit", "roughness", "rank")
REPRODUCED = {
    ("noise", 0.2): "accuracy 0.981", ("noise", 0.4): "accuracy 0.981",
    ("noise", 0.6): "accuracy 0.978", ("noise", 0.8): "accuracy 0.972",
    ("weight_decay", 0.0): "accuracy 0.975; rank 38.5", None: "accuracy 0.976; rank 15.5",
}  # fmt: skip
"""By technique and strength, on MNIST: accuracies of ipantelidis/bilinear-mlp-repro at each noise,
and accuracy and rank of openreview 6k7qRdz7rD without noise."""
SAID = {
    "noise": "ends overfitting, digit-like eigenvectors",
    "salt_pepper": "lower accuracy, less interpretable",
    "perlin": "worst of the noises, still overfits",
    "model_noise": "no measurable impact",
    "weight_decay": "more of it, fewer eigenvalues",
    "dropout": "no impact, still overfits",
    "translate": "smoother, still overfits, higher rank",
    "rotate": "broader, still overfits",
    "blur": "somewhat smoother, still overfits",
}
"""What the paper says of each technique, in few words."""


def named(used: dict[str, float]) -> str:
    """The techniques of a model in words."""
    return " + ".join(NAMES[name].format(value) for name, value in used.items()) or "nothing"


def changes(models: Sequence[dict[str, Any]], used: dict[str, float]) -> dict[str, Change] | None:
    """How a variant differs from the reference in each measure; None where one of them is missing.

    Seeds that both have are paired.
    """
    here, there = ({m["seed"]: m for m in models if m["used"] == kind} for kind in ({}, used))
    shared = sorted(here.keys() & there.keys())
    if not shared:
        return None
    found = {}
    for measure in MEASURES:
        if here[shared[0]][measure] is None:
            continue
        before, after = ([x for seed in shared for x in side[seed][measure]]
                         for side in (here, there))  # fmt: skip
        found[measure] = paired(before, after)
    return found


def claims(models: Sequence[dict[str, Any]]) -> dict[str, bool | None]:
    """Each claim by its sentence: whether it holds, or None where these models cannot decide it."""
    variants = {
        name: [m["used"] for m in models if list(m["used"]) == [name]] for name in NAMES
    }  # fmt: skip

    def change(name: str, pick: Callable[[float], float]) -> dict[str, Change]:
        if not variants[name]:
            return {}
        return changes(models, min(variants[name], key=lambda used: pick(used[name]))) or {}

    noise = change("noise", lambda sigma: abs(sigma - NOISE))
    strongest = {
        name: change(name, lambda strength: -strength)
        for name in ("translate", "blur", "dropout", "model_noise")
    }
    # The reference has the usual weight decay, so this change is that of taking it away.
    without = change("weight_decay", abs)
    overfit = _mean(models, "overfit")
    return {
        "Gaussian noise ends overfitting": _falls_to(noise.get("overfit"), overfit),
        "Gaussian noise raises the rank": goes(noise.get("rank"), 1),
        "weight decay lowers the rank": goes(without.get("rank"), 1),
        "translation does not end overfitting": _not(
            _falls_to(strongest["translate"].get("overfit"), overfit)
        ),
        "translation raises the rank": goes(strongest["translate"].get("rank"), 1),
        "translation smooths": goes(strongest["translate"].get("roughness"), -1),
        "blur smooths": goes(strongest["blur"].get("roughness"), -1),
        "dropout does nothing": _nothing(models, strongest["dropout"], noise),
        "noise on activations does nothing": _nothing(models, strongest["model_noise"], noise),
    }


def _mean(models: Sequence[dict[str, Any]], measure: str) -> float | None:
    """Mean of the reference's measure over classes and seeds."""
    values = [x for m in models if not m["used"] for x in m[measure] or ()]
    return statistics.fmean(values) if values else None


def _falls_to(found: Change | None, before: float | None) -> bool | None:
    """Whether a score falls below the share of its old value at which it counts as gone."""
    if found is None or not before:
        return None
    return before + found.size < FIXED * before and goes(found, -1) is not False


def _not(claim: bool | None) -> bool | None:
    return None if claim is None else not claim


def _nothing(
    models: Sequence[dict[str, Any]], found: dict[str, Change], yardstick: dict[str, Change]
) -> bool | None:
    """Whether every measure changes by no more than twice the reference's spread over seeds, or
    little beside what noise does to it."""
    reference = [m for m in models if not m["used"]]
    if not found or not found.keys() <= yardstick.keys() or len(reference) < 2:
        return None
    for measure, one in found.items():
        own = statistics.stdev(statistics.fmean(m[measure]) for m in reference)
        if abs(one.size) > max(2 * own, ALIKE * abs(yardstick[measure].size)):
            return False
    return True


def compare(measured: Measured) -> Comparison:
    """Which claims hold."""
    data = measured.data
    models = data["models"]
    decided = claims(models)
    listed = [(True, "these hold"), (False, "these do not"), (None, "these cannot be decided")]
    told = [
        f"{head}: {', '.join(found)}"
        for value, head in listed
        if (found := [claim for claim, holds in decided.items() if holds is value])
    ]
    kinds = list({named(m["used"]): m["used"] for m in models}.values())
    return Comparison(
        measured=f"Of the paper's claims {'; '.join(told)}.",
        agrees=verdict(list(decided.values())),
        rule=(
            f"every claim holds: overfitting ends where its score falls below {FIXED:.0%} of the "
            "reference's, a measure rises or falls where it changes by more than twice its "
            "standard error over classes and seeds, and nothing happens where every measure "
            "changes by at most twice the reference's standard deviation over seeds or by less "
            f"than {ALIKE:.0%} of what Gaussian noise changes"
        ),
        figures={
            "claims": len(decided),
            "hold": sum(holds is True for holds in decided.values()),
            "fail": sum(holds is False for holds in decided.values()),
            "share_of_dark_pixels": data["dark_pixels"] / data["pixels"],
        },
        lines=lines(*(_row(models, used) for used in kinds)),
    )


def _row(models: Sequence[dict[str, Any]], used: dict[str, float]) -> Line:
    """A variant's measures: accuracy by seed, the others as means over classes, by seed."""
    here = [m for m in models if m["used"] == used]
    parts = [f"accuracy {spread([m['accuracy'] for m in here], '.3f')}"]
    for measure, form in zip(MEASURES, (".3f", ".1f", ".1f"), strict=True):
        if here[0][measure] is not None:
            means = [statistics.fmean(m[measure]) for m in here]
            parts.append(f"{measure} {spread(means, form)}")
    key = next(iter(used.items())) if len(used) == 1 else None
    reproduced = REPRODUCED.get(key, "") if len(used) <= 1 else ""
    said = "overfits" if not used else SAID[key[0]] if key else ""
    return Line(f"trained with {named(used)}", said, reproduced, "; ".join(parts))
