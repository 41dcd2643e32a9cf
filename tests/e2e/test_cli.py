"""The command line on small data: what works, and what every mistake looks like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quadric.autoencoders import BilinearAutoencoder

Quadric = Callable[..., object]
QUICK = ("--steps", 20, "--batch-size", 128, "--product-dtype", "float32", "--device", "cpu")


def refused(answer: object, *words: str) -> None:
    """One clear line, nothing on standard output, a non-zero exit."""
    assert answer.status in (1, 2), answer
    assert answer.err.startswith("quadric: ") and answer.err.count("\n") == 1, answer.err
    assert answer.out == ""
    for word in words:
        assert word in answer.err, answer.err


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quadric", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "harvest" in done.stdout
    code = "import sys, quadric.cli; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert heavy.stdout.strip() == "set()", heavy


def test_train_needs_only_a_size_and_a_place(
    quadric: Quadric, activations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    answer = quadric("train", "--activations", activations, "--d-sae", 16, "--out", out, "--json")
    assert answer.status == 0, answer.err
    metrics = json.loads(answer.out)
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert (metrics["d_in"], metrics["d_sae"], metrics["variant"]) == (10, 16, "vanilla")
    assert metrics["product_error"] < 0.9 * metrics["product_error_mean_predictor"]
    assert metrics["frac_alive"] == 1.0 and metrics["ce_loss_score"] is None
    assert BilinearAutoencoder.from_pretrained(out).d_sae == 16
    again = quadric("eval", out, "--json")
    assert json.loads(again.out) == metrics
    shown = quadric("inspect", out, "--latents", 3, "--top", 2)
    assert (shown.status == 0 and "d_sae: 16" in shown.out.replace("'", "")) or "d_sae" in shown.out
    view = json.loads(quadric("inspect", out, "--latents", 3, "--top", 2, "--json").out)
    importances = [latent["importance"] for latent in view["latents"]]
    assert importances == sorted(importances, reverse=True) and len(importances) == 3
    assert view["latents"][0]["top"][0]["token"].startswith(str(activations))


@pytest.mark.parametrize("rows", [2, 3, 17])
def test_tiny_sets_train(quadric: Quadric, tmp_path: Path, rows: int) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(rows, 3)).astype("float32"))
    answer = quadric(
        "train", "--activations", tmp_path / "x.npy", "--d-sae", 5, "--steps", 5,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert "NaN" not in answer.out
    json.loads(answer.out)


def test_several_autoencoders_on_one_stream(
    quadric: Quadric, activations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    answer = quadric(
        "train", "--activations", activations, "--out", out, *QUICK, "--variant", "composite",
        "--d-sae", 6, "--block", 3, "--also", "plain:variant=vanilla,d-sae=18,affine=yes",
        "--also", "dense:density_weight=0", "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    figures = json.loads(answer.out)["autoencoders"]
    assert list(figures) == ["main", "plain", "dense"]
    assert figures["plain"]["variant"] == "vanilla" and figures["plain"]["factors"] == 18
    assert BilinearAutoencoder.from_pretrained(out / "plain").config.affine
    assert BilinearAutoencoder.from_pretrained(out / "dense").config.block == 3
    assert json.loads((out / "plain" / "metrics.json").read_text()) == figures["plain"]


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (("--d-sae", 0), 1, ("d_sae is 0, expected a positive integer",)),
        (("--d-sae", -4), 1, ("d_sae is -4",)),
        (("--d-sae", "many"), 2, ("--d-sae", "'many' is not a valid integer")),
        (("--vriant", "mixed"), 2, ("--vriant", "--variant")),
        (("--variant", "vanila"), 2, ("'vanila'", "vanilla")),
        (("--block", 3), 1, ("block does not apply to variant 'vanilla'",)),
        (("--variant", "mixed", "--d-sae", 12), 1, ("20 rows exceed d_sae 12",)),
        (("--steps", 0), 1, ("steps is 0",)),
        (("--lr", -1), 1, ("lr is -1",)),
        (("--also", "x:colour=red"), 1, ("unknown field 'colour'",)),
        (("--also", "main:d_sae=3"), 1, ("already an autoencoder 'main'",)),
        (("--also", "x:affine=maybe"), 1, ("affine is 'maybe', expected a bool",)),
        (("--also", "variant=mixed"), 1, ("expected NAME:field=value",)),
        (("--tokens", 500), 1, ("--tokens needs MODEL and DATASET",)),
        (("--loggers", "wndb"), 1, ("unknown logger 'wndb'",)),
        (("--device", "tpu"), 1, ("device 'tpu' cannot be used",)),
        (("--resume",), 1, ("is not a run: run.json is missing",)),
        (("--held-out-fraction", 1.5), 1, ("held_out_fraction is 1.5",)),
        (("--max-norm-multiple", 0.5), 1, ("max_norm_multiple is 0.5",)),
    ],
)
def test_mistakes_in_flags(
    quadric: Quadric, activations: Path, tmp_path: Path, flags: tuple[object, ...],
    status: int, words: tuple[str, ...],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    answer = quadric("train", "--activations", activations, "--out", out, *flags)
    refused(answer, *words)
    assert answer.status == status
    assert not (out / "cfg.json").exists() and not (out / "metrics.json").exists()


def test_mistakes_in_the_data(quadric: Quadric, activations: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def train(path: object) -> object:
        return quadric("train", "--activations", path, "--out", out, *QUICK)

    refused(train(tmp_path / "absent"), "absent")
    (tmp_path / "empty").mkdir()
    refused(train(tmp_path / "empty"), "empty")
    bad = np.load(activations / "a.npy")
    bad[123, 4] = np.inf
    np.save(activations / "a.npy", bad)
    refused(train(activations), "a.npy", "123")
    np.save(activations / "a.npy", bad[:, :7])
    refused(train(activations), "7", "10")
    np.save(activations / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(train(activations), "a.npy")
    (activations / "a.npy").write_bytes(b"\x93NUMPY nonsense")
    refused(train(activations), "a.npy")
    assert not out.exists() or not list(out.glob("**/cfg.json"))


def test_commands_that_make_no_sense(quadric: Quadric, tmp_path: Path) -> None:
    refused(quadric("trian"), "no command 'trian'; did you mean 'train'?")
    refused(quadric("train"), "--out")
    refused(quadric("train", "--out", tmp_path / "x"), "no data", "MODEL and DATASET")
    refused(quadric("train", "m", "--out", tmp_path / "x"), "without a DATASET")
    refused(quadric("train", "m", "d", "--activations", "a", "--out", tmp_path / "x"), "not both")
    refused(quadric("eval", tmp_path), "is not a run: run.json is missing")
    refused(quadric("inspect", tmp_path / "absent"), "is not a run")
    (tmp_path / "file").write_text("")
    refused(quadric("train", "--activations", tmp_path, "--out", tmp_path / "file"), "is a file")


def test_a_run_is_neither_replaced_nor_resumed_by_accident(
    quadric: Quadric, activations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ("train", "--activations", activations, "--out", out, *QUICK)
    assert quadric(*command).status == 0
    refused(quadric(*command), "holds a finished run", "--overwrite")
    refused(quadric(*command, "--resume"), "the run is finished")
    assert quadric(*command, "--overwrite", "--d-sae", 7).status == 0
    assert BilinearAutoencoder.from_pretrained(out).d_sae == 7
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    refused(
        quadric("train", "--activations", activations, "--out", precious, "--overwrite"), "no run"
    )
    assert (precious / "thesis.tex").exists()


def test_kill_9_then_resume_gives_the_same_bits(activations: Path, tmp_path: Path) -> None:
    """A real second process, really killed, continues to the weights of one that was not."""

    def command(out: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "quadric", "train", "--activations", str(activations),
                "--out", str(out), "--d-sae", "24", "--steps", "400", "--batch-size", "128",
                "--product-dtype", "float32", "--checkpoint-minutes", "0.000001",
                "--also", "mix:variant=combined,bottleneck=1.5", *more]  # fmt: skip

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, env=environment, capture_output=True)
    process = subprocess.Popen(command(killed), env=environment, stderr=subprocess.DEVNULL)
    checkpoints = killed / "checkpoint"
    while not (
        list(checkpoints.glob("step-*")) and max(checkpoints.glob("step-*")).name > "step-00000040"
    ):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (killed / "cfg.json").exists()
    evaluated = subprocess.run([sys.executable, "-m", "quadric", "eval", str(killed)],
                               capture_output=True, text=True)  # fmt: skip
    assert evaluated.returncode == 1 and "is not finished" in evaluated.stderr
    other = subprocess.run(command(killed, "--resume", "--lr", "0.05"), env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert other.returncode == 1
    assert "training.lr is 0.05, the run was started with None" in other.stderr
    resumed = [sys.executable, "-m", "quadric", "train", "--out", str(killed), "--resume"]
    subprocess.run(resumed, check=True, env=environment, capture_output=True)
    for name in ("sae_weights.safetensors", "mix/sae_weights.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (whole, killed))
    assert first["product_error"] == second["product_error"]


def test_a_polite_stop_says_how_to_go_on(activations: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "quadric", "train", "--activations", str(activations),
        "--d-sae", "24", "--steps", "100000", "--batch-size", "64",
        "--product-dtype", "float32", "--out", str(out),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").stat().st_size:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].endswith("continue with --resume")
    assert len(list((out / "checkpoint").glob("step-*/state.json"))) == 1
    assert not (out / "cfg.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
def test_a_full_disk_is_one_line_and_leaves_nothing_whole(
    activations: Path, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE makes every file that grows past 4 KiB fail, as a full disk would."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import torch, quadric.runs.execution\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from quadric.cli import main\n"
        "main()\n"
    )
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "--activations", str(activations), "--d-sae", "500",
         "--steps", "3", "--out", str(out)], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("quadric: cannot write") and "Traceback" not in done.stderr, done.stderr
    assert not list(out.glob("**/cfg.json")) and not list(out.glob("**/*.safetensors"))
    assert not (out / "metrics.json").exists()
