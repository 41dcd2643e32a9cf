"""The table of contents of an activation cache: ``manifest.json``.

It says what was harvested (hooks and widths, dtype, context size, a free description), which whole
shards exist with their sizes and checksums, and whether the harvest is complete. Row r of a cache
is position r mod context_size of context r // context_size, so rows need no index of their own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from quadric.errors import QuadricError
from quadric.storage import read_json, write_json

MANIFEST = "manifest.json"
FORMAT = "quadric-activations"
VERSION = 1
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ROW_ORDER = "row r is position r % context_size of context r // context_size"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a cache."""

    file: str
    """Its name inside the cache's folder."""
    rows: int
    """How many rows it holds: a whole number of contexts."""
    bytes: int
    """The file's size."""
    sha256: str
    """The file's SHA-256, hexadecimal."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a cache holds."""

    widths: dict[str, int]
    """The width of the activations of each hook."""
    dtype: str
    """The storage dtype: bfloat16, float16 or float32."""
    context_size: int
    """Tokens in a context."""
    contexts_per_shard: int
    """Contexts in every shard but the last."""
    description: dict[str, Any]
    """Where the activations came from: model, dataset and so on; JSON values."""
    shards: tuple[Shard, ...] = ()
    """The whole shards so far, in order."""
    complete: bool = False
    """Whether the harvest reached its end."""

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``, replacing an older one atomically."""
        value = {
            "format": FORMAT,
            "version": VERSION,
            **dataclasses.asdict(self),
            "rows": self.rows,
            "row_order": ROW_ORDER,
        }
        write_json(folder / MANIFEST, value)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check ``manifest.json``.

        Raises:
            QuadricError: it is missing, damaged, of another format, or from a newer quadric.
        """
        path = folder / MANIFEST
        if not path.exists():
            raise QuadricError(f"{folder} is not an activation cache: it has no {MANIFEST}")
        value = read_json(path)
        if value.get("format") != FORMAT:
            raise QuadricError(f"{path} is not the manifest of a quadric activation cache")
        version = value.get("version")
        if not isinstance(version, int) or version < 1:
            raise QuadricError(f"{path} is damaged: version is {version!r}")
        if version > VERSION:
            raise QuadricError(
                f"{path} has format version {version}; this quadric reads versions up to "
                f"{VERSION}: upgrade quadric"
            )
        try:
            names = [field.name for field in dataclasses.fields(cls)]
            shards = tuple(Shard(**shard) for shard in value["shards"])
            manifest = cls(**{**{name: value[name] for name in names}, "shards": shards})
        except KeyError as error:
            raise QuadricError(f"{path} is damaged: key {error} is missing") from error
        except TypeError as error:
            raise QuadricError(f"{path} is damaged: a shard's entry is wrong: {error}") from error
        if reason := _fault(manifest):
            raise QuadricError(f"{path} is damaged: {reason}")
        return manifest

    def difference(self, other: Manifest) -> str | None:
        """The first setting in which two harvests differ, in words, or None if they are the same.

        The shards and the ``complete`` flag are progress, not identity, and are not compared.
        """
        for name in ("dtype", "context_size", "contexts_per_shard"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name} is {mine!r} there and {theirs!r} here"
        for name in ("widths", "description"):
            if found := _entry_difference(getattr(self, name), getattr(other, name)):
                return f"{name}.{found}"
        return None


def plain(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description as it will read back from JSON: tuples become lists, keys strings.

    Raises:
        TypeError: a value has no JSON form.
    """
    value: dict[str, Any] = json.loads(json.dumps(dict(description), allow_nan=False))
    return value


def _entry_difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        if key not in theirs:
            return f"{key} is {mine[key]!r} there and absent here"
        if key not in mine:
            return f"{key} is absent there and {theirs[key]!r} here"
        if mine[key] != theirs[key]:
            if isinstance(mine[key], dict) and isinstance(theirs[key], dict):
                return f"{key}.{_entry_difference(mine[key], theirs[key])}"
            return f"{key} is {mine[key]!r} there and {theirs[key]!r} here"
    return None


def _fault(manifest: Manifest) -> str | None:
    """What is wrong with a manifest's values, or None."""
    if not isinstance(manifest.widths, dict) or not manifest.widths:
        return f"widths is {manifest.widths!r}"
    numbers = {f"widths.{hook}": width for hook, width in manifest.widths.items()}
    numbers["context_size"] = manifest.context_size
    numbers["contexts_per_shard"] = manifest.contexts_per_shard
    for name, value in numbers.items():
        if type(value) is not int or value < 1:
            return f"{name} is {value!r}, expected a positive integer"
    if manifest.dtype not in DTYPES:
        return f"dtype is {manifest.dtype!r}, expected one of {', '.join(DTYPES)}"
    if not isinstance(manifest.description, dict) or not isinstance(manifest.complete, bool):
        return "description must be an object and complete true or false"
    return next(filter(None, (_shard_fault(shard, manifest) for shard in manifest.shards)), None)


def _shard_fault(shard: Shard, manifest: Manifest) -> str | None:
    # A manifest may come from anywhere: it must not be able to point outside its own folder.
    if not isinstance(shard.file, str) or Path(shard.file).name != shard.file:
        return f"shard file {shard.file!r} is not a plain file name"
    if type(shard.rows) is not int or shard.rows < 1 or shard.rows % manifest.context_size:
        return f"{shard.file} has rows {shard.rows!r}, expected whole contexts"
    return None
