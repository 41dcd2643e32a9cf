"""Small records with every size distinct, atlases of them, and ways to damage what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quadric.atlas.contract import FILES, Comparison, Measure, Statistic
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import (
    Context,
    Control,
    FormPoints,
    FormRow,
    Neighbour,
    NullScore,
    Page,
    Pair,
)

ROWS, CONTEXT_SIZE = 500, 20
FIELDS: dict[str, Any] = {
    "title": "Tiny",
    "modality": "text",
    "facts": {"model": "none", "hook": "blocks.1"},
    "rows": ROWS,
    "context_size": CONTEXT_SIZE,
    "statistics": [
        Statistic("density", "Density", "d"),
        Statistic("rank", "Rank", "r", logarithmic=True),
    ],
    "colour": "rank",
    "size": "density",
    "measures": [Measure("gram", "Products", "g"), Measure("subspace", "Subspaces", "s")],
    "created": "2026-01-02T03:04:05+00:00",
}


def tiny_points(n: int = 7, r: int = 3, seed: int = 0, *, eigenvalues: int = 5) -> FormPoints:
    """A dense form with linear and constant terms, on points that it does not fit exactly."""
    draw = np.random.default_rng(seed)
    square = draw.normal(size=(r, r))
    form, linear, constant = square + square.T, draw.normal(size=r), float(draw.normal())
    # Axes of very different lengths, so that one taken for another is seen.
    p = draw.normal(size=(n, r)) * 10.0 ** np.arange(r)
    value = np.array([q @ form @ q + linear @ q + constant for q in p])
    spectrum = draw.normal(size=eigenvalues)
    return FormPoints(
        spectrum=spectrum[np.argsort(-np.abs(spectrum))],
        axis_kind=(["eigenvector", "shared", "principal"] * 3)[:r],
        form=form,
        linear=linear,
        constant=constant,
        coordinates=p,
        value=value + 0.1 * np.abs(value).max() * draw.normal(size=n),
    )


def tiny_page(id: int = 5, seed: int = 0, **changes: Any) -> Page:
    """A page with one or two of everything."""
    points = changes.pop("points", None) or tiny_points(seed=seed)
    n = len(points.value)
    page = Page(
        id=id,
        points=points,
        rows=np.random.default_rng(seed).integers(0, 3 * CONTEXT_SIZE, n),
        present=np.arange(n) % 3 != 0,
        ring_plane=(0, 2),
        histogram_edges=np.array([-2.0, -0.5, 1.0]),
        histogram_counts=np.array([4, 9]),
        contexts=[
            Context("most_positive", row=23, start=21, values=np.array([0.5, 1.0, 3.0, -1.0])),
            Context("near_zero", row=60, start=60, values=np.array([0.25])),
        ],
        neighbours=[Neighbour(0, 17, 0.5), Neighbour(1, 5, -0.25), Neighbour(1, 17, 1.0)],
        scores=[NullScore("ring", 1.5, "gaussian", 0.5, 0.25, 4.0, 0.125, 7)],
    )
    return replace(page, **changes)


def tiny_pair(page: Page) -> Pair:
    """A partner with more axes than its form."""
    points = tiny_points(len(page.rows), 4, seed=page.id + 100)
    return Pair(page.id, partner=3, overlap=-0.5, label="twin", points=points)


def tiny_row(id: int, **changes: Any) -> FormRow:
    """A form on the map."""
    row = FormRow(
        id=id,
        kind="latent",
        shape="ring",
        x=-0.5,
        y=1.0,
        positive=3,
        negative=2,
        statistics={"density": 0.5},
        label="days of the week",
        written_label="weekdays",
        tokens=[" Monday", " Tuesday"],
        quadric="cone",
        members=[id, 17],
        weights=[1.0, -0.5],
    )
    return replace(row, **changes)


def tiny_atlas(
    folder: Path,
    pages: Sequence[Page],
    *,
    compare: bool = False,
    form_rows: Any = None,
    **fields: Any,
) -> AtlasWriter:
    """Write an atlas of these pages; token t is the text <t> and row r has the token 3r + 7."""
    writer = AtlasWriter(
        folder, **(FIELDS | fields), comparison=Comparison("Twin") if compare else None
    )
    with writer:
        for page in pages:
            writer.add(page, tiny_pair(page) if compare else None)
        writer.finish(
            form_rows or [tiny_row(page.id) for page in pages],
            [Control(2.5, tiny_points(6, 3, seed=9))],
            tokens=lambda start, stop: 3 * np.arange(start, stop) + 7,
            texts=lambda ids: [f"<{id}>" for id in ids],
        )
    return writer


def read_arrow(path: Path) -> pa.Table:
    """A table as it lies on the disk."""
    return pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()


def rewrite(folder: Path, path: str, change: Callable[[dict[str, list[Any]]], object]) -> None:
    """Change columns of a table, given as lists, and list the file as if it had been written so."""
    table = read_arrow(folder / path)
    columns = table.to_pydict()
    change(columns)
    arrays = [pa.array(columns[field.name], field.type) for field in table.schema]
    with pa.ipc.new_file(str(folder / path), table.schema) as file:
        file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
    relist(folder)


def relist(folder: Path) -> None:
    """Bring files.arrow up to date with the files it lists; those that are gone are dropped."""
    table = read_arrow(folder / FILES)
    here = [path for path in table["path"].to_pylist() if (folder / path).exists()]
    content = [(folder / path).read_bytes() for path in here]
    columns = [here, [len(c) for c in content], [hashlib.sha256(c).hexdigest() for c in content]]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, table.schema, strict=True)]
    with pa.ipc.new_file(str(folder / FILES), table.schema) as file:
        file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
