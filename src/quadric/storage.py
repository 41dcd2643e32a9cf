"""Files that are either whole or absent.

Every file quadric writes goes to a temporary neighbour first, is flushed to the disk and then
renamed over its final name, so that neither a full disk nor ``kill -9`` leaves a half-written file
under a name that a reader trusts. Formats are JSON and safetensors; nothing here can execute code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from quadric.errors import QuadricError


def cache_folder() -> Path:
    """The user's cache folder: ``$QUADRIC_CACHE``, else ``$XDG_CACHE_HOME/quadric``."""
    if own := os.environ.get("QUADRIC_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "quadric"


def make_folder(path: Path) -> Path:
    """Create ``path`` with its parents, or say in one line why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuadricError(f"cannot create the folder {path}: {error.strerror}") from error
    return path


def check_unused(folder: Path, advice: str = "choose another folder") -> None:
    """Refuse a folder that holds anything but the temporary files of a killed writer.

    Raises:
        QuadricError: it does.
    """
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise QuadricError(f"{folder} is not empty: {advice}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place atomically.

    Raises:
        QuadricError: the file could not be written (a full disk, a missing permission).
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise QuadricError(f"cannot write {path}: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        QuadricError: the file is missing, unreadable, not JSON, or not an object.
    """
    value = _parsed(path)
    if not isinstance(value, dict):
        raise QuadricError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value


def read_json_rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON list of objects.

    Raises:
        QuadricError: the file is missing, unreadable, not JSON, or not such a list.
    """
    value = _parsed(path)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise QuadricError(f"{path} is damaged: expected a JSON list of objects")
    return value


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise QuadricError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise QuadricError(f"{path} is not valid JSON: {error}") from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors atomically as safetensors."""
    with replacing(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata=dict(metadata or {}),
        )


def read_tensors(path: Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read every tensor of a safetensors file.

    Raises:
        QuadricError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise QuadricError(f"cannot read {path}: {reason}") from error


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file, read in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise QuadricError(f"cannot read {path}: {error.strerror}") from error
