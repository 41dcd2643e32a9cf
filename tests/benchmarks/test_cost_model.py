"""The cost model on paper: what is known of its answers, and that the docs show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.cost_model import ASSUMED, CASES, step, table

from benchmarks import cost_model

RATE = ASSUMED["bfloat16 products, flop/s"] * ASSUMED["share of them reached"]


def test_one_rank_computes_what_the_kernel_says_and_sends_nothing() -> None:
    n, d, rows = 5000, 300, 700
    alone = step("dense", n, d, rows, 64, 1, 1)
    energy = 3 * n**2 * (rows + 4 * d)
    rest = 8 * rows * n * d + 40 * n * d**2 + 20 * d**3
    assert alone.compute_seconds * RATE == pytest.approx(energy + rest)
    assert alone.traffic_bytes == alone.traffic_seconds == 0
    assert alone.efficiency == 1


def test_shards_divide_the_energy_and_copies_repeat_its_grams() -> None:
    n, d, rows, ranks = 4096, 512, 8192, 8
    shards, copies, alone = (
        step("dense", n, d, rows, 64, *sizes).compute_seconds * RATE
        for sizes in ((ranks, ranks), (ranks, 1), (1, 1))
    )
    assert shards == pytest.approx((alone - 20 * d**3) / ranks + 20 * d**3)
    repeated = (ranks - 1) / ranks * (12 * n**2 * d + 40 * n * d**2)
    assert copies - shards == pytest.approx(repeated)


def test_the_links_between_machines_are_slow() -> None:
    near, far = (step("topk", 2**16, 1024, 2**16, 64, ranks, 1) for ranks in (8, 16))
    ratio = ASSUMED["link within a machine, byte/s"] / ASSUMED["link between machines, byte/s"]
    expected = near.traffic_seconds * ratio * far.traffic_bytes / near.traffic_bytes
    assert far.traffic_seconds == pytest.approx(expected)


def test_the_page_shows_its_table() -> None:
    steps = [
        step(variant, n, 1024, 8192 * ranks, 64, ranks, shards)
        for variant, n, ranks, shards in CASES
    ]
    page = Path(cost_model.__file__).parents[1] / "docs" / "scale.md"
    assert table(steps) in page.read_text(encoding="utf-8")
