"""Training the topk variant: it finds planted atoms, revives the dead, and resumes bit for bit."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import Interrupted
from quadric.training import checkpoint, log, train
from tests.training.test_loop import CONFIG, D, Stopping, source, weights

AUTOENCODERS = {
    "main": AutoencoderConfig(d_in=D, d_sae=40, variant="topk", k=4),
    "shared": AutoencoderConfig(d_in=D, d_sae=40, variant="topk", k=4, batch_topk=True),
    "plain": AutoencoderConfig(d_in=D, d_sae=20),
}
DIRECTIONS = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(5))).Q[:8]


def sparse_rows(rows: int = 4000) -> Tensor:
    """One of eight orthonormal directions a row, or two, of either sign."""
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randint(8, (2, rows), generator=generator)
    signs = torch.randint(2, (2, rows, 1), generator=generator) * 2 - 1
    faint = 0.5 * (torch.rand(rows, 1, generator=generator) < 0.2)
    return signs[0] * DIRECTIONS[first] + faint * signs[1] * DIRECTIONS[second]


@pytest.mark.parametrize("batch", [False, True])
def test_planted_atoms_are_recovered(batch: bool, tmp_path: Path) -> None:
    autoencoders = {
        f"seed{seed}": AutoencoderConfig(
            d_in=D, d_sae=24, variant="topk", k=3, batch_topk=batch, centre=False, seed=seed
        )
        for seed in (0, 1)
    }
    config = dataclasses.replace(CONFIG, steps=250, eval_every=250, optimizer="muon", lr=0.05)
    rows = ShuffledRows(MemoryRows(sparse_rows()), batch_size=64, seed=3, max_norm_multiple=None)
    models = train(rows, autoencoders, config, tmp_path)
    lines = log.read(tmp_path / log.LOG)
    for name, autoencoder in autoencoders.items():
        assert lines[-1][f"{name}/held_out_error"] < 0.2 * lines[0][f"{name}/error"]
        assert lines[-1][f"{name}/density_weight"] == 0
        assert likeness(BilinearAutoencoder(autoencoder)).max() < 0.9
    # From so few starts two directions may end in one atom; half of them have one of their own.
    assert sum(int((likeness(model) > 0.95).sum()) for model in models.values()) >= 8


def likeness(model: BilinearAutoencoder) -> Tensor:
    """The largest |cosine| between each planted atom and any latent's form."""
    left, right = model.left.detach(), model.right.detach()
    forms = left[:, :, None] * right[:, None, :]
    forms = forms + forms.mT
    forms = forms / forms.norm(dim=(1, 2), keepdim=True)
    planted = DIRECTIONS[:, :, None] * DIRECTIONS[:, None, :]
    return torch.einsum("pij,aij->pa", planted, forms).abs().amax(1)


@pytest.mark.parametrize("steps", [4, 10**6], ids=["revived", "not revived"])
def test_resuming_is_bit_identical(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.autoencoders.sparsity.DEAD_STEPS", steps)
    monkeypatch.setattr("quadric.autoencoders.sparsity.CANDIDATES", 6)
    train(source(), AUTOENCODERS, CONFIG, tmp_path / "whole")
    with pytest.raises(Interrupted, match=r"stopped after 1[1-4] of 30 steps"):
        train(Stopping(14, signal.SIGINT), AUTOENCODERS, CONFIG, tmp_path / "parts")  # type: ignore[arg-type]
    newest = checkpoint.newest(tmp_path / "parts")
    assert newest is not None
    silent = load_file(newest / "main.safetensors")["model.topk.silent"]
    assert silent.dtype == torch.int32 and silent.max() >= 4 and silent.min() == 0
    assert "model.topk.silent" not in load_file(newest / "plain.safetensors")
    train(source(), AUTOENCODERS, CONFIG, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    logs = [log.read(tmp_path / name / log.LOG) for name in ("parts", "whole")]
    for parts, whole in zip(*logs, strict=True):
        assert parts | {"seconds": 0} == whole | {"seconds": 0}
    last = logs[0][-1]
    held = source().held_out(40)
    for name, folder in (("main", "."), ("shared", "shared"), ("plain", "plain")):
        model = BilinearAutoencoder.from_pretrained(tmp_path / "parts" / folder)
        assert last[f"{name}/held_out_error"] == pytest.approx(
            model.product_error(held).mean().item(), rel=1e-5
        )
        assert last[f"{name}/held_out_density"] == pytest.approx(model.density(held).item())


def test_what_is_remembered_matters_for_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting how long latents were silent gives other weights: the test above can see it."""
    monkeypatch.setattr("quadric.autoencoders.sparsity.DEAD_STEPS", 4)
    one = {"main": AUTOENCODERS["main"]}
    train(source(), one, CONFIG, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(Stopping(14, signal.SIGINT), one, CONFIG, tmp_path / "parts")  # type: ignore[arg-type]
    original = checkpoint.load

    def forgetful(*arguments: object) -> object:
        found = original(*arguments)  # type: ignore[arg-type]
        arguments[1][0].model.topk.silent.zero_()  # type: ignore[index]
        return found

    monkeypatch.setattr(checkpoint, "load", forgetful)
    train(source(), one, CONFIG, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") != weights(tmp_path / "whole")
