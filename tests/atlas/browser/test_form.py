"""A form's page: its cloud, its level set, its axes, what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from quadric.atlas.export import export
from quadric.atlas.folder.reader import AtlasFolder
from tests.atlas.browser.conftest import Served, wait_for_mark
from tests.atlas.browser.pixels import changed, drawn, shot

Visit = Callable[..., Page]


def open_form(visit: Visit, atlas: Served, form: int, query: str = "") -> Page:
    return visit(f"{atlas.url}#/l/{form}{query}", ready="form:ready")


def axis(page: Page, letter: str) -> Locator:
    """The select of an axis."""
    letters = page.locator("label", has=page.get_by_text(letter, exact=True))
    return letters.locator("select").first


def form_called(atlas: Served, name: str) -> int:
    """The id of the first form whose level surface has this name."""
    folder = AtlasFolder(atlas.folder)
    place = next(i for i, row in enumerate(folder.labels()["quadric"].to_pylist()) if row == name)
    return int(folder.forms()["id"][place])


def test_draws_points_and_surface(visit: Visit, atlas: Served) -> None:
    page = open_form(visit, atlas, form_called(atlas, "ellipsoid"))
    with_surface = shot(page.locator("canvas").first)
    assert drawn(with_surface) > 2000
    page.get_by_label("Surface").uncheck()
    page.wait_for_timeout(300)
    assert changed(with_surface, shot(page.locator("canvas").first)) > 1000


def test_the_level_moves_the_surface_and_the_link(visit: Visit, atlas: Served) -> None:
    page = open_form(visit, atlas, form_called(atlas, "ellipsoid"))
    before = shot(page.locator("canvas").first)
    level = page.get_by_label("Level, as a number")
    halved = float(level.input_value()) / 2
    level.fill(f"{halved:.3f}")
    level.press("Enter")
    page.wait_for_function("() => /[?&]c=/.test(location.hash)")
    page.wait_for_timeout(300)
    assert changed(before, shot(page.locator("canvas").first)) > 1000


def test_the_surface_is_named_anew_when_the_level_changes_its_sign(
    visit: Visit, atlas: Served
) -> None:
    page = open_form(visit, atlas, form_called(atlas, "one-sheet hyperboloid"))
    stage = page.get_by_role("region", name=re.compile("cloud", re.I)).or_(page.locator("main"))
    expect(stage.get_by_text(re.compile("one-sheet hyperboloid", re.I)).first).to_be_visible()
    level = page.get_by_label("Level, as a number")
    level.fill(str(-float(level.input_value())))
    level.press("Enter")
    expect(stage.get_by_text(re.compile("two-sheet hyperboloid", re.I)).first).to_be_visible()


def test_other_axes_draw_another_cloud(visit: Visit, atlas: Served) -> None:
    page = open_form(visit, atlas, form_called(atlas, "ellipsoid"))
    before = shot(page.locator("canvas").first)
    axis(page, "z").select_option(index=3)
    page.wait_for_function("() => location.hash.includes('ax=')")
    page.wait_for_timeout(400)
    assert changed(before, shot(page.locator("canvas").first)) > 500


def test_a_link_restores_the_view(visit: Visit, atlas: Served) -> None:
    form = form_called(atlas, "ellipsoid")
    page = open_form(visit, atlas, form, "?ax=1,0,2&c=0.25&by=rest")
    expect(page.get_by_label("Level, as a number")).to_have_value(re.compile(r"^0\.25"))
    expect(axis(page, "x")).to_have_value("1")


@pytest.mark.parametrize("control", ["Gaussian", "Shuffled", "Random form"])
def test_a_control_shows_its_own_points_and_says_so(
    visit: Visit, atlas: Served, control: str
) -> None:
    page = open_form(visit, atlas, form_called(atlas, "ellipsoid"))
    before = shot(page.locator("canvas").first)
    page.get_by_role("button", name=control).or_(page.get_by_label(control)).first.click()
    page.wait_for_function("() => location.hash.includes('null=')")
    page.wait_for_timeout(400)
    assert changed(before, shot(page.locator("canvas").first)) > 1000


def test_the_table_lists_the_files_own_values(visit: Visit, atlas: Served) -> None:
    """Its largest value is the largest of the file."""
    form = form_called(atlas, "ellipsoid")
    page = open_form(visit, atlas, form)
    largest = float(AtlasFolder(atlas.folder).page_of(form).points.value.max())
    table = page.get_by_role("region", name=re.compile("Points of the cloud"))
    row = table.get_by_role("row").filter(has=page.get_by_role("cell")).first
    numbers = [
        float(n.replace("−", "-")) for n in re.findall(r"[−-]?\d+(?:\.\d+)?", row.inner_text())
    ]
    assert any(abs(number - largest) < 0.006 * abs(largest) for number in numbers)


def test_arrow_keys_step_through_the_points_and_announce(visit: Visit, atlas: Served) -> None:
    page = open_form(visit, atlas, form_called(atlas, "ellipsoid"))
    before = shot(page.locator("canvas").first)
    page.keyboard.press("t")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(1200)
    assert changed(before, shot(page.locator("canvas").first)) > 20
    spoken = page.locator("[aria-live], [role=status]").all_inner_texts()
    assert any(re.search(r"\d", text) for text in spoken), spoken


def test_contexts_show_their_values(visit: Visit, atlas: Served) -> None:
    form = form_called(atlas, "ellipsoid")
    page = open_form(visit, atlas, form)
    folder = AtlasFolder(atlas.folder)
    strongest = max(
        (context for context in folder.page_of(form).contexts if context.kind == "most_positive"),
        key=lambda context: context.value,
    )
    (word,) = folder.tokens(strongest.row, strongest.row + 1)
    contexts = page.get_by_role("region", name="Contexts").or_(
        page.locator("section[aria-labelledby=contexts-title]")
    )
    expect(contexts.first).to_contain_text(word.strip())


def test_a_slow_page_does_not_overwrite_a_later_one(visit: Visit, atlas: Served) -> None:
    """The file of the first form arrives after that of the second."""
    page = visit(atlas.url)
    ids = AtlasFolder(atlas.folder).forms()["id"]
    size = AtlasFolder(atlas.folder).manifest.shard_size
    if len(ids) <= size:
        pytest.skip("one file holds every form")
    late, early = int(ids[0]), int(ids[-1])

    def delay(route: object) -> None:
        page.wait_for_timeout(1500)
        route.continue_()  # type: ignore[attr-defined]

    page.route("**/pages/00000.arrow", delay)
    page.evaluate("id => { location.hash = `#/l/${id}` }", late)
    page.evaluate("id => { location.hash = `#/l/${id}` }", early)
    wait_for_mark(page, "form:ready")
    page.wait_for_timeout(2000)
    title = page.get_by_role("heading", level=1).inner_text()
    label = AtlasFolder(atlas.folder).labels()["label"][len(ids) - 1].as_py()
    assert title.lower() == label.lower()


def test_without_webgl_there_is_a_picture_and_a_sentence(
    context_of: Callable[..., object], visit: Visit, atlas: Served
) -> None:
    context = context_of()
    context.add_init_script(  # type: ignore[attr-defined]
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return /webgl/.test(kind) ? null : get.call(this, kind, ...rest); };"
    )
    page = visit(
        f"{atlas.url}#/l/{form_called(atlas, 'ellipsoid')}", ready="form:ready", context=context
    )
    expect(page.get_by_text(re.compile("WebGL")).first).to_be_visible()
    assert drawn(shot(page.locator("canvas").first)) > 500
    assert np.isfinite(float(page.get_by_label("Level, as a number").input_value()))


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
    before = label.bounding_box()
    page.keyboard.press("x")
    page.wait_for_function("() => location.hash.includes('cam=')")
    turned = label.bounding_box()
    assert before is not None and turned is not None
    assert abs(before["x"] - turned["x"]) + abs(before["y"] - turned["y"]) > 5
    page.set_viewport_size({"width": 700, "height": 900})
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas is not None
    expect(label).to_be_visible()
    page.wait_for_timeout(300)
    moved = label.bounding_box()
    assert moved is not None
    assert (
        canvas["x"] <= moved["x"] and moved["x"] + moved["width"] <= canvas["x"] + canvas["width"]
    )


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


def test_a_form_alone_has_no_map(visit: Visit, atlas: Served, tmp_path: Path) -> None:
    """It is what its file opens, also on the way back, and nothing there leads elsewhere."""
    form = form_called(atlas, "ellipsoid")
    export(atlas.folder, form, tmp_path / "form.html")
    page = visit((tmp_path / "form.html").as_uri(), ready="form:ready")
    expect(page.locator("canvas").first).to_be_visible()
    assert page.get_by_text("Map of forms").count() == 0
    assert page.evaluate("performance.getEntriesByName('atlas:ready').length") == 0
    page.keyboard.press("m")
    page.evaluate("location.hash = '#/'")
    page.wait_for_function(f"() => location.hash === '#/l/{form}'")
    links = page.locator("a[href^='#/']").evaluate_all(
        "all => all.map(a => a.getAttribute('href'))"
    )
    assert {re.split(r"[?]", link)[0] for link in links} <= {f"#/l/{form}", f"#/compare/{form}"}
    assert page.get_by_role("combobox", name=re.compile("Search")).count() == 0
