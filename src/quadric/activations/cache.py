"""Activations on disk, read back by row.

A cache is a folder: ``manifest.json`` (:mod:`quadric.activations.manifest`) and shards
``shard-00000.safetensors`` …, each holding whole contexts as

    activations.<hook>   (rows, d)   bfloat16, float16 or float32
    token_ids            (rows,)     int32
    positions            (rows,)     int32

A shard has its name only when it is whole (:mod:`quadric.activations.writing`)::

    rows = ActivationCache(path)
    rows.gather(torch.tensor([5, 0, 19]))     # (3, d) float32
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from quadric.activations import shards
from quadric.activations.manifest import DTYPES, Manifest
from quadric.activations.rows import Stack
from quadric.activations.shards import ACTIVATIONS, TOKENS
from quadric.errors import QuadricError, nearest


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
            shards.check_size(path, shard)
            if verify:
                shards.check_content(path, shard)
        self._activations = _stack(
            path,
            manifest,
            ACTIVATIONS + self.hook,
            (self.d_in,),
            stored=DTYPES[manifest.dtype],
            dtype=torch.float32,
        )
        self._token_ids = _stack(path, manifest, TOKENS, (), stored=torch.int32, dtype=torch.int64)

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
        return shards.read(folder, manifest.shards[number], key, tail, stored)

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
