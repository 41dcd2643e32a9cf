"""Put a new atlas folder where an older one, or nothing, lies: whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quadric.atlas.manifest import read_manifest
from quadric.errors import QuadricError


def check_replaceable(folder: Path) -> None:
    """Raise unless an atlas may be put at ``folder``: nothing there, an empty folder, or an atlas.

    Call it before a long computation whose result is to lie there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise QuadricError(f"{folder} is a file; choose a folder for the atlas")
    if not any(folder.iterdir()):
        return
    try:
        read_manifest(folder)
    except QuadricError as error:
        raise QuadricError(
            f"{folder} holds something else than an atlas, which would be lost: "
            f"choose another folder, or empty it ({error})"
        ) from error


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``folder``; on success it takes the place of ``folder``.

    Until then an older atlas stays whole, and after a failure nothing of the new one is left.

    Raises:
        QuadricError: ``folder`` holds something that is not an atlas, or cannot be written.
    """
    # A link is followed, so that the atlas replaces what it points to and not the link.
    folder = folder.resolve()
    check_replaceable(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with writing(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        yield temporary
        # Again: somebody may have put something there meanwhile.
        check_replaceable(folder)
        with writing(folder):
            _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line about ``path``."""
    try:
        yield
    except OSError as error:
        raise QuadricError(f"cannot write {path}: {error.strerror or error}") from error


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    older = new.with_suffix(".old")
    folder.rename(older)
    try:
        new.rename(folder)
    except OSError:
        older.rename(folder)
        raise
    shutil.rmtree(older, ignore_errors=True)
