"""Interactions between dictionaries: against six loops, exact accounts, and mutants."""

from __future__ import annotations

import itertools

import pytest
import torch

from quadric import BilinearTensor, QuadricError
from quadric.language import InputDictionary, OutputDictionary, interactions_between
from quadric.language.interactions import Interactions
from quadric.layers import GatedLayer
from tests.forms.builders import close, noise

D, N, M, P, Q = 5, 7, 4, 11, 6
KINDS = {
    "plain": {},
    "biases": {"bias": True},
    "output bias": {"out_bias": True},
    "all biases": {"bias": True, "out_bias": True},
    "folded half": {"gate": "swish", "beta": 0.0, "bias": True},
}


def made(seed: int = 0, **config: object) -> GatedLayer:
    layer = GatedLayer(D, N, M, **config).double()
    for place, parameter in enumerate(layer.parameters()):
        parameter.data = noise(100 * seed + place, *parameter.shape)
    return layer


INPUTS = InputDictionary(noise(31, P, D), noise(32, D))
OUTPUTS = OutputDictionary(noise(33, Q, M), noise(34, Q), noise(35, M))


def sparse(tokens: int = 3) -> torch.Tensor:
    """Codes of which about a third are on, some negative."""
    codes = noise(41, tokens, P)
    return codes * (codes.abs() > 0.9)


def brute(layer: GatedLayer, decoder: torch.Tensor, encoder: torch.Tensor) -> torch.Tensor:
    """(q, p, p): ½ Σ_h Σ_i e_ai P_ih (w_h·d_b v_h·d_c + w_h·d_c v_h·d_b), every sum a loop."""
    w, v, head = (part.weight.detach() for part in (layer.left, layer.right, layer.out))
    found = torch.zeros(len(encoder), len(decoder), len(decoder), dtype=torch.float64)
    for a, b, c in itertools.product(*map(range, found.shape)):
        for h in range(len(w)):
            weight = float(encoder[a] @ head[:, h])
            one = float(w[h] @ decoder[b]) * float(v[h] @ decoder[c])
            other = float(w[h] @ decoder[c]) * float(v[h] @ decoder[b])
            found[a, b, c] += weight * (one + other) / 2
    return found


def whole(found: Interactions) -> torch.Tensor:
    everything = range(found.p + 1)
    return found.block(range(found.q), everything, everything)


def measured(layer: GatedLayer, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return (layer(x) - OUTPUTS.centre) @ OUTPUTS.encoder.T + OUTPUTS.bias


def test_blocks_and_tiles_are_the_sum_over_neurons():
    layer = made()
    truth = brute(layer, INPUTS.decoder, OUTPUTS.encoder)
    found = interactions_between(layer, INPUTS, OUTPUTS)
    assert (found.p, found.q) == (P, Q)
    assert close(whole(found)[:, :P, :P], truth)
    assert close(found.block([4, 1], [2, 9, 0], [5, 3]), truth[[4, 1]][:, [2, 9, 0]][:, :, [5, 3]])
    for output in range(Q):
        for rows, values in found.tiles(output):
            assert close(values, whole(found)[output, rows, rows.start :])


def test_many_tiles_cover_every_pair_once(monkeypatch):
    monkeypatch.setattr("quadric.forms.blocks.BLOCK_ENTRIES", 3 * (P + 1))
    found = interactions_between(made(), INPUTS, OUTPUTS)
    tiles = list(found.tiles(2))
    assert [tile.rows.start for tile in tiles] == [0, 3, 6, 9]
    for rows, values in tiles:
        assert close(values, whole(found)[2, rows, rows.start :])


def test_mutants_are_told_apart():
    layer = made()
    found = whole(interactions_between(layer, INPUTS, OUTPUTS))[:, :P, :P]
    w, v, head = (part.weight.detach() for part in (layer.left, layer.right, layer.out))
    left, right = w @ INPUTS.decoder.T, v @ INPUTS.decoder.T
    weights = OUTPUTS.encoder @ head
    product = torch.einsum("ah,hb,hc->abc", weights, left, right)
    assert close(found, (product + product.mT) / 2)
    mutants = {
        "not symmetrised": product,
        "without the ½": product + product.mT,
        "left twice": torch.einsum("ah,hb,hc->abc", weights, left, left),
        "decoder for encoder": torch.einsum(
            "ah,hb,hc->abc", torch.linalg.pinv(OUTPUTS.encoder).T @ head, left, right
        ),
    }
    for name, mutant in mutants.items():
        assert not close(found, mutant, 1e-3), name


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_with_bias_and_error_sum_to_the_measured_pre_activation(kind):
    layer = made(**KINDS[kind])
    found = interactions_between(layer, INPUTS, OUTPUTS)
    codes, x = sparse(), noise(51, 3, D)
    truth = measured(layer, x)
    account = found.account(codes, x)
    assert close(sum(account), truth)
    for token, output in itertools.product(range(len(x)), range(Q)):
        features, values = found.contributions(output, codes[token], x[token])
        on = codes[token].nonzero()[:, 0].tolist()
        assert features.tolist() == [*on, P, P + 1]
        assert close(values, values.T)
        assert close(values.sum(), truth[token, output])
        s = len(on)
        assert torch.allclose(values[:s, :s].sum(), account.pairs[token, output])
        assert torch.allclose(2 * values[:s, s].sum(), account.linear[token, output])
        assert torch.allclose(values[s, s], account.constant[token, output])
        error = 2 * values[: s + 1, s + 1].sum() + values[s + 1, s + 1]
        assert torch.allclose(error, account.error[token, output])


@pytest.mark.parametrize("kind", KINDS)
def test_without_x_the_active_pairs_sum_to_the_reconstructions_pre_activation(kind):
    layer = made(**KINDS[kind])
    found = interactions_between(layer, INPUTS, OUTPUTS)
    codes = sparse()
    truth = measured(layer, codes @ INPUTS.decoder + INPUTS.bias)
    account = found.account(codes)
    assert close(sum(account), truth)
    assert not account.error.any()
    full = whole(found)
    for token, output in itertools.product(range(len(codes)), range(Q)):
        features, values = found.contributions(output, codes[token])
        z = torch.cat([codes[token], torch.ones(1, dtype=torch.float64)])[features]
        expected = full[output][features][:, features] * torch.outer(z, z)
        assert close(values, expected)
        assert close(values.sum(), truth[token, output])


def test_forgotten_or_swapped_biases_break_the_account():
    layer = made(bias=True, out_bias=True)
    codes, x = sparse(), noise(51, 3, D)
    truth = measured(layer, x)
    swapped = made(bias=True, out_bias=True)
    swapped.left.bias, swapped.right.bias = swapped.right.bias, swapped.left.bias
    bare = OutputDictionary(OUTPUTS.encoder, OUTPUTS.bias)
    added = OutputDictionary(OUTPUTS.encoder, OUTPUTS.bias, -OUTPUTS.centre)
    mutants = {
        "bias columns swapped": interactions_between(swapped, INPUTS, OUTPUTS).account(codes, x),
        "b_out forgotten": interactions_between(layer, INPUTS, bare).account(codes, x),
        "b_out added": interactions_between(layer, INPUTS, added).account(codes, x),
        "error forgotten": interactions_between(layer, INPUTS, OUTPUTS).account(codes),
    }
    for name, mutant in mutants.items():
        assert not close(sum(mutant), truth, 1e-3), name


def test_a_tensor_counts_as_a_layer_without_biases_and_float32_is_exact_to_its_rounding():
    layer = made()
    one = interactions_between(layer, INPUTS, OUTPUTS)
    other = interactions_between(layer.tensor(), INPUTS, OUTPUTS)
    assert close(whole(one), whole(other), 0)
    products = BilinearTensor(layer.left.weight.detach(), layer.right.weight.detach())
    read = OutputDictionary(OUTPUTS.encoder @ layer.out.weight.detach(), OUTPUTS.bias)
    bare = OutputDictionary(OUTPUTS.encoder, OUTPUTS.bias)
    assert close(
        whole(interactions_between(products, INPUTS, read)),
        whole(interactions_between(layer, INPUTS, bare)),
    )
    codes, x = sparse(), noise(51, 3, D)
    half = interactions_between(made().float(), INPUTS, OUTPUTS)
    assert half.basis.dtype == torch.float32
    account = half.account(codes, x)
    largest = max(float(part.abs().max()) for part in account)  # the parts partly cancel
    assert (sum(account) - measured(layer, x)).abs().max() <= 1e-6 * largest


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (INPUTS.decoder.T, OUTPUTS.encoder, r"decoder has shape \(5, 11\).* 5 inputs.*transposed"),
        (noise(1, P, D + 1), OUTPUTS.encoder, r"decoder has shape \(11, 6\).*layer has 5 inputs"),
        (INPUTS.decoder, OUTPUTS.encoder.T, r"encoder has shape \(4, 6\).*4 outputs.*transposed"),
        (INPUTS.decoder, noise(1, Q, M + 1), r"encoder has shape \(6, 5\).*layer has 4 outputs"),
    ],
)
def test_dictionaries_of_another_width_are_refused(inputs, outputs, message):
    for config in ({}, {"bias": True}):
        with pytest.raises(QuadricError, match=message):
            interactions_between(made(**config), InputDictionary(inputs), OutputDictionary(outputs))


def test_bad_numbers_and_shapes_are_named():
    broken = INPUTS.decoder.clone()
    broken[3, 2] = torch.nan
    with pytest.raises(QuadricError, match="decoder holds NaN or infinity in 1 of 55 entries"):
        InputDictionary(broken)
    with pytest.raises(QuadricError, match=r"bias has shape \(4,\), expected \(5,\)"):
        InputDictionary(INPUTS.decoder, noise(1, 4))
    with pytest.raises(QuadricError, match=r"bias has shape \(4,\), expected \(6,\)"):
        OutputDictionary(OUTPUTS.encoder, noise(1, 4))
    with pytest.raises(QuadricError, match=r"centre has shape \(6,\), expected \(4,\)"):
        OutputDictionary(OUTPUTS.encoder, None, noise(1, Q))
    with pytest.raises(QuadricError, match=r"encoder is torch\.int64"):
        OutputDictionary(torch.ones(3, 4, dtype=torch.long))
    with pytest.raises(QuadricError, match=r"decoder has shape \(0, 5\)"):
        InputDictionary(INPUTS.decoder[:0])
    layer = made()
    layer.right.weight.data[0, 0] = torch.inf
    with pytest.raises(QuadricError, match="the layer's right matrix holds NaN"):
        interactions_between(layer, INPUTS, OUTPUTS)
    with pytest.raises(QuadricError, match="the layer is not bilinear"):
        interactions_between(made(gate="silu"), INPUTS, OUTPUTS)


def test_bad_questions_are_named():
    found = interactions_between(made(), INPUTS, OUTPUTS)
    codes, x = sparse(), noise(51, 3, D)
    with pytest.raises(QuadricError, match="second: no feature 12, expected 0 to 11"):
        found.block([0], [0], [12])
    with pytest.raises(QuadricError, match="output: no feature 6, expected 0 to 5"):
        found.form(6)
    with pytest.raises(QuadricError, match=r"codes have shape \(3, 10\), expected.* 11"):
        found.account(codes[:, :10])
    with pytest.raises(QuadricError, match=r"codes have shape \(3, 11\), expected \(11,\)"):
        found.contributions(0, codes)
    with pytest.raises(QuadricError, match=r"x has shape \(2, 5\), expected \(3, 5\)"):
        found.account(codes, x[:2])
    x[1, 2] = torch.nan
    with pytest.raises(QuadricError, match="x holds NaN or infinity"):
        found.account(codes, x)
