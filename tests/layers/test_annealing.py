"""Annealing the gates of language models, from the first step to the saved bilinear model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from quadric import QuadricError
from quadric.layers import wrap
from quadric.layers.annealing import Swish, convert, fold, from_pretrained, layers, set_beta
from quadric.layers.schedule import beta_at

D, N, V, L = 16, 28, 31, 3


def llama(kind: str = "Llama", **changes: Any) -> Any:
    """A random model, with weights large enough for the gates to matter."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": V, "hidden_size": D, "intermediate_size": N, "num_hidden_layers": L,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**(settings | changes))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(V, (2, 11), generator=generator)
    found: torch.Tensor = model(ids).logits
    return found


def same(model: Any, expected: torch.Tensor) -> None:
    """For weights read from a file: they lie otherwise in memory, by which products round."""
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-6)


def by_hand(mlp: Any, x: torch.Tensor, beta: float) -> torch.Tensor:
    """down((z·sigmoid(βz)) ⊙ up) from the bare weights, z of gate_proj."""

    def through(linear: Any, y: torch.Tensor) -> torch.Tensor:
        out = y @ linear.weight.double().T
        return out if linear.bias is None else out + linear.bias.double()

    z = through(mlp.gate_proj, x)
    return through(mlp.down_proj, z / (1 + torch.exp(-beta * z)) * through(mlp.up_proj, x))


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2"])
def test_beta_one_is_the_original_to_the_bit(kind: str) -> None:
    model = llama(kind)
    before = logits(model)
    names = list(model.state_dict())
    assert convert(model) == [0, 1, 2] == layers(model)
    assert torch.equal(logits(model), before)
    assert list(model.state_dict()) == names
    set_beta(model, 0.999)
    assert not torch.equal(logits(model), before)
    set_beta(model, 1.0)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 1.7])
def test_an_mlp_computes_swish_of_its_gate(beta: float) -> None:
    model = llama(mlp_bias=True).double()
    convert(model, [1])
    set_beta(model, beta)
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for i, expected in enumerate([1.0, beta, 1.0]):
        mlp = model.model.layers[i].mlp
        torch.testing.assert_close(mlp(x), by_hand(mlp, x, expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_folding_keeps_the_outputs_and_leaves_plain_bilinear_mlps(
    bias: bool, tmp_path: Path
) -> None:
    model = llama(mlp_bias=bias)
    silu = logits(model)
    up, gate, down = (
        model.model.layers[0].mlp.get_submodule(name).weight.clone()
        for name in ("up_proj", "gate_proj", "down_proj")
    )
    convert(model)
    set_beta(model, 0.0)
    open_ = logits(model)
    assert fold(model) == [0, 1, 2] == layers(model)
    assert torch.equal(logits(model), open_)
    assert (open_ - silu).abs().max() > 0.1  # the gates mattered

    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["hidden_act"] == "linear" and "mlp_gates" not in written
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    same(again, open_)
    assert layers(again) == [0, 1, 2]

    mlp = again.double().model.layers[0].mlp
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tensor = wrap(mlp).tensor()
    lifted = functional.pad(x, (0, 1), value=1.0) if bias else x
    torch.testing.assert_close(tensor(lifted), mlp(x), rtol=1e-12, atol=1e-12)
    if not bias:
        hand = ((x @ up.double().T) * (x @ gate.double().T) / 2) @ down.double().T
        torch.testing.assert_close(tensor(x), hand, rtol=1e-12, atol=1e-12)


def test_some_layers(tmp_path: Path) -> None:
    model, plain = llama(), llama()
    assert convert(model, [2, 0, 2]) == [0, 2] == layers(model)
    set_beta(model, 0.0)
    assert fold(model) == [0, 2]
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(4))
    for i, (mlp, old) in enumerate(
        (model.model.layers[i].mlp, plain.model.layers[i].mlp) for i in range(L)
    ):
        assert torch.equal(mlp(x), old(x)) == (i == 1)
        assert wrap(mlp).gate == ("silu" if i == 1 else "identity")
    expected = logits(model)
    model.save_pretrained(tmp_path)
    with pytest.raises(Exception, match="annealed"):  # never read as the SwiGLU model it was
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    assert layers(again) == [0, 2]
    same(again, expected)
    # The other layer can follow, and then the model is a plain one.
    assert convert(again, [1]) == [1]
    set_beta(again, 0.0)
    fold(again)
    again.save_pretrained(tmp_path / "all")
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "all")
    same(whole, logits(again))


def test_a_model_half_way_is_saved_with_its_beta(tmp_path: Path) -> None:
    model = llama()
    convert(model, [1])
    model.save_pretrained(tmp_path / "start")
    start = from_pretrained(tmp_path / "start")
    same(start, logits(model))
    assert layers(start) == [1]
    set_beta(model, 0.3)
    expected = logits(model)
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    same(again, expected)
    assert layers(again) == [1]
    set_beta(again, 0.0)
    assert fold(again) == [1]


def test_plain_models_load_too(tmp_path: Path) -> None:
    model = llama()
    model.save_pretrained(tmp_path)
    same(from_pretrained(tmp_path), logits(model))
    assert from_pretrained(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_gradients_flow_and_the_control_trains_like_the_model() -> None:
    """β ≡ 1 through the same code gives the same training as the model itself."""
    model, control, annealed = llama(), llama(), llama()
    for one in (control, annealed):
        convert(one)
    ids = torch.randint(V, (4, 9), generator=torch.Generator().manual_seed(5))
    for one, schedule in ((model, None), (control, "constant"), (annealed, "linear")):
        optimiser = torch.optim.SGD(one.parameters(), lr=0.01)
        for step in range(10):
            if schedule is not None:
                set_beta(one, beta_at(step, 10, schedule))
            optimiser.zero_grad()
            one(ids, labels=ids).loss.backward()
            assert one.model.layers[1].mlp.gate_proj.weight.grad.abs().max() > 0
            optimiser.step()
    assert torch.equal(logits(control), logits(model))
    assert not torch.equal(logits(annealed), logits(model))
    assert [float(b.mlp.act_fn.beta) for b in annealed.model.layers] == [0.0] * L
    assert fold(annealed) == [0, 1, 2]
    with pytest.raises(QuadricError, match="layer 0 has β = 1"):
        fold(control)
    assert layers(control) == [0, 1, 2]


def test_annealing_hurts_less_than_an_abrupt_switch() -> None:
    """On a toy model that has learnt something: loss right after the gates are gone."""
    table = torch.rand(V, V, generator=torch.Generator().manual_seed(6)).pow(12)

    def text(seed: int) -> torch.Tensor:
        """A Markov chain of order 1."""
        generator = torch.Generator().manual_seed(seed)
        ids = [torch.randint(V, (16,), generator=generator)]
        for _ in range(15):
            ids.append(torch.multinomial(table[ids[-1]], 1, generator=generator)[:, 0])
        return torch.stack(ids, dim=1)

    def train(model: Any, seeds: range, anneal: bool) -> None:
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step, seed in enumerate(seeds):
            if anneal:
                set_beta(model, beta_at(step, len(seeds), part=0.8))
            optimiser.zero_grad()
            ids = text(seed)
            model(ids, labels=ids).loss.backward()
            optimiser.step()

    held_out = torch.cat([text(seed) for seed in range(1000, 1008)])

    @torch.no_grad()
    def loss(model: Any) -> float:
        return float(model(held_out, labels=held_out).loss)

    model = llama(initializer_range=0.1)
    train(model, range(100), False)
    learnt = loss(model)
    convert(model)
    abrupt = copy.deepcopy(model)
    train(model, range(100, 160), True)
    train(abrupt, range(100, 160), False)
    control = loss(abrupt)
    set_beta(abrupt, 0.0)
    assert control < learnt < 3.2  # ln 31 is 3.43
    assert loss(model) < loss(abrupt) - 0.03


def test_a_copy_has_gates_of_its_own() -> None:
    model = llama()
    convert(model)
    other = copy.deepcopy(model)
    set_beta(other, 0.5)
    assert float(model.model.layers[0].mlp.act_fn.beta) == 1
    assert torch.equal(logits(model), logits(llama()))


def test_half_precision() -> None:
    model = llama().to(torch.bfloat16)
    before = logits(model)
    convert(model)
    assert torch.equal(logits(model), before)
    set_beta(model, 0.0)
    open_ = logits(model)
    assert open_.dtype == torch.bfloat16
    fold(model)
    assert torch.equal(logits(model), open_)


def test_the_gate_alone() -> None:
    z = torch.linspace(-6, 6, 101)
    assert torch.equal(Swish()(z), functional.silu(z))
    assert torch.equal(Swish(0.0)(z), z / 2)
    torch.testing.assert_close(Swish(0.4)(z), z / (1 + torch.exp(-0.4 * z)))
    assert not list(Swish().parameters()) and "beta" in dict(Swish().named_buffers())
    assert repr(Swish(0.25)) == "Swish(beta=0.25)"


@pytest.mark.e2e
def test_smollm2() -> None:
    from quadric.activations.models import load_model

    loaded = load_model("smollm2-135m", dtype=torch.float32, device="cpu")
    model = loaded.model
    ids = loaded.tokenizer(
        "The committee met on Tuesday and agreed to build the bridge.", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        before = model(ids).logits
        assert convert(model) == list(range(30))
        assert torch.equal(model(ids).logits, before)
        set_beta(model, 0.0)
        open_ = model(ids, labels=ids)
        fold(model)
        folded = model(ids).logits
    assert torch.equal(folded, open_.logits)
    assert model.config.hidden_act == "linear"
    # An abrupt switch without training ruins the model, but does not make it worse than chance.
    assert open_.loss > 1 + functional.cross_entropy(before[0, :-1], ids[0, 1:])
    tensor = wrap(model.model.layers[7].mlp).tensor()
    x = torch.randn(4, 576, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tensor(x), model.model.layers[7].mlp(x), rtol=1e-4, atol=1e-4)
