"""Folders in SAELens' format: the layer's pre-activations come out, and what cannot is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from quadric import QuadricError
from quadric.language import interactions_between, read_saelens_pair
from quadric.layers import GatedLayer
from quadric.storage import write_json, write_tensors
from tests.forms.builders import close, noise

D, N, M, P, Q = 5, 7, 4, 11, 6
INPUT_HOOK, OUTPUT_HOOK = "blocks.4.ln2.hook_normalized", "blocks.4.hook_mlp_out"


def saved(folder: Path, width: int, features: int, seed: int, **config) -> dict[str, torch.Tensor]:
    weights = {
        "W_enc": noise(seed, width, features), "b_enc": noise(seed + 1, features),
        "W_dec": noise(seed + 2, features, width), "b_dec": noise(seed + 3, width),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "sae_weights.safetensors", weights)
    write_json(folder / "cfg.json", {"architecture": "topk", "d_in": width} | config)
    return weights


@pytest.mark.parametrize("centred", [True, False, None])
@pytest.mark.parametrize("old", [True, False])
def test_pairs_sum_to_what_the_saved_autoencoder_computes(tmp_path, centred, old):
    first, second = tmp_path / "in", tmp_path / "out"
    named = [{"hook_name": hook, "model_name": "m"} for hook in (INPUT_HOOK, OUTPUT_HOOK)]
    if not old:
        named = [{"metadata": each} for each in named]
    extra = {} if centred is None else {"apply_b_dec_to_input": centred}
    a = saved(first, D, P, 10, **named[0])
    b = saved(second, M, Q, 20, **named[1], **extra)
    layer = GatedLayer(D, N, M, bias=True, out_bias=True).double()
    codes, x = noise(1, 3, P), noise(2, 3, D)
    with torch.no_grad():
        outputs = layer(x)
        shift = b["b_dec"] * (0.0 if centred is False else 1.0)
        truth = (outputs - shift) @ b["W_enc"] + b["b_enc"]
        found = interactions_between(layer, *read_saelens_pair(str(first), second))
    account = found.account(codes, x)
    assert close(sum(account), truth)
    reconstruction = codes @ a["W_dec"] + a["b_dec"]
    assert close(found.basis[:-1, :-1], a["W_dec"])
    with torch.no_grad():
        expected = (layer(reconstruction) - shift) @ b["W_enc"] + b["b_enc"]
    assert close(sum(found.account(codes)), expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "gated"}, "architecture is 'gated', expected one of standard, topk"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'"),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm is on"),
        ({"hook_name": "blocks.4.hook_resid_mid"}, "hook_resid_mid' is on the residual stream"),
        ({"metadata": {"hook_name": "blocks.3.hook_mlp_out"}}, "different layers, 4 and 3"),
        ({"model_name": "other"}, "different models, m and other"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, config, message):
    first, second = tmp_path / "in", tmp_path / "out"
    saved(first, D, P, 10, hook_name=INPUT_HOOK, model_name="m")
    saved(second, M, Q, 20, **({"hook_name": OUTPUT_HOOK} | config))
    with pytest.raises(QuadricError, match=message):
        read_saelens_pair(first, second)


def test_damaged_folders_are_named(tmp_path):
    first = tmp_path / "in"
    weights = saved(first, D, P, 10)
    read_saelens_pair(first, first)
    with pytest.raises(QuadricError, match=r"cannot read .*cfg\.json"):
        read_saelens_pair(first, tmp_path / "none")
    write_tensors(first / "sae_weights.safetensors", weights | {"W_enc": weights["W_dec"].clone()})
    with pytest.raises(QuadricError, match=r"shapes \(11, 5\) and \(11, 5\), expected \(d_in"):
        read_saelens_pair(first, first)
    del weights["b_enc"]
    write_tensors(first / "sae_weights.safetensors", weights)
    with pytest.raises(QuadricError, match="has no b_enc"):
        read_saelens_pair(first, first)
