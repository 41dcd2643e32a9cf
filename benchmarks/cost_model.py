"""What a training step costs on many accelerators: a model on paper, as a table in Markdown.

    python benchmarks/cost_model.py [--json FILE]

Counted for every rank: floating-point operations, bytes it receives from others, bytes it holds. W
ranks are C copies of the dictionary, each over S ranks (``--dictionary-shards S``); N rows a step,
N/W a rank, NS/W for the ranks of a copy together. n atoms of width d, factors and gradients in
float32, products in bfloat16, Muon.

Flops. Both: Muon 40nd²/S + 20d³. Dense: reading and its gradients 8(N/W)nd, the energy
3n²(NS/W + 4d)/S. Topk: reading 4(N/W)nd, the k×k Grams and their gradients 14(N/W)k²d.

Traffic. Both: within a copy the factors gathered and their gradients reduced, 16nd(S−1)/S, and
Muon's d×d products, 40d² where S > 1; between copies the parts' gradients summed, 16nd/S·(C−1)/C.
Dense: the coefficients gathered in bfloat16, their gradient reduced in float32, 6(NS/W)n(S−1)/S.

Memory. Both: factors, momentum and gradients 24nd/S; during a step the whole factors, a bfloat16
stack of them and their whole gradients, (8 + 6 + 8)nd. Dense, bfloat16 but for gradients: two reads
4(N/W)n, and products with their gradient 6(NS/W)n, where S > 1 6(N/W)n more for own ones. Topk: a
block of latents, 12(N/W)·4,096.

Assumed: see ASSUMED. Nothing overlaps, so a step takes the sum of its times: an upper bound for a
well-overlapped engine. What is left out: reading the batch, the language model, kernel launches.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from quadric.storage import write_json

ASSUMED = {
    "bfloat16 products, flop/s": 989e12,  # of one H100 or H200, from its data sheet
    "share of them reached": 0.6,
    "link within a machine, byte/s": 300e9,  # NVLink: 450 GB/s a direction, two thirds of it
    "link between machines, byte/s": 40e9,  # 400 Gbit/s a rank, four fifths of it
    "ranks of a machine": 8,
}


@dataclass(frozen=True)
class Step:
    """One training step: what it is of, and what it costs each rank."""

    variant: str
    n: int
    ranks: int
    shards: int
    compute_seconds: float
    traffic_seconds: float
    traffic_bytes: float
    memory_bytes: float
    tokens_per_second: float
    efficiency: float
    """Tokens a second of each rank, as a share of those of a single one."""


def step(variant: str, n: int, d: int, rows: int, k: int, ranks: int, shards: int) -> Step:
    """The cost of one step, by the formulas above."""
    seconds, traffic, held, moved = _costs(variant, n, d, rows, k, ranks, shards)
    alone, *_ = _costs(variant, n, d, rows // ranks, k, 1, 1)
    total = seconds + traffic
    return Step(
        variant, n, ranks, shards, seconds, traffic, moved, held, rows / total, alone / total
    )


def _costs(
    variant: str, n: int, d: int, rows: int, k: int, ranks: int, shards: int
) -> tuple[float, float, float, float]:
    """Seconds of compute and of traffic, bytes held, bytes received."""
    own, group, copies = rows / ranks, rows * shards / ranks, ranks // shards
    dense = variant == "dense"
    flops = 40 * n * d**2 / shards + 20 * d**3
    flops += 8 * own * n * d if dense else own * (4 * n * d + 14 * k**2 * d)
    if dense:
        flops += 3 * n**2 * (group + 4 * d) / shards
    others = (shards - 1) / shards
    within = 16 * n * d * others + (6 * group * n * others if dense else 0)
    within += 40 * d**2 * (shards > 1)
    across = 16 * n * d / shards * (copies - 1) / copies
    held = 24 * n * d / shards + 22 * n * d
    rows_held = 4 * own + 6 * group + 6 * own * (shards > 1)
    held += rows_held * n if dense else 12 * own * 4096
    machine = ASSUMED["ranks of a machine"]
    near, far = (
        ASSUMED[f"link {link}, byte/s"] for link in ("within a machine", "between machines")
    )
    seconds = flops / (ASSUMED["bfloat16 products, flop/s"] * ASSUMED["share of them reached"])
    traffic = within / (near if shards <= machine else far)
    traffic += across / (near if ranks <= machine else far)
    return seconds, traffic, held, within + across


CASES = [
    (variant, n, ranks, shards)
    for variant, n in (("dense", 16_384), ("dense", 65_536), ("topk", 65_536), ("topk", 1_048_576))
    for ranks, shards in ((8, 1), (8, 8), (64, 1), (64, 8), (64, 64))
]


HEADINGS = (
    "", "n", "ranks", "shards", "compute", "traffic", "received", "memory", "tokens/s",
    "efficiency",
)  # fmt: skip


def table(steps: list[Step]) -> str:
    """The steps as a table in Markdown."""
    rows = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1))]
    for one in steps:
        rows.append(
            (
                one.variant,
                f"{one.n:,}",
                str(one.ranks),
                str(one.shards),
                f"{one.compute_seconds * 1e3:,.0f} ms",
                f"{one.traffic_seconds * 1e3:,.0f} ms",
                f"{one.traffic_bytes / 1e9:.1f} GB",
                f"{one.memory_bytes / 1e9:.0f} GB",
                f"{one.tokens_per_second / 1e6:.2f} M",
                f"{one.efficiency:.0%}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Print every case, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=8192, help="rows of a rank")
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = [
        step(variant, n, options.d, options.rows * ranks, options.k, ranks, shards)
        for variant, n, ranks, shards in CASES
    ]
    print("\n".join(f"{name}: {value:g}" for name, value in ASSUMED.items()))
    print(table(steps))
    if options.json:
        write_json(options.json, {"assumed": ASSUMED, "steps": [asdict(one) for one in steps]})


if __name__ == "__main__":
    main()
