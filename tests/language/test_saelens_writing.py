"""Quadric's TopK baseline written for SAELens, and single autoencoders read with activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quadric.autoencoders import InputTransform
from quadric.baselines import TopKAutoencoder
from quadric.errors import QuadricError
from quadric.language.dictionaries import dictionaries_of
from quadric.language.saelens import read_saelens, write_saelens
from quadric.storage import read_json, read_tensors, write_json, write_tensors
from tests.forms.builders import close, noise

D, Q, K = 5, 11, 3
HOOK = "blocks.4.hook_mlp_out"


def trained(**steps: Any) -> TopKAutoencoder:
    """An autoencoder in float64 whose every part differs from its start."""
    options = {"centre": True, "scale": "none", "norm": "constant"} | steps
    x = 3 * noise(1, 200, D) * torch.tensor([1.0, 2, 3, 4, 5]) + noise(2, D)
    transform = InputTransform(D, **options).double().fit(x)
    model = TopKAutoencoder(transform, Q, K).double()
    model.encoder.data = 6 * noise(3, Q, D)
    model.encoder_bias.data = noise(4, Q)
    model.decoder.data = noise(5, Q, D)
    model.bias.data = noise(6, D)
    return model


def by_hand(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What SAELens 6 computes from a folder of its topk architecture."""
    config, w = read_json(folder / "cfg.json"), read_tensors(folder / "sae_weights.safetensors")
    assert config["architecture"] == "topk" and config["normalize_activations"] == "none"
    assert config["apply_b_dec_to_input"] is True
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    values, places = h.topk(config["k"], dim=-1)
    z = torch.zeros_like(h).scatter(-1, places, values.relu())
    return z, z @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"norm": "none"},
        {"scale": "whole"},
        {"scale": "dimension"},
        {"scale": "dimension", "centre": False, "norm": "none"},
    ],
)
def test_a_written_folder_computes_what_the_autoencoder_does(tmp_path, steps):
    model = trained(**steps)
    write_saelens(tmp_path / "sae", model, hook_name=HOOK, model_name="runs/m")
    x = 4 * noise(7, 40, D)
    with torch.no_grad():
        z, estimate = model.encode(x), model(x)
    assert (z > 0).any(0).sum() > K
    for found in (
        by_hand(tmp_path / "sae", x),
        ((read := read_saelens(tmp_path / "sae")).encode(x), read(x)),
    ):
        assert close(found[0], z) and close(found[1], estimate)
    assert (read.hook_name, read.model_name, read.k) == (HOOK, "runs/m", K)


def test_the_configuration_is_one_that_saelens_reads(tmp_path):
    write_saelens(
        tmp_path, trained().float(), hook_name=HOOK, model_name="m", metadata={"context_size": 9}
    )
    config = read_json(tmp_path / "cfg.json")
    metadata = config.pop("metadata")
    assert config == {
        "architecture": "topk", "k": K, "d_in": D, "d_sae": Q, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none",
        "reshape_activations": "none", "rescale_acts_by_decoder_norm": False,
    }  # fmt: skip
    assert metadata.pop("quadric_version")
    # Without a version SAELens takes the folder for one of before 6 and drops the metadata.
    assert metadata.pop("sae_lens_version").startswith("6.")
    assert metadata == {"model_name": "m", "hook_name": HOOK, "context_size": 9}
    assert {name: tuple(w.shape) for name, w in read_tensors(
        tmp_path / "sae_weights.safetensors").items()
    } == {"W_enc": (D, Q), "b_enc": (Q,), "W_dec": (Q, D), "b_dec": (D,)}  # fmt: skip


def test_a_unit_norm_cannot_be_written(tmp_path):
    with pytest.raises(QuadricError, match="norm='unit', which no dictionary of x can include"):
        write_saelens(tmp_path, trained(norm="unit"), hook_name=HOOK, model_name="m")
    assert not list(tmp_path.iterdir())


def saved(folder: Path, **config: Any) -> dict[str, torch.Tensor]:
    weights = {
        "W_enc": noise(3, D, Q), "b_enc": noise(4, Q) - 1.5, "W_dec": noise(5, Q, D),
        "b_dec": noise(6, D),
    }  # fmt: skip
    write_tensors(folder / "sae_weights.safetensors", weights | config.pop("extra", {}))
    write_json(folder / "cfg.json", config)
    return weights


def test_activations_of_every_architecture(tmp_path):
    x, threshold = noise(8, 30, D), noise(9, Q) + 0.5
    relu = {"architecture": "standard", "activation_fn": "relu"}
    w = saved(tmp_path, **relu)
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    assert close(read_saelens(tmp_path).read(x), h)
    assert close(read_saelens(tmp_path).encode(x), h.relu())

    saved(tmp_path, **relu, apply_b_dec_to_input=False)
    assert close(read_saelens(tmp_path).read(x), x @ w["W_enc"] + w["b_enc"])

    saved(tmp_path, architecture="jumprelu", extra={"threshold": threshold})
    assert (threshold < 0).any()
    expected = h.relu() * (h > threshold)
    found = read_saelens(tmp_path)
    assert close(found.encode(x), expected)
    assert found.k is None and torch.equal(found.kept(h), expected > 0)

    largest = h.sort(dim=1).values[:, [-4]]
    expected = torch.where((h >= largest) & (h > 0), h, 0.0)
    # Before version 6 TopK was an activation function.
    for config in (
        {"architecture": "topk", "k": 4},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}},
    ):
        saved(tmp_path, **config)
        assert close(read_saelens(tmp_path).encode(x), expected)
    assert (expected != 0).sum(1).min() < 4  # a negative one is among the four largest

    saved(tmp_path, architecture="batchtopk", extra={"topk_threshold": torch.tensor(0.3).double()})
    assert close(read_saelens(tmp_path).encode(x), torch.where(h > 0.3, h, 0.0))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "topk"}, "k is None in cfg.json, expected a whole number"),
        ({"architecture": "topk", "k": 12}, "k is 12, expected 1 to 11, its features"),
        ({"architecture": "jumprelu"}, "'jumprelu' but sae_weights.safetensors has no threshold"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu', expected 'relu' or"),
    ],
)
def test_what_says_nothing_of_its_activations_is_refused(tmp_path, config, message):
    saved(tmp_path, **config)
    with pytest.raises(QuadricError, match=message):
        read_saelens(tmp_path)


def test_the_written_folder_is_the_dictionary_of_the_model(tmp_path):
    from quadric.language import read_saelens_pair

    model = trained(scale="dimension")
    write_saelens(tmp_path, model, hook_name=HOOK, model_name="m")
    inputs, outputs = dictionaries_of(model)
    read_in, read_out = read_saelens_pair(tmp_path, tmp_path)
    assert close(read_in.decoder, inputs.decoder) and close(read_in.bias, inputs.bias)
    for name in ("encoder", "bias", "centre"):
        assert close(getattr(read_out, name), getattr(outputs, name))
