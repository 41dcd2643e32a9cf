"""``quadric bench manifolds`` in full on one small world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quadric.manifolds.bench import BenchConfig
from quadric.runs.bench import FILE, PICTURE, bench_manifolds, table

pytestmark = pytest.mark.e2e


def test_every_circle_is_found_where_nothing_interferes(tmp_path: Path) -> None:
    config = BenchConfig(d=32, superpositions=(0.6,), noises=(0.05,), seeds=1, rows=4096)
    result = bench_manifolds(tmp_path, config=config)
    written = json.loads((tmp_path / FILE).read_text())
    assert written["settings"] == result["settings"] and (tmp_path / PICTURE).stat().st_size > 0
    assert "NaN" not in (tmp_path / FILE).read_text()
    rows = {row["method"]: row for row in written["rows"]}
    assert list(rows) == ["quadric", "topk", "pca"]
    found = rows["quadric"]["score"]
    assert found["recall"] == 1 and max(found["best_angles"]) < 10
    assert found["false_positives"] <= rows["quadric"]["null_level"]
    assert rows["pca"]["score"]["recall"] < 1
    assert "quadric" in table(result)
