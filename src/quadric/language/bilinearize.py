"""Fine-tune a SwiGLU model into one whose MLPs are exactly bilinear, beside its control.

    bilinearize(BilinearizeRequest("smollm2-135m"), Path("runs/bilinear"))

Two copies train on the same contexts in the same order: in one β falls from 1 to 0 (see
``quadric.layers.annealing``), in the other it stays 1. The difference of their held-out losses is
what bilinear MLPs cost; the fall from the start is what the text gives to both. The folder receives
the bilinear model as a transformers folder with its tokeniser, ``annealed/metrics.jsonl`` and
``control/metrics.jsonl`` with every step, ``curves.png`` and, written last, ``metrics.json``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quadric.activations.models import load_model, quietly
from quadric.language.begun import check_begun, read_begun, write_begun
from quadric.language.config import BilinearizeRequest, FineTuneConfig
from quadric.language.loop import Point, fit, held_out_loss, read_points
from quadric.language.text import Rows, check_text, read_rows
from quadric.layers import annealing
from quadric.layers.schedule import Schedule, beta_at
from quadric.report.annealing import draw_curves
from quadric.report.figures import save
from quadric.storage import read_json, write_json
from quadric.training.checkpoint import newest
from quadric.training.log import LOG
from quadric.training.log import read as read_log
from quadric.training.loop import resolve_device

if TYPE_CHECKING:
    from rich.console import Console

CONFIG, METRICS, PICTURE = "bilinearize.json", "metrics.json", "curves.png"
FOLD = "fold.json"
ANNEALED, CONTROL = "annealed", "control"
ABRUPT = "loss_abrupt"


def bilinearize(
    request: BilinearizeRequest, out: Path, *, resume: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Anneal the gates of a model, export it, and return what ``metrics.json`` holds.

    Args:
        request: the model, the text and the training.
        out: the folder to write.
        resume: continue what was begun there with the same request; a copy that is finished is
            not trained again.
        console: where progress is drawn.

    Raises:
        QuadricError: the model has other MLPs than SwiGLU, its tokeniser does not fit it, the text
            cannot be read, training diverged, or the folder holds another run.
        Interrupted: the run was asked to stop; it can be resumed.
    """
    check_begun(out, request, read_request, resume=resume)
    if (out / METRICS).is_file():
        return read_json(out / METRICS)
    resolve_device(request.fit.device)
    language = load_model(request.model, dtype=torch.float32, device="cpu")
    annealing.convert(language.model, request.anneal.chosen)  # refuses other MLPs at once
    check_text(language, request.text)
    rows = read_rows(language.tokenizer, request.text)
    write_begun(out / CONFIG, dataclasses.asdict(request))
    schedules: dict[str, Schedule] = {ANNEALED: request.anneal.anneal}
    if request.anneal.control:
        schedules[CONTROL] = "constant"
    del language
    for name, schedule in schedules.items():
        if not _finished(out / name, request.fit):
            if console is not None:
                console.print(f"{name}: {request.fit.steps} steps", highlight=False)
            _train(request, rows, schedule, out, name, resume=resume, console=console)
    curves = {name: read_points(out / name) for name in schedules}
    metrics = _metrics(request, rows, curves, read_log(out / ANNEALED / LOG))
    save(draw_curves(metrics), out / PICTURE)
    write_json(out / METRICS, metrics)
    return metrics


def read_request(folder: Path) -> BilinearizeRequest:
    """The request of a run, finished or not.

    Raises:
        QuadricError: the folder holds none.
    """
    return read_begun(folder / CONFIG, BilinearizeRequest.from_dict, "model being made bilinear")


def _train(
    request: BilinearizeRequest,
    rows: Rows,
    schedule: Schedule,
    out: Path,
    name: str,
    *,
    resume: bool,
    console: Console | None,
) -> None:
    """Train one copy; the annealed one is folded and written to ``out`` itself."""
    language = load_model(request.model, dtype=torch.float32, device="cpu")
    model = language.model.requires_grad_(True)
    annealing.convert(model, request.anneal.chosen)
    device = resolve_device(request.fit.device)

    def before(step: int) -> dict[str, float]:
        beta = beta_at(step, request.fit.steps, schedule, request.anneal.part)
        logged = {}
        if step == 0 and name == ANNEALED:
            annealing.set_beta(model, 0.0)
            logged[ABRUPT] = held_out_loss(model, rows, request.fit, device)
        annealing.set_beta(model, beta)
        return {**logged, "beta": beta}

    def finish() -> None:
        if name != ANNEALED:
            return
        model.cpu().eval()
        probe = rows.held_out[:1].long()
        with torch.no_grad():
            annealed = model(probe).logits
            annealing.fold(model)
            change = (model(probe).logits - annealed).abs().max().item()
        with quietly():
            model.save_pretrained(out)
            language.tokenizer.save_pretrained(out)
        # Last: it says that the model is written.
        write_json(out / name / FOLD, {"largest_logit_change": change})

    fit(
        model, rows, request.fit, out / name,
        before=before, finish=finish, resume=resume, console=console,
    )  # fmt: skip


def _finished(folder: Path, config: FineTuneConfig) -> bool:
    """Whether a copy was trained to its end and, with that, written."""
    if not (folder / LOG).is_file() or newest(folder) is not None:
        return False
    points = read_points(folder)
    whole = bool(points) and points[-1].step == config.steps
    return whole and (folder.name != ANNEALED or (folder / FOLD).is_file())


def _metrics(
    request: BilinearizeRequest,
    rows: Rows,
    curves: dict[str, list[Point]],
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    annealed, control = curves[ANNEALED], curves.get(CONTROL)
    return {
        "model": request.model,
        "layers": request.anneal.layers or "all",
        "loss_before": annealed[0].loss,
        "loss_abrupt": lines[0][ABRUPT],
        "loss_bilinear": annealed[-1].loss,
        "loss_control": control[-1].loss if control else None,
        "gap": annealed[-1].loss - control[-1].loss if control else None,
        "tokens": annealed[-1].tokens,
        "text_tokens": rows.train.numel(),
        "held_out_tokens": rows.held_out.numel(),
        "text_copies_dropped": rows.copies,
        "seconds": {name: points[-1].seconds for name, points in curves.items()},
        "betas": [line["beta"] for line in lines if "held_out_loss" in line],
        "curves": {name: [p._asdict() for p in points] for name, points in curves.items()},
    }
