"""The training loop: it learns, it resumes bit for bit, it stops with a reason."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, Metadata
from quadric.autoencoders.config import Variant
from quadric.errors import Interrupted, QuadricError
from quadric.training import TrainingConfig, checkpoint, log, train
from quadric.training.optimizer import learning_rate, updates

D = 12
CONFIG = TrainingConfig(
    steps=30, batch_size=64, eval_every=10, eval_rows=40, product_dtype="float32", device="cpu"
)
AUTOENCODERS = {
    "main": AutoencoderConfig(d_in=D, d_sae=20, variant="composite", block=2, density_warmup=5),
    "plain": AutoencoderConfig(d_in=D, d_sae=30, affine=True, density_warmup=5),
    "both": AutoencoderConfig(d_in=D, d_sae=40, variant="combined", density_warmup=5),
}


def planted(rows: int = 2000, seed: int = 0) -> torch.Tensor:
    """Activations near a few directions, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(5, D, generator=generator)
    strengths = torch.rand(rows, 5, generator=generator).pow(6)
    return strengths @ directions + 0.05 * torch.randn(rows, D, generator=generator)


def source(batch_size: int = 64, tensor: torch.Tensor | None = None) -> ShuffledRows:
    rows = MemoryRows(planted() if tensor is None else tensor)
    return ShuffledRows(rows, batch_size=batch_size, seed=3, max_norm_multiple=None)


class Stopping:
    """A source that sends this process a signal while batch number ``at`` is made, ahead of use."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        self.inner, self.at, self.number, self.count = source(), at, number, 0
        self.d_in = self.inner.d_in

    def next_batch(self) -> torch.Tensor:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), self.number)
        return self.inner.next_batch()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def weights(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("sae_weights.safetensors"))
    }


def test_it_learns_and_leaves_a_whole_run(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=150)
    models = train(
        source(), AUTOENCODERS, config, tmp_path, metadata=Metadata(model_name="planted")
    )
    held = source().held_out(100)
    for name, model in models.items():
        fresh = BilinearAutoencoder(model.config)
        fresh.transform.load_state_dict(model.transform.state_dict())
        fresh.transform.fit(source().sample(10_000))
        assert model.product_error(held).mean() < 0.6 * fresh.product_error(held).mean(), name
    assert (tmp_path / "cfg.json").exists() and (tmp_path / "plain" / "cfg.json").exists()
    assert not (tmp_path / "checkpoint").exists()
    again = BilinearAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(held), models["main"].encode(held))
    assert again.metadata.tokens == 150 * 64 and again.metadata.model_name == "planted"
    lines = log.read(tmp_path / log.LOG)
    assert [line["step"] for line in lines] == list(range(150))
    assert "main/held_out_error" in lines[9] and "main/held_out_error" not in lines[10]
    held_error = models["plain"].product_error(source().held_out(40)).mean().item()
    assert lines[-1]["plain/held_out_error"] == pytest.approx(held_error, rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_signal_checkpoints_and_resuming_is_bit_identical(
    tmp_path: Path, number: signal.Signals, optimizer: str
) -> None:
    config = dataclasses.replace(
        CONFIG, optimizer=optimizer, lr=0.1 if optimizer == "muon" else 0.01
    )
    before = signal.getsignal(number)
    train(source(), AUTOENCODERS, config, tmp_path / "whole")
    with pytest.raises(Interrupted, match=r"stopped after 1[1-4] of 30 steps"):
        train(Stopping(14, number), AUTOENCODERS, config, tmp_path / "parts")
    assert signal.getsignal(number) is before
    assert not weights(tmp_path / "parts")
    with pytest.raises(Interrupted, match=r"stopped after 1[1-6] of 30"):
        train(Stopping(2, number), AUTOENCODERS, config, tmp_path / "parts", resume=True)
    train(source(), AUTOENCODERS, config, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    logs = [log.read(tmp_path / name / log.LOG) for name in ("parts", "whole")]
    for parts, whole in zip(*logs, strict=True):
        assert parts | {"seconds": 0} == whole | {"seconds": 0}


def test_timed_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    original = checkpoint.save

    def spy(run: Path, progress: checkpoint.Progress, *rest: Any) -> None:
        saved.append(progress.step)
        original(run, progress, *rest)

    monkeypatch.setattr(checkpoint, "save", spy)
    train(source(), AUTOENCODERS, dataclasses.replace(CONFIG, checkpoint_minutes=1e-9), tmp_path)
    assert saved == list(range(1, 31))


def test_a_torn_checkpoint_is_never_picked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        train(Stopping(5, signal.SIGINT), AUTOENCODERS, CONFIG, tmp_path)
    whole = checkpoint.newest(tmp_path)

    def fail(*_: object) -> None:
        raise QuadricError("cannot write state.json: No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", fail)
    with pytest.raises(QuadricError, match="No space left"):
        train(Stopping(9, signal.SIGINT), AUTOENCODERS, CONFIG, tmp_path, resume=True)
    assert checkpoint.newest(tmp_path) == whole


def test_other_autoencoders_do_not_fit_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(Stopping(5, signal.SIGINT), AUTOENCODERS, CONFIG, tmp_path)
    with pytest.raises(QuadricError, match="holds both, main, plain, not main"):
        train(source(), {"main": AUTOENCODERS["main"]}, CONFIG, tmp_path, resume=True)
    other = {**AUTOENCODERS, "main": AUTOENCODERS["main"].replace(d_sae=21)}
    with pytest.raises(QuadricError, match="does not fit the model 'main'"):
        train(source(), other, CONFIG, tmp_path, resume=True)
    with pytest.raises(QuadricError, match="no checkpoint to resume from"):
        train(source(), AUTOENCODERS, CONFIG, tmp_path / "elsewhere", resume=True)


def test_divergence_stops_early_with_advice(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=500, lr=30.0)
    with pytest.raises(QuadricError, match=r"'main' diverged: .* lower the learning rate \(30\)"):
        train(source(), {"main": AUTOENCODERS["main"]}, config, tmp_path)
    assert len(log.read(tmp_path / log.LOG)) < 100
    assert not weights(tmp_path)


def test_a_loss_that_is_not_finite_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = BilinearAutoencoder.loss

    def poisoned(self: BilinearAutoencoder, x: torch.Tensor, step: int, **rest: object) -> object:
        loss = original(self, x, step, **rest)  # type: ignore[arg-type]
        return loss._replace(error=loss.error * math.nan) if step == 3 else loss

    monkeypatch.setattr(BilinearAutoencoder, "loss", poisoned)
    with pytest.raises(QuadricError, match="the error is not finite at step 3"):
        train(source(), AUTOENCODERS, CONFIG, tmp_path)


def test_autoencoders_on_one_stream_equal_those_trained_alone(tmp_path: Path) -> None:
    train(source(), AUTOENCODERS, CONFIG, tmp_path / "together")
    train(source(), {"plain": AUTOENCODERS["plain"]}, CONFIG, tmp_path / "alone")
    together = weights(tmp_path / "together")["plain/sae_weights.safetensors"]
    assert together == weights(tmp_path / "alone")["sae_weights.safetensors"]


def test_clipping_bounds_the_step_of_a_plain_optimiser(tmp_path: Path) -> None:
    train(source(), AUTOENCODERS, CONFIG, tmp_path / "free")
    train(
        source(), AUTOENCODERS, dataclasses.replace(CONFIG, max_grad_norm=1e-3), tmp_path / "tight"
    )
    free, tight = weights(tmp_path / "free"), weights(tmp_path / "tight")
    assert all(free[name] != tight[name] for name in free)


def test_density_falls_as_its_weight_grows(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=120)
    grid = {
        f"w{index}": AutoencoderConfig(d_in=D, d_sae=30, density_weight=weight, density_warmup=10)
        for index, weight in enumerate((0.0, 0.3, 3.0))
    }
    train(source(), grid, config, tmp_path)
    last = log.read(tmp_path / log.LOG)[-1]
    densities = [last[f"{name}/held_out_density"] for name in grid]
    errors = [last[f"{name}/held_out_error"] for name in grid]
    assert densities[0] > densities[1] > densities[2]
    assert errors[0] < errors[2]


def test_wrong_width(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="d_in 12, the activations have width 4"):
        train(source(tensor=torch.randn(90, 4)), AUTOENCODERS, CONFIG, tmp_path)


def test_tensorboard_and_missing_trackers(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=2, loggers="tensorboard")
    train(source(), AUTOENCODERS, config, tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())
    with pytest.raises(QuadricError, match="pip install trackio"):
        train(
            source(), AUTOENCODERS, dataclasses.replace(config, loggers="trackio"), tmp_path / "x"
        )


def test_trackers_receive_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in module with the interface wandb and trackio share records what it is sent."""
    (tmp_path / "wandb.py").write_text(
        "calls = []\n"
        "def init(**k): calls.append(('init', k['project'], k['config']['steps']))\n"
        "def log(values, step): calls.append((step, values['main/error']))\n"
        "def finish(): calls.append('finish')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    train(
        source(),
        AUTOENCODERS,
        dataclasses.replace(CONFIG, steps=3, loggers="wandb"),
        tmp_path / "r",
    )
    import wandb

    lines = log.read(tmp_path / "r" / log.LOG)
    assert wandb.calls[0] == ("init", "quadric", 3) and wandb.calls[-1] == "finish"
    assert wandb.calls[1:-1] == [(line["step"], line["main/error"]) for line in lines]


def test_training_outside_the_main_thread(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            train(source(), AUTOENCODERS, dataclasses.replace(CONFIG, steps=2), tmp_path)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors and (tmp_path / "cfg.json").exists()


def test_schedules() -> None:
    config = TrainingConfig(steps=110, lr=2.0, lr_warmup=10)
    linear = updates(config, "vanilla")
    assert [learning_rate(linear, step) for step in (0, 9, 10, 60)] == pytest.approx(
        [2 / 11, 20 / 11, 2, 1]
    )
    assert learning_rate(linear, 109) > 0
    cosine = linear._replace(schedule="cosine")
    assert learning_rate(cosine, 60) == pytest.approx(1) and learning_rate(cosine, 35) > 1.5
    constant = updates(dataclasses.replace(config, schedule="constant"), "vanilla")
    assert learning_rate(constant, 109) == 2.0


@pytest.mark.parametrize(
    ("changes", "variant", "expected"),
    [
        ({}, "composite", ("muon", 0.2)),
        ({}, "topk", ("adamw", 0.01)),
        ({"lr": 0.3}, "topk", ("adamw", 0.3)),
        ({"optimizer": "muon"}, "topk", ("muon", 0.2)),
        ({"optimizer": "adamw", "lr": 0.02}, "ordered", ("adamw", 0.02)),
    ],
)
def test_each_autoencoder_gets_its_optimiser(
    changes: dict[str, object], variant: Variant, expected: tuple[str, float]
) -> None:
    chosen = updates(TrainingConfig(**changes), variant)  # type: ignore[arg-type]
    assert (chosen.optimizer, chosen.lr) == expected


def test_one_run_trains_with_several_optimisers(tmp_path: Path) -> None:
    both = {
        "main": AutoencoderConfig(d_in=D, d_sae=30, variant="topk", k=4),
        "plain": AutoencoderConfig(d_in=D, d_sae=30),
    }
    config = dataclasses.replace(CONFIG, steps=11, lr_warmup=0, schedule="constant")
    with pytest.raises(Interrupted):
        train(Stopping(5, signal.SIGINT), both, config, tmp_path)
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    kept = {name: set(load_file(newest / f"{name}.safetensors")) for name in both}
    assert "optimizer.0.exp_avg_sq" in kept["main"]
    assert "optimizer.0.momentum_buffer" in kept["plain"]
    (line, *_) = log.read(tmp_path / log.LOG)
    assert (line["main/lr"], line["plain/lr"]) == (0.01, 0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1"),
        ({"lr_warmup": -1}, "lr_warmup is -1"),
        ({"loggers": "wandb,tensorbord"}, "unknown logger 'tensorbord'"),
    ],
)
def test_bad_training_config(changes: dict[str, object], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        TrainingConfig(**changes)  # type: ignore[arg-type]


def test_unknown_device(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="device 'tpu9' cannot be used"):
        train(source(), AUTOENCODERS, dataclasses.replace(CONFIG, device="tpu9"), tmp_path)


def test_log_survives_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 0}) + "\n" + '{"step": 1, "er')
    assert log.read(path) == [{"step": 0}]
