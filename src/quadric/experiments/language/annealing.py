"""What it costs to make a trained SwiGLU model bilinear: its gates anneal while it trains on.

    quadric experiment lm-annealing

β of Swish_β falls from 1 to 0 over the first 30 % of a fine-tuning, as published. A control trains
on the same contexts with β = 1 throughout, since the text is not the one that the model was made
from; the price is the difference of the two. Removing all gates at once, untrained, is the other
end of the scale.
"""

from __future__ import annotations

from typing import Any

from quadric.experiments.experiment import Comparison, Measured
from quadric.experiments.language.experiment import PAPER, LanguageExperiment
from quadric.experiments.language.figures.annealing import draw
from quadric.experiments.language.settings import LanguageSettings
from quadric.experiments.language.workshop import Workshop
from quadric.experiments.table import Line, lines
from quadric.language.bilinearize import ANNEALED, CONTROL, METRICS
from quadric.language.config import BilinearizeRequest, FineTuneConfig, TextConfig
from quadric.storage import read_json

NEAR = 0.1
"""A gap up to here counts as the published one: twice it, in nats."""
ENOUGH = 10_000_000
"""Tokens of training under which the comparison stays open: a fortieth of those published."""
EVALUATIONS = 20
HELD_OUT_STEPS = 4
"""Held-out contexts, in contexts of a step, and no more than ``TextConfig`` has."""
WARM_UP = 0.1
"""Largest share of the steps over which the learning rate rises."""


def request(settings: LanguageSettings) -> BilinearizeRequest:
    """The fine-tuning of these settings, which reads no text twice where there is enough."""
    steps, contexts = settings.anneal_steps, settings.anneal_contexts
    held_out = min(TextConfig.held_out, HELD_OUT_STEPS * contexts)
    # A tenth of the text is held out at most, so a short training reads more than it trains on.
    rows = max(steps * contexts + held_out, 10 * held_out)
    return BilinearizeRequest(
        model=settings.base_model,
        text=TextConfig(
            dataset=settings.dataset,
            context_size=settings.context_size,
            tokens=rows * settings.context_size,
            held_out=held_out,
        ),
        fit=FineTuneConfig(
            steps=steps,
            batch_contexts=contexts,
            lr=settings.anneal_lr,
            lr_warmup=min(FineTuneConfig.lr_warmup, int(WARM_UP * steps)),
            eval_every=max(3, steps // EVALUATIONS),
            seed=settings.seed,
        ),
    )


def measure(settings: LanguageSettings, workshop: Workshop) -> Measured:
    """Train both copies, and take their difference at every evaluation.

    Raises:
        QuadricError: the model is not gated by SwiGLU, the text cannot be read, or training
            diverged.
    """
    asked = request(settings)
    data = read_json(workshop.bilinear(asked) / METRICS)
    annealed, control = data["curves"][ANNEALED], data["curves"][CONTROL]
    gaps = [one["loss"] - other["loss"] for one, other in zip(annealed, control, strict=True)]
    after = [gap for gap, beta in zip(gaps, data["betas"], strict=True) if beta == 0]
    return Measured(
        {
            "dataset": settings.dataset,
            "context_size": settings.context_size,
            "steps": asked.fit.steps,
            "part": asked.anneal.part,
            **data,
            "gaps": gaps,
            "largest_gap_without_gates": max(after),
        }
    )


def compare(measured: Measured) -> Comparison:
    """Whether the gap ends near the published one and has shrunk since the gates were gone."""
    data = measured.data
    gap, largest, tokens = data["gap"], data["largest_gap_without_gates"], data["tokens"]
    abrupt = data["loss_abrupt"] - data["loss_before"]
    text = (
        f"{data['model']} on {data['dataset']}, {_shown(tokens)}: held-out loss "
        f"{data['loss_before']:.4f} before, {data['loss_bilinear']:.4f} with bilinear MLPs, "
        f"{data['loss_control']:.4f} for the control, a gap of {gap:+.4f} nats; it was at most "
        f"{largest:+.4f} once β was 0. Removing the gates at once costs {abrupt:+.4f} nats."
    )
    return Comparison(
        measured=text,
        agrees=None if tokens < ENOUGH else gap <= NEAR and gap < largest,
        rule=(
            f"after {ENOUGH / 1e6:g} million tokens or more, the gap is at most {NEAR:g} nats "
            "(twice the published one) and smaller than at its largest since β was 0"
        ),
        figures={
            "gap": gap,
            "largest_gap_without_gates": largest,
            "abrupt": abrupt,
            "loss_before": data["loss_before"],
            "loss_bilinear": data["loss_bilinear"],
            "loss_control": data["loss_control"],
            "tokens": tokens,
        },
        lines=lines(*_table(data, abrupt)),
    )


def _table(data: dict[str, Any], abrupt: float) -> list[Line]:
    where = f"{data['model']}, {_shown(data['tokens'])} of {data['dataset']}"
    return [
        Line(
            "gap of a SwiGLU model made bilinear to its control, nats",
            "about +0.05 (TinyLlama-1.1B, 400 million tokens of FineWeb)",
            "nobody tried",
            f"{data['gap']:+.4f} ({where})",
        ),
        Line(
            "the same at its largest once β was 0, nats",
            "noticeable, quickly decreasing",
            "",
            f"{data['largest_gap_without_gates']:+.4f}",
        ),
        Line("gates removed at once without training, nats", "", "", f"{abrupt:+.4f}"),
        Line(
            "fall of the control's loss, what the text gives, nats",
            "",
            "",
            f"{data['loss_control'] - data['loss_before']:+.4f}",
        ),
    ]


def _shown(tokens: int) -> str:
    return f"{tokens / 1e6:,.3g} million tokens" if tokens >= 1e5 else f"{tokens:,} tokens"


EXPERIMENT = LanguageExperiment(
    name="annealing",
    title="A SwiGLU model made bilinear by annealing its gates",
    statement=(
        "Fine-tuning while β falls to 0 makes a SwiGLU model bilinear at about 0.05 nats above a "
        "control that keeps its gates, less the longer both train."
    ),
    source=f"{PAPER}, appendix H, figure 22",
    settings=(
        "dataset",
        "context_size",
        "base_model",
        "anneal_steps",
        "anneal_contexts",
        "anneal_lr",
        "seed",
    ),
    measure=measure,
    draw=draw,
    compare=compare,
)
