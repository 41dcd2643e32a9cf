"""Features from pairs of inputs: forms, training, superposition, closeness to classes."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, pair_blocks, pair_count, pair_moments
from quadric.vision.data.images import Images
from quadric.vision.dictionary import (
    DictionaryConfig,
    hidden_outputs,
    project,
    random_dictionary,
)
from quadric.vision.pairs import (
    CODED,
    form_cosines,
    layer_forms,
    layer_inputs,
    superposed,
    train_on_pairs,
)
from tests.vision.builders import CLASSES, SHAPE, random_images, random_model


def images(count: int = 40) -> Images:
    return Images(random_images(count).float(), torch.arange(count) % 5, SHAPE, CLASSES)


def all_pairs(tensor: BilinearTensor) -> torch.Tensor:
    """Every weighted pair by polarisation of the layer's values."""
    eye, rows = torch.eye(tensor.d, dtype=tensor.dtype), []
    for j in range(tensor.d):
        for i in range(j + 1):
            if i == j:
                rows.append(tensor(eye[i]))
            else:
                joint = tensor(eye[i] + eye[j]) - tensor(eye[i]) - tensor(eye[j])
                rows.append(2**0.5 * joint / 2)
    return torch.stack(rows)


@pytest.mark.parametrize("space", ["input", "hidden"])
@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"d_embed": None}])
def test_the_forms_are_what_the_head_reads(space: str, changes: dict[str, object]) -> None:
    model, shown = random_model(**changes), images()
    tensor = layer_forms(model, space)
    x = layer_inputs(model, shown, space)
    assert torch.allclose(tensor(x), hidden_outputs(model, shown), atol=1e-10)


@pytest.mark.parametrize("space", ["input", "hidden"])
def test_principal_components_of_pairs_are_the_singular_directions(space: str) -> None:
    tensor = layer_forms(random_model(bias=True), space)
    rows = all_pairs(tensor)
    assert len(rows) == pair_count(tensor.d)
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    found = tensor.hosvd()
    r = len(found.singular_values)
    assert r == 9
    assert torch.allclose(found.singular_values, values[:r], rtol=1e-8)
    assert torch.allclose((found.directions * vectors[:r]).sum(1).abs(), torch.ones(r).double())
    # what is trained on is this set of rows
    made = torch.cat([block.weighted for block in pair_blocks(tensor)])
    assert torch.allclose(made, rows, atol=1e-10)


def test_linear_codes_superpose_over_pairs() -> None:
    model, shown = random_model(), images()
    tensor = layer_forms(model)
    encoder = project(random_dictionary(9, 6)).encoder
    x = layer_inputs(model, shown)
    total = torch.zeros(len(x), 6, dtype=torch.float64)
    for block in pair_blocks(tensor):
        products = block.weights * x[:, block.first] * x[:, block.second]
        total += products @ (block.weighted @ encoder.T)
    assert torch.allclose(total, hidden_outputs(model, shown) @ encoder.T, atol=1e-9)


def test_superposed_codes_by_brute_force() -> None:
    model, shown = random_model(bias=True), images()
    tensor = layer_forms(model)
    autoencoder = train_on_pairs(tensor, DictionaryConfig(7, k=3, steps=60))
    head, x = model.head.weight.detach(), layer_inputs(model, shown)
    found = superposed(tensor, autoencoder, head, x)
    outputs = torch.zeros(len(x), 9, dtype=torch.float64)
    codes = torch.zeros(len(x), 7, dtype=torch.float64)
    rows, place = all_pairs(tensor), 0
    for j in range(tensor.d):
        for i in range(j + 1):
            weight = 1.0 if i == j else 2**0.5
            z = autoencoder.encode(rows[place])
            amount = (weight * x[:, i] * x[:, j])[:, None]
            outputs += amount * autoencoder.decode(z).double()
            codes += amount * z.double()
            place += 1
    assert torch.allclose(found.logits, outputs @ head.T, rtol=1e-4, atol=1e-4)
    assert found.codes.shape == (CODED, 7)
    assert torch.allclose(found.codes, codes[:CODED], rtol=1e-4, atol=1e-4)
    latents = autoencoder.encode(rows)
    missed = (rows - autoencoder.decode(latents)).square().sum() / rows.square().sum()
    assert found.error == pytest.approx(float(missed), rel=1e-4)
    assert found.mean_active == pytest.approx(float((latents != 0).double().sum(1).mean()))
    assert found.active == int((latents != 0).any(dim=0).sum())
    # sparse codes do not superpose
    own = autoencoder.encode(tensor(x)[:CODED].float())
    assert float((found.codes - own).norm() / own.norm()) > 0.1


def test_training_on_pairs_explains_the_pairs() -> None:
    # Outputs that only ever move along two unit vectors, each with its own pairs.
    generator = torch.Generator().manual_seed(0)
    columns = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q[:, :2]
    eye = torch.eye(8)
    right = torch.cat([eye[:4].sum(0).expand(4, 8), eye[4:].sum(0).expand(4, 8)])
    tensor = BilinearTensor(eye, right, columns.repeat_interleave(4, dim=1))
    head = torch.eye(6)
    untrained, trained = (
        superposed(tensor, train_on_pairs(tensor, config), head, torch.ones(1, 8)).error
        for config in (
            DictionaryConfig(6, k=1, steps=1, lr=1e-2),
            DictionaryConfig(6, k=1, steps=300, lr=1e-2),
        )
    )
    assert trained < 0.05
    assert untrained > 0.25


def test_training_sees_the_weighted_pairs() -> None:
    tensor = layer_forms(random_model())
    autoencoder = train_on_pairs(tensor, DictionaryConfig(4, k=2, steps=1))
    expected = pair_moments(tensor, weighted=True).second.trace() / tensor.m
    assert float(autoencoder.transform.scales[0]) ** 2 == pytest.approx(float(expected), rel=0.05)


def test_cosines_are_those_of_the_matrices() -> None:
    model = random_model()
    tensor, head = layer_forms(model), model.head.weight.detach()
    directions = random_dictionary(9, 6).double().T
    found = form_cosines(tensor, directions, head)
    assert found.shape == (6, 5)
    for f, direction in enumerate(directions):
        for c, row in enumerate(head):
            first, second = tensor.interaction(direction), tensor.interaction(row)
            cosine = (first * second).sum() / first.norm() / second.norm()
            assert float(found[f, c]) == pytest.approx(float(cosine), abs=1e-10)
    own = form_cosines(tensor, head, head)
    assert torch.allclose(own.diagonal(), torch.ones(5, dtype=torch.float64))
    assert form_cosines(tensor, torch.zeros(1, 9), head).tolist() == [[0.0] * 5]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(QuadricError, match="the model has a residual path"):
        layer_forms(random_model(residual=True))
    with pytest.raises(QuadricError, match="the model has 2 blocks"):
        layer_forms(random_model(blocks=2))
    with pytest.raises(QuadricError, match="not bilinear"):
        layer_forms(random_model(gate="relu"))
    model = random_model()
    tensor = layer_forms(model)
    autoencoder = train_on_pairs(tensor, DictionaryConfig(5, k=2, steps=2))
    with pytest.raises(QuadricError, match=r"expected \(N, 12\) and \(m, 9\)"):
        superposed(tensor, autoencoder, model.head.weight, torch.zeros(3, 7))
