"""Save and load: exact round trips, a local hub, and every way a folder can be wrong."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, Metadata
from quadric.errors import QuadricError

VARIANTS = ("vanilla", "ordered", "mixed", "combined", "composite")


def trained(variant: str = "vanilla", affine: bool = False) -> BilinearAutoencoder:
    config = AutoencoderConfig(d_in=6, d_sae=13, variant=variant, affine=affine, scale="dimension")
    model = BilinearAutoencoder(
        config, Metadata(model_name="m", hook_name="blocks.1.hook_resid_pre")
    )
    generator = torch.Generator().manual_seed(0)
    model.transform.fit(torch.randn(30, 6, generator=generator) + 1)
    return model


@pytest.mark.parametrize(("variant", "affine"), list(itertools.product(VARIANTS, (True, False))))
def test_round_trip(tmp_path: Path, variant: str, affine: bool) -> None:
    model = trained(variant, affine)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cfg.json",
        "sae_weights.safetensors",
    ]
    again = BilinearAutoencoder.from_pretrained(tmp_path)
    x = torch.randn(5, 6)
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again(x), model(x))
    assert again.config == model.config
    assert again.metadata.hook_name == "blocks.1.hook_resid_pre"
    assert again.metadata.quadric_version is not None
    assert not again.training


def test_cfg_json_says_what_other_tools_look_for(tmp_path: Path) -> None:
    trained().save_pretrained(tmp_path)
    values = json.loads((tmp_path / "cfg.json").read_text())
    assert values["architecture"] == "bilinear_autoencoder"
    assert (values["d_in"], values["d_sae"], values["dtype"]) == (6, 13, "float32")
    assert values["metadata"]["hook_name"] == "blocks.1.hook_resid_pre"
    assert len(values["input_transform"]["mean"]) == 6
    assert set(load_file(tmp_path / "sae_weights.safetensors")) == {"left", "right"}


def test_dtype_is_kept(tmp_path: Path) -> None:
    trained().double().save_pretrained(tmp_path)
    again = BilinearAutoencoder.load_from_disk(tmp_path)
    assert again.dtype == torch.float64 and again.transform.mean.dtype == torch.float64


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "cfg.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v != "DELETE"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version 2 is newer than this quadric"),
        ({"format_version": "DELETE"}, "format_version is None"),
        ({"architecture": "topk"}, "architecture is 'topk', quadric reads 'bilinear_autoencoder'"),
        ({"densty_weight": 1.0}, "unknown key 'densty_weight'; did you mean 'density_weight'"),
        ({"block": 3}, "block does not apply to variant 'vanilla'"),
        ({"d_sae": 14}, r"tensor 'left' has shape \(13, 6\), cfg.json says \(14, 6\)"),
        ({"input_transform": "DELETE"}, "missing key 'input_transform'"),
        ({"dtype": "bfloat16"}, "tensor 'left' is torch.float32, cfg.json says bfloat16"),
        ({"metadata": {"modelname": "x"}}, "unknown key 'modelname'; did you mean 'model_name'"),
    ],
)
def test_bad_cfg(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    trained().save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(QuadricError, match=message):
        BilinearAutoencoder.load_from_disk(tmp_path)


def test_bad_weights(tmp_path: Path) -> None:
    trained().save_pretrained(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    whole = path.read_bytes()
    weights = load_file(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(QuadricError, match="cannot read"):
        BilinearAutoencoder.load_from_disk(tmp_path)
    save_file({"left": weights["left"]}, path)
    with pytest.raises(QuadricError, match="tensor 'right' is missing"):
        BilinearAutoencoder.load_from_disk(tmp_path)
    save_file(weights | {"extra": torch.zeros(1)}, path)
    with pytest.raises(QuadricError, match="unexpected tensor 'extra'"):
        BilinearAutoencoder.load_from_disk(tmp_path)
    weights["left"][2, 1] = float("nan")
    save_file(weights, path)
    with pytest.raises(QuadricError, match="'left' holds NaN"):
        BilinearAutoencoder.load_from_disk(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match=r"cfg\.json is missing"):
        BilinearAutoencoder.from_pretrained(tmp_path)
    with pytest.raises(QuadricError, match="not a hub id"):
        BilinearAutoencoder.from_pretrained(str(tmp_path / "absent"))


def test_an_interrupted_save_leaves_nothing_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained().save_pretrained(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quadric.storage.save_file", fail)
    with pytest.raises(QuadricError, match="No space left on device"):
        trained().save_pretrained(tmp_path)
    with pytest.raises(QuadricError, match=r"cfg\.json is missing"):
        BilinearAutoencoder.load_from_disk(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_wrong_width_and_latent() -> None:
    model = trained()
    with pytest.raises(QuadricError, match=r"\(3, 5\): the last dimension must be d_in = 6"):
        model.encode(torch.zeros(3, 5))
    with pytest.raises(QuadricError, match="must be d_sae = 13"):
        model.decode(torch.zeros(3, 6))
    with pytest.raises(QuadricError, match="latent 13 is out of range"):
        model.tensor([2, 13])


def test_push_uploads_exactly_the_two_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for the hub keeps what it is sent; what it got loads again."""
    import huggingface_hub

    class Hub:
        def __init__(self, token: str) -> None:
            assert token == "secret"

        def create_repo(self, repo_id: str, repo_type: str, exist_ok: bool) -> None:
            assert (repo_id, repo_type, exist_ok) == ("me/sae", "model", True)

        def upload_folder(self, repo_id: str, folder_path: str, path_in_repo: str) -> object:
            assert repo_id == "me/sae"
            shutil.copytree(folder_path, tmp_path / path_in_repo)
            return SimpleNamespace(commit_url="https://hub/me/sae/commit/1")

    def download(repo_id: str, allow_patterns: list[str], revision: str) -> str:
        assert (repo_id, revision) == ("me/sae", "v1")
        assert allow_patterns == ["layer3/cfg.json", "layer3/sae_weights.safetensors"]
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = trained()
    address = model.push_to_hub("me/sae", subfolder="layer3", token="secret")
    assert address == "https://hub/me/sae/commit/1"
    assert len(list((tmp_path / "layer3").iterdir())) == 2
    again = BilinearAutoencoder.from_pretrained("me/sae", "layer3", revision="v1")
    assert torch.equal(again.left, model.left)


def test_a_hub_that_says_no_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("401 Client Error.\n\nRepository Not Found for url: …")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(QuadricError, match=r"the hub did not give it: 401 Client Error\.$"):
        BilinearAutoencoder.from_pretrained("me/absent")


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_topk_round_trip(tmp_path: Path, affine: bool, batch: bool) -> None:
    """The threshold is kept; how long latents were silent is training's own and is not."""
    config = AutoencoderConfig(
        d_in=6, d_sae=40, variant="topk", k=3, batch_topk=batch, affine=affine
    )
    model = BilinearAutoencoder(config)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) + 1
    model.transform.fit(x)
    for step in range(3):
        model.loss(x, step)
    assert model.topk is not None
    assert model.topk.silent.max() == 3 and bool(model.topk.threshold) == batch
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    assert set(tensors) == {"left", "right", "topk.threshold"}
    again = BilinearAutoencoder.from_pretrained(tmp_path)
    assert again.config == config and again.topk is not None
    assert torch.equal(again.topk.threshold, model.topk.threshold)
    assert not again.topk.silent.any() and again.topk.silent.dtype == torch.int32
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again(x), model(x))
    model.double().save_pretrained(tmp_path)
    assert BilinearAutoencoder.from_pretrained(tmp_path).encode(x.double()).dtype == torch.float64
    path = tmp_path / "sae_weights.safetensors"
    del tensors["topk.threshold"]
    model.float().save_pretrained(tmp_path)
    save_file(tensors, path)
    with pytest.raises(QuadricError, match=r"tensor 'topk\.threshold' is missing"):
        BilinearAutoencoder.load_from_disk(tmp_path)
    save_file(tensors | {"topk.threshold": torch.zeros(2)}, path)
    with pytest.raises(QuadricError, match=r"'topk\.threshold' has shape \(2,\), cfg\.json says"):
        BilinearAutoencoder.load_from_disk(tmp_path)
