"""What becomes of whatever lay where an atlas is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quadric.atlas.bundle import bundle_folder, copy_page
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.atlas.folder.writer import AtlasWriter
from quadric.errors import QuadricError
from tests.atlas.folder.test_writer import everything
from tests.atlas.tiny import FIELDS, tiny_atlas, tiny_page, tiny_row


def test_an_older_atlas_is_replaced_and_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    tiny_atlas(tmp_path / "a", [tiny_page(5)])
    (tmp_path / "a/index.html").write_text("the page of the older one")
    before = everything(tmp_path / "a")
    with pytest.raises(QuadricError, match="form 6: "):
        tiny_atlas(tmp_path / "a", [tiny_page(5), tiny_page(6, rows=np.full(7, -1))])
    assert everything(tmp_path / "a") == before
    with pytest.raises(ZeroDivisionError), AtlasWriter(tmp_path / "a", **FIELDS):
        1 / 0  # noqa: B018
    assert everything(tmp_path / "a") == before
    tiny_atlas(tmp_path / "a", [tiny_page(8)])
    assert AtlasFolder(tmp_path / "a").page(0).id == 8
    assert not (tmp_path / "a/index.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["notes.txt", "atlas.json"])
def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text('{"format": "my own"}')
    with pytest.raises(QuadricError, match="something else than an atlas, which would be lost"):
        AtlasWriter(tmp_path / "a", **FIELDS)
    assert everything(tmp_path / "a") == {name: b'{"format": "my own"}'}


def test_what_appears_in_the_folder_meanwhile_is_not_touched_either(tmp_path: Path) -> None:
    def late(start: int, stop: int) -> np.ndarray:
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a/notes.txt").write_text("mine")
        return np.arange(start, stop)

    with (
        pytest.raises(QuadricError, match="something else"),
        AtlasWriter(tmp_path / "a", **FIELDS) as atlas,
    ):
        atlas.add(tiny_page())
        atlas.finish([tiny_row(5)], tokens=late, texts=lambda ids: ["x"] * len(ids))
    assert everything(tmp_path) == {"a/notes.txt": b"mine"}


def test_files_and_empty_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(QuadricError, match="is a file; choose a folder"):
        AtlasWriter(tmp_path / "file", **FIELDS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    tiny_atlas(tmp_path / "link", [tiny_page()])
    assert (tmp_path / "link").is_symlink()
    assert AtlasFolder(tmp_path / "empty").manifest.forms == 1


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: Path, _content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(QuadricError, match=r"cannot write .*00000.arrow: No space left on device"):
        tiny_atlas(tmp_path / "a", [tiny_page()])
    assert not list(tmp_path.iterdir())


def test_the_page_is_copied_in_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.atlas.bundle.BUNDLES", tmp_path / "web")
    with pytest.raises(QuadricError, match=r"make web.*quadric\[atlas\]"):
        bundle_folder("page")
    (tmp_path / "web/page/assets").mkdir(parents=True)
    (tmp_path / "web/page/index.html").write_text("new")
    (tmp_path / "web/page/assets/index-2.js").write_text("2")
    tiny_atlas(tmp_path / "a", [tiny_page()])
    (tmp_path / "a/assets").mkdir()
    (tmp_path / "a/assets/index-1.js").write_text("1")
    copy_page(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a/assets").iterdir()] == ["index-2.js"]
    assert (tmp_path / "a/index.html").read_text() == "new"
    assert validate(tmp_path / "a").problems == []
    with pytest.raises(QuadricError, match="web widget"):
        bundle_folder("widget")
