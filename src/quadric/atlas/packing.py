"""An atlas of one form, as one table: what a page in one file and a notebook's widget carry.

one_form(Path("runs/demo"), 12)      # bytes of an Arrow file, columns path and content
pack(Path("atlas"))                  # a whole atlas
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quadric.atlas.contract import AROUND, MANIFEST, VOCABULARY, Manifest, vocabulary_schema
from quadric.atlas.folder.reader import AtlasFolder, read_table
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import Control, Page

FOLDERS = ("pages", "pairs", "tokens", "pixels")
"""Of an atlas; what else lies in them or beside them is the page's own."""
CONTROLS = 4
"""Random forms kept beside a single one."""


def pack(folder: Path) -> bytes:
    """Every file of an atlas but its list of files, as a table of paths and contents.

    Raises:
        QuadricError: the folder is no atlas.
    """
    AtlasFolder(folder)
    paths = [MANIFEST, *sorted(path.name for path in folder.glob("*.arrow"))]
    paths += sorted(
        path.relative_to(folder).as_posix() for name in FOLDERS for path in folder.glob(f"{name}/*")
    )
    paths.remove("files.arrow")
    schema = pa.schema([("path", pa.string()), ("content", pa.binary())])
    contents = [(folder / path).read_bytes() for path in paths]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as file:
        file.write_batch(pa.record_batch([paths, contents], schema=schema))
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def one_form(source: Path, form: int) -> bytes:
    """The packed atlas of one form.

    Args:
        source: a run, or an atlas that has the form.
        form: its number.

    Raises:
        QuadricError: there is no such form, or the source is neither.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = source
        if not (source / MANIFEST).is_file():
            from quadric.runs.atlas import build_atlas

            folder = Path(root) / "built"
            build_atlas(source, folder, ids=[form])
        alone = Path(root) / "alone"
        _copy(AtlasFolder(folder), form, alone)
        return pack(alone)


def _copy(atlas: AtlasFolder, form: int, folder: Path) -> None:
    """Write the atlas of one form of an atlas, without the text that its page does not show."""
    place = atlas.place_of(form)
    page = dataclasses.replace(atlas.page(place), neighbours=())
    manifest = atlas.manifest
    given = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    for name in ("forms", "shard_size", "controls", "quadric_version", "format", "version"):
        del given[name]
    given["run"] = None
    sources: dict[str, Any] = {}
    if manifest.modality == "text":
        shown = _shown(page, manifest)
        table = read_table(atlas.folder, VOCABULARY, vocabulary_schema())
        numbers, words = table.column("id").to_pylist(), table.column("text").to_pylist()
        texts = dict(zip(numbers, words, strict=True))

        def tokens(start: int, stop: int) -> np.ndarray:
            ids = atlas.token_ids(start, stop)
            return np.where(np.isin(np.arange(start, stop), shown), ids, 0)

        sources["tokens"] = tokens
        sources["texts"] = lambda ids: [texts.get(each, "") for each in ids]
    if manifest.modality == "image":
        sources["pixels"] = lambda rows: np.stack([atlas.pixels(int(row)) for row in rows])
    with AtlasWriter(folder, **given) as alone:
        alone.add(page, atlas.pair(place) if manifest.comparison else None)
        alone.finish([atlas.row(place)], _controls(atlas, page), **sources)


def _controls(atlas: AtlasFolder, page: Page) -> list[Control]:
    """The random forms whose effective rank is nearest, which are those a page shows beside it."""
    spectrum = np.abs(page.points.spectrum)
    rank = spectrum.sum() ** 2 / max(np.square(spectrum).sum(), np.finfo(float).tiny)
    return sorted(atlas.controls(), key=lambda each: abs(each.effective_rank - rank))[:CONTROLS]


def _shown(page: Page, manifest: Manifest) -> np.ndarray:
    """The rows whose text a page shows: around its points, and the windows of its contexts."""
    before, after = AROUND
    size = manifest.context_size
    rows = page.rows[:, None] + np.arange(-before, after + 1)
    inside = (rows >= 0) & (rows // size == page.rows[:, None] // size)
    windows = [np.arange(one.start, one.start + len(one.values)) for one in page.contexts]
    return np.unique(np.concatenate([rows[inside], *windows]))
