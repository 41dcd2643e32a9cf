"""What an atlas of a classifier is made of, what it refuses, and its command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from quadric.atlas.content.axes import Group, eigen_form
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.packing import one_form
from quadric.atlas.service.opening import open_session
from quadric.errors import QuadricError
from quadric.experiments.vision.atlas_command import atlas as command
from quadric.vision.atlas.build import build_atlas
from quadric.vision.atlas.directions import confused, directions
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig
from quadric.vision.data.images import Images
from tests.vision.atlas_models import Given, given
from tests.vision.builders import CLASSES, SHAPE, digits_model


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-9, -8, -7, -6, -5, 4, -3, 2, 1, 0.5, 0.2], [-9, -8, -7, -6, 4, 2, 1, 0.5]),
        ([9, -8, 7, 6, 5, 4, 3, 2, 1, 0.5], [9, -8, 7, 6, 5, 4, 3, 2]),
        ([-3, -2, 1, 0], [-3, -2, 1]),
    ],
)
def test_both_signs_are_shown(values: list[float], expected: list[float]) -> None:
    """However lopsided the spectrum is."""
    eye = torch.eye(len(values), dtype=torch.float64)
    spectrum = torch.tensor(values, dtype=torch.float64)
    form = eigen_form(
        Group(0, (0,), (1.0,)), spectrum, eye, eye, spectrum[:, None] * eye, both_signs=True
    )
    assert form.matrix.diagonal().tolist() == expected
    assert torch.equal(form.axes @ spectrum, form.matrix.diagonal())
    assert torch.equal(form.spectrum, spectrum)


def test_confused_pairs() -> None:
    counts = torch.tensor([[9, 0, 3, 0], [2, 9, 0, 0], [1, 0, 9, 5], [0, 0, 4, 9]])
    assert confused(counts, 9) == [(2, 3), (0, 2), (0, 1)]
    assert confused(counts, 2) == [(2, 3), (0, 2)]
    assert confused(torch.eye(4, dtype=torch.int64), 9) == []


def test_no_difference_of_classes_that_are_never_confused() -> None:
    trained = given()
    images = trained.data().test
    with torch.no_grad():
        labels = trained.model(images.pixels).argmax(1)
    told = Images(images.pixels, labels, images.shape, images.classes)
    assert [each.kind for each in directions(trained.model, told)] == ["output"] * 5 + [
        "composed"
    ] * 5


@pytest.mark.parametrize(
    ("config", "message"),
    [({"gate": "relu"}, "gate"), ({"blocks": 2}, "2 blocks")],
)
def test_logits_that_are_no_forms_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(QuadricError, match=message):
        build_atlas(given(**config), tmp_path / "atlas")
    assert not (tmp_path / "atlas").exists()


def test_others_are_refused(tmp_path: Path) -> None:
    one = given()
    model = ImageClassifier(ClassifierConfig(d_embed=7, d_hidden=9), (4, 3, 1), CLASSES)
    with pytest.raises(QuadricError, match="images of 3×4×1 and two of 4×3×1"):
        build_atlas(one, tmp_path / "a", compare=Given(Path("two"), one.recipe, model, 0.0, []))
    names = (*CLASSES[:-1], "emu")
    model = ImageClassifier(ClassifierConfig(d_embed=7, d_hidden=9), SHAPE, names)
    with pytest.raises(QuadricError, match="two ant, bee, cat, dog, emu"):
        build_atlas(one, tmp_path / "a", compare=Given(Path("two"), one.recipe, model, 0.0, []))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(QuadricError, match="mine"):
        build_atlas(one, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_the_command_and_what_is_done_with_an_atlas(tmp_path: Path) -> None:
    model, out = digits_model().path, tmp_path / "atlas"
    ran = CliRunner().invoke(command, [str(model), "-o", str(out), "--title", "mine"])
    assert ran.exit_code == 0, ran.output
    atlas = AtlasFolder(out)
    assert atlas.manifest.title == "mine" and str(out) in ran.output
    assert atlas.manifest.facts["Data"] == "digits"
    assert atlas.manifest.facts["Test accuracy"] == f"{digits_model().test_accuracy:.2%}"
    assert atlas.manifest.pixel_range == (0.0, 1.0)
    session, note = open_session(out, None)
    assert session is None and "image model" in note and "--run" not in note
    assert b"quadric-atlas" in one_form(out, 3)
