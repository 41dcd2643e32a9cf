"""Which kernels a device runs, Triton's or PyTorch's own, and why.

Triton's are in :mod:`quadric.kernels.fused_energy` and :mod:`quadric.kernels.fused_sparse`; they
return what :mod:`quadric.kernels.sweep` and :mod:`quadric.kernels.sparse` return.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import torch

CAPABILITY = 8, 0
"""The first compute capability with bfloat16 matrix products."""
PRODUCTS = torch.bfloat16, torch.float32
"""Types in which Triton's kernels multiply."""


class Backend(NamedTuple):
    """The kernels in use."""

    name: Literal["triton", "torch"]
    reason: str
    """Why, in one sentence."""


def backend(
    device: str | torch.device = "cpu", product_dtype: torch.dtype = torch.bfloat16
) -> Backend:
    """The kernels that run on a device for products in this type.

    Triton's are chosen on a CUDA device of capability 8.0 or more on which a small one compiles
    and runs. That is tried once per process and device, in a second or two.
    """
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return _chosen(device, product_dtype)


@cache
def _chosen(device: torch.device, product_dtype: torch.dtype) -> Backend:
    if device.type != "cuda":
        return Backend("torch", f"the device is {device.type}: Triton's kernels run on CUDA")
    if product_dtype not in PRODUCTS:
        names = " or ".join(str(each) for each in PRODUCTS)
        return Backend("torch", f"products are in {product_dtype}: Triton's kernels take {names}")
    capability = torch.cuda.get_device_capability(device)
    seen, least = (".".join(map(str, each)) for each in (capability, CAPABILITY))
    if capability < CAPABILITY:
        return Backend("torch", f"the GPU has compute capability {seen}, Triton's need {least}")
    failure = _failure(device)
    if failure is not None:
        return Backend("torch", failure)
    return Backend("triton", f"the GPU has compute capability {seen} and Triton compiles for it")


@cache
def _failure(device: torch.device) -> str | None:
    """What keeps Triton from running here, found by running the smallest kernel."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton is not installed: pip install triton"
    from quadric.kernels.fused_sparse import fused_squared_errors

    ones = torch.ones(1, 16, device=device)
    try:
        errors, _ = fused_squared_errors(
            ones,
            ones,
            ones,
            torch.zeros(1, 1, dtype=torch.int64, device=device),
            held=None,
            symmetric=False,
            product_dtype=torch.float32,
            want_left=False,
            want_right=False,
        )
        error = float(errors)
    except Exception as problem:  # a compiler, a driver, a library: anything of the toolchain's
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        return f"Triton cannot run here: {first}"
    # ‖x‖⁴ − 2z² + z²K with ‖x‖⁴ = z = K = 16², which is exact in float32.
    exact = 16.0**2 - 2 * 16.0**4 + 16.0**6
    return None if error == exact else f"Triton's sums are wrong here: {error} for {exact}"
