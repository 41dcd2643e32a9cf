"""The loop of language models: what a step is, and what is measured and shown."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch.nn import functional

from quadric.errors import QuadricError
from quadric.language.config import FitConfig
from quadric.language.loop import batch_of, fit, held_out_loss, read_points
from quadric.training import checkpoint
from tests.language.trained import CONFIG, T, V, cross_entropy, lines, model, rows

CPU = torch.device("cpu")


@given(st.integers(1, 19), st.integers(1, 25), st.integers(0, 5))
def test_each_pass_reads_every_context_once(contexts: int, batch: int, seed: int) -> None:
    table = torch.arange(contexts)[:, None].expand(contexts, 2)
    config = FitConfig(batch_contexts=batch, seed=seed)
    passes = 3
    steps = [batch_of(table, config, step)[:, 0] for step in range(-(-passes * contexts // batch))]
    assert all(len(step) == batch for step in steps)
    stream = torch.cat(steps)
    for turn in range(passes):
        one = stream[turn * contexts : (turn + 1) * contexts]
        assert torch.equal(one.sort().values, torch.arange(contexts))


def test_the_order_of_contexts_is_the_seed_s_alone() -> None:
    table = torch.arange(40)[:, None]

    def first_pass(seed: int, begin: int = 0) -> list[int]:
        config = FitConfig(batch_contexts=8, seed=seed, steps=1 + seed, lr=0.1 + seed)
        torch.manual_seed(begin)  # the global generator has no part in it
        return torch.cat([batch_of(table, config, begin + i) for i in range(5)])[:, 0].tolist()

    assert first_pass(0) == first_pass(0) != first_pass(1)
    assert first_pass(0) != first_pass(0, begin=5)  # another pass, another order
    assert first_pass(0) != list(range(40))


@pytest.mark.parametrize("tied", [False, True])
def test_a_step_is_adamw_on_the_next_token_cross_entropy(tied: bool, tmp_path: Path) -> None:
    """Three steps by hand: warm-up, clipping, bias correction, decay of matrices alone."""
    config = dataclasses.replace(
        CONFIG, steps=3, lr=0.02, lr_warmup=1, weight_decay=0.3, max_grad_norm=0.7, eval_every=3
    )
    data, trained = rows(), model(tied=tied)
    hand = copy.deepcopy(trained)
    weights = list(hand.parameters())
    first = [torch.zeros_like(w, dtype=torch.float64) for w in weights]
    second = [torch.zeros_like(w, dtype=torch.float64) for w in weights]
    expected = []
    for step, rate in enumerate([0.01, 0.02, 0.01]):
        loss = cross_entropy(hand, batch_of(data.train, config, step))
        gradients = [g.double() for g in torch.autograd.grad(loss, weights)]
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        assert norm > 0.7  # clipping does something
        clipped = [g * 0.7 / norm for g in gradients]
        for w, g, m, v in zip(weights, clipped, first, second, strict=True):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.95).add_(0.05 * g.square())
            m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.95 ** (step + 1))
            decayed = w.double() * (1 - rate * 0.3 * (w.ndim > 1))
            with torch.no_grad():
                w.copy_(decayed - rate * m_hat / (v_hat.sqrt() + 1e-8))
        expected.append((loss.item(), rate, norm))
    points = fit(trained, data, config, tmp_path)
    for line, (loss, rate, norm) in zip(lines(tmp_path), expected, strict=False):
        assert line["loss"] == pytest.approx(loss, rel=1e-5)
        assert line["lr"] == pytest.approx(rate) and line["grad_norm"] == pytest.approx(norm, 1e-4)
    for (name, got), want in zip(trained.named_parameters(), weights, strict=True):
        # Where a gradient is all but zero its sign is rounding; no step is longer than the rate.
        wrong = (got - want).abs() > 1e-4
        assert wrong.float().mean() < 0.01, name
    assert points[-1].loss == pytest.approx(cross_entropy(hand, data.held_out).item(), rel=1e-4)


def test_held_out_loss_is_the_mean_over_all_next_tokens(tmp_path: Path) -> None:
    data, subject = rows(), model(attention_dropout=0.5).train()
    expected = cross_entropy(copy.deepcopy(subject).eval(), data.held_out).item()
    for micro in (None, 1, 3):
        config = dataclasses.replace(CONFIG, micro_batch=micro)
        found = held_out_loss(subject, data, config, CPU)
        assert found == pytest.approx(expected, rel=1e-5)
        assert subject.training  # as it was
    subject.eval()
    held_out_loss(subject, data, CONFIG, CPU)
    assert not subject.training
    points = fit(subject, data, CONFIG, tmp_path)
    assert points[0].loss == pytest.approx(expected, rel=1e-5)
    assert points[-1].loss == held_out_loss(subject, data, CONFIG, CPU)


def test_evaluations_are_numbered_by_finished_steps(tmp_path: Path) -> None:
    points = fit(model(), rows(), CONFIG, tmp_path)
    assert [point.step for point in points] == [0, 4, 8, 9]
    assert [point.tokens for point in points] == [step * 5 * T for step in (0, 4, 8, 9)]
    assert points == read_points(tmp_path)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == list(range(10))
    assert all(("loss" in line) == (line["step"] < 9) for line in found)
    assert not (tmp_path / checkpoint.FOLDER).exists()


def test_fewer_contexts_than_a_step_takes_are_read_again(tmp_path: Path) -> None:
    data = rows(contexts=3)
    points = fit(model(), data, CONFIG, tmp_path)
    assert points[-1].tokens == 9 * 5 * T
    expected = cross_entropy(model(), batch_of(data.train, CONFIG, 0)).item()
    assert lines(tmp_path)[0]["loss"] == pytest.approx(expected, rel=1e-5)


def gradients(
    config: FitConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[torch.Tensor]:
    """Those of the first step."""
    found: list[torch.Tensor] = []
    original = torch.nn.utils.clip_grad_norm_

    def spy(parameters: Any, bound: float) -> torch.Tensor:
        parameters = list(parameters)
        found.extend(p.grad.clone() for p in parameters)
        return original(parameters, bound)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    fit(model(), rows(), dataclasses.replace(config, steps=1), folder)
    monkeypatch.undo()
    return found


def test_small_batches_add_up_to_the_same_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gradients(CONFIG, tmp_path, monkeypatch)
    subject = model()
    cross_entropy(subject, batch_of(rows().train, CONFIG, 0)).backward()
    for got, parameter in zip(whole, subject.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-4, atol=1e-6)
    for micro in (1, 2, 3, 5):  # 5 contexts: 2 + 2 + 1, 3 + 2
        config = dataclasses.replace(CONFIG, micro_batch=micro)
        parts = gradients(config, tmp_path, monkeypatch)
        for got, want in zip(parts, whole, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
        assert lines(tmp_path)[0]["loss"] == pytest.approx(cross_entropy(
            model(), batch_of(rows().train, CONFIG, 0)).item(), rel=1e-5)  # fmt: skip


def test_bfloat16_computes_coarsely_and_keeps_its_weights_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[torch.dtype]] = []
    logits: list[torch.dtype] = []
    original = checkpoint.save

    def spy(run: Path, progress: Any, members: Any, extra: Any) -> None:
        (member,) = members
        state = member.optimizer.state_dict()["state"].values()
        moments = {v.dtype for values in state for k, v in values.items() if k != "step"}
        seen.append(moments | {p.dtype for p in member.model.parameters()})
        original(run, progress, members, extra)

    monkeypatch.setattr(checkpoint, "save", spy)
    subject = model()
    subject.model.layers[0].mlp.register_forward_hook(lambda *a: logits.append(a[-1].dtype))
    config = dataclasses.replace(CONFIG, dtype="bfloat16", checkpoint_minutes=1e-9)
    coarse = fit(subject, rows(), config, tmp_path / "coarse")
    assert len(seen) == 9 and set.union(*seen) == {torch.float32}
    assert set(logits) == {torch.bfloat16}
    fine = fit(model(), rows(), CONFIG, tmp_path / "fine")
    for one, other in zip(coarse, fine, strict=True):
        assert one.loss != other.loss and one.loss == pytest.approx(other.loss, rel=0.02)
    # Half the steps would be lost on weights of eight bits.
    assert any(not torch.equal(p, p.bfloat16().float()) for p in subject.parameters())


def test_a_coarse_model_is_trained_in_float32(tmp_path: Path) -> None:
    subject = model().bfloat16()
    fit(subject, rows(), CONFIG, tmp_path)
    assert {p.dtype for p in subject.parameters()} == {torch.float32}


def test_before_comes_before_the_evaluation_and_the_step(tmp_path: Path) -> None:
    subject, data, called = model(), rows(), []

    def before(step: int) -> dict[str, float]:
        called.append(step)
        if step in (4, 9):  # a model that guesses evenly
            with torch.no_grad():
                subject.model.norm.weight.zero_()
        return {"mark": float(step)}

    fit(subject, data, CONFIG, tmp_path, before=before)
    found = lines(tmp_path)
    assert called == list(range(10)) == [line["mark"] for line in found]
    for step in (4, 9):
        assert found[step]["held_out_loss"] == pytest.approx(math.log(V), rel=1e-6)
    assert found[4]["loss"] == pytest.approx(math.log(V), rel=1e-6)
    assert found[0]["held_out_loss"] != pytest.approx(math.log(V), rel=1e-6)


def test_a_loss_that_is_not_finite_stops_at_once(tmp_path: Path) -> None:
    subject = model()

    def before(step: int) -> dict[str, float]:
        if step == 3:
            with torch.no_grad():
                subject.model.norm.weight[0] = math.nan
        return {}

    with pytest.raises(QuadricError, match=r"^the language model: the error is not finite at st"):
        fit(subject, rows(), CONFIG, tmp_path, before=before)
    assert len(lines(tmp_path)) == 3


def test_worse_than_guessing_for_long_is_divergence(tmp_path: Path) -> None:
    """Logits a hundred times too large score far above ln V, and a rate of 0 leaves them there."""
    config = dataclasses.replace(CONFIG, steps=60, lr=1e-12, eval_every=60)
    subject = model()
    with torch.no_grad():
        subject.model.norm.weight.mul_(100)
    with pytest.raises(QuadricError, match=r"^the language model diverged: .* lower the learning"):
        fit(subject, rows(), config, tmp_path)
    assert len(lines(tmp_path)) == 29
    near = model()
    with torch.no_grad():
        near.model.norm.weight.mul_(1.2)
    assert 1.0 < cross_entropy(near, rows().held_out) / math.log(V) < 1.5
    fit(near, rows(), config, tmp_path)


def test_frozen_weights_stay(tmp_path: Path) -> None:
    subject = model(tied=False)
    subject.model.embed_tokens.weight.requires_grad_(False)
    fit(subject, rows(), CONFIG, tmp_path)
    before, after = model(tied=False), subject
    assert torch.equal(after.model.embed_tokens.weight, before.model.embed_tokens.weight)
    assert not torch.equal(after.lm_head.weight, before.lm_head.weight)


def test_without_a_terminal_each_evaluation_is_one_line(tmp_path: Path) -> None:
    shown = io.StringIO()
    points = fit(model(), rows(), CONFIG, tmp_path, console=Console(file=shown, width=40))
    found = shown.getvalue().splitlines()
    assert [line.partition(":")[0] for line in found] == ["step 0", "step 4", "step 8", "step 9"]
    for line, point in zip(found, points, strict=True):
        assert line.endswith(f"held out {point.loss:.3f}")
    assert "tok/s" not in found[0] and all("tok/s" in line for line in found[1:])
    assert f"loss {lines(tmp_path)[4]['loss']:.3f}" in found[1] and "· loss" not in found[3]


def test_beta_is_shown(tmp_path: Path) -> None:
    shown = io.StringIO()
    fit(
        model(), rows(), CONFIG, tmp_path,
        before=lambda step: {"beta": 1 - step / 9}, console=Console(file=shown, width=200),
    )  # fmt: skip
    ends = [line.rpartition("β ")[2] for line in shown.getvalue().splitlines()]
    assert ends == ["1.00", "0.56", "0.11", "0.00"]


def test_the_loss_is_that_of_transformers() -> None:
    """The test's own oracle agrees with torch's."""
    subject, ids = model(), rows().held_out.long()
    logits = subject(ids).logits[:, :-1].double()
    expected = functional.cross_entropy(logits.reshape(-1, V), ids[:, 1:].reshape(-1))
    assert cross_entropy(subject, ids).item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QuadricError, match="device 'tpu9' cannot be used"):
        fit(model(), rows(), dataclasses.replace(CONFIG, device="tpu9"), tmp_path)
