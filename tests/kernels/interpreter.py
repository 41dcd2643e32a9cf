"""Triton without a GPU: a process apart in which kernels are interpreted, and kernels compiled.

Whether kernels are interpreted is decided when triton is imported, for the whole process; one that
other tests share must not decide it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch

Result = TypeVar("Result")


def interpreted(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """The function's result there. Both are pickled: the function by its name."""
    return _process().submit(function, *arguments, **options).result()


@cache
def _process() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_interpret)


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)
    _mend_bfloat16()


def _mend_bfloat16() -> None:
    """Make the interpreter treat bfloat16 as a GPU does.

    It holds such numbers as their bits, multiplies those in ``tl.dot``, and cuts float32 off where
    a GPU rounds to nearest: wrong by design for the first and biased by 0.3 % for the second.
    """
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    multiply, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        if a.dtype.scalar == tl.bfloat16:
            a, b = (cast(self, each, tl.float32) for each in (a, b))
        return multiply(self, a, b, *others)

    def cast_impl(self: Any, source: Any, kind: Any) -> Any:
        if (source.dtype.scalar, kind.scalar) != (tl.float32, tl.bfloat16):
            return cast(self, source, kind)
        bits = np.ascontiguousarray(source.data).view(np.uint32).astype(np.uint64)
        nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # a tie goes to the even one
        return TensorHandle(nearest.astype(np.uint16), tl.bfloat16)

    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create_dot, cast_impl


class Compiled(NamedTuple):
    """What a kernel became."""

    assembly: str
    shared: int
    """Bytes of shared memory of a program."""


def compiled(
    kernel: Any, pointers: dict[str, str], constants: dict[str, Any], **options: int
) -> Compiled:
    """A kernel compiled for compute capability 9.0, which needs no GPU.

    Args:
        kernel: the function under ``triton.jit``.
        pointers: types of the pointers, ``{"names of some": "*bf16"}``; others are integers.
        constants: its constants.
        options: ``num_warps`` and ``num_stages``.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: kind for names, kind in pointers.items() for name in names.split()}
    types |= dict.fromkeys(constants, "constexpr")
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if name not in constants
        },
    )
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return Compiled(found.asm["ptx"], found.metadata.shared)
