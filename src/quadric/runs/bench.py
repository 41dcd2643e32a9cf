"""``quadric bench manifolds``: planted ground truth, three methods, one table and one picture.

    found = bench_manifolds(Path("runs/bench"), quick=True)
    found["settings"]           # one entry per setting and method, over the seeds

Writes ``planted.json`` with the configuration, every setting and every single row, and the
picture ``planted.png``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from quadric.manifolds.bench import FULL, QUICK, BenchConfig, bench
from quadric.manifolds.matching import FOUND
from quadric.report import figures, planted
from quadric.storage import make_folder, write_json

FILE = "planted.json"
PICTURE = "planted.png"


def bench_manifolds(
    out: Path,
    *,
    quick: bool = False,
    config: BenchConfig | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the bench, write its files to the folder ``out``, and return what the JSON holds.

    Args:
        out: the folder; a bench that is already there is replaced.
        quick: two settings instead of the whole grid.
        config: other settings than those two choices.
        console: where progress is drawn.

    Raises:
        QuadricError: the folder cannot be written, or the plants do not fit the width.
    """
    config = config or (QUICK if quick else FULL)
    make_folder(out)
    started = time.monotonic()
    rows = bench(config, console)
    found = planted.settings(rows)
    result = {
        "config": asdict(config),
        "found_below_degrees": FOUND,
        "settings": [one._asdict() for one in found],
        "rows": [
            {
                **row._asdict(),
                "score": {
                    **row.score._asdict(),
                    "matches": [match._asdict() for match in row.score.matches],
                },
            }
            for row in rows
        ],
        "seconds": time.monotonic() - started,
    }
    write_json(out / FILE, result)
    figures.save(planted.picture(found), out / PICTURE)
    return result


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    return planted.render([planted.Setting(**one) for one in result["settings"]])
