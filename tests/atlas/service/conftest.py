"""An atlas and a page among files that nobody listed, and a server of them without a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadric.atlas.folder.synthetic import write_synthetic
from tests.atlas.serving import Client, serving

SECRET = b"not yours"
PAGE = b"<!doctype html><title>the page</title>" + b" " * 600


def listed(folder: Path) -> list[str]:
    import pyarrow

    with pyarrow.OSFile(str(folder / "files.arrow")) as file:
        return pyarrow.ipc.open_file(file).read_all()["path"].to_pylist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas, a page beside it, and things beside and inside both that nobody listed."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "atlas"
    write_synthetic(folder, forms=8, points=16)
    page = root / "page"
    (page / "assets/inner").mkdir(parents=True)
    (page / "index.html").write_bytes(PAGE)
    (page / "assets/index-AbCd_-12.js").write_text("1;" * 500)
    (page / "assets/plain.css").write_text("a{}")
    (root / "run").mkdir()
    (root / "run/sae_weights.safetensors").write_bytes(SECRET)
    (root / "secret").write_bytes(SECRET)
    (folder / "notes.txt").write_bytes(SECRET)
    (page / "assets/link-AbCd_-12.js").symlink_to(root / "secret")
    (page / "assets/inner/deep.js").write_bytes(SECRET)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "quadric.atlas.service.server.bundle_folder", lambda _: folder.parent / "page"
        )
        with serving(folder) as client:
            yield client
