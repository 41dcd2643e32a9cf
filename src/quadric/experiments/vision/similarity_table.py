"""Similarities of eigenvectors beside what others found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quadric.experiments.table import Line
from quadric.vision.runs import with_self_pairs, without_self_pairs

_PAPER_RUNS = 5
"""Runs of each size behind the published average."""

# What ipantelidis/bilinear-mlp-repro found on MNIST with the published average (five runs, each
# also compared with itself), read off its plots: the first eigenvector by size, the twentieth over
# all sizes, and the first between two pairs of sizes.
_TOP = {30: 0.82, 50: 0.84, 100: 0.91, 300: 0.92, 500: 0.92, 1000: 0.92}
_TWENTIETH = "0.42–0.55"
_BETWEEN = {(30, 1000): 0.40, (500, 1000): 0.85}


def top_of(size: dict[str, Any], by: str, rank: int = 0) -> str:
    """Mean |cos| of different runs at one rank, with half its interval."""
    found = size["orders"][by]
    spread = "" if found["half"] is None else f" ± {found['half'][rank]:.2f}"
    return f"{found['mean'][rank]:.2f}{spread}"


def table(data: dict[str, Any], sizes: Sequence[dict[str, Any]]) -> list[Line]:
    """Paper, reproduction and ours; figures of others only where the images are the same."""
    mnist = data["dataset"] == "mnist"
    rows = []
    for size in sizes:
        label, others = size["size"], _TOP.get(size["width"]) if mnist else None
        counted = with_self_pairs(size["orders"]["neg"]["mean"][0], _PAPER_RUNS)
        rows += [
            Line(
                f"cosine of top eigenvectors, most negative λ, size {label}, averaged as published "
                "(5 runs, each also with itself)",
                "0.8–0.9",
                "" if others is None else f"{others:.2f}",
                f"{counted:.2f}",
            ),
            Line(
                f"the same, different runs only, size {label}",
                "",
                "" if others is None else f"{without_self_pairs(others, _PAPER_RUNS):.2f}",
                f"{top_of(size, 'neg')} (most positive λ {top_of(size, 'pos')}, largest in size "
                f"{top_of(size, 'abs')})",
            ),
        ]
        if len(size["orders"]["neg"]["mean"]) >= 20:
            twentieth = with_self_pairs(size["orders"]["neg"]["mean"][19], _PAPER_RUNS)
            rows.append(
                Line(
                    f"cosine of eigenvectors of rank 20, most negative λ, size {label}, averaged "
                    "as published",
                    "",
                    f"{_TWENTIETH} over sizes" if mnist else "",
                    f"{twentieth:.2f} (different runs only {top_of(size, 'neg', 19)})",
                )
            )
    last = len(data["sizes"]) - 1
    if last:
        small, large = data["sizes"][0], data["sizes"][last]
        neg, largest = (data["top"][by][0][last] for by in ("neg", "abs"))
        found = {pair: f"{value:.2f} ({pair[0]} and {pair[1]})" for pair, value in _BETWEEN.items()}
        rows.append(
            Line(
                f"cosine of top eigenvectors, most negative λ, sizes {small['size']} and "
                f"{large['size']}",
                "",
                (found.get((small["width"], large["width"])) or ", ".join(found.values()))
                if mnist
                else "",
                f"{neg:.2f} (λ largest in size {largest:.2f})",
            )
        )
    return rows
