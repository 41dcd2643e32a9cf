"""The README's example runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder

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
