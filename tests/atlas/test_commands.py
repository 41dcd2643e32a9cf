"""``quadric atlas …``: what is typed, and what is said of a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from quadric.atlas.commands import ImageShape
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.service import opening, server
from quadric.runs import atlas as building
from tests.e2e.conftest import Answer, quadric

__all__ = ["quadric"]
Quadric = Callable[..., Answer]


def test_the_help_is_there_without_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['quadric', 'atlas', '--help']\n"
        "from quadric.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pyarrow', 'starlette', 'uvicorn', 'sklearn', 'transformers', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("build", "export", "serve", "validate"):
        assert f"  {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_mistakes_are_one_line(quadric: Quadric, tmp_path: Path) -> None:
    for arguments, status, said in (
        (("atlas", "bulid"), 2, "no command 'bulid'; did you mean 'build'?"),
        (("atlas", "build", tmp_path), 2, "--out"),
        (("atlas", "build", tmp_path, "-o", tmp_path / "x", "--image", "28"), 2, "28x28"),
        (("atlas", "build", tmp_path, "-o", tmp_path / "x"), 1, "is not a run"),
        (("atlas", "serve", tmp_path, "--port", "70000"), 2, "70000"),
        (("atlas", "serve", tmp_path, "--no-open"), 1, "not an atlas"),
        (("atlas", "validate", tmp_path), 1, "not an atlas"),
        (("atlas", "export", tmp_path), 2, "--latent"),
    ):
        answer = quadric(*arguments)
        assert answer.status == status and said in answer.err, answer
        assert answer.err.startswith("quadric: ") and len(answer.err.strip().splitlines()) == 1
        assert answer.out == ""


@pytest.mark.parametrize(
    ("text", "shape"),
    [("28x28", (28, 28, 1)), ("32x30x3", (32, 30, 3)), ("28", None), ("0x3", None), ("axb", None),
     ("3x3x3x3", None), ("28X28", None), ("-3x3", None)],
)  # fmt: skip
def test_image_shapes(text: str, shape: tuple[int, int, int] | None) -> None:
    if shape is None:
        with pytest.raises(click.BadParameter, match="no image shape"):
            ImageShape().convert(text, None, None)
    else:
        assert ImageShape().convert(text, None, None) == shape


def test_build_passes_on_what_it_is_told(
    quadric: Quadric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def build_atlas(run: Path, out: Path, **options: Any) -> dict[str, Any]:
        seen.update(options, run=run, out=out)
        return {"forms": 3, "points": 4000}

    monkeypatch.setattr(building, "build_atlas", build_atlas)
    out = tmp_path / "out"
    told = ("--compare", "twin", "--points", 7, "--image", "4x5", "--title", "T")
    answer = quadric("atlas", "build", "run", "-o", out, *told, "--json")
    assert answer.status == 0 and json.loads(answer.out) == {"forms": 3, "points": 4000}
    assert seen.pop("console") is not None
    assert seen == {
        "run": Path("run"), "out": out, "compare": Path("twin"), "points": 7,
        "image_shape": (4, 5, 1), "title": "T",
    }  # fmt: skip
    answer = quadric("atlas", "build", "run", "--out", out)
    assert f"quadric atlas serve {out}" in answer.out and "4,000 points" in answer.out
    assert seen["compare"] is seen["image_shape"] is seen["title"] is None


def test_validate_counts_and_lists(quadric: Quadric, tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=5, points=8)
    answer = quadric("atlas", "validate", folder, "--json")
    report = json.loads(answer.out)
    assert answer.status == 0 and report["problems"] == [] and report["counts"]["forms"] == 5
    assert "5 forms" in quadric("atlas", "validate", folder).out
    page = folder / "pages/00000.arrow"
    page.write_bytes(page.read_bytes()[:-40])
    (folder / "labels.arrow").unlink()
    answer = quadric("atlas", "validate", folder)
    assert answer.status == 1 and answer.err == ""
    assert "pages/00000.arrow" in answer.out and "labels.arrow" in answer.out
    assert "0 problems" not in answer.out


def test_serve_opens_the_browser_unless_told_not_to(
    quadric: Quadric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "atlas"
    write_synthetic(folder, forms=2, points=8)
    page = tmp_path / "page"
    page.mkdir()
    opened: list[str] = []
    monkeypatch.setattr(server, "bundle_folder", lambda _: page)
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda *_, **__: None)
    answer = quadric("atlas", "serve", folder, "--port", 0)
    assert answer.status == 0 and len(opened) == 1
    assert opened[0] in answer.err and "live features are off" in answer.err
    assert answer.out == ""
    answer = quadric("atlas", "serve", folder, "--port", 0, "--no-open")
    assert answer.status == 0 and len(opened) == 1 and "http://127.0.0.1:" in answer.err


def test_serve_finds_the_run_it_is_given(
    quadric: Quadric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        opening, "open_session", lambda *given: (asked.append(given), (None, ""))[1]
    )
    monkeypatch.setattr(server, "serve", lambda *given, **options: asked.append((given, options)))
    quadric("atlas", "serve", tmp_path, "--run", "elsewhere", "--port", 99, "--no-open")
    (first, (given, options)) = asked
    assert first == (tmp_path, Path("elsewhere")) and given == (tmp_path, None)
    assert options["port"] == 99 and options["open_browser"] is False
