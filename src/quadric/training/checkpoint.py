"""Checkpoints: everything a run needs to continue as if it had never stopped.

A checkpoint is a folder ``checkpoint/step-00001200`` that appears by one rename once all its files
are on the disk: weights and optimiser tensors as safetensors, the step, the data position and the
optimiser's scalars as JSON. The newest replaces the older ones; no file of it can execute code.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.storage import make_folder, read_json, read_tensors, write_json, write_tensors

FOLDER = "checkpoint"
STATE = "state.json"


@dataclass
class Member:
    """One autoencoder in training with its optimiser."""

    name: str
    model: BilinearAutoencoder
    optimizer: torch.optim.Optimizer


class Progress(NamedTuple):
    """How far a run has come."""

    step: int
    """Finished steps."""
    position: dict[str, int]
    """The data source's position."""
    seconds: float
    """Time spent training, interruptions left out."""


def save(run: Path, progress: Progress, members: list[Member]) -> None:
    """Write the checkpoint of a run's progress and remove older ones."""
    folder = make_folder(run / FOLDER)
    final = folder / f"step-{progress.step:08d}"
    temporary = folder / f".step-{progress.step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    scalars = {}
    for member in members:
        tensors, scalars[member.name] = _optimizer_state(member.optimizer)
        weights = {f"model.{key}": value for key, value in member.model.state_dict().items()}
        write_tensors(temporary / f"{member.name}.safetensors", weights | tensors)
    state = {
        **progress._asdict(),
        "optimizers": scalars,
        "transforms": {member.name: member.model.transform.statistics() for member in members},
    }
    write_tensors(temporary / "rng.safetensors", {"torch": torch.get_rng_state()})
    write_json(temporary / STATE, state)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def newest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return max((run / FOLDER).glob("step-*"), default=None)


def load(checkpoint: Path, members: list[Member]) -> Progress:
    """Restore weights, optimisers and the random state; return the progress.

    Raises:
        QuadricError: the checkpoint is damaged or of other autoencoders.
    """
    state = read_json(checkpoint / STATE)
    if set(state["transforms"]) != {member.name for member in members}:
        raise QuadricError(
            f"{checkpoint} holds the autoencoders {', '.join(sorted(state['transforms']))}, "
            f"not {', '.join(sorted(member.name for member in members))}"
        )
    for member in members:
        path = checkpoint / f"{member.name}.safetensors"
        tensors = read_tensors(path)
        weights = {
            key.removeprefix("model."): value
            for key, value in tensors.items()
            if key.startswith("model.")
        }
        try:
            member.model.load_state_dict(weights)
        except RuntimeError as error:
            raise QuadricError(f"{path} does not fit the autoencoder {member.name!r}") from error
        member.model.transform.load_statistics(state["transforms"][member.name], str(checkpoint))
        _restore_optimizer(member.optimizer, tensors, state["optimizers"][member.name])
    torch.set_rng_state(read_tensors(checkpoint / "rng.safetensors")["torch"])
    return Progress(int(state["step"]), state["position"], float(state["seconds"]))


def remove(run: Path) -> None:
    """Delete the checkpoints of a finished run."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The optimiser's per-parameter tensors, flat, and its per-parameter scalars."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    return tensors, scalars


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    scalars: dict[str, dict[str, Any]],
) -> None:
    state: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in scalars.items()
    }
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
