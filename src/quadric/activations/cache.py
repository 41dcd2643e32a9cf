"""Activations on disk, written in whole shards and read back by row.

A cache is a folder: ``manifest.json`` (:mod:`quadric.activations.manifest`) and shards
``shard-00000.safetensors`` …, each holding whole contexts as

    activations.<hook>   (rows, d)   bfloat16, float16 or float32
    token_ids            (rows,)     int32
    positions            (rows,)     int32

A shard appears under its name only when it is whole, and the manifest is replaced after each one,
so a harvest killed at any moment is continued after its last whole shard::

    writer = CacheWriter(path, widths={hook: 576}, dtype=torch.bfloat16, context_size=128,
                         description={"model": "smollm2-135m"})
    for batch in batches[writer.contexts_written :]:
        writer.append({hook: activations}, token_ids)
    writer.finish()

    rows = ActivationCache(path)
    rows.gather(torch.tensor([5, 0, 19]))     # (3, d) float32
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quadric.activations.manifest import DTYPES, MANIFEST, Manifest, Shard, plain
from quadric.activations.rows import Stack
from quadric.errors import QuadricError, nearest
from quadric.storage import make_folder, sha256, write_tensors

_PREFIX = "activations."
_TOKENS = "token_ids"


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
    ) -> None:
        """Open a new folder, or continue an unfinished harvest after its last whole shard.

        Args:
            path: the cache's folder; made if it does not exist.
            widths: the width d of each hook's activations.
            dtype: the storage dtype: torch.bfloat16, float16 or float32.
            context_size: tokens in a context.
            description: what is harvested, as JSON values; a continued harvest must have the same.
            contexts_per_shard: contexts in a shard: what is held in memory, and what is lost when
                the process dies.

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
        self._path = make_folder(path)
        self._dtype = dtype
        self._manifest = self._open(
            Manifest(
                widths=dict(widths),
                dtype=names[dtype],
                context_size=context_size,
                contexts_per_shard=contexts_per_shard,
                description=plain(description),
            )
        )
        self._pending: list[dict[str, Tensor]] = []

    @property
    def contexts_written(self) -> int:
        """How many whole contexts are on disk: skip that many of the text when continuing."""
        return self._manifest.rows // self._manifest.context_size

    @property
    def complete(self) -> bool:
        """Whether the cache is finished; nothing can be appended then."""
        return self._manifest.complete

    def append(
        self,
        activations: dict[str, Float[Tensor, "contexts t d"]],
        token_ids: Int[Tensor, "contexts t"],
    ) -> None:
        """Add whole contexts; a shard is written whenever ``contexts_per_shard`` have gathered.

        Args:
            activations: for every hook of ``widths``, in any floating dtype.
            token_ids: the tokens at the same places.

        Raises:
            QuadricError: an activation is NaN or infinite in the storage dtype (the message names
                hook, context and position), a hook is missing or unknown, a shape is wrong, the
                cache is complete already, or the disk is full.
        """
        if self.complete:
            raise QuadricError(f"{self._path} is complete: write to another folder")
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
        stored = {_TOKENS: token_ids.to("cpu", torch.int32, copy=True)}
        for hook, width in widths.items():
            if hook not in activations:
                raise QuadricError(f"activations of hook {hook!r} are missing")
            shape = tuple(activations[hook].shape)
            if shape != (contexts, size, width):
                raise QuadricError(
                    f"activations of hook {hook!r} have shape {shape}, "
                    f"expected {(contexts, size, width)}"
                )
            stored[_PREFIX + hook] = self._storable(hook, activations[hook])
        self._pending.append(stored)
        while self._contexts_pending >= self._manifest.contexts_per_shard:
            self._write_shard()

    def finish(self) -> None:
        """Write the last, shorter shard and mark the cache complete.

        Raises:
            QuadricError: nothing was ever appended, or the disk is full.
        """
        if self._contexts_pending:
            self._write_shard()
        if not self._manifest.shards:
            raise QuadricError(f"{self._path} has no contexts: there was nothing to harvest")
        self._advance(dataclasses.replace(self._manifest, complete=True))

    def _open(self, wanted: Manifest) -> Manifest:
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
            _check_size(self._path, shard)
        return found

    def _storable(self, hook: str, x: Tensor) -> Tensor:
        """The activations in the storage dtype, after making sure that they are finite there."""
        converted = x.detach().to("cpu", self._dtype, copy=True)
        finite = converted.isfinite().all(dim=-1)
        if not finite.all():
            context, position = torch.nonzero(~finite)[0].tolist()
            row = x[context, position]
            entry = torch.nonzero(~converted[context, position].isfinite())[0].item()
            number = self.contexts_written + self._contexts_pending + context
            raise QuadricError(
                f"hook {hook!r}, context {number}, position {position}: the activation is "
                f"{float(row[int(entry)])}, which is not finite in {self._manifest.dtype}"
            )
        return converted

    @property
    def _contexts_pending(self) -> int:
        return sum(piece[_TOKENS].shape[0] for piece in self._pending)

    def _write_shard(self) -> None:
        first, rest = _split(self._pending, self._manifest.contexts_per_shard)
        whole = {
            name: torch.cat([piece[name] for piece in first]).flatten(0, 1) for name in first[0]
        }
        rows = whole[_TOKENS].shape[0]
        size = self._manifest.context_size
        whole["positions"] = torch.arange(rows, dtype=torch.int32) % size
        path = self._path / f"shard-{len(self._manifest.shards):05d}.safetensors"
        write_tensors(path, whole)
        shard = Shard(path.name, rows, path.stat().st_size, sha256(path))
        self._advance(dataclasses.replace(self._manifest, shards=(*self._manifest.shards, shard)))
        # Only now may the contexts be forgotten: an append that met a full disk loses nothing.
        self._pending = rest

    def _advance(self, manifest: Manifest) -> None:
        manifest.write(self._path)
        self._manifest = manifest


class ActivationCache:
    """A finished cache as :class:`quadric.activations.rows.Rows`: one hook's activations by row.

    Shards are memory-mapped when first touched, so a cache may be far larger than memory.
    """

    def __init__(self, path: Path, hook: str | None = None, *, verify: bool = True) -> None:
        """Open a cache.

        Args:
            path: the cache's folder.
            hook: whose activations to read; None if the cache holds only one hook.
            verify: compare the SHA-256 of every shard, which reads the whole cache once. Without it
                only the presence and size of the shards are checked.

        Raises:
            QuadricError: the folder is no cache, the harvest is unfinished, a shard is missing,
                truncated or altered, or the hook is not there.
        """
        manifest = Manifest.read(path)
        if not manifest.complete or not manifest.shards:
            raise QuadricError(
                f"{path} is unfinished ({manifest.rows} rows so far): run the same harvest into it "
                "again and it will go on from there"
            )
        self.path = path
        self.hook = _choose(path, hook, manifest.widths)
        self.d_in = manifest.widths[self.hook]
        self.context_size = manifest.context_size
        self.description = manifest.description
        self._manifest = manifest
        for shard in manifest.shards:
            _check_size(path, shard)
            if verify and sha256(path / shard.file) != shard.sha256:
                raise QuadricError(
                    f"{path / shard.file} is damaged: its checksum is not the one in {MANIFEST}; "
                    "restore the file or harvest again"
                )
        self._activations = _stack(
            path,
            manifest,
            _PREFIX + self.hook,
            (self.d_in,),
            stored=DTYPES[manifest.dtype],
            dtype=torch.float32,
        )
        self._token_ids = _stack(path, manifest, _TOKENS, (), stored=torch.int32, dtype=torch.int64)

    def __len__(self) -> int:
        """The number of rows: contexts × context_size."""
        return len(self._activations)

    def gather(self, indices: Int64[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """The activations at ``indices`` as float32, in that order."""
        return self._activations.gather(indices)

    def token_ids(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
        """The token at each row."""
        return self._token_ids.gather(indices)

    def positions(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
        """Each row's position in its context: index mod context_size."""
        return indices % self.context_size

    def locate(self, index: int) -> str:
        """The row's number, shard, context and position."""
        number, _ = self._activations.locate(index)
        context, position = divmod(index, self.context_size)
        file = self._manifest.shards[number].file
        return f"{self.path}, row {index} ({file}, context {context}, position {position})"

    def describe(self) -> dict[str, Any]:
        """Source, path, hook, rows, width, dtype, context size and the harvest's description."""
        return {
            "source": "cache",
            "path": str(self.path),
            "hook": self.hook,
            "rows": len(self),
            "d_in": self.d_in,
            "dtype": self._manifest.dtype,
            "context_size": self.context_size,
            "description": self.description,
        }


def _split(
    pieces: list[dict[str, Tensor]], contexts: int
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """The first ``contexts`` contexts of the pieces (or all of them), and the rest."""
    first = []
    for number, piece in enumerate(pieces):
        if (held := piece[_TOKENS].shape[0]) > contexts:
            if contexts:
                first.append({name: tensor[:contexts] for name, tensor in piece.items()})
            cut = {name: tensor[contexts:] for name, tensor in piece.items()}
            return first, [cut, *pieces[number + 1 :]]
        first.append(piece)
        contexts -= held
    return first, []


def _stack(
    folder: Path,
    manifest: Manifest,
    key: str,
    tail: tuple[int, ...],
    *,
    stored: torch.dtype,
    dtype: torch.dtype,
) -> Stack:
    """One tensor of every shard, read as ``dtype``."""

    def open_shard(number: int) -> Tensor:
        shard = manifest.shards[number]
        path = folder / shard.file
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(key)
        # safetensors reports a failed mmap as RuntimeError.
        except (OSError, SafetensorError, RuntimeError) as error:
            raise QuadricError(f"cannot read {key} of {path}: {error}") from error
        if tensor.shape != (shard.rows, *tail) or tensor.dtype != stored:
            raise QuadricError(
                f"{path} is damaged: {key} has shape {tuple(tensor.shape)} and dtype "
                f"{tensor.dtype}, expected {(shard.rows, *tail)} and {stored}"
            )
        return tensor

    return Stack([shard.rows for shard in manifest.shards], open_shard, tail=tail, dtype=dtype)


def _choose(path: Path, hook: str | None, widths: dict[str, int]) -> str:
    if hook is None:
        if len(widths) > 1:
            raise QuadricError(f"{path} holds several hooks: name one of {', '.join(widths)}")
        return next(iter(widths))
    if hook not in widths:
        raise QuadricError(
            f"hook {hook!r} is not in {path}, which holds {', '.join(widths)}"
            f"{nearest(hook, widths)}"
        )
    return hook


def _check_size(folder: Path, shard: Shard) -> None:
    path = folder / shard.file
    if not path.is_file():
        raise QuadricError(f"{path} is missing: restore the file or harvest again")
    if (size := path.stat().st_size) != shard.bytes:
        raise QuadricError(
            f"{path} is damaged: it has {size} bytes, expected {shard.bytes}; restore the file or "
            "harvest again"
        )
