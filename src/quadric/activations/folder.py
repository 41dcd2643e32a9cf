"""Anybody's activations: a folder, or one file, of .npy or .safetensors tensors.

Each file holds one floating-point tensor (…, d); all dimensions but the last are rows. Files follow
each other in natural order (``part-2`` before ``part-10``) and are memory-mapped, so neither one
file nor all of them together need fit in memory. Nothing here reads pickles.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from quadric.activations.rows import Stack, chunks
from quadric.activations.screen import row_norms
from quadric.errors import QuadricError

_SUFFIXES = (".npy", ".safetensors")
_KEY = "activations"
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
# numpy has no bfloat16: its bytes are mapped as int16 and reinterpreted by torch.
_SAFETENSORS = {
    "F16": (np.float16, torch.float16),
    "BF16": (np.int16, torch.bfloat16),
    "F32": (np.float32, torch.float32),
    "F64": (np.float64, torch.float64),
}
_LARGEST_HEADER = 100_000_000


class TensorFolder:
    """Tensors found on disk as :class:`quadric.activations.rows.Rows`; positions are unknown."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        """Open every tensor file of a folder, or one file.

        Args:
            path: a .npy or .safetensors file, or a folder of them. A safetensors file holds one
                tensor, or several of which one is named ``activations``.
            verify: read everything once and refuse NaN and infinity now rather than in training.

        Raises:
            QuadricError: there are no such files, or one is unreadable, truncated, not floating
                point, empty, of another width than the first, or not finite.
        """
        self.path = path
        self._files = _files(path)
        tensors = [_open(file) for file in self._files]
        self.d_in = tensors[0].shape[1]
        for file, tensor in zip(self._files, tensors, strict=True):
            if tensor.shape[1] != self.d_in:
                raise QuadricError(
                    f"{file} has width {tensor.shape[1]}, but {self._files[0].name} has width "
                    f"{self.d_in}: keep activations of different widths in different folders"
                )
        self._stack = Stack(
            [len(tensor) for tensor in tensors],
            lambda number: tensors[number],
            tail=(self.d_in,),
            dtype=torch.float32,
        )
        if verify:
            for rows in chunks(len(self), self.d_in):
                row_norms(self.gather(rows), rows, self.locate)

    def __len__(self) -> int:
        """The rows of all files together."""
        return len(self._stack)

    def gather(self, indices: Int64[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """The rows at ``indices`` as float32, in that order."""
        return self._stack.gather(indices)

    def positions(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"] | None:  # noqa: ARG002
        """None: a bare tensor does not say where in its context a row stood."""
        return None

    def locate(self, index: int) -> str:
        """The file that holds a row, and the row's number in it."""
        number, row = self._stack.locate(index)
        return f"{self._files[number]}, row {row}"

    def describe(self) -> dict[str, Any]:
        """Source, path, number of files, rows and width."""
        return {
            "source": "tensors",
            "path": str(self.path),
            "files": len(self._files),
            "rows": len(self),
            "d_in": self.d_in,
        }


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise QuadricError(f"{path} is neither .npy nor .safetensors: save activations as one")
        return [path]
    if not path.is_dir():
        raise QuadricError(f"there are no activations at {path}: no such file or folder")
    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    found = [entry for entry in visible if entry.suffix in _SUFFIXES and entry.is_file()]
    if not found:
        other = sorted({entry.suffix or entry.name for entry in visible})
        seen = f" (it has {', '.join(other[:5])})" if other else " (it is empty)"
        raise QuadricError(f"{path} has no .npy or .safetensors files{seen}")
    return sorted(found, key=lambda file: _natural(file.name))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that compares runs of digits as numbers; the name itself breaks ties."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], name


def _open(file: Path) -> Float[Tensor, "rows d"]:
    """The file's tensor as rows, memory-mapped."""
    try:
        tensor = _open_numpy(file) if file.suffix == ".npy" else _open_safetensors(file)
    except OSError as error:
        raise QuadricError(f"cannot read {file}: {error.strerror or error}") from error
    except QuadricError:
        raise
    except (EOFError, KeyError, TypeError, ValueError) as error:
        raise QuadricError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if tensor.ndim < 2 or not tensor.numel():
        raise QuadricError(f"{file} has shape {tuple(tensor.shape)}, expected (rows, width)")
    return tensor.flatten(0, -2)


def _open_numpy(file: Path) -> Tensor:
    array = np.lib.format.open_memmap(file, mode="r")
    if array.dtype not in _FLOATS:
        raise QuadricError(
            f"{file} has dtype {array.dtype}, expected float16, float32 or float64 in this "
            "machine's byte order (bfloat16: save as .safetensors)"
        )
    if array.ndim > 2 and not array.flags.c_contiguous:
        raise QuadricError(
            f"{file} has {array.ndim} dimensions in Fortran order, which has no rows to map: save "
            "np.ascontiguousarray of it"
        )
    return _mapped(array)


def _open_safetensors(file: Path) -> Tensor:
    # Mapped here and read-only, because safetensors' own mapping is copy-on-write, which the kernel
    # refuses for a file larger than memory.
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, _LARGEST_HEADER):
            raise QuadricError(f"cannot read {file}: it is truncated or not a safetensors file")
        header = json.loads(stream.read(length))
    names = [name for name in header if name != "__metadata__"]
    if len(names) != 1 and _KEY not in names:
        listed = ", ".join(sorted(names)[:5]) or "none"
        raise QuadricError(
            f"{file} has tensors {listed}: expected a single one, or one named {_KEY!r}"
        )
    entry = header[_KEY if _KEY in names else names[0]]
    if entry["dtype"] not in _SAFETENSORS:
        raise QuadricError(
            f"{file} has dtype {entry['dtype']}, expected one of {', '.join(_SAFETENSORS)}"
        )
    stored, dtype = _SAFETENSORS[entry["dtype"]]
    shape = tuple(entry["shape"])
    first, last = entry["data_offsets"]
    if not (
        all(type(number) is int and number >= 0 for number in (*shape, first, last))
        and last - first == math.prod(shape) * np.dtype(stored).itemsize
        and 8 + length + last <= size
    ):
        raise QuadricError(f"cannot read {file}: it is truncated or damaged ({size} bytes)")
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    array = np.memmap(file, stored, mode="r", offset=8 + length + first, shape=shape)
    return _mapped(array).view(dtype)


def _mapped(array: np.ndarray) -> Tensor:
    """A tensor on a read-only array's memory; nothing in quadric writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
