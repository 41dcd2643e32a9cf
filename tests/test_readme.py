"""The code in the README and in the docs runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.vision import Recipe, train
from tests.language.following import follow

README = Path(__file__).parents[1] / "README.md"


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AutoencoderConfig(d_in=8, d_sae=6, variant="composite")
    BilinearAutoencoder(config).save_pretrained(tmp_path / "runs" / "demo")
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["latents"].shape == (3, 6)
    assert names["x_hat"].shape == (3, 8)
    assert names["error"].shape == (3,)
    form = names["sae"].tensor([0]).interaction(torch.ones(1))
    for value, axis in zip(names["values"], names["axes"], strict=True):
        torch.testing.assert_close(form @ axis, value * axis)
    assert (tmp_path / "mine" / "cfg.json").exists()


@pytest.mark.parametrize(
    "page", sorted((README.parent / "docs").glob("*.md")), ids=lambda p: p.stem
)
def test_every_block_of_the_docs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = AutoencoderConfig(d_in=8, d_sae=6, variant="composite")
    BilinearAutoencoder(config).save_pretrained(tmp_path / "runs" / "demo")
    if "runs/digits" in page.read_text():
        train(Recipe(dataset="digits"), tmp_path / "runs" / "digits")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    if page.stem == "language-models":
        follow(page.read_text(), monkeypatch)
        capsys.readouterr()
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S):
        exec(block, {})
        assert capsys.readouterr().out or "print" not in block


def test_no_page_points_at_a_file_that_is_not_there() -> None:
    pages = [README, *(README.parent / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"
