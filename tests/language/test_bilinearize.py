"""A SwiGLU model made bilinear, beside its control: every figure against an account of its own."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from quadric.activations.models import load_model, load_tokenizer
from quadric.errors import Interrupted, QuadricError
from quadric.language import bilinearize as module
from quadric.language import loop
from quadric.language.bilinearize import bilinearize, read_request
from quadric.language.config import AnnealConfig, BilinearizeRequest, FineTuneConfig, TextConfig
from quadric.language.text import Rows, read_rows
from quadric.layers import wrap
from quadric.layers.annealing import layers
from quadric.report.annealing import draw_curves
from quadric.training import log
from tests.activations.tiny import save_tiny, tiny_tokenizer
from tests.language.words import write

STEPS, T, BLOCKS = 10, 24, 3
FIT = FineTuneConfig(
    steps=STEPS, batch_contexts=4, lr=0.01, lr_warmup=2, eval_every=4, dtype="float32",
    device="cpu", checkpoint_minutes=1e-9, weight_decay=0.1,
)  # fmt: skip
FOLDERS = ("annealed", "control")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose embedding is its head, with gates that matter; and a text."""
    folder = tmp_path_factory.mktemp("shared")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=28, num_hidden_layers=BLOCKS,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
        tie_word_embeddings=True, eos_token_id=256, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    tiny_tokenizer().save_pretrained(folder / "llama")
    write(folder / "a.txt")
    return folder


@pytest.fixture(scope="module")
def request_(shared: Path) -> BilinearizeRequest:
    text = TextConfig(str(shared / "a.txt"), T, held_out=6)
    return BilinearizeRequest(str(shared / "llama"), text, FIT, AnnealConfig(part=0.5))


@pytest.fixture(scope="module")
def out(request_: BilinearizeRequest, shared: Path) -> Path:
    """The folder of the request, finished; only read."""
    bilinearize(request_, shared / "out")
    return shared / "out"


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


class Half(torch.nn.Module):
    """What is left of a gate at β = 0."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z / 2


def rows_of(request: BilinearizeRequest) -> Rows:
    return read_rows(load_tokenizer(request.model), request.text)


def load(folder: Path | str) -> Any:
    return load_model(str(folder), dtype=torch.float32, device="cpu").model


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(ids.long()).logits
    return found


def cross_entropy(model: Any, ids: torch.Tensor) -> float:
    scores = logits(model, ids)[:, :-1].double()
    return functional.cross_entropy(
        scores.reshape(-1, scores.shape[-1]), ids[:, 1:].reshape(-1).long()
    ).item()


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [line | {"seconds": 0} for line in log.read(folder / log.LOG)]


def test_the_model_is_bilinear_and_its_figures_are_true(
    request_: BilinearizeRequest, out: Path
) -> None:
    metrics = read(out)
    assert bilinearize(request_, out, resume=True) == metrics
    assert read_request(out) == request_
    rows = rows_of(request_)

    # transformers alone reads it, and every MLP is a quadratic form of its input.
    plain = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    assert plain.config.hidden_act == "linear"
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    assert torch.equal(logits(plain, rows.held_out), logits(load(out), rows.held_out))
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for block in plain.model.layers:
        assert wrap(block.mlp).gate == "identity"
        mlp = copy.deepcopy(block.mlp).double()
        torch.testing.assert_close(mlp(-x), mlp(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mlp(3 * x), 9 * mlp(x), rtol=1e-12, atol=1e-12)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer("Bake 12")["input_ids"] == tiny_tokenizer()("Bake 12")["input_ids"]

    assert metrics["loss_bilinear"] == pytest.approx(cross_entropy(plain, rows.held_out), rel=1e-6)
    original = load(request_.model)
    assert metrics["loss_before"] == pytest.approx(cross_entropy(original, rows.held_out), rel=1e-6)
    for block in original.model.layers:
        block.mlp.act_fn = Half()
    assert metrics["loss_abrupt"] == pytest.approx(cross_entropy(original, rows.held_out), rel=1e-6)
    assert len({metrics[f"loss_{name}"] for name in ("before", "abrupt", "bilinear")}) == 3
    assert metrics["gap"] == metrics["loss_bilinear"] - metrics["loss_control"]
    assert metrics["layers"] == "all" and metrics["tokens"] == STEPS * 4 * T
    assert metrics["held_out_tokens"] == rows.held_out.numel() == 6 * T
    assert metrics["text_tokens"] == rows.train.numel() and metrics["text_copies_dropped"] == 0
    assert json.loads((out / "annealed/fold.json").read_text()) == {"largest_logit_change": 0.0}

    for name in FOLDERS:
        found = [line for line in log.read(out / name / log.LOG) if "held_out_loss" in line]
        assert [
            (p["step"], p["tokens"], p["loss"], p["seconds"]) for p in metrics["curves"][name]
        ] == [(one["step"], one["tokens"], one["held_out_loss"], one["seconds"]) for one in found]
        assert metrics["seconds"][name] == found[-1]["seconds"]
        assert not (out / name / "checkpoint").exists()
    assert metrics["loss_bilinear"] == metrics["curves"]["annealed"][-1]["loss"]
    assert metrics["loss_control"] == metrics["curves"]["control"][-1]["loss"]


def test_beta_falls_on_its_schedule_and_ends_at_zero(
    request_: BilinearizeRequest, out: Path, tmp_path: Path
) -> None:
    betas = [line["beta"] for line in lines(out / "annealed")]
    assert betas == pytest.approx([max(0, 1 - step / 5) for step in range(STEPS + 1)])
    assert betas[5:] == [0.0] * 6
    assert {line["beta"] for line in lines(out / "control")} == {1.0}
    assert read(out)["betas"] == [betas[step] for step in (0, 4, 8, 10)]
    cosine = dataclasses.replace(request_, anneal=AnnealConfig("", "cosine", 1.0, False))
    bilinearize(cosine, tmp_path / "cosine")
    betas = [line["beta"] for line in lines(tmp_path / "cosine/annealed")]
    expected = [(1 + math.cos(math.pi * step / STEPS)) / 2 for step in range(STEPS + 1)]
    assert betas == pytest.approx(expected) and betas[-1] == 0.0


def test_the_control_trains_exactly_like_the_model_itself(
    request_: BilinearizeRequest, out: Path, tmp_path: Path
) -> None:
    model = load(request_.model).requires_grad_(True)
    loop.fit(model, rows_of(request_), FIT, tmp_path / "plain")
    plain, control = lines(tmp_path / "plain"), lines(out / "control")
    assert control == [line | {"beta": 1.0} for line in plain]
    annealed = lines(out / "annealed")
    assert annealed[0]["held_out_loss"] == plain[0]["held_out_loss"]
    assert annealed[0]["loss"] == plain[0]["loss"]  # β is still 1, the contexts are the same
    assert annealed[3]["loss"] != plain[3]["loss"]


def test_training_repairs_what_removing_the_gates_broke(
    request_: BilinearizeRequest, tmp_path: Path
) -> None:
    longer = dataclasses.replace(FIT, steps=60, eval_every=60, checkpoint_minutes=5.0)
    metrics = bilinearize(dataclasses.replace(request_, fit=longer), tmp_path / "out")
    assert metrics["loss_bilinear"] < metrics["loss_abrupt"] - 0.5


def test_some_layers(request_: BilinearizeRequest, tmp_path: Path) -> None:
    out = tmp_path / "some"
    some = dataclasses.replace(request_, anneal=AnnealConfig("0,2", part=0.5, control=False))
    metrics = bilinearize(some, out)
    assert metrics["layers"] == "0,2"
    with pytest.raises(Exception, match="annealed"):  # transformers has one gate for all
        transformers.AutoModelForCausalLM.from_pretrained(out)
    model, ids = load(out), rows_of(some).held_out
    assert [wrap(block.mlp).gate for block in model.model.layers] == [
        "identity",
        "silu",
        "identity",
    ]
    assert layers(model) == [0, 2]
    assert cross_entropy(model, ids) == pytest.approx(metrics["loss_bilinear"], rel=1e-6)
    original = load(request_.model)
    for index in (0, 2):
        original.model.layers[index].mlp.act_fn = Half()
    assert metrics["loss_abrupt"] == pytest.approx(cross_entropy(original, ids), rel=1e-6)
    # The weights alone, with gates by hand, are the same model.
    by_hand = load(request_.model)
    from safetensors.torch import load_file

    by_hand.load_state_dict(load_file(out / "model.safetensors"), strict=False)
    by_hand.tie_weights()
    for index in (0, 2):
        by_hand.model.layers[index].mlp.act_fn = torch.nn.Identity()
    torch.testing.assert_close(logits(by_hand, ids), logits(model, ids), rtol=0, atol=1e-5)
    # What is left can follow, and then it is a plain model.
    rest = dataclasses.replace(some, model=str(out), anneal=AnnealConfig("1", control=False))
    bilinearize(rest, tmp_path / "rest")
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "rest")
    assert layers(whole) == [0, 1, 2]


def test_without_a_control(request_: BilinearizeRequest, out: Path, tmp_path: Path) -> None:
    alone = dataclasses.replace(request_, anneal=AnnealConfig(part=0.5, control=False))
    metrics = bilinearize(alone, tmp_path / "out")
    assert metrics["gap"] is None and metrics["loss_control"] is None
    assert list(metrics["curves"]) == ["annealed"] and not (tmp_path / "out/control").exists()
    assert weights(tmp_path / "out") == weights(out)
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_show_the_log(out: Path) -> None:
    metrics = read(out)
    losses, betas = draw_curves(metrics).axes
    drawn = {line.get_label(): line for line in losses.lines}
    for label, name in (("β annealed to 0", "annealed"), ("control, β = 1", "control")):
        found = [line for line in lines(out / name) if "held_out_loss" in line]
        assert list(drawn[label].get_ydata()) == [line["held_out_loss"] for line in found]
        assert list(drawn[label].get_xdata()) == [line["tokens"] / 1e6 for line in found]
    assert list(betas.lines[0].get_ydata()) == metrics["betas"]
    expected = f"llama: bilinear {metrics['loss_bilinear']:.3f}, {metrics['gap']:+.3f} against"
    assert losses.get_title().startswith(expected)  # the folder's name, not its path
    assert losses.get_ylabel() == "held-out loss (nats)" and betas.get_xlabel() == "million tokens"


def fail_at(call: int, monkeypatch: pytest.MonkeyPatch, error: type[Exception] = KeyError) -> None:
    """Let the step with this number over both copies fail, as kill -9 would."""
    count = -1
    original = loop._Run.step

    def step(self: Any, done: int) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == call:
            raise error
        return original(self, done)

    monkeypatch.setattr(loop._Run, "step", step)


@pytest.mark.parametrize("call", [0, 6, 10, 17])
def test_killed_it_goes_on_to_the_same_models(
    call: int,
    request_: BilinearizeRequest,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, parts = read(out), tmp_path / "parts"
    with monkeypatch.context() as patch:
        fail_at(call, patch)
        with pytest.raises(KeyError):
            bilinearize(request_, parts)
    assert not (parts / "metrics.json").exists()
    assert (parts / "model.safetensors").exists() == (call >= STEPS)
    with pytest.raises(QuadricError, match="is not empty"):
        bilinearize(request_, parts)
    taken: list[int] = []
    original = loop._Run.step
    with monkeypatch.context() as patch:
        patch.setattr(
            loop._Run, "step", lambda self, done: (taken.append(done), original(self, done))[1]
        )
        again = bilinearize(request_, parts, resume=True)
    assert len(taken) == 2 * STEPS - call  # nothing is trained twice
    assert weights(parts) == weights(out)
    for name in FOLDERS:
        assert lines(parts / name) == lines(out / name)
    for metrics in (whole, again):
        del metrics["seconds"]
        for points in metrics["curves"].values():
            for point in points:
                del point["seconds"]
    assert again == whole


@pytest.mark.parametrize(
    ("owner", "minutes"), [(LlamaForCausalLM, 1e-9), (transformers.PreTrainedTokenizerFast, 5.0)]
)
def test_killed_while_the_model_is_written_it_is_written_again(
    owner: Any,
    minutes: float,
    request_: BilinearizeRequest,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a checkpoint of the last step, and with none at all."""
    fit = dataclasses.replace(FIT, checkpoint_minutes=minutes)
    request = dataclasses.replace(request_, fit=fit, anneal=AnnealConfig(part=0.5, control=False))

    def killed(*_: object, **__: object) -> None:
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(owner, "save_pretrained", killed)
        with pytest.raises(KeyError):
            bilinearize(request, tmp_path / "out")
    bilinearize(request, tmp_path / "out", resume=True)
    assert weights(tmp_path / "out") == weights(out)
    assert load_tokenizer(str(tmp_path / "out")).eos_token_id == 256


def test_a_finished_copy_is_left_alone(
    request_: BilinearizeRequest, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tmp_path / "parts"
    with monkeypatch.context() as patch:
        fail_at(STEPS + 3, patch, Interrupted)
        with pytest.raises(Interrupted):
            bilinearize(request_, parts)
    stamp = (parts / "model.safetensors").stat().st_mtime_ns
    bilinearize(request_, parts, resume=True)
    assert (parts / "model.safetensors").stat().st_mtime_ns == stamp
    monkeypatch.setattr(module, "load_model", None)  # what is finished needs no model
    assert bilinearize(request_, out, resume=True) == read(out)


def test_another_request_does_not_resume(
    request_: BilinearizeRequest, out: Path, shared: Path
) -> None:
    other = dataclasses.replace(request_, anneal=AnnealConfig(part=0.4))
    with pytest.raises(QuadricError, match="was begun with another configuration"):
        bilinearize(other, out, resume=True)
    for folder in (shared / "none", shared / "llama"):
        with pytest.raises(QuadricError, match=r"made bilinear: bilinearize.json is missing$"):
            bilinearize(request_, folder, resume=True)


@pytest.mark.parametrize("kind", ["gpt2", "neox", "opt"])
def test_models_without_gated_pairs(
    kind: str, request_: BilinearizeRequest, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / kind, kind)
    with pytest.raises(QuadricError, match=r"has no gated MLP .*: there is no gate to anneal$"):
        bilinearize(dataclasses.replace(request_, model=str(folder)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_leaves_no_folder(request_: BilinearizeRequest, tmp_path: Path) -> None:
    geglu = save_tiny(tmp_path / "gemma2", "gemma2")
    wide = Path(shutil.copytree(request_.model, tmp_path / "wide"))
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<{i}>" for i in range(9)])
    tokenizer.save_pretrained(wide)
    text = dataclasses.replace(request_.text, context_size=99_999)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model": str(geglu)}, r"layer 0 is gated by .*, expected SiLU"),
        ({"model": str(wide)}, r"has 266 tokens, but the model has embeddings for 257: they do no"),
        ({"model": str(tmp_path / "none")}, r"there is no such folder"),
        ({"anneal": AnnealConfig("0,3")}, r"^there is no layer 3: the model has 3 \(0–2\)$"),
        ({"text": text}, r"context_size is 99999, but .* has 2048 positions"),
        ({"fit": dataclasses.replace(FIT, device="tpu9")}, r"device 'tpu9' cannot be used"),
    ]
    for changes, message in cases:
        with pytest.raises(QuadricError, match=message) as caught:
            bilinearize(dataclasses.replace(request_, **changes), tmp_path / "out")
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_bilinear_model_has_no_gates_left(
    request_: BilinearizeRequest, out: Path, tmp_path: Path
) -> None:
    with pytest.raises(QuadricError, match=r"layer 0 is converted already"):
        bilinearize(dataclasses.replace(request_, model=str(out)), tmp_path / "again")


def test_metrics_come_last(
    request_: BilinearizeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise QuadricError("cannot write curves.png")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save", fail)
        with pytest.raises(QuadricError, match=r"curves.png"):
            bilinearize(request_, tmp_path / "out")
    assert not (tmp_path / "out/metrics.json").exists()
    fail_at(0, monkeypatch)  # no step is taken
    assert bilinearize(request_, tmp_path / "out", resume=True)["tokens"] == STEPS * 4 * T
