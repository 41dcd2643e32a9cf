"""Explanations: the terms are the logit, for every kind of model that has them."""

from __future__ import annotations

import math

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.explanation import Forces, error_margin, explain, forces, suppression_lead
from tests.vision.builders import random_images, random_model

KINDS: list[dict[str, object]] = [
    {},
    {"bias": True},
    {"residual": True},
    {"bias": True, "residual": True},
    {"d_embed": None},
]


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("space", ["hidden", "input"])
def test_all_terms_are_the_logit(config: dict[str, object], space: str) -> None:
    model, x = random_model(**config), random_images(3)[2]
    found = explain(model, x, space=space)  # type: ignore[arg-type]
    total = found.contributions.sum(dim=1) + found.linear + found.constant
    expected = model(x).detach()
    assert torch.allclose(total, expected, rtol=0, atol=1e-8)
    assert torch.equal(found.logits, expected)


def test_each_contribution_is_its_eigenvalue_times_the_squared_reading() -> None:
    model, x = random_model(), random_images(1)[0]
    found = explain(model, x)
    assert torch.allclose(found.contributions, found.values * (found.images @ x) ** 2)
    assert (found.contributions.diff(dim=1) <= 0).all()
    for c, u in enumerate(torch.eye(5).double()):
        exact = torch.linalg.eigvalsh(model.tensor().interaction(u))
        assert torch.allclose(found.values[c].sort().values, exact, atol=1e-9)


def test_linear_and_constant_terms_are_the_models() -> None:
    """c_c is the logit of the black image, ℓ the slope there."""
    model, x = random_model(bias=True, residual=True), random_images(1)[0]
    found = explain(model, x)
    black = torch.zeros(12).double()
    assert torch.allclose(found.constant, model(black))
    slope = torch.autograd.functional.jacobian(model, black)
    assert torch.allclose(found.linear, slope @ x)


def test_a_float32_model_is_explained_in_float64() -> None:
    model, x = random_model(bias=True).float(), random_images(1)[0].float()
    found = explain(model, x)
    total = found.contributions.sum(dim=1) + found.linear + found.constant
    assert found.logits.dtype == torch.float64
    assert torch.allclose(total, found.logits, rtol=0, atol=1e-8)
    assert torch.allclose(found.logits, model(x).double(), rtol=1e-3, atol=1e-3)
    assert next(model.parameters()).dtype == torch.float32


def test_the_remainder_is_what_is_not_among_the_strongest() -> None:
    found = explain(random_model(), random_images(1)[0])
    for terms in (1, 3, 7):
        kept = found.strongest(terms)
        assert (kept.sum(dim=1) == terms).all()
        dropped = found.contributions.abs().masked_fill(kept, 0).amax(dim=1)
        least = found.contributions.abs().masked_fill(~kept, math.inf).amin(dim=1)
        assert (dropped <= least).all()
        total = found.contributions.masked_fill(~kept, 0).sum(dim=1) + found.remainder(terms)
        assert torch.allclose(total, found.logits)
    assert torch.equal(found.remainder(7), torch.zeros(5).double())
    for terms in (0, 8):
        with pytest.raises(QuadricError, match=f"terms is {terms}, expected 1 to 7"):
            found.remainder(terms)


@pytest.mark.parametrize("config", KINDS)
def test_forces_are_the_two_signs_of_the_contributions(
    config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.vision.explanation._ROWS", 3)
    model, x = random_model(**config), random_images(8)
    found = forces(model, x)
    for row, image in enumerate(x):
        terms = explain(model, image).contributions
        assert torch.allclose(found.excitation[row], terms.clamp(min=0).sum(dim=1))
        assert torch.allclose(found.suppression[row], terms.clamp(max=0).sum(dim=1))
    assert forces(model, x[:0]).excitation.shape == (0, 5)


def test_only_right_answers_against_the_excitation_are_led_by_suppression() -> None:
    excitation = torch.tensor([[3.0, 9.0, 1.0], [9.0, 3.0, 1.0], [3.0, 9.0, 1.0], [3.0, 9.0, 1.0]])
    suppression = -torch.tensor(
        [[1.0, 8.0, 4.0], [1.0, 8.0, 4.0], [8.0, 1.0, 4.0], [1.5, 8.0, 0.5]]
    )
    found = Forces(excitation, suppression)
    labels = torch.zeros(4, dtype=torch.long)
    lead = suppression_lead(found, excitation + suppression, labels)
    # The second is excited most itself, the third is wrong; in the last, class 2 is let through.
    assert lead.tolist() == [3.0, -math.inf, -math.inf, -1.0]


def test_the_margin_of_an_error() -> None:
    logits = torch.tensor([[1.0, 4.0, 0.0], [5.0, 4.0, 0.0], [1.0, 2.0, 6.0]])
    margins = error_margin(logits, torch.tensor([0, 0, 1]))
    assert margins.tolist() == [3.0, -math.inf, 4.0]


def test_refusals() -> None:
    x = random_images(1)[0]
    with pytest.raises(QuadricError, match="2 blocks"):
        explain(random_model(blocks=2), x)
    with pytest.raises(QuadricError, match="not bilinear"):
        forces(random_model(gate="gelu"), x[None])
    with pytest.raises(QuadricError, match=r"shape \(11,\), expected one row of 12"):
        explain(random_model(), x[:11])
    with pytest.raises(QuadricError, match="rows of 12"):
        forces(random_model(), x)
