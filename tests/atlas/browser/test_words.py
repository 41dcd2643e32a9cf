"""Words on a form's page: those that stand in its cloud, and those that a reader picks out."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from playwright.sync_api import BrowserContext, Locator, Page, expect

from quadric.atlas.folder.reader import AtlasFolder
from tests.atlas.browser.conftest import Served
from tests.atlas.browser.pixels import changed, drawn, shot
from tests.atlas.browser.test_form import open_form

Visit = Callable[..., Page]


def repeated_words(atlas: Served, form: int) -> dict[str, list[int]]:
    """Words of plain letters that at least three points of a form have, and these points."""
    folder = AtlasFolder(atlas.folder)
    points: dict[str, list[int]] = {}
    for point, row in enumerate(folder.page_of(form).rows):
        (token,) = folder.tokens(int(row), int(row) + 1)
        points.setdefault(token.strip(), []).append(point)
    return {
        word: at for word, at in points.items() if len(at) >= 3 and re.fullmatch("[a-z]+", word)
    }


def form_with_words(atlas: Served, least: int = 3) -> tuple[int, dict[str, list[int]]]:
    """The first form with so many of them."""
    for form in AtlasFolder(atlas.folder).forms()["id"]:
        words = repeated_words(atlas, int(form))
        if len(words) >= least:
            return int(form), words
    raise AssertionError("no form has words that come back")


def table_of(page: Page) -> Locator:
    return page.get_by_role("region", name=re.compile("Points of the cloud"))


def test_words_stand_where_their_points_are(visit: Visit, atlas: Served) -> None:
    """Seen along the third axis, labels have the order of their points' means on the first two."""
    form, words = form_with_words(atlas)
    link = f"?ax=0,1,2&cam=-90,90,4.4&words=1&w={','.join(words)}&alone=1"
    page = open_form(visit, atlas, form, link)
    labels = page.locator(".words span").filter(visible=True)
    expect(labels.first).to_be_visible()
    middles = {}
    for label in labels.all():
        box = label.bounding_box()
        assert box is not None
        middles[label.inner_text()] = np.array([box["x"] + box["width"] / 2, -box["y"]])
    assert len(middles) >= 2
    coordinates = AtlasFolder(atlas.folder).page_of(form).points.coordinates
    first_two = np.asarray(coordinates, dtype=float)[:, :2]
    means = {word: first_two[words[word]].mean(0) for word in middles}
    extent = np.ptp(first_two[[point for at in words.values() for point in at]], axis=0).max()
    compared = 0
    for one in middles:
        for other in middles:
            apart = means[one] - means[other]
            for axis in (0, 1):
                # A label may give way by a line, and what is nearer looks farther from the middle.
                if apart[axis] > 0.2 * extent:
                    compared += 1
                    assert (middles[one] - middles[other])[axis] > 0
    assert compared > 0


def test_words_follow_the_camera_and_the_picture(visit: Visit, atlas: Served) -> None:
    form, words = form_with_words(atlas)
    page = open_form(visit, atlas, form, f"?words=1&w={','.join(words)}&alone=1")
    label = page.locator(".words span").filter(visible=True).first
    expect(label).to_be_visible()
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas is not None
    x, y = canvas["x"] + 0.3 * canvas["width"], canvas["y"] + 0.5 * canvas["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    place = label.evaluate("label => label.style.transform")
    for step in (1, 2, 3):
        page.mouse.move(x + 30 * step, y)
        page.evaluate(
            "() => new Promise(done => setTimeout(() => requestAnimationFrame(done), 60))"
        )
        moved = label.evaluate("label => label.style.transform")
        assert moved != place, "it stays behind while the camera is dragged"
        place = moved
    page.mouse.up()
    page.set_viewport_size({"width": 700, "height": 900})
    expect(label).to_be_visible()
    page.wait_for_timeout(300)
    canvas, box = page.locator("canvas").first.bounding_box(), label.bounding_box()
    assert canvas is not None and box is not None
    assert canvas["x"] <= box["x"] and box["x"] + box["width"] <= canvas["x"] + canvas["width"]


def test_words_are_kept_in_the_link_and_are_not_a_controls(visit: Visit, atlas: Served) -> None:
    form, words = form_with_words(atlas)
    page = open_form(visit, atlas, form, f"?w={','.join(words)}")
    labels = page.locator(".words span")
    expect(labels).to_have_count(0)
    page.get_by_label("Words", exact=True).check()
    expect(labels).to_have_count(len(words))
    page.wait_for_function("() => location.hash.includes('words=1')")
    page.get_by_role("button", name="Shuffled").click()
    expect(labels).to_have_count(0)
    expect(page.get_by_label("Words", exact=True)).to_be_disabled()
    expect(page.get_by_label("Words to pick out")).to_have_count(0)


def test_a_word_filter_picks_out_points(visit: Visit, atlas: Served) -> None:
    """Escape ends it."""
    form, words = form_with_words(atlas)
    one, other, *_ = words
    every = len(AtlasFolder(atlas.folder).page_of(form).rows)
    page = open_form(visit, atlas, form)
    canvas = page.locator("canvas").first
    before = shot(canvas)
    table = table_of(page).get_by_role("table")
    expect(table).to_have_attribute("aria-rowcount", str(every + 1))
    field = page.get_by_label("Words to pick out")
    field.fill(f"{one.upper()} , {other}")
    found = len(words[one]) + len(words[other])
    expect(page.get_by_text(f"{found} of {every} points")).to_be_visible()
    expect(table).to_have_attribute("aria-rowcount", str(found + 1))
    tokens = table.locator("td.token").all_inner_texts()
    assert sorted(tokens) == sorted([one] * len(words[one]) + [other] * len(words[other]))
    page.wait_for_function("() => /[?&]w=/.test(location.hash)")
    assert f"w={one.upper()},{other}" in page.url
    page.wait_for_timeout(300)
    chosen = shot(canvas)
    assert changed(before, chosen) > 500
    page.get_by_label("Only these").check()
    page.wait_for_function("() => location.hash.includes('alone=1')")
    page.wait_for_timeout(300)
    assert changed(chosen, shot(canvas)) > 500
    field.press("Escape")
    expect(field).to_have_value("")
    expect(table).to_have_attribute("aria-rowcount", str(every + 1))
    page.wait_for_function("() => !/[?&](w|alone)=/.test(location.hash)")
    page.wait_for_timeout(300)
    assert changed(before, shot(canvas)) < 50


def test_a_word_filter_comes_back_from_its_link_and_finds_no_part_of_a_word(
    visit: Visit, atlas: Served
) -> None:
    form, words = form_with_words(atlas)
    one = next(iter(words))
    page = open_form(visit, atlas, form, f"?w={one},{one[:2]}")
    expect(page.get_by_label("Words to pick out")).to_have_value(f"{one}, {one[:2]}")
    table = table_of(page).get_by_role("table")
    expect(table).to_have_attribute("aria-rowcount", str(len(words[one]) + 1))
    page.get_by_role("button", name="Clear the words").click()
    expect(page.get_by_label("Words to pick out")).to_have_value("")
    expect(table).not_to_have_attribute("aria-rowcount", str(len(words[one]) + 1))


def test_words_that_cannot_be_read_are_said_to_be_missing(
    context_of: Callable[..., BrowserContext], visit: Visit, atlas: Served
) -> None:
    """The form is shown without them, and the table is not taken for an answer."""
    form, words = form_with_words(atlas)
    context = context_of()
    context.route("**/tokens/*", lambda route: route.fulfill(status=404))
    page = visit(
        f"{atlas.url}#/l/{form}?w={next(iter(words))}&words=1",
        ready="form:ready",
        context=context,
        expected="404",
    )
    filter_of = page.get_by_role("search", name="Points by their words")
    expect(filter_of).to_contain_text("tokens/")
    expect(page.locator(".words span")).to_have_count(0)
    assert drawn(shot(page.locator("canvas").first)) > 2000
