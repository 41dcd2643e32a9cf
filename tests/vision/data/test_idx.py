"""IDX files: whole ones are read exactly, every damaged one is one line."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from quadric.errors import QuadricError
from quadric.vision.data.idx import LARGEST, read_idx

VALUES = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)


def packed(
    values: np.ndarray, sizes: tuple[int, ...] | None = None, kind: int = 8, first: int = 0
) -> bytes:
    sizes = values.shape if sizes is None else sizes
    return struct.pack(f">HBB{len(sizes)}I", first, kind, len(sizes), *sizes) + values.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(params=["images", "images.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_values_and_their_order(path: Path) -> None:
    read = read_idx(write(path, packed(VALUES)), 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, VALUES)


def test_more_than_one_piece(path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, 2**21 + 7, dtype=np.uint8)
    np.testing.assert_array_equal(read_idx(write(path, packed(values)), 1), values)


WRONG = {
    "empty": (b"", "is no IDX file: it begins with nothing"),
    "text": (b"P5 28 28", "is no IDX file: it begins with 50 35 20 32"),
    "first bytes": (packed(VALUES, first=1), "is no IDX file"),
    "float": (packed(VALUES, kind=13), r"type 13, expected unsigned bytes \(8\)"),
    "dimensions": (packed(VALUES.ravel()), "has 1 dimensions, expected 3"),
    "header": (packed(VALUES)[:10], "cut off within its header"),
    "short": (packed(VALUES)[:-1], "is cut off: 29 of 30 bytes are there"),
    "long": (packed(VALUES) + b"!", "holds more than the 30 bytes that its header announces"),
    "huge": (packed(VALUES, (2**31, 3, 5)), "announces 2147483648×3×5 bytes, expected at most 1,0"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_refused(content: bytes, message: str, path: Path) -> None:
    with pytest.raises(QuadricError, match=message) as caught:
        read_idx(write(path, content), 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_archives(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match=r"cannot read .*none\.gz: No such file"):
        read_idx(tmp_path / "none.gz", 3)
    whole = gzip.compress(packed(np.random.default_rng(0).integers(0, 256, 999, dtype=np.uint8)))
    for name, content in {
        "plain.gz": packed(VALUES),
        "cut.gz": whole[: len(whole) // 2],
        "flipped.gz": whole[:-6] + bytes([whole[-6] ^ 255]) + whole[-5:],
        "garbled.gz": whole[:20] + bytes(byte ^ 85 for byte in whole[20:60]) + whole[60:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(QuadricError, match=f"cannot read .*{name}: ."):
            read_idx(tmp_path / name, 3 if name == "plain.gz" else 1)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """200 MB of zeros behind a header of 30 bytes, and a header that announces far more than is."""
    bomb, liar = tmp_path / "bomb.gz", tmp_path / "liar.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(packed(VALUES))
        for _ in range(200):
            file.write(bytes(10**6))
    write(liar, packed(VALUES, (LARGEST // 15, 3, 5)))
    tracemalloc.start()
    try:
        with pytest.raises(QuadricError, match="holds more than the 30 bytes"):
            read_idx(bomb, 3)
        with pytest.raises(QuadricError, match="is cut off: 30 of"):
            read_idx(liar, 3)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
