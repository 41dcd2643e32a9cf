"""The choice between bfloat16 and float32 follows the stop-watch, and is made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from quadric.kernels import fastest_product_dtype, precision


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    precision._probe.cache_clear()
    yield
    precision._probe.cache_clear()


def seconds(speedup: float) -> object:
    def measure(matrix: Tensor) -> float:
        return 1.0 if matrix.dtype == torch.float32 else 1.0 / speedup

    return measure


@pytest.mark.parametrize(
    ("speedup", "expected"),
    [
        (0.1, torch.float32),
        (1.0, torch.float32),
        (1.49, torch.float32),
        (1.51, torch.bfloat16),
        (8.0, torch.bfloat16),
    ],
)
def test_only_a_clear_win_counts(
    speedup: float, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_seconds", seconds(speedup))
    assert fastest_product_dtype("cpu") == expected


def test_a_disturbed_timing_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = [1.0, 0.5]  # float32, bfloat16: a win by 2
    script = [9.0, 9.0, 1.0, 50.0, 70.0, 0.5, *calm, *calm]
    monkeypatch.setattr(precision, "_seconds", lambda _: script.pop(0))
    assert fastest_product_dtype("cpu") == torch.bfloat16
    assert script == []


def test_setting_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [1.0, 0.1] + [1.0, 0.9] * 4  # the first round alone says bfloat16
    monkeypatch.setattr(precision, "_seconds", lambda _: script.pop(0))
    assert fastest_product_dtype("cpu") == torch.float32


def test_the_answer_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", seconds(2.0))
    assert fastest_product_dtype("cpu") == torch.bfloat16
    monkeypatch.setattr(precision, "_seconds", seconds(0.5))
    assert fastest_product_dtype(torch.device("cpu")) == torch.bfloat16


def test_a_device_without_bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(matrix: Tensor) -> float:
        if matrix.dtype == torch.bfloat16:
            raise RuntimeError('"addmm" not implemented for BFloat16')
        return 1.0

    monkeypatch.setattr(precision, "_seconds", refuse)
    assert fastest_product_dtype("cpu") == torch.float32


def test_the_watch_measures_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[tuple[torch.dtype, torch.Size]] = []
    multiply = torch.mm

    def spy(a: Tensor, b: Tensor) -> Tensor:
        products.append((a.dtype, a.shape))
        return multiply(a, b)

    monkeypatch.setattr(torch, "mm", spy)
    assert fastest_product_dtype() in (torch.float32, torch.bfloat16)
    kinds = {dtype for dtype, _ in products}
    assert kinds == {torch.float32, torch.bfloat16}
    assert len(products) == 2 * (precision._PROBES + 1)
