"""The input transform: exact inverses, statistics from the definition, exact JSON."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadric.autoencoders import InputTransform
from quadric.errors import QuadricError

CHOICES = st.tuples(
    st.booleans(), st.sampled_from(["none", "dimension", "whole"]),
    st.sampled_from(["none", "unit", "constant"]),
)  # fmt: skip


def sample(seed: int, rows: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([1.0, 30.0, 0.1, 5.0])
    return torch.randn(rows, 4, generator=generator) * spread + torch.tensor([3.0, -40.0, 0, 1])


@given(CHOICES, st.integers(0, 5))
def test_undo_inverts_apply(choice: tuple[bool, str, str], seed: int) -> None:
    centre, scale, norm = choice
    transform = InputTransform(4, centre=centre, scale=scale, norm=norm).double()
    x = sample(seed).double()
    transform.fit(x)
    y, size = transform.apply_to(x)
    torch.testing.assert_close(transform.undo(y, size), x, rtol=1e-10, atol=1e-10)
    if norm == "unit":
        torch.testing.assert_close(y.norm(dim=-1), torch.ones(40, dtype=torch.float64))
    if norm == "constant":
        assert y.norm(dim=-1).mean().item() == pytest.approx(1)


def test_statistics_from_their_definition() -> None:
    x = sample(0).double()
    transform = InputTransform(4, centre=True, scale="dimension", norm="none").double().fit(x)
    y = transform.apply_to(x).y
    torch.testing.assert_close(y.mean(0), torch.zeros(4).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(4).double())
    whole = InputTransform(4, centre=True, scale="whole", norm="none").double().fit(x)
    assert whole.apply_to(x).y.square().mean().item() == pytest.approx(1)
    assert whole.scales.unique().numel() == 1


def test_json_round_trip_is_exact() -> None:
    first = InputTransform(4, centre=True, scale="dimension", norm="unit").fit(sample(1))
    again = InputTransform(4, centre=True, scale="dimension", norm="unit")
    again.load_statistics(json.loads(json.dumps(first.statistics())), "test")
    x = sample(2)
    assert torch.equal(first.apply_to(x).y, again.apply_to(x).y)


def test_constant_dimension_and_mean_vector_stay_finite() -> None:
    x = torch.ones(6, 4)
    transform = InputTransform(4, centre=True, scale="dimension", norm="unit").fit(x)
    assert transform.apply_to(x).y.abs().max() == 0


def test_errors() -> None:
    transform = InputTransform(4, centre=True, scale="none", norm="unit")
    with pytest.raises(QuadricError, match="no rows"):
        transform.fit(torch.zeros(0, 4))
    with pytest.raises(QuadricError, match=r"mean has 3 numbers, expected 4"):
        transform.load_statistics({"mean": [1, 2, 3], "mean_norm": 1.0}, "cfg.json")
    with pytest.raises(QuadricError, match="mean_norm is missing"):
        transform.load_statistics({"mean": [1, 2, 3, 4]}, "cfg.json")
