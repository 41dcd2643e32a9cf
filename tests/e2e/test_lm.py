"""``quadric lm train`` and ``quadric lm bilinearize`` as a user runs them, on tiny models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from quadric.training import log
from tests.activations.tiny import save_tiny, tiny_model, tiny_tokenizer
from tests.e2e.conftest import Answer
from tests.e2e.test_cli import refused
from tests.language.words import write

pytestmark = pytest.mark.e2e
Quadric = Callable[..., Answer]
FIT = ("--batch-contexts", 4, "--dtype", "float32", "--device", "cpu", "--context-size", 24)
SIZES = (
    "--vocab-size", 300, "--hidden-size", 16, "--intermediate-size", 24,
    "--num-hidden-layers", 2, "--num-attention-heads", 4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and one thread, as the second processes have."""
    monkeypatch.setenv("QUADRIC_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write(tmp_path / "text.txt")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A random Llama whose embedding is its head."""
    model = tiny_model("llama").float()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "llama")
    tiny_tokenizer().save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def broken_off(arguments: tuple[Any, ...], folder: Path, number: signal.Signals) -> Any:
    """Run a command in a process of its own and end it by a signal after a few steps."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quadric", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 300
    while not list(folder.glob("checkpoint/step-0000000[2-9]")):
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    return Answer(process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_train_broken_off_goes_on_to_the_same_weights(
    number: signal.Signals, quadric: Quadric, text: Path, tmp_path: Path
) -> None:
    command = (
        "lm", "train", text, *SIZES, *FIT, "--steps", 60, "--eval-every", 25,
        "--checkpoint-minutes", 1e-9, "--out",
    )  # fmt: skip
    out = tmp_path / "out"
    ended = broken_off((*command, out), out, number)
    if number == signal.SIGTERM:
        assert ended.status == 130 and ended.out == ""
        first, *_, last = ended.err.splitlines()
        assert first.startswith("step 0: loss ") and "held out" in first
        assert last.startswith("quadric: stopped after ") and "continue with --resume" in last
    else:
        assert ended.status == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    refused(quadric(*command, out), "is not empty", "--resume")
    refused(quadric("lm", "train", "--out", out, "--resume", "--lr", 0.1), "leave out --lr")
    refused(quadric("lm", "train", text, "--out", out, "--resume"), "leave out", "text.txt")
    done = quadric("lm", "train", "--out", out, "--resume", "--json")
    assert done.status == 0, done.err
    metrics = json.loads(done.out)
    assert metrics == json.loads((out / "metrics.json").read_text()) and metrics["step"] == 60
    assert quadric(*command, tmp_path / "whole").status == 0
    assert weights(out) == weights(tmp_path / "whole")
    logs = [log.read(folder / log.LOG) for folder in (out, tmp_path / "whole")]
    for one, other in zip(*logs, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    again = quadric("lm", "train", "--out", out, "--resume")
    assert again.status == 0 and f"{metrics['loss']:.4f}" in again.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_bilinearize_broken_off_goes_on_to_the_same_weights(
    number: signal.Signals, quadric: Quadric, text: Path, llama: Path, tmp_path: Path
) -> None:
    command = (
        "lm", "bilinearize", llama, text, *FIT, "--steps", 40, "--eval-every", 20, "--layers",
        "0-1", "--checkpoint-minutes", 1e-9, "--out",
    )  # fmt: skip
    out = tmp_path / "out"
    ended = broken_off((*command, out), out / "annealed", number)
    assert ended.status == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        shown = ended.err.splitlines()
        assert shown[0] == "annealed: 40 steps" and shown[1].endswith("β 1.00")
    refused(quadric("lm", "bilinearize", llama, "--out", out, "--resume"), "leave out", "llama")
    done = quadric("lm", "bilinearize", "--out", out, "--resume", "--json")
    assert done.status == 0, done.err
    whole = quadric(*command, tmp_path / "whole")
    assert whole.status == 0 and "layers 0-1 are exactly bilinear" in whole.out, whole.err
    assert weights(out) == weights(tmp_path / "whole")
    one, other = (
        json.loads((folder / "metrics.json").read_text()) for folder in (out, tmp_path / "whole")
    )
    for name in ("loss_before", "loss_abrupt", "loss_bilinear", "loss_control", "gap", "betas"):
        assert one[name] == other[name], name


def test_what_was_trained_is_a_model_for_every_command(
    quadric: Quadric, text: Path, llama: Path, tmp_path: Path
) -> None:
    steps = (*FIT, "--steps", 4, "--eval-every", 2)
    made = {
        tmp_path / "new": ("train", text, *SIZES, "--gate", "relu"),
        tmp_path / "whole": ("bilinearize", llama, text),
        tmp_path / "part": ("bilinearize", llama, text, "--layers", "0,2", "--no-control"),
    }
    for folder, command in made.items():
        answer = quadric("lm", *command, *steps, "--out", folder)
        assert answer.status == 0, answer.err
        assert str(folder) in answer.out and "held-out loss" in answer.out
        read = (
            folder, text, "--tokens", 2048, "--context-size", 16, "--hook",
            "blocks.1.hook_resid_pre", "--dtype", "float32", "--device", "cpu",
        )  # fmt: skip
        harvested = quadric("harvest", *read, "--out", tmp_path / f"acts-{folder.name}", "--json")
        assert harvested.status == 0, harvested.err
    trained = quadric(
        "train", *read, "--steps", 3, "--batch-size", 64, "--d-sae", 20,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    assert json.loads(trained.out)["d_in"] == 12
    # Its tokeniser serves another model, whose size it then decides.
    answer = quadric(
        "lm", "train", text, *SIZES[2:], *steps, "--tokenizer", tmp_path / "new",
        "--out", tmp_path / "other",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert json.loads((tmp_path / "other/config.json").read_text())["vocab_size"] == 300


def test_what_is_wrong_is_said_in_one_line(
    quadric: Quadric, text: Path, llama: Path, tmp_path: Path
) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "blank.txt").write_text("\n \n")

    def train(*flags: object) -> Answer:
        return quadric("lm", "train", text, *SIZES, *FIT, *flags, "--out", out)

    def bilinear(model: object, *flags: object) -> Answer:
        return quadric("lm", "bilinearize", model, text, *FIT, "--steps", 2, *flags, "--out", out)

    refused(train("--gate", "swiglu"), "swiglu", "identity", "silu")
    refused(train("--num-attention-heads", 3), "hidden_size is 16, expected a multiple of 2 × 3")
    refused(train("--num-key-value-heads", 3), "num_key_value_heads is 3", "4 heads")
    refused(train("--vocab-size", 200), "vocab_size is 200", "257")
    refused(train("--tokenizer", llama), "--vocab-size", "--tokenizer")
    refused(train("--steps", 0), "steps is 0")
    refused(train("--micro-batch", 5), "micro_batch is 5, expected 1 to 4")
    refused(train("--step", 3), "--step")
    refused(train("--tokens", 30), "more tokens")
    refused(train("--split", "test"), "has no split 'test'")
    refused(train("--device", "tpu9"), "device 'tpu9'")
    refused(quadric("lm", "train", tmp_path / "blank.txt", "--out", out), "holds no text")
    refused(quadric("lm", "train", tmp_path / "none.txt", "--out", out), "no such file")
    refused(quadric("lm", "train", "--out", empty, "--resume"), "training.json is missing")
    refused(quadric("lm", "train", "--out", out, "--resume"), "training.json is missing")
    refused(quadric("lm", "train", text, "--out", llama), "is not empty", "--resume")
    refused(quadric("lm", "train", text, "--out", text), "text.txt")
    refused(quadric("lm", "trian"), "no command 'trian'", "did you mean 'train'")

    refused(bilinear(save_tiny(tmp_path / "gpt2", "gpt2")), "GPT2LMHeadModel has no gated MLP")
    refused(bilinear(save_tiny(tmp_path / "bert", "bert")), "no gated MLP")
    refused(bilinear(save_tiny(tmp_path / "gemma2", "gemma2")), "expected SiLU")
    refused(bilinear(tmp_path / "none"), "there is no such folder")
    refused(bilinear(llama, "--layers", "3"), "there is no layer 3: the model has 3 (0–2)")
    refused(bilinear(llama, "--layers", "2-1"), "layers is '2-1', expected numbers such as")
    refused(bilinear(llama, "--part", 2), "part is 2, expected 0 to 1")
    refused(bilinear(llama, "--anneal", "constant"), "constant", "linear")
    refused(bilinear(llama, "--context-size", 99_999), "has 32 positions")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<more>", "<tokens>"])
    tokenizer.save_pretrained(tmp_path / "gpt2")
    wide = save_tiny(tmp_path / "wide")
    tokenizer.save_pretrained(wide)
    refused(bilinear(wide), "has 259 tokens, but the model has embeddings for 257")
    refused(quadric("lm", "bilinearize", "--out", out), "give the MODEL")
    refused(quadric("lm", "bilinearize", "--out", empty, "--resume"), "bilinearize.json is missing")
    refused(quadric("lm", "bilinearize", llama, text, "--out", llama), "is not empty")
    assert not out.exists() and not list(empty.iterdir())


def test_a_gated_transformer_has_other_mlps_than_swiglu(
    quadric: Quadric, text: Path, tmp_path: Path
) -> None:
    """Its layers are this package's own: a bilinear one has no gate that could be removed."""
    new = tmp_path / "new"
    answer = quadric("lm", "train", text, *SIZES, *FIT, "--steps", 1, "--out", new)
    assert answer.status == 0, answer.err
    refused(quadric("lm", "bilinearize", new, text, "--out", tmp_path / "x"), "no gated MLP")


def test_a_run_that_diverges_says_what_to_do(quadric: Quadric, text: Path, tmp_path: Path) -> None:
    answer = quadric(
        "lm", "train", text, *SIZES, *FIT, "--steps", 200, "--lr", 1e6, "--lr-warmup", 0,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert answer.status == 1 and answer.out == ""
    last = answer.err.splitlines()[-1]
    assert last.startswith("quadric: the language model") and "lower the learning rate" in last
