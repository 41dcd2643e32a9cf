"""What gates are worth: bilinear, ReGLU and SwiGLU transformers at equal steps and equal time.

    quadric experiment lm-gates

A model is trained with each gate from the same weights on the same contexts in the same order, and
seeds repeat that. A second time each gate has the time that the bilinear model took,
steps · t_bilinear / t_gate steps of its own, by step times measured side by side
(``quadric.language.pace``). A learning rate falls to zero over its own number of steps, so these
are trainings of their own and no cut through the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.gates import draw
from quadric.experiments.language.settings import MODEL, LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.experiments.table import Line, lines
from quadric.language.pace import kept_pace
from quadric.language.pretraining import METRICS
from quadric.storage import read_json

GATES = {"identity": "bilinear", "relu": "ReGLU", "silu": "SwiGLU"}
"""σ of an MLP, and what the model is called."""
BASE = "identity"
SWIGLU = "silu"
PACE = "pace.json"
"""Beside the first bilinear model: step times, which decide what else is trained."""
STEPS, TIME = "same_steps", "same_time"
FEWEST_SEEDS = 3
"""Fewer do not decide whether a difference is one: two agree by chance every other time."""
SAME_PACE = 0.02
"""Step times this close give trainings that differ by less than the seeds do."""

_PAPER = {
    STEPS: {"identity": 1.337, "relu": 1.332, "silu": 1.321},
    TIME: {"identity": 1.337, "relu": 1.337, "silu": 1.336},
}


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """Train every gate both ways and read its losses.

    Raises:
        QuadricError: the text cannot be read, the sizes do not fit, or training diverged.
    """
    first = workshop.model(settings.recipe())
    recipes = {name: settings.recipe(gate=gate) for gate, name in GATES.items()}
    pace = kept_pace(recipes, first / PACE)
    steps = {gate: pace.steps(settings.steps, GATES[BASE], name) for gate, name in GATES.items()}
    runs = []
    for setting, planned in ((STEPS, dict.fromkeys(GATES, settings.steps)), (TIME, steps)):
        for gate, count in planned.items():
            folders = [
                workshop.model(settings.recipe(gate=gate, seed=seed, steps=count))
                for seed in range(settings.seed, settings.seed + settings.seeds)
            ]
            seconds = pace.seconds[GATES[gate]]
            runs.append({"setting": setting, "gate": gate, **_read(folders, count, seconds)})
    first_metrics = read_json(first / METRICS)
    return Measured(
        {
            "dataset": settings.dataset,
            "blocks": settings.num_hidden_layers,
            "width": settings.hidden_size,
            "text_tokens": first_metrics["text_tokens"],
            "tokens_per_step": pace.tokens,
            "seeds": settings.seeds,
            "pace": {
                "seconds": {gate: pace.seconds[name] for gate, name in GATES.items()},
                "rates": {gate: pace.rates[name] for gate, name in GATES.items()},
                "rounds": {gate: pace.rounds[name] for gate, name in GATES.items()},
                "machine": pace.machine,
            },
            "runs": runs,
            "share": _shares(runs),
        }
    )


def _read(folders: Sequence[Path], steps: int, step_seconds: float) -> dict[str, Any]:
    """What the seeds of one training left behind.

    Seconds of a curve are steps times the median step time: the clock of a single training also
    counts its evaluations, and whatever else the machine did that day.
    """
    metrics = [read_json(folder / METRICS) for folder in folders]
    losses = [one["loss"] for one in metrics]
    points = metrics[0]["points"]
    return {
        "steps": steps,
        "parameters": metrics[0]["parameters"],
        "losses": losses,
        "mean": fmean(losses),
        "half_range": half_range(losses),
        "clock_seconds": [one["seconds"] for one in metrics],
        "curve": {
            "steps": [point["step"] for point in points],
            "tokens": [point["tokens"] for point in points],
            "seconds": [point["step"] * step_seconds for point in points],
            "losses": [[point["loss"] for point in one["points"]] for one in metrics],
        },
    }


def half_range(values: Sequence[float]) -> float | None:
    """Half the distance from the least to the largest; None of a single value."""
    return (max(values) - min(values)) / 2 if len(values) > 1 else None


def first_share(steps: Sequence[int], losses: Sequence[float], target: float) -> float | None:
    """The share of all steps at which a curve first comes down to a loss; None where it never does.

    Between evaluations the curve is a straight line.
    """
    if losses[0] <= target:
        return 0.0
    points = pairwise(zip(steps, losses, strict=True))
    for (before, above), (after, below) in points:
        if below <= target:
            return (before + (after - before) * (above - target) / (above - below)) / steps[-1]
    return None


def _shares(runs: Sequence[dict[str, Any]]) -> list[float | None]:
    """For each seed, when SwiGLU reaches where the bilinear model ends."""
    base, swiglu = (_run(runs, STEPS, gate) for gate in (BASE, SWIGLU))
    curve = swiglu["curve"]
    return [
        first_share(curve["steps"], losses, target)
        for losses, target in zip(curve["losses"], base["losses"], strict=True)
    ]


def _run(runs: Sequence[dict[str, Any]], setting: str, gate: str) -> dict[str, Any]:
    (found,) = (run for run in runs if run["setting"] == setting and run["gate"] == gate)
    return found


def _differences(runs: Sequence[dict[str, Any]], setting: str, gate: str) -> list[float]:
    """Loss above the bilinear model's of the same seed, which began alike and read the same."""
    pairs = zip(
        _run(runs, setting, gate)["losses"], _run(runs, setting, BASE)["losses"], strict=True
    )
    return [one - base for one, base in pairs]


def compare(measured: Measured) -> Comparison:
    """Whether gates win at equal steps and no longer, or by less than half, at equal time."""
    data = measured.data
    runs, seconds = data["runs"], data["pace"]["seconds"]
    others = [gate for gate in GATES if gate != BASE]
    found = {
        setting: {gate: _differences(runs, setting, gate) for gate in others}
        for setting in (STEPS, TIME)
    }
    means = {
        setting: {gate: fmean(values) for gate, values in each.items()}
        for setting, each in found.items()
    }
    base = _run(runs, STEPS, BASE)
    size = f"{data['blocks']} blocks of width {data['width']}"
    times = ", ".join(f"{GATES[gate]} {seconds[gate] / seconds[BASE]:.3f}" for gate in others)
    near = all(abs(seconds[gate] / seconds[BASE] - 1) < SAME_PACE for gate in others)
    text = (
        f"On {data['dataset']}, {size}, {base['steps']:,} steps of {data['tokens_per_step']:,} "
        f"tokens, {data['seeds']} {'seed' if data['seeds'] == 1 else 'seeds'}: bilinear "
        f"{_shown(base)}; against it at the same steps {_listed(found[STEPS])}, at the same time "
        f"{_listed(found[TIME])}. A step takes {times} times as long as the bilinear model's"
        + (f", within {SAME_PACE:.0%}, so that equal time is nearly equal steps" if near else "")
        + f". {_share_sentence(data['share'])}"
    )
    return Comparison(
        measured=text,
        agrees=_agrees(found, data["seeds"]),
        rule=(
            f"with {FEWEST_SEEDS} or more seeds: at the same steps ReGLU and SwiGLU end below the "
            "bilinear model of their seed, every one; at the same time not every one does, or by "
            "less than half as much on average"
        ),
        figures={
            **{f"{s}_{GATES[g]}_loss": _run(runs, s, g)["mean"] for s in found for g in GATES},
            **{f"{s}_{GATES[g]}_difference": means[s][g] for s in found for g in others},
            **{f"{GATES[g]}_step_seconds": seconds[g] for g in GATES},
            **{f"{GATES[g]}_steps_in_the_same_time": _run(runs, TIME, g)["steps"] for g in GATES},
            "swiglu_share": _mean_share(data["share"]),
            "parameters": base["parameters"],
        },
        lines=lines(*_table(data, found)),
    )


def _agrees(found: dict[str, dict[str, list[float]]], seeds: int) -> bool | None:
    if seeds < FEWEST_SEEDS:
        return None
    wins = all(value < 0 for each in found[STEPS].values() for value in each)
    vanishes = all(
        any(value >= 0 for value in each) or abs(fmean(each)) < abs(fmean(found[STEPS][gate])) / 2
        for gate, each in found[TIME].items()
    )
    return wins and vanishes


def _table(data: dict[str, Any], found: dict[str, dict[str, list[float]]]) -> list[Line]:
    rows = []
    seconds = data["pace"]["seconds"]
    for setting, words in ((STEPS, "the same steps"), (TIME, "the same time")):
        for gate, name in GATES.items():
            run = _run(data["runs"], setting, gate)
            ours = f"{_shown(run)} ({run['steps']:,} steps"
            if gate != BASE:
                ours += f", {_spread(found[setting][gate])} against bilinear"
            rows.append(
                Line(
                    f"held-out loss, {words}, {name}",
                    f"{_PAPER[setting][gate]} (TinyStories)",
                    "",
                    f"{ours})",
                )
            )
    shares = [share for share in data["share"] if share is not None]
    fewer = f"{1 - fmean(shares):.1%} at least" if shares else "never reached"
    if 0 < len(shares) < len(data["share"]):
        fewer += f" ({len(shares)} of {len(data['share'])} seeds reach it)"
    return [
        *rows,
        Line("steps that SwiGLU needs fewer for the bilinear model's loss", "6 %", "", fewer),
        *(
            Line(
                f"step time against bilinear, {GATES[gate]}",
                "",
                "",
                f"{seconds[gate] / seconds[BASE]:.3f} on {_machine(data)}",
            )
            for gate in GATES
            if gate != BASE
        ),
    ]


def _machine(data: dict[str, Any]) -> str:
    machine = data["pace"]["machine"]
    threads = f", {machine['threads']} threads" if machine["device"] == "cpu" else ""
    return f"{machine['device']}, {machine['dtype']}{threads}"


def _share_sentence(shares: Sequence[float | None]) -> str:
    mean = _mean_share(shares)
    if mean is None:
        return "SwiGLU does not reach the bilinear model's final loss in every seed."
    return (
        f"SwiGLU reaches the bilinear model's final loss after {mean:.1%} of its steps, while its "
        "learning rate is still falling: with a schedule of its own it would take fewer."
    )


def _mean_share(shares: Sequence[float | None]) -> float | None:
    reached = [share for share in shares if share is not None]
    return fmean(reached) if len(reached) == len(shares) else None


def _shown(run: dict[str, Any]) -> str:
    """Mean ± half the range."""
    half = run["half_range"]
    return f"{run['mean']:.4f}" + ("" if half is None else f" ± {half:.4f}")


def _spread(values: Sequence[float]) -> str:
    half = half_range(values)
    return f"{fmean(values):+.4f}" + ("" if half is None else f" ± {half:.4f}")


def _listed(differences: dict[str, list[float]]) -> str:
    return ", ".join(f"{GATES[gate]} {_spread(values)}" for gate, values in differences.items())


EXPERIMENT = LanguageExperiment(
    name="gates",
    title="Bilinear, ReGLU and SwiGLU transformers at equal steps and equal time",
    statement=(
        "With the same data ReGLU and SwiGLU end marginally below the bilinear model, and SwiGLU "
        "reaches its loss in 6 % fewer epochs; with the same time the differences vanish."
    ),
    source=f"{PAPER}, appendix G, table 4",
    settings=(*MODEL, "seeds"),
    measure=measure,
    draw=draw,
    compare=compare,
)
