"""Check an atlas folder against its contract: ``quadric atlas validate DIR``.

    report = validate(folder)
    print(*report.problems, sep="\\n")

Every problem is one line that names the file and, where there is one, the form. A missing or
damaged file is a problem, and everything that can be told without it is still checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from quadric.atlas import contract
from quadric.atlas.contract import KINDS, ROWS_PER_PIXEL_FILE, ROWS_PER_TOKEN_FILE, Manifest, shard
from quadric.atlas.folder.checks.files import file_faults
from quadric.atlas.folder.checks.numbers import number_faults
from quadric.atlas.folder.checks.rows import lengths, name_of, row_faults
from quadric.atlas.folder.mentions import Mentions
from quadric.atlas.folder.reader import read_table, shard_schemas
from quadric.atlas.manifest import read_manifest
from quadric.errors import QuadricError


@dataclass
class Report:
    """What was checked and what is wrong."""

    problems: list[str] = field(default_factory=list)
    """One line each."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many files, forms, points, tokens and images are there."""


def validate(folder: Path) -> Report:
    """Check every file of the atlas in ``folder``.

    Raises:
        QuadricError: there is no readable atlas.json, without which nothing else can be told.
    """
    folder = Path(folder)
    return _Validation(folder, read_manifest(folder)).run()


class _Validation:
    """One pass over the folder; forms before pages before tokens, as the later need the earlier."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._problems: list[str] = []
        self._counts = dict.fromkeys(("files", "forms", "points"), 0)
        self._ids: np.ndarray | None = None
        self._first_group: int | None = None
        self._points: dict[int, int] = {}
        """How many points the form at a place has."""
        self._mentions = Mentions(manifest)

    def run(self) -> Report:
        manifest = self._manifest
        self._forms()
        shards = self._shards()
        self._files(shards)
        self._labels()
        for number in shards:
            self._pages(number)
        if manifest.comparison is not None:
            for number in shards:
                self._pairs(number)
        if manifest.controls:
            table = self._table(contract.CONTROLS, contract.controls_schema())
            self._sized(contract.CONTROLS, table, manifest.controls)
            self._sound(contract.CONTROLS, table)
        if manifest.modality == "text":
            self._tokens()
        if manifest.modality == "image":
            self._pixels()
        return Report(self._problems, self._counts)

    def _shards(self) -> range:
        """Numbers of the files of pages/ that should be there.

        A damaged manifest may promise any number: no more are looked for than forms.arrow has
        forms, or, without it, than there are files.
        """
        promised = -(-self._manifest.forms // self._manifest.shard_size)
        if self._ids is not None:
            return range(min(promised, -(-len(self._ids) // self._manifest.shard_size)))
        return range(min(promised, sum(1 for _ in (self._folder / contract.PAGES).glob("*"))))

    def _problem(self, path: str, what: str) -> None:
        self._problems.append(f"{path}: {what}")

    def _table(self, path: str, *schemas: pa.Schema) -> pa.RecordBatch | None:
        """The table, or None with its problem noted."""
        try:
            return read_table(self._folder, path, *schemas)
        except QuadricError as error:
            full = str(self._folder / path)
            self._problem(path, str(error).removeprefix(full).strip())
            return None

    def _sized(self, path: str, table: pa.RecordBatch | None, expected: int) -> None:
        if table is not None and table.num_rows != expected:
            self._problem(path, f"has {table.num_rows} rows, expected {expected}")

    def _sound(self, path: str, table: pa.RecordBatch | None) -> bool:
        """Whether the rows of the table can be used; notes what is wrong with them."""
        if table is None:
            return False
        faults = list(row_faults(table, self._manifest))
        # Arithmetic needs lists of the right lengths.
        if not faults and path not in (contract.FORMS, contract.LABELS):
            faults = list(number_faults(table))
        for fault in faults:
            self._problem(path, fault)
        return not faults

    def _files(self, shards: range) -> None:
        files = self._table(contract.FILES, contract.files_schema())
        if files is None:
            return
        manifest = self._manifest
        needed = {contract.MANIFEST, contract.FORMS, contract.LABELS}
        needed |= {shard(contract.PAGES, number) for number in shards}
        if manifest.comparison is not None:
            needed |= {shard(contract.PAIRS, number) for number in shards}
        if manifest.controls:
            needed.add(contract.CONTROLS)
        if manifest.modality == "text":
            needed.add(contract.VOCABULARY)
        self._counts["files"] = files.num_rows
        for path, fault in file_faults(self._folder, files, needed):
            self._problem(path, fault)

    def _forms(self) -> None:
        names = [statistic.name for statistic in self._manifest.statistics]
        table = self._table(contract.FORMS, contract.forms_schema(names))
        self._sized(contract.FORMS, table, self._manifest.forms)
        if table is None or not self._sound(contract.FORMS, table):
            return
        self._ids = table.column("id").to_numpy()
        known, times = np.unique(self._ids, return_counts=True)
        for id, count in zip(known[times > 1], times[times > 1], strict=True):
            self._problem(contract.FORMS, f"form {id} is listed {count} times")
        # Numbers of groups begin where those of latents end. Without a group the atlas does not
        # know how many latents there are, and every number may be one that it does not show.
        kinds = table.column("kind").to_numpy()
        groups = self._ids[np.isin(kinds, [KINDS.index("group"), KINDS.index("composed")])]
        self._first_group = int(groups.min()) if len(groups) else None
        for name in names:
            for i in np.flatnonzero(np.isinf(table.column(name).to_numpy())):
                self._problem(contract.FORMS, f"{name_of(table, i)}: {name} is infinite")

    def _labels(self) -> None:
        table = self._table(contract.LABELS, contract.labels_schema())
        self._sized(contract.LABELS, table, self._manifest.forms)
        if table is None or not self._sound(contract.LABELS, table):
            return
        for fault in number_faults(table):
            self._problem(contract.LABELS, fault)
        self._known(contract.LABELS, table, "members", table.column("members").flatten())

    def _pages(self, number: int) -> None:
        path = shard(contract.PAGES, number)
        table = self._table(path, *shard_schemas(contract.PAGES, self._manifest))
        if table is None:
            return
        self._order(path, table, number)
        if not self._sound(path, table):
            return
        near = table.column("neighbours")
        self._known(path, table, "neighbours", near.flatten().field("id"))
        first, sizes = number * self._manifest.shard_size, lengths(table, "value").tolist()
        self._points.update((first + i, size) for i, size in enumerate(sizes))
        self._counts["forms"] += table.num_rows
        self._counts["points"] += sum(sizes)
        contexts = table.column("contexts").flatten()
        self._mentions.add(
            table.column("row").flatten().to_numpy(),
            contexts.field("row").to_numpy(),
            contexts.field("start").to_numpy(),
            np.diff(contexts.field("values").offsets.to_numpy()),
        )

    def _pairs(self, number: int) -> None:
        path = shard(contract.PAIRS, number)
        table = self._table(path, contract.pairs_schema())
        if table is None:
            return
        self._order(path, table, number)
        self._sound(path, table)
        first = number * self._manifest.shard_size
        for i, size in enumerate(lengths(table, "value").tolist()):
            expected = self._points.get(first + i, size)
            if size != expected:
                what = f"{name_of(table, i)}: has {size} points, its page {expected}"
                self._problem(path, what)

    def _order(self, path: str, table: pa.RecordBatch, number: int) -> None:
        """Rows of a numbered table are the forms of forms.arrow, in their order."""
        size = self._manifest.shard_size
        self._sized(path, table, min(size, self._manifest.forms - number * size))
        if self._ids is None:
            return
        expected = self._ids[number * size :][: table.num_rows]
        found = table.column("id").to_numpy()[: len(expected)]
        for i in np.flatnonzero(found != expected):
            self._problem(path, f"row {i} is form {found[i]}, expected form {expected[i]}")

    def _known(self, path: str, table: pa.RecordBatch, name: str, ids: pa.Array) -> None:
        """Forms that are referred to are in the atlas, or latents that it does not show."""
        if self._ids is None or self._first_group is None:
            return
        numbers = ids.to_numpy()
        unknown = (numbers >= self._first_group) & ~np.isin(numbers, self._ids)
        owner = np.repeat(np.arange(table.num_rows), lengths(table, name))
        for item in np.flatnonzero(unknown):
            what = f"refers to form {numbers[item]} in its {name}, which is not there"
            self._problem(path, f"{name_of(table, owner[item])}: {what}")

    def _tokens(self) -> None:
        manifest, used = self._manifest, [np.zeros(0, np.int64)]
        for number in self._mentions.token_files():
            path = shard(contract.TOKENS, number)
            table = self._table(path, *shard_schemas(contract.TOKENS, manifest))
            if table is not None:
                left = manifest.rows - number * ROWS_PER_TOKEN_FILE
                self._sized(path, table, min(ROWS_PER_TOKEN_FILE, left))
                used.append(np.unique(table.column("token").to_numpy()))
        vocabulary = self._table(contract.VOCABULARY, contract.vocabulary_schema())
        if vocabulary is None:
            return
        known = vocabulary.column("id").to_numpy()
        self._counts["tokens"] = len(known)
        if (np.diff(known.astype(np.int64)) <= 0).any():
            self._problem(contract.VOCABULARY, "ids do not rise")
        for id in np.setdiff1d(np.concatenate(used), known)[:3]:
            self._problem(contract.VOCABULARY, f"token {id} occurs in tokens/ but has no text")

    def _pixels(self) -> None:
        rows = self._mentions.image_rows()
        self._counts["images"] = len(rows)
        for number in np.unique(rows // ROWS_PER_PIXEL_FILE).tolist():
            path = shard(contract.PIXELS, number)
            table = self._table(path, *shard_schemas(contract.PIXELS, self._manifest))
            if table is None:
                continue
            found = table.column("row").to_numpy().astype(np.int64)
            if (np.diff(found) <= 0).any() or (found // ROWS_PER_PIXEL_FILE != number).any():
                self._problem(path, "its rows do not rise, or belong to another file")
            mine = rows[rows // ROWS_PER_PIXEL_FILE == number]
            for row in np.setdiff1d(mine, found)[:3]:
                self._problem(path, f"row {row} is shown by a page but has no image")
