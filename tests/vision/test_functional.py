"""Similarity of classifiers as functions: Monte Carlo, invariances, mutants, real images."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.forms import lift_moments
from quadric.vision.data.images import Images
from quadric.vision.functional import agreement, correlation, moments, similarity
from tests.vision.builders import CLASSES, SHAPE, digits_model, random_images, random_model

KINDS = {
    "plain": {},
    "biases": {"bias": True},
    "residual": {"residual": True},
    "all": {"bias": True, "residual": True},
    "no embedding": {"d_embed": None, "d_hidden": 6},
}
DRAWS = 200_000


def images(count: int = 300, seed: int = 4) -> Images:
    """Correlated pixels, one of which never varies."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.rand(12, 12, generator=generator) / 12
    pixels = torch.rand(count, 12, generator=generator) @ mixing
    pixels[:, 5] = 0.25
    labels = torch.randint(5, (count,), generator=generator)
    return Images(pixels, labels, SHAPE, CLASSES)


def pair(kind: str):
    return random_model(1, **KINDS[kind]), random_model(2, **{"d_hidden": 4, **KINDS[kind]})


@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_similarities_agree_with_monte_carlo(kind):
    """Within four standard errors of 200,000 draws, for each class and in total."""
    models, given = pair(kind), moments(images())
    found = similarity(models, given)
    z = torch.randn(
        DRAWS, given.factor.shape[1], dtype=torch.float64, generator=torch.manual_seed(0)
    )
    draws = {"images": given.mean + z @ given.factor.mT}
    draws["standard"] = torch.randn(DRAWS, 12, dtype=torch.float64)
    for name, x in draws.items():
        with torch.no_grad():
            f, g = (model(x) for model in models)
        for measure, a, b in (
            (name, f, g), (f"{name}, centred", f - f.mean(0), g - g.mean(0)),
        ):  # fmt: skip
            for some, value in [(slice(k, k + 1), found[measure].classes[k]) for k in range(5)] + [
                (slice(None), found[measure].total)
            ]:
                products = [(p[:, some] * q[:, some]).sum(1) for p, q in ((a, b), (a, a), (b, b))]
                cross, first, second = (p.mean() for p in products)
                cosine = cross / (first * second).sqrt()
                # The standard error of a ratio: that of its linearisation.
                spread = products[0] / cross - products[1] / first / 2 - products[2] / second / 2
                error = 4 * abs(float(cosine)) * float(spread.std()) / DRAWS**0.5
                assert abs(float(value[0, 1]) - float(cosine)) < error, (measure, some)
                assert torch.allclose(value.diagonal(), torch.ones(2).double(), atol=1e-12)
                assert torch.allclose(value, value.mT, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_the_algebra(kind):
    """The same cosines through the lifted tensors' own Gaussian product."""
    models, given = pair(kind), moments(images())
    found = similarity(models, given)
    tensors = [model.tensor("input") for model in models]
    mean, cov = given.mean, given.factor @ given.factor.mT
    if models[0].lifted:
        mean, cov = lift_moments(mean, cov)
    for measure, centred in (("images", False), ("images, centred", True)):
        expected = tensors[0].gaussian_cosine(tensors[1], mean, cov, centred=centred)
        assert torch.allclose(found[measure].total[0, 1], expected, atol=1e-9)
        for k, unit in enumerate(torch.eye(5, dtype=torch.float64)):
            single = [tensor.with_output_basis(unit[None]) for tensor in tensors]
            expected = single[0].gaussian_cosine(single[1], mean, cov, centred=centred)
            assert torch.allclose(found[measure].classes[k, 0, 1], expected, atol=1e-9)
    assert torch.allclose(found["weights"].total[0, 1], tensors[0].cosine(tensors[1]), atol=1e-12)
    # Mutants: centred for whole, the standard Gaussian for the images', the images' without a mean.
    values = [float(found[name].total[0, 1]) for name in found if name != "weights"]
    values.append(float(tensors[0].gaussian_cosine(tensors[1], None, cov, centred=False)))
    assert all(abs(a - b) > 1e-3 for i, a in enumerate(values) for b in values[:i])


@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_of_the_same_function_have_similarity_one(kind):
    """Permuted, rescaled and exchanged factors: 1 to 1e-12, whatever the measure."""
    first, second = random_model(3, **KINDS[kind]), random_model(3, **KINDS[kind])
    block = second.blocks[0]
    n = block.left.out_features
    order = torch.randperm(n, generator=torch.manual_seed(1))
    scale = torch.rand(n, dtype=torch.float64) + 0.5
    block.left, block.right = block.right, block.left
    for side, factor in ((block.left, scale), (block.right, 1 / scale)):
        side.weight.data = (factor[:, None] * side.weight.data)[order]
        if side.bias is not None:
            side.bias.data = (factor * side.bias.data)[order]
    if block.out is not None:
        block.out.weight.data = block.out.weight.data[:, order]
    else:
        second.head.weight.data = second.head.weight.data[:, order]
    with torch.no_grad():
        x = random_images()
        assert torch.allclose(first(x), second(x), atol=1e-9)
    given = moments(images())
    for measure, cosines in similarity([first, second], given).items():
        assert (cosines.total - 1).abs().max() < 1e-12, measure
        assert (cosines.classes - 1).abs().max() < 1e-11, measure
    second.head.weight.data[0] *= -1
    for measure, cosines in similarity([first, second], given).items():
        assert cosines.classes[0, 0, 1] == pytest.approx(-1, abs=1e-11), measure
        assert cosines.total[0, 1] < 0.999, measure


def test_an_embedding_turned_against_its_block_changes_nothing():
    first, second = random_model(3, bias=True), random_model(3, bias=True)
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    second.embed.weight.data = turn @ second.embed.weight.data
    for side in (second.blocks[0].left, second.blocks[0].right):
        side.weight.data = side.weight.data @ turn.mT
    found = similarity([first, second], moments(images()))
    assert all((cosines.total - 1).abs().max() < 1e-12 for cosines in found.values())


def test_moments_are_those_of_the_images():
    data = images()
    given = moments(data)
    pixels = data.pixels.double()
    assert torch.allclose(given.mean, pixels.mean(0), atol=1e-12)
    cov = torch.cov(pixels.mT, correction=0)
    assert torch.allclose(given.factor @ given.factor.mT, cov, atol=1e-12)
    assert given.factor.shape == (12, 11)  # one pixel never varies


def test_biases_are_part_of_the_function():
    first, second = random_model(5, bias=True), random_model(5, bias=True)
    second.blocks[0].left.bias.data += 1
    for measure, cosines in similarity([first, second], moments(images())).items():
        assert cosines.total[0, 1] < 0.999, measure


def test_on_images_agreement_and_correlation_are_counted():
    models, data = pair("biases"), images()
    with torch.no_grad():
        f, g = (model(data.pixels.double()) for model in models)
    both = (f.argmax(1) == g.argmax(1)).double().mean()
    assert torch.equal(agreement(models, data)[0, 1], both)
    expected = torch.corrcoef(
        torch.stack([(h - h.mean(0)).flatten() for h in (f, g)])
    )[0, 1]  # fmt: skip
    assert torch.allclose(correlation(models, data)[0, 1], expected, atol=1e-12)
    assert torch.equal(agreement(models, data), agreement(models, data).mT)


def test_trained_models_are_more_alike_as_functions_of_images_than_in_their_weights():
    """And the moments of the images come nearer to what holds on the images themselves."""
    trained = [digits_model(0), digits_model(1), digits_model(0, 20)]
    models = [one.model for one in trained]
    data = trained[0].data()
    found = similarity(models, moments(data.train))
    measured = correlation(models, data.test)
    upper = torch.triu_indices(3, 3, 1).unbind()
    weights, predicted = (found[name].total[upper] for name in ("weights", "images, centred"))
    assert (predicted > weights).all()
    errors = [(cosines - measured[upper]).abs().mean() for cosines in (weights, predicted)]
    assert errors[1] < errors[0] / 2
    # A class is nearer to itself in another model than the logits of an untrained model are.
    stranger = type(models[0]).build(data.train, trained[0].recipe.classifier, seed=9)
    away = similarity([models[0], stranger], moments(data.train))["images, centred"]
    assert away.total[0, 1].abs() < 0.3 < predicted.min()


def test_logits_that_do_not_vary_have_no_cosine():
    first, second = random_model(1), random_model(2)
    second.head.weight.data[3] = 0
    found = similarity([first, second], moments(images()))
    for cosines in found.values():
        assert cosines.classes[3, 0, 1].isnan()
        assert cosines.classes[[0, 1, 2, 4]].isfinite().all()
        assert cosines.total.isfinite().all()
    second.head.weight.data[:] = 0
    with pytest.raises(QuadricError, match="logits of model 2 do not vary"):
        similarity([first, second])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: similarity([]), "no model"),
        (
            lambda: similarity([random_model(), digits_model().model]),
            r"first model puts 3×4×1 images into ant, bee.* model 2 puts 8×8×1",
        ),
        (lambda: similarity([random_model(gate="relu")]), "passes through relu"),
        (lambda: similarity([random_model(blocks=2)]), "2 blocks"),
        (
            lambda: similarity([random_model()], moments(digits_model().data().test)),
            "moments are of 64 pixels, the models read 12",
        ),
        (lambda: moments(images(1)), "two or more images, not 1"),
        (lambda: moments(images(4).take(torch.tensor([1, 1, 1]))), "all 3 images are the same"),
        (lambda: agreement([random_model()], images(0)), "no images"),
        (lambda: agreement([digits_model().model], images()), r"\(3, 4, 1\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message):
        call()
