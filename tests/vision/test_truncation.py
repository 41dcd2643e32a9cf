"""Truncated classifiers against one rank at a time, and against their bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import spectra
from quadric.vision.truncation import ranks_needed, truncated_logits, truncation_curves
from tests.vision.builders import random_images, random_model

KINDS = {
    "plain": {},
    "no embedding": {"d_embed": None},
    "biased": {"bias": True},
    "residual": {"residual": True},
    "both": {"residual": True, "bias": True, "d_hidden": 7},
    "wide": {"d_embed": 15, "d_hidden": 4},
}
SPACES: tuple[Space, ...] = ("hidden", "input")


def brute_force(model: ImageClassifier, x: Tensor, kept: list[list[int]], space: Space) -> Tensor:
    """Logits minus the dropped terms, from dense d×d forms."""
    logits = model(x).detach().clone()
    tensor = model.tensor(space)
    for c in range(len(model.classes)):
        unit = torch.zeros(len(model.classes), dtype=torch.float64)
        unit[c] = 1
        form = tensor.interaction(unit)
        if model.lifted:
            form = form[:-1, :-1]
        values, vectors = torch.linalg.eigh(form)
        order = values.abs().argsort(descending=True)
        dropped = [int(order[i]) for i in range(len(order)) if i not in kept[c]]
        h = x if space == "input" or model.embed is None else model.embed(x).detach()
        for i in dropped:
            logits[:, c] -= values[i] * (h @ vectors[:, i]) ** 2
    return logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
def test_every_rank_is_the_model_without_the_dropped_terms(kind: str, space: Space) -> None:
    model, x = random_model(**KINDS[kind]), random_images()
    size = spectra(model, space=space).values.shape[1]
    for k in (0, 1, 3, size):
        expected = brute_force(model, x, [list(range(k))] * 5, space)
        found = truncated_logits(model, x, k, space=space)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    whole, logits = truncated_logits(model, x, size, space=space), model(x).detach()
    assert float((whole - logits).abs().max()) < 1e-8 * float(logits.abs().max())


def test_nothing_kept_is_nothing_or_the_linear_part() -> None:
    x = random_images()
    assert not truncated_logits(random_model(), x, 0).any()
    labels = torch.tensor([0] * 3 + [1] * 17)
    curves = truncation_curves(random_model(), x, labels)
    assert float(curves.leading[0]) == float(curves.random[0]) == float(curves.smallest[0]) == 0.85
    biased = random_model(bias=True, residual=True)
    step = 1e-4
    even = (biased(step * x) - biased(-step * x)) / (2 * step)
    at_black = biased(torch.zeros(12, dtype=torch.float64))
    torch.testing.assert_close(truncated_logits(biased, x, 0), even + at_black)


@pytest.mark.parametrize("kind", ["plain", "both", "no embedding"])
@pytest.mark.parametrize("space", SPACES)
def test_curves_count_what_each_rank_gets_wrong(kind: str, space: Space) -> None:
    model, x = random_model(seed=3, **KINDS[kind]), random_images(60)
    # Labels near the model's own answers: the whole model is right on most images.
    labels = model(x).argmax(dim=1)
    labels[::7] = (labels[::7] + 1) % 5
    curves = truncation_curves(model, x, labels, space=space)
    size = spectra(model, space=space).values.shape[1]
    assert len(curves.leading) == len(curves.random) == len(curves.smallest) == size + 1
    for k in range(size + 1):
        for error, kept in (
            (curves.leading, range(k)),
            (curves.smallest, range(size - k, size)),
        ):
            logits = brute_force(model, x, [list(kept)] * 5, space)
            wrong = float((logits.argmax(dim=1) != labels).double().mean())
            if k > 0 or model.lifted:  # ties at k = 0 are another test's
                assert float(error[k]) == pytest.approx(wrong, abs=1e-12), k
    whole = float((model(x).argmax(dim=1) != labels).double().mean())
    assert float(curves.leading[-1]) == pytest.approx(whole)
    assert float(curves.random[-1]) == float(curves.smallest[-1]) == float(curves.leading[-1])


@pytest.mark.parametrize("space", SPACES)
def test_worst_error_is_the_worst_and_below_the_bound(space: Space) -> None:
    model, x = random_model(seed=5), random_images(30)
    curves = truncation_curves(model, x, torch.zeros(30, dtype=torch.int64), space=space)
    h = x if space == "input" else model.embed(x).detach()
    assert curves.norm == pytest.approx(float(h.norm(dim=1).max()))
    for k in range(8):
        errors = (model(x) - brute_force(model, x, [list(range(k))] * 5, space)).abs()
        torch.testing.assert_close(
            curves.worst[:, k], errors.amax(dim=0).detach(), atol=1e-9, rtol=0
        )
    assert (curves.worst <= curves.dropped * curves.norm**2 + 1e-9).all()
    assert (curves.dropped[:, :-1] >= curves.dropped[:, 1:]).all()
    assert not curves.dropped[:, -1].any() and (curves.dropped[:, 0] > 0).all()


def test_bound_is_attained_along_the_first_dropped_eigenvector() -> None:
    model, radius = random_model(seed=6), 2.5
    found = spectra(model)
    back = torch.linalg.pinv(model.embed.weight.detach())
    for c in range(5):
        for k in range(7):
            x = radius * (back @ found.vectors[c, k])[None]
            curves = truncation_curves(model, x, torch.tensor([c]))
            assert curves.norm == pytest.approx(radius)
            bound = float(curves.dropped[c, k]) * radius**2
            assert float(curves.worst[c, k]) == pytest.approx(bound, rel=1e-9)


def test_dropped_eigenvalues_are_the_frobenius_distance() -> None:
    model = random_model(seed=7)
    tensor = model.tensor("hidden")
    dropped = truncation_curves(model, random_images(), torch.zeros(20, dtype=torch.int64)).dropped
    for k in (0, 2, 5):
        cut = tensor.truncate(k).tensor
        for c, unit in enumerate(torch.eye(5, dtype=torch.float64)):
            missing = tensor.interaction(unit) - cut.interaction(unit)
            assert float(missing.norm() ** 2) == pytest.approx(float(dropped[c, k:].square().sum()))


def test_relabelling_neurons_changes_nothing() -> None:
    model, x = random_model(seed=8), random_images()
    labels = torch.arange(20) % 5
    before = truncation_curves(model, x, labels)
    with torch.no_grad():
        block = model.blocks[0]
        scale = torch.linspace(0.5, 3, 9, dtype=torch.float64)
        left = block.left.weight.clone()
        block.left.weight.copy_(block.right.weight * scale[:, None])
        block.right.weight.copy_(left / scale[:, None])
    after = truncation_curves(model, x, labels)
    torch.testing.assert_close(before.leading, after.leading)
    torch.testing.assert_close(before.worst, after.worst)


def test_blocks_of_images_and_weights_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, labels = random_model(seed=9), random_images(33), torch.arange(33) % 5
    whole = truncation_curves(model, x, labels, draws=2)
    monkeypatch.setattr("quadric.forms.blocks.BLOCK_ENTRIES", 4 * 70)
    parts = truncation_curves(model, x, labels, draws=2)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
    single = random_model(seed=9).float()
    found = truncation_curves(single, x.float(), labels, draws=2)
    assert found.worst.dtype == torch.float64 and next(single.parameters()).dtype == torch.float32


def test_ranks_needed() -> None:
    error = torch.tensor([0.9, 0.4, 0.1005, 0.3, 0.1, 0.1011, 0.1], dtype=torch.float64)
    assert ranks_needed(error, 0.001) == (2, 6)
    assert ranks_needed(error, 0.0) == (4, 6)
    assert ranks_needed(error, 0.3) == (1, 1)
    assert ranks_needed(error, 1.0) == (0, 0)
    assert ranks_needed(torch.tensor([0.1, 0.2, 0.3]), 0.0) == (0, 0)  # fewer is better here
    with pytest.raises(QuadricError, match="tolerance is -1"):
        ranks_needed(error, -1)


def test_bad_input() -> None:
    model, x, labels = random_model(), random_images(), torch.zeros(20, dtype=torch.int64)
    with pytest.raises(QuadricError, match="draws is 0"):
        truncation_curves(model, x, labels, draws=0)
    with pytest.raises(QuadricError, match="20 images and 19 labels"):
        truncation_curves(model, x, labels[:-1])
    with pytest.raises(QuadricError, match="space is 'pixel'"):
        truncation_curves(model, x, labels, space="pixel")
    with pytest.raises(QuadricError, match="k is 8"):
        truncated_logits(model, x, 8)
    with pytest.raises(QuadricError, match="2 blocks"):
        truncation_curves(random_model(blocks=2), x, labels)
    with pytest.raises(QuadricError, match="relu"):
        truncation_curves(random_model(gate="relu"), x, labels)
