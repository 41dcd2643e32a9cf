"""What a training run was begun with: a JSON file in its folder, and the rules of resuming it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import quadric
from quadric.errors import QuadricError
from quadric.storage import check_unused, make_folder, read_json, write_json

R = TypeVar("R")
_VERSION = "quadric_version"


def check_begun(out: Path, given: R, read: Callable[[Path], R], *, resume: bool) -> None:
    """Refuse to write over a run, and to resume one as another than it was begun.

    Raises:
        QuadricError: the folder is in use, or holds no run, or another.
    """
    if not resume:
        check_unused(out, "choose another folder, or --resume what is there")
    elif read(out) != given:
        raise QuadricError(
            f"{out} was begun with another configuration than the one given: resume without flags, "
            "or choose another folder"
        )


def write_begun(path: Path, values: Mapping[str, Any]) -> None:
    """Write down what a run begins with, and which quadric began it."""
    make_folder(path.parent)
    write_json(path, {_VERSION: quadric.__version__, **values})


def read_begun(path: Path, make: Callable[[Mapping[str, Any], str], R], what: str) -> R:
    """What a run was begun with.

    Args:
        path: the file.
        make: the configuration of JSON values; its second argument names the file in errors.
        what: what the folder should hold, for the message.

    Raises:
        QuadricError: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise QuadricError(f"{path.parent} holds no {what}: {path.name} is missing")
    values = read_json(path)
    values.pop(_VERSION, None)
    return make(values, str(path))
