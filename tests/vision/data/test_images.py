"""Labelled images: what is accepted, and what a refusal says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.data.images import ImageData, Images

SHAPE = (3, 4, 2)
CLASSES = ("cat", "dog", "fish")


def images(n: int = 5, **changes: Any) -> Images:
    fields = {
        "pixels": torch.rand(n, 24, generator=torch.Generator().manual_seed(n)),
        "labels": torch.arange(n) % 3,
        "shape": SHAPE,
        "classes": CLASSES,
    }
    return Images(**(fields | changes))


def test_take_keeps_each_label_with_its_image() -> None:
    whole = images()
    some = whole.take(torch.tensor([4, 1]))
    assert len(whole) == 5
    assert len(some) == 2
    assert whole.d_in == 24
    assert torch.equal(some.pixels, whole.pixels[[4, 1]])
    assert some.labels.tolist() == [1, 1]
    assert (some.shape, some.classes) == (SHAPE, CLASSES)


def test_a_mask_and_an_empty_choice_are_allowed() -> None:
    whole = images()
    assert whole.take(whole.labels == 0).labels.tolist() == [0, 0]
    assert len(whole.take(torch.tensor([], dtype=torch.long))) == 0


NAN = torch.full((5, 24), 0.5).index_fill(0, torch.tensor([2]), float("nan"))
WRONG = {
    "width": ({"pixels": torch.rand(5, 23)}, "a row has 23 pixels, but images of shape 3×4×2"),
    "float64": ({"pixels": torch.rand(5, 24).double()}, "pixels are torch.float64 of shape"),
    "not rows": ({"pixels": torch.rand(5, 3, 4, 2)}, "expected float32 rows"),
    "bright": ({"pixels": torch.full((5, 24), 255.0)}, "from 255 to 255, expected 0 to 1"),
    "negative": ({"pixels": torch.full((5, 24), -0.5)}, "from -0.5 to -0.5"),
    "nan": ({"pixels": NAN}, "nan"),
    "int32": ({"labels": torch.zeros(5, dtype=torch.int32)}, "labels are torch.int32"),
    "lengths": ({"labels": torch.zeros(4, dtype=torch.int64)}, "5 images but 4 labels"),
    "high label": (
        {"labels": torch.tensor([0, 3, 1, 2, 0])},
        r"label 3 names no class.* 3 \(0–2\)",
    ),
    "low label": ({"labels": torch.tensor([0, 3, -1, 2, 0])}, "label -1 names no class"),
    "twins": ({"classes": ("cat", "dog", "cat")}, "expected distinct names"),
    "no class": ({"classes": ()}, "expected distinct names"),
    "flat shape": ({"shape": (4, 6)}, r"image shape is \(4, 6\)"),
    "no channel": ({"shape": (4, 6, 0)}, r"image shape is \(4, 6, 0\)"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(QuadricError, match=message):
        images(**changes)


def test_the_parts_of_a_data_set_must_belong_together() -> None:
    whole = images()
    with pytest.raises(QuadricError, match=r"training images of shape .* test images of shape"):
        ImageData("pets", whole, images(shape=(4, 3, 2)))
    with pytest.raises(
        QuadricError, match=r"the classes cat, dog, fish in training and cat, dog, f"
    ):
        ImageData("pets", whole, images(classes=("cat", "dog", "frog")))
    with pytest.raises(QuadricError, match="'pets' has no test images"):
        ImageData("pets", whole, whole.take(torch.tensor([], dtype=torch.long)))
