"""Data sets of the hub: what becomes of their columns, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets as hub
import numpy as np
import pytest
from PIL import Image

from quadric.errors import QuadricError
from quadric.vision.data import datasets
from quadric.vision.data.datasets import open_images


@pytest.fixture(autouse=True)
def _nothing_is_open() -> None:
    datasets._opened.cache_clear()


def picture(seed: int, shape: tuple[int, ...] = (3, 5)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Put a data set of these columns on a hub of its own; returns what is asked of that.

    The second split holds the rows of the first in reverse.
    """

    def put(
        train: dict[str, list[Any]], *, splits: tuple[str, ...] = ("train", "test"), **kinds: Any
    ) -> list[Any]:
        asked: list[Any] = []
        features = hub.Features({"picture": hub.Image(), "label": hub.Value("int64")} | kinds)
        features = hub.Features({column: features[column] for column in train})
        split = hub.Dataset.from_dict(train, features=features)

        backwards = split.select(range(len(split))[::-1])

        def load(*arguments: object) -> hub.DatasetDict:
            asked.append(arguments)
            return hub.DatasetDict(dict(zip(splits, (split, backwards), strict=True)))

        monkeypatch.setattr(hub, "load_dataset", load)
        return asked

    return put


def test_a_hub_data_set_with_named_classes(publish: Callable[..., list[Any]]) -> None:
    pictures = [picture(seed, (3, 5, 3)) for seed in range(4)]
    asked = publish(
        {"picture": pictures, "kind": [0, 1, 1, 1]}, kind=hub.ClassLabel(names=["ant", "bee"])
    )
    data = open_images("owner/name:small")
    assert asked == [("owner/name", "small")]
    assert data.name == "owner/name:small"
    assert data.train.shape == (3, 5, 3)
    assert data.train.classes == ("ant", "bee")
    assert data.train.labels.tolist() == [0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 1, 1, 0]
    np.testing.assert_array_equal(data.test.pixels, data.train.pixels.flip(0))
    for row, source in zip(data.train.pixels, pictures, strict=True):
        np.testing.assert_allclose(row.view(3, 5, 3), np.asarray(source) / 255, rtol=1e-6)


def test_a_hub_data_set_with_numbered_classes_and_grey_images(
    publish: Callable[..., list[Any]],
) -> None:
    asked = publish({"picture": [picture(0), picture(1)], "label": [2, 0]})
    data = open_images("owner/name")
    assert asked == [("owner/name", None)]
    assert data.train.shape == (3, 5, 1)
    assert data.train.classes == ("0", "1", "2")
    np.testing.assert_allclose(
        data.train.pixels[1].view(3, 5), np.asarray(picture(1)) / 255, rtol=1e-6
    )


def test_a_known_name_from_the_hub_keeps_its_name_and_classes(
    publish: Callable[..., list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    asked = publish({"picture": [picture(0), picture(1)], "label": [2, 0]})
    data = open_images("mnist")
    assert asked == [("ylecun/mnist", None)]
    assert data.name == "mnist"
    assert data.train.classes == tuple("0123456789")


def test_what_is_wrong_on_the_hub(publish: Callable[..., list[Any]]) -> None:
    def refused(message: str, columns: dict[str, list[Any]], **options: Any) -> None:
        datasets._opened.cache_clear()
        publish(columns, **options)
        with pytest.raises(QuadricError, match=message):
            open_images("owner/name")

    grey = [picture(0), picture(1)]
    refused(
        "images of 2 sizes, such as 3×5×1 and 5×3×1",
        {"picture": [grey[0], picture(1, (5, 3))], "label": [0, 1]},
    )
    refused(
        "images of 2 sizes, such as 3×5×1 and 3×5×3",
        {"picture": [grey[0], picture(1, (3, 5, 3))], "label": [0, 1]},
    )
    refused(
        "no split 'test': it has train, extra",
        {"picture": grey, "label": [0, 1]},
        splits=("train", "extra"),
    )
    refused(
        r"0 columns of images, expected one: its columns are label \(Value\)", {"label": [0, 1]}
    )
    refused(r"0 columns of class labels.* picture \(Image\)", {"picture": grey})
    names = hub.ClassLabel(names=["ant", "bee"])
    refused(
        "2 columns of class labels",
        {"picture": grey, "fine": [0, 1], "coarse": [0, 1]},
        fine=names,
        coarse=names,
    )
    refused("label -1 names no class", {"picture": grey, "label": [0, -1]})
    refused(
        "an image of mode 'CMYK', expected",
        {"picture": [p.convert("CMYK") for p in grey], "label": [0, 1]},
    )
