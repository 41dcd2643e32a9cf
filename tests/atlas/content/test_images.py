"""Images: axes and rows as pictures, on scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from quadric.activations.config import DataConfig
from quadric.activations.rows import MemoryRows
from quadric.atlas.content.images import Pixels, axis_images
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.runs.atlas import build_atlas
from quadric.runs.execution import execute
from quadric.training import TrainingConfig

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    root = tmp_path_factory.mktemp("digits")
    digits = load_digits().data.astype(np.float32)
    np.save(root / "x.npy", digits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quadric.manifolds.controls.FORMS", 24)
        execute(
            root / "run",
            autoencoders={
                "main": {"variant": "composite", "d_sae": 8, "block": 2, "scale": "whole"}
            },
            training=TrainingConfig(steps=40, batch_size=256, lr=0.1, product_dtype="float32"),
            data=DataConfig(activations=str(root / "x.npy")),
        )
        build_atlas(root / "run", root / "atlas", image_shape=SHAPE)
    return root, digits


def test_an_atlas_of_images_is_whole(built: tuple[Path, np.ndarray]) -> None:
    root, digits = built
    assert validate(root / "atlas").problems == []
    atlas = AtlasFolder(root / "atlas")
    assert atlas.manifest.modality == "image" and atlas.manifest.image_shape == SHAPE
    assert atlas.manifest.pixel_range == (0.0, 16.0)
    model = BilinearAutoencoder.load_from_disk(root / "run")
    for place in range(atlas.manifest.forms):
        page = atlas.page(place)
        assert page.images is not None
        assert page.images.shape == (len(page.points.axis_kind), *SHAPE)
        # With one scale for all pixels a picture is its axis, and a row lies along it as stored.
        x = torch.from_numpy(digits[page.rows])
        y = model.transform.apply_to(x).y.double().numpy()
        along = y @ page.images.reshape(len(page.images), 64).T
        assert np.allclose(along, page.points.coordinates, atol=0.03)
        for row in page.rows[:5].tolist():
            stored = atlas.pixels(row).astype(float).reshape(64)
            assert np.abs(stored / 255 * 16 - digits[row]).max() <= 16 / 510 + 1e-6


def test_an_axis_is_undone_through_the_scales() -> None:
    """A step along an axis of y moves x by the axis times the scales."""
    config = AutoencoderConfig(d_in=6, d_sae=3, scale="dimension", norm="none")
    model = BilinearAutoencoder(config)
    generator = torch.Generator().manual_seed(0)
    model.transform.fit(torch.randn(50, 6, generator=generator) * torch.arange(1, 7) + 2)
    axes = torch.linalg.qr(torch.randn(6, 2, generator=generator)).Q.T
    found = axis_images(model, axes, (2, 3, 1))
    assert found is not None and found.shape == (2, 2, 3, 1)
    here = torch.randn(6, generator=generator)
    for axis, picture in zip(axes, found, strict=True):
        moved = model.transform.undo(here + axis) - model.transform.undo(here)
        assert np.allclose(picture.reshape(6), (moved / moved.norm()).numpy(), atol=1e-5)
    assert axis_images(model, axes, None) is None


def test_pixels_are_cut_off_at_their_bounds() -> None:
    store = MemoryRows(torch.tensor([[-1.0, 0.0, 0.5, 1.0, 3.0]]))
    assert Pixels(store, (0.0, 1.0))(np.array([0])).tolist() == [[0, 0, 128, 255, 255]]
