"""Every experiment on tiny activations, and the mistakes a user can make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pyarrow.parquet
import pytest
import torch

from quadric.activations.writing import CacheWriter
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.experiments.experiment import Settings
from quadric.experiments.perform import perform, request_for, sentence
from quadric.experiments.registry import EXPERIMENTS, find
from quadric.storage import write_tensors
from tests.e2e.conftest import Answer
from tests.e2e.test_cli import refused

SMALL = {"expansion": 1.5, "density_weights": "0,1", "steps": 12, "batch_size": 64,
         "eval_rows": 30, "device": "cpu"}  # fmt: skip
NAMES = ("frontier", "layers", "prefixes", "histogram", "latent_density", "similarity",
         "permutation", "manifolds")  # fmt: skip


def outcome_of(name: str, folder: Path, out: Path, **changes: object) -> dict[str, object]:
    values = {**SMALL, "activations": str(folder), **changes}
    experiment = find(name)
    return perform(experiment, request_for(experiment, values, quick=True), out, quick=True)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_written_and_consistent(
    name: str,
    activations: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / name
    outcome = outcome_of(name, activations, out)
    text = (out / "experiment.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == outcome
    assert matplotlib.image.imread(out / "picture.png").std() > 0.01
    comparison, data = outcome["comparison"], outcome["data"]
    assert comparison["agrees"] in (True, False, None) and comparison["rule"]
    assert outcome["settings"]["steps"] == 12 and outcome["quick"] is True
    assert "measured: " + comparison["measured"] in sentence(outcome, out)
    if name == "frontier":
        assert len(data["points"]) == 2 * 4 * 2
        for point in data["points"]:
            assert point["curve"][-1]["step"] == 12
            assert point["curve"][-1]["error"] == pytest.approx(point["product_error"], rel=1e-4)
            assert point["density_samples"] == 30
        ours, theirs = (
            next(p for p in data["points"] if p["transform"] == t) for t in ("quadric", "paper")
        )
        assert ours["product_error_mean_predictor"] > theirs["product_error_mean_predictor"]
    elif name == "layers":
        (layer,) = data["layers"]
        assert set(layer["errors"]) == {"vanilla", "ordered", "mixed", "combined", "TopK SAE"}
        assert layer["errors"]["TopK SAE"] > 0 and layer["topk_explained_variance"] < 1
    elif name == "prefixes":
        whole = {name: errors[-1] for name, errors in data["errors"].items()}
        figures = data["autoencoders"]
        assert whole["ordered"] == pytest.approx(figures["ordered"]["product_error"], rel=1e-4)
        for order in ("own", "best"):
            error = whole[f"vanilla, {order} order"]
            assert error == pytest.approx(figures["vanilla"]["product_error"], rel=1e-4)
    elif name == "latent_density":
        rows = pyarrow.parquet.read_table(out / "table.parquet").to_pylist()
        mean = sum(row["density"] for row in rows if row["variant"] == "ordered") / 15
        assert len(rows) == 30 and mean == pytest.approx(data["summary"]["ordered"]["mean"])
    elif name == "similarity":
        assert len(data["matrix"]) == len(data["twins"]) == 8
        assert all(0 < value <= 1 for row in data["matrix"] for value in row)
        assert {twin["seed"] for twin in data["twins"]} == {1}
    elif name == "permutation":
        for found in data["pairs"].values():
            assert 0 < found["permutation_share"] < found["median_match"] <= 1
    elif name == "manifolds":
        rows = pyarrow.parquet.read_table(out / "table.parquet").to_pylist()
        shown = len(data["forms"])
        assert {row["form"] for row in rows} == set(range(shown)) and shown == 4 - 1
        values = torch.tensor(data["forms"][0]["eigenvalues"])
        for row in rows[:5]:
            position = torch.tensor([row["x"], row["y"], row["z"]])
            assert row["value"] == pytest.approx((position.square() @ values).item(), rel=1e-4)


def test_layers_of_a_cache_each_get_their_own_activations(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    loud = torch.randn(20, 8, 3, generator=generator) @ torch.randn(3, 6, generator=generator)
    noise = torch.randn(20, 8, 6, generator=generator)
    writer = CacheWriter(
        tmp_path / "cache", widths={"a": 6, "b": 6}, dtype=torch.float32, context_size=8,
        description={}, contexts_per_shard=20,
    )  # fmt: skip
    writer.append({"a": loud, "b": noise}, torch.zeros(20, 8, dtype=torch.int64))
    writer.finish()
    both = outcome_of("layers", tmp_path / "cache", tmp_path / "both", held_out_fraction=0.2)
    layers = {layer["hook"]: layer["errors"]["vanilla"] for layer in both["data"]["layers"]}
    assert list(layers) == ["a", "b"]
    # Three directions are easier to reconstruct than six.
    assert layers["a"] < layers["b"] - 0.1
    one = outcome_of(
        "layers", tmp_path / "cache", tmp_path / "one", held_out_fraction=0.2, hook="b"
    )
    (layer,) = one["data"]["layers"]
    assert (layer["hook"], layer["errors"]["vanilla"]) == ("b", layers["b"])
    single = outcome_of(
        "histogram", tmp_path / "cache", tmp_path / "hook", held_out_fraction=0.2, hook="a"
    )
    assert single["data"]["origin"]["hook"] == "a"
    with pytest.raises(QuadricError, match="hook"):
        outcome_of("histogram", tmp_path / "cache", tmp_path / "none")


def test_the_same_seed_gives_the_same_figures(
    activations: Path,
    tmp_path: Path,
) -> None:
    first, again, other = (
        outcome_of("histogram", activations, tmp_path / str(i), seed=seed)["data"]["trained"]
        for i, seed in enumerate((0, 0, 1))
    )
    assert first == again and first["counts"] != other["counts"]


@pytest.mark.parametrize("rows", [2, 3, 9])
def test_tiny_sets_end_in_figures_or_one_clear_line(tmp_path: Path, rows: int) -> None:
    import numpy as np

    values = np.random.default_rng(0).normal(size=(rows, 3)).astype("float32")
    np.save(tmp_path / "x.npy", values)
    for name in ("prefixes", "histogram", "manifolds", "latent_density"):
        with pytest.raises(QuadricError, match="only 1 activations are held out, 2 are needed"):
            outcome_of(name, tmp_path / "x.npy", tmp_path / name)
    if rows > 3:
        for name in ("prefixes", "histogram", "manifolds", "latent_density", "permutation"):
            out = tmp_path / name
            outcome_of(name, tmp_path / "x.npy", out, held_out_fraction=0.4)
            assert "NaN" not in (out / "experiment.json").read_text()


def test_the_manifolds_of_a_run(
    quadric: Callable[..., Answer], activations: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    trained = quadric(
        "train", "--activations", activations, "--out", run, "--variant", "composite",
        "--d-sae", 5, "--block", 2, "--steps", 5, "--batch-size", 64, "--device", "cpu",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    pairs = BilinearAutoencoder.from_pretrained(run).tensor([3, 1]).eigh_many(None, 3)
    write_tensors(run / "manifolds.safetensors", {"axes": pairs.vectors, "values": pairs.values})
    rows = [{"rank": 1, "label": "days"}, {"rank": 2, "label": ""}]
    (run / "manifolds.json").write_text(json.dumps(rows))
    answer = quadric("experiment", "manifolds", "--run", run, "--out", out, "--json")
    assert answer.status == 0, answer.err
    forms = json.loads(answer.out)["data"]["forms"]
    assert [form["name"] for form in forms] == ["1. days", "2"]
    assert forms[0]["eigenvalues"] == pytest.approx(pairs.values[0].tolist())
    write_tensors(run / "manifolds.safetensors", {"axes": torch.ones(1, 3, 7)})
    refused(quadric("experiment", "manifolds", "--run", run), "needs the keys axes and values")
    wrong = {"axes": torch.ones(1, 3, 7), "values": torch.ones(1, 3)}
    write_tensors(run / "manifolds.safetensors", wrong)
    refused(quadric("experiment", "manifolds", "--run", run), "(1, 3, 7)", "width 10")


def test_the_list_and_the_mistakes(
    quadric: Callable[..., Answer],
    activations: Path,
    tmp_path: Path,
) -> None:
    listed = json.loads(quadric("experiment", "--list", "--json").out)
    kinds = ("vision-", "lm-")
    names = [one["name"] for one in listed if not one["name"].startswith(kinds)]
    assert names == list(NAMES) == list(EXPERIMENTS)
    assert all(one["title"] and one["statement"] and one["source"] for one in listed)
    refused(quadric("experiment", "frontiers"), "no experiment 'frontiers'", "'frontier'")
    refused(quadric("experiment", "xyz"), "there are frontier, layers")
    refused(quadric("experiment"), "give the NAME")
    stored = ("--activations", activations)
    refused(quadric("experiment", "frontier", *stored, "--tokens", 9), "--tokens needs a model")
    refused(quadric("experiment", "frontier", *stored, "--hook", "h"), "hook 'h'", "no manifest")
    refused(quadric("experiment", "layers", "--run", tmp_path), "--run applies to manifolds")
    refused(
        quadric("experiment", "manifolds", "--run", tmp_path, "--steps", 3), "leave out --steps"
    )
    refused(quadric("experiment", "manifolds", "--run", tmp_path), "run quadric analyze")
    refused(quadric("experiment", "frontier", "--density-weights", "a"), "density_weights is 'a'")
    refused(quadric("experiment", "frontier", "--activations", tmp_path / "none"), "none")
    (tmp_path / "file").write_text("")
    refused(quadric("experiment", "histogram", *stored, "--out", tmp_path / "file"), "is a file")


def test_a_command_writes_where_it_is_told(
    quadric: Callable[..., Answer],
    activations: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "figure"
    answer = quadric(
        "experiment", "histogram", "--quick", "--activations", activations, "--out", out,
        "--steps", 5, "--expansion", 2, "--batch-size", 100, "--device", "cpu", "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert json.loads(answer.out) == json.loads((out / "experiment.json").read_text())
    settings = json.loads(answer.out)["settings"]
    assert settings["steps"] == 5 and settings["density_weights"] == "0.3"
    assert Settings(**settings).products(10) == 20
