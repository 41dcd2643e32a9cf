"""``neighbours.parquet``: which latents overlap with which, from the weights alone.

``read_near`` adds the groups of the ranked table, whose overlaps it computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from quadric.atlas.content.neighbours import MEASURES, Grouped, Near, with_groups
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import files
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


def read_near(folder: Path, model: BilinearAutoencoder) -> dict[str, Near]:
    """Neighbours of every latent and every group of an analysed run, by measure and by id.

    Raises:
        QuadricError: a table is missing or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    path = folder / FILE
    try:
        table = pyarrow.parquet.read_table(path)
        near = {
            name: Near(
                _matrix(table[f"{name}_neighbours"], np.int64),
                _matrix(table[f"{name}_overlaps"], np.float32),
            )
            for name in MEASURES
            if f"{name}_neighbours" in table.column_names
        }
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise QuadricError(f"cannot read {path}: {error}") from error
    if not (folder / files.TABLE).is_file():
        return near
    rows = files.read(folder)
    groups = sorted((row["id"], place) for place, row in enumerate(rows) if row["kind"] == "group")
    some = [rows[place] for _, place in groups]
    grouped = Grouped(
        members=[row["members"] for row in some],
        weights=[row["weights"] for row in some],
        axes=files.read_axes(folder)[[place for _, place in groups]],
    )
    return with_groups(model, near, grouped)


def _matrix(column: Any, dtype: Any) -> torch.Tensor:
    """A column of equally long lists."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(flat.astype(dtype)).reshape(len(column), -1)
