"""The kernels on a GPU: the dense energy beside its peers, and topk steps up to a million latents.

    python benchmarks/gpu.py [--n 16384] [--samples 8192] [--d 1024] [--k 64] [--repeats 7]
                             [--latents 65536 262144 1048576] [--quick] [--json FILE]

Dense: one step is the energy with its gradients to g, left and right, from float32 arguments. The
peers are the library's own PyTorch path, and the published tiling of kernel.py on bfloat16
arguments, eager and under torch.compile. Sparse: one step is loss, backward pass and AdamW of a
topk autoencoder of which no latent is dead yet. All cases of a table take turns, round after round.

Speedups compare medians with the table's last row: the compiled tiling, or the PyTorch path of as
many latents. "of matmul" divides a case's flops by its time and by the rate of a large matrix
product measured in the same minutes. What limits is counted, not measured: see roofline.py.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import roofline
from kernel import CASES, TILING, tiled_energy
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.kernels import reconstruction_energy, selection
from quadric.kernels.backends import Backend, backend
from quadric.storage import write_json
from quadric.training.config import TrainingConfig
from quadric.training.optimizer import build as build_optimizer
from quadric.training.optimizer import updates
from roofline import Rates, Work
from turns import Step, copy_rate, matmul_rate, turns

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
FUSED, OWN = "triton", "torch"
COLUMNS = 64  # of a block in the sparse kernel, in bfloat16


@dataclass(frozen=True)
class Row:
    """One line of a table; None where it could not be measured, or was not counted."""

    name: str
    latents: int
    median_ms: float | None
    best_ms: float | None
    tokens_per_second: float | None
    matmul_share: float | None
    peak_gib: float | None
    least_ms: float | None
    limit: str | None
    speedup: float | None = None
    """Against the last row of the table, by medians."""
    failed: str | None = None


def with_backend(name: str, device: torch.device, call: Callable[[], None]) -> None:
    """A step in which the library takes its kernels from one backend."""
    if name == FUSED:
        call()
        return
    chosen = Backend("torch", "asked for")
    with (
        mock.patch("quadric.kernels.sweep.backend", return_value=chosen),
        mock.patch("quadric.kernels.sparse.backend", return_value=chosen),
        torch.device(device),
    ):
        call()


def dense(
    n: int, samples: int, d: int, device: torch.device, repeats: int, rates: Mapping[str, Rates]
) -> list[Row]:
    """The energy and its gradients."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = ((samples, n, 0.1), (n, d, d**-0.5), (n, d, d**-0.5))
    inputs = [
        torch.randn(*shape, generator=generator, device=device).mul_(scale).requires_grad_()
        for *shape, scale in shapes
    ]

    def differentiate(energy: Callable[..., Tensor]) -> None:
        for each in inputs:
            each.grad = None
        torch.autograd.backward(energy(*inputs))

    def tiled(energy: Callable[..., Tensor]) -> None:
        with torch.device(device):  # the tiling makes a tensor of its own
            differentiate(lambda *tensors: energy(*(each.bfloat16() for each in tensors)))

    steps: dict[str, Step] = {}
    work: dict[str, tuple[float, str, Work | None]] = {}
    for precision, dtype in DTYPES.items():
        for symmetric in (True, False):
            for source in (FUSED, OWN) if backend(device, dtype).name == FUSED else (OWN,):
                name = f"{source} {'symmetric' if symmetric else 'plain'} {precision}"
                energy = partial(reconstruction_energy, symmetric=symmetric, product_dtype=dtype)
                call = partial(differentiate, energy)
                steps[name] = partial(with_backend, source, device, call)
                flops = 3.0 * n**2 * (samples + (4 if symmetric else 2) * d)
                counted = (
                    counted_energy(n, samples, d, symmetric, dtype) if source == FUSED else None
                )
                work[name] = flops, precision, counted
    for name, energy in ("eager", tiled_energy), ("compiled", torch.compile(tiled_energy)):
        steps[f"{TILING[:-4]} bf16, {name}"] = partial(tiled, energy)
        work[f"{TILING[:-4]} bf16, {name}"] = CASES[TILING].flops(n, samples, d), "bf16", None

    times, peaks, failed = turns(steps, device, repeats)
    return compared(
        row(name, n, samples, times[name], peaks.get(name), failed.get(name), rates, *work[name])
        for name in steps
    )


def compared(rows: Iterable[Row]) -> list[Row]:
    """How many times faster each row is than the last one."""
    found = list(rows)
    last = found[-1].median_ms
    return [
        each
        if last is None or each.median_ms is None
        else replace(each, speedup=last / each.median_ms)
        for each in found
    ]


def counted_energy(n: int, samples: int, d: int, symmetric: bool, dtype: torch.dtype) -> Work:
    """The fused path's work."""
    from quadric.kernels.fused_energy import BLOCK, SPAN

    shape = {"size": BLOCK, "span": SPAN, "number": dtype.itemsize}
    return roofline.fused_energy(n, samples, d, symmetric=symmetric, **shape)


def row(
    name: str,
    latents: int,
    tokens: int,
    times: list[float],
    peak: float | None,
    failed: str | None,
    rates: Mapping[str, Rates],
    flops: float,
    precision: str,
    counted: Work | None,
) -> Row:
    """One measured case."""
    if failed or not times:
        return Row(name, latents, *[None] * 7, failed=failed or "not measured")
    median = statistics.median(times)
    return Row(
        name,
        latents,
        median_ms=median,
        best_ms=min(times),
        tokens_per_second=1e3 * tokens / median,
        matmul_share=flops / (median / 1e3) / rates[precision].flops,
        peak_gib=peak,
        least_ms=None if counted is None else 1e3 * counted.least_seconds(rates[precision]),
        limit=None if counted is None else counted.limit(rates[precision]),
    )


def sparse(
    n: int,
    rows: int,
    d: int,
    k: int,
    device: torch.device,
    repeats: int,
    rates: Mapping[str, Rates],
) -> list[Row]:
    """Training steps of a topk autoencoder of n latents, in bfloat16."""
    torch.manual_seed(0)
    batch = torch.randn(rows, d, device=device)
    config = AutoencoderConfig(d_in=d, d_sae=n, variant="topk", k=k)
    model = BilinearAutoencoder(config).to(device)
    training = TrainingConfig(optimizer="adamw", lr=1e-4)  # the rate does not change the time
    update = build_optimizer(model.parameters(), updates(training, config.variant))

    def step() -> None:
        update.zero_grad(set_to_none=True)
        model.loss(batch, 0, product_dtype=torch.bfloat16).total.backward()
        update.step()

    sources = (FUSED, OWN) if backend(device).name == FUSED else (OWN,)
    steps = {f"{each} topk bf16": partial(with_backend, each, device, step) for each in sources}
    times, peaks, failed = turns(steps, device, repeats)
    parts = (
        roofline.selection(n, rows, d, k, number=2, block=selection.BLOCK),
        roofline.fused_sparse(rows, d, k, symmetric=True, columns=COLUMNS),
        roofline.adamw(2 * n * d),
    )
    counted = parts[0] + parts[1] + parts[2]
    return compared(
        row(
            name,
            n,
            rows,
            times[name],
            peaks.get(name),
            failed.get(name),
            rates,
            counted.flops,
            "bf16",
            counted if name.startswith(FUSED) else None,
        )
        for name in steps
    )


def table(title: str, rows: list[Row]) -> Table:
    """Rows for a reader."""
    result = Table(title=title, title_justify="left")
    result.add_column("")
    headings = "latents", "median ms", "best", "speedup", "tokens/s", "of matmul", "peak"
    for heading in (*headings, "at least ms"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("limited by")
    for each in rows:
        numbers = (
            ("{:.2f}", each.median_ms),
            ("{:.2f}", each.best_ms),
            ("{:.2f}×", each.speedup),
            ("{:,.0f}", each.tokens_per_second),
            ("{:.0%}", each.matmul_share),
            ("{:.1f} GiB", each.peak_gib),
            ("{:.2f}", each.least_ms),
        )
        cells = ["–" if value is None else form.format(value) for form, value in numbers]
        result.add_row(each.name, f"{each.latents:,}", *cells, each.failed or each.limit or "–")
    return result


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--n", type=int, default=16384)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--latents", type=int, nargs="*", default=[65536, 262144, 1048576])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes: does all of it work?")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a GPU: torch.cuda.is_available() is False here")
    if options.quick:
        options.n, options.samples, options.d, options.latents = 4096, 2048, 512, [16384]
    measure(options, torch.device("cuda", torch.cuda.current_device()))


def measure(options: argparse.Namespace, device: torch.device, size: int = 8192) -> None:
    """All tables on one device; ``size`` is that of the matrix products to compare with."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    repeats = options.repeats
    copied = copy_rate(4 * size**2, device, repeats)
    rates = {
        name: Rates(matmul_rate(dtype, size, device, repeats), copied)
        for name, dtype in DTYPES.items()
    }
    kernels = {name: backend(device, dtype) for name, dtype in DTYPES.items()}
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    facts = {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "command": shlex.join(["python", *sys.argv]),
        "device": named,
        "torch": torch.__version__,
        "repeats": repeats,
        "kernels": [{"products": name, **each._asdict()} for name, each in kernels.items()],
        "rates": [{"products": name, **asdict(each)} for name, each in rates.items()],
    }
    console.print(f"{facts['date']}  {facts['command']}\n{named}, torch {torch.__version__}")
    for name, each in rates.items():
        console.print(
            f"{name}: {each.flops / 1e12:.1f} TF/s in products of {size}, {each.bytes / 1e9:.0f} "
            f"GB/s in copies, ridge at {each.flops / each.bytes:.0f} flops a byte; "
            f"{kernels[name].name}, because {kernels[name].reason}"
        )
    n, samples, d = options.n, options.samples, options.d
    found = dense(n, samples, d, device, repeats, rates)
    console.print(table(f"Energy and gradients, {samples} samples, d = {d}", found))
    steps: list[Row] = []
    for latents in options.latents:
        steps += sparse(latents, samples, d, options.k, device, repeats, rates)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    console.print(table(f"topk step, {samples} rows, d = {d}, k = {options.k}", steps))
    if options.json:
        tables = {"dense": found, "topk": steps}
        write_json(
            options.json,
            facts | {name: [asdict(each) for each in rows] for name, rows in tables.items()},
        )


if __name__ == "__main__":
    main()
