"""The training loop: several autoencoders on one stream of activations.

    autoencoders = train(source, {"main": config}, TrainingConfig(steps=500), Path("runs/mine"))

Every step draws one batch and gives it to every autoencoder in turn. The run folder receives the
metric log while training, checkpoints on time and on SIGINT or SIGTERM, and at the end the
autoencoders: the first in the folder itself, the others each in a subfolder of their name.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from quadric.activations.loader import BatchSource
from quadric.activations.prefetch import Prefetched
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, Metadata
from quadric.errors import Followed, Interrupted, QuadricError
from quadric.kernels import backend, fastest_product_dtype
from quadric.ranks import ALONE, Ranks
from quadric.stopping import stop_requests
from quadric.storage import make_folder
from quadric.training import checkpoint, log, optimizer
from quadric.training.checkpoint import Member, Progress
from quadric.training.config import TrainingConfig
from quadric.training.guard import DivergenceGuard
from quadric.training.metrics import Backlog
from quadric.training.progress import Display
from quadric.training.sharding import full, spread, whole

STATISTICS_ROWS = 65_536
"""Training activations from which the input transforms take their statistics."""


def train(
    source: BatchSource,
    configs: Mapping[str, AutoencoderConfig],
    config: TrainingConfig,
    out: Path,
    *,
    metadata: Metadata | None = None,
    resume: bool = False,
    console: Console | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, BilinearAutoencoder]:
    """Train autoencoders and write them to the run folder ``out``.

    Args:
        source: where batches come from; with several ranks, this rank's rows of them.
        configs: a name and a configuration for each autoencoder; the first is the main one.
        config: how to train.
        out: the run folder.
        metadata: recorded in every ``cfg.json``; tokens and seed are filled in.
        resume: continue from the newest checkpoint in ``out``; on the same machine's CPU the
            weights come out bit-identical to those of an uninterrupted run. Another number of
            ranks continues it with the same batches.
        console: where progress is drawn; nowhere when None.
        ranks: the processes of this run, all of which call with the same arguments.

    Returns:
        The autoencoders; none on ranks other than the first.

    Raises:
        QuadricError: the data does not fit the configuration, the run diverged, there is no
            checkpoint to resume from, or another rank was lost.
        Interrupted: SIGINT or SIGTERM arrived and the checkpoint was written.
    """
    for name, autoencoder in configs.items():
        if autoencoder.d_in != source.d_in:
            raise QuadricError(
                f"autoencoder {name!r} has d_in {autoencoder.d_in}, "
                f"the activations have width {source.d_in}"
            )
    make_folder(out)
    with ranks.watched(f"continue with --resume from the checkpoint in {out}, if there is one"):
        run = _Run(source, configs, config, out, ranks)
        progress = run.restore() if resume else run.begin()
        if console is not None and ranks.leads and run.device.type != "cpu":
            kernels = backend(run.device, run.product_dtype)
            console.print(f"kernels: {kernels.name} ({kernels.reason})", highlight=False)
        sinks: list[log.Sink] = []
        if ranks.leads:
            sinks = log.open_sinks(out, config.logger_names, vars(config), progress.step)
        try:
            with (
                stop_requests() as stop,
                Display(console if ranks.leads else None, config.steps, run.status) as display,
            ):
                run.continue_from(progress, sinks, display, stop)
        finally:
            for sink in sinks:
                sink.close()
        return run.finish(metadata or Metadata())


class _Run:
    """The state of one call of ``train``."""

    def __init__(
        self,
        source: BatchSource,
        configs: Mapping[str, AutoencoderConfig],
        config: TrainingConfig,
        out: Path,
        ranks: Ranks,
    ) -> None:
        self.source, self.config, self.out, self.ranks = source, config, out, ranks
        self.device = resolve_device(config.device)
        self.product_dtype = resolve_product_dtype(config, self.device)
        self.members: list[Member] = []
        self.models: dict[str, BilinearAutoencoder] = {}
        self.updates = {
            name: optimizer.updates(config, autoencoder.variant)
            for name, autoencoder in configs.items()
        }
        for name, autoencoder in configs.items():
            self.models[name] = model = BilinearAutoencoder(autoencoder).to(self.device)
            spread(model, ranks)
            built = optimizer.build(model.parameters(), self.updates[name])
            self.members.append(Member(name, model, built))
        self.guards = {
            name: DivergenceGuard(f"autoencoder {name!r}", chosen.lr)
            for name, chosen in self.updates.items()
        }
        self.held_out = source.held_out(config.eval_rows).to(self.device)
        self.backlog = Backlog(ranks)

    def begin(self) -> Progress:
        """A fresh start: the transforms take their statistics from the training data."""
        if self.ranks.leads:
            checkpoint.remove(self.out)
        sample = self.source.sample(STATISTICS_ROWS)
        for model in self.models.values():
            model.transform.fit(sample.to(self.device))
        return Progress(0, self.source.state_dict(), 0.0)

    def restore(self) -> Progress:
        """Continue from the newest checkpoint."""
        newest = checkpoint.newest(self.out)
        if newest is None:
            raise QuadricError(f"{self.out} holds no checkpoint to resume from")
        progress, extra = checkpoint.load(newest, self.members)
        for name, model in self.models.items():
            model.transform.load_statistics(extra["transforms"][name], str(newest))
        self.source.load_state_dict(progress.position)
        return progress

    def continue_from(
        self,
        progress: Progress,
        sinks: list[log.Sink],
        display: Display,
        stop: threading.Event,
    ) -> None:
        """Run the remaining steps."""
        remaining = self.config.steps - progress.step
        with Prefetched(self.source, self.device, batches=remaining) as batches:
            self.steps(batches, progress, sinks, display, stop)

    def steps(
        self,
        batches: BatchSource,
        progress: Progress,
        sinks: list[log.Sink],
        display: Display,
        stop: threading.Event,
    ) -> None:
        """Every step with what belongs to it: evaluation, log, checkpoint, requests to stop."""
        started = time.monotonic() - progress.seconds
        saved = time.monotonic()
        for step in range(progress.step, self.config.steps):
            batch = batches.next_batch()
            metrics = self.step(batch, step)
            last = step + 1 == self.config.steps
            if evaluated := last or (step + 1) % self.config.eval_every == 0:
                metrics |= self.evaluate()
            seconds = metrics["seconds"] = time.monotonic() - started
            self.backlog.add(step, len(batch) * self.ranks.world, metrics)
            progress = Progress(step + 1, batches.state_dict(), seconds)
            overdue = time.monotonic() - saved > 60 * self.config.checkpoint_minutes
            # Alone, a request or a clock is seen after every step; together, when all look.
            urgent = self.ranks.world == 1 and (stop.is_set() or overdue)
            if not (evaluated or urgent or self.backlog.due()):
                continue
            self.read(sinks, display)
            stopping, saving = self.agreed(stop.is_set(), overdue)
            if saving or (stopping and not last):
                self.save(progress)
                saved = time.monotonic()
            if stopping and not last:
                raise (Interrupted if self.ranks.leads else Followed)(
                    f"stopped after {step + 1} of {self.config.steps} steps; the checkpoint is in "
                    f"{self.out}: continue with --resume"
                )

    def agreed(self, *wishes: bool) -> list[bool]:
        """What any rank wishes, all do."""
        return self.ranks.largest(torch.tensor(wishes, device=self.device).byte()).bool().tolist()

    def read(self, sinks: list[log.Sink], display: Display) -> None:
        """Look at the finished steps: log them, show the last, and stop a run that diverged."""
        for step, rows, metrics in self.backlog.read():
            try:
                for name, guard in self.guards.items():
                    guard.check(step, metrics[f"{name}/error"], metrics[f"{name}/grad_norm"])
            except QuadricError as diverged:  # the same on all ranks: one says it
                if self.ranks.leads:
                    raise
                raise Followed(str(diverged)) from diverged
            for sink in sinks:
                sink.write(step, metrics)
            display.update(step + 1, metrics, rows)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        statistics = {name: model.transform.statistics() for name, model in self.models.items()}
        extra = {"transforms": statistics}
        checkpoint.save(self.out, progress, self.members, extra, self.ranks)

    def status(self, metrics: Mapping[str, float]) -> list[str]:
        """Every autoencoder's error and density, for the progress display."""
        several = len(self.models) > 1
        return [
            f"{name + ' ' if several else 'error, density '}"
            f"{metrics[f'{name}/error']:.3f}, {metrics[f'{name}/density']:.3f}"
            for name in self.models
        ]

    def step(self, batch: Tensor, step: int) -> dict[str, float | Tensor]:
        """One optimiser step of every autoencoder on one batch."""
        metrics: dict[str, float | Tensor] = {}
        for member in self.members:
            rate = optimizer.learning_rate(self.updates[member.name], step)
            member.optimizer.zero_grad(set_to_none=True)
            model = self.models[member.name]
            loss = model.loss(batch, step, product_dtype=self.product_dtype, ranks=self.ranks)
            loss.total.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(
                model.parameters(), self.config.max_grad_norm or float("inf")
            )
            for group in member.optimizer.param_groups:
                group["lr"] = rate
            member.optimizer.step()
            metrics |= {
                f"{member.name}/lr": rate,
                f"{member.name}/error": loss.error,
                f"{member.name}/density": loss.density,
                f"{member.name}/density_weight": loss.density_weight,
                f"{member.name}/grad_norm": full(norm),
            }
        return metrics

    @torch.no_grad()
    def evaluate(self) -> dict[str, float | Tensor]:
        """Product error and density of every autoencoder on the held-out activations."""
        metrics: dict[str, float | Tensor] = {}
        for name, model in self.models.items():
            metrics[f"{name}/held_out_error"] = model.product_error(self.held_out).mean()
            metrics[f"{name}/held_out_density"] = model.density(self.held_out)
        return metrics

    def finish(self, metadata: Metadata) -> dict[str, BilinearAutoencoder]:
        """Write the autoencoders and remove the checkpoints; the first rank does."""
        if self.ranks.world > 1:  # a stream counts its own chunks only; now those of all are known
            states = self.ranks.every(self.source.state_dict())
            self.source.load_state_dict({k: at for each in states for k, at in each.items()})
        tokens = self.config.steps * self.config.batch_size
        finished = {}
        for index, (name, trained) in enumerate(self.models.items()):
            weights = whole(trained.state_dict(), self.ranks) if self.ranks.world > 1 else {}
            if not self.ranks.leads:
                continue
            model = _alone(trained, weights).to(self.device) if weights else trained
            model.metadata = dataclasses.replace(metadata, tokens=tokens, seed=self.config.seed)
            model.eval().save_pretrained(self.out if index == 0 else self.out / name)
            finished[name] = model
        if self.ranks.leads:
            checkpoint.remove(self.out)
        return finished


def _alone(spread_model: BilinearAutoencoder, weights: dict[str, Tensor]) -> BilinearAutoencoder:
    """The autoencoder as one rank has it."""
    model = BilinearAutoencoder(spread_model.config)
    model.load_state_dict(weights)
    model.transform.load_statistics(spread_model.transform.statistics(), "the run")
    return model


def resolve_device(device: str) -> torch.device:
    """The device a configuration asks for.

    Raises:
        QuadricError: there is no such device here.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        return torch.zeros((), device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise QuadricError(f"device {device!r} cannot be used: {reason}") from error


def resolve_product_dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The type of the large products a configuration asks for."""
    if config.product_dtype == "auto":
        return fastest_product_dtype(device)
    return torch.bfloat16 if config.product_dtype == "bfloat16" else torch.float32
