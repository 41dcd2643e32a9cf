"""What is built from web/: small, the same every time, without anything a strict policy forbids."""

from __future__ import annotations

import gzip
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from quadric.atlas.bundle import bundle_folder

WEB = Path(__file__).parents[2] / "web"
LARGEST = 200 * 1024


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quadric_web_build", WEB / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_builds_are_the_same_bytes(build: ModuleType, tmp_path: Path) -> None:
    node = build.find_node() or build.install_node()
    build.install_packages(node)
    for name in ("one", "two"):
        build.run_npm(node, "exec", "--", "vite", "build", "--outDir", str(tmp_path / name))
    first = {path.name: path.read_bytes() for path in files(tmp_path / "one")}
    assert len(first) >= 4
    assert first == {path.name: path.read_bytes() for path in files(tmp_path / "two")}
    assert first == {path.name: path.read_bytes() for path in files(bundle_folder("page"))}


@pytest.mark.parametrize("kind", ["page", "single", "widget"])
def test_it_is_small_and_runs_no_text_as_code(kind: str) -> None:
    built = files(bundle_folder(kind))
    sent = [path for path in built if path.suffix in (".js", ".css", ".html")]
    assert sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in sent) < LARGEST
    code = "\n".join(path.read_text() for path in sent if path.suffix == ".js")
    assert not re.search(r"\beval\(|new Function\(", code)
    assert any("MIT" in path.read_text() for path in built if path.name == "licenses.md")


def test_a_change_of_any_source_is_noticed(build: ModuleType, tmp_path: Path) -> None:
    assert build.is_built()
    for name in (*build.SOURCES, "src/entries/page.ts"):
        copy = tmp_path / "web"
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((WEB / name).read_bytes())
    build.WEB = tmp_path / "web"
    before = build.sources_digest()
    for name in (*build.SOURCES, "src/entries/page.ts"):
        with (build.WEB / name).open("a") as file:
            file.write(" ")
        after = build.sources_digest()
        assert after != before, name
        before = after


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
