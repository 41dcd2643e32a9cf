"""``quadric analyze`` on anybody's activations: no language model, no text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.torch import load_file

from quadric.manifolds import files
from quadric.manifolds.planted import PlantedConfig, plant
from tests.e2e.conftest import Answer
from tests.e2e.test_cli import refused


@pytest.fixture(scope="module")
def activations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acts")
    sample = plant(PlantedConfig(d=16, manifolds=("circle",))).sample(4000, seed=1)
    np.save(folder / "x.npy", sample.x.numpy())
    return folder


def train(quadric: Callable[..., Answer], activations: Path, out: Path, *more: object) -> None:
    answer = quadric(
        "train", "--activations", activations, "--out", out, "--d-sae", 20, "--steps", 60,
        "--batch-size", 500, "--product-dtype", "float32", *more,
    )  # fmt: skip
    assert answer.status == 0, answer.err


@pytest.mark.parametrize("variant", ["composite", "vanilla", "mixed"])
def test_every_variant_is_read(
    quadric: Callable[..., Answer], activations: Path, tmp_path: Path, variant: str
) -> None:
    part = ("--block", 2) if variant == "composite" else ()
    part = ("--bottleneck", 1) if variant == "mixed" else part
    train(quadric, activations, tmp_path, "--variant", variant, *part)
    answer = quadric("analyze", tmp_path, "--json")
    if answer.status == 1:
        # Too little training for any two latents to share a subspace.
        assert variant != "composite" and "no latents overlap" in answer.err
        return
    rows = json.loads(answer.out)
    assert rows == json.loads((tmp_path / "manifolds.json").read_text())
    kinds = {row["kind"] for row in rows}
    assert kinds <= {"composite", "group"} and ("composite" in kinds) == (variant == "composite")
    assert all("token_class" not in row["scores"] and row["label"] == "" for row in rows)
    assert load_file(tmp_path / "manifolds.safetensors")["axes"].shape == (len(rows), 3, 16)
    assert len(files.read_points(tmp_path).forms) == len(rows)
    latents = pyarrow.parquet.read_table(tmp_path / "latents.parquet").to_pylist()
    near = pyarrow.parquet.read_table(tmp_path / "neighbours.parquet")
    assert len(latents) == near.num_rows == 20
    assert ("mixing_overlaps" in near.column_names) == (variant == "mixed")
    assert (tmp_path / "figures" / "manifolds.png").read_bytes().startswith(b"\x89PNG")
    again = quadric("analyze", tmp_path)
    assert again.status == 0 and "evidence" in again.out


def test_mistakes_are_one_line(
    quadric: Callable[..., Answer],
    activations: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    refused(quadric("analyze", out), "is not a run")
    train(quadric, activations, out)
    refused(quadric("analyze", out, "--rows", 20), "20 activations", "32")
    refused(quadric("analyze", out, "--seed", -1), "--seed", "-1")
    refused(quadric("analyze", out, "--rows", -5), "--rows", "-5")
    moved = activations.with_name("moved")
    activations.rename(moved)
    refused(quadric("analyze", out), "are gone or were never kept")
    moved.rename(activations)
    monkeypatch.setitem(sys.modules, "ripser", None)
    refused(quadric("analyze", out), "needs ripser: pip install 'quadric[manifolds]'")
    assert not (out / "manifolds.json").exists()
