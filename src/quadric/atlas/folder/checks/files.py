"""Whether an atlas has the files that files.arrow lists: all of them, unchanged, and no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from quadric.atlas import contract

_TABLES = {
    contract.MANIFEST, contract.FORMS, contract.LABELS, contract.CONTROLS, contract.VOCABULARY,
}  # fmt: skip
_FOLDERS = (contract.PAGES, contract.PAIRS, contract.TOKENS, contract.PIXELS)


def file_faults(folder: Path, files: pa.RecordBatch, needed: set[str]) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) for the rows of files.arrow and for ``needed`` files it has not."""
    listed: set[str] = set()
    for entry in files.to_pylist():
        path = entry["path"]
        if path in listed:
            yield contract.FILES, f"lists {path!r} twice"
        listed.add(path)
        if _escapes(folder, path):
            yield contract.FILES, f"lists {path!r}, which is not inside the atlas's folder"
        elif fault := _fault(folder / path, entry["bytes"], entry["sha256"]):
            yield path, fault
    for path in sorted(needed - listed):
        yield path, f"is not listed in {contract.FILES}"
    for path in sorted(_present(folder) - listed - needed):
        yield path, f"is in the folder but not listed in {contract.FILES}"


def _escapes(folder: Path, path: str) -> bool:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path or not pure.parts:
        return True
    return not (folder / path).resolve().is_relative_to(folder.resolve())


def _fault(full: Path, size: int, sha256: str) -> str | None:
    try:
        with full.open("rb") as file:
            found = full.stat().st_size
            hashed = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if found != size:
        return f"has {found:,} bytes, expected {size:,}"
    return None if hashed == sha256 else "was changed: its SHA-256 is not the listed one"


def _present(folder: Path) -> set[str]:
    """Files of the atlas itself; the page's own are not listed."""
    found = {name for name in _TABLES if (folder / name).exists()}
    for kind in _FOLDERS:
        inside = (folder / kind).rglob("*")
        found |= {path.relative_to(folder).as_posix() for path in inside if path.is_file()}
    return found
