"""How long a step of training takes, for several models side by side.

    pace = measure_pace({"bilinear": recipe, "SwiGLU": other})
    pace.seconds["SwiGLU"] / pace.seconds["bilinear"]
    pace.steps(76_000, "bilinear", "SwiGLU")        # what SwiGLU can do in the same time

Models take turns in one process, a few steps each, so that what else the machine does meets all of
them; whoever began a round ends the next. What is timed is :func:`quadric.language.loop.fit`
itself, on random tokens: forward and backward pass, clipping, optimiser and log, no evaluation.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.language.config import FitConfig, Recipe
from quadric.language.loop import compute_dtype, fit
from quadric.language.text import Rows
from quadric.storage import read_json, write_json
from quadric.training import log
from quadric.training.loop import resolve_device

ROUNDS = 7
"""Turns of each model that count."""
STEPS = 4
"""Steps of a turn; the first, which makes the optimiser's state, does not count."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a training step by model.

    Raises:
        QuadricError: there are no models, or one has no rounds.
    """

    rounds: dict[str, list[float]]
    """Mean seconds per step of every round."""
    tokens: int
    """Tokens of a step."""
    machine: dict[str, str | int]
    """Device, type of the products and number of threads."""

    def __post_init__(self) -> None:
        """Check that there is something to compare."""
        if not self.rounds or not all(self.rounds.values()):
            raise QuadricError("a pace needs one round or more of each of its models")

    @property
    def seconds(self) -> dict[str, float]:
        """Median seconds per step over the rounds."""
        return {name: statistics.median(found) for name, found in self.rounds.items()}

    @property
    def rates(self) -> dict[str, float]:
        """Tokens per second, at the median."""
        return {name: self.tokens / seconds for name, seconds in self.seconds.items()}

    def steps(self, steps: int, base: str, other: str) -> int:
        """steps · t_base / t_other, rounded: what ``other`` does while ``base`` does ``steps``."""
        return max(1, round(steps * self.seconds[base] / self.seconds[other]))


def measure_pace(
    recipes: Mapping[str, Recipe],
    *,
    rounds: int = ROUNDS,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Pace:
    """Time the steps of models that read contexts of one shape.

    Args:
        recipes: the models by name; only sizes, device and type of their trainings matter.
        rounds: how often each has its turn, after one turn that does not count.
        progress: called with the number of finished rounds and of all, the uncounted included.

    Raises:
        QuadricError: no recipe or no round is given, the recipes differ in what a step reads or
            where it runs, or a model's sizes do not fit together.
    """
    if rounds < 1:
        raise QuadricError(f"rounds is {rounds}, expected 1 or more")
    if not recipes:
        raise QuadricError("there is no recipe to time: give one or more")
    shared = {_step_of(recipe) for recipe in recipes.values()}
    if len(shared) > 1:
        raise QuadricError(
            f"the recipes of {', '.join(recipes)} differ in contexts, device or dtype: "
            "steps of different shape have no common pace"
        )
    models = {name: _model(recipe) for name, recipe in recipes.items()}
    found: dict[str, list[float]] = {name: [] for name in recipes}
    names = list(recipes)
    for turn in range(rounds + 1):
        for name in names if turn % 2 else names[::-1]:
            seconds = _seconds_per_step(models[name], recipes[name])
            if turn:
                found[name].append(seconds)
        progress(turn + 1, rounds + 1)
    first = recipes[names[0]]
    return Pace(found, first.fit.batch_contexts * first.text.context_size, machine(first.fit))


def kept_pace(recipes: Mapping[str, Recipe], path: Path) -> Pace:
    """The pace in a file where this machine measured it for these recipes; else measured now.

    A training that is planned by the pace must find the same one when it is resumed.

    Raises:
        QuadricError: as for :func:`measure_pace`, or the file cannot be read or written.
    """
    digests = {name: recipe.digest() for name, recipe in recipes.items()}
    here = machine(next(iter(recipes.values())).fit) if recipes else {}
    if path.is_file():
        values = read_json(path)
        found = values.get("machine", {})
        # Not the type of the products: that is timed anew in every process, and may come out anew.
        alike = all(found.get(key) == here.get(key) for key in ("device", "threads"))
        if values.get("recipes") == digests and alike:
            return Pace(values["rounds"], values["tokens"], found)
    pace = measure_pace(recipes)
    write_json(path, {"recipes": digests, **dataclasses.asdict(pace)})
    return pace


def machine(config: FitConfig) -> dict[str, str | int]:
    """Where a training runs: device, the type of its products, and threads of the processor."""
    device = resolve_device(config.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "dtype": str(compute_dtype(config, device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _step_of(recipe: Recipe) -> tuple[Any, ...]:
    """What steps must share to be compared."""
    config = recipe.fit
    return (
        recipe.text.context_size, config.batch_contexts, config.micro_batch, config.device,
        config.dtype,
    )  # fmt: skip


def _model(recipe: Recipe) -> Any:
    """A new model; the time of a step does not depend on its weights."""
    from quadric.layers.transformer import GatedTransformerForCausalLM
    from quadric.layers.transformer_config import GatedTransformerConfig

    config = GatedTransformerConfig(
        **dataclasses.asdict(recipe.architecture),
        max_position_embeddings=recipe.text.context_size,
    )
    with torch.random.fork_rng(devices=[]):
        return GatedTransformerForCausalLM(config)


def _seconds_per_step(model: Any, recipe: Recipe) -> float:
    """The mean of one turn, its first step left out."""
    config = dataclasses.replace(
        recipe.fit, steps=STEPS, eval_every=STEPS, loggers="", checkpoint_minutes=1e9
    )
    contexts = _random_contexts(recipe, STEPS * config.batch_contexts)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, Rows(contexts, contexts[:1], 0), config, Path(folder))
        lines = log.read(Path(folder) / log.LOG)
    # A line's clock is read behind its step; the last line has an evaluation and no step.
    return float(lines[STEPS - 1]["seconds"] - lines[0]["seconds"]) / (STEPS - 1)


def _random_contexts(recipe: Recipe, count: int) -> Int[Tensor, "contexts tokens"]:
    shape = (count, recipe.text.context_size)
    generator = torch.Generator().manual_seed(recipe.fit.seed)
    return torch.randint(
        recipe.architecture.vocab_size, shape, generator=generator, dtype=torch.int32
    )
