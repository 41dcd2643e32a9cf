"""``manifolds.json``, ``manifolds.safetensors`` and ``points.safetensors``: the ranked table.

The JSON is a list of rows, best first, with everything a reader needs to rebuild a row from the
autoencoder. ``manifolds.safetensors`` has, in the same order, ``axes`` (rows, 3, d_in): unit
vectors in the transformed input space, and ``values`` (rows, 3): the form's values along them.
``points.safetensors`` keeps which rows of the store they were found on, so that nobody needs to
search the store again:

    points = read_points(folder)
    points.forms[0].rows             # where the first form of the table is present
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.manifolds.controls import Control
from quadric.manifolds.discovery import Manifold
from quadric.manifolds.labels import Label
from quadric.manifolds.presence import Points, Responses
from quadric.storage import read_json_rows, read_tensors, replacing, write_json, write_tensors

TABLE = "manifolds.json"
AXES = "manifolds.safetensors"
POINTS = "points.safetensors"

CONTROLS = 64
"""Random forms whose points are kept."""
CONTROL_AXES = 8
"""Axes of a random form whose coordinates are kept."""


class Found(NamedTuple):
    """Where a form was found, as rows of the store."""

    rows: Int[Tensor, " n"]
    """Where it is present, most present first."""
    firing: Int[Tensor, " f"]
    """Where it fires, strongest first."""
    level: float
    """The median of its values there."""
    responses: Responses
    """Rows to show it on."""

    @classmethod
    def of(cls, points: Points) -> Found:
        """Without the coordinates."""
        level = points.values.median().item() if len(points.values) else 0.0
        return cls(points.rows, points.firing, level, points.responses)


@dataclass(frozen=True, eq=False)
class FoundControl:
    """A random form on its points."""

    effective_rank: float
    """(Σ|λ|)²/Σλ²."""
    eigenvalues: Float[Tensor, " e"]
    """Its values along all of its axes."""
    coordinates: Float[Tensor, "n r"]
    """The points along its first eight axes."""
    values: Float[Tensor, " n"]
    """The form there, on all of its axes."""


@dataclass(frozen=True, eq=False)
class FoundPoints:
    """``points.safetensors``."""

    forms: list[Found]
    """In the order of the table."""
    controls: list[FoundControl]
    """The smallest effective rank first."""
    searched: int
    """Leading rows of the store that were looked at."""


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
    """Write the table and its axes atomically, the table last."""
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


def read_axes(folder: Path) -> Float[Tensor, "rows 3 d_in"]:
    """The three leading axes of every row of the table.

    Raises:
        QuadricError: the file is missing or damaged.
    """
    tensors = read_tensors(folder / AXES)
    if "axes" not in tensors:
        raise QuadricError(f"{folder / AXES} is damaged: run quadric analyze {folder} again")
    return tensors["axes"]


def write_points(
    manifolds: Sequence[Manifold], controls: Sequence[Control], searched: int, folder: Path
) -> None:
    """Keep the points of every row of the table, and of random forms of every effective rank."""
    found = [Found.of(manifold.points) for manifold in manifolds if manifold.points is not None]
    tensors = {"level": torch.tensor([each.level for each in found])}
    for name, lists in _lists(found):
        tensors |= _joined(name, lists)
    order = sorted(controls, key=lambda control: control.measured.effective_rank)
    places = np.linspace(0, len(order) - 1, min(CONTROLS, len(order))).round().astype(int)
    kept = [order[place] for place in places]
    tensors |= _joined("control.eigenvalues", [each.candidate.values for each in kept])
    flat = [each.points.coordinates for each in kept]
    tensors |= _joined("control.coordinates", [p[:, :CONTROL_AXES].flatten() for p in flat])
    values = [p.square() @ each.candidate.values for p, each in zip(flat, kept, strict=True)]
    tensors |= _joined("control.values", values)
    write_tensors(folder / POINTS, tensors, {"searched": str(searched)})


def read_points(folder: Path) -> FoundPoints:
    """What ``write_points`` kept.

    Raises:
        QuadricError: the run has not been analysed by this version, or the file is damaged.
    """
    from safetensors import safe_open

    path = folder / POINTS
    if not path.is_file():
        raise QuadricError(f"{folder} has no {POINTS}: run quadric analyze {folder} again")
    tensors = read_tensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            searched = int(file.metadata()["searched"])
        lists = [_split(tensors, name) for name in ("rows", "firing", *Responses._fields)]
        levels = tensors["level"].tolist()
        forms = [
            Found(rows.long(), firing.long(), level, Responses(*(each.long() for each in shown)))
            for level, rows, firing, *shown in zip(levels, *lists, strict=True)
        ]
        parts = [_split(tensors, f"control.{name}") for name in _CONTROL]
        controls = [
            FoundControl(_rank(eigenvalues), eigenvalues, flat.reshape(len(values), -1), values)
            for eigenvalues, flat, values in zip(*parts, strict=True)
        ]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise QuadricError(
            f"{path} is damaged ({error}): run quadric analyze {folder} again"
        ) from error
    return FoundPoints(forms, controls, searched)


_CONTROL = ("eigenvalues", "coordinates", "values")


def _lists(found: Sequence[Found]) -> Iterator[tuple[str, list[Tensor]]]:
    """The rows of every kind; a store has fewer than 2³¹."""
    yield "rows", [each.rows.int() for each in found]
    yield "firing", [each.firing.int() for each in found]
    for name in Responses._fields:
        yield name, [getattr(each.responses, name).int() for each in found]


def _joined(name: str, parts: Sequence[Tensor]) -> dict[str, Tensor]:
    """Tensors of unequal length as one, and their lengths."""
    whole = torch.cat([*parts]) if parts else torch.zeros(0)
    return {name: whole, f"{name}.counts": torch.tensor([len(part) for part in parts]).int()}


def _split(tensors: dict[str, Tensor], name: str) -> tuple[Tensor, ...]:
    return torch.split(tensors[name], tensors[f"{name}.counts"].tolist())


def _rank(values: Float[Tensor, " e"]) -> float:
    values = values.double().abs()
    return float(values.sum() ** 2 / values.square().sum().clamp_min(1e-30))
