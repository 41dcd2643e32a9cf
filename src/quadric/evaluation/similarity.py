"""How alike two autoencoders are as maps, whatever their dictionaries look like.

An autoencoder maps X to X̂ = P X with P = (DB)ᵀ(DB), a linear map on interaction matrices. With
H_AB the inner products of A's forms with B's, ⟨P_A, P_B⟩ = ‖H_AB‖², so both measures below come
from Gram matrices of forms, without data and without d²×d² matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError


class MapSimilarity(NamedTuple):
    """Frobenius similarities of two maps; 1 for equal maps."""

    cosine: float
    """‖H_AB‖² / (‖H_AA‖ ‖H_BB‖)."""
    frobenius: float
    """2‖H_AB‖ / (‖H_AA‖ + ‖H_BB‖), the measure of the bilinear-autoencoder paper."""


@torch.no_grad()
def map_similarity(first: BilinearAutoencoder, second: BilinearAutoencoder) -> MapSimilarity:
    """Compare two autoencoders of the same width.

    Raises:
        QuadricError: they read different widths, or only one of them is affine.
    """
    a, b = first.map_forms(), second.map_forms()
    if a.d != b.d:
        raise QuadricError(f"autoencoders on {a.d} and {b.d} coordinates cannot be compared")
    cross = a.cross_gram(b).double().norm()
    own, other = a.gram().double().norm(), b.gram().double().norm()
    return MapSimilarity(
        cosine=(cross.square() / (own * other)).item(),
        frobenius=(2 * cross / (own + other)).item(),
    )
