"""A dictionary of outputs: training, pseudo-inverse codes, loss recovered."""

from __future__ import annotations

import math

import pytest
import torch

from quadric.errors import QuadricError
from quadric.forms import express_in_dictionary
from quadric.vision.data.images import Images
from quadric.vision.dictionary import (
    DictionaryConfig,
    OutputTest,
    active_features,
    correlations,
    dictionary,
    effective_number,
    hidden_outputs,
    linear_codes,
    project,
    random_dictionary,
    sparse_drive,
    train_on_outputs,
)
from quadric.vision.pairs import layer_forms
from tests.vision.builders import CLASSES, SHAPE, random_images, random_model


def judged(seed: int = 0) -> tuple[torch.nn.Module, Images]:
    """A model and images that it classifies right, so that there is loss to recover."""
    model = random_model(seed)
    pixels = random_images(50).float()
    return model, Images(pixels, model(pixels.double()).argmax(dim=1), SHAPE, CLASSES)


def planted(rows: int = 2000, features: int = 6, n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of two of a few unit vectors with positive weights, and those vectors as columns."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.linalg.qr(torch.randn(n, n, generator=generator)).Q[:, :features]
    codes = torch.zeros(rows, features)
    for _ in range(2):
        chosen = torch.randint(features, (rows, 1), generator=generator)
        codes.scatter_(1, chosen, 1 + torch.rand(rows, 1, generator=generator))
    return codes @ columns.T, columns


def test_training_finds_planted_features() -> None:
    outputs, columns = planted()
    config = DictionaryConfig(12, k=2, steps=300, lr=1e-2)
    autoencoder = train_on_outputs(outputs, config)
    found = dictionary(autoencoder)
    assert torch.allclose(found.norm(dim=0), torch.ones(12), atol=1e-5)
    assert float((columns.T @ found).amax(dim=1).min()) > 0.95
    rebuilt = autoencoder(outputs)
    assert float((rebuilt - outputs).square().sum() / outputs.square().sum()) < 0.03
    assert int((autoencoder.encode(outputs) != 0).sum(dim=1).max()) <= 2


def test_the_seed_decides_the_dictionary() -> None:
    outputs, _ = planted()
    first, again, other = (
        train_on_outputs(outputs, DictionaryConfig(6, k=2, steps=20, seed=seed)).decoder
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("features", [4, 9, 14])
def test_the_projection_is_orthogonal(features: int) -> None:
    columns = random_dictionary(9, features).double()
    assert torch.allclose(columns.norm(dim=0), torch.ones(features, dtype=torch.float64))
    found = project(columns)
    assert found.rank == min(features, 9)
    assert torch.allclose(found.matrix, columns @ torch.linalg.pinv(columns), atol=1e-10)
    assert torch.allclose(found.encoder, torch.linalg.pinv(columns), atol=1e-10)
    assert torch.allclose(found.matrix, found.matrix.T, atol=1e-12)
    assert torch.allclose(found.matrix @ found.matrix, found.matrix, atol=1e-12)
    if features >= 9:
        assert torch.allclose(found.matrix, torch.eye(9, dtype=torch.float64), atol=1e-10)


def test_dependent_features_count_once() -> None:
    columns = random_dictionary(9, 4)
    repeated = project(torch.cat([columns, columns, -columns[:, :2]], dim=1))
    assert repeated.rank == 4
    assert torch.allclose(repeated.matrix, project(columns).matrix, atol=1e-6)


def test_codes_are_the_shortest_with_their_reconstruction() -> None:
    columns = random_dictionary(9, 14).double()
    given = torch.randn(30, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    codes = given @ project(columns).encoder.T
    assert torch.allclose(codes @ columns.T, given, atol=1e-10)
    _, _, right = torch.linalg.svd(columns)
    silent = right[9:]  # changes of the codes that rebuild nothing
    other = codes + torch.randn(30, 5, dtype=torch.float64) @ silent
    assert torch.allclose(other @ columns.T, given, atol=1e-10)
    assert bool((other.norm(dim=1) > codes.norm(dim=1)).all())


def test_it_is_the_algebra_of_expressions() -> None:
    model, images = judged()
    columns = random_dictionary(9, 5).double()
    expression = express_in_dictionary(layer_forms(model, "input"), columns)
    found = project(columns)
    assert torch.allclose(found.matrix, expression.projection, atol=1e-10)
    x = images.pixels.double()
    codes = hidden_outputs(model, images) @ found.encoder.T
    assert torch.allclose(codes, expression.forms(x), atol=1e-9)
    test = OutputTest(model, images)
    logits = expression.tensor().with_output_basis(model.head.weight.detach())(x)
    patched = test.recovered(test.outputs @ found.matrix)
    assert patched.loss == pytest.approx(test.of_logits(logits).loss, abs=1e-9)


def test_loss_recovered_from_its_definition() -> None:
    model, images = judged()
    test = OutputTest(model, images)
    own = test.recovered(test.outputs)
    assert own.share == 1
    assert own.accuracy == 1
    nothing = test.recovered(torch.zeros_like(test.outputs))
    assert nothing.share == pytest.approx(0, abs=1e-12)
    assert nothing.loss == pytest.approx(math.log(5))
    # by hand
    halved = 0.5 * test.outputs
    logits = halved @ model.head.weight.detach().T
    chances = logits.softmax(dim=1).gather(1, images.labels[:, None]).log().mean()
    clean = model(images.pixels.double()).log_softmax(dim=1).gather(1, images.labels[:, None])
    expected = float((math.log(5) + chances) / (math.log(5) + clean.mean()).detach())
    assert test.recovered(halved).share == pytest.approx(expected)


def test_a_spanning_dictionary_recovers_everything_and_no_other_does() -> None:
    model, images = judged()
    test = OutputTest(model, images)
    full = test.recovered(test.outputs @ project(random_dictionary(9, 12)).matrix)
    assert full.share == pytest.approx(1, abs=1e-9)
    short = test.recovered(test.outputs @ project(random_dictionary(9, 6)).matrix)
    assert short.share < 0.999


def test_correlations_are_told_apart_by_activity() -> None:
    outputs, _ = planted()
    autoencoder = train_on_outputs(outputs, DictionaryConfig(6, k=2, steps=100))
    projection = project(dictionary(autoencoder))
    assert active_features(autoencoder, outputs).tolist() == [True] * 6
    codes = linear_codes(autoencoder, outputs, projection)
    bias = autoencoder.transform.undo(autoencoder.bias)
    inside = (outputs - bias).double() @ projection.matrix.T
    assert torch.allclose(codes @ dictionary(autoencoder).T.double(), inside, atol=1e-5)
    found = correlations(autoencoder, outputs, codes)
    assert found.active is not None
    assert found.inactive is not None
    active = autoencoder.encode(outputs) != 0
    drive = sparse_drive(autoencoder, outputs)
    positive = torch.where(active, drive, 0.0)
    assert torch.allclose(positive, autoencoder.encode(outputs))
    for where, value in ((active, found.active), (~active, found.inactive)):
        both = torch.corrcoef(torch.stack([codes[where], drive[where].double()]))
        assert value == pytest.approx(float(both[0, 1]))


def test_effective_number() -> None:
    codes = torch.tensor([[1.0, -1, 1, 0], [0, 3, 0, 0], [0, 0, 0, 0]])
    assert effective_number(codes) == pytest.approx(2)
    assert effective_number(torch.zeros(2, 3)) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(QuadricError, match="k is 5, expected at most the 4 features"):
        DictionaryConfig(4)
    with pytest.raises(QuadricError, match="steps is 0"):
        DictionaryConfig(8, steps=0)
    with pytest.raises(QuadricError, match="lr is 0"):
        DictionaryConfig(8, lr=0)
    with pytest.raises(QuadricError, match="NaN or infinity"):
        project(torch.full((3, 2), float("nan")))
    model, images = judged()
    wrong = Images(images.pixels, (images.labels + 1) % 5, SHAPE, CLASSES)
    with pytest.raises(QuadricError, match="no loss to recover"):
        OutputTest(model, wrong)
