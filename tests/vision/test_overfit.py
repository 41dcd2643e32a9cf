"""The overfit score and the total variation on pictures small enough to count by hand."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.data.images import Images
from quadric.vision.overfit import dark_pixels, overfit_score, total_variation


def images(pixels: list[list[float]]) -> Images:
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    return Images(torch.tensor(pixels), labels, (2, 3, 1), ("a", "b"))


def test_dark_pixels_have_a_small_mean() -> None:
    train = images([[0, 0.01, 0.03, 0.5, 0, 1], [0, 0.005, 0, 0, 0, 1]])
    assert dark_pixels(train).tolist() == [True, True, False, False, True, False]
    assert dark_pixels(train, below=0.001).tolist() == [True, False, False, False, True, False]


def test_the_score_is_a_share_of_energy() -> None:
    dark = torch.tensor([True, False, False, True])
    vectors = torch.tensor([[[3.0, 4, 0, 0], [1, 1, 1, 1]], [[0, 0, 2, 0], [0, 0, 0, 0]]])
    found = overfit_score(vectors, dark)
    assert found is not None
    assert found.tolist() == [[pytest.approx(9 / 25), 0.5], [0, 0]]
    scaled = overfit_score(-7 * vectors, dark)
    assert scaled is not None
    torch.testing.assert_close(scaled, found)


def test_noise_scores_the_share_of_dark_pixels() -> None:
    dark = torch.arange(300) % 3 == 0
    vectors = torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
    found = overfit_score(vectors, dark)
    assert found is not None
    assert found.mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_without_dark_pixels_there_is_no_score() -> None:
    assert overfit_score(torch.ones(2, 4), torch.zeros(4, dtype=torch.bool)) is None
    with pytest.raises(QuadricError, match=r"\(2, 4\), expected rows of 5"):
        overfit_score(torch.ones(2, 4), torch.ones(5, dtype=torch.bool))


def test_variation_of_a_picture_counted_by_hand() -> None:
    # 0 3 0 / 4 0 0 has length 5; across: 3 + 3 + 4 + 0, down: 4 + 3 + 0.
    picture = torch.tensor([0.0, 3, 0, 4, 0, 0])
    assert total_variation(picture, (2, 3, 1)).item() == pytest.approx((10 + 7) / 5)
    # In another shape 0 3 / 0 4 / 0 0: across 3 + 4 + 0, down 0 + 1 and 0 + 4.
    assert total_variation(picture, (3, 2, 1)).item() == pytest.approx((7 + 5) / 5)
    # Channels are neighbours of themselves only.
    both = torch.stack([picture, picture], dim=1).flatten()
    assert total_variation(both, (2, 3, 2)).item() == pytest.approx(2 * 17 / 50**0.5)


def test_variation_is_lower_for_smooth_pictures_and_ignores_scale() -> None:
    ramp = torch.arange(64.0)
    rough = ramp[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    smooth, jagged = total_variation(torch.stack([ramp, rough]), (8, 8, 1)).tolist()
    assert smooth < jagged / 2
    assert total_variation(-3 * ramp, (8, 8, 1)).item() == pytest.approx(smooth)
    assert total_variation(torch.zeros(64), (8, 8, 1)).item() == 0
    with pytest.raises(QuadricError, match="8×8×3 = 192 pixels"):
        total_variation(ramp, (8, 8, 3))
