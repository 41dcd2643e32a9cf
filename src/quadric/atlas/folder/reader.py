"""Read an atlas folder: its manifest, and single forms without reading the rest.

    atlas = AtlasFolder(Path("runs/demo/atlas"))
    place = atlas.place_of(1234)
    page = atlas.page(place)                    # records.Page, in real units

Tables are mapped into memory and checked against the contract before a number of theirs is used; a
missing, truncated or foreign file gives a QuadricError of one line. Nothing outside the folder is
read, even through a link inside it.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from quadric.atlas import contract
from quadric.atlas.contract import ROWS_PER_PIXEL_FILE, ROWS_PER_TOKEN_FILE, Manifest, shard
from quadric.atlas.folder import tables
from quadric.atlas.folder.checks.rows import row_faults
from quadric.atlas.manifest import read_manifest
from quadric.atlas.records import Control, FormRow, Page, Pair
from quadric.errors import QuadricError

SHARDS_KEPT = 8
"""Mapped files of pages/, pairs/, tokens/ and pixels/ that are kept open."""


class AtlasFolder:
    """One atlas; a form's ``place`` is its row in forms.arrow, its ``id`` what people call it.

    Raises:
        QuadricError: the folder is not an atlas, is damaged, or is of a newer version.
    """

    def __init__(self, folder: Path) -> None:
        """Read the manifest; everything else is read when it is asked for."""
        self.folder = Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self._shard = lru_cache(SHARDS_KEPT)(self._read_shard)

    @cached_property
    def _forms(self) -> pa.RecordBatch:
        names = [statistic.name for statistic in self.manifest.statistics]
        table = read_table(self.folder, contract.FORMS, contract.forms_schema(names))
        self._expect(contract.FORMS, table.num_rows, self.manifest.forms, "forms")
        return self._sound(contract.FORMS, table)

    @cached_property
    def _labels(self) -> pa.RecordBatch:
        table = read_table(self.folder, contract.LABELS, contract.labels_schema())
        self._expect(contract.LABELS, table.num_rows, self.manifest.forms, "forms")
        return self._sound(contract.LABELS, table)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {int(id): place for place, id in enumerate(self.forms()["id"])}

    def forms(self) -> dict[str, np.ndarray]:
        """The columns of forms.arrow by their names, as stored."""
        return {name: self._forms.column(name).to_numpy() for name in self._forms.schema.names}

    def labels(self) -> pa.RecordBatch:
        """labels.arrow."""
        return self._labels

    def row(self, place: int) -> FormRow:
        """A form on the map, with its label."""
        return tables.form_at(self._forms, self._labels, self._within(place))

    def place_of(self, id: int) -> int:
        """The place of a form.

        Raises:
            QuadricError: the atlas has no such form.
        """
        if id not in self._places:
            raise QuadricError(f"{self.folder} has no form {id} among its {self.manifest.forms}")
        return self._places[id]

    def page(self, place: int) -> Page:
        """What the page of the form at ``place`` shows."""
        table, i = self._shard_of(contract.PAGES, place)
        return tables.page_at(table, i, self.manifest.image_shape)

    def page_of(self, id: int) -> Page:
        """What the page of form ``id`` shows."""
        return self.page(self.place_of(id))

    def pair(self, place: int) -> Pair:
        """The partner of the form at ``place``.

        Raises:
            QuadricError: the atlas compares with nothing.
        """
        if self.manifest.comparison is None:
            raise QuadricError(f"{self.folder} compares with no other autoencoder")
        return tables.pair_at(*self._shard_of(contract.PAIRS, place))

    def controls(self) -> list[Control]:
        """The random forms; empty if there are none."""
        if not self.manifest.controls:
            return []
        table = read_table(self.folder, contract.CONTROLS, contract.controls_schema())
        self._expect(contract.CONTROLS, table.num_rows, self.manifest.controls, "controls")
        self._sound(contract.CONTROLS, table)
        return [tables.control_at(table, i) for i in range(table.num_rows)]

    def token_ids(self, start: int, stop: int) -> np.ndarray:
        """The token ids of rows start … stop − 1, all of which lie near rows that a page shows."""
        if not 0 <= start <= stop <= self.manifest.rows:
            raise QuadricError(f"rows {start} … {stop} are not in 0 … {self.manifest.rows}")
        found = [np.zeros(0, np.int64)]
        for number in range(start // ROWS_PER_TOKEN_FILE, -(-stop // ROWS_PER_TOKEN_FILE)):
            first = number * ROWS_PER_TOKEN_FILE
            ids = self._shard(contract.TOKENS, number).column("token").to_numpy()
            expected = min(ROWS_PER_TOKEN_FILE, self.manifest.rows - first)
            self._expect(shard(contract.TOKENS, number), len(ids), expected, "tokens")
            found.append(ids[max(start - first, 0) : stop - first].astype(np.int64))
        return np.concatenate(found)

    def tokens(self, start: int, stop: int) -> list[str]:
        """The texts of the tokens of rows start … stop − 1."""
        words = self._vocabulary
        return [words.get(id, "") for id in self.token_ids(start, stop).tolist()]

    def pixels(self, row: int) -> np.ndarray:
        """The bytes of the image at ``row``, (H, W, C).

        Raises:
            QuadricError: rows are no images, or no page shows this one.
        """
        shape = self.manifest.image_shape
        if shape is None or not 0 <= row < self.manifest.rows:
            raise QuadricError(f"{self.folder} has no image for row {row}")
        table = self._shard(contract.PIXELS, row // ROWS_PER_PIXEL_FILE)
        rows = table.column("row").to_numpy()
        place = int(np.searchsorted(rows, row))
        if place == len(rows) or rows[place] != row:
            raise QuadricError(f"{self.folder} has no image for row {row}")
        image: np.ndarray = table.column("pixels")[place].values.to_numpy()
        return image.reshape(shape)

    @cached_property
    def _vocabulary(self) -> dict[int, str]:
        table = read_table(self.folder, contract.VOCABULARY, contract.vocabulary_schema())
        ids = table.column("id").to_pylist()
        return dict(zip(ids, table.column("text").to_pylist(), strict=True))

    def _shard_of(self, kind: str, place: int) -> tuple[pa.RecordBatch, int]:
        size = self.manifest.shard_size
        number, i = divmod(self._within(place), size)
        table = self._shard(kind, number)
        expected = min(size, self.manifest.forms - number * size)
        self._expect(shard(kind, number), table.num_rows, expected, "forms")
        found, id = table.column("id")[i].as_py(), int(self.forms()["id"][place])
        if found != id:
            raise QuadricError(
                f"{self.folder / shard(kind, number)} is damaged: it has form {found} "
                f"where {contract.FORMS} has form {id}"
            )
        return table, i

    def _read_shard(self, kind: str, number: int) -> pa.RecordBatch:
        path = shard(kind, number)
        table = read_table(self.folder, path, *shard_schemas(kind, self.manifest))
        return self._sound(path, table) if kind in (contract.PAGES, contract.PAIRS) else table

    def _within(self, place: int) -> int:
        if not 0 <= place < self.manifest.forms:
            raise QuadricError(f"place {place} is not in 0 … {self.manifest.forms - 1}")
        return place

    def _expect(self, path: str, found: int, expected: int, what: str) -> None:
        if found != expected:
            raise QuadricError(
                f"{self.folder / path} is damaged: it has {found} {what}, expected {expected}"
            )

    def _sound(self, path: str, table: pa.RecordBatch) -> pa.RecordBatch:
        """The table, if a row of it can be taken apart without running past the end of a list."""
        for fault in row_faults(table, self.manifest):
            raise QuadricError(f"{self.folder / path} is damaged: {fault}")
        return table


def shard_schemas(kind: str, manifest: Manifest) -> list[pa.Schema]:
    """The schemas that a numbered table may have."""
    if kind == contract.PAGES:
        return [contract.pages_schema(images=manifest.modality == "image")]
    if kind == contract.PAIRS:
        return [contract.pairs_schema()]
    if kind == contract.TOKENS:
        return [contract.tokens_schema(1), contract.tokens_schema(1 << 32)]
    return [contract.pixels_schema(int(np.prod(manifest.image_shape or ())))]


def read_table(folder: Path, path: str, *schemas: pa.Schema) -> pa.RecordBatch:
    """Map one table of an atlas into memory, with every offset and text in it checked.

    Raises:
        QuadricError: it is missing, damaged, has other columns, or lies outside the folder.
    """
    full = folder / path
    if not full.resolve().is_relative_to(folder.resolve()):
        raise QuadricError(f"{full} leads out of the atlas's folder")
    try:
        with pa.memory_map(str(full)) as source:
            file = pa.ipc.open_file(source)
            if not any(file.schema.equals(schema) for schema in schemas):
                raise QuadricError(f"{full} is damaged: {_difference(file.schema, schemas[0])}")
            if file.num_record_batches != 1:
                raise QuadricError(
                    f"{full} is damaged: it has {file.num_record_batches} batches, expected one"
                )
            table = file.get_batch(0)
            table.validate(full=True)
            if fault := _foreign(table, source):
                raise QuadricError(f"{full} is damaged: {fault}")
    except QuadricError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        # A damaged schema may hold names that are no text, hence ValueError.
        if not full.is_file():
            raise QuadricError(f"{full} is missing") from error
        reason = " ".join(str(error).split())
        raise QuadricError(f"{full} is damaged: {reason[:200]}") from error
    return table


def _foreign(table: pa.RecordBatch, source: pa.MemoryMappedFile) -> str | None:
    """What a table has that Arrow allows and the contract does not: missing values, compression."""
    source.seek(0)
    whole = source.read_buffer()
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if _nulls(column):
            return f"column {name!r} has missing values"
        for buffer in column.buffers():
            # What lies in place is not compressed; what was unpacked lies elsewhere.
            if buffer and not 0 <= buffer.address - whole.address <= whole.size - buffer.size:
                return f"column {name!r} is compressed"
    return None


def _nulls(column: pa.Array) -> bool:
    inner: list[pa.Array] = []
    if pa.types.is_struct(column.type):
        inner = column.flatten()
    elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        inner = [column.flatten()]
    return column.null_count > 0 or any(map(_nulls, inner))


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    for name in expected.names:
        if name not in found.names:
            return f"column {name!r} is missing"
        if not found.field(name).equals(expected.field(name)):
            return f"column {name!r} is {found.field(name)}, expected {expected.field(name)}"
    extra = [name for name in found.names if name not in expected.names]
    return f"column {extra[0]!r} is unknown" if extra else "its columns are in another order"
