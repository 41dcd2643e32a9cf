"""Checkpoints: everything a run needs to continue as if it had never stopped.

A checkpoint is a folder ``checkpoint/step-00001200`` that appears by one rename once all its files
are on the disk: weights and optimiser tensors as safetensors, the step, the data position and the
optimiser's scalars as JSON. The newest replaces the older ones; no file of it can execute code.
Weights are whole in it, however many ranks they were spread over, so any number of ranks goes on.
Any module can be a member; what a model keeps outside its state dict travels as ``extra``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quadric.errors import QuadricError
from quadric.ranks import ALONE, Ranks
from quadric.storage import make_folder, read_json, read_tensors, write_json, write_tensors
from quadric.training.sharding import is_spread, like, whole

FOLDER = "checkpoint"
STATE = "state.json"
_KEYS = ("step", "position", "seconds", "optimizers", "extra")


@dataclass
class Member:
    """One model in training with its optimiser."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer


class Progress(NamedTuple):
    """How far a run has come."""

    step: int
    """Finished steps."""
    position: dict[str, int]
    """The data source's position; of several ranks, what is kept is the union of all of theirs."""
    seconds: float
    """Time spent training, interruptions left out."""


def save(
    run: Path,
    progress: Progress,
    members: list[Member],
    extra: dict[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Write the checkpoint of a run's progress and remove older ones; every rank must call.

    Args:
        run: the run's folder.
        progress: how far it has come.
        members: its models.
        extra: further JSON values, given back by :func:`load`.
        ranks: over whom the models are spread; rank 0 writes.
    """
    position = {key: at for each in ranks.every(progress.position) for key, at in each.items()}
    files, scalars = {}, {}
    for member in members:
        tensors, scalars[member.name] = _optimizer_state(member.optimizer)
        weights = {f"model.{key}": value for key, value in _weights(member.model).items()}
        files[member.name] = whole(weights | tensors, ranks)
    if ranks.leads:
        place = progress._replace(position=position)._asdict()
        state = {**place, "optimizers": scalars, "extra": extra or {}}
        _write(run, progress.step, files, state)
    ranks.every(None)  # nobody leaves, and ends the run, while the first still writes


def _write(
    run: Path, step: int, files: dict[str, dict[str, Tensor]], state: dict[str, Any]
) -> None:
    folder = make_folder(run / FOLDER)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".step-{step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    for name, tensors in files.items():
        write_tensors(temporary / f"{name}.safetensors", tensors)
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


def load(checkpoint: Path, members: list[Member]) -> tuple[Progress, dict[str, Any]]:
    """Restore weights, optimisers and the random state; return the progress and ``extra``.

    Each rank reads the files and keeps its part, whatever the number of ranks that wrote them.

    Raises:
        QuadricError: the checkpoint is damaged or of other models.
    """
    state = read_json(checkpoint / STATE)
    if missing := [key for key in _KEYS if key not in state]:
        raise QuadricError(
            f"{checkpoint} is damaged or of another version: it has no {missing[0]!r}; "
            "start the run again"
        )
    if set(state["optimizers"]) != {member.name for member in members}:
        raise QuadricError(
            f"{checkpoint} holds {', '.join(sorted(state['optimizers']))}, "
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
        own = _weights(member.model)
        shapes, found = ({k: v.shape for k, v in each.items()} for each in (own, weights))
        if shapes != found:
            raise QuadricError(f"{path} does not fit the model {member.name!r}")
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(like(value, own[name]))
        _restore_optimizer(member.optimizer, tensors, state["optimizers"][member.name])
    torch.set_rng_state(read_tensors(checkpoint / "rng.safetensors")["torch"])
    progress = Progress(int(state["step"]), state["position"], float(state["seconds"]))
    return progress, state["extra"]


def remove(run: Path) -> None:
    """Delete the checkpoints of a finished run."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with each tensor once: tied weights have two names there."""
    seen: dict[int, str] = {}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if seen.setdefault(_address(tensor), name) == name
    }


def _address(tensor: Tensor) -> int:
    """Where a tensor's numbers lie; parts of spread tensors and empty ones stand for themselves."""
    apart = is_spread(tensor) or not tensor.numel()
    return id(tensor) if apart else tensor.data_ptr()


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
    parameters = [own for group in optimizer.param_groups for own in group["params"]]
    for number, entries in state.items():
        for key, value in entries.items():
            # What has a parameter's shape is divided as the parameter is.
            if isinstance(value, Tensor) and value.shape == parameters[number].shape:
                entries[key] = like(value, parameters[number])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
