"""The TopK baseline: its definition row by row, and that it finds planted directions."""

from __future__ import annotations

import pytest
import torch

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import InputTransform
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.baselines.topk import _largest, _project
from quadric.errors import QuadricError

D, LATENTS, K = 7, 11, 3


def activations(rows: int = 20) -> torch.Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(0)).double() + 0.5


def make() -> TopKAutoencoder:
    transform = InputTransform(D, centre=True, scale="none", norm="unit").double()
    model = TopKAutoencoder(transform.fit(activations()), LATENTS, K, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    model.encoder_bias.data = 0.1 * torch.randn(LATENTS, generator=generator).double()
    model.bias.data = 0.1 * torch.randn(D, generator=generator).double()
    model.encoder.data += 0.1 * torch.randn(LATENTS, D, generator=generator).double()
    return model


@torch.no_grad()
def test_every_row_by_its_definition() -> None:
    model, x = make(), activations()
    latents, estimates, errors = model.encode(x), model(x), model.product_error(x)
    for row in range(len(x)):
        centred = x[row] - model.transform.mean
        norm = centred.norm()
        y = centred / norm
        drive = [
            max(0.0, float(w @ (y - model.bias) + c))
            for w, c in zip(model.encoder, model.encoder_bias, strict=True)
        ]
        kept = sorted(range(LATENTS), key=lambda j: -drive[j])[:K]
        expected = torch.tensor([drive[j] if j in kept else 0.0 for j in range(LATENTS)]).double()
        torch.testing.assert_close(latents[row], expected, rtol=1e-6, atol=1e-7)
        y_hat = sum(expected[j] * model.decoder[j] for j in kept) + model.bias
        torch.testing.assert_close(estimates[row], y_hat * norm + model.transform.mean)
        difference = torch.outer(y, y) - torch.outer(y_hat, y_hat)
        assert errors[row].item() == pytest.approx(difference.square().sum().item(), rel=1e-6)
    variance = (x - x.mean(0)).square().sum()
    expected_variance = 1 - (x - estimates).square().sum() / variance
    assert model.explained_variance(x) == pytest.approx(expected_variance.item())
    assert model.decode(latents).shape == x.shape


def test_only_the_largest_stay_and_none_is_negative() -> None:
    kept = _largest(torch.tensor([[3.0, 1.0, 0.0, 2.0], [0.0, 0.0, 5.0, 0.0]]), 2)
    assert kept.tolist() == [[3, 0, 0, 2], [0, 0, 5, 0]]
    assert (make().encode(activations()) >= 0).all()
    assert ((make().encode(activations()) > 0).sum(1) <= K).all()


def test_the_projected_gradient_leaves_lengths_alone() -> None:
    decoder = torch.nn.Parameter(torch.nn.functional.normalize(activations(LATENTS), dim=1))
    decoder.grad = torch.ones_like(decoder)
    _project(decoder)
    torch.testing.assert_close((decoder.grad * decoder).sum(1), torch.zeros(LATENTS).double())


def planted(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    directions = torch.nn.functional.normalize(
        torch.randn(24, 16, generator=torch.Generator().manual_seed(5)), dim=1
    )
    generator = torch.Generator().manual_seed(seed)
    active = (torch.rand(rows, 24, generator=generator) < 2 / 24).float()
    strengths = active * (0.5 + torch.rand(rows, 24, generator=generator))
    noise = 0.01 * torch.randn(rows, 16, generator=generator)
    return strengths @ directions + noise, directions


def test_it_finds_planted_directions_and_repeats_itself() -> None:
    x, directions = planted(6000, 0)
    source = ShuffledRows(MemoryRows(x), batch_size=512, seed=0, max_norm_multiple=None)
    # Sparse non-negative features need no centring; with it their directions stay the same.
    transform = InputTransform(16, centre=False, scale="none", norm="none").fit(x)
    first = train_topk(source, 32, 3, steps=400, lr=1e-2, transform=transform)
    best = (directions @ first.decoder.T).amax(1)
    assert (best > 0.95).float().mean() > 0.8, best
    # A third of the rows hold more than three features, which three latents cannot explain.
    assert first.explained_variance(planted(500, 1)[0]) > 0.85
    torch.testing.assert_close(first.decoder.norm(dim=1), torch.ones(32))

    def repeated() -> torch.Tensor:
        stream = iter(x.split(512) * 99)
        return train_topk(lambda: next(stream), 32, 3, steps=5, seed=4).decoder.data

    assert torch.equal(repeated(), repeated())


def test_errors() -> None:
    with pytest.raises(QuadricError, match="k is 12, expected 1 to 11"):
        TopKAutoencoder(make().transform, LATENTS, 12)
    with pytest.raises(QuadricError, match="d_sae is 0"):
        TopKAutoencoder(make().transform, 0, 1)
    with pytest.raises(QuadricError, match=r"shape \(2, 5\).*d_in = 7"):
        make().encode(torch.zeros(2, 5))
    with pytest.raises(QuadricError, match="gave no rows"):
        train_topk(lambda: torch.zeros(0, D), 4, 2)
