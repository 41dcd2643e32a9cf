"""Run a model over text and keep its activations in a cache on disk.

``harvest(HarvestConfig(), Path("cache"))`` writes the default: 400,000 tokens of news and speeches
through SmolLM2-135M, read at the input of block 12. A harvest that was interrupted is continued by
the same call. ``open_source`` is the part before the disk (model, hooks, contexts), which
:mod:`quadric.activations.stream` shares.

Several ranks of a run divide the shards among them. Every rank reads and tokenises the whole text,
because where a context begins depends on all text before it, and puts its own batches through the
model. After each batch the ranks meet, so that what stops one stops all.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

import quadric
from quadric.activations.capture import capture
from quadric.activations.config import HarvestConfig
from quadric.activations.corpora import documents
from quadric.activations.hooks import Hook, resolve
from quadric.activations.manifest import MANIFEST, Manifest
from quadric.activations.models import LanguageModel, load_model, one_line
from quadric.activations.text import batches, contexts
from quadric.activations.writing import CacheWriter
from quadric.errors import Followed, Interrupted, QuadricError
from quadric.ranks import ALONE, Ranks
from quadric.stopping import stop_requests

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

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
    resolved = _resolved(config)
    language = load_model(
        config.model, dtype=getattr(torch, resolved.dtype), device=resolved.device
    )
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


def harvest(
    config: HarvestConfig, out: Path, *, console: Console | None = None, ranks: Ranks = ALONE
) -> HarvestSummary:
    """Write the activations of ``config`` into the cache ``out``.

    An interrupted harvest keeps its whole shards and goes on, with the same result, bit for bit on
    the same machine, as if it had not been interrupted; a finished one is left as it is. Any number
    of ranks writes the same cache, and may continue what another number began: shard s is computed
    by rank s mod world. The cache's description holds the resolved configuration without
    ``device``, the hooks in both spellings and quadric's version. If the text ends early, the cache
    holds what there was, and the summary says so.

    Args:
        config: what to harvest.
        out: the folder of the cache, which all ranks must see.
        console: where to draw progress with its rate; None draws nothing.
        ranks: the processes of this run, all of which call with the same arguments.

    Raises:
        QuadricError: the model, a hook or the text is not there, ``out`` holds another harvest, an
            activation is not finite, the disk is full, or another rank was lost.
        Followed: another rank raised one of these errors; it has the same message.
        Interrupted: SIGINT or SIGTERM arrived; what is whole is kept.
    """
    kept = f"its whole shards are in {out}, and the same harvest goes on from there"
    with ranks.watched(kept), _stop_requests(ranks) as stop:
        if ranks.world > 1:
            config = dataclasses.replace(config, device=ranks.device)
        # One rank decides what is timed, and no other rank disturbs it meanwhile.
        resolved = ranks.lead(lambda: _resolved(_as_begun(config, out)))
        source = ranks.together(lambda: open_source(resolved))
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
            ranks=ranks,
        )
        resumed = writer.contexts_kept
        start = time.perf_counter()
        if not writer.complete:
            steps = _write(source, writer)
            with _progress(console if ranks.leads else None, config, resumed) as advance:
                while (contexts := _step(steps, ranks, stop, kept)) is not None:
                    advance(contexts * config.context_size * ranks.world)
            writer.finish()
    done = writer.contexts_kept
    return HarvestSummary(
        path=out,
        hooks=names,
        dtype=source.config.dtype,
        tokens=done * config.context_size,
        tokens_requested=config.contexts * config.context_size,
        tokens_resumed=resumed * config.context_size,
        seconds=time.perf_counter() - start if done > resumed else 0.0,
    )


def _stop_requests(ranks: Ranks) -> AbstractContextManager[threading.Event]:
    """One process is stopped by a signal at once; ranks stop together and say why.

    For torchrun that is not only the user's wish: it sends SIGTERM as soon as one rank is gone.
    """
    return stop_requests() if ranks.world > 1 else nullcontext(threading.Event())


def _write(source: Source, writer: CacheWriter) -> Iterator[int]:
    """Compute and append what this rank is to write, batch by batch; yields their contexts."""
    context = writer.contexts_written
    for input_ids in source.batches(skip=context):
        if writer.wants(context):
            writer.append(source.activations(input_ids), input_ids, context)
            yield len(input_ids)
        context += len(input_ids)
    writer.flush()


def _step(steps: Iterator[int], ranks: Ranks, stop: threading.Event, kept: str) -> int | None:
    """One step on every rank; what it yields here, 0 at the end, or None at the end of all.

    Raises:
        QuadricError: a step failed here; on the other ranks as :class:`Followed`.
        Interrupted: a rank was asked to stop; raised on the first, on the others as above.
    """
    error, contexts = None, None
    try:
        contexts = next(steps, None)
    except QuadricError as raised:
        error = raised
    flags = torch.tensor([error is not None, stop.is_set(), contexts is not None]).int()
    failed, stopped, going_on = ranks.largest(flags).tolist()
    if failed:
        ranks.agree(error)
    if stopped:
        message = f"the harvest was stopped; {kept}"
        raise Interrupted(message) if ranks.leads else Followed(message)
    return (contexts or 0) if going_on else None


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


def _resolved(config: HarvestConfig) -> HarvestConfig:
    """With ``dtype`` and ``device`` decided."""
    device = _device() if config.device == "auto" else config.device
    dtype = _dtype(device) if config.dtype == "auto" else config.dtype
    return dataclasses.replace(config, dtype=dtype, device=device)


def _device() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator else "cpu"


def _dtype(device: str) -> Literal["float32", "bfloat16"]:
    from quadric.kernels import fastest_product_dtype

    return "bfloat16" if fastest_product_dtype(device) == torch.bfloat16 else "float32"
