"""The atlas of known surfaces is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quadric.atlas.contract import KINDS
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.synthetic import HOSTILE, NOISE, SURFACES, surface_of, write_synthetic
from quadric.atlas.folder.tables import remainder
from quadric.atlas.folder.validate import validate
from quadric.forms import name_quadric


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> AtlasFolder:
    folder = tmp_path_factory.mktemp("synthetic") / "atlas"
    write_synthetic(folder, forms=20, points=200, seed=3, axes=6, comparison=True, hostile=True)
    return AtlasFolder(folder)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_surfaces_have_the_names_that_the_library_gives_them(surface: object) -> None:
    s = surface
    assert s.name == name_quadric(s.eigenvalues, s.level, [0, 0, s.slope])  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", range(10))
def test_present_points_lie_on_the_level_set_of_the_first_three_axes(
    atlas: AtlasFolder, place: int
) -> None:
    page, surface = atlas.page(place), surface_of(place)
    assert np.count_nonzero(page.present) == 150
    p = page.points.coordinates[:, :3]
    on = (p**2 * surface.eigenvalues).sum(axis=1) + surface.slope * p[:, 2]
    assert on[page.present] == pytest.approx(np.full(150, float(surface.level)), abs=1e-3)
    assert np.abs(on[~page.present] - surface.level).min() > 1e-6
    assert (p[page.present, 0] > 0).sum() == 75


@pytest.mark.parametrize("place", range(10))
def test_the_remainder_is_the_noise(atlas: AtlasFolder, place: int) -> None:
    points, surface = atlas.page(place).points, surface_of(place)
    assert len(points.linear) == (6 if surface.full else 3)
    assert remainder(points) == pytest.approx(NOISE if surface.full else 0, abs=5e-4)
    kinds = ["eigenvector" if k < 3 or surface.full else "" for k in range(len(points.linear))]
    for k, value in enumerate(surface.eigenvalues):
        kinds[k] = "eigenvector" if value else "principal"
    assert points.axis_kind == kinds


def test_it_is_sound_and_has_groups_with_numbers_of_their_own(atlas: AtlasFolder) -> None:
    assert validate(atlas.folder).problems == []
    rows = [atlas.row(place) for place in range(20)]
    assert {row.kind for row in rows} == {"latent", "group"} <= set(KINDS)
    assert all((row.id >= 40) == (row.kind == "group") for row in rows)
    assert [row.quadric for row in rows[:10]] == [surface.name for surface in SURFACES]


def test_hostile_texts_are_where_a_page_shows_text(atlas: AtlasFolder) -> None:
    assert atlas.row(0).label == HOSTILE
    assert atlas.row(0).tokens[0] == HOSTILE
    assert atlas.pair(0).label == HOSTILE
    page = atlas.page(0)
    shown = {word for row in page.rows for word in atlas.tokens(int(row), int(row) + 1)}
    vocabulary = {word for place in range(20) for c in atlas.page(place).contexts
                  for word in atlas.tokens(c.start, c.start + len(c.values))}  # fmt: skip
    assert HOSTILE in shown | vocabulary
    assert HOSTILE not in {atlas.row(place).label for place in range(1, 20)}


@pytest.mark.parametrize("modality", ["text", "vector", "image"])
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, modality: str) -> None:
    def write(name: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / name
        write_synthetic(
            folder,
            forms=5,
            points=20,
            seed=seed,
            text=modality == "text",
            images=modality == "image",
        )
        assert validate(folder).problems == []
        assert AtlasFolder(folder).manifest.modality == modality
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    one, same, other = write("one", 1), write("same", 1), write("other", 2)
    assert one == same
    assert one["pages/00000.arrow"] != other["pages/00000.arrow"]
