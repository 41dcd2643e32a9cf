"""What a topk autoencoder remembers: a batch's budget and its threshold, and dead latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.sparsity import DEAD_STEPS, REVIVED, REVIVED_ROWS, Active, TopK
from tests.autoencoders.test_identities import activations
from tests.autoencoders.test_topk import K, make
from tests.oracles import autoencoders as oracle
from tests.oracles import sparse as sparse_oracle

STEPS = "quadric.autoencoders.sparsity.DEAD_STEPS"


def unit(model: BilinearAutoencoder, x: Tensor) -> Tensor:
    lifted = torch.stack([oracle.lifted_input(model, row) for row in x])
    return lifted / lifted.norm(dim=1, keepdim=True)


def selected(model: BilinearAutoencoder, x: Tensor, *, shared: bool) -> Active:
    assert model.topk is not None
    return model.topk.select(unit(model, x), model.left, model.right, shared=shared)


def test_a_batch_shares_its_budget() -> None:
    model, x = make(d_sae=40, batch_topk=True), activations(30)
    active = selected(model, x, shared=True)
    on = active.indices >= 0
    counts = on.sum(1)
    assert counts.sum() == 30 * K and counts.max() > K > counts.min()
    assert counts.max() <= 4 * K and active.indices.shape == (30, 4 * K)
    assert not active.latents[~on].any()
    z = (unit(model, x) @ model.left.T) * (unit(model, x) @ model.right.T)
    own = torch.zeros_like(z).scatter(1, active.indices.clamp_min(0), 1)
    own[:, 0] = (active.indices == 0).any(1)
    torch.testing.assert_close(active.latents[on], z.gather(1, active.indices.clamp_min(0))[on])
    # No row is at its cap here, so the budget takes the largest of the whole batch.
    assert counts.max() < 4 * K
    assert z[own > 0].abs().min() > z[own == 0].abs().max()


def test_no_row_keeps_more_than_four_times_k() -> None:
    model, x = make(d_sae=40, batch_topk=True), activations(12)
    model.left.data[:20] *= 5
    loud = x.clone()
    loud[1:] = model.transform.mean + 1e-3 * loud[1:]  # with norm none, all but one are faint
    rows = (loud - model.transform.mean).detach()
    assert model.topk is not None
    active = model.topk.select(rows, model.left, model.right, shared=True)
    assert (active.indices[0] >= 0).sum() == 4 * K
    assert (active.indices >= 0).sum() == 12 * K


def test_the_loss_of_a_shared_budget() -> None:
    model, x = make(d_sae=40, batch_topk=True), activations(20)
    active = selected(model, x, shared=True)
    expected = sparse_oracle.squared_errors(
        unit(model, x), model.left.detach(), model.right.detach(), active.indices
    )
    loss = model.loss(x, 0)
    torch.testing.assert_close(loss.error, expected.mean(), rtol=1e-10, atol=1e-10)
    loss.total.backward()
    used = active.indices[active.indices >= 0].unique()
    assert (model.left.grad[used].abs().sum(1) > 0).all()
    alone = make(d_sae=40).product_error(x).mean()
    assert abs(loss.error - alone) > 1e-3


def test_the_threshold_follows_the_least_that_was_kept() -> None:
    model = make(d_sae=40, batch_topk=True)
    assert model.topk is not None and model.topk.threshold == 0
    least = []
    for seed in (1, 2, 3):
        x = activations(20, seed)
        model.loss(x, 0)
        z = (unit(model, x) @ model.left.T) * (unit(model, x) @ model.right.T)
        capped = z.abs().topk(4 * K, dim=1).values
        least.append(capped.flatten().sort(descending=True).values[20 * K - 1])
    expected = least[0]
    for each in least[1:]:
        expected = 0.99 * expected + 0.01 * each
    torch.testing.assert_close(model.topk.threshold, expected)
    before = model.topk.threshold.clone()
    model.eval().loss(activations(20), 0)  # outside training nothing is learnt
    model.encode(activations(20))
    assert model.topk.threshold == before and model.topk.silent.max() <= 3


def test_outside_training_the_threshold_decides() -> None:
    model, x = make(d_sae=40, batch_topk=True), activations(200)
    model.loss(x, 0)
    model.eval()
    latents = model.encode(x)
    counts = (latents != 0).sum(1)
    assert counts.double().mean().item() == pytest.approx(K, abs=0.05)
    assert counts.max() <= 4 * K and counts.min() < K
    # A row's latents do not depend on the rows beside it.
    torch.testing.assert_close(model.encode(x[7]), latents[7])
    assert model.topk is not None
    size = unit(model, x).square().sum(1, keepdim=True)
    above = latents.abs() > model.topk.threshold * size
    assert (above == (latents != 0)).all()
    error = sparse_oracle.squared_errors(
        unit(model, x),
        model.left.detach(),
        model.right.detach(),
        model.encode_sparse(x).indices,
    )
    torch.testing.assert_close(model.product_error(x), error, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.loss(x, 0).error, error.mean())


def test_without_a_budget_training_and_evaluation_keep_the_same() -> None:
    model, x = make(d_sae=40), activations(9)
    one, other = (selected(model, x, shared=kind) for kind in (True, False))
    assert torch.equal(one.indices, other.indices)
    assert model.topk is not None and model.topk.threshold == 0


def test_silence_is_counted_in_training_steps() -> None:
    model, x = make(d_sae=40), activations(3)
    assert model.topk is not None
    first = selected(model, x, shared=True).indices.unique()
    for _ in range(4):
        model.loss(x, 0)
    silent = model.topk.silent.clone()
    assert (silent[first] == 0).all()
    rest = torch.ones(40, dtype=torch.bool).index_fill(0, first, False)
    assert (silent[rest] == 4).all() and rest.any()
    model.eval().loss(x, 0)
    model.product_error(x)
    assert torch.equal(model.topk.silent, silent)
    topk = TopK(5, 2, batch=True)
    topk.remember(Active(torch.tensor([[3, -1]]), torch.ones(1, 2)))
    assert topk.silent.tolist() == [1, 1, 1, 0, 1]  # −1 is no latent


def deadened(**changes: object) -> tuple[BilinearAutoencoder, Tensor]:
    """An autoencoder of 40 latents, the last 30 of them too faint to be kept."""
    model = make(d_sae=40, **changes)
    model.left.data[10:] *= 1e-2
    return model, activations(16)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_dead_latents_share_what_the_live_ones_leave(
    symmetric: bool, batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STEPS, 2)
    model, x = deadened(symmetric=symmetric, batch_topk=batch)
    for step in range(2):
        loss = model.loss(x, step)
        assert torch.equal(loss.total, loss.error)  # nothing is dead yet
    model.loss(x, 2).error.backward()
    assert model.left.grad is not None and not model.left.grad[10:].any()
    alone, model.left.grad, model.right.grad = model.left.grad, None, None
    loss = model.loss(x, 3)
    loss.total.backward()
    y, active = unit(model, x), selected(model, x, shared=True)
    live = torch.isin(torch.arange(40), active.indices)
    # Of sixteen rows each fourth stands for four.
    y, active = y[::REVIVED_ROWS], Active(*(each[::REVIVED_ROWS] for each in active))
    assert len(y) == 4
    z = ((y @ model.left.T) * (y @ model.right.T)).abs()
    dead = torch.where(live, -1.0, z).topk(2 * K, 1).indices
    left, right = (f.detach().requires_grad_() for f in (model.left, model.right))
    rest = (
        sparse_oracle.squared_errors(
            y,
            left,
            right,
            torch.cat([active.indices, dead], dim=1),
            symmetric=symmetric,
            held=active.latents,
        ).sum()
        * REVIVED_ROWS
    )
    size = loss.error.detach() * len(x)
    torch.testing.assert_close(loss.total - loss.error, REVIVED * rest / size)
    assert rest.item() == pytest.approx(size.item(), rel=0.5)  # so the weight is a share
    expected = REVIVED * torch.autograd.grad(rest, left)[0] / size
    reached = dead.unique()
    assert (model.left.grad[reached].abs().sum(1) > 0).all() and len(reached) > 2 * K
    torch.testing.assert_close(model.left.grad[~live], expected[~live])
    torch.testing.assert_close(model.left.grad[live], alone[live])  # the live ones feel nothing


def test_only_some_candidates_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS, 0)
    monkeypatch.setattr("quadric.autoencoders.sparsity.CANDIDATES", 4)
    model, x = deadened()
    model.loss(x, 0)
    reached = []
    for step in (1, 2):
        model.left.grad = model.right.grad = None
        model.loss(x, step).total.backward()
        assert model.left.grad is not None
        reached.append(model.left.grad[10:].any(1).nonzero().flatten().tolist())
        assert len(reached[-1]) == 4
    assert reached[0] != reached[1]  # drawn anew in every step


def test_no_revival_outside_training_or_while_all_are_alive() -> None:
    model, x = deadened()
    assert model.topk is not None
    model.topk.silent += DEAD_STEPS
    loss = model.eval().loss(x, 0)
    assert torch.equal(loss.total, loss.error)
    loss = model.train().loss(x, 0)
    assert loss.total > loss.error
    model.topk.silent.zero_()
    loss = model.loss(x, 0)
    assert torch.equal(loss.total, loss.error)


def few_features(rows: int, seed: int) -> Tensor:
    """Sums of two of eight directions, so that two live latents leave much over."""
    generator = torch.Generator().manual_seed(9)
    directions = torch.linalg.qr(torch.randn(10, 10, generator=generator)).Q[:8]
    generator.manual_seed(seed)
    on = torch.rand(rows, 8, generator=generator).argsort(1) < 2
    return (on * (0.5 + torch.rand(rows, 8, generator=generator))) @ directions


@pytest.mark.parametrize("revived", [True, False])
def test_dead_latents_come_alive_and_without_revival_do_not(
    revived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STEPS, 3 if revived else 10**6)
    config = AutoencoderConfig(d_in=10, d_sae=24, k=4, variant="topk", centre=False)
    model = BilinearAutoencoder(config)
    model.left.data[6:] *= 1e-3
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(150):
        optimiser.zero_grad()
        model.loss(few_features(64, step), step).total.backward()
        optimiser.step()
    model.eval()
    x = few_features(500, 10**6)
    alive = (model.encode(x)[:, 6:] != 0).any(0).sum().item()
    error = model.product_error(x).mean().item()
    if revived:
        assert alive >= 6 and error < 0.35
    else:
        assert alive == 0 and error > 0.4
