"""The atlas of a classifier against the classifier itself, in float64, from the files written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quadric.atlas.contract import FULL
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.atlas.records import FormPoints, FormRow, Page
from quadric.vision.atlas.build import build_atlas
from quadric.vision.classifier import ImageClassifier
from tests.vision.atlas_models import PIXELS, ROWS, Given, given
from tests.vision.builders import CLASSES, SHAPE, digits_model

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lifted": {"bias": True, "residual": True},
    "unembedded": {"d_embed": None},
}


@pytest.fixture(scope="module", params=CONFIGS)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Given, Given, AtlasFolder]:
    """Of every sort of classifier an atlas, compared with a plain one."""
    trained, other = given(**CONFIGS[request.param]), given("two", seed=1)
    folder = tmp_path_factory.mktemp("atlas") / "atlas"
    build_atlas(trained, folder, compare=other)
    return trained, other, AtlasFolder(folder)


def rows_and_pages(atlas: AtlasFolder) -> Iterator[tuple[int, FormRow, Page]]:
    for place in range(atlas.manifest.forms):
        yield place, atlas.row(place), atlas.page(place)


class Dense:
    """xᵀAx + ℓ·x + c of a combination of logits, read off the classifier's own values."""

    def __init__(self, model: ImageClassifier, row: FormRow) -> None:
        exact = ImageClassifier(model.config, model.shape, model.classes).double().eval()
        exact.load_state_dict(model.state_dict())
        self.weights = torch.zeros(len(model.classes), dtype=torch.float64)
        for member, weight in zip(row.members, row.weights, strict=True):
            self.weights[member] = weight
        self.model = exact
        eye = torch.eye(PIXELS, dtype=torch.float64)
        self.c = float(self(0 * eye[:1])[0])
        plus, minus = self(eye), self(-eye)
        self.linear = (plus - minus) / 2
        both = np.stack([self(eye + each) for each in eye])
        self.quadratic = (both - plus - plus[:, None] + self.c) / 2
        np.fill_diagonal(self.quadratic, (plus + minus) / 2 - self.c)

    def __call__(self, x: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = (self.model(x.double()) @ self.weights).numpy()
        return found

    @property
    def lifted(self) -> np.ndarray:
        """The matrix on [x; 1]."""
        whole = np.zeros((PIXELS + 1, PIXELS + 1))
        whole[:-1, :-1] = self.quadratic
        whole[:-1, -1] = whole[-1, :-1] = self.linear / 2
        whole[-1, -1] = self.c
        return whole


def step(points: FormPoints) -> float:
    """How far 16 bits and float32 may move a value."""
    most = float(np.abs(points.value).max())
    return most / (2 * FULL) + 2e-5 * most


def test_values_are_the_logits(built: tuple[Given, Given, AtlasFolder]) -> None:
    trained, other, atlas = built
    assert validate(atlas.folder).problems == []
    test = trained.data().test
    for place, row, page in rows_and_pages(atlas):
        x = test.pixels[torch.from_numpy(page.rows.astype(np.int64))]
        assert np.abs(page.points.value - Dense(trained.model, row)(x)).max() <= step(page.points)
        pair = atlas.pair(place)
        theirs = Dense(other.model, row)(x)
        assert np.abs(pair.points.value - theirs).max() <= step(pair.points)
        assert (pair.partner, pair.label) == (row.id, row.label)


def both_signs(values: np.ndarray) -> list[int]:
    """Four of each sign, and where one has fewer, more of the other; in their order."""
    alive = [i for i in range(len(values)) if abs(values[i]) > 1e-6 * abs(values[0])]
    one, two = [[i for i in alive if sign * values[i] > 0] for sign in (1, -1)]
    first = one[:4] + two[:4]
    return sorted(first + [i for i in alive if i not in first][: 8 - len(first)])


def test_axes_are_the_eigenvectors_over_pixels(built: tuple[Given, Given, AtlasFolder]) -> None:
    trained, _, atlas = built
    test = trained.data().test
    for _, row, page in rows_and_pages(atlas):
        points, dense = page.points, Dense(trained.model, row)
        values, vectors = np.linalg.eigh(dense.quadratic)
        order = np.argsort(-np.abs(values), kind="stable")
        values, vectors = values[order], vectors.T[order]
        count = len(points.spectrum)
        assert np.allclose(points.spectrum, values[:count], atol=1e-4 * abs(values[0]))
        assert np.allclose(values[count:], 0, atol=1e-6 * abs(values[0]))
        chosen = both_signs(values)
        r = len(points.axis_kind)
        assert r == len(chosen) >= 7
        assert set(points.axis_kind) == {"eigenvector"}
        assert np.allclose(points.form, np.diag(values[chosen]), atol=1e-4 * abs(values[0]))
        assert page.images is not None and page.images.shape == (r, *SHAPE)
        signs = np.sign((page.images.reshape(r, -1) * vectors[chosen]).sum(1))
        axes = signs[:, None] * vectors[chosen]
        assert np.abs(page.images.reshape(r, -1) - axes).max() < 0.6 / 127 + 2e-3
        x = test.pixels[torch.from_numpy(page.rows.astype(np.int64))].double().numpy()
        assert np.abs(points.coordinates - x @ axes.T).max() < 2e-3
        assert np.allclose(points.linear, axes @ dense.linear, atol=1e-3 * abs(values[0]))
        assert np.isclose(points.constant, dense.c, atol=1e-4 * abs(values[0]))
        # The terms of all eigenvectors, the linear and the constant one are the logit.
        terms = (x @ vectors.T) ** 2 @ values + x @ dense.linear + dense.c
        assert np.abs(points.value - terms).max() <= step(points)
        if not trained.model.lifted:
            assert not points.linear.any() and points.constant == 0


def test_statistics_are_counted_on_the_test_images(
    built: tuple[Given, Given, AtlasFolder],
) -> None:
    trained, _, atlas = built
    test = trained.data().test
    right: dict[str, list[bool]] = {}
    for x, label in zip(test.pixels, test.labels.tolist(), strict=True):
        with torch.no_grad():
            logits = trained.model(x)
        right.setdefault(CLASSES[label], []).append(int(logits.argmax()) == label)
        for a in range(len(CLASSES)):
            for b in range(a + 1, len(CLASSES)):
                if label in (a, b):
                    won = bool((logits[a] > logits[b]) == (label == a))
                    right.setdefault(f"{CLASSES[a]} − {CLASSES[b]}", []).append(won)
    for _, row, page in rows_and_pages(atlas):
        found = row.statistics
        if row.label in right:
            assert np.isclose(found["accuracy"], np.mean(right[row.label]))
        else:
            assert row.label.startswith("component ") and np.isnan(found["accuracy"])
        values = Dense(trained.model, row)(test.pixels)
        assert np.isclose(found["max_positive"], max(values.max(), 0), rtol=1e-4)
        assert np.isclose(found["max_negative"], min(values.min(), 0), rtol=1e-4)
        assert np.isclose(found["mean_square"], np.square(values).mean(), rtol=1e-4)
        size = np.square(Dense(trained.model, row).quadratic).sum()
        assert np.isclose(found["importance"], size, rtol=1e-4)
        assert page.histogram_counts.sum() == ROWS
        first = {each.kind: each.row for each in reversed(page.contexts)}
        assert first.get("most_positive", values.argmax()) == values.argmax()
        assert first.get("most_negative", values.argmin()) == values.argmin()
        assert ("most_positive" in first) == (values.max() > 0)
        assert ("most_negative" in first) == (values.min() < 0)


def test_neighbours_and_partners_are_cosines_of_whole_forms(
    built: tuple[Given, Given, AtlasFolder],
) -> None:
    trained, other, atlas = built
    rows = [row for _, row, _ in rows_and_pages(atlas)]
    own = [Dense(trained.model, row).lifted for row in rows]
    for place, row, page in rows_and_pages(atlas):
        theirs = Dense(other.model, row).lifted
        assert np.isclose(atlas.pair(place).overlap, cosine(own[place], theirs), atol=1e-5)
        near = [each for each in page.neighbours if each.measure == 0]
        assert row.id not in {each.id for each in page.neighbours} and len(near) >= 5
        for each in near:
            assert np.isclose(each.overlap, cosine(own[place], own[each.id]), atol=1e-5)
        for each in (each for each in page.neighbours if each.measure == 1):
            one, two = leading(own[place]), leading(own[each.id])
            shared = np.square(one.T @ two).sum() / np.sqrt(one.shape[1] * two.shape[1])
            assert np.isclose(each.overlap, shared, atol=1e-4)
    components = [own[place] for place, row in enumerate(rows) if row.label.startswith("comp")]
    gram = np.array([[cosine(a, b) for b in components] for a in components])
    assert np.allclose(gram, np.eye(len(CLASSES)), atol=1e-4)


def leading(lifted: np.ndarray) -> np.ndarray:
    """The fewest eigenvectors of the quadratic part with 90 % of Σλ², as columns."""
    values, vectors = np.linalg.eigh(lifted[:-1, :-1])
    order = np.argsort(-np.abs(values))
    held = np.cumsum(values[order] ** 2) / np.sum(values**2)
    return vectors[:, order[: int((held < 0.9).sum()) + 1]]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_what_is_shown_and_in_which_order(built: tuple[Given, Given, AtlasFolder]) -> None:
    trained, _, atlas = built
    rows = [row for _, row, _ in rows_and_pages(atlas)]
    assert [row.id for row in rows] == list(range(len(rows)))
    assert [row.label for row in rows[:5]] == list(CLASSES)
    assert [row.kind for row in rows] == ["output"] * 5 + ["composed"] * (len(rows) - 5)
    assert [(row.members, row.weights) for row in rows[:2]] == [([0], [1.0]), ([1], [1.0])]
    difference = next(row for row in rows if " − " in row.label)
    names = [CLASSES[member] for member in difference.members]
    assert difference.label == " − ".join(names) and list(difference.weights) == [1.0, -1.0]
    component = next(row for row in rows if row.label.startswith("component 1: "))
    largest = int(np.abs(component.weights).argmax())
    assert component.label.startswith(f"component 1: +{CLASSES[component.members[largest]]}")
    # Points: images with the most energy along the axes, then images drawn without looking.
    page = atlas.page(0)
    assert page.present.sum() >= 64 and sorted(page.rows) == list(range(ROWS))
    stored = atlas.pixels(7).astype(float).reshape(PIXELS) / 255
    assert np.abs(stored - trained.data().test.pixels[7].numpy()).max() <= 0.5 / 255 + 1e-6


def test_points_have_the_most_energy_in_the_axes(tmp_path: Path) -> None:
    trained = digits_model()
    build_atlas(trained, tmp_path / "atlas")
    atlas = AtlasFolder(tmp_path / "atlas")
    assert validate(tmp_path / "atlas").problems == []
    x = trained.data().test.pixels.double().numpy()
    for _, _, page in list(rows_and_pages(atlas))[:12]:
        assert page.images is not None
        energy = np.square(x @ page.images.reshape(len(page.images), -1).T).sum(1)
        present = page.rows[page.present].astype(int)
        absent = np.setdiff1d(np.arange(len(x)), present)
        assert len(present) < len(x) / 2
        assert energy[present].min() > 0.97 * energy[absent].max()
