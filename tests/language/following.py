"""Follow a page of the docs: run the ``quadric lm`` commands that it prints, on tiny models."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from quadric.cli import main
from tests.activations.tiny import save_tiny

LLAMA = "tiny-llama"
STANDS_FOR = {"smollm2-135m": LLAMA, "news+speeches+bible": "news", "news+speeches": "news"}
"""What is read in the place of what a page names."""
_TEXT = ("--context-size", "32", "--tokens", "40000")
_FIT = ("--eval-every", "9", "--lr-warmup", "2", "--dtype", "float32", "--device", "cpu")
SMALLER: dict[str, tuple[str, ...]] = {
    "train": (
        *_TEXT, *_FIT, "--steps", "9", "--lr", "0.01", "--vocab-size", "400", "--hidden-size", "24",
        "--intermediate-size", "32", "--num-hidden-layers", "4",
    ),
    "bilinearize": (*_TEXT, *_FIT, "--steps", "4", "--batch-contexts", "2", "--held-out", "4"),
    "dictionaries": (
        *_TEXT, "--steps", "20", "--batch-size", "128", "--expansion", "2", "--k", "4",
    ),
    "losses": (*_TEXT, "--held-out", "16"),
    "interactions": ("--contexts", "16"),
    "rank": ("--contexts", "16"),
    "circuits": ("--contexts", "16"),
}  # fmt: skip
"""Flags that make a command fast; of two that are given twice the last one counts."""
LAYERS = "0,2"
"""For ``--layers``: the tiny Llama has three."""


def commands(page: str) -> list[list[str]]:
    """The arguments of every ``quadric lm`` command in a page's indented blocks."""
    joined = re.sub(r"\\\n\s+", "", page)
    lines = re.findall(r"^    quadric lm (.+)$", joined, flags=re.M)
    found = [shlex.split(line, comments=True) for line in lines]
    return [arguments for arguments in found if arguments != ["--help"]]


def follow(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a page, in its order and with its folders, in the current folder."""
    save_tiny(Path(LLAMA))
    for arguments in commands(page):
        made = [STANDS_FOR.get(argument, argument) for argument in arguments]
        made += SMALLER[arguments[0]]
        if "--layers" in made:
            made += ["--layers", LAYERS]
        monkeypatch.setattr(sys, "argv", ["quadric", "lm", *made])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"quadric lm {shlex.join(made)}"
