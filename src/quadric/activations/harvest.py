"""Run a model over text and keep its activations in a cache on disk.

``harvest(HarvestConfig(), Path("cache"))`` writes the default: 400,000 tokens of news and speeches
through SmolLM2-135M, read at the input of block 12. A harvest that was interrupted is continued by
the same call. ``open_source`` is the part before the disk (model, hooks, contexts), which
:mod:`quadric.activations.stream` shares.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

import quadric
from quadric.activations.cache import CacheWriter
from quadric.activations.capture import capture
from quadric.activations.config import HarvestConfig
from quadric.activations.corpora import documents
from quadric.activations.hooks import Hook, resolve
from quadric.activations.manifest import MANIFEST, Manifest
from quadric.activations.models import LanguageModel, load_model, one_line
from quadric.activations.text import batches, contexts
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from rich.console import Console

_CONTEXTS_PER_SHARD = 512


@dataclass(frozen=True)
class HarvestSummary:
    """What a harvest left on disk, and how it went."""

    path: Path
    """The cache's folder."""
    hooks: dict[str, str]
    """The hooks in it: hook_name → hf_hook_name."""
    dtype: str
    """The type they are stored in."""
    tokens: int
    """Rows per hook in the cache."""
    tokens_requested: int
    """Rows per hook that were asked for, rounded down to whole contexts."""
    tokens_resumed: int
    """How many of them an earlier, interrupted call had written."""
    seconds: float
    """Time this call spent in forward passes and writing; loading the model is not counted."""

    @property
    def ran_out(self) -> bool:
        """Whether the text ended before ``tokens`` were read."""
        return self.tokens < self.tokens_requested

    @property
    def tokens_per_second(self) -> float:
        """The rate of this call; 0 if it found the cache complete."""
        return (self.tokens - self.tokens_resumed) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """One line for a terminal."""
        text = f"{self.tokens:,} tokens × {', '.join(self.hooks)} in {self.path} ({self.dtype}"
        if self.tokens > self.tokens_resumed:
            text += f", {self.tokens_per_second:,.0f} tokens/s"
        text += ")"
        if self.ran_out:
            text += f"; the text ran out before the {self.tokens_requested:,} tokens asked for"
        return text


@dataclass(frozen=True)
class Source:
    """A configuration made real: the model is loaded, the hooks are found, the text can be read."""

    config: HarvestConfig
    """With ``dtype`` and ``device`` resolved."""
    language: LanguageModel
    """The model and its tokeniser."""
    hooks: list[Hook]
    """The places to read."""
    widths: dict[str, int]
    """The width of each hook's activations, by hook name."""

    def batches(self, skip: int = 0) -> Iterator[Int[Tensor, "b t"]]:
        """Token batches from context ``skip`` on, up to the configuration's number of tokens."""
        config = self.config
        texts = documents(
            config.dataset, seed=config.text_seed, split=config.split, column=config.column
        )
        rows = contexts(self.language.tokenizer, texts, config.context_size)
        return batches(islice(rows, skip, config.contexts), config.batch_contexts)

    def activations(self, input_ids: Int[Tensor, "b t"]) -> dict[str, Float[Tensor, "b t d"]]:
        """Every hook's activations on one batch."""
        return capture(self.language.model, self.hooks, input_ids.to(self.language.model.device))


def open_source(config: HarvestConfig) -> Source:
    """Load the model of a configuration and find its hooks.

    Raises:
        QuadricError: the model or a hook does not exist, or a hook carries no activations.
    """
    device = _device() if config.device == "auto" else config.device
    dtype = _dtype(device) if config.dtype == "auto" else config.dtype
    resolved = dataclasses.replace(config, dtype=dtype, device=device)
    language = load_model(config.model, dtype=getattr(torch, dtype), device=device)
    patterns = [pattern.strip() for pattern in config.hook.split(",") if pattern.strip()]
    hooks = resolve(language.model, patterns)
    probe = torch.zeros(1, config.context_size, dtype=torch.int64, device=language.model.device)
    try:
        found = capture(language.model, hooks, probe)
    except (IndexError, RuntimeError) as error:
        limit = getattr(language.model.config, "max_position_embeddings", None)
        short = limit is not None and limit < config.context_size
        reason = f"it has {limit} positions" if short else one_line(error)
        raise QuadricError(
            f"the model {config.model!r} cannot read a context of {config.context_size} tokens: "
            f"{reason}"
        ) from error
    widths = {name: activation.shape[-1] for name, activation in found.items()}
    return Source(resolved, language, hooks, widths)


def harvest(config: HarvestConfig, out: Path, *, console: Console | None = None) -> HarvestSummary:
    """Write the activations of ``config`` into the cache ``out``.

    An interrupted harvest goes on after its last whole shard, with the same result, bit for bit on
    the same machine, as if it had not been interrupted; a finished one is left as it is. The
    cache's description holds the resolved configuration without ``device``, the hooks in both
    spellings and quadric's version. If the text ends early, the cache holds what there was, and the
    summary says so.

    Args:
        config: what to harvest.
        out: the folder of the cache.
        console: where to draw progress with its rate; None draws nothing.

    Raises:
        QuadricError: the model, a hook or the text is not there, ``out`` holds another harvest, an
            activation is not finite, or the disk is full.
    """
    source = open_source(_as_begun(config, out))
    names = {hook.hook_name: hook.hf_hook_name for hook in source.hooks}
    # Shards of whole batches, so that a continued harvest forms the same batches again.
    batch = config.batch_contexts
    writer = CacheWriter(
        out,
        widths=source.widths,
        dtype=getattr(torch, source.config.dtype),
        context_size=config.context_size,
        description=_description(source.config, names),
        contexts_per_shard=max(1, _CONTEXTS_PER_SHARD // batch) * batch,
    )
    done = resumed = writer.contexts_written
    start = time.perf_counter()
    if not writer.complete:
        with _progress(console, config, resumed) as advance:
            for input_ids in source.batches(skip=resumed):
                writer.append(source.activations(input_ids), input_ids)
                done += len(input_ids)
                advance(input_ids.numel())
            writer.finish()
    return HarvestSummary(
        path=out,
        hooks=names,
        dtype=source.config.dtype,
        tokens=done * config.context_size,
        tokens_requested=config.contexts * config.context_size,
        tokens_resumed=resumed * config.context_size,
        seconds=time.perf_counter() - start if done > resumed else 0.0,
    )


def _as_begun(config: HarvestConfig, out: Path) -> HarvestConfig:
    """With the dtype that an earlier call chose: timing might choose another one this time."""
    if config.dtype != "auto" or not (out / MANIFEST).exists():
        return config
    bfloat16 = Manifest.read(out).dtype == "bfloat16"
    return dataclasses.replace(config, dtype="bfloat16" if bfloat16 else "float32")


def _description(config: HarvestConfig, hooks: dict[str, str]) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    del values["device"]  # says where it was computed, not what
    return {**values, "hooks": hooks, "quadric_version": quadric.__version__}


@contextmanager
def _progress(
    console: Console | None, config: HarvestConfig, resumed: int
) -> Iterator[Callable[[int], None]]:
    """A progress bar over tokens; yields the function that moves it on."""
    if console is None:
        yield lambda _: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("harvest"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rate]:,.0f} tokens/s"),
        bars.TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with bars.Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        size = config.context_size
        task = progress.add_task("", total=config.contexts * size, completed=resumed * size, rate=0)
        start, read = time.perf_counter(), 0

        def advance(tokens: int) -> None:
            nonlocal read
            read += tokens
            progress.update(task, advance=tokens, rate=read / (time.perf_counter() - start))

        yield advance


def _device() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator else "cpu"


def _dtype(device: str) -> Literal["float32", "bfloat16"]:
    from quadric.kernels import fastest_product_dtype

    return "bfloat16" if fastest_product_dtype(device) == torch.bfloat16 else "float32"
