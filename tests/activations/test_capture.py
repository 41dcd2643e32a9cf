from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from quadric import QuadricError
from quadric.activations.capture import capture, splice
from quadric.activations.hooks import Hook, resolve
from quadric.activations.models import LanguageModel
from tests.activations.tiny import VOCABULARY, tiny_model

KINDS = ["llama", "gpt2", "neox", "gemma2"]
GENERATOR = torch.Generator().manual_seed(2)
IDS, OTHER = torch.randint(VOCABULARY, (2, 3, 7), generator=GENERATOR)


def runs(model: nn.Module) -> Counter[str]:
    """Counts, from now on, how often each module runs."""
    counts: Counter[str] = Counter()
    for path, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, path=path: counts.update([path]))
    return counts


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def one(model: nn.Module, name: str) -> Hook:
    (hook,) = resolve(model, [name])
    return hook


def test_nothing_after_the_last_hook_runs() -> None:
    model = tiny_model("llama")
    hooks = resolve(model, ["blocks.1.hook_resid_pre", "blocks.0.hook_attn_out"])
    counts = runs(model)
    found = capture(model, hooks, IDS)
    assert list(found) == ["blocks.1.hook_resid_pre", "blocks.0.hook_attn_out"]
    ran = {path for path, count in counts.items() if count and path.startswith("model.layers.")}
    assert "model.layers.0.mlp" in ran
    # The block's own pre-hooks fire before ours ends the pass, but nothing inside it does.
    assert not {path for path in ran if path.startswith(("model.layers.1.", "model.layers.2"))}
    assert not counts["model.norm"] and not counts["lm_head"]


def test_the_head_runs_only_for_a_hook_at_it() -> None:
    model = tiny_model("llama")
    counts = runs(model)
    capture(model, resolve(model, ["model.norm"]), IDS)
    assert counts["model.norm"] == 1 and counts["lm_head"] == 0
    found = capture(model, resolve(model, ["lm_head"]), IDS)
    assert counts["lm_head"] == 1
    assert torch.equal(found["lm_head.hook_out"], model(IDS).logits)


def test_a_keyword_input_and_a_tuple_output() -> None:
    # Llama hands hidden_states to attention by keyword, and attention returns a pair.
    model = tiny_model("llama")
    names = ["model.layers.1.self_attn.hook_in", "model.layers.1.input_layernorm"]
    attention_in, norm_out = resolve(model, names)
    found = capture(model, [attention_in, norm_out], IDS)
    assert torch.equal(found[attention_in.hook_name], found[norm_out.hook_name])
    inner, outer = resolve(model, ["model.layers.1.self_attn.o_proj", "blocks.1.hook_attn_out"])
    found = capture(model, [inner, outer], IDS)
    assert torch.equal(found[inner.hook_name], found[outer.hook_name])


def test_hooks_are_removed_also_after_errors() -> None:
    model = tiny_model("gpt2")
    hooks = resolve(model, ["blocks.*.hook_resid_pre"])
    logits = model(IDS).logits
    capture(model, hooks, IDS)
    assert hook_count(model) == 0 and torch.equal(model(IDS).logits, logits)
    with pytest.raises(IndexError):
        capture(model, hooks, torch.full((1, 3), VOCABULARY))
    assert hook_count(model) == 0
    with pytest.raises(ZeroDivisionError), splice(model, hooks[0], lambda _: 1 / 0):
        model(IDS)
    assert hook_count(model) == 0 and torch.equal(model(IDS).logits, logits)


def test_captured_tensors_can_be_trained_on() -> None:
    model = tiny_model("llama")
    x = capture(model, [one(model, "blocks.1.hook_resid_pre")], IDS)["blocks.1.hook_resid_pre"]
    weight = torch.ones(x.shape[-1], dtype=x.dtype, requires_grad=True)
    (x * weight).sum().backward()  # inference tensors would refuse
    torch.testing.assert_close(weight.grad, x.sum((0, 1)))
    assert not x.requires_grad


def test_a_module_that_runs_twice_counts_once_with_its_first_run() -> None:
    model = tiny_model("llama")
    model.model.layers[2] = model.model.layers[0]
    x = capture(model, resolve(model, ["blocks.0.hook_resid_post", "model.norm"]), IDS)
    states = model(IDS, output_hidden_states=True, use_cache=False).hidden_states
    assert torch.equal(x["blocks.0.hook_resid_post"], states[1])
    assert not torch.equal(states[1], states[3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["hook_resid_pre", "hook_attn_out", "mlp.hook_in"])
def test_splicing_the_identity_leaves_the_logits_bit_equal(kind: str, where: str) -> None:
    model = tiny_model(kind)
    clean = model(IDS).logits
    seen: list[Tensor] = []

    def identity(x: Tensor) -> Tensor:
        seen.append(x)
        return x.clone()

    hook = one(model, f"blocks.1.{where}")
    with splice(model, hook, identity):
        assert torch.equal(model(IDS).logits, clean)
    assert len(seen) == 1
    assert torch.equal(seen[0], capture(model, [hook], IDS)[hook.hook_name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["hook_resid_pre", "hook_resid_post"])
def test_another_texts_residual_stream_gives_its_logits(kind: str, where: str) -> None:
    model = tiny_model(kind)
    hook = one(model, f"blocks.1.{where}")
    other = capture(model, [hook], OTHER)[hook.hook_name]
    with splice(model, hook, lambda _: other):
        spliced = model(IDS).logits
    assert torch.equal(spliced, model(OTHER).logits)
    assert not torch.allclose(spliced, model(IDS).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_attention_and_mlp_a_block_does_nothing(kind: str) -> None:
    model = tiny_model(kind)
    ends = resolve(model, ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"])
    with (
        splice(model, one(model, "blocks.1.hook_attn_out"), torch.zeros_like),
        splice(model, one(model, "blocks.1.hook_mlp_out"), torch.zeros_like),
    ):
        found = capture(model, ends, IDS)
    assert torch.equal(found[ends[0].hook_name], found[ends[1].hook_name])


def test_splicing_a_keyword_input() -> None:
    model = tiny_model("llama")
    attention_in = one(model, "model.layers.1.self_attn.hook_in")
    norm_out = one(model, "model.layers.1.input_layernorm")
    results = []
    for hook in (attention_in, norm_out):
        with splice(model, hook, lambda x: 2 * x):
            results.append(model(IDS).logits)
    assert torch.equal(*results) and not torch.equal(results[0], model(IDS).logits)


def test_gradients_flow_through_a_replacement() -> None:
    model = tiny_model("gpt2").requires_grad_(False)  # float64 throughout, unlike Llama's norms
    hook = one(model, "blocks.1.hook_mlp_out")
    scale = torch.tensor(1.0, requires_grad=True)
    with splice(model, hook, lambda x: scale * x):
        loss = model(IDS).logits.square().mean()
    (slope,) = torch.autograd.grad(loss, scale)
    losses = []
    for factor in (1 - 1e-5, 1 + 1e-5):
        with splice(model, hook, lambda x, factor=factor: factor * x):
            losses.append(float(model(IDS).logits.square().mean()))
    assert abs(float(slope)) > 1e-3
    assert float(slope) == pytest.approx((losses[1] - losses[0]) / 2e-5, rel=1e-4)


def test_a_replacement_is_converted_to_the_models_type() -> None:
    model = tiny_model("llama")
    hook = one(model, "blocks.1.hook_resid_pre")
    with splice(model, hook, lambda x: x.float()):
        assert capture(model, [hook], IDS)[hook.hook_name].dtype == torch.float64


@pytest.mark.e2e
def test_the_default_model(smollm2: LanguageModel) -> None:
    model = smollm2.model
    ids = smollm2.tokenizer(["It was a Wednesday in March 1945"] * 2, return_tensors="pt").input_ids
    hook = one(model, "blocks.12.hook_resid_pre")
    with torch.no_grad():
        clean = model(ids, output_hidden_states=True)
        with splice(model, hook, torch.clone):
            assert torch.equal(model(ids).logits, clean.logits)
        with splice(model, hook, lambda x: x * 1.5):
            assert not torch.equal(model(ids).logits, clean.logits)
    ran: Counter[str] = Counter()
    handles = [
        block.register_forward_hook(lambda *_, index=index: ran.update([str(index)]))
        for index, block in enumerate(model.model.layers)
    ]
    found = capture(model, [hook], ids)
    for handle in handles:
        handle.remove()
    assert torch.equal(found[hook.hook_name], clean.hidden_states[12])
    assert list(ran) == [str(index) for index in range(12)]


def test_what_cannot_be_captured_or_spliced_is_said() -> None:
    model, stranger = tiny_model("llama"), tiny_model("llama")
    pre = one(model, "blocks.1.hook_resid_pre")
    with pytest.raises(QuadricError, match="the list of hooks is empty"):
        capture(model, [], IDS)
    with pytest.raises(QuadricError, match=r"'blocks.1.hook_resid_pre' was resolved on another"):
        capture(stranger, [pre], IDS)
    with (
        pytest.raises(QuadricError, match="was resolved on another model"),
        splice(stranger, pre, torch.zeros_like),
    ):
        pass
    with (
        pytest.raises(QuadricError, match=r"has shape \(3, 7\), expected \(3, 7, 12\)"),
        splice(model, pre, lambda x: x[..., 0]),
    ):
        model(IDS)
    with pytest.raises(QuadricError, match=r"'model.embed_tokens.hook_in' carries a tensor of sh"):
        capture(model, [one(model, "model.embed_tokens.hook_in")], IDS)
    with pytest.raises(QuadricError, match=r"'model.hook_out' carries a BaseModelOutputWithPast"):
        capture(model, [one(model, "model")], IDS)
    model.model.unused = nn.Linear(12, 12)
    with pytest.raises(QuadricError, match=r"never fired: the model did not run .* 'model.unused'"):
        capture(model, [pre, one(model, "model.unused")], IDS)
    assert hook_count(model) == 0
