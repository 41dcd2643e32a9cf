"""Two forms side by side on the same rows: what is done to one is seen in the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from quadric.atlas.bundle import copy_page
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import write_synthetic
from tests.atlas.browser.conftest import Served
from tests.atlas.browser.pixels import changed, shot

Visit = Callable[..., Page]


@pytest.fixture
def page(visit: Visit, atlas: Served) -> Page:
    return open_pair(visit, atlas)


def open_pair(visit: Visit, atlas: Served, query: str = "") -> Page:
    """The comparison of the first form, drawn."""
    opened = visit(f"{atlas.url}#/compare/{first_id(atlas)}{query}", ready=None)
    expect(opened.get_by_text("Shared points")).to_be_visible()
    opened.wait_for_timeout(700)
    return opened


def first_id(atlas: Served) -> int:
    return int(AtlasFolder(atlas.folder).forms()["id"][0])


def clouds(page: Page) -> list[Locator]:
    return page.locator(".side canvas").all()


def drag(page: Page, canvas: Locator, *, shift: bool = False) -> None:
    """From the upper left of a canvas to its middle."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")
    page.mouse.move(2, 2)
    page.wait_for_timeout(600)


def selected(page: Page) -> Locator:
    """Selected rows of the list, as many as are in sight."""
    listed = page.get_by_role("listbox", name=re.compile("Points of both clouds"))
    return listed.get_by_role("option", selected=True)


def moved_by(page: Page, act: Callable[[], None]) -> list[int]:
    """Pixels of each cloud that an act changes."""
    before = [shot(each) for each in clouds(page)]
    act()
    return [changed(old, shot(new)) for old, new in zip(before, clouds(page), strict=True)]


def test_a_turn_is_shared_while_the_views_are_linked(page: Page) -> None:
    left, _ = clouds(page)
    assert min(moved_by(page, lambda: drag(page, left))) > 1000
    page.wait_for_function("() => location.hash.includes('cam=')")
    page.get_by_label(re.compile("link the views")).uncheck()
    page.wait_for_timeout(400)
    turned, still = moved_by(page, lambda: drag(page, left))
    assert turned > 1000
    assert still == 0


@pytest.mark.parametrize("side", [0, 1])
def test_points_brushed_in_one_are_marked_in_both(page: Page, side: int) -> None:
    brush = clouds(page)[side]
    assert min(moved_by(page, lambda: drag(page, brush, shift=True))) > 100
    expect(page.get_by_text(re.compile(r"\d+ of \d+ selected"))).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(selected(page)).to_have_count(0)


def test_the_list_marks_points_by_keys_alone(page: Page) -> None:
    page.keyboard.press("t")
    listed = page.get_by_role("listbox", name=re.compile("Points of both clouds"))
    expect(listed).to_be_focused()

    def choose() -> None:
        for key in ("ArrowDown", "ArrowDown", " "):
            page.keyboard.press(key)
        page.wait_for_timeout(400)

    assert min(moved_by(page, choose)) > 20
    expect(selected(page)).to_have_count(1)
    active = listed.get_attribute("aria-activedescendant")
    expect(page.locator(f"[id='{active}']")).to_have_attribute("aria-selected", "true")


def test_one_slider_moves_both_surfaces(page: Page) -> None:
    def lower() -> None:
        for _ in range(8):
            page.keyboard.press("[")
        page.wait_for_timeout(500)

    assert min(moved_by(page, lower)) > 300
    page.wait_for_function("() => location.hash.includes('c=')")


def test_the_numbers_are_those_of_the_files(page: Page, atlas: Served) -> None:
    folder = AtlasFolder(atlas.folder)
    here, there = folder.page(0), folder.pair(0)
    correlation = np.corrcoef(here.points.value, there.points.value)[0, 1]
    shown = page.locator("dl", has_text="Overlap").first.inner_text().replace("−", "-")
    numbers = re.search(r"Overlap\s+(\S+)\s+Correlation of values\s+(\S+)", shown)
    assert numbers is not None, shown
    assert float(numbers[1]) == pytest.approx(there.overlap, rel=6e-3)
    assert float(numbers[2]) == pytest.approx(correlation, rel=6e-3, abs=1e-3)


def test_a_link_carries_the_view_to_the_form_and_not_to_the_next(page: Page) -> None:
    page.keyboard.press("[")
    page.wait_for_function("() => location.hash.includes('c=')")
    expect(page.get_by_role("link", name="Open the form")).to_have_attribute(
        "href", re.compile(r"#/l/\d+\?c=")
    )
    heading = page.get_by_role("heading", level=1).inner_text()
    page.keyboard.press("j")
    expect(page.get_by_role("heading", level=1)).not_to_have_text(heading)
    assert "c=" not in page.url


def test_without_a_comparison_the_reason_is_said(
    visit: Visit, serve_static: Callable[[Path], str], tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "alone", forms=8, points=32)
    copy_page(tmp_path / "alone")
    form = int(AtlasFolder(tmp_path / "alone").forms()["id"][0])
    page = visit(f"{serve_static(tmp_path / 'alone')}#/compare/{form}", ready=None)
    expect(page.get_by_text("quadric atlas build RUN --compare OTHER")).to_be_visible()
