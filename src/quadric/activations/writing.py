"""Writing a cache shard by shard: by one process or several, and after an interruption.

The manifest is replaced after each shard, so a harvest killed at any moment keeps its whole shards
and is continued after them::

    writer = CacheWriter(path, widths={hook: 576}, dtype=torch.bfloat16, context_size=128,
                         description={"model": "smollm2-135m"})
    for batch in batches[writer.contexts_written :]:
        writer.append({hook: activations}, token_ids)
    writer.finish()

Several processes can write one cache: rank r writes shards r, r + world, …. The others' shards are
known to a rank only at the end, so the manifest is not replaced before; until it is complete it may
list fewer shards than there are, but never one after a gap, and what is whole is seen on disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations import shards
from quadric.activations.manifest import DTYPES, MANIFEST, Manifest, Shard, plain
from quadric.activations.shards import ACTIVATIONS, TOKENS
from quadric.errors import QuadricError, nearest
from quadric.ranks import ALONE, Ranks
from quadric.storage import make_folder


class CacheWriter:
    """Writes a cache shard by shard, and continues one that was interrupted."""

    def __init__(
        self,
        path: Path,
        *,
        widths: dict[str, int],
        dtype: torch.dtype,
        context_size: int,
        description: dict[str, Any],
        contexts_per_shard: int = 512,
        ranks: Ranks = ALONE,
    ) -> None:
        """Open a new folder, or continue an unfinished harvest, whose whole shards are kept.

        Args:
            path: the cache's folder; made if it does not exist.
            widths: the width d of each hook's activations.
            dtype: the storage dtype: torch.bfloat16, float16 or float32.
            context_size: tokens in a context.
            description: what is harvested, as JSON values; a continued harvest must have the same.
            contexts_per_shard: contexts in a shard: what is held in memory, and what is lost when
                the process dies.
            ranks: the processes that write this cache together; all of them open it.

        Raises:
            QuadricError: the folder holds another harvest (the message says which setting differs)
                or other files, the dtype is not a storage dtype, or a size is not positive.
        """
        names = {torch_dtype: name for name, torch_dtype in DTYPES.items()}
        if dtype not in names:
            raise QuadricError(f"dtype is {dtype}, expected one of {', '.join(DTYPES)}")
        sizes = {"context_size": context_size, "contexts_per_shard": contexts_per_shard}
        for name, size in [*widths.items(), *sizes.items()]:
            if size < 1:
                raise QuadricError(f"{name} is {size}, expected at least 1")
        if not widths:
            raise QuadricError("a cache needs at least one hook, and widths is empty")
        self._path, self._dtype, self._ranks = path, dtype, ranks
        wanted = Manifest(
            widths=dict(widths),
            dtype=names[dtype],
            context_size=context_size,
            contexts_per_shard=contexts_per_shard,
            description=plain(description),
        )
        self._manifest = ranks.lead(lambda: self._open(wanted))
        full = contexts_per_shard * context_size
        self._shards = {
            number: shard
            for number, shard in enumerate(self._manifest.shards)
            if self.complete or shard.rows == full
        }
        for unlisted in ranks.every(self._unlisted()):
            self._shards.update(unlisted)
        self._number = len(self._without_gap())
        self._pending: list[dict[str, Tensor]] = []

    @property
    def contexts_written(self) -> int:
        """How many contexts are on disk without a gap: skip that many when continuing."""
        return self._contexts(self._without_gap())

    @property
    def contexts_kept(self) -> int:
        """How many contexts are on disk, before or after a gap, as far as this rank knows."""
        return self._contexts(self._shards.values())

    @property
    def complete(self) -> bool:
        """Whether the cache is finished; nothing can be appended then."""
        return self._manifest.complete

    def wants(self, context: int) -> bool:
        """Whether a context belongs to a shard that this rank writes and that is not there yet."""
        number = context // self._manifest.contexts_per_shard
        return self._writes(number) and number not in self._shards

    def append(
        self,
        activations: dict[str, Float[Tensor, "contexts t d"]],
        token_ids: Int[Tensor, "contexts t"],
        start: int | None = None,
    ) -> None:
        """Add whole contexts; a shard is written whenever ``contexts_per_shard`` have gathered.

        Args:
            activations: for every hook of ``widths``, in any floating dtype.
            token_ids: the tokens at the same places.
            start: the number of the first context; None if it comes after the last one appended.
                Only whole shards can be left out.

        Raises:
            QuadricError: an activation is NaN or infinite in the storage dtype (the message names
                hook, context and position), a hook is missing or unknown, a shape is wrong, the
                cache is complete already, part of a shard is left out, or the disk is full.
        """
        if self.complete:
            raise QuadricError(f"{self._path} is complete: write to another folder")
        if start is not None and start != self._next_context:
            self._move_to(start)
        size, widths = self._manifest.context_size, self._manifest.widths
        contexts = token_ids.shape[0]
        if token_ids.ndim != 2 or token_ids.shape[1] != size:
            raise QuadricError(
                f"token_ids have shape {tuple(token_ids.shape)}, expected (contexts, {size})"
            )
        for hook in activations:
            if hook not in widths:
                raise QuadricError(
                    f"hook {hook!r} is not in the cache's widths{nearest(hook, widths)}"
                )
        stored = {TOKENS: token_ids.to("cpu", torch.int32, copy=True)}
        for hook, width in widths.items():
            if hook not in activations:
                raise QuadricError(f"activations of hook {hook!r} are missing")
            shape = tuple(activations[hook].shape)
            if shape != (contexts, size, width):
                raise QuadricError(
                    f"activations of hook {hook!r} have shape {shape}, "
                    f"expected {(contexts, size, width)}"
                )
            stored[ACTIVATIONS + hook] = self._storable(hook, activations[hook])
        self._pending.append(stored)
        while self._contexts_pending >= self._manifest.contexts_per_shard:
            self._write_shard()

    def flush(self) -> None:
        """Write what has gathered as the last, shorter shard.

        Raises:
            QuadricError: the disk is full.
        """
        if self._contexts_pending:
            self._write_shard()

    def finish(self) -> None:
        """Write the last, shorter shard and mark the cache complete, once every rank is here.

        Raises:
            QuadricError: nothing was ever appended, a shard is missing, or the disk is full.
        """
        self.flush()
        for written in self._ranks.every(self._shards):
            self._shards.update(written)
        self._manifest = self._ranks.lead(self._completed)

    def _open(self, wanted: Manifest) -> Manifest:
        make_folder(self._path)
        # Temporary files are what a killed process leaves behind; they never hold a whole file.
        for leftover in self._path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if not (self._path / MANIFEST).exists():
            if others := sorted(entry.name for entry in self._path.iterdir()):
                raise QuadricError(
                    f"{self._path} holds other files ({others[0]!r}): choose an empty folder"
                )
            wanted.write(self._path)
            return wanted
        found = Manifest.read(self._path)
        if difference := found.difference(wanted):
            raise QuadricError(
                f"{self._path} holds another harvest: {difference}; choose another folder"
            )
        for shard in found.shards:
            shards.check_size(self._path, shard)
        return found

    def _unlisted(self) -> dict[int, Shard]:
        """This rank's whole shards that are on disk and not in the manifest."""
        if self.complete:
            return {}
        mine = [n for n in shards.numbers(self._path) if self._writes(n) and n not in self._shards]
        found = {number: shards.whole(self._path, number, self._manifest) for number in mine}
        return {number: shard for number, shard in found.items() if shard is not None}

    def _completed(self) -> Manifest:
        if not self._shards:
            raise QuadricError(f"{self._path} has no contexts: there was nothing to harvest")
        written = self._without_gap()
        before_last = (len(written) - 1) * self._manifest.contexts_per_shard
        if len(written) < len(self._shards) or self._contexts(written[:-1]) != before_last:
            raise QuadricError(
                f"{self._path} holds shards beyond the end of the text, which must have been "
                "longer when they were written: harvest into another folder"
            )
        for shard in written:  # ranks on several machines need not see the same disk
            shards.check_size(self._path, shard)
        return self._replaced(written, complete=True)

    def _storable(self, hook: str, x: Tensor) -> Tensor:
        """The activations in the storage dtype, after making sure that they are finite there."""
        converted = x.detach().to("cpu", self._dtype, copy=True)
        finite = converted.isfinite().all(dim=-1)
        if not finite.all():
            context, position = torch.nonzero(~finite)[0].tolist()
            row = x[context, position]
            entry = torch.nonzero(~converted[context, position].isfinite())[0].item()
            number = self._next_context + context
            raise QuadricError(
                f"hook {hook!r}, context {number}, position {position}: the activation is "
                f"{float(row[int(entry)])}, which is not finite in {self._manifest.dtype}"
            )
        return converted

    def _move_to(self, start: int) -> None:
        number, inside = divmod(start, self._manifest.contexts_per_shard)
        if self._pending or inside:
            raise QuadricError(
                f"context {start} cannot follow context {self._next_context - 1} in a cache with "
                f"{self._manifest.contexts_per_shard} contexts per shard: only whole shards can "
                "be left out"
            )
        self._number = number

    def _writes(self, number: int) -> bool:
        return number % self._ranks.world == self._ranks.rank

    def _without_gap(self) -> tuple[Shard, ...]:
        return tuple(self._shards[n] for n in takewhile(self._shards.__contains__, count()))

    def _contexts(self, written: Iterable[Shard]) -> int:
        return sum(shard.rows for shard in written) // self._manifest.context_size

    @property
    def _contexts_pending(self) -> int:
        return sum(piece[TOKENS].shape[0] for piece in self._pending)

    @property
    def _next_context(self) -> int:
        return self._number * self._manifest.contexts_per_shard + self._contexts_pending

    def _write_shard(self) -> None:
        first, rest = shards.split(self._pending, self._manifest.contexts_per_shard)
        shard = shards.write(self._path, self._number, first)
        # Only now may the contexts be forgotten: an append that met a full disk loses nothing.
        self._shards[self._number] = shard
        self._number, self._pending = self._number + 1, rest
        if self._ranks.world == 1:
            self._manifest = self._replaced(self._without_gap())

    def _replaced(self, written: tuple[Shard, ...], *, complete: bool = False) -> Manifest:
        manifest = dataclasses.replace(self._manifest, shards=written, complete=complete)
        manifest.write(self._path)
        return manifest
