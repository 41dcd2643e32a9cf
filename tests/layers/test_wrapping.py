"""Finding and wrapping the gated layers of other people's modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from quadric import QuadricError
from quadric.layers import GatedLayer, find_layers, wrap
from tests.forms.builders import close, noise

D, N, M = 5, 7, 3
X = noise(9, 6, D)


class Llama(nn.Module):
    """The layout of a Llama MLP: down(act(gate(x)) * up(x))."""

    def __init__(self, act: nn.Module | None = None, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(D, N, bias=bias)
        self.up_proj = nn.Linear(D, N, bias=bias)
        self.down_proj = nn.Linear(N, M, bias=bias)
        self.act_fn = act or nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Scaled(Llama):
    """A scale that no name tells of."""

    scale = 1.01

    def forward(self, x):
        return self.scale * super().forward(x)


class Swapped(Llama):
    """The activation on the other side than its name says."""

    def forward(self, x):
        return self.down_proj(self.gate_proj(x) * self.act_fn(self.up_proj(x)))


class Dropped(Llama):
    """Dropout before the output matrix, as T5 has."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, x):
        hidden = self.act_fn(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(self.frozen(self.dropout(hidden)))


class Fused(nn.Module):
    """Both factors in one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj, self.down_proj = nn.Linear(D, 2 * N), nn.Linear(N, M)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(gate * up)


class Own(nn.Module):
    """Names of nobody else, and no output matrix."""

    def __init__(self, right: int = N) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(D, N), nn.Linear(D, right)

    def forward(self, x):
        return self.first(x) * self.second(x)


class Named(nn.Module):
    """Two factors and perhaps an output by given names, nothing between them."""

    def __init__(self, gated: str, other: str, out: str | None) -> None:
        super().__init__()
        self.names = gated, other, out
        self.add_module(gated, nn.Linear(D, N))
        self.add_module(other, nn.Linear(D, N))
        if out is not None:
            self.add_module(out, nn.Linear(N, M))

    def forward(self, x):
        gated, other, out = self.names
        hidden = getattr(self, gated)(x) * getattr(self, other)(x)
        return hidden if out is None else getattr(self, out)(hidden)


def doubled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with Gaussian weights."""
    for place, parameter in enumerate(module.double().parameters()):
        parameter.data = noise(100 * seed + place, *parameter.shape)
    return module


@pytest.mark.parametrize("bias", [False, True])
def test_a_llama_layer_without_activation_becomes_its_tensor(bias):
    module = doubled(Llama(nn.Identity(), bias))
    layer = wrap(module)
    assert isinstance(layer, GatedLayer)
    assert layer.right is module.gate_proj
    assert layer.left is module.up_proj
    assert layer.out is module.down_proj
    assert close(layer(X).detach(), module(X).detach())
    assert close(sum(layer.terms(X)), module(X).detach())
    assert layer.lifted is bias


@pytest.mark.parametrize(
    ("act", "gate"), [(nn.SiLU(), "silu"), (nn.ReLU(), "relu"), (nn.GELU(), "gelu")]
)
def test_activations_are_read_and_refused_only_by_tensor(act, gate):
    module = doubled(Llama(act))
    layer = wrap(module)
    assert (layer.gate, layer.gate_side) == (gate, "right")
    assert torch.equal(layer(X), module(X))
    with pytest.raises(QuadricError, match=f"right factor passes through {gate}"):
        layer.tensor()


@pytest.mark.parametrize(("hidden_act", "bilinear"), [("linear", True), ("silu", False)])
def test_the_real_llama_mlp(hidden_act, bilinear):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    module = llama.LlamaMLP(
        LlamaConfig(
            hidden_size=6, intermediate_size=N, hidden_act=hidden_act, num_attention_heads=1
        )
    )
    x = noise(8, 4, 6)
    layer = wrap(doubled(module))
    assert close(layer(x).detach(), module(x).detach())
    if bilinear:
        assert close(layer.tensor()(x), module(x).detach())
    else:
        assert layer.gate == "silu"


@pytest.mark.parametrize(
    "names",
    [("w1", "w3", "w2"), ("wi_0", "wi_1", "wo"), ("right", "left", "out"), ("V", "W", "P"),
     ("v", "w", None), ("gate_proj", "up_proj", None)],
)  # fmt: skip
def test_usual_names_are_found_with_and_without_an_output(names):
    module = doubled(Named(*names))
    layer = wrap(module)
    assert layer.right is getattr(module, names[0])
    assert (layer.out is None) == (names[2] is None)
    assert close(layer.tensor()(functional.pad(X, (0, 1), value=1.0)), module(X).detach())


def test_own_names_are_given():
    module = doubled(Own())
    with pytest.raises(QuadricError, match=r"Own has no bilinear layer .* name its factors"):
        wrap(module)
    layer = wrap(module, left="first", right="second")
    assert close(sum(layer.terms(X)), module(X).detach())
    assert layer.left is module.first


def test_a_gate_on_the_left_is_said_so():
    module = doubled(Llama())
    names = {"left": "gate_proj", "right": "up_proj", "out": "down_proj"}
    layer = wrap(module, **names, gate_side="left")
    assert torch.equal(layer(X), module(X))
    with pytest.raises(QuadricError, match=r"something else .* gate='silu' on the right one"):
        wrap(module, **names)


@pytest.mark.parametrize("kind", [Scaled, Swapped])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whatever_computes_something_else_is_refused(kind, dtype):
    module = doubled(kind()).to(dtype)
    with pytest.raises(QuadricError, match=f"{kind.__name__} computes something else"):
        wrap(module)


def test_a_wrong_gate_and_a_wrong_scale_are_refused_in_half_precision_too():
    module = doubled(Llama()).to(torch.bfloat16)
    assert wrap(module).gate == "silu"
    with pytest.raises(QuadricError, match="computes something else"):
        wrap(module, left="up_proj", right="gate_proj", out="down_proj", gate="relu")
    scaled = doubled(Scaled()).to(torch.bfloat16)
    scaled.scale = 1.2
    with pytest.raises(QuadricError, match="computes something else"):
        wrap(scaled)


def test_a_forgotten_output_matrix_is_refused():
    module = doubled(Llama(nn.Identity()))
    with pytest.raises(QuadricError, match="computes something else"):
        wrap(module, left="up_proj", right="gate_proj")


def test_dropout_is_no_part_of_the_layer_and_modes_stay_as_they_were():
    module = doubled(Dropped())
    assert module.training
    layer = wrap(module)
    assert (module.training, module.dropout.training, module.frozen.training) == (True, True, False)
    assert close(layer.tensor()(X), module.eval()(X).detach())


def test_fused_factors_are_no_layer_that_names_can_tell():
    with pytest.raises(QuadricError, match="Fused has no bilinear layer"):
        wrap(Fused())


def test_layers_are_found_inside_a_model():
    model = nn.Sequential(nn.Linear(M, D), doubled(Llama(nn.Identity())).float(), nn.ReLU())
    assert find_layers(model) == ["1"]
    assert find_layers(model[1]) == [""]
    assert wrap(model).left is model[1].up_proj
    assert find_layers(nn.ReLU()) == []


def test_several_layers_are_named_and_one_must_be_chosen():
    model = nn.ModuleDict({"a": Llama(), "b": Llama()})
    assert find_layers(model) == ["a", "b"]
    with pytest.raises(QuadricError, match=r"2 gated layers \('a', 'b'…\).*get_submodule"):
        wrap(model)
    assert wrap(model.get_submodule("b")).left is model["b"].up_proj


@pytest.mark.parametrize("gate", ["identity", "relu", "swish"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_layer_of_our_own_is_itself(gate, side):
    layer = GatedLayer(D, N, M, gate=gate, beta=0.5, gate_side=side)
    assert wrap(layer) is layer
    assert wrap(nn.Sequential(layer)) is layer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrap(Own(), left="first"), "name left and right together"),
        (lambda: wrap(Own(), out="first"), "name left and right together"),
        (
            lambda: wrap(Own(), left="frist", right="second"),
            "Own has no submodule 'frist'; did you mean 'first'",
        ),
        (
            lambda: wrap(Llama(), left="up_proj", right="act_fn"),
            "'act_fn' is a SiLU, expected a torch.nn.Linear",
        ),
        (
            lambda: wrap(Own(right=4), left="first", right="second"),
            r"first and second have shapes \(7, 5\) and \(4, 5\)",
        ),
        (lambda: wrap(Llama(nn.Tanh())), "Llama.act_fn is tanh, .*give gate="),
        (
            lambda: wrap(Llama(), left="up_proj", right="gate_proj", out="down_proj", gate="sliu"),
            "did you mean 'silu'",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(QuadricError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_swish_keeps_its_beta(beta: float) -> None:
    class Swish(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("beta", torch.tensor(beta))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z * torch.sigmoid(self.beta * z)

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj, self.up_proj = nn.Linear(5, 7), nn.Linear(5, 7)
            self.down_proj, self.act_fn = nn.Linear(7, 3), Swish()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    module = Mlp()
    layer = wrap(module)
    x = torch.randn(4, 5)
    assert (layer.gate, layer.beta) == ("swish", beta)
    torch.testing.assert_close(layer(x), module(x))
    if beta == 0:
        torch.testing.assert_close(layer.tensor()(torch.cat([x, torch.ones(4, 1)], 1)), module(x))
    else:
        with pytest.raises(QuadricError, match="not bilinear"):
            layer.tensor()
