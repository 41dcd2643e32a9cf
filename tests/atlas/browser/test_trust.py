"""Nothing leaves the page, nothing in the data runs, and damage is said in words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.atlas.browser.conftest import Served, wait_for_mark

Visit = Callable[..., Page]
LOG = r"Failed to load resource|404"


def test_a_label_is_text_wherever_it_stands(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    wait_for_mark(page, "atlas:labels")
    expect(page.get_by_text("<img src=x").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("<img")
    expect(page.get_by_role("option").first).to_contain_text("<img src=x onerror=")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_mark(page, "form:ready")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x", ignore_case=True)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_everything_works_offline_once_it_was_seen(
    context_of: Callable[..., BrowserContext],
    visit: Visit,
    synthetic: Path,
    serve_static: Callable[[Path], str],
) -> None:
    """A static host that goes away: what is loaded stays usable, what is not says so."""
    context = context_of()
    page = visit(serve_static(synthetic), context=context, expected="ERR_INTERNET_DISCONNECTED")
    wait_for_mark(page, "atlas:labels")
    page.evaluate("location.hash = '#/l/0'")
    wait_for_mark(page, "form:ready")
    page.wait_for_timeout(800)
    context.set_offline(True)
    page.keyboard.press("m")
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of forms")
    page.evaluate("location.hash = '#/l/0'")
    wait_for_mark(page, "form:ready", 2)
    page.keyboard.press("]")
    page.keyboard.press("/")
    page.keyboard.type("cone")
    expect(page.get_by_role("option").first).to_contain_text("cone")


def test_a_static_host_is_enough_and_offers_nothing_live(
    visit: Visit, synthetic: Path, serve_static: Callable[[Path], str]
) -> None:
    page = visit(serve_static(synthetic) + "#/l/0", ready="form:ready")
    page.wait_for_timeout(500)
    assert page.get_by_role("heading", name="Type a sentence").count() == 0
    assert page.get_by_role("heading", name=re.compile("Steer")).count() == 0
    assert page.get_by_role("link", name="Compose").count() == 0


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0x5A for byte in content[middle : middle + 64])
    file.write_bytes(content)


def newer(file: Path) -> None:
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "version": 99}))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("atlas.json", truncate, "atlas.json"),
        ("atlas.json", newer, "version 99"),
        ("atlas.json", Path.unlink, "atlas.json"),
        ("forms.arrow", truncate, "forms.arrow"),
        ("forms.arrow", Path.unlink, "forms.arrow"),
        ("labels.arrow", truncate, "labels.arrow"),
        ("labels.arrow", Path.unlink, "labels.arrow"),
        ("pages/00000.arrow", truncate, "pages/00000.arrow"),
        ("pages/00000.arrow", corrupt, "pages/00000.arrow"),
        ("pages/00000.arrow", Path.unlink, "pages/00000.arrow"),
        ("vocabulary.arrow", Path.unlink, "vocabulary.arrow"),
        ("pairs/00000.arrow", truncate, "pairs/00000.arrow"),
    ],
)
def test_damage_is_named(
    visit: Visit,
    synthetic: Path,
    serve_static: Callable[[Path], str],
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], None],
    said: str,
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(synthetic, folder)
    damage(folder / name)
    place = "#/compare/" if name.startswith("pairs") else "#/l/"
    link = f"{place}{first_id(synthetic)}"
    page = visit(serve_static(folder) + link, ready=None, expected=LOG)
    expect(page.get_by_text(re.compile(re.escape(said))).first).to_be_visible(timeout=10_000)
    assert "undefined" not in page.locator("body").inner_text()


def first_id(folder: Path) -> int:
    """The form of the first page of the first file."""
    from quadric.atlas.folder.reader import AtlasFolder

    return int(AtlasFolder(folder).forms()["id"][0])


def test_a_form_that_is_not_there(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url + "#/l/4000000", ready=None)
    expect(page.get_by_text(re.compile("4000000")).first).to_be_visible()
    page.get_by_role("link", name=re.compile("map", re.I)).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of forms")


def test_two_browsers_at_once(
    context_of: Callable[..., BrowserContext], visit: Visit, atlas: Served
) -> None:
    pages = [visit(atlas.url, context=context_of()) for _ in range(2)]
    for number, page in enumerate(pages):
        page.evaluate("id => { location.hash = `#/l/${id}` }", number)
    for number, page in enumerate(pages):
        wait_for_mark(page, "form:ready")
        assert f"#/l/{number}" in page.url
