"""Masks: each moves one eigenvector's term and no other, and answers are those of the model."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig
from quadric.vision.data.images import Images
from quadric.vision.masks import adversarial_masks, edge, effects, permuted, standardised
from tests.vision.builders import CLASSES, SHAPE, random_images, random_model

CLASSED = ("ant", "bee", "cat")


def roomy(**config: object) -> ImageClassifier:
    """A random float64 classifier with room: 12 pixels, width 11, 13 products, 3 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        chosen = ClassifierConfig(**{"d_embed": 11, "d_hidden": 13, **config})  # type: ignore[arg-type]
        model = ImageClassifier(chosen, SHAPE, CLASSED).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def labelled(model: ImageClassifier, count: int = 40) -> Images:
    pixels = random_images(count).float()
    labels = torch.arange(count) % len(model.classes)
    return Images(pixels, labels, SHAPE, model.classes)


def test_rows_times_masks_are_the_identity_over_pixels() -> None:
    found = adversarial_masks(roomy(), 3)
    rows, masks = found.images.flatten(0, 1), found.masks.flatten(0, 1)
    assert rows.shape == (9, 12)
    assert torch.allclose(rows @ masks.mT, torch.eye(9).double(), atol=1e-8)


@pytest.mark.parametrize("config", [{}, {"bias": True}, {"residual": True}, {"d_embed": None}])
def test_a_mask_changes_the_term_of_its_eigenvector_alone(config: dict[str, object]) -> None:
    """λ[(a + s)² − a²] for the one, 0 for the others, on the whole spectra's own terms."""
    model, x, s = roomy(**config), random_images(6), 0.37
    found = adversarial_masks(model, 3)
    k = found.values.shape[1]
    assert k == 3
    for c in range(3):
        for i in range(k):
            before = torch.einsum("np,mkp->nmk", x, found.images)
            after = torch.einsum("np,mkp->nmk", x + s * found.masks[c, i], found.images)
            change = found.values * (after.square() - before.square())
            a = before[:, c, i]
            expected = torch.zeros_like(change)
            expected[:, c, i] = found.values[c, i] * ((a + s) ** 2 - a**2)
            assert torch.allclose(change, expected, atol=1e-8)


def test_values_are_the_largest_eigenvalues_over_pixels() -> None:
    model = roomy()
    found = adversarial_masks(model, 2)
    tensor = model.tensor("input")
    for c in range(3):
        exact = torch.linalg.eigvalsh(tensor.interaction(torch.eye(3).double()[c]))
        assert torch.allclose(found.values[c], exact.flip(0)[:2], atol=1e-8)


def test_hidden_masks_are_the_pseudo_inverse_over_the_embedding_pulled_back() -> None:
    model = roomy()
    assert model.embed is not None
    embed = model.embed.weight.detach()
    found = adversarial_masks(model, 3, space="hidden")
    forms = [model.tensor().interaction(u) for u in torch.eye(3).double()]
    rows = torch.cat([torch.linalg.eigh(form).eigenvectors[:, -3:].flip(1).mT for form in forms])
    expected = (torch.linalg.pinv(rows).mT @ embed).view(3, 3, -1)
    for mask, other in zip(found.masks.flatten(0, 1), expected.flatten(0, 1), strict=True):
        assert torch.allclose(mask, other, atol=1e-8) or torch.allclose(mask, -other, atol=1e-8)
    product = found.images.flatten(0, 1) @ found.masks.flatten(0, 1).mT
    assert (product - torch.eye(9).double()).abs().max() > 1  # why they are not exact in pixels


@pytest.mark.parametrize("space", ["input", "hidden"])
def test_signs_follow_the_bright_image(space: str) -> None:
    found = adversarial_masks(roomy(), 3, space=space)  # type: ignore[arg-type]
    assert (found.images.sum(dim=-1) >= 0).all()


def test_as_many_rows_as_are_independent() -> None:
    model = random_model()  # five classes in seven dimensions
    assert adversarial_masks(model, 10).masks.shape == (5, 1, 12)
    assert adversarial_masks(roomy(), 10).masks.shape[1] == 3  # nine of eleven


def test_no_room_for_masks() -> None:
    with pytest.raises(QuadricError, match="5 classes are not independent in a space of 4"):
        adversarial_masks(random_model(d_embed=4))
    with pytest.raises(QuadricError, match="per_class is 0"):
        adversarial_masks(random_model(), 0)


def test_a_class_without_a_positive_eigenvalue_has_no_mask() -> None:
    model = roomy()
    with torch.no_grad():
        model.blocks[0].right.weight.copy_(-model.blocks[0].left.weight)  # type: ignore[union-attr]
        model.head.weight.abs_()
    with pytest.raises(QuadricError, match="no masks: one positive eigenvector"):
        adversarial_masks(model)


def test_several_blocks_are_refused() -> None:
    with pytest.raises(QuadricError, match="2 blocks"):
        adversarial_masks(random_model(blocks=2))
    with pytest.raises(QuadricError, match="not bilinear"):
        adversarial_masks(random_model(gate="relu"))


def test_the_edge_is_what_few_images_light() -> None:
    pixels = torch.zeros(200, 12)
    pixels[:2, 0] = 0.5  # 1 %: not below it
    pixels[:1, 1] = 1.0
    pixels[:150, 2] = 0.01
    images = Images(pixels, torch.zeros(200, dtype=torch.long), SHAPE, CLASSES)
    assert edge(images).tolist() == [False, True, False, *[True] * 9]
    with pytest.raises(QuadricError, match="share is 0"):
        edge(images, 0)


def test_standardised_masks_vanish_outside_their_support() -> None:
    masks = torch.randn(4, 12, generator=torch.Generator().manual_seed(0)).double()
    support = torch.tensor([True] * 5 + [False] * 7)
    found = standardised(masks, support)
    assert (found[:, ~support] == 0).all()
    assert torch.allclose(found[:, support].var(dim=1, correction=0), torch.ones(4).double())
    ratio = found[:, support] / masks[:, support]
    assert torch.allclose(ratio, ratio[:, :1].expand(-1, 5))
    with pytest.raises(QuadricError, match="support of 1 pixels"):
        standardised(masks, torch.arange(12) == 3)
    with pytest.raises(QuadricError, match="constant"):
        standardised(torch.ones(1, 12))


def test_a_permuted_mask_keeps_its_values_and_its_support() -> None:
    masks = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    support = torch.tensor([True] * 8 + [False] * 4)
    found = permuted(masks, support, seed=5)
    assert torch.equal(found[:, ~support], masks[:, ~support])
    assert torch.equal(found[:, support].sort().values, masks[:, support].sort().values)
    assert not torch.equal(found, masks)
    orders = [row.tolist().index(float(mask[0])) for row, mask in zip(found, masks, strict=True)]
    assert len(set(orders)) > 1  # each mask has an order of its own
    assert torch.equal(found, permuted(masks, support, seed=5))
    assert not torch.equal(found, permuted(masks, support, seed=6))


@pytest.mark.parametrize("config", [{}, {"bias": True}, {"residual": True}, {"d_embed": None}])
def test_effects_are_the_models_own_answers(config: dict[str, object]) -> None:
    model = roomy(**config)
    images = labelled(model)
    masks = torch.randn(4, 12, generator=torch.Generator().manual_seed(1)).double()
    classes, strengths = torch.tensor([0, 2, 1, 2]), torch.tensor([-0.5, 0.0, 0.8])
    found = effects(model, images, masks, classes, strengths)
    for q, (mask, c) in enumerate(zip(masks, classes, strict=True)):
        for column, s in enumerate(strengths):
            answers = model(images.pixels.double() + s * mask).argmax(dim=1)
            wrong = [(answers == j) & (images.labels != j) for j in range(3)]
            shares = [float(flags.double().mean()) for flags in wrong]
            assert float(found.accuracy[q, column]) == pytest.approx(
                float((answers == images.labels).double().mean())
            )
            assert float(found.target[q, column]) == pytest.approx(shares[c])
            rest = [share for j, share in enumerate(shares) if j != c]
            assert float(found.other[q, column]) == pytest.approx(sum(rest) / 2)


def test_effects_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = roomy()
    masks, classes = adversarial_masks(model, 1).masks.flatten(0, 1), torch.arange(3)
    whole = effects(model, labelled(model), masks, classes, torch.tensor([0.3]))
    monkeypatch.setattr("quadric.vision.masks._ROWS", 7)
    parts = effects(model, labelled(model), masks, classes, torch.tensor([0.3]))
    assert all(torch.allclose(a, b) for a, b in zip(whole, parts, strict=True))


def test_effects_check_their_input() -> None:
    model = roomy()
    masks = torch.zeros(2, 12).double()
    with pytest.raises(QuadricError, match="masks of shape"):
        effects(model, labelled(model), masks[:, :5], torch.zeros(2).long(), torch.ones(1))
    with pytest.raises(QuadricError, match="other classes"):
        effects(model, labelled(random_model()), masks, torch.zeros(2).long(), torch.ones(1))
