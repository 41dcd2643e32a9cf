"""The built web page: where it lies, and how it gets into an atlas.

The bundle is built from web/ and never committed; a wheel carries it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from quadric.errors import QuadricError

BUNDLES = Path(__file__).parent / "_web"
_WITNESS = {"page": "index.html", "single": "atlas.js", "widget": "atlas.js"}


def bundle_folder(kind: Literal["page", "single", "widget"]) -> Path:
    """The folder of the page, of the script for one HTML file, or of the notebook's module.

    Raises:
        QuadricError: it has not been built.
    """
    folder = BUNDLES / kind
    if not (folder / _WITNESS[kind]).is_file():
        raise QuadricError(
            f"the atlas's web {kind} is not in {BUNDLES}: "
            "run `make web` in a checkout, or pip install 'quadric[atlas]'"
        )
    return folder


def add_page(folder: Path) -> str | None:
    """Put the page into the atlas in ``folder``; why not, where it has not been built."""
    try:
        copy_page(folder)
    except QuadricError as error:
        return str(error)
    return None


def copy_page(folder: Path) -> None:
    """Put the page into the atlas in ``folder``, in place of an older one.

    Raises:
        QuadricError: the page has not been built, or it cannot be copied.
    """
    page = bundle_folder("page")
    try:
        # Names of assets carry a hash of their content: those of an older page would stay.
        shutil.rmtree(folder / "assets", ignore_errors=True)
        shutil.copytree(page, folder, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise QuadricError(f"cannot copy the page to {folder}: {error}") from error
