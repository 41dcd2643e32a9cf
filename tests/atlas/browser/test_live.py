"""What only a server can do: a sentence on a form, a form of one's own, a model that is steered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from quadric.atlas.bundle import copy_page
from quadric.atlas.folder.reader import AtlasFolder
from tests.atlas.browser.conftest import AXE, Served
from tests.atlas.browser.pixels import changed, shot
from tests.atlas.tiny_run import GROUP, tiny_run

Visit = Callable[..., Page]
FIRST_ANSWER = 60_000
"""Milliseconds, as the first answer waits for the language model."""


@pytest.fixture(scope="session")
def live(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A tiny run on a random language model, whose tokens are characters, served with its atlas."""
    folder = tiny_run(tmp_path_factory.mktemp("tiny"), variant="composite", block=2).atlas
    copy_page(folder)
    return serve(folder)


def open_form(visit: Visit, live: Served, **options: Any) -> Page:
    page = visit(f"{live.url}#/l/0", ready="form:ready", **options)
    expect(page.get_by_role("heading", name="Type a sentence")).to_be_visible()
    return page


def type_sentence(page: Page, text: str) -> None:
    field = page.get_by_role("textbox", name="Type a sentence")
    field.fill(text)
    field.press("Enter")


def steer(page: Page, text: str) -> None:
    field = page.get_by_role("textbox", name="Text to steer")
    field.fill(text)
    field.press("Enter")
    expect(page.get_by_text("Nothing changes at 0")).to_be_visible(timeout=FIRST_ANSWER)


def words(page: Page) -> list[str]:
    """The tokens in the first strip of the page."""
    return page.get_by_role("toolbar").first.get_by_role("button").all_inner_texts()


def test_a_sentence_becomes_tokens_and_a_path(visit: Visit, live: Served) -> None:
    page = open_form(visit, live)
    page.wait_for_timeout(500)
    canvas = page.locator("canvas").first
    before = shot(canvas)
    type_sentence(page, "moon")
    expect(page.get_by_role("toolbar").first).to_be_visible(timeout=FIRST_ANSWER)
    assert words(page) == list("moon")
    page.wait_for_timeout(400)
    assert changed(before, shot(canvas)) > 100
    token = page.get_by_role("toolbar").first.get_by_role("button").first
    assert re.search(r"^m, value [+−]?[\d.e−]+$", token.get_attribute("aria-label") or "")
    token.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    latents = page.get_by_role("heading", name="Strongest at “o”").locator("+ ol")
    ids = {int(each) for each in AtlasFolder(live.folder).forms()["id"]}
    links = [each.get_attribute("href") for each in latents.get_by_role("link").all()]
    assert links
    assert {int(str(link).removeprefix("#/l/")) for link in links} <= ids
    page.get_by_role("textbox", name="Type a sentence").fill("")
    expect(page.get_by_role("toolbar")).to_have_count(0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(400)
    assert changed(before, shot(canvas)) < 100


def test_only_the_last_of_two_sentences_is_shown(visit: Visit, live: Served) -> None:
    page = open_form(visit, live)
    held: list[Route] = []
    page.route(
        "**/api/encode",
        lambda route: (
            held.append(route) if "first" in route.request.post_data else route.continue_()
        ),
    )
    type_sentence(page, "first")
    page.wait_for_function("() => document.querySelector('section[aria-busy=true]') !== null")
    type_sentence(page, "then")
    page.wait_for_timeout(200)
    assert len(held) == 1
    held[0].continue_()
    expect(page.get_by_role("toolbar").first).to_be_visible(timeout=FIRST_ANSWER)
    assert words(page) == list("then")


def test_what_the_server_refuses_is_said_in_its_words(visit: Visit, live: Served) -> None:
    page = open_form(visit, live, expected="400")
    # The page's own limit of the field would keep the text from being too long.
    page.get_by_role("textbox", name="Type a sentence").evaluate("e => (e.maxLength = 9999)")
    type_sentence(page, "moon " * 500)
    expect(page.get_by_role("alert")).to_contain_text("2500 characters", timeout=FIRST_ANSWER)


def test_steering_along_the_gradient_changes_the_value(visit: Visit, live: Served) -> None:
    page = open_form(visit, live)
    steer(page, "on Monday")
    page.get_by_label("How far, in norms of the activation").fill("0.5")
    rising = page.get_by_role("table", name="Rising next tokens")
    expect(rising).to_be_visible(timeout=FIRST_ANSWER)
    before, after = value_of(page)
    assert after > before
    expect(rising.get_by_role("rowheader").first).to_be_visible()
    page.get_by_role("button", name="Back to 0").click()
    expect(page.get_by_text("Nothing changes at 0")).to_be_visible()


def test_steering_along_the_level_set_keeps_the_value(visit: Visit, live: Served) -> None:
    page = open_form(visit, live)
    steer(page, "on Monday")
    page.get_by_label("along the level set").check()
    page.get_by_label("How far, in degrees").fill("60")
    expect(page.get_by_text(re.compile(r"of its norm, turned"))).to_be_visible()
    before, after = value_of(page)
    assert after == pytest.approx(before, rel=1e-2)


def value_of(page: Page) -> tuple[float, float]:
    """f before and after, as the page says."""
    said = page.locator("dl", has_text="Value f").inner_text().replace("−", "-")
    found = re.search(r"Value f\s+(\S+) → (\S+)", said)
    assert found is not None, said
    return float(found[1]), float(found[2])


def test_a_sum_of_forms_is_composed_and_linked(visit: Visit, live: Served) -> None:
    page = visit(f"{live.url}#/compose?m=0:1", ready=None)
    cloud = page.get_by_role("region", name="Composed form").locator("canvas")
    expect(cloud).to_be_visible(timeout=FIRST_ANSWER)
    page.wait_for_timeout(700)
    alone = shot(cloud)
    search = page.get_by_role("combobox", name="Add a form")
    search.fill(str(GROUP))
    found = page.get_by_role("listbox", name="Forms found")
    expect(found.get_by_role("option")).to_have_count(1)
    search.press("Enter")
    weight = page.get_by_label(f"Weight of form {GROUP} as a number")
    weight.fill("-2")
    weight.press("Enter")
    page.wait_for_function(f"() => location.hash.endsWith('m=0:1,{GROUP}:-2')")
    expect(page.get_by_text(f"−2 × form {GROUP}")).to_be_visible()
    page.wait_for_timeout(700)
    assert changed(alone, shot(cloud)) > 500
    page.get_by_role("button", name=f"Remove form {GROUP}").click()
    expect(page.get_by_text(f"−2 × form {GROUP}")).to_have_count(0)


def test_a_form_composed_of_itself_has_its_own_spectrum(visit: Visit, live: Served) -> None:
    own = AtlasFolder(live.folder).page_of(0).points.spectrum
    page = visit(f"{live.url}#/compose?m=0:2", ready=None)
    spectrum = page.get_by_role("img", name=re.compile("Composed form"))
    expect(spectrum).to_be_visible(timeout=FIRST_ANSWER)
    said = (spectrum.get_attribute("aria-label") or "").replace("−", "-")
    found = [float(each) for each in said.split("eigenvalues ")[1].split(", ")]
    assert found == pytest.approx([2 * value for value in own[: len(found)]], rel=6e-3)


def test_a_form_that_is_not_there_is_left_out(visit: Visit, live: Served) -> None:
    page = visit(f"{live.url}#/compose?m=0:1,777:1", ready=None)
    expect(page.get_by_role("alert")).to_contain_text("777")
    expect(page.get_by_role("region", name="Composed form").locator("canvas")).to_be_visible(
        timeout=FIRST_ANSWER
    )


def test_without_a_server_composing_says_what_it_needs(
    visit: Visit, synthetic: Path, serve_static: Callable[[Path], str]
) -> None:
    page = visit(f"{serve_static(synthetic)}#/compose?m=0:1", ready=None)
    expect(page.get_by_text("quadric atlas serve")).to_be_visible()
    expect(page.locator("canvas:visible")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Visit, live: Served, scheme: str) -> None:
    form = open_form(visit, live, bypass_csp=True, color_scheme=scheme)
    type_sentence(form, "moon")
    steer(form, "on Monday")
    compose = visit(
        f"{live.url}#/compose?m=0:1,5:1", ready=None, bypass_csp=True, color_scheme=scheme
    )
    compose.get_by_role("combobox", name="Add a form").fill("label")
    compose.wait_for_timeout(1000)
    for page in (form, compose):
        page.add_script_tag(path=str(AXE))
        found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, [
            (each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious
        ]
