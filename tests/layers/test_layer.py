"""The gated layer: its forms, its terms, its invariances, and the mutants of each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from quadric import BilinearTensor, QuadricError
from quadric.forms import lift
from quadric.layers.layer import GatedLayer, lift_basis
from tests.forms.builders import close, noise
from tests.oracles import forms as oracle

D, N, M, P = 5, 7, 3, 11
X = noise(1, 2, 4, D)
KINDS = {
    "plain": {},
    "biases": {"bias": True},
    "output bias": {"out_bias": True},
    "all biases": {"bias": True, "out_bias": True},
    "no output": {"d_out": None},
    "no output, biases": {"d_out": None, "bias": True},
}


def made(seed: int = 0, d_out: int | None = M, **config: object) -> GatedLayer:
    """A float64 layer of 5 inputs, 7 products and 3 outputs with Gaussian weights."""
    layer = GatedLayer(D, N, d_out, **config).double()
    for place, parameter in enumerate(layer.parameters()):
        parameter.data = noise(100 * seed + place, *parameter.shape)
    return layer


def biases(layer: GatedLayer) -> tuple[torch.Tensor, torch.Tensor]:
    zero = torch.zeros(N, dtype=torch.float64)
    return (
        zero if layer.left.bias is None else layer.left.bias.detach(),
        zero if layer.right.bias is None else layer.right.bias.detach(),
    )


def values(layer: GatedLayer, x: torch.Tensor = X) -> torch.Tensor:
    with torch.no_grad():
        return layer(x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_the_double_sum_over_inputs(kind):
    layer = made(**KINDS[kind])
    hidden = oracle.affine_layer(X, layer.left.weight, biases(layer)[0], layer.right.weight,
                                 biases(layer)[1])  # fmt: skip
    expected = hidden
    if layer.out is not None:
        expected = hidden @ layer.out.weight.T
        expected = expected if layer.out.bias is None else expected + layer.out.bias
    assert close(values(layer), expected.detach())


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensor_computes_the_layer(kind):
    layer = made(**KINDS[kind])
    tensor = layer.tensor()
    assert layer.lifted == ("bias" in kind)
    assert tensor.d == D + layer.lifted
    assert not tensor.left.requires_grad
    assert close(tensor(lift(X) if layer.lifted else X), values(layer))
    forms = oracle.matrices(tensor)
    assert close(oracle.values(forms, lift(X) if layer.lifted else X), values(layer))
    for k in range(tensor.m):
        unit = torch.eye(tensor.m, dtype=torch.float64)[k]
        assert close(tensor.interaction(unit), forms[k])


def test_mutants_of_the_tensor_are_told_apart():
    layer = made(bias=True, out_bias=True)
    w, v, p = (part.weight.detach() for part in (layer.left, layer.right, layer.out))
    b1, b2, bp = (part.bias.detach() for part in (layer.left, layer.right, layer.out))
    truth, plain = values(layer), BilinearTensor(w, v, p)
    assert close(plain.fold_bias(b1, b2, bp)(lift(X)), truth)
    double = torch.cat([p, p], dim=1)
    mutants = {
        "bias columns swapped": plain.fold_bias(b2, b1, bp),
        "one bias forgotten": plain.fold_bias(b1, 0 * b2, bp),
        "output bias forgotten": plain.fold_bias(b1, b2),
        "both orders without the ½": BilinearTensor(
            torch.cat([w, v]), torch.cat([v, w]), double
        ).fold_bias(torch.cat([b1, b2]), torch.cat([b2, b1]), bp),
        "left twice": BilinearTensor(w, w, p).fold_bias(b1, b2, bp),
    }
    for name, mutant in mutants.items():
        assert not close(mutant(lift(X)), truth, 1e-3), name


def test_the_published_folding_of_biases_as_printed_is_wrong():
    """§2 prints W' = [W; b₂]; the layer is (Wx + b₁) ⊙ (Vx + b₂), so W' = [W, b₁]."""
    layer = made(bias=True)
    printed = BilinearTensor(
        torch.cat([layer.left.weight, layer.right.bias[:, None]], dim=1).detach(),
        torch.cat([layer.right.weight, layer.left.bias[:, None]], dim=1).detach(),
        layer.out.weight.detach(),
    )
    assert not close(printed(lift(X)), values(layer), 1e-3)
    assert close(layer.tensor()(lift(X)), values(layer))


@pytest.mark.parametrize("kind", KINDS)
def test_terms_sum_to_the_layer_and_are_its_derivatives(kind):
    layer = made(**KINDS[kind])
    interaction, linear, constant = layer.terms(X)
    assert close(interaction + linear + constant, values(layer))
    assert close(constant, values(layer, 0 * X))
    b1, b2 = biases(layer)
    out = torch.eye(N, dtype=torch.float64) if layer.out is None else layer.out.weight.detach()
    rows = out @ (b2[:, None] * layer.left.weight + b1[:, None] * layer.right.weight).detach()
    assert torch.allclose(linear, X @ rows.T, atol=1e-10)
    slopes = torch.autograd.functional.jacobian(layer, torch.zeros(D, dtype=torch.float64))
    assert torch.allclose(slopes, rows, atol=1e-10)
    assert torch.allclose(interaction, (values(layer) + values(layer, -X)) / 2 - constant)
    if "bias" in kind and "output bias" not in kind:
        swapped = X @ (out @ (b1[:, None] * layer.left.weight + b2[:, None] * layer.right.weight)).T
        assert not torch.allclose(linear, swapped.detach(), atol=1e-3)


@given(st.floats(-3, 3), st.integers(0, 99))
def test_without_biases_the_layer_is_homogeneous_and_even(scale, seed):
    layer, x = made(seed), noise(seed + 7, 6, D)
    assert torch.allclose(values(layer, scale * x), scale**2 * values(layer, x), atol=1e-9)
    assert torch.equal(values(layer, -x), values(layer, x))


def test_with_biases_it_is_neither():
    layer = made(bias=True)
    assert not close(values(layer, 2 * X), 4 * values(layer), 1e-3)
    assert not close(values(layer, -X), values(layer), 1e-3)


@given(st.integers(0, 99), st.booleans(), st.booleans())
def test_other_weights_of_the_same_map_have_the_same_tensor(seed, bias, swap):
    """Permuted and rescaled neurons and exchanged sides change no form."""
    layer, other = made(seed, bias=bias), made(seed, bias=bias)
    order, scale = noise(seed + 1, N).argsort(), noise(seed + 2, N).exp()
    sides = (other.left, other.right)[:: -1 if swap else 1]
    for side, source, factor in zip(sides, (layer.left, layer.right), (scale, 1 / scale),
                                    strict=True):  # fmt: skip
        side.weight.data = (factor[:, None] * source.weight.data)[order]
        if bias:
            side.bias.data = (factor * source.bias.data)[order]
    other.out.weight.data = layer.out.weight.data[:, order]
    assert close(oracle.matrices(other.tensor()), oracle.matrices(layer.tensor()))
    assert abs(layer.tensor().cosine(other.tensor()) - 1) < 1e-12
    other.left.weight.data *= -1
    assert layer.tensor().cosine(other.tensor()) < 0.999


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_swish_at_zero_folds_its_half(kind, side):
    """σ(z) = z/2, biases included; σ(z) = z, as the paper's appendix H has it, is wrong."""
    layer = made(gate="swish", beta=0.0, gate_side=side, **KINDS[kind])
    x = lift(X) if layer.lifted else X
    assert close(layer.tensor()(x), values(layer))
    assert close(sum(layer.terms(X)), values(layer))
    unfolded = made(**KINDS[kind])
    assert not close(unfolded.tensor()(x), values(layer), 1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_swish_at_one_is_a_silu_layer_to_the_bit(side):
    swish = made(gate="swish", beta=1.0, gate_side=side, bias=True)
    silu = made(gate="silu", gate_side=side, bias=True)
    assert torch.equal(values(swish), values(silu))
    gated = (swish.left, swish.right)[side == "right"]
    other = (swish.left, swish.right)[side == "left"]
    assert torch.equal(values(swish), swish.out(other(X) * functional.silu(gated(X))).detach())


def test_the_gated_side_matters_where_the_gate_is_not_linear():
    right, left = made(gate="silu"), made(gate="silu", gate_side="left")
    assert not close(values(right), values(left), 1e-3)
    assert close(values(made()), values(made(gate_side="left")))


@pytest.mark.parametrize(
    ("gate", "beta"), [("relu", 1.0), ("silu", 1.0), ("gelu", 1.0), ("swish", 1.0), ("swish", 0.01)]
)
def test_other_gates_have_no_tensor_and_the_message_says_what_to_do(gate, beta):
    layer = made(gate=gate, beta=beta, gate_side="left")
    for call in (layer.tensor, lambda: layer.terms(X)):
        with pytest.raises(QuadricError, match=f"left factor passes through {gate}") as refusal:
            call()
        assert "gate='identity'" in str(refusal.value)
        assert "β to 0" in str(refusal.value)


@pytest.mark.parametrize("bias", [False, True])
def test_the_input_space_is_the_layer_behind_its_embedding(bias):
    layer, embed, y = made(bias=bias, out_bias=bias), noise(50, D, P), noise(51, 6, P)
    tensor = layer.tensor("input", embed)
    assert tensor.d == P + bias
    assert close(tensor(lift(y) if bias else y), values(layer, y @ embed.T))
    if bias:
        assert close(lift(y) @ lift_basis(embed).T, lift(y @ embed.T))


def test_the_tensor_shares_memory_and_no_gradients():
    layer = made()
    tensor = layer.tensor()
    assert tensor.left.data_ptr() == layer.left.weight.data_ptr()
    assert not any(f.requires_grad for f in (tensor.left, tensor.right, tensor.out))
    assert values(layer).dtype == torch.float64
    assert layer.tensor("input", noise(50, D, P).requires_grad_()).left.requires_grad is False


def test_repr_shows_the_gate():
    assert "gate=swish, beta=0.5, gate_side=left" in repr(
        GatedLayer(2, 3, gate="swish", beta=0.5, gate_side="left")
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GatedLayer(0, 3), "d_in is 0"),
        (lambda: GatedLayer(2, 0), "d_hidden is 0"),
        (lambda: GatedLayer(2, 3, 0), "d_out is 0"),
        (lambda: GatedLayer(2, 3, gate="idendity"), "did you mean 'identity'"),
        (lambda: GatedLayer(2, 3, gate_side="up"), "gate_side is 'up', expected left or right"),
        (lambda: GatedLayer(2, 3, out_bias=True), "out_bias needs an output matrix"),
        (lambda: made().tensor("pixels"), "space is 'pixels', expected hidden or input"),
        (lambda: made().tensor("input"), "embed is missing"),
        (lambda: made().tensor("hidden", noise(0, D, P)), "embed is given"),
        (lambda: made().tensor("input", noise(0, P, D)), r"expected \(5, p\)"),
        (lambda: made(bias=True).tensor("input", noise(0, P, D)), r"\(11, 5\), expected \(5, p\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message):
        call()
