"""Which kernels are chosen, and the reasons that are given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from quadric.kernels import backends
from quadric.kernels.backends import Backend, backend
from tests.kernels.interpreter import interpreted

GPU = "cuda:0"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Answers are remembered for a process: not from one test to the next."""
    remembered = backends._chosen, backends._failure
    for each in remembered:
        each.cache_clear()
    yield
    for each in remembered:
        each.cache_clear()


@pytest.fixture
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which everything works."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(backends, "_failure", lambda _: None)


def test_a_cpu_runs_pytorch() -> None:
    assert backend("cpu") == Backend("torch", "the device is cpu: Triton's kernels run on CUDA")
    assert backend() == backend(torch.device("cpu"), torch.float32)


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_gpu_runs_triton(dtype: torch.dtype) -> None:
    name, reason = backend(GPU, dtype)
    assert name == "triton" and "compute capability 9.0" in reason


@pytest.mark.usefixtures("_hopper")
def test_a_device_without_a_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: asked.append(device.index) or (9, 0)
    )
    assert backend("cuda").name == "triton" and asked == [3]


@pytest.mark.usefixtures("_hopper")
def test_types_that_only_pytorch_multiplies() -> None:
    for dtype in (torch.float64, torch.float16):
        name, reason = backend(GPU, dtype)
        assert name == "torch" and f"products are in {dtype}" in reason


@pytest.mark.usefixtures("_hopper")
def test_an_old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    expected = "the GPU has compute capability 7.5, Triton's need 8.0"
    assert backend(GPU) == Backend("torch", expected)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    backends._chosen.cache_clear()
    assert backend(GPU).name == "triton"


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert backend(GPU) == Backend("torch", "triton is not installed: pip install triton")


def test_triton_that_cannot_run() -> None:
    pytest.importorskip("triton")
    failure = backends._failure(torch.device("cpu"))  # a compiled kernel reads no CPU's memory
    assert failure is not None and failure.startswith("Triton cannot run here: ")
    assert "\n" not in failure


def test_triton_that_can() -> None:
    pytest.importorskip("triton")
    assert interpreted(backends._failure, torch.device("cpu")) is None


def wrong_by_one() -> str | None:
    from quadric.kernels import fused_sparse

    right = fused_sparse.fused_squared_errors
    fused_sparse.fused_squared_errors = lambda *a, **options: (right(*a, **options)[0] + 1, None)  # type: ignore[assignment]
    try:
        return backends._failure.__wrapped__(torch.device("cpu"))
    finally:
        fused_sparse.fused_squared_errors = right


def test_triton_whose_sums_are_wrong() -> None:
    pytest.importorskip("triton")
    failure = interpreted(wrong_by_one)
    assert failure == "Triton's sums are wrong here: 16646401.0 for 16646400.0"


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = (
        "import sys, quadric.kernels as kernels; kernels.reconstruction_energy; "
        "kernels.sparse_squared_error; import quadric.kernels.backends; "
        "sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
