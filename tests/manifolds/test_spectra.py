"""Spectra of latents and of mixing rows against dense eigendecompositions."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.forms import blocks
from quadric.manifolds.spectra import eigenvalues, spectra, summarise
from tests.autoencoders.test_identities import CASES, make


def dense(model, of: str) -> torch.Tensor:
    """(m, d, d): every form written out."""
    left, right = model.left.detach(), model.right.detach()
    outer = torch.einsum("ja,jb->jab", left, right)
    atoms = (outer + outer.transpose(1, 2)) / 2
    if model.config.block is not None:
        return atoms.reshape(model.d_sae, model.config.block, *atoms.shape[1:]).sum(1)
    if model.config.bottleneck is not None and of == "rows":
        return torch.einsum("bj,jxy->bxy", model.mixing.weight.detach(), atoms)
    return atoms


@pytest.fixture(params=[1 << 22, 20], ids=["one piece", "many pieces"])
def block_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", request.param)


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("of", ["latents", "rows"])
@pytest.mark.parametrize("case", CASES)
def test_spectra_equal_dense_ones(case: tuple, of: str) -> None:
    # Width 13 keeps the composites of 3 on the small-core way; 5 has them dense.
    for d_in in (13, 5):
        model = make(*case)
        if d_in == 13:
            wide = torch.randn(2, len(model.left), 13 + case[2], dtype=torch.float64)
            model.left.data, model.right.data = wide[0], wide[1]
        forms = dense(model, of)
        found = eigenvalues(model, of)
        assert found.shape[0] == len(forms)
        expected = torch.linalg.eigvalsh(forms)
        order = expected.abs().argsort(dim=-1, descending=True)
        expected = expected.gather(1, order)
        torch.testing.assert_close(
            found.abs(), expected[:, : found.shape[1]].abs(), rtol=1e-10, atol=1e-10
        )
        torch.testing.assert_close(found.sum(1), expected.sum(1), rtol=1e-10, atol=1e-10)
        facts = summarise(found)
        torch.testing.assert_close(facts.importance, forms.square().sum((1, 2)))
        total = expected.abs().sum(1)
        torch.testing.assert_close(facts.effective_rank, total**2 / expected.square().sum(1))
        torch.testing.assert_close(facts.top3_share, expected[:, :3].abs().sum(1) / total)
        scale = expected.abs().amax(1, keepdim=True)
        assert torch.equal(facts.positive, (expected > 1e-6 * scale).sum(1))
        assert torch.equal(facts.negative, (expected < -1e-6 * scale).sum(1))


@pytest.mark.parametrize("case", CASES[::3])
def test_eigenvectors_rebuild_the_chosen_latents(case: tuple) -> None:
    model = make(*case)
    chosen = [8, 0, 3]
    values, vectors = spectra(model, chosen)
    rebuilt = torch.einsum("ik,ika,ikb->iab", values, vectors, vectors)
    torch.testing.assert_close(rebuilt, dense(model, "latents")[chosen], rtol=1e-10, atol=1e-10)
    assert spectra(model).values.shape == (11, values.shape[1])
    for wrong in (11, -1):
        with pytest.raises(QuadricError, match=f"latent {wrong} is out of range: there are 11"):
            spectra(model, [0, wrong])


def test_a_zero_form_has_no_rank_and_no_nan() -> None:
    model = make("vanilla", True, False)
    model.left.data[4] = 0
    facts = summarise(eigenvalues(model))
    for name in ("importance", "effective_rank", "top3_share", "positive", "negative"):
        assert getattr(facts, name)[4] == 0
        assert getattr(facts, name).isfinite().all()
