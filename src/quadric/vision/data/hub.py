"""Read an image data set of the hub through the ``datasets`` library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quadric.activations.models import one_line, quietly
from quadric.errors import QuadricError
from quadric.vision.data.images import ImageData, Images

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""How a picture is read: grey stays grey, everything else becomes red, green and blue."""


def hub_images(
    hub_id: str, *, name: str | None = None, classes: tuple[str, ...] | None = None
) -> ImageData:
    """The splits ``train`` and ``test`` of a hub data set with one column of images.

    The labels are the column ``label``, else the only column of class labels.

    Args:
        hub_id: ``owner/name``, with its configuration after a colon where it needs one.
        name: of the result; by default the id.
        classes: their names; by default those of the hub, or numbers where it has none.

    Raises:
        QuadricError: the library is missing, the data set is unreachable, lacks a split or a
            column, or its images differ in size.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise QuadricError(
            f"cannot fetch the data set {hub_id!r}: the library datasets is not installed: "
            "pip install 'quadric[lm]'"
        ) from error
    path, _, configuration = hub_id.partition(":")
    try:
        with quietly():
            splits = load_dataset(path, configuration or None)
    except Exception as error:  # whatever a third-party loader raises becomes one line
        raise QuadricError(f"cannot fetch the data set {hub_id!r}: {one_line(error)}") from error
    if missing := [split for split in ("train", "test") if split not in splits]:
        raise QuadricError(
            f"data set {hub_id!r} has no split {missing[0]!r}: it has {', '.join(splits)}"
        )
    pictures, labels = _columns(hub_id, splits["train"].features)
    if classes is None:
        classes = _classes(splits, labels)
    train, test = (
        _images(hub_id, splits[split], pictures, labels, classes) for split in ("train", "test")
    )
    return ImageData(name or hub_id, train, test)


def _columns(hub_id: str, features: dict[str, Any]) -> tuple[str, str]:
    """The names of the image column and of the label column."""
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    pictures = [column for column, kind in kinds.items() if kind == "Image"]
    labels = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    if "label" in kinds:
        labels = ["label"]
    for found, what in ((pictures, "images"), (labels, "class labels")):
        if len(found) != 1:
            raise QuadricError(
                f"data set {hub_id!r} has {len(found)} columns of {what}, expected one: its "
                f"columns are {', '.join(f'{column} ({kind})' for column, kind in kinds.items())}"
            )
    return pictures[0], labels[0]


def _classes(splits: Any, column: str) -> tuple[str, ...]:
    names = getattr(splits["train"].features[column], "names", None)
    if names:
        return tuple(names)
    last = max(max(splits[split][column], default=0) for split in ("train", "test"))
    return tuple(map(str, range(last + 1)))


def _images(
    hub_id: str, split: Any, pictures: str, labels: str, classes: tuple[str, ...]
) -> Images:
    rows = [_pixels(picture, hub_id) for picture in split[pictures]]
    shapes = sorted({row.shape for row in rows})
    if len(shapes) != 1:
        raise QuadricError(
            f"data set {hub_id!r} has images of {len(shapes)} sizes, such as "
            f"{' and '.join('×'.join(map(str, shape)) for shape in shapes[:2])}, expected one"
        )
    pixels = torch.from_numpy(np.stack(rows)).flatten(1).to(torch.float32).div_(255)
    height, width, channels = shapes[0]
    return Images(pixels, torch.tensor(list(split[labels])), (height, width, channels), classes)


def _pixels(picture: Image, hub_id: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One picture as bytes, height × width × channels."""
    if picture.mode not in _MODES:
        raise QuadricError(
            f"data set {hub_id!r} has an image of mode {picture.mode!r}, "
            f"expected one of {', '.join(_MODES)}"
        )
    values = np.asarray(picture.convert(_MODES[picture.mode]), dtype=np.uint8)
    return values.reshape(*values.shape[:2], -1)
