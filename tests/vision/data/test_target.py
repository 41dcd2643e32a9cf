"""The task with a known answer: the label function against the sentence that defines it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.data.images import ImageData, Images
from quadric.vision.data.target import (
    base_rate,
    target_index,
    target_labels,
    target_task,
    target_threshold,
)


def random(n: int, p: int, seed: int = 0) -> Tensor:
    return torch.rand(n, p, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt())


def test_the_target_its_complement_and_black() -> None:
    target = random(1, 30)[0]
    labels = target_labels(torch.stack([target, 1 - target, 0 * target]), target, 0.99)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 1, 0]
    assert target_labels(0.1 * target[None], target, 0.99).tolist() == [1]  # scale does not matter
    assert target_labels(0 * target[None], target, 0.0).tolist() == [0]


def test_against_the_definition_one_image_at_a_time() -> None:
    pixels, target = random(200, 30) * (random(200, 30, 1) < 0.4), random(1, 30, 2)[0].round()
    near = [cosine(x, target) > 0.5 for x in pixels]
    far = [cosine(x, 1 - target) > 0.5 for x in pixels]
    assert 20 < sum(near) < 180
    assert 20 < sum(far) < 180
    assert any(a and not b for a, b in zip(near, far, strict=True))
    assert any(b and not a for a, b in zip(near, far, strict=True))
    expected = [int(a or b) for a, b in zip(near, far, strict=True)]
    assert target_labels(pixels, target, 0.5).tolist() == expected


def test_many_images_are_compared_in_parts() -> None:
    pixels, target = random(10_000, 6), random(1, 6, 3)[0]
    labels = target_labels(pixels, target, 0.9)
    assert torch.equal(labels[9000:], target_labels(pixels[9000:], target, 0.9))
    assert 0 < labels.double().mean() < 1


def test_an_image_at_the_threshold_is_false() -> None:
    pixels = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])  # both cosines are exactly one half
    assert target_labels(pixels, target, 0.5001).tolist() == [0]
    assert target_labels(pixels, target, 0.4999).tolist() == [1]


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_thresholds_outside_the_range(threshold: float) -> None:
    with pytest.raises(QuadricError, match=r"threshold is .*, expected 0 or more and less than 1"):
        target_labels(random(3, 6), random(1, 6)[0], threshold)


def test_a_target_of_another_size() -> None:
    with pytest.raises(QuadricError, match=r"target has the shape \(5,\), .* have 6 pixels"):
        target_labels(random(3, 6), random(1, 5)[0], 0.4)


def data(labels: list[int], classes: tuple[str, ...] = ("0", "1", "2")) -> ImageData:
    """Images whose likeness to each other varies: some are sparse, some dense."""

    def part(n: int, seed: int) -> Images:
        pixels = random(n, 12, seed) * (random(n, 12, seed + 1) < 0.5)
        return Images(pixels, torch.tensor((labels * n)[:n]), (3, 4, 1), classes)

    return ImageData("made", part(300, 0), part(100, 7))


def test_the_task_has_the_labels_of_its_target() -> None:
    made = data([0, 2, 1])
    task = target_task(made, 5, 0.6)
    assert task.train.classes == task.test.classes == ("False", "True")
    for old, new in ((made.train, task.train), (made.test, task.test)):
        assert torch.equal(old.pixels, new.pixels)
        assert torch.equal(new.labels, target_labels(old.pixels, made.train.pixels[5], 0.6))
    assert task.train.labels[5] == 1
    assert base_rate(task.train) == task.train.labels.sum() / 300
    assert not torch.equal(task.train.labels, target_task(made, 6, 0.6).train.labels)


def test_the_default_target() -> None:
    assert target_index(data([0, 2, 1])) == 2  # image 6 is a "0": the first "1"
    assert target_index(data([0, 1, 2, 0, 2, 0, 1])) == 6  # not image 1, an earlier "1"
    assert target_index(data([0, 1], classes=("shoe", "bag"))) == 6
    made = data([0, 2, 1])
    assert torch.equal(
        target_task(made, threshold=0.6).test.labels, target_task(made, 2, 0.6).test.labels
    )


@pytest.mark.parametrize("index", range(8))
def test_the_offered_threshold_divides_most_evenly(index: int) -> None:
    made = data([0, 2, 1])
    target = made.train.pixels[index]
    distance = {
        step / 20: abs(
            target_labels(made.train.pixels, target, step / 20).double().mean().item() - 0.5
        )
        for step in range(1, 20)
    }
    offered = target_threshold(made, index)
    assert offered == min(distance, key=lambda threshold: distance[threshold])
    assert 0.1 < base_rate(target_task(made, index, offered).train) < 0.9


def test_a_task_with_one_answer_is_refused_with_a_better_threshold() -> None:
    made = data([0, 2, 1])
    offered = target_threshold(made, 5)
    with pytest.raises(QuadricError, match=f"makes 100% of .* 'made' True: .* such as {offered}"):
        target_task(made, 5, 0.01)
    with pytest.raises(QuadricError, match=r"makes 0% of the test images .*"):
        target_task(made, 5, 0.9999)
    with pytest.raises(QuadricError, match=r"target 300 is no training image .* there are 300"):
        target_task(made, 300, 0.6)
    with pytest.raises(QuadricError, match="target -1 is no training image"):
        target_task(made, -1, 0.6)
