"""Real numbers as small integers in units of a scale, and back.

``whole, scale = quantise(values)`` chooses the scale so that the largest magnitude becomes
``full``; ``restore(whole, scale)`` differs from the values by at most scale/(2·full).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from quadric.atlas.contract import FULL

SMALLEST = float(np.finfo(np.float32).tiny)
"""Below it a float32 scale would lose its digits; such values are stored as zero."""


def quantise(
    values: Float[np.ndarray, "*k n"], dtype: Any = np.int16, full: int = FULL
) -> tuple[Shaped[np.ndarray, "*k n"], Float[np.ndarray, "*k"]]:
    """round(values/scale·full) with scale = max|values| over the last dimension, 1 where all zero.

    The scale is float32, as it is stored, and the integers are in units of that stored scale.
    """
    values = np.asarray(values, dtype=np.float64)
    scale = np.abs(values).max(axis=-1, initial=0.0).astype(np.float32)
    scale = np.where(scale < SMALLEST, np.float32(1), scale)
    return np.rint(values * (full / scale.astype(np.float64))[..., None]).astype(dtype), scale


def restore(
    whole: Shaped[np.ndarray, "*k n"], scale: Float[np.ndarray, "*k"], full: int = FULL
) -> Float[np.ndarray, "*k n"]:
    """The values in real units: whole·scale/full."""
    return whole * (np.asarray(scale, dtype=np.float64) / full)[..., None]
