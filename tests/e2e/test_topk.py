"""The sparse variant from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quadric.autoencoders import BilinearAutoencoder

Quadric = Callable[..., object]
QUICK = ("--steps", 30, "--batch-size", 64, "--product-dtype", "float32", "--device", "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.random((400, 4)) ** 5 @ generator.normal(size=(4, 10))
    path = tmp_path / "x.npy"
    np.save(path, (x + 0.05 * generator.normal(size=x.shape)).astype("float32"))
    return path


def test_train_and_eval(quadric: Quadric, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = quadric(
        "train", "--activations", store, "--d-sae", 40, "--variant", "topk", "--k", 8,
        "--also", "shared:batch_topk=yes,k=4", "--also", "plain:variant=vanilla", *QUICK,
        "--out", out, "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    figures = json.loads(answer.out)["autoencoders"]
    main = figures["main"]
    assert (main["variant"], main["density_weight"]) == ("topk", 0.0)
    assert main["product_error"] < 0.9 * main["product_error_mean_predictor"]
    assert 1 <= main["effective_l0"] <= 8 and figures["plain"]["density_weight"] == 0.1
    model = BilinearAutoencoder.from_pretrained(out)
    x = torch.from_numpy(np.load(store))
    assert ((model.encode(x) != 0).sum(1) == 8).all()
    shared = BilinearAutoencoder.from_pretrained(out / "shared")
    assert shared.config.batch_topk and shared.config.k == 4
    assert (shared.encode(x) != 0).sum(1).max() <= 16
    tensors = load_file(out / "shared" / "sae_weights.safetensors")
    assert set(tensors) == {"left", "right", "topk.threshold"} and tensors["topk.threshold"] > 0
    again = json.loads(quadric("eval", out, "--json").out)
    assert again["autoencoders"] == figures
    shown = quadric("inspect", out, "--latents", 2, "--top", 2, "--json")
    assert shown.status == 0 and len(json.loads(shown.out)["latents"]) == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--k", 8), "k does not apply to variant 'vanilla', only to topk"),
        (("--variant", "topk"), "k is 64, expected at most d_sae = 40"),
        (("--variant", "topk", "--k", 0), "k is 0, expected a positive number"),
        (("--variant", "topk", "--k", 4, "--density-weight", 0.3), "density_weight is 0.3, but"),
        (("--batch-topk",), "batch_topk does not apply to variant 'vanilla', only to topk"),
    ],
)
def test_mistakes(
    quadric: Quadric, store: Path, tmp_path: Path, flags: tuple[object, ...], words: str
) -> None:
    answer = quadric(
        "train", "--activations", store, "--d-sae", 40, "--out", tmp_path / "run", *flags
    )
    assert answer.status == 1 and answer.out == ""
    assert answer.err.startswith("quadric: ") and answer.err.count("\n") == 1
    assert words in answer.err
