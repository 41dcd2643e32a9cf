"""How long a device takes: steps that take turns, matrix products and copies.

CUDA's own events time it, after rounds that are not counted: the first of them compiles and tunes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

WARMUP = 2

Step = Callable[[], None]


def milliseconds(step: Step, device: torch.device) -> float:
    """How long the device takes for one step."""
    if device.type != "cuda":  # to try this file out
        started = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - started)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    step()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def matmul_rate(dtype: torch.dtype, size: int, device: torch.device, repeats: int) -> float:
    """Flops per second of a square matrix product, at its best."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    times = [
        milliseconds(lambda: torch.mm(a, b, out=product), device) for _ in range(WARMUP + repeats)
    ]
    return 2 * size**3 / (min(times[WARMUP:]) / 1e3)


def copy_rate(numbers: int, device: torch.device, repeats: int) -> float:
    """Bytes per second of a copy in memory, read and written."""
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    times = [milliseconds(lambda: target.copy_(source), device) for _ in range(WARMUP + repeats)]
    return 2 * source.nbytes / (min(times[WARMUP:]) / 1e3)


def turns(
    steps: Mapping[str, Step], device: torch.device, repeats: int
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Milliseconds, GiB at the peak, and what failed, of steps that take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, float] = {}
    failed: dict[str, str] = {}
    for turn in range(WARMUP + repeats):
        for name, step in steps.items():
            if name in failed:
                continue
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            try:
                taken = milliseconds(step, device)
            except Exception as error:  # no memory, or a peer that does not compile: say so
                failed[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
                continue
            if turn >= WARMUP:
                times[name].append(taken)
                if device.type == "cuda":
                    peaks[name] = torch.cuda.max_memory_allocated(device) / 2**30
    return times, peaks, failed
