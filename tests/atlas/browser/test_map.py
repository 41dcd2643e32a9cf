"""The map of all forms: drawn, coloured, filtered, searched, walked through with the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.atlas.browser.conftest import Served, wait_for_mark
from tests.atlas.browser.pixels import changed, drawn, shot

Visit = Callable[..., Page]


def choice(page: Page, name: str) -> Locator:
    """A select by the words before it."""
    label = page.locator("label", has=page.get_by_text(name, exact=True))
    return label.filter(visible=True).locator("select").first


def test_draws_every_form_and_its_table(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    assert drawn(shot(page.locator("canvas").first)) > 96 * 12
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of forms")
    expect(page.get_by_text(re.compile(r"^96\s+forms")).filter(visible=True)).to_be_visible()


def test_another_statistic_changes_the_colours_and_the_link(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    before = shot(page.locator("canvas").first)
    colour = choice(page, "Colour")
    other = next(
        value
        for value in colour.locator("option").evaluate_all("all => all.map(o => o.value)")
        if value != colour.input_value()
    )
    colour.select_option(other)
    page.wait_for_function("() => location.hash.includes('colour=')")
    page.wait_for_timeout(300)
    assert changed(before, shot(page.locator("canvas").first)) > 200
    again = visit(page.url)
    expect(choice(again, "Colour")).to_have_value(other)


def test_a_filter_counts_what_it_leaves(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    before = shot(page.locator("canvas").first)
    page.get_by_role("button", name=re.compile(r"^ring")).or_(
        page.get_by_label(re.compile(r"^ring"))
    ).first.click()
    shown = page.get_by_text(re.compile(r"^\d+\s+of 96")).filter(visible=True).first
    expect(shown).to_be_visible()
    assert 0 < int(re.match(r"\d+", shown.inner_text()).group()) < 96
    page.wait_for_timeout(300)
    assert changed(before, shot(page.locator("canvas").first)) > 200


def test_search_finds_words_and_opens_a_form(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    wait_for_mark(page, "atlas:labels")
    page.keyboard.press("/")
    page.keyboard.type("cone")
    options = page.get_by_role("option")
    expect(options.first).to_contain_text("cone")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_mark(page, "form:ready")
    assert re.search(r"#/l/\d+", page.url)
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("cone", re.I))


def test_pointing_shows_a_card_and_clicking_opens(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    canvas = page.locator("canvas").first
    box = canvas.bounding_box()
    assert box is not None
    picture = shot(canvas)
    background = picture[2, 2]
    there = abs(picture - background).max(2) > 60
    rows, columns = there.nonzero()
    inside = (rows > 40) & (rows < picture.shape[0] - 40)
    middle = inside.sum() // 2
    y, x = int(rows[inside][middle]), int(columns[inside][middle])
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.mouse.click(box["x"] + x, box["y"] + y)
    wait_for_mark(page, "form:ready")
    assert "#/l/" in page.url


def test_the_table_is_a_way_in_without_a_mouse(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    page.keyboard.press("t")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_mark(page, "form:ready")
    assert "#/l/" in page.url


def test_j_and_k_walk_and_m_returns(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url + "#/l/0", ready="form:ready")
    first = page.url
    page.keyboard.press("j")
    page.wait_for_function("old => location.href !== old", arg=first)
    wait_for_mark(page, "form:ready", 2)
    page.keyboard.press("k")
    page.wait_for_function("old => location.href.split('?')[0] === old.split('?')[0]", arg=first)
    page.keyboard.press("m")
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of forms")


def test_help_opens_and_closes(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
