"""The training loop of language models, from scratch or on from trained weights.

    losses = fit(model, rows, FitConfig(steps=500), Path("runs/mine"))

Every step takes the next contexts of an order that the seed alone decides; when all were read,
they are read again in another. The folder receives the metric log while training, and checkpoints
on time and on SIGINT or SIGTERM. What the model becomes is up to the caller.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quadric.errors import Interrupted
from quadric.kernels import fastest_product_dtype
from quadric.language.config import FitConfig
from quadric.language.text import Rows
from quadric.stopping import stop_requests
from quadric.storage import make_folder
from quadric.training import checkpoint, log
from quadric.training.checkpoint import Member, Progress
from quadric.training.config import logger_names
from quadric.training.guard import DivergenceGuard
from quadric.training.loop import resolve_device
from quadric.training.optimizer import learning_rate
from quadric.training.progress import Display

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedModel

BETAS = (0.9, 0.95)
_MEMBER = "model"


class Point(NamedTuple):
    """Where training stood at an evaluation."""

    step: int
    """Steps made."""
    tokens: int
    """Tokens trained on, those read twice counted twice."""
    loss: float
    """Mean next-token cross-entropy on the held-out contexts, in nats."""
    seconds: float
    """Time spent training, evaluations included and interruptions left out."""


def fit(
    model: PreTrainedModel,
    rows: Rows,
    config: FitConfig,
    out: Path,
    *,
    before: Callable[[int], Mapping[str, float]] = lambda _: {},
    finish: Callable[[], None] = lambda: None,
    resume: bool = False,
    console: Console | None = None,
) -> list[Point]:
    """Train a causal language model in place.

    Args:
        model: its weights are kept in float32.
        rows: what it reads.
        config: how it is trained.
        out: the folder of the log and the checkpoints.
        before: called with the number of finished steps before every evaluation and step; may
            change the model and returns what to log of that.
        finish: called after the last step, while the last checkpoint is still there.
        resume: continue from the newest checkpoint in ``out``, if there is one; on the same CPU
            the weights come out bit-identical to those of an uninterrupted run.
        console: where progress is drawn; nowhere when None.

    Returns:
        The evaluations: before the first step, every ``eval_every`` steps, and after the last.

    Raises:
        QuadricError: a loss or gradient is not finite, or training diverged.
        Interrupted: SIGINT or SIGTERM arrived and the checkpoint was written.
    """
    make_folder(out)
    run = _Run(model, rows, config, out, before)
    newest = checkpoint.newest(out) if resume else None
    if newest is None:
        checkpoint.remove(out)
        progress = Progress(0, {}, 0.0)
    else:
        progress, extra = checkpoint.load(newest, [run.member])
        run.config = dataclasses.replace(config, dtype=extra["dtype"])
    sinks = log.open_sinks(out, logger_names(config.loggers), vars(config), progress.step)
    try:
        with stop_requests() as stop, Display(console, config.steps, _status) as display:
            run.train(progress, sinks, display, stop.is_set)
    finally:
        for sink in sinks:
            sink.close()
    finish()
    checkpoint.remove(out)
    return read_points(out)


def read_points(out: Path) -> list[Point]:
    """The evaluations that a folder's log holds."""
    return [
        Point(int(line["step"]), int(line["tokens"]), line["held_out_loss"], line["seconds"])
        for line in log.read(out / log.LOG)
        if "held_out_loss" in line
    ]


class _Run:
    """The state of one call of ``fit``."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Rows,
        config: FitConfig,
        out: Path,
        before: Callable[[int], Mapping[str, float]],
    ) -> None:
        self.device = resolve_device(config.device)
        self.model = model.to(torch.float32).to(self.device)
        self.rows, self.out, self.before = rows, out, before
        # What auto takes is a matter of timing: a resumed run must not choose again.
        dtype: Any = str(compute_dtype(config, self.device)).removeprefix("torch.")
        self.config = dataclasses.replace(config, dtype=dtype)
        self.member = Member(_MEMBER, self.model, _optimizer(self.model, config))
        self.guard = DivergenceGuard("the language model", config.lr)

    def train(
        self, progress: Progress, sinks: list[log.Sink], display: Display, stop: Callable[[], bool]
    ) -> None:
        """Run the remaining steps; line s of the log is about the model after s steps."""
        started = time.monotonic() - progress.seconds
        saved = time.monotonic()
        batch = self.config.batch_contexts * self.rows.train.shape[1]
        for done in range(progress.step, self.config.steps + 1):
            metrics = dict(self.before(done))
            last = done == self.config.steps
            if last or done % self.config.eval_every == 0:
                metrics["held_out_loss"] = held_out_loss(
                    self.model, self.rows, self.config, self.device
                )
            if not last:
                metrics |= self.step(done)
            metrics |= {"tokens": done * batch, "seconds": time.monotonic() - started}
            for sink in sinks:
                sink.write(done, metrics)
            display.update(done, metrics, 0 if last else batch)
            if last:
                return
            progress = Progress(done + 1, {}, metrics["seconds"])
            if stop() and done + 1 < self.config.steps:
                self.save(progress)
                raise Interrupted(
                    f"stopped after {done + 1} of {self.config.steps} steps; the checkpoint is in "
                    f"{self.out}: continue with --resume"
                )
            if time.monotonic() - saved > 60 * self.config.checkpoint_minutes:
                self.save(progress)
                saved = time.monotonic()

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.out, progress, [self.member], {"dtype": self.config.dtype})

    def step(self, done: int) -> dict[str, float]:
        """One step of the optimiser."""
        config, optimizer = self.config, self.member.optimizer
        contexts = batch_of(self.rows.train, config, done).to(self.device)
        dtype = compute_dtype(config, self.device)
        self.model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for piece in torch.split(contexts, config.micro_batch or len(contexts)):
            share = _loss(self.model, piece, dtype) * (len(piece) / len(contexts))
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm).item()
        # Guessing all tokens alike scores ln V: worse than that is worse than nothing.
        self.guard.check(done, loss / math.log(self.model.config.vocab_size), norm)
        rate = learning_rate(config, done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return {"loss": loss, "lr": rate, "grad_norm": norm}


@torch.no_grad()
def held_out_loss(
    model: PreTrainedModel, rows: Rows, config: FitConfig, device: torch.device
) -> float:
    """Mean next-token cross-entropy on the held-out contexts, in nats."""
    training = model.training
    model.to(device).eval()
    dtype = compute_dtype(config, device)
    total = 0.0
    for piece in torch.split(rows.held_out, config.micro_batch or config.batch_contexts):
        total += _loss(model, piece.to(device), dtype).item() * len(piece)
    model.train(training)
    return total / len(rows.held_out)


def _loss(
    model: PreTrainedModel, contexts: Int[Tensor, "b t"], dtype: torch.dtype
) -> Float[Tensor, ""]:
    ids = contexts.long()
    mixed = dtype != torch.float32
    with torch.autocast(ids.device.type, dtype) if mixed else contextlib.nullcontext():
        loss: Tensor = model(input_ids=ids, labels=ids, use_cache=False).loss
    return loss.float()


def batch_of(
    rows: Int[Tensor, "contexts tokens"], config: FitConfig, step: int
) -> Int[Tensor, "b tokens"]:
    """The contexts of a step: each pass reads every context once, in an order of its own.

    Where a pass ends within a step, the next one fills it up.
    """
    begin = step * config.batch_contexts
    end = begin + config.batch_contexts
    found = []
    for turn in range(begin // len(rows), (end - 1) // len(rows) + 1):
        order = _order(len(rows), config.seed, turn)
        found.append(order[max(begin - turn * len(rows), 0) : end - turn * len(rows)])
    return rows[torch.cat(found)]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, turn: int) -> Int[Tensor, " count"]:
    """The order of one pass; kept from step to step, as it may be millions of numbers."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + turn)
    return torch.randperm(count, generator=generator)


def compute_dtype(config: FitConfig, device: torch.device) -> torch.dtype:
    """The type that the model computes in."""
    if config.dtype == "auto":
        return fastest_product_dtype(device)
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on the matrices; gains and biases are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=BETAS)


def _status(metrics: Mapping[str, float]) -> list[str]:
    found = []
    if "loss" in metrics:  # not after the last step
        found.append(f"loss {metrics['loss']:.3f}")
    if "held_out_loss" in metrics:
        found.append(f"held out {metrics['held_out_loss']:.3f}")
    if "beta" in metrics:
        found.append(f"β {metrics['beta']:.2f}")
    return found
