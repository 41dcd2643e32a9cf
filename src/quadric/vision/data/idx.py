"""Read IDX files, the format in which MNIST and Fashion-MNIST are published.

An IDX file is two zero bytes, a type code, the number k of dimensions, k sizes (32 bits each,
big-endian) and then the values. Only unsigned bytes (code 8) are read, plain or gzipped. The header
says how many bytes follow, and no more than these are ever unpacked, so that a file from elsewhere
cannot fill the memory.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quadric.errors import QuadricError

LARGEST = 2**30
"""Bytes of values that one file may hold: 1 GiB, 23 times the training images of MNIST."""

_UNSIGNED_BYTE = 8
_PIECE = 2**20


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The values of an IDX file of unsigned bytes; ``.gz`` at the end of the name means gzip.

    Args:
        path: of the file.
        dimensions: that it must have: 1 for labels, 3 for grey images (n, height, width).

    Raises:
        QuadricError: the file is missing or unreadable, is not IDX, has another type or number of
            dimensions, announces more than ``LARGEST`` bytes, or does not hold what it announces.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            sizes = _header(file, path, dimensions)
            values = _values(file, path, math.prod(sizes))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise QuadricError(f"cannot read {path}: {reason}") from error
    return np.frombuffer(values, dtype=np.uint8).reshape(sizes)


def _header(file: io.BufferedIOBase, path: Path, dimensions: int) -> tuple[int, ...]:
    """The sizes that the header announces."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise QuadricError(f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    if magic[2] != _UNSIGNED_BYTE:
        raise QuadricError(f"{path} holds values of type {magic[2]}, expected unsigned bytes (8)")
    if magic[3] != dimensions:
        raise QuadricError(f"{path} has {magic[3]} dimensions, expected {dimensions}")
    packed = file.read(4 * dimensions)
    if len(packed) < 4 * dimensions:
        raise QuadricError(f"{path} is cut off within its header")
    sizes: tuple[int, ...] = struct.unpack(f">{dimensions}I", packed)
    if math.prod(sizes) > LARGEST:
        raise QuadricError(
            f"{path} announces {'×'.join(map(str, sizes))} bytes, expected at most {LARGEST:,}"
        )
    return sizes


def _values(file: io.BufferedIOBase, path: Path, size: int) -> bytearray:
    """Exactly ``size`` bytes, read in pieces, so that memory follows what there is."""
    values = bytearray()
    while len(values) < size:
        piece = file.read(min(_PIECE, size - len(values)))
        if not piece:
            raise QuadricError(f"{path} is cut off: {len(values):,} of {size:,} bytes are there")
        values += piece
    if file.read(1):
        raise QuadricError(f"{path} holds more than the {size:,} bytes that its header announces")
    return values
