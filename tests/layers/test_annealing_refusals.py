"""What annealing refuses: other MLPs, other gates, wrong numbers and wrong files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from quadric import QuadricError
from quadric.layers.annealing import Swish, convert, fold, from_pretrained, set_beta
from tests.layers.test_annealing import D, V, llama


def gpt2() -> Any:
    config = transformers.GPT2Config(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=32)
    return transformers.GPT2LMHeadModel(config)


def scaled() -> Any:
    """A multiplier that no name tells of."""
    model = llama()
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: 1.5 * type(mlp).forward(mlp, x)
    return model


def unmarked() -> Any:
    """A family that does not take the activation from this field of its config."""
    model = llama()
    model.config.hidden_act = "gelu"
    return model


@pytest.mark.parametrize(
    ("make", "only", "message"),
    [
        (gpt2, None, "GPT2LMHeadModel has no gated MLP"),
        (lambda: llama("Phi3", pad_token_id=0), None, "Phi3ForCausalLM has no gated MLP"),
        (lambda: llama("Gemma", head_dim=4), None, "layer 0 is gated by GELUTanh, expected SiLU"),
        (lambda: llama(hidden_act="relu"), None, "layer 0 is gated by ReLU, expected SiLU"),
        (lambda: llama(hidden_act="linear"), None, "layer 0 is converted already"),
        (scaled, None, "layer 1 is no SwiGLU: LlamaMLP computes something else"),
        (unmarked, None, "the config of LlamaForCausalLM has no hidden_act"),
        (llama, [0, 3], r"there is no layer 3: the model has 3 \(0–2\)"),
        (llama, [-1], "there is no layer -1"),
        (llama, [], "no layer was chosen"),
    ],
)
def test_refuses_to_convert(make: Any, only: list[int] | None, message: str) -> None:
    model = make()
    config = model.config.to_dict()
    with pytest.raises(QuadricError, match=message) as error:
        convert(model, only)
    assert "\n" not in str(error.value)
    assert model.config.to_dict() == config
    assert not any(isinstance(module, Swish) for module in model.modules())


def test_refuses_the_rest(tmp_path: Path) -> None:
    model = llama()
    for call in (lambda: set_beta(model, 0.5), lambda: fold(model)):
        with pytest.raises(QuadricError, match="no gate to anneal"):
            call()
    convert(model, [1])
    with pytest.raises(QuadricError, match=r"layer 1 is converted already: .*Swish"):
        convert(model)
    for beta in (-0.1, float("nan"), float("inf")):
        with pytest.raises(QuadricError, match="beta is"):
            set_beta(model, beta)
    set_beta(model, 0.25)
    with pytest.raises(QuadricError, match=r"layer 1 has β = 0\.25"):
        fold(model)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for gates in (["silu"], ["silu", "gelu", "silu"], ["silu", -1.0, "silu"], "silu"):
        (tmp_path / "config.json").write_text(json.dumps(config | {"mlp_gates": gates}))
        with pytest.raises(QuadricError, match="mlp_gates"):
            from_pretrained(tmp_path)
