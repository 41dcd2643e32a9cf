"""Which type to multiply matrices in on the device at hand, found by timing it.

Some processors multiply bfloat16 matrices several times faster than float32, some emulate them
and are slower, and a processor's name does not say which. So both are timed once per process and
device; pass the answer as ``product_dtype`` to
:func:`~quadric.kernels.blocked.reconstruction_energy`.
"""

from __future__ import annotations

import time
from functools import cache

import torch

CLEAR_WIN = 1.5
"""bfloat16 is chosen when its matrix product is at least this many times faster than float32's."""

_PROBES = 4  # interleaved timings of each type; the fastest counts, so a busy machine matters less


def fastest_product_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where its matrix product is at least 1.5 times as fast as float32's, else float32.

    The first call for a device times a few products (tens of milliseconds on a CPU); later calls
    return the remembered answer. A device without bfloat16 products gets float32.
    """
    return _probe(torch.device(device))


@cache
def _probe(device: torch.device) -> torch.dtype:
    try:
        ratio = _speedup(device)
    except (RuntimeError, TypeError):  # the device has no bfloat16 product
        return torch.float32
    return torch.bfloat16 if ratio >= CLEAR_WIN else torch.float32


def _speedup(device: torch.device) -> float:
    """How many times faster a bfloat16 product is than a float32 one."""
    # Large enough to leave the caches of a core and the launch time of an accelerator behind.
    size = 512 if device.type == "cpu" else 4096
    matrices = {
        dtype: torch.ones(size, size, device=device, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(matrices, float("inf"))
    for probe in range(_PROBES + 1):
        for dtype, matrix in matrices.items():
            seconds = _seconds(matrix)
            if probe > 0:  # the first round pays for set-up
                best[dtype] = min(best[dtype], seconds)
    return best[torch.float32] / best[torch.bfloat16]


def _seconds(matrix: torch.Tensor) -> float:
    """Wall-clock time of ``matrix @ matrix``."""
    _wait(matrix.device)
    start = time.perf_counter()
    torch.mm(matrix, matrix)
    _wait(matrix.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
