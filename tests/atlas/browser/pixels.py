"""What a screenshot shows, as numbers."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Int
from PIL import Image
from playwright.sync_api import Locator

DIFFERENT = 24
"""Channels that differ by less are the same colour to an eye."""


def shot(locator: Locator) -> Int[np.ndarray, "h w 3"]:
    """What the compositor shows there, which a read-back of the canvas would not."""
    image = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return np.asarray(image).astype(np.int64)


def changed(before: Int[np.ndarray, "h w 3"], after: Int[np.ndarray, "h w 3"]) -> int:
    """Pixels that differ visibly, in the part that both pictures have."""
    height, width = np.minimum(before.shape, after.shape)[:2]
    before, after = before[:height, :width], after[:height, :width]
    return int((np.abs(before - after).max(2) > DIFFERENT).sum())


def drawn(picture: Int[np.ndarray, "h w 3"]) -> int:
    """Pixels that are not of the commonest colour."""
    flat = picture.reshape(-1, 3)
    colours, counts = np.unique(flat, axis=0, return_counts=True)
    return changed(picture, np.broadcast_to(colours[counts.argmax()], picture.shape))
