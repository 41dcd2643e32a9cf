"""The page without its server: one file on a disk, a cell of a notebook, an atlas of images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from quadric.atlas.bundle import copy_page
from quadric.atlas.export import export
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from quadric.atlas.packing import one_form
from tests.atlas.browser.conftest import wait_for_mark
from tests.atlas.browser.pixels import changed, drawn, shot

Visit = Callable[..., Page]

# What anywidget does with a widget's module, in two cells of one page.
CELLS = """<!doctype html><title>notebook</title><link rel="icon" href="data:,">\
<link rel="stylesheet" href="atlas.css">
<h1>Notebook</h1><div id="one"></div><div id="two"></div><script type="module">
import widget from "./atlas.js";
window.cleanups = [];
for (const name of ["one", "two"]) {
  const bytes = new DataView(await (await fetch(name + ".packed")).arrayBuffer());
  const model = { get: () => bytes, on() {}, off() {} };
  const el = document.getElementById(name);
  window.cleanups.push(await widget.render({ model, el }));
}
</script>"""


def test_one_form_opens_from_disk(visit: Visit, synthetic: Path, tmp_path: Path) -> None:
    """As a file, with no server anywhere; ``visit`` fails on any request."""
    folder = AtlasFolder(synthetic)
    row = folder.row(0)
    export(synthetic, row.id, tmp_path / "form.html")
    page = visit((tmp_path / "form.html").as_uri(), ready="form:ready")
    expect(page.get_by_role("heading", level=1)).to_contain_text(row.label, ignore_case=True)
    before = shot(page.locator("canvas").filter(visible=True).first)
    assert drawn(before) > 1000
    level = page.get_by_label("Level, as a number")
    level.fill(str(float(level.input_value() or 1) / 2))
    level.press("Enter")
    page.wait_for_timeout(300)
    assert changed(before, shot(page.locator("canvas").filter(visible=True).first)) > 100
    assert page.evaluate("window.pwned") is None


def test_two_cells_of_a_notebook_keep_apart(
    visit: Visit,
    synthetic: Path,
    bundles: Path,
    serve_static: Callable[[Path], str],
    tmp_path: Path,
) -> None:
    folder = AtlasFolder(synthetic)
    for name, place in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.packed").write_bytes(one_form(synthetic, folder.row(place).id))
    for name in ("atlas.js", "atlas.css"):
        shutil.copy(bundles / "widget" / name, tmp_path)
    (tmp_path / "index.html").write_text(CELLS)
    page = visit(serve_static(tmp_path), ready="form:ready")
    wait_for_mark(page, "form:ready", 2)
    for name, place in (("one", 1), ("two", 2)):
        cell = page.locator(f"#{name}")
        expect(
            cell.get_by_text(re.compile(re.escape(folder.row(place).label), re.I)).first
        ).to_be_visible()
        assert drawn(shot(cell.locator("canvas").filter(visible=True).first)) > 1000
    assert page.evaluate("location.hash") == ""
    page.evaluate("window.cleanups.forEach(cleanup => cleanup())")
    assert page.locator("canvas").count() == 0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "atlas"
    write_synthetic(folder, forms=12, points=128, text=False, images=True)
    copy_page(folder)
    return folder


def test_axes_of_image_models_are_pictures(
    visit: Visit, images: Path, serve_static: Callable[[Path], str]
) -> None:
    page = visit(serve_static(images) + "#/gallery", ready=None)
    expect(page.get_by_role("heading", level=1)).to_have_text("Gallery")
    cards = page.locator("canvas")
    expect(cards.nth(5)).to_be_visible()
    page.wait_for_timeout(500)
    assert drawn(shot(cards.first)) > 100
    page.locator("main a[href*='#/l/']").first.click()
    wait_for_mark(page, "form:ready")
    expect(page.get_by_role("heading", name="Axes as images")).to_be_visible()
