"""Steering along a form: first-order steps, constant levels, and what the model makes of it."""

from __future__ import annotations

import math

import pytest
import torch

from quadric.activations.capture import capture, splice
from quadric.activations.hooks import resolve
from quadric.activations.models import LanguageModel
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import SteeredForm, logit_change
from quadric.forms import BilinearTensor
from tests.activations.tiny import tiny_model, tiny_tokenizer

WIDTH = 7
PARTS = [
    {"norm": "unit"},
    {"norm": "unit", "affine": True, "scale": "dimension"},
    {"norm": "constant", "scale": "whole"},
    {"norm": "none", "affine": True},
]


def rows(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, WIDTH, generator=generator) * torch.linspace(1, 4, WIDTH) + 2


def make(parts: dict[str, object]) -> BilinearAutoencoder:
    config = AutoencoderConfig(d_in=WIDTH, d_sae=4, variant="composite", block=3, **parts)  # type: ignore[arg-type]
    model = BilinearAutoencoder(config)
    model.transform.fit(rows(60))
    return model


def value(model: BilinearAutoencoder, latent: int, x: torch.Tensor) -> torch.Tensor:
    """The latent of one activation from its formula, in float64."""
    y = (x.double() - model.transform.mean.double()) / model.transform.scales.double()
    if model.config.norm == "unit":
        y = y / y.norm()
    elif model.config.norm == "constant":
        y = y / model.transform.mean_norm.double()
    if model.config.affine:
        y = torch.cat([y, y.new_ones(1)])
    block = slice(3 * latent, 3 * latent + 3)
    left, right = model.left[block].detach().double(), model.right[block].detach().double()
    return ((left @ y) * (right @ y)).sum()


@pytest.mark.parametrize("parts", PARTS)
def test_a_climb_changes_the_form_by_the_first_order_amount(parts: dict[str, object]) -> None:
    model, x = make(parts), rows().double()
    form = SteeredForm(model, model.tensor([2]))
    torch.testing.assert_close(form.value(x), torch.stack([value(model, 2, row) for row in x]))
    step = 1e-5
    slopes = torch.stack(
        [
            torch.stack(
                [
                    (value(model, 2, row + step * e) - value(model, 2, row - step * e)) / (2 * step)
                    for e in torch.eye(WIDTH).double()
                ]
            )
            for row in x
        ]
    )
    torch.testing.assert_close(form.gradient(x), slopes, rtol=1e-5, atol=1e-7)
    for amount in (1e-4, -1e-4):
        climbed = form.climb(x, amount)
        expected = amount * x.norm(dim=-1) * slopes.norm(dim=-1)
        torch.testing.assert_close(climbed.after - climbed.before, expected, rtol=0.01, atol=1e-9)
        torch.testing.assert_close(climbed.moved, torch.full((5,), 1e-4).double())
        off = (
            climbed.x
            - x
            - amount * x.norm(dim=-1, keepdim=True) * slopes / slopes.norm(dim=-1, keepdim=True)
        )
        assert off.abs().max() < 1e-6
    assert not form.climb(x, 0.0).moved.any()


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("angle", [40, -130])
def test_a_walk_keeps_the_level(parts: dict[str, object], angle: float) -> None:
    model, x = make(parts), rows()
    form = SteeredForm(model, model.tensor([1]))
    walked = form.walk(x, math.radians(angle), (0, 1))
    assert walked.x.dtype == torch.float32
    for row, new, before, after in zip(x, walked.x, walked.before, walked.after, strict=True):
        assert before.item() == pytest.approx(value(model, 1, row).item())
        assert after.item() == pytest.approx(value(model, 1, new).item())
    torch.testing.assert_close(walked.after, walked.before, rtol=1e-4, atol=0)
    # The point did move, and in the direction asked for.
    first, second = form.axes().vectors[:2]
    y, z = (model.transform.apply_to(each.double()).y for each in (x, walked.x))
    turned = torch.atan2(z @ second, z @ first) - torch.atan2(y @ second, y @ first)
    turned = torch.remainder(turned + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(walked.turned, turned, rtol=1e-4, atol=1e-5)
    assert (walked.moved > 0.01).all()
    assert (walked.turned.sign() == math.copysign(1, angle)).sum() >= 4
    if model.config.norm == "unit":
        lengths = [
            ((each - model.transform.mean) / model.transform.scales).norm(dim=-1)
            for each in (x, walked.x)
        ]
        torch.testing.assert_close(*lengths)


def test_where_circles_are_level_a_walk_is_a_rotation() -> None:
    model, x = make({"norm": "unit"}), rows().double()
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))
    axes = basis.Q.T.double()
    left = axes[:3] * torch.tensor([[2.0], [2.0], [-1.0]]).double()
    form = SteeredForm(model, BilinearTensor(left, axes[:3], torch.ones(1, 3).double()))
    walked = form.walk(x, 2.5, (0, 1))
    torch.testing.assert_close(walked.turned.abs(), torch.full((5,), 2.5).double())
    y, z = (model.transform.apply_to(each).y @ axes.T for each in (x, walked.x))
    torch.testing.assert_close(z[:, 2:], y[:, 2:])
    torch.testing.assert_close(z[:, :2].norm(dim=-1), y[:, :2].norm(dim=-1))
    back = form.walk(walked.x, -2.5, (0, 1))
    torch.testing.assert_close(back.x, x)


def test_what_cannot_be_steered() -> None:
    model, x = make({"norm": "unit"}), rows()
    form = SteeredForm(model, model.tensor([0]))
    for axes in ((0, 0), (0, 6), (-1, 1)):
        with pytest.raises(QuadricError, match=r"the form's 6, from 0"):
            form.walk(x, 1.0, axes)
    with pytest.raises(QuadricError, match="one form on 7 coordinates, got 2 on 7"):
        SteeredForm(model, model.tensor([0, 1]))
    model.left.data.zero_()
    flat = SteeredForm(model, model.tensor([0]))
    with pytest.raises(QuadricError, match="flat"):
        flat.climb(x, 0.1)


def test_logits_change_by_what_was_put_in() -> None:
    language = LanguageModel(tiny_model("llama"), tiny_tokenizer(), "tiny")
    (hook,) = resolve(language.model, ["blocks.1.hook_resid_pre"])
    ids = torch.tensor(language.tokenizer("on Monday")["input_ids"])
    there = capture(language.model, [hook], ids[None])[hook.hook_name][0]
    config = AutoencoderConfig(d_in=12, d_sae=3, variant="composite", block=2)
    model = BilinearAutoencoder(config).double()
    model.transform.fit(there)
    form = SteeredForm(model, model.tensor([1]))
    for position in (3, len(ids) - 1):
        x = there[position : position + 1]
        nothing = logit_change(language, hook, ids, position, form.walk(x, 0.0).x[0])
        assert nothing.kl == 0 and nothing.rising == [] and nothing.falling == []
        walked = form.walk(x, 1.0)
        assert walked.after.item() == pytest.approx(walked.before.item(), rel=1e-6)
        found = logit_change(language, hook, ids, position, walked.x[0], top=257)
        assert walked.moved > 0.05 and found.kl > 0

        def replace(
            values: torch.Tensor, new: torch.Tensor = walked.x[0], at: int = position
        ) -> torch.Tensor:
            rows = list(values[0])
            rows[at] = new
            return torch.stack(rows)[None]

        with torch.no_grad():
            clean = language.model(ids[None]).logits[0, -1]
            with splice(language.model, hook, replace):
                steered = language.model(ids[None]).logits[0, -1]
        p, q = clean.softmax(-1), steered.softmax(-1)
        assert found.kl == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-6)
        changes = found.rising + found.falling
        assert sorted(change.token for change in changes) == list(range(257))
        for change in changes:
            assert change.logit == pytest.approx((steered - clean)[change.token].item())
            assert change.before == pytest.approx(p[change.token].item())
            assert change.after == pytest.approx(q[change.token].item())
        gains = [change.after - change.before for change in found.rising]
        assert gains == sorted(gains, reverse=True) and gains[-1] > 0
        losses = [change.after - change.before for change in found.falling]
        assert losses == sorted(losses) and losses[-1] < 0
