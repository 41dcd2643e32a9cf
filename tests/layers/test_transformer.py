"""The gated transformer against its formulas and as a transformers model."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from quadric import QuadricError
from quadric.layers import GatedLayer, find_layers, wrap
from quadric.layers.transformer import GatedTransformer, GatedTransformerForCausalLM
from quadric.layers.transformer_config import GatedTransformerConfig

V, D, N, L, HEADS, GROUPS, T = 37, 24, 28, 3, 6, 2, 9
GATES = ("identity", "relu", "silu", "gelu")
IDS = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(1))


def build(gate: Any = "identity", **changes: Any) -> GatedTransformerForCausalLM:
    """A random model in float64, with weights large enough for every part to matter."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": V, "hidden_size": D, "intermediate_size": N, "num_hidden_layers": L,
        "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "gate": gate,
        "initializer_range": 0.3,
    }  # fmt: skip
    return (
        GatedTransformerForCausalLM(GatedTransformerConfig(**(settings | changes))).double().eval()
    )


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor = IDS, **options: Any) -> torch.Tensor:
    found: torch.Tensor = model(ids, **options).logits
    return found


def rotate(x: torch.Tensor, position: int) -> torch.Tensor:
    """Rotary positions as complex numbers: coordinate k is paired with k + half."""
    half = len(x) // 2
    angles = position / 10_000 ** (torch.arange(half, dtype=torch.float64) / half)
    turned = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag])


def by_hand(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The logits of one text, head by head and token by token."""
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    gate = {
        "identity": lambda z: z,
        "relu": lambda z: z.clamp(min=0),
        "silu": lambda z: z / (1 + torch.exp(-z)),
        "gelu": lambda z: z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    }[model.config.gate]

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(dim=-1, keepdim=True) + 1e-8).sqrt()

    stream, width = weights["model.embed_tokens.weight"][ids], D // HEADS
    for layer in range(L):
        at = f"model.layers.{layer}."
        q, k, v = (norm(stream) @ weights[f"{at}self_attn.{n}_proj.weight"].T for n in "qkv")
        heads = []
        for head in range(HEADS):
            group = head // (HEADS // GROUPS)
            mine, theirs = (
                slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
            )  # fmt: skip
            rows = []
            for t in range(len(ids)):
                query = rotate(q[t, mine], t)
                scores = torch.stack([query @ rotate(k[s, theirs], s) for s in range(t + 1)])
                rows.append((scores / math.sqrt(width)).softmax(dim=0) @ v[: t + 1, theirs])
            heads.append(torch.stack(rows))
        attended = torch.cat(heads, dim=1) @ weights[f"{at}self_attn.o_proj.weight"].T
        stream = stream + attended / math.sqrt(2 * L)
        y = norm(stream)
        left, right = (y @ weights[f"{at}mlp.{side}.weight"].T for side in ("left", "right"))
        stream = stream + (left * gate(right)) @ weights[f"{at}mlp.out.weight"].T
    return norm(stream) @ weights["lm_head.weight"].T


def test_the_paper_s_model_has_29_36_million_parameters() -> None:
    with torch.device("meta"):
        models = [GatedTransformerForCausalLM(GatedTransformerConfig(gate=g)) for g in GATES]
    for model in models:
        assert sum(p.numel() for p in model.parameters()) == 29_360_128
        assert not any("bias" in name or "norm" in name for name in model.state_dict())


@pytest.mark.parametrize("gate", GATES)
def test_the_logits_are_those_of_the_formula(gate: str) -> None:
    model = build(gate)
    expected = torch.stack([by_hand(model, ids) for ids in IDS])
    # transformers takes the cosines of positions in float32
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1


def test_one_field_makes_the_difference() -> None:
    models = [build(gate) for gate in GATES]
    states = [model.state_dict() for model in models]
    for state in states[1:]:
        assert all(torch.equal(state[name], weight) for name, weight in states[0].items())
    found = [logits(model) for model in models]
    for i in range(len(GATES)):
        for j in range(i):
            assert (found[i] - found[j]).abs().max() > 0.01


def test_no_token_sees_a_later_one() -> None:
    model = build()
    before = logits(model)
    for t in range(T):
        changed = IDS.clone()
        changed[:, t] = (changed[:, t] + 1) % V
        after = logits(model, changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert ((after - before)[:, t:].abs().amax(dim=-1) > 1e-6).all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_seen(attention: str, side: str) -> None:
    # In float64 transformers' eager attention gives NaN for tokens that see nothing.
    model = build(attn_implementation=attention).float()
    assert model.config._attn_implementation == attention
    expected = logits(model)
    before, after = (3, 0) if side == "left" else (0, 3)
    ids = torch.nn.functional.pad(IDS, (before, after), value=5)
    mask = torch.nn.functional.pad(torch.ones_like(IDS), (before, after))
    for training in (False, True):
        model.train(training)
        found = logits(model, ids, attention_mask=mask)[:, before : before + T]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if side == "left":
        assert not torch.allclose(logits(model, ids)[:, before:], expected, atol=0.01)


def test_cached_is_uncached() -> None:
    model = build()
    expected = logits(model)
    cache, found = None, []
    for part in (IDS[:, :4], *IDS[:, 4:].split(1, dim=1)):
        with torch.no_grad():
            outputs = model(part, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        found.append(outputs.logits)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-10, atol=1e-10)
    texts = [
        model.generate(IDS[:, :3], max_new_tokens=8, do_sample=False, use_cache=use_cache)
        for use_cache in (True, False)
    ]
    assert torch.equal(*texts) and texts[0].shape == (2, 11)
    step = logits(model, texts[0][:, :-1])[:, 2:].argmax(dim=-1)
    assert torch.equal(step, texts[0][:, 3:])


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_saved_and_loaded(groups: int | None, tmp_path: Path) -> None:
    model = build("silu", num_key_value_heads=groups, pad_token_id=0, eos_token_id=2)
    expected = logits(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert type(again) is GatedTransformerForCausalLM and again.config.gate == "silu"
    assert all(torch.equal(w, again.state_dict()[n]) for n, w in model.state_dict().items())
    # Read weights lie elsewhere in memory, and products of matrices round by how they lie.
    torch.testing.assert_close(logits(again), expected, rtol=1e-12, atol=1e-12)
    assert again.generation_config.eos_token_id == 2
    bare = AutoModel.from_pretrained(tmp_path, dtype=torch.float64)
    assert type(bare) is GatedTransformer
    with torch.no_grad():
        head = bare(IDS).last_hidden_state @ model.lm_head.weight.T
    torch.testing.assert_close(head, expected, rtol=1e-12, atol=1e-12)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.num_key_value_heads == (groups or HEADS)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "gated_transformer" and "auto_map" not in written


@pytest.mark.e2e
def test_a_new_process_reads_it_after_one_import(tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    program = (
        "import sys, quadric.layers.transformer; from transformers import AutoModelForCausalLM;"
        "print(type(AutoModelForCausalLM.from_pretrained(sys.argv[1])).__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "quadric.layers.transformer"


def test_the_mlps_are_quadratic_forms() -> None:
    model = build()
    assert find_layers(model) == [f"model.layers.{i}.mlp" for i in range(L)]
    mlp = model.model.layers[1].mlp
    assert isinstance(mlp, GatedLayer) and wrap(mlp) is mlp
    y = torch.randn(5, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tensor = mlp.tensor()
    torch.testing.assert_close(tensor(y), mlp(y), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tensor(-3 * y), 9 * mlp(y), rtol=1e-12, atol=1e-12)
    with pytest.raises(QuadricError, match="not bilinear"):
        build("silu").model.layers[1].mlp.tensor()


def test_norms_forget_the_scale_but_not_below_their_epsilon() -> None:
    norm = build().model.layers[0].input_layernorm
    x = torch.randn(7, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(norm(1000 * x), norm(x), rtol=1e-6, atol=1e-6)
    small = 1e-4 * x
    expected = small / (small.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(norm(small), expected, rtol=1e-10, atol=1e-10)
    # In half precision the mean is still taken in single: 300² is too large for float16.
    half = norm((300 * x).half()).double()
    torch.testing.assert_close(half, norm(x), rtol=2e-3, atol=2e-3)


def test_it_starts_as_gpt2_and_can_be_trained() -> None:
    torch.manual_seed(4)
    model = GatedTransformerForCausalLM(GatedTransformerConfig(num_hidden_layers=1))
    for name, parameter in model.named_parameters():
        assert parameter.std().item() == pytest.approx(0.02, rel=0.01), name
    small = build().float()
    loss = small(IDS, labels=IDS).loss
    expected = torch.nn.functional.cross_entropy(
        logits(small)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    plain = {name: parameter.grad.clone() for name, parameter in small.named_parameters()}
    assert all(grad.abs().max() > 0 for grad in plain.values())
    small.zero_grad()
    small.train().gradient_checkpointing_enable()
    small(IDS, labels=IDS).loss.backward()
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])


def test_hidden_states_and_attentions_are_given() -> None:
    outputs = build(attn_implementation="eager")(
        IDS, output_hidden_states=True, output_attentions=True
    )
    assert len(outputs.hidden_states) == L + 1 and outputs.hidden_states[1].shape == (2, T, D)
    assert len(outputs.attentions) == L and outputs.attentions[0].shape == (2, HEADS, T, T)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "swiglu"}, "gate is 'swiglu', expected one of identity"),
        ({"gate": "swish"}, "gate is 'swish', expected one of identity, relu, silu, gelu"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_hidden_layers": "6"}, "num_hidden_layers is '6', expected a whole number"),
        ({"hidden_size": 500}, "hidden_size is 500, expected a multiple of 2 × 8 heads"),
        ({"hidden_size": 24}, "hidden_size is 24, expected a multiple of 2 × 8 heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3, expected a divisor of the 8"),
        ({"hiden_size": 64}, "the model has no 'hiden_size'; did you mean 'hidden_size'"),
        ({"hidden_act": "silu"}, "no choice of 'hidden_act': the field is gate"),
        ({"tie_word_embeddings": True}, "no choice of 'tie_word_embeddings'"),
    ],
)
def test_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(QuadricError, match=message) as error:
        GatedTransformerConfig(**settings)
    assert "\n" not in str(error.value)
