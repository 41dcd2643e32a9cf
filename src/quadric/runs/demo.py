"""``quadric demo``: the whole way, on a language model and text that install from PyPI.

SmolLM2-135M reads 400,000 tokens of news and speeches; three autoencoders train on its residual
stream at once: composites (the main one), the same composites from another seed, and plain
products of the same number. The run folder then holds the metrics, every latent with its tokens,
the ranked manifolds, the figures, a page that shows them, and an atlas to explore them in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from quadric.activations.config import DataConfig, HarvestConfig
from quadric.evaluation import map_similarity
from quadric.report import figures
from quadric.report.page import write_page
from quadric.runs import calendar, evaluate
from quadric.runs.analyze import PICTURE, analyze_run
from quadric.runs.atlas import build_atlas
from quadric.runs.config import RunConfig
from quadric.runs.execution import execute
from quadric.storage import make_folder, read_json, write_json
from quadric.training import TrainingConfig, log

COMPOSITE = {"variant": "composite", "d_sae": 384, "block": 4, "density_weight": 0.3}
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "main": COMPOSITE,
    "twin": {**COMPOSITE, "seed": 1},
    "vanilla": {"variant": "vanilla", "d_sae": 1536, "density_weight": 0.3},
}
TOKENS = 400_000
STEPS = 140
BATCH_SIZE = 2048
LATENTS_SHOWN = 24
MANIFOLDS_SHOWN = 24
ATLAS = "atlas"
"""The folder in the run that holds its atlas."""
TITLE = "Demo: SmolLM2-135M"


def demo(
    out: Path, *, tokens: int = TOKENS, steps: int = STEPS, console: Console | None = None
) -> dict[str, Any]:
    """Run the demonstration and return its metrics.

    Args:
        out: the run folder; a run that is already there is replaced.
        tokens: how much text the language model reads.
        steps: how long the autoencoders train.
        console: where progress is drawn.
    """
    started = time.monotonic()
    metrics = execute(
        out,
        autoencoders=AUTOENCODERS,
        training=TrainingConfig(steps=steps, batch_size=BATCH_SIZE),
        data=DataConfig(),
        harvest=HarvestConfig(tokens=tokens),
        overwrite=(out / "run.json").exists(),
        console=console,
    )
    config = RunConfig.read(out)
    models = {name: evaluate.load_member(out, config, name) for name in config.autoencoders}
    metrics["twin_similarity"] = map_similarity(models["main"], models["twin"])._asdict()
    latents, manifolds = analyze_run(out)
    findings = calendar.find_calendar(out, rows_searched=tokens)
    metrics["calendar"] = [asdict(finding) for finding in findings]
    drawn = _draw(out, latents[:LATENTS_SHOWN], list(models))
    metrics["atlas"] = build_atlas(out, out / ATLAS, compare=out / "twin", title=TITLE)
    metrics["total_seconds"] = time.monotonic() - started
    write_json(out / evaluate.FILE, metrics)
    write_page(
        out / "report.html",
        metrics=metrics,
        config=read_json(out / "run.json"),
        figures=drawn,
        latents=latents[:LATENTS_SHOWN],
        manifolds=manifolds[:MANIFOLDS_SHOWN],
        notes=[similarity_note(metrics), calendar.summary(findings)],
    )
    return metrics


def similarity_note(metrics: Mapping[str, Any]) -> str:
    """How far two seeds agree, in a sentence."""
    similarity = metrics["twin_similarity"]
    return (
        "main and twin differ in the seed of their initial weights only; as maps X ↦ X̂ their "
        f"cosine is {similarity['cosine']:.3f}, and {similarity['frobenius']:.3f} by the paper's "
        "Frobenius measure."
    )


def to_open(metrics: Mapping[str, Any], out: Path) -> str:
    """How to look at what the demonstration left."""
    lines = [
        f"quadric atlas serve {out / ATLAS}",
        f"explores its {metrics['atlas']['forms']} forms; {out / 'report.html'} opens from disk",
    ]
    if metrics["atlas"]["page"]:
        lines.append(f"the atlas has its data but no page: {metrics['atlas']['page']}")
    return "\n".join(lines)


def _draw(out: Path, latents: list[Any], names: list[str]) -> dict[str, Path]:
    folder = make_folder(out / "figures")
    lines = log.read(out / log.LOG)
    pictures = {
        "The manifolds ranked first, in their slices": folder / PICTURE,
        "Known classes where they are strongest, in the plane in which they are best ordered. "
        "Labels are used for this figure and its scores only": folder / calendar.PICTURE,
    }
    return {
        **{caption: file for caption, file in pictures.items() if file.exists()},
        "Error and density over training": figures.save(
            figures.training_curves(lines, names), folder / "training.png"
        ),
        "Spectra of the most important latents": figures.save(
            figures.spectra(latents[:8]), folder / "spectra.png"
        ),
        "The most important latents and their tokens": figures.save(
            figures.token_table(latents), folder / "tokens.png"
        ),
    }
