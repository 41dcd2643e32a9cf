"""``neighbours.parquet``: which latents overlap with which, from the weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quadric.manifolds.overlap import Graph, Overlaps
from quadric.storage import replacing

FILE = "neighbours.parquet"


def write_neighbours(graphs: Overlaps, path: Path) -> None:
    """Write a row per latent: its neighbours by each measure, nearest first, and participations."""
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {"id": range(len(graphs.gram.neighbours))}
    measures: dict[str, Graph | None] = {
        "gram": graphs.gram, "subspace": graphs.subspace, "mixing": graphs.mixing,
    }  # fmt: skip
    for name, graph in measures.items():
        if graph is not None:
            columns[f"{name}_neighbours"] = graph.neighbours.tolist()
            columns[f"{name}_overlaps"] = graph.values.tolist()
            columns[f"{name}_participation"] = graph.participation.tolist()
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
