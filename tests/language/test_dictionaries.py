"""Trained TopK autoencoders around a layer: what they are as dictionaries, from end to end."""

from __future__ import annotations

import pytest
import torch

from quadric import QuadricError
from quadric.autoencoders import InputTransform
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.language import (
    CorrelationSums,
    dictionaries_of,
    interactions_between,
    leading_terms,
)
from quadric.layers import GatedLayer
from tests.forms.builders import close, noise

D, N, M, P, Q, K = 12, 19, 9, 30, 25, 4


def layer() -> GatedLayer:
    made = GatedLayer(D, N, M, bias=True).double()
    for place, parameter in enumerate(made.parameters()):
        parameter.data = noise(place, *parameter.shape) / D**0.5
    return made


def inputs(seed: int, rows: int = 512) -> torch.Tensor:
    """Few of twenty directions at a time, off centre and of unequal scales."""
    codes = noise(seed, rows, 20).relu() * (noise(seed + 1, rows, 20) > 0.8)
    return (codes @ noise(99, 20, D) + 0.7) * torch.linspace(0.5, 2, D).double()


def trained(data: torch.Tensor, features: int, norm: str) -> TopKAutoencoder:
    transform = InputTransform(data.shape[1], centre=True, scale="dimension", norm=norm)
    return train_topk(
        data.float, features, K, steps=40, lr=1e-2, transform=transform.fit(data)
    ).double()


@pytest.mark.parametrize("norm", ["constant", "none"])
def test_both_sides_are_the_trained_autoencoder_and_the_account_is_exact(norm):
    made, x = layer(), inputs(3)
    with torch.no_grad():
        outputs = made(x)
    first, second = trained(x, P, norm), trained(outputs, Q, norm)
    with torch.no_grad():
        codes, kept = first.encode(x), second.encode(outputs)
        reconstruction = first.decode(codes)
    at_input, at_output = dictionaries_of(first)[0], dictionaries_of(second)[1]
    assert close(codes @ at_input.decoder + at_input.bias, reconstruction)
    y = (outputs - at_output.centre) @ at_output.encoder.T + at_output.bias
    assert close(kept[kept != 0], y[kept != 0])
    account = interactions_between(made, at_input, at_output).account(codes, x)
    assert close(sum(account), y)
    # Encoder and decoder are no longer the same after training.
    assert not close(second.encoder.detach(), second.decoder.detach(), 0.05)
    sums = CorrelationSums(leading_terms(made, at_output, D + 1))
    sums.update(x, y, kept != 0)
    for fit in (sums.active(), sums.everywhere()):
        seen = fit.tokens >= 5
        assert int(seen.sum()) >= 10
        assert (fit.pearson[seen, -1] - 1).abs().max() < 1e-6
        assert (fit.r2[seen, -1] - 1).abs().max() < 1e-6


def test_a_norm_of_every_activation_is_refused():
    transform = InputTransform(D, centre=True, scale="none", norm="unit")
    with pytest.raises(QuadricError, match=r"norm='unit'.*norm='constant' or 'none'"):
        dictionaries_of(TopKAutoencoder(transform, P, K))
