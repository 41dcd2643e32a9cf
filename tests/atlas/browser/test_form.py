"""A form's page: its cloud, its level set, its axes, what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

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
