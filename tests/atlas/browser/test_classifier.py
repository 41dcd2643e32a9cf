"""The atlas of a trained image classifier: its eigenvectors as pictures, by class and by sign."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from quadric.atlas.folder.reader import AtlasFolder
from quadric.vision.atlas.build import build_atlas
from tests.atlas.browser.conftest import AXE, Served, wait_for_mark
from tests.atlas.browser.pixels import drawn, shot
from tests.vision.builders import digits_model

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Served]) -> Served:
    """The atlas of a classifier of digits beside another one, by quadric's own server."""
    folder = tmp_path_factory.mktemp("digits") / "atlas"
    made = build_atlas(digits_model(), folder, compare=digits_model(seed=1))
    assert made["page"] is None
    return serve(folder)


def signed(page_of_form: np.ndarray, sign: int) -> np.ndarray:
    """Eigenvalues of one sign, the largest |λ| first, at most four."""
    return np.array(sorted(page_of_form[sign * page_of_form > 0], key=lambda v: -abs(v))[:4])


def numbers(cells: Locator) -> list[float]:
    texts = [text.strip().replace("−", "-") for text in cells.all_inner_texts()]
    return [float(text) for text in texts if text]


def test_the_gallery_has_every_class_with_its_eigenvectors(visit: Visit, served: Served) -> None:
    page = visit(served.url)
    page.get_by_role("link", name="All of them as pictures").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Gallery")
    atlas = AtlasFolder(served.folder)
    gallery = page.locator("section").filter(has=page.get_by_role("heading", name="Gallery"))
    rows = gallery.locator("tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.nth(9).locator("canvas").first).to_be_visible()
    for place in range(10):
        row = rows.nth(place)
        expect(row.get_by_role("rowheader")).to_have_text(str(place))
        values = atlas.page(place).points.form.diagonal()
        for sign, name in ((1, "positive"), (-1, "negative")):
            shown = numbers(row.locator(f"td .number.{name}"))
            assert np.allclose(shown, signed(values, sign), rtol=0.01)
    assert drawn(shot(rows.first.locator("canvas").first)) > 100
    gallery.get_by_label("Axes of each sign").select_option("2")
    expect(rows.first.locator("canvas")).to_have_count(4)
    gallery.get_by_label("Forms").select_option("all")
    expect(rows).to_have_count(atlas.manifest.forms)
    gallery.get_by_label("Arrange").select_option("size")
    expect(gallery.locator("article")).to_have_count(atlas.manifest.forms)


def test_a_picture_is_the_stored_eigenvector(visit: Visit, served: Served) -> None:
    """Orange where it is above zero, blue where it is below, pixel by pixel."""
    page = visit(served.url + "#/l/3", ready="form:ready")
    stored = AtlasFolder(served.folder).page(3)
    assert stored.images is not None
    values = stored.points.form.diagonal()
    best = int(np.where(values > 0, values, 0).argmax())
    section = page.get_by_role("region", name="Axes as images")
    picture = section.locator("canvas").first
    colours = np.array(
        page.evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]",
            picture.element_handle(),
        )
    ).reshape(64, 4)
    axis = stored.images[best].ravel()
    loud = np.abs(axis) > 0.3 * np.abs(axis).max()
    redness = colours[:, 0].astype(int) - colours[:, 2]
    assert loud.sum() > 5 and np.array_equal(np.sign(redness[loud]), np.sign(axis[loud]))
    faint = np.abs(axis) < 0.02 * np.abs(axis).max()
    assert (colours[faint, :3] > 225).all()


def test_an_axis_is_put_into_the_cloud(visit: Visit, served: Served) -> None:
    page = visit(served.url + "#/l/3", ready="form:ready")
    section = page.get_by_role("region", name="Axes as images")
    expect(section.get_by_role("button")).to_have_count(8)
    expect(section.get_by_role("button", pressed=True)).to_have_count(3)
    chosen = section.get_by_role("button", pressed=False).last
    name = chosen.locator("[role=img]").get_attribute("aria-label")
    chosen.click()
    axis = int(re.findall(r"axis (\d)", name or "")[0]) - 1
    page.wait_for_function("axis => location.hash.includes(`ax=0,1,${axis}`)", arg=axis)
    # What is not known of an output is not spoken of.
    expect(page.get_by_text("Not scored")).to_have_count(0)
    expect(page.get_by_role("heading", name="Evidence")).to_have_count(0)
    expect(page.get_by_role("heading", name="Images", exact=True)).to_be_visible()


def test_two_models_side_by_side(visit: Visit, served: Served) -> None:
    page = visit(served.url + "#/l/7", ready="form:ready")
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 7")
    overlap = AtlasFolder(served.folder).pair(7).overlap
    expect(page.get_by_text(f"{overlap:.3f}".rstrip("0")).first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["#/gallery", "#/l/4"])
def test_everyone_can_use_the_pictures(
    visit: Visit, served: Served, place: str, scheme: str
) -> None:
    page = visit(served.url + place, ready=None, bypass_csp=True, color_scheme=scheme)
    expect(page.get_by_role("img", name=re.compile("eigenvalue")).nth(7)).to_be_visible()
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("async () => (await axe.run()).violations")
    assert not [each for each in found if each["impact"] in ("serious", "critical")]
    # On a telephone nothing sticks out of the page.
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_one_class_in_one_file(visit: Visit, served: Served, tmp_path: Path) -> None:
    from quadric.atlas.export import export

    export(served.folder, 5, tmp_path / "five.html")
    page = visit((tmp_path / "five.html").as_uri(), ready="form:ready")
    expect(page.get_by_role("heading", level=1)).to_have_text("5")
    expect(page.get_by_role("region", name="Axes as images").locator("canvas")).to_have_count(8)
    wait_for_mark(page, "atlas:labels")
