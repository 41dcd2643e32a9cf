"""The whole way on the real language model: harvest, train, splice, inspect, report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from quadric.activations.config import HarvestConfig
from quadric.activations.harvest import harvest
from quadric.activations.hooks import resolve
from quadric.activations.models import load_model
from quadric.activations.stored import open_rows
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.folder.validate import validate
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import SplicedLoss
from quadric.runs.calendar import find_calendar
from quadric.runs.config import RunConfig
from quadric.runs.data import cache_of
from quadric.runs.demo import demo, to_open
from quadric.runs.inspect import open_store, tokenizer_of
from tests.e2e.test_cli import refused

pytestmark = pytest.mark.e2e
MODEL = ("smollm2-135m", "news+speeches")
SMALL = ("--tokens", 16_384, "--steps", 12, "--batch-size", 1024, "--eval-rows", 500)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A small demo: 40,000 tokens, 30 steps."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    return out, demo(out, tokens=40_000, steps=30)


def test_demo_leaves_everything_it_promises(finished: tuple[Path, dict[str, object]]) -> None:
    out, metrics = finished
    assert json.loads((out / "metrics.json").read_text()) == metrics
    needed = {
        "tokens", "dropped_tokens", "steps", "seconds", "variant", "d_in", "d_sae", "product_error",
        "product_error_mean_predictor", "product_fvu", "density", "density_samples", "frac_alive",
        "explained_variance", "cossim", "ce_loss_score", "ce_loss_with_sae", "ce_loss_without_sae",
        "ce_loss_with_ablation",
    }  # fmt: skip
    assert needed <= metrics.keys()
    assert all(metrics[name] is not None for name in needed)
    assert metrics["tokens"] == 39_936 and metrics["d_in"] == 576
    for figures in metrics["autoencoders"].values():
        assert figures["product_error"] < 0.97 * figures["product_error_mean_predictor"]
        assert figures["frac_alive"] == 1.0
        assert figures["ce_loss_without_sae"] < figures["ce_loss_with_sae"]
        assert figures["ce_loss_with_sae"] < figures["ce_loss_with_ablation"]
        assert 0 < figures["ce_loss_score"] < 1
        kinds = figures["ce_by_position_type"]
        assert set(kinds) == {
            "word_start", "word_continuation", "number", "punctuation", "whitespace"
        }  # fmt: skip
        # Position 0 of every context is not replaced, and nothing follows the last one.
        assert sum(kind["count"] for kind in kinds.values()) == 16 * 126
        assert kinds["word_start"]["count"] > kinds["number"]["count"] > 0
        assert 0 < kinds["word_start"]["score"] < 1
    assert metrics["twin_similarity"]["cosine"] > 0.3
    for name in ("training", "spectra", "tokens", "manifolds", "calendar"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_demo_ends_with_an_atlas(finished: tuple[Path, dict[str, Any]]) -> None:
    out, metrics = finished
    assert validate(out / "atlas").problems == []
    atlas = AtlasFolder(out / "atlas")
    table = json.loads((out / "manifolds.json").read_text())
    assert atlas.manifest.forms == metrics["atlas"]["forms"] == len(table)
    assert atlas.manifest.comparison is not None and atlas.manifest.comparison.title == "twin"
    assert (out / "atlas" / (atlas.manifest.run or "")).resolve() == out.resolve()
    model, store = BilinearAutoencoder.load_from_disk(out), open_store(RunConfig.read(out))
    assert store is not None
    for place in range(0, atlas.manifest.forms, 60):
        row, page = atlas.row(place), atlas.page(place)
        assert row.id == table[place]["id"] and row.label == table[place]["label"]
        if row.kind == "composite":
            assert row.quadric == table[place]["quadric"]
        latents = model.encode(store.gather(torch.from_numpy(page.rows))).detach().double()
        value = (latents[:, list(row.members)] @ torch.tensor(row.weights).double()).numpy()
        step = abs(value).max() / 32767
        assert abs(page.points.value - value).max() < step + 1e-6
        assert int(page.present.sum()) == table[place]["points"]
    assert "quadric atlas serve" in to_open(metrics, out)


def test_demo_latents_are_those_of_the_weights(finished: tuple[Path, dict[str, object]]) -> None:
    out, _ = finished
    rows = pyarrow.parquet.read_table(out / "latents.parquet").to_pylist()
    model = BilinearAutoencoder.from_pretrained(out)
    assert sorted(row["id"] for row in rows) == list(range(model.d_sae))
    for row in (rows[0], rows[77]):
        form = model.tensor([row["id"]]).interaction(torch.ones(1)).double()
        values = torch.linalg.eigvalsh(form)
        assert row["importance"] == pytest.approx(values.square().sum().item(), rel=1e-4)
        assert row["top3_share"] == pytest.approx(
            (values.abs().topk(3).values.sum() / values.abs().sum()).item(), rel=1e-3
        )
        strengths = [abs(response["value"]) for response in row["top"]]
        assert strengths == sorted(strengths, reverse=True) and strengths[0] > 0


def test_demo_latents_have_labels_and_windows(finished: tuple[Path, dict[str, object]]) -> None:
    out, _ = finished
    rows = pyarrow.parquet.read_table(out / "latents.parquet").to_pylist()
    labelled = [row for row in rows if row["label"]]
    assert len(labelled) > 0.9 * len(rows)
    for row in labelled:
        assert row["words"][0]["lift"] > 3 and 0 < row["words"][0]["energy_share"] <= 1
    model, store = BilinearAutoencoder.from_pretrained(out), open_store(RunConfig.read(out))
    row = rows[5]
    values = [response["value"] for response in row["most_positive"]]
    assert values == sorted(values, reverse=True) and min(values) > 0
    values = [response["value"] for response in row["most_negative"]]
    assert values == sorted(values) and max(values) < 0
    assert max(abs(each["value"]) for each in row["near_zero"]) < 0.01 * abs(row["top"][0]["value"])
    assert len(row["random"]) == 10
    # The values of a window are the latent at its tokens, wherever that text stands in the store.
    response = row["most_positive"][0]
    ids = store.token_ids(torch.arange(len(store)))
    tokens = tokenizer_of(model).batch_decode(ids[:, None])
    width = len(response["tokens"])
    start = next(
        place
        for place in range(len(tokens) - width)
        if tokens[place : place + width] == response["tokens"]
    )
    latents = model.encode(store.gather(torch.arange(start, start + width)))[:, row["id"]]
    assert response["values"] == pytest.approx(latents.tolist(), rel=1e-3, abs=1e-5)
    place = response["values"].index(pytest.approx(response["value"], rel=1e-5))
    assert response["tokens"][place] == response["token"]
    assert "".join(response["tokens"][:place]) == response["before"]


def test_steering_the_language_model(
    quadric: Callable[..., object], finished: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    out, _ = finished
    row = next(
        row
        for row in pyarrow.parquet.read_table(out / "latents.parquet").to_pylist()
        if row["positive"] > 1
    )
    text = row["top"][0]["before"] + row["top"][0]["token"]
    asked = ("steer", out, "--latent", row["id"], "--text", text)
    moved = ("--amount", -0.3, "--amount", 0, "--amount", 0.3, "--angle", 60, "--angle", 0)
    answer = quadric(*asked, *moved, "--json")
    assert answer.status == 0, answer.err
    view = json.loads(answer.out)
    down, still, up, turned, unturned = view["steps"]
    assert down["value_after"] < down["value_before"] < up["value_after"]
    assert still["kl"] == unturned["kl"] == 0 and still["rising"] == unturned["falling"] == []
    assert up["kl"] > 0 and up["rising"][0]["after"] > up["rising"][0]["before"]
    assert turned["value_after"] == pytest.approx(turned["value_before"], rel=1e-4)
    assert turned["moved"] > 0 and turned["kl"] > 0 and abs(turned["turned"]) > 1
    assert len(view["tokens"]) == len(view["values"]) == view["position"] + 1
    shown = quadric(*asked, "--angle", 60)
    assert shown.status == 0 and "level set, +60°" in shown.out and "KL" in shown.out
    refused(quadric(*asked[:3], 99_999, *asked[4:]), "latent 99999 is out of range")
    refused(quadric(*asked, "--axes", 1, 99), "axes 1 and 99")
    refused(quadric(*asked, "--position", 500), "position 500")
    refused(quadric(*asked[:5], ""), "no token")
    BilinearAutoencoder(AutoencoderConfig(d_in=4, d_sae=3)).save_pretrained(tmp_path)
    refused(quadric("steer", tmp_path, "--latent", 0, "--text", "x"), "which language model")


def test_demo_manifolds_are_ranked_labelled_and_hold_the_calendar(
    finished: tuple[Path, dict[str, object]], quadric: Callable[..., object]
) -> None:
    """Forty thousand tokens and thirty steps: the words are there, the order is not yet."""
    out, metrics = finished
    rows = json.loads((out / "manifolds.json").read_text())
    tensors = load_file(out / "manifolds.safetensors")
    assert tensors["axes"].shape == (len(rows), 3, 576) and len(rows) >= 384
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    evidence = [row["evidence"] for row in rows]
    assert evidence == sorted(evidence, reverse=True) and evidence[0] > 0.3
    model = BilinearAutoencoder.from_pretrained(out)
    row = next(row for row in rows if row["kind"] == "composite")
    form = model.tensor(row["members"]).interaction(torch.tensor(row["weights"]))
    axes = tensors["axes"][row["rank"] - 1]
    assert torch.allclose(form @ axes.T, axes.T * tensors["values"][row["rank"] - 1], atol=1e-4)
    assert sum(bool(row["label"]) for row in rows) > 0.9 * len(rows)
    near = pyarrow.parquet.read_table(out / "neighbours.parquet").to_pylist()
    forms = [
        model.tensor([i]).interaction(torch.ones(1)) for i in (5, near[5]["gram_neighbours"][0])
    ]
    cosine = torch.cosine_similarity(forms[0].flatten(), forms[1].flatten(), dim=0)
    assert near[5]["gram_overlaps"][0] == pytest.approx(cosine.item(), abs=1e-4)
    findings = {finding["name"]: finding for finding in metrics["calendar"]}
    assert findings["months"]["energy_ratio"] > 20
    assert findings["months"]["rank"] <= findings["months"]["of"] == len(rows)
    again = json.loads(quadric("analyze", out, "--json", "--rows", 30_000).out)
    assert {row["id"] for row in again} == {row["id"] for row in rows}
    refused(quadric("analyze", out / "twin"), "is not a run")
    (out / "manifolds.json").rename(out / "hidden")
    with pytest.raises(QuadricError, match="run quadric analyze"):
        find_calendar(out, rows_searched=1000)
    (out / "hidden").rename(out / "manifolds.json")


def test_report_opens_from_disk_and_escapes_tokens(
    finished: tuple[Path, dict[str, object]],
) -> None:
    out, _ = finished
    text = (out / "report.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:)", text) and "<script" not in text
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
            seen.append(tag)

    Reader().feed(text)
    assert seen.count("img") == 5
    assert set(seen) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "thead",
        "tbody", "tr", "th", "td", "figure", "img", "figcaption", "details", "summary", "span",
        "pre",
    }  # fmt: skip


def test_harvest_then_train_then_inspect(quadric: Callable[..., object], tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "run"
    hooks = "blocks.3.hook_resid_pre, blocks.3.hook_mlp_out"
    made = ("harvest", *MODEL, "--tokens", 16_384, "--hook", hooks, "--out", cache)
    answer = quadric(*made, "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["tokens"] == 16_384
    train = ("train", "--activations", cache, "--out", out, *SMALL[2:])
    refused(quadric(*train), "several", "blocks.3.hook_mlp_out")
    answer = quadric(
        *train, "--hook", "blocks.3.hook_mlp_out", "--d-sae", 64, "--variant", "composite"
    )
    assert answer.status == 0, answer.err
    assert (
        BilinearAutoencoder.from_pretrained(out).metadata.hf_hook_name
        == "model.layers.3.mlp.hook_out"
    )
    shown = json.loads(quadric("inspect", out, "--latents", 2, "--top", 3, "--json").out)
    top = shown["latents"][0]["top"][0]
    assert top["token"] and (top["before"] or top["after"])
    shard = cache / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    refused(quadric("eval", out), "shard-00000", "checksum")
    shard.write_bytes(data[:-1])
    refused(quadric("eval", out), "shard-00000")
    shard.unlink()
    refused(quadric("eval", out), "shard-00000")


def test_streaming_keeps_nothing(quadric: Callable[..., object], tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = quadric(
        "train", *MODEL, "--stream", "--tokens", 65_536, *SMALL[2:], "--d-sae", 128,
        "--text-seed", 987, "--out", out, "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["ce_loss_score"] is not None
    made = RunConfig.read(out).harvest
    assert made is not None and made.text_seed == 987 and not cache_of(made).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("./absent", "news"), ("cannot load the model './absent'",)),
        (("smollm2-135m", "./absent.txt"), ("absent.txt",)),
        (("smollm2-135m", "{empty}"), ("empty.txt",)),
        (
            (*MODEL, "--hook", "blocks.99.hook_resid_pre"),
            ("hook 'blocks.99.hook_resid_pre' not found: model has 30 blocks (0–29)",),
        ),
        (
            (*MODEL, "--hook", "blocks.3.hook_resid_per"),
            ("did you mean 'blocks.3.hook_resid_pre'",),
        ),
        ((*MODEL, "--tokens", 5), ("tokens is 5",)),
    ],
)
def test_mistakes_in_model_hook_and_text(
    quadric: Callable[..., object],
    tmp_path: Path,
    arguments: tuple[object, ...],
    words: tuple[str, ...],
) -> None:
    (tmp_path / "empty.txt").write_text("  \n\n")
    filled = [str(argument).format(empty=tmp_path / "empty.txt") for argument in arguments]
    for command in ("harvest", "train"):
        out = tmp_path / command
        refused(quadric(command, *filled, "--out", out), *words)
        assert not list(out.glob("**/cfg.json"))


def test_splicing_a_perfect_and_an_empty_autoencoder(tmp_path: Path) -> None:
    """The identity scores 1; a dictionary that says nothing is the mean, which scores 0."""
    config = HarvestConfig(tokens=2048, hook="blocks.5.hook_resid_pre", dtype="float32")
    harvest(config, tmp_path)
    store = open_rows(tmp_path)
    rows = store.gather(torch.arange(len(store)))
    contexts = store.token_ids(torch.arange(512)).reshape(4, 128)
    language = load_model("smollm2-135m", dtype=torch.float32, device="cpu")
    (hook,) = resolve(language.model, ["blocks.5.hook_resid_pre"])
    model = BilinearAutoencoder(AutoencoderConfig(d_in=576, d_sae=1))
    model.transform.fit(rows)
    model.forward = lambda x: x  # type: ignore[method-assign]
    losses = SplicedLoss(language, hook, contexts, rows.mean(0))
    perfect = losses.score(model)
    assert perfect.ce_loss_score == pytest.approx(1, abs=1e-6)
    assert perfect.ce_loss_with_sae == pytest.approx(perfect.ce_loss_without_sae, abs=1e-6)
    del model.forward
    model.left.data.zero_()
    empty = losses.score(model)
    assert empty.ce_loss_score == pytest.approx(0, abs=1e-4)
