"""``manifolds.json`` and ``manifolds.safetensors``: the ranked table and its axes.

The JSON is a list of rows, best first, with everything a reader needs to rebuild a row from the
autoencoder. The safetensors file has, in the same order, ``axes`` (rows, 3, d_in): unit vectors in
the transformed input space, and ``values`` (rows, 3): the form's values along them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from quadric.errors import QuadricError
from quadric.manifolds.discovery import Manifold
from quadric.manifolds.labels import Label
from quadric.storage import read_json_rows, replacing, write_json

TABLE = "manifolds.json"
AXES = "manifolds.safetensors"


def as_row(manifold: Manifold, label: Label | None = None) -> dict[str, Any]:
    """A row of the table as JSON values."""
    candidate = manifold.candidate
    return {
        "rank": manifold.rank,
        "id": candidate.id,
        "kind": candidate.kind,
        "label": label.label if label else "",
        "shape": manifold.shape,
        "evidence": manifold.evidence,
        "p_value": manifold.p_value,
        "quadric": manifold.quadric,
        "members": list(candidate.members),
        "weights": list(candidate.weights),
        "eigenvalues": candidate.values.tolist(),
        "points": len(manifold.points.rows) if manifold.points else 0,
        "words": manifold.words,
        "ring_plane": list(manifold.ring_plane) if manifold.ring_plane else None,
        "scores": {name: score.as_dict() for name, score in manifold.scores.items()},
        "top_tokens": [asdict(token) for token in label.tokens] if label else [],
    }


def write(manifolds: Sequence[Manifold], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write both files atomically, the table last."""
    from safetensors.torch import save_file

    axes = torch.stack([manifold.axes.float() for manifold in manifolds])
    values = torch.stack([manifold.values.float() for manifold in manifolds])
    with replacing(folder / AXES) as temporary:
        save_file({"axes": axes.contiguous(), "values": values.contiguous()}, temporary)
    write_json(folder / TABLE, list(rows))


def read(folder: Path) -> list[dict[str, Any]]:
    """The ranked table of a run.

    Raises:
        QuadricError: the run has not been analysed, or the file is no table.
    """
    path = folder / TABLE
    if not path.is_file():
        raise QuadricError(f"{folder} has no {TABLE}: run quadric analyze {folder} first")
    return read_json_rows(path)
