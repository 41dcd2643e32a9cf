"""One shard of an activation cache: a safetensors file of whole contexts.

``shard-00003.safetensors`` holds ``activations.<hook>`` (rows, d), ``token_ids`` (rows,) and
``positions`` (rows,). It appears under this name only when it is whole, so which shards a harvest
has is seen from the folder, whoever wrote them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quadric.activations.manifest import DTYPES, MANIFEST, Manifest, Shard
from quadric.errors import QuadricError
from quadric.storage import sha256, write_tensors

ACTIVATIONS = "activations."
"""Before the name of a hook, the key of its activations."""
TOKENS = "token_ids"
_POSITIONS = "positions"
_NAME = "shard-{:05d}.safetensors"


def write(folder: Path, number: int, pieces: list[dict[str, Tensor]]) -> Shard:
    """Write pieces, each of (contexts, context_size, …) tensors by key, as shard ``number``.

    Raises:
        QuadricError: the disk is full.
    """
    tensors = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    contexts, context_size = tensors[TOKENS].shape
    tensors[_POSITIONS] = torch.arange(context_size, dtype=torch.int32).repeat(contexts, 1)
    path = folder / _NAME.format(number)
    write_tensors(path, {key: tensor.flatten(0, 1) for key, tensor in tensors.items()})
    return _entry(path, contexts * context_size)


def split(
    pieces: list[dict[str, Tensor]], contexts: int
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """The first ``contexts`` contexts of the pieces (or all of them), and the rest."""
    first = []
    for number, piece in enumerate(pieces):
        if (held := piece[TOKENS].shape[0]) > contexts:
            if contexts:
                first.append({name: tensor[:contexts] for name, tensor in piece.items()})
            cut = {name: tensor[contexts:] for name, tensor in piece.items()}
            return first, [cut, *pieces[number + 1 :]]
        first.append(piece)
        contexts -= held
    return first, []


def whole(folder: Path, number: int, manifest: Manifest) -> Shard | None:
    """Shard ``number`` of a harvest, if its file is there with as many contexts as it can hold."""
    path = folder / _NAME.format(number)
    rows = manifest.contexts_per_shard * manifest.context_size
    stored = DTYPES[manifest.dtype]
    wanted = {
        TOKENS: ((rows,), torch.int32),
        _POSITIONS: ((rows,), torch.int32),
        **{ACTIVATIONS + hook: ((rows, width), stored) for hook, width in manifest.widths.items()},
    }
    try:
        with safe_open(path, framework="pt") as file:
            if {*file.keys()} != {*wanted}:
                return None
            tensors = {key: file.get_tensor(key) for key in wanted}
    except (OSError, SafetensorError, RuntimeError):
        return None
    found = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    return _entry(path, rows) if found == wanted else None


def numbers(folder: Path) -> list[int]:
    """Which shards have a file, whole ones and the short last one, in ascending order."""
    parts = [path.name.split(".")[0].removeprefix("shard-") for path in folder.glob("shard-*")]
    found = sorted(int(part) for part in parts if part.isdecimal())
    return [number for number in found if (folder / _NAME.format(number)).is_file()]


def check_size(folder: Path, shard: Shard) -> None:
    """Refuse a listed shard whose file is missing or of another size."""
    path = folder / shard.file
    if not path.is_file():
        raise QuadricError(f"{path} is missing: restore the file or harvest again")
    if (size := path.stat().st_size) != shard.bytes:
        raise QuadricError(
            f"{path} is damaged: it has {size} bytes, expected {shard.bytes}; restore the file or "
            "harvest again"
        )


def check_content(folder: Path, shard: Shard) -> None:
    """Refuse a listed shard whose bytes are not those that were written; reads the whole file."""
    if sha256(folder / shard.file) != shard.sha256:
        raise QuadricError(
            f"{folder / shard.file} is damaged: its checksum is not the one in {MANIFEST}; "
            "restore the file or harvest again"
        )


def read(
    folder: Path, shard: Shard, key: str, tail: tuple[int, ...], stored: torch.dtype
) -> Tensor:
    """One memory-mapped tensor of a listed shard, of shape (rows, *tail) and dtype ``stored``.

    Raises:
        QuadricError: the file cannot be read, or holds something else.
    """
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


def _entry(path: Path, rows: int) -> Shard:
    return Shard(path.name, rows, path.stat().st_size, sha256(path))
