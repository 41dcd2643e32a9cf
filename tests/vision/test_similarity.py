"""Similarities of eigenvectors on pictures whose similarity is known."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.runs import over_pairs
from quadric.vision.similarity import (
    floor,
    matched,
    ordered,
    other_classes,
    pictures,
    subspace,
)
from tests.vision.builders import random_model


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def orthonormal(runs: int, classes: int, k: int, p: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(unit(runs, classes, p, k, seed=seed)).Q.mT


def test_ordered_is_a_loop_over_runs_classes_and_ranks() -> None:
    first, second = unit(3, 4, 2, 7), unit(5, 4, 2, 7, seed=1)
    found = ordered(first, second)
    assert found.shape == (3, 5, 2)
    for i in range(3):
        for j in range(5):
            for rank in range(2):
                cosines = [abs(float(first[i, c, rank] @ second[j, c, rank])) for c in range(4)]
                assert float(found[i, j, rank]) == pytest.approx(sum(cosines) / 4)
    own = ordered(first)
    torch.testing.assert_close(own, own.transpose(0, 1))
    torch.testing.assert_close(own[range(3), range(3)], torch.ones(3, 2, dtype=torch.float64))


def test_other_classes_leaves_out_the_own_class() -> None:
    first, second = unit(2, 3, 2, 7), unit(4, 3, 2, 7, seed=1)
    found = other_classes(first, second)
    assert found.shape == (2, 4, 2)
    pairs = list(permutations(range(3), 2))
    for i in range(2):
        for j in range(4):
            cosines = [abs(float(first[i, c, 1] @ second[j, other, 1])) for c, other in pairs]
            assert float(found[i, j, 1]) == pytest.approx(sum(cosines) / len(pairs))
    with pytest.raises(QuadricError, match="one class"):
        other_classes(first[:, :1])


@pytest.mark.parametrize("p", [64, 784])
def test_unrelated_pictures_reach_the_floor_and_no_more(p: int) -> None:
    images = unit(6, 10, 20, p)
    expected = floor(p)
    assert expected == pytest.approx(math.sqrt(2 / (math.pi * p)), rel=0.01)
    # |cos| has a standard deviation of 0.76 floors; 15 pairs × 10 classes × 20 ranks.
    slack = 4 * 0.76 * expected / math.sqrt(15 * 10 * 20)
    assert float(over_pairs(ordered(images)).mean.mean()) == pytest.approx(expected, abs=slack)
    assert float(over_pairs(other_classes(images)).mean.mean()) == pytest.approx(
        expected, abs=slack
    )
    # Counting each run's comparison with itself makes a similarity out of nothing.
    inflated = float(over_pairs(ordered(images), self_pairs=True).mean.mean())
    assert inflated == pytest.approx(2 / 7 + 5 / 7 * expected, abs=slack)


def test_floor_is_exact_in_few_dimensions() -> None:
    assert floor(1) == pytest.approx(1)
    assert floor(2) == pytest.approx(2 / math.pi)
    assert floor(3) == pytest.approx(1 / 2)
    with pytest.raises(QuadricError, match="p is 0"):
        floor(0)


def test_signs_of_pictures_mean_nothing() -> None:
    images = unit(3, 4, 5, 11)
    signs = torch.where(unit(3, 4, 5, 1, seed=2) > 0, 1.0, -1.0)
    for measure in (ordered, other_classes, matched, subspace):
        torch.testing.assert_close(measure(images), measure(signs * images))


def test_matching_undoes_changed_places() -> None:
    images = orthonormal(1, 3, 5, 9)[0]
    places = [2, 0, 1, 4, 3]
    pair = torch.stack([images, images[:, places]])
    assert float(ordered(pair)[0, 1].max()) < 1e-9
    found = matched(pair)[0, 1]
    torch.testing.assert_close(found[[2, 4]], torch.ones(2, dtype=torch.float64))
    # Of the first two of each only one is among the other's.
    assert float(found[1]) == pytest.approx(1 / 2) and float(found[3]) == pytest.approx(3 / 4)


def test_matching_is_the_best_of_all() -> None:
    first, second = unit(2, 3, 4, 6), unit(3, 3, 4, 6, seed=1)
    found = matched(first, second)
    assert found.shape == (2, 3, 4)
    for size in (1, 3, 4):
        total = 0.0
        for c in range(3):
            cosines = (first[1, c] @ second[2, c].mT).abs()
            total += max(
                sum(float(cosines[i, j]) for i, j in enumerate(order))
                for order in permutations(range(size))
            )
        assert float(found[1, 2, size - 1]) == pytest.approx(total / (3 * size))


def test_spans_do_not_see_turning() -> None:
    images = orthonormal(1, 3, 4, 9)[0]
    turn = torch.linalg.qr(unit(3, 4, 4, seed=3)).Q
    pair = torch.stack([images, turn @ images])
    assert float(matched(pair)[0, 1, 3]) < 0.95
    assert float(subspace(pair)[0, 1, 3]) == pytest.approx(1)
    slanted = torch.stack([images, F.normalize(turn.tril() @ images, dim=-1)])
    torch.testing.assert_close(
        subspace(slanted)[0, 1], torch.ones(4, dtype=torch.float64)
    )  # a lower triangle keeps every span of the first r


def test_spans_by_their_principal_angles() -> None:
    angles = torch.tensor([0.3, 1.1], dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64)
    second = torch.stack(
        [angles[i].cos() * eye[i] + angles[i].sin() * eye[2 + i] for i in range(2)]
    )
    pair = torch.stack([eye[:2], second])[:, None]
    expected = torch.stack([angles[0].cos(), angles.cos().mean()])
    torch.testing.assert_close(subspace(pair)[0, 1], expected)


def test_each_measure_allows_more_than_the_one_before() -> None:
    images = orthonormal(4, 3, 5, 7)
    in_order = ordered(images).cumsum(dim=2) / torch.arange(1, 6)
    assert (matched(images) >= in_order - 1e-12).all()
    assert (subspace(images) >= matched(images) - 1e-12).all()
    for measure in (matched, subspace):
        found = measure(images)
        torch.testing.assert_close(found[..., 0], ordered(images)[..., 0])
        torch.testing.assert_close(found, found.transpose(0, 1))
        torch.testing.assert_close(found, measure(images, images))


def test_order_of_runs_does_not_matter() -> None:
    images = unit(4, 3, 3, 8)
    for measure in (ordered, other_classes, matched, subspace):
        one, other = over_pairs(measure(images)), over_pairs(measure(images[[3, 1, 0, 2]]))
        torch.testing.assert_close(one.mean, other.mean)
        torch.testing.assert_close(one.half, other.half)


def test_pictures_are_eigenvectors_in_pixels() -> None:
    models = [random_model(0), random_model(1, d_embed=8)]
    for by in ("abs", "pos", "neg"):
        found = pictures(models, 2, by)
        assert found.images.shape == (2, 5, 2, 12)
        for model, images in zip(models, found.images, strict=True):
            embed = model.embed.weight.detach()
            unit_vector = torch.eye(5, dtype=torch.float64)[3]
            values, vectors = torch.linalg.eigh(model.tensor("hidden").interaction(unit_vector))
            leading = {"abs": values.abs().argmax(), "pos": values.argmax(), "neg": values.argmin()}
            expected = F.normalize(vectors[:, leading[by]] @ embed, dim=0)
            assert abs(float(expected @ images[3, 0])) == pytest.approx(1)


def test_pictures_do_not_depend_on_how_neurons_are_written() -> None:
    model, other = random_model(2), random_model(2)
    with torch.no_grad():
        block = other.blocks[0]
        left = block.left.weight.clone()
        block.left.weight.copy_(-2 * block.right.weight)
        block.right.weight.copy_(-left / 2)
    for space in ("hidden", "input"):
        pair = pictures([model, other], 7, space=space).images
        torch.testing.assert_close(ordered(pair)[0, 1], torch.ones(7, dtype=torch.float64))


def test_signed_counts_ranks_of_the_right_sign_everywhere() -> None:
    models = [random_model(0), random_model(1)]
    counts = []
    for model in models:
        tensor = model.tensor("hidden")
        for unit_vector in torch.eye(5, dtype=torch.float64):
            values = torch.linalg.eigvalsh(tensor.interaction(unit_vector))
            counts.append((int((values > 0).sum()), int((values < 0).sum())))
    assert pictures(models, 7, "pos").signed == min(count for count, _ in counts)
    assert pictures(models, 7, "neg").signed == min(count for _, count in counts)
    assert pictures(models, 7, "abs").signed == 7
    assert pictures(models, 1, "pos").signed == 1


def test_input_space_pictures_are_orthonormal() -> None:
    found = pictures([random_model(0)], 7, space="input").images
    torch.testing.assert_close(
        found[0] @ found[0].mT, torch.eye(7, dtype=torch.float64).expand(5, 7, 7)
    )


def test_bad_input() -> None:
    with pytest.raises(QuadricError, match="no models"):
        pictures([], 1)
    with pytest.raises(QuadricError, match="k is 8, expected 1 to 7"):
        pictures([random_model()], 8)
    with pytest.raises(QuadricError, match="space is 'pixels'"):
        pictures([random_model()], 1, space="pixels")
    with pytest.raises(QuadricError, match="by is 'top'"):
        pictures([random_model()], 1, by="top")
    with pytest.raises(QuadricError, match="2 blocks"):
        pictures([random_model(blocks=2)], 1)
    other = random_model()
    other.classes = ("ant", "bee", "cat", "dog", "fox")
    with pytest.raises(QuadricError, match="compare models of the same images"):
        pictures([random_model(), other], 1)
    for measure in (ordered, other_classes, matched, subspace):
        with pytest.raises(QuadricError, match=r"\(2, 3, 4, 9\) and \(2, 3, 5, 9\)"):
            measure(unit(2, 3, 4, 9), unit(2, 3, 5, 9))
