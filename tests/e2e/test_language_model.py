"""The whole way on the real language model: harvest, train, splice, inspect, report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from quadric.activations.config import HarvestConfig
from quadric.activations.harvest import harvest
from quadric.activations.hooks import resolve
from quadric.activations.models import load_model
from quadric.activations.stored import open_rows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.evaluation import SplicedLoss
from quadric.runs.config import RunConfig
from quadric.runs.data import cache_of
from quadric.runs.demo import demo
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
    assert metrics["twin_similarity"]["cosine"] > 0.3
    for name in ("training", "spectra", "tokens"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


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
    assert seen.count("img") == 3
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
