"""Somebody else's tensors on disk, good and bad."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from quadric import QuadricError
from quadric.activations.cache import ActivationCache
from quadric.activations.folder import TensorFolder
from quadric.activations.rows import MemoryRows
from quadric.activations.stored import open_rows
from tests.activations.test_cache import FIRST, SECOND, make


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save_sparse(path: Path, rows: int, width: int) -> None:
    """A bfloat16 safetensors file of zeros that takes no space on the disk."""
    size = 2 * rows * width
    entry = {"dtype": "BF16", "shape": [rows, width], "data_offsets": [0, size]}
    header = json.dumps({"activations": entry}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)


def save_zip(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.ones((2, 3)))


def save_widths(path: Path, *widths: int) -> None:
    for width in widths:
        np.save(path / f"{width}.npy", np.ones((2, width)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_files_follow_each_other_in_natural_order(tmp_path: Path, dtype: str) -> None:
    stored = getattr(torch, dtype)
    pieces = [values(rows, 3, seed=rows).to(stored) for rows in (4, 1, 6, 2)]
    for name, piece in zip(("part-1", "part-2", "part-10", "part-10b"), pieces, strict=True):
        if dtype == "bfloat16" or name == "part-2":
            save_file({"anything": piece}, tmp_path / f"{name}.safetensors")
        else:
            np.save(tmp_path / f"{name}.npy", piece.numpy())
    (tmp_path / "readme.txt").write_text("not activations")
    (tmp_path / ".hidden.npy").write_text("not activations either")
    rows = TensorFolder(tmp_path)
    joined = torch.cat(pieces).float()
    assert len(rows) == 13
    assert rows.d_in == 3
    assert rows.gather(torch.arange(13)).equal(joined)
    indices = torch.tensor([12, 4, 4, 0, 5, 11])
    assert rows.gather(indices).equal(joined[indices])
    assert rows.gather(indices).dtype == torch.float32
    assert rows.positions(indices) is None
    assert rows.locate(4).endswith("part-2.safetensors, row 0")
    assert "part-10." in rows.locate(10)
    assert rows.locate(10).endswith("row 5")
    assert rows.describe() == {
        "source": "tensors",
        "path": str(tmp_path),
        "files": 4,
        "rows": 13,
        "d_in": 3,
    }


def test_leading_dimensions_are_rows(tmp_path: Path) -> None:
    x = values(2, 5, 3)
    np.save(tmp_path / "a.npy", x.numpy())
    others = {"a": torch.ones(7), "z": torch.ones(7)}
    save_file({"activations": x[0], **others}, tmp_path / "b.safetensors")
    rows = TensorFolder(tmp_path)
    assert rows.gather(torch.arange(15)).equal(torch.cat([x.flatten(0, 1), x[0]]))
    assert len(TensorFolder(tmp_path / "b.safetensors")) == 5


def test_a_fortran_ordered_matrix_is_read_by_rows(tmp_path: Path) -> None:
    x = values(5, 3).numpy()
    np.save(tmp_path / "a.npy", np.asfortranarray(x))
    assert (
        TensorFolder(tmp_path).gather(torch.tensor([4, 1])).numpy().tolist() == x[[4, 1]].tolist()
    )
    np.save(tmp_path / "a.npy", np.asfortranarray(values(2, 5, 3).numpy()))
    with pytest.raises(QuadricError, match="Fortran order"):
        TensorFolder(tmp_path)


def test_a_file_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    rows = 500_000_000
    save_sparse(tmp_path / "huge.safetensors", rows, 1024)
    found = TensorFolder(tmp_path, verify=False)
    assert len(found) == rows
    assert found.gather(torch.tensor([rows - 1, 0])).equal(torch.zeros(2, 1024))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_what_is_not_finite_is_named_at_opening(tmp_path: Path, bad: float) -> None:
    np.save(tmp_path / "part-1.npy", values(4, 3).double().numpy())
    x = values(9, 3).double()
    x[7, 2] = bad
    np.save(tmp_path / "part-2.npy", x.numpy())
    with pytest.raises(QuadricError) as error:
        TensorFolder(tmp_path)
    assert "part-2.npy, row 7 holds" in str(error.value)
    assert "dimension 2" in str(error.value)
    assert len(TensorFolder(tmp_path, verify=False)) == 13


def test_a_large_but_finite_norm_is_no_fault(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 4), 3e38, np.float32))
    assert len(TensorFolder(tmp_path)) == 2


Writer = Callable[[Path], Any]


def _safetensors(entry: dict[str, Any] | None, payload: bytes = bytes(24)) -> Writer:
    def write(path: Path) -> None:
        header = json.dumps({"x": entry}).encode()
        data = struct.pack("<Q", len(header)) + header + payload
        (path / "a.safetensors").write_bytes(data)

    return write


BAD: dict[str, tuple[Writer, str]] = {
    "empty folder": (lambda _: None, r"no \.npy or \.safetensors files \(it is empty\)"),
    "pickles": (
        lambda p: torch.save(values(2, 3), p / "a.pt"),
        r"no \.npy or \.safetensors files \(it has \.pt\)",
    ),
    "not numpy": (lambda p: (p / "a.npy").write_text("hello"), r"cannot read .*a\.npy: "),
    "empty file": (lambda p: (p / "a.npy").write_bytes(b""), r"cannot read .*a\.npy: "),
    "objects": (
        lambda p: np.save(p / "a.npy", np.array([[None]]), allow_pickle=True),
        r"cannot read .*a\.npy: .*bject",
    ),
    "a zip": (
        lambda p: save_zip(p / "a.npy"),
        r"cannot read .*a\.npy: ",
    ),
    "integers": (lambda p: np.save(p / "a.npy", np.ones((2, 3), int)), "dtype int64, expected"),
    "foreign bytes": (lambda p: np.save(p / "a.npy", np.ones((2, 3), ">f4")), "dtype >f4"),
    "one dimension": (lambda p: np.save(p / "a.npy", np.ones(3)), r"shape \(3,\), expected"),
    "no rows": (lambda p: np.save(p / "a.npy", np.ones((0, 3))), r"(shape \(0, 3\)|mmap)"),
    "mixed widths": (
        lambda p: save_widths(p, 3, 4),
        r"4\.npy has width 4, but 3\.npy has width 3",
    ),
    "several tensors": (
        lambda p: save_file({"b": values(2, 3), "a": values(2, 3)}, p / "a.safetensors"),
        "has tensors a, b: expected a single one, or one named 'activations'",
    ),
    "no tensor": (lambda p: save_file({}, p / "a.safetensors"), "has tensors none"),
    "safetensors integers": (
        lambda p: save_file({"a": torch.ones(2, 3).int()}, p / "a.safetensors"),
        "dtype I32, expected one of F16, BF16",
    ),
    "no rows in safetensors": (
        lambda p: save_file({"a": torch.ones(0, 3)}, p / "a.safetensors"),
        r"shape \(0, 3\)",
    ),
    "not safetensors": (
        lambda p: (p / "a.safetensors").write_text("hello there, world"),
        "truncated or not a safetensors file",
    ),
    "tiny": (lambda p: (p / "a.safetensors").write_bytes(b"abc"), "truncated or not"),
    "entry of null": (_safetensors(None), r"cannot read .*a\.safetensors"),
    "no offsets": (_safetensors({"dtype": "F32", "shape": [2, 3]}), "data_offsets"),
    "wrong offsets": (
        _safetensors({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 20]}),
        "truncated or damaged",
    ),
    "negative shape": (
        _safetensors({"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}),
        "truncated or damaged",
    ),
    "short data": (
        _safetensors({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, bytes(23)),
        "truncated or damaged",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    write, message = BAD[case]
    write(tmp_path)
    with pytest.raises(QuadricError, match=message) as error:
        TensorFolder(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, values(50, 3).numpy())
    else:
        save_file({"x": values(50, 3)}, path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 40, 9, 4):
        path.write_bytes(whole[:length])
        with pytest.raises(QuadricError, match=f"cannot read .*{suffix}"):
            TensorFolder(tmp_path)


def test_open_rows_tells_a_cache_from_a_folder(tmp_path: Path) -> None:
    cache = open_rows(make(tmp_path / "cache"), SECOND)
    assert isinstance(cache, ActivationCache)
    assert cache.hook == SECOND
    (tmp_path / "tensors").mkdir()
    np.save(tmp_path / "tensors" / "a.npy", np.array([[1.0, np.nan]]))
    assert isinstance(open_rows(tmp_path / "tensors", verify=False), TensorFolder)
    with pytest.raises(QuadricError, match="nan"):
        open_rows(tmp_path / "tensors")
    with pytest.raises(QuadricError, match=f"hook '{FIRST}' was asked for"):
        open_rows(tmp_path / "tensors", FIRST)
    with pytest.raises(QuadricError, match="no such file or folder"):
        open_rows(tmp_path / "absent")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(QuadricError, match=r"neither \.npy nor \.safetensors"):
        open_rows(tmp_path / "a.csv")


def test_memory_rows_know_positions_of_contexts() -> None:
    x = values(4, 5, 3).double()
    rows = MemoryRows(x)
    indices = torch.tensor([19, 0, 7])
    assert rows.gather(indices).equal(x.flatten(0, 1)[indices].float())
    positions = rows.positions(indices)
    assert positions is not None
    assert positions.tolist() == [4, 0, 2]
    assert rows.locate(7) == "row 7 (context 1, position 2)"
    assert rows.describe() == {"source": "memory", "rows": 20, "d_in": 3}
    flat = MemoryRows(x.flatten(0, 1))
    assert flat.positions(indices) is None
    assert flat.locate(7) == "row 7"
    with pytest.raises(IndexError):
        flat.gather(torch.tensor([-1]))
    for bad in (torch.ones(3), torch.ones(2, 3).int(), torch.ones(0, 3), torch.ones(1, 1, 2, 3)):
        with pytest.raises(QuadricError, match="expected floating-point"):
            MemoryRows(bad)
