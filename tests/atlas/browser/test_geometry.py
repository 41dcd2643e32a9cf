"""Pixels where the formula says: the drawing code alone, against rays and roots in float64.

A camera [azimuth, elevation, distance] looks at the middle of the box that holds the points, from
``distance`` times the box's largest half-size; 35° of view fall on the shorter side. The box is
12 % larger than the points. Near its walls the surface fades, so nothing is asked of it there.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from .scene_page import harness  # noqa: F401 — a fixture

WIDTH, HEIGHT = 440, 360
FOCAL = min(WIDTH, HEIGHT) / 2 / np.tan(np.radians(17.5))
MARGIN = 1.12
CORNERS = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
CAMERAS = [[35, 20, 4.5], [-110, -35, 3.2], [0, 0, 4.0], [-90, 90, 5.0]]
# The last from inside the box, which is where one gets by zooming in.
SURFACE_CAMERAS = [CAMERAS[0], CAMERAS[1], CAMERAS[3], [40, 30, 1.25]]
EYE3 = np.eye(3)
# A, b, level: one of each kind of quadric, some turned and some away from the origin.
TURNED = np.array([[1.0, 0.3, -0.2], [0.3, 0.8, 0.25], [-0.2, 0.25, 1.6]])
QUADRICS: dict[str, tuple[Any, list[float], float]] = {
    "sphere": (EYE3, [0, 0, 0], 0.6),
    "ellipsoid": (TURNED, [0.3, -0.2, 0.4], 0.55),
    "one sheet": (np.diag([1.0, 0.7, -0.9]), [0, 0, 0], 0.3),
    "two sheets": (np.diag([1.0, 0.7, -0.9]), [0.1, 0, 0.05], -0.2),
    "cone": (np.diag([1.0, 0.7, -0.9]), [0, 0, 0], 0.0),
    "cylinder": (np.diag([1.0, 0.6, 0]), [0, 0, 0], 0.4),
    "paraboloid": (np.diag([1.0, 0.8, 0]), [0, 0, -1.2], 0.1),
    "saddle": (np.diag([1.0, -0.8, 0]), [0, 0, -0.7], 0.0),
    "planes": (np.diag([1.0, 0, -0.6]), [0, 0, 0], 0.05),
    "plane": (np.zeros((3, 3)), [0.7, 0.3, -0.5], 0.2),
    "lopsided": (np.array([[0, 0.9, 0], [0.9, 0, 0.2], [0, 0.2, 0.3]]), [0.2, 0.5, 0], 0.15),
}


MOUNT = """([width, height]) => {
  document.body.style.margin = "0";
  const host = document.createElement("div");
  Object.assign(host.style, { position: "relative", width: `${width}px`, height: `${height}px` });
  document.body.append(host);
  const theme = { dark: false, background: "#ffffff", foreground: "#111111", positive: "#e66101",
    negative: "#0571b0", neutral: "#b9b9b9", accent: "#2b8289" };
  window.view = window.scene.createCloud(host, {}, { theme, reducedMotion: true });
  window.canvas = host.querySelector("canvas");
}"""
SHOW = """async ({ points, values, camera, slice, level, band }) => {
  view.setCloud({ positions: new Float32Array(points), colour: new Float32Array(values) });
  if (slice) slice.quadratic = new Float32Array(slice.quadratic);
  view.setSurface(slice && { slice, level, band });
  view.setCamera(camera);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const { width, height } = canvas;
  window.copy ??= new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  let text = "";
  for (let i = 0; i < data.length; i += 8192)
    text += String.fromCharCode(...data.subarray(i, i + 8192));
  return btoa(text);
}"""


@pytest.fixture
def stage(visit: Callable[..., Page], harness: str) -> Page:  # noqa: F811
    """A page with one empty cloud of known size."""
    page = visit(harness, ready=None)
    page.evaluate(MOUNT, [WIDTH, HEIGHT])
    return page


def picture(
    page: Page,
    points: np.ndarray,
    camera: list[float],
    quadric: tuple[Any, list[float], float] | None = None,
    *,
    values: list[float] | None = None,
    constant: float = 0.0,
    band: float = 0.0,
) -> np.ndarray:
    """What is drawn: height × width × 3, as numbers from 0 to 255."""
    form = None
    if quadric is not None:
        matrix = np.asarray(quadric[0], dtype=float)
        form = {
            "quadratic": matrix.ravel().tolist(),
            "linear": [float(v) for v in quadric[1]],
            "constant": constant,
        }
    encoded = page.evaluate(
        SHOW,
        {
            "points": np.asarray(points, dtype=float).ravel().tolist(),
            "values": values if values is not None else [1.0] * len(points),
            "camera": camera,
            "slice": form,
            "level": quadric[2] + constant if quadric else 0,
            "band": band,
        },
    )
    raw = np.frombuffer(base64.b64decode(encoded), dtype=np.uint8)
    return raw.reshape(HEIGHT, WIDTH, 4)[:, :, :3].astype(int)


def frame_of(camera: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The eye seen from the box's middle, and the directions right, up and back; box units."""
    azimuth, elevation = np.radians(camera[:2])
    back = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return camera[2] * back, right, np.cross(back, right), back


def places(points: np.ndarray, camera: list[float], middle: np.ndarray) -> np.ndarray:
    """Pixels (n, 2) of points around ``middle`` in a box of half-size MARGIN."""
    eye, right, up, back = frame_of(camera)
    seen = (points - middle) / MARGIN - eye
    depth = -seen @ back
    return np.stack(
        [
            WIDTH / 2 + FOCAL * (seen @ right) / depth,
            HEIGHT / 2 - FOCAL * (seen @ up) / depth,
        ],
        axis=1,
    )


def meets(
    pixels: np.ndarray,
    camera: list[float],
    quadric: tuple[Any, list[float], float],
    middle: np.ndarray,
    wall: float,
) -> np.ndarray:
    """Whether the ray through each pixel (n, 2) meets the level set inside ``wall``.

    ``wall`` bounds Σ uᵢ⁴ in box units, which is where the surface fades (0.62) and ends (1).
    """
    matrix, linear, level = np.asarray(quadric[0], float), np.asarray(quadric[1], float), quadric[2]
    eye, right, up, back = frame_of(camera)
    ray = (
        (pixels[:, :1] + 0.5 - WIDTH / 2) * right
        - (pixels[:, 1:] + 0.5 - HEIGHT / 2) * up
        - FOCAL * back
    )
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    start = middle + MARGIN * eye
    q2 = np.einsum("ni,ij,nj->n", ray, matrix, ray)
    q1 = 2 * ray @ matrix @ start + ray @ linear
    q0 = start @ matrix @ start + linear @ start - level
    with np.errstate(all="ignore"):
        spread = np.sqrt(q1**2 - 4 * q2 * q0)  # NaN where there is no root
        bent = np.abs(q2) > 1e-12
        roots = [np.where(bent, (-q1 + sign * spread) / (2 * q2), -q0 / q1) for sign in (-1.0, 1.0)]
        met = np.zeros(len(pixels), dtype=bool)
        for root in roots:
            at = eye + root[:, None] / MARGIN * ray
            met |= (root > 0) & ((at**4).sum(axis=1) < wall) & (np.abs(at).max(axis=1) < 1)
    return met


def covered(drawn: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Pixels that the surface has changed."""
    return np.abs(drawn - empty).max(axis=2) >= 3


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("middle", [[0.0, 0.0, 0.0], [5.0, -4.0, 6.0]])
def test_points_are_drawn_where_they_are_projected(
    stage: Page, camera: list[float], middle: list[float]
) -> None:
    inner = np.array([[0.7, 0.1, 0.2], [-0.5, 0.6, -0.3], [0.2, -0.6, 0.55], [0.05, -0.2, -0.75]])
    points = np.concatenate([CORNERS, inner]) + middle
    drawn = picture(stage, points, camera)
    expected = places(points, camera, np.array(middle))
    said = stage.evaluate("p => [...view.project(new Float32Array(p))]", points.ravel().tolist())
    np.testing.assert_allclose(np.reshape(said, (-1, 2)), expected, atol=0.02)

    red, green, blue = drawn[..., 0], drawn[..., 1], drawn[..., 2]
    orange = (red - blue > 120) & (red > green)
    rows, columns = np.nonzero(orange)
    found = 0
    for place in expected:
        others = np.linalg.norm(expected - place, axis=1)
        outside = np.any(place < 12) or np.any(place > [WIDTH - 12, HEIGHT - 12])
        if outside or np.any((others > 1e-9) & (others < 16)):
            continue  # or one of two that overlap
        found += 1
        near = np.hypot(columns + 0.5 - place[0], rows + 0.5 - place[1]) < 8
        assert near.sum() > 10
        centre = [columns[near].mean() + 0.5, rows[near].mean() + 0.5]
        np.testing.assert_allclose(centre, place, atol=1)
    assert found >= 6


@pytest.mark.parametrize("name", QUADRICS)
def test_level_sets_cover_the_pixels_whose_rays_meet_them(stage: Page, name: str) -> None:
    matrix, linear, level = QUADRICS[name]
    # The same surface about another middle: f(p − m).
    middle = np.array([0.0, 0.0, 0.0] if len(name) % 2 else [4.0, 5.0, -6.0])
    moved = (
        matrix,
        (np.asarray(linear) - 2 * np.asarray(matrix) @ middle).tolist(),
        level - middle @ np.asarray(matrix) @ middle + np.dot(linear, middle),
    )
    lattice = np.array(list(itertools.product(range(6, WIDTH - 6, 13), range(6, HEIGHT - 6, 13))))
    steps = 3 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    asked = 0
    for camera in SURFACE_CAMERAS:
        empty = picture(stage, CORNERS + middle, camera)
        # A constant moves the form and its level alike, and changes nothing.
        drawn = covered(picture(stage, CORNERS + middle, camera, moved, constant=0.37), empty)
        around = (lattice[:, None, :] + steps).reshape(-1, 2)
        surely = meets(around, camera, moved, middle, 0.5).reshape(-1, len(steps)).all(axis=1)
        never = ~meets(around, camera, moved, middle, 1.05).reshape(-1, len(steps)).any(axis=1)
        painted = drawn[lattice[:, 1], lattice[:, 0]]
        # Points and axes may lie before the surface.
        free = empty[lattice[:, 1], lattice[:, 0]].min(axis=1) == 255
        wrong = free & ((surely & ~painted) | (never & painted))
        assert not wrong.any(), f"{camera}: {lattice[wrong][:5].tolist()}"
        asked += int((free & surely).sum())
        assert (free & (surely | never)).sum() > 100
    assert asked > 60


@pytest.mark.parametrize("camera", [[0, 0, 4.5], [63, -28, 3.4]])
def test_a_sphere_has_the_outline_of_its_tangent_cone(stage: Page, camera: list[float]) -> None:
    radius = 0.8
    empty = picture(stage, CORNERS, camera)
    drawn = covered(picture(stage, CORNERS, camera, (EYE3, [0, 0, 0], radius**2)), empty)
    outline = FOCAL * np.tan(np.arcsin(radius / MARGIN / camera[2]))
    turn = np.radians(np.arange(2, 360, 7))
    for reach, inside in ((outline - 1.5, True), (outline + 1.5, False)):
        x = np.floor(WIDTH / 2 + reach * np.cos(turn)).astype(int)
        y = np.floor(HEIGHT / 2 + reach * np.sin(turn)).astype(int)
        assert np.mean(drawn[y, x] == inside) > 0.97


def test_the_waist_of_a_hyperboloid_is_as_wide_as_its_level(stage: Page) -> None:
    camera = [-90.0, 0.0, 4.5]
    waist = 0.5
    empty = picture(stage, CORNERS, camera)
    form = (np.diag([1.0, 1.0, -1.0]), [0, 0, 0], waist**2)
    row = covered(picture(stage, CORNERS, camera, form), empty)[HEIGHT // 2]
    columns = np.nonzero(row)[0]
    outline = FOCAL * np.tan(np.arcsin(waist / MARGIN / camera[2]))
    assert abs(columns.min() - (WIDTH / 2 - outline)) <= 1.5
    assert abs(columns.max() + 1 - (WIDTH / 2 + outline)) <= 1.5


def test_points_lie_before_within_and_behind_the_surface(stage: Page) -> None:
    radius, camera = 0.7, [0.0, 0.0, 4.5]
    form = (EYE3, [0, 0, 0], radius**2)

    def tint(depth: float) -> int:
        # Off the axis that points at the reader; y and z are the same for all depths.
        point = np.array([[depth, 0.17, 0.13]])
        points = np.concatenate([CORNERS, point])
        x, y = np.floor(places(point, camera, np.zeros(3))[0]).astype(int)
        without = picture(stage, points, camera)[y, x]
        return int(np.abs(picture(stage, points, camera, form)[y, x] - without).sum())

    sheet = float(np.sqrt(radius**2 - 0.17**2 - 0.13**2))
    before, on_near, within, on_far, behind = (
        tint(d) for d in (sheet + 0.08, sheet, 0.0, -sheet, -sheet - 0.08)
    )
    assert before == on_near == 0  # a point upon the near sheet is not hidden by it
    assert within > 10
    assert abs(on_far - within) <= 3  # and one upon the far sheet lies before that sheet
    assert behind > within + 5
    assert abs(tint(sheet - 0.08) - within) <= 3  # nor does a point below the sheet float on it


def test_a_band_lies_on_both_sides_of_the_level(stage: Page) -> None:
    camera = [20.0, 10.0, 4.5]
    level, band = 0.36, 0.13
    empty = picture(stage, CORNERS, camera)
    form = (EYE3, [0, 0, 0], level)
    drawn = covered(picture(stage, CORNERS, camera, form, band=band), empty)
    outline = FOCAL * np.tan(np.arcsin(np.sqrt(level + band) / MARGIN / camera[2]))
    turn = np.radians(np.arange(3, 360, 10))
    for reach, inside in ((outline - 2, True), (outline + 2, False)):
        x = np.floor(WIDTH / 2 + reach * np.cos(turn)).astype(int)
        y = np.floor(HEIGHT / 2 + reach * np.sin(turn)).astype(int)
        assert np.mean(drawn[y, x] == inside) > 0.97


def test_rings_and_discs_tell_the_sign(stage: Page) -> None:
    camera = [0.0, 0.0, 2.0]
    points = np.concatenate([CORNERS, [[0.0, 0.3, 0.3], [0.0, -0.3, 0.3]]])
    drawn = picture(stage, points, camera, values=[1.0] * 9 + [-1.0])
    disc, ring = np.floor(places(points[8:], camera, np.zeros(3))).astype(int)
    assert np.abs(drawn[disc[1], disc[0]] - [230, 97, 1]).max() <= 2
    assert np.abs(drawn[ring[1], ring[0]] - 255).max() <= 2
    patch = drawn[ring[1] - 9 : ring[1] + 10, ring[0] - 9 : ring[0] + 10].reshape(-1, 3)
    assert np.abs(patch - [5, 113, 176]).max(axis=1).min() <= 6
