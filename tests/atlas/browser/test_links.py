"""The map's link says everything: what a reader did to the map is in it, and it does it again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from quadric.atlas.folder.reader import AtlasFolder
from tests.atlas.browser.conftest import Served, wait_for_mark

Visit = Callable[..., Page]


def listed(page: Page) -> list[int]:
    """Ids of the rows of the table that are in sight."""
    links = page.get_by_role("grid").locator("tbody a")
    return [int(href.split("/")[-1]) for href in links.evaluate_all("all => all.map(a => a.hash)")]


def counted(page: Page) -> int:
    """How many forms the map says it shows."""
    text = page.get_by_text(re.compile(r"^\d+\s+(of|forms)")).filter(visible=True).first
    return int(re.match(r"\d+", text.inner_text()).group())  # type: ignore[union-attr]


def test_a_sort_is_that_of_the_numbers(visit: Visit, atlas: Served) -> None:
    forms = AtlasFolder(atlas.folder).forms()
    rank = dict(zip(forms["id"].tolist(), forms["effective_rank"].tolist(), strict=True))
    page = visit(atlas.url + "#/?colour=effective_rank&sort=effective_rank")
    values = [rank[form] for form in listed(page)]
    assert len(values) > 10
    assert values == sorted(values)
    header = page.get_by_role("columnheader", name=re.compile("^Effective rank"))
    expect(header).to_have_attribute("aria-sort", "ascending")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "none")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    values = [rank[form] for form in listed(page)]
    assert values == sorted(values, reverse=True)


def test_a_range_keeps_what_lies_in_it(visit: Visit, atlas: Served) -> None:
    forms = AtlasFolder(atlas.folder).forms()
    inside = (forms["effective_rank"] >= 1.5) & (forms["effective_rank"] <= 3)
    assert 0 < inside.sum() < len(inside)
    page = visit(atlas.url + "#/?colour=effective_rank&range=effective_rank:1.5:3")
    assert counted(page) == inside.sum()
    low = page.get_by_role("slider", name="Effective rank, at least")
    low.focus()
    for _ in range(300):
        page.keyboard.press("ArrowRight")
    # The lower handle stops at the upper one.
    said = page.get_by_role("slider", name="Effective rank, at most").get_attribute(
        "aria-valuetext"
    )
    expect(low).to_have_attribute("aria-valuetext", said or "")
    page.get_by_role("button", name="Remove the range of Effective rank").click()
    assert counted(page) == len(inside)


def test_a_rectangle_selects_and_its_link_selects_the_same(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_function("() => location.hash.includes('box=')")
    left = counted(page)
    assert 0 < left < 96
    forms = AtlasFolder(atlas.folder).forms()
    x0, y0, x1, y1 = (int(each) for each in page.url.split("box=")[1].split("&")[0].split(","))
    x, y = forms["x"], forms["y"]
    assert ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).sum() == left
    assert counted(visit(page.url)) == left


def test_the_way_back_leads_to_the_map_as_it_was(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url + "#/?shape=ring,curved&sort=-importance")
    before = counted(page)
    page.keyboard.press("t")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_mark(page, "form:ready")
    page.keyboard.press("j")
    wait_for_mark(page, "form:ready", 2)
    form = re.search(r"#/l/(\d+)", page.url)
    assert form is not None
    page.keyboard.press("m")
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of forms")
    assert counted(page) == before
    # The mark is on the form that was looked at last.
    row = page.get_by_role("row", selected=True)
    expect(row.get_by_role("link")).to_have_attribute("href", f"#/l/{form.group(1)}")


def test_a_link_in_the_table_opens_its_form_and_stays(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    sort = page.get_by_role("columnheader", name="Id").get_by_role("button")
    link = page.get_by_role("grid").locator("tbody a").nth(3)
    address = link.get_attribute("href")
    # The map keeps its own address with a pause, which must not come over that of the form. The
    # link is clicked at once, so that no slow machine waits the pause out before.
    sort.evaluate("(sort, link) => { sort.click(); link.click(); }", link.element_handle())
    wait_for_mark(page, "form:ready")
    page.wait_for_timeout(500)
    assert page.evaluate("location.hash").startswith(address)


def test_the_way_back_has_what_was_done_last(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    page.get_by_role("button", name=re.compile("^ring")).click()
    page.keyboard.press("j")
    # Within the pause after which the link is kept.
    page.get_by_role("main").press("Enter")
    wait_for_mark(page, "form:ready")
    page.go_back()
    expect(page.get_by_role("button", name=re.compile("^ring"))).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.get_by_role("row", selected=True)).to_have_count(1)


def test_j_walks_through_what_the_filter_left(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url + "#/?kind=group")
    rows = listed(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.get_by_role("row", selected=True).get_by_role("link")).to_have_attribute(
        "href", f"#/l/{rows[1]}"
    )
    expect(page.locator("[aria-live=polite]").first).to_contain_text(f"group {rows[1]}")
    page.keyboard.press("Enter")
    wait_for_mark(page, "form:ready")
    page.keyboard.press("j")
    page.wait_for_function("id => location.hash.startsWith('#/l/' + id)", arg=str(rows[2]))


def test_the_table_scrolls_to_its_end_with_few_rows(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url, viewport={"width": 1280, "height": 500})
    page.keyboard.press("t")
    page.keyboard.press("End")
    last = AtlasFolder(atlas.folder).forms()["id"].tolist()[-1]
    expect(page.get_by_role("row", selected=True).get_by_role("link")).to_have_attribute(
        "href", f"#/l/{last}"
    )
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "97")
    assert len(listed(page)) < 40


def test_the_appearance_is_kept(
    context_of: Callable[..., BrowserContext], visit: Visit, atlas: Served
) -> None:
    context = context_of(color_scheme="light")
    page = visit(atlas.url, context=context)
    page.get_by_role("button", name="Appearance").click()
    page.get_by_role("button", name="Appearance").click()
    expect(page.get_by_role("button", name="Appearance: dark")).to_be_visible()
    again = visit(atlas.url, context=context)
    expect(again.get_by_role("button", name="Appearance: dark")).to_be_visible()


def test_keys_do_nothing_while_typing(visit: Visit, atlas: Served) -> None:
    page = visit(atlas.url)
    page.get_by_label("Words", exact=True).focus()
    page.keyboard.type("t?m/j0")
    expect(page.get_by_label("Words", exact=True)).to_have_value("t?m/j0")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("No form passes these filters.")).to_be_visible()


NOTEBOOK = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="atlas.css">
<p><button>Run</button></p><div id="first"></div><div id="second"></div>
<script type="module" src="cells.js"></script>"""
CELLS = """import widget from "./atlas.js";
const atlas = new DataView(await (await fetch("atlas.bin")).arrayBuffer());
const model = { get: () => atlas, on() {}, off() {} };
for (const id of ["first", "second"]) widget.render({ model, el: document.getElementById(id) });
"""


@pytest.fixture
def notebook(
    synthetic: Path, bundles: Path, tmp_path: Path, serve_static: Callable[[Path], str]
) -> str:
    """A page with two cells that show the same atlas."""
    from quadric.atlas.packing import pack

    for name in ("atlas.js", "atlas.css"):
        (tmp_path / name).write_bytes((bundles / "widget" / name).read_bytes())
    (tmp_path / "atlas.bin").write_bytes(pack(synthetic))
    (tmp_path / "index.html").write_text(NOTEBOOK)
    (tmp_path / "cells.js").write_text(CELLS)
    return serve_static(tmp_path)


def test_a_notebook_keeps_its_address_its_keys_and_its_look(visit: Visit, notebook: str) -> None:
    page = visit(notebook, expected="404")
    button = page.get_by_role("button", name="Run")
    look = "e => { const s = getComputedStyle(e); return [s.font, s.borderRadius, s.padding]; }"
    page.evaluate(
        "() => { const frame = document.createElement('iframe');"
        " frame.srcdoc = '<!doctype html><p><button>Run</button></p>';"
        " document.body.append(frame); }"
    )
    frame = page.frame_locator("iframe").get_by_role("button")
    assert button.evaluate(look) == frame.evaluate(look)
    first, second = page.locator("#first"), page.locator("#second")
    first.locator("tbody a").nth(2).click()
    expect(first.locator("h1").filter(visible=True)).not_to_have_text("Map of forms")
    expect(second.locator("h1")).to_have_text("Map of forms")
    assert "#" not in page.url
    second.locator("main").focus()
    page.keyboard.press("?")
    expect(second.get_by_role("dialog")).to_be_visible()
    expect(first.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Escape")
    button.focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
