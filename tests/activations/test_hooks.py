from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from quadric import QuadricError
from quadric.activations.capture import capture
from quadric.activations.hooks import Hook, resolve
from tests.activations.tiny import VOCABULARY, tiny_model

IDS = torch.randint(VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
RESIDUAL_SUM = ["llama", "gpt2", "neox", "neox-sequential", "gemma2"]


def blocks(kind: str) -> tuple[list[dict[str, Tensor]], tuple[Tensor, ...]]:
    """Every named activation of every block, and the model's own hidden states."""
    model = tiny_model(kind)
    hooks = resolve(model, ["blocks.*.hook_*", "blocks.*.mlp.hook_in"])
    found = capture(model, hooks, IDS)
    states = model(IDS, output_hidden_states=True).hidden_states
    return [
        {name.split(".", 2)[2]: x for name, x in found.items() if name.startswith(f"blocks.{i}.")}
        for i in range(3)
    ], states


@pytest.mark.parametrize("kind", [*RESIDUAL_SUM, "bert", "opt"])
def test_the_residual_stream_is_the_models_hidden_states(kind: str) -> None:
    model = tiny_model(kind)
    hooks = resolve(model, ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_post"])
    assert len(hooks) == 6
    found = capture(model, hooks, IDS)
    states = model(IDS, output_hidden_states=True).hidden_states
    for i in range(3):
        assert torch.equal(found[f"blocks.{i}.hook_resid_pre"], states[i])
        if i < 2:  # the last state stands behind the final norm
            assert torch.equal(found[f"blocks.{i}.hook_resid_post"], states[i + 1])
    assert not torch.equal(states[1], states[2])


@pytest.mark.parametrize("kind", RESIDUAL_SUM)
def test_attention_and_mlp_outputs_are_what_a_block_adds(kind: str) -> None:
    found, _ = blocks(kind)
    for block in found:
        added = block["hook_resid_post"] - block["hook_resid_pre"]
        torch.testing.assert_close(added, block["hook_attn_out"] + block["hook_mlp_out"])
        for part in ("hook_attn_out", "hook_mlp_out"):  # a hook at a wrong place breaks the sum
            assert not torch.allclose(added, block[part], atol=1e-3)


def test_gemmas_modules_themselves_are_not_what_a_block_adds() -> None:
    model = tiny_model("gemma2")
    names = ["model.layers.1.mlp", "model.layers.1.self_attn"]
    hooks = resolve(model, [*names, "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"])
    attention_and_mlp = [hook.hook_name for hook in hooks[:2]]
    # So they keep their paths, while the norms behind them have the names.
    assert attention_and_mlp == [name + ".hook_out" for name in names]
    x = capture(model, hooks, IDS)
    added = x["blocks.1.hook_resid_post"] - x["blocks.1.hook_resid_pre"]
    assert not torch.allclose(added, sum(x[name] for name in attention_and_mlp), atol=1e-2)
    (mlp_out,) = resolve(model, ["blocks.1.hook_mlp_out"])
    assert mlp_out.hf_hook_name == "model.layers.1.post_feedforward_layernorm.hook_out"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "neox-sequential"])
def test_the_mlp_input_is_behind_its_norm(kind: str) -> None:
    model = tiny_model(kind)
    inner, outer = resolve(model, ["blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"])
    x = capture(model, [inner, outer], IDS)
    with torch.no_grad():
        again = inner.module(x[inner.hook_name])
    torch.testing.assert_close(again, x[outer.hook_name])
    assert inner.side == "in" and outer.side == "out" and inner.module is outer.module


def test_both_spellings_give_the_same_hook() -> None:
    model = tiny_model("llama")
    pairs = {
        "blocks.1.hook_resid_pre": ["model.layers.1.hook_in"],
        "blocks.1.hook_resid_post": ["model.layers.1", "model.layers.1.hook_out"],
        "blocks.1.hook_mlp_out": ["model.layers.1.mlp", "model.layers.1.mlp.hook_out"],
        "blocks.1.hook_attn_out": ["model.layers.1.self_attn"],
        "blocks.1.mlp.hook_in": ["model.layers.1.mlp.hook_in"],
    }
    for name, paths in pairs.items():
        (hook,) = resolve(model, [name])
        assert hook.hook_name == name
        assert hook.hf_hook_name == paths[-1] or hook.hf_hook_name == f"{paths[-1]}.hook_out"
        for path in paths:
            assert resolve(model, [path]) == [hook]
    (norm,) = resolve(model, ["model.norm"])
    assert norm == Hook("model.norm.hook_out", "model.norm.hook_out", model.model.norm, "out")


def test_the_block_list_of_each_architecture() -> None:
    paths = {
        "llama": "model.layers.2",
        "gpt2": "transformer.h.2",
        "neox": "gpt_neox.layers.2",
        "gemma2": "model.layers.2",
        "bert": "bert.encoder.layer.2",
        "opt": "model.decoder.layers.2",
    }
    for kind, path in paths.items():
        (hook,) = resolve(tiny_model(kind), ["blocks.2.hook_resid_pre"])
        assert hook.hf_hook_name == path + ".hook_in"


def test_globs_sort_naturally_stop_at_dots_and_give_each_hook_once() -> None:
    model = tiny_model("llama", layers=12)
    expected = [f"blocks.{i}.hook_resid_pre" for i in range(12)]
    assert [hook.hook_name for hook in resolve(model, ["blocks.*.hook_resid_pre"])] == expected
    layers = resolve(model, ["model.layers.*"])
    assert [hook.hook_name for hook in layers] == [f"blocks.{i}.hook_resid_post" for i in range(12)]
    assert resolve(model, ["model.layers.?.mlp"]) == resolve(model, ["blocks.[0-9].hook_mlp_out"])
    some = resolve(model, ["blocks.11.hook_resid_pre", "blocks.[!2-9]*.hook_resid_pre"])
    assert [hook.hook_name for hook in some] == [expected[i] for i in (11, 0, 1, 10)]


@pytest.mark.parametrize(
    ("kind", "pattern", "message"),
    [
        ("llama", "blocks.99.hook_resid_pre", "not found: model has 3 blocks (0–2)"),
        ("llama", "blocks.3.hook_resid_prev", "not found: model has 3 blocks (0–2)"),
        ("llama", "blocks.-1.hook_resid_pre", "not found: model has 3 blocks (0–2)"),
        ("llama", "blocks.[7-9].hook_mlp_out", "not found: model has 3 blocks (0–2)"),
        ("llama", "model.layers.7.mlp", "not found: model has 3 blocks (0–2)"),
        (
            "llama",
            "blocks.1.hook_resid_prev",
            "not found; did you mean 'blocks.1.hook_resid_pre'?",
        ),
        ("llama", "blocks.*.hook_mlpout", "not found; did you mean 'blocks.*.hook_mlp_out'?"),
        ("llama", "model.layers.1.mpl", "not found; did you mean 'model.layers.1.mlp'?"),
        ("llama", "zzz", "not found; print the model to see its module paths"),
        (
            "bert",
            "blocks.0.hook_mlp_out",
            "is not available: BertLayer adds the residual inside its attention and output "
            "modules; use hook_resid_pre, hook_resid_post or a module path",
        ),
        (
            "opt",
            "blocks.*.mlp.hook_in",
            "is not available: OPTDecoderLayer has no MLP module; use hook_resid_pre, "
            "hook_resid_post or a module path",
        ),
        (
            "t5",
            "blocks.0.hook_resid_pre",
            "not found: it has several stacks of blocks (encoder.block, decoder.block); "
            "name a module path",
        ),
    ],
)
def test_a_wrong_name_says_what_to_do(kind: str, pattern: str, message: str) -> None:
    with pytest.raises(QuadricError, match=re.escape(f"hook {pattern!r} {message}")):
        resolve(tiny_model(kind), [pattern])


def test_nothing_to_resolve_is_an_error() -> None:
    with pytest.raises(QuadricError, match="no hook was given"):
        resolve(tiny_model("llama"), [])


def test_attention_of_a_block_without_an_mlp_module_is_found() -> None:
    (hook,) = resolve(tiny_model("opt"), ["blocks.0.hook_attn_out"])
    assert hook.hf_hook_name == "model.decoder.layers.0.self_attn.hook_out"
