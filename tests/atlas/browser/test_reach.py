"""Everybody can use it: keyboards, screen readers, dark rooms, small screens, other eyes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.atlas.browser.conftest import AXE, Served
from tests.atlas.browser.pixels import shot

Visit = Callable[..., Page]
PAGES = [("#/", "atlas:ready"), ("#/l/0", "form:ready"), ("#/compare/0", None)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("place", "ready"), PAGES)
def test_axe_finds_nothing_serious(
    visit: Visit, atlas: Served, place: str, ready: str | None, scheme: str
) -> None:
    page = visit(atlas.url + place, ready=ready, bypass_csp=True, color_scheme=scheme)
    page.wait_for_timeout(1000)
    page.add_script_tag(path=str(AXE))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, [
        (each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious
    ]


def test_dark_mode_follows_the_system_and_the_button(visit: Visit, atlas: Served) -> None:
    dark = visit(atlas.url, color_scheme="dark")
    assert shot(dark.locator("canvas").first)[3, 3].max() < 80
    light = visit(atlas.url, color_scheme="light")
    canvas = light.locator("canvas").first
    assert shot(canvas)[3, 3].min() > 200
    button = light.get_by_role("button", name="Appearance")
    for _ in range(3):
        button.click()
        light.wait_for_timeout(300)
        if shot(canvas)[3, 3].max() < 80:
            break
    assert shot(canvas)[3, 3].max() < 80, "the scene was not repainted"


@pytest.mark.parametrize("place", ["#/", "#/l/0", "#/compare/0"])
def test_a_phone_needs_no_sideways_scrolling(visit: Visit, atlas: Served, place: str) -> None:
    page = visit(atlas.url + place, ready=None, viewport={"width": 320, "height": 700})
    page.wait_for_timeout(1500)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 320


def test_reduced_motion_keeps_still(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url + "#/l/0", ready="form:ready", reduced_motion="reduce")
    page.wait_for_timeout(500)
    first = shot(page.locator("canvas").first)
    page.wait_for_timeout(400)
    assert (first == shot(page.locator("canvas").first)).all()
    running = page.evaluate(
        "document.getAnimations().filter(a => a.playState === 'running').length"
    )
    assert running == 0


@pytest.mark.parametrize("deficiency", ["protanopia", "deuteranopia", "tritanopia"])
def test_signs_stay_apart_for_other_eyes(
    context_of: Callable[..., BrowserContext], visit: Visit, atlas: Served, deficiency: str
) -> None:
    """The two ends of the legend, as such an eye sees them."""
    context = context_of()
    page = visit(atlas.url + "#/l/0", ready="form:ready", context=context)
    session = context.new_cdp_session(page)
    session.send("Emulation.setEmulatedVisionDeficiency", {"type": deficiency})
    page.wait_for_timeout(300)
    names = ("--positive", "--negative")
    page.evaluate(
        """names => { const box = document.createElement("div"); box.id = "ends";
        box.style.cssText =
          "position:fixed;inset:0 auto auto 0;width:40px;height:20px;z-index:9999";
        for (const name of names) { const half = document.createElement("i");
          half.style.cssText = "display:inline-block;width:20px;height:20px";
          half.style.background =
            getComputedStyle(document.querySelector(".atlas")).getPropertyValue(name);
          box.append(half); } document.body.append(box); }""",
        list(names),
    )
    picture = shot(page.locator("#ends"))
    assert abs(picture[10, 10] - picture[10, 30]).sum() > 150


def test_tab_reaches_the_search_and_shows_where_it_is(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    for _ in range(6):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.tagName, s.outlineStyle, s.boxShadow]; }"
        )
        if focused[0] == "INPUT":
            break
    expect(page.get_by_role("combobox", name="Search forms")).to_be_focused()
