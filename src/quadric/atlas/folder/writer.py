"""Write an atlas folder.

    with AtlasWriter(folder, title=…, modality="text", …) as atlas:
        for form in forms:                      # best first
            atlas.add(page, pair)
        atlas.finish(rows, controls, tokens=store.tokens, texts=tokenizer.texts)

The folder appears when the block ends: until then everything lies in a hidden neighbour, and an
older atlas in its place stays whole. A folder that is anything but an atlas is never touched. One
file of pages is in memory at a time. The web page that shows it comes from ``bundle.copy_page``.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from quadric import __version__
from quadric.atlas import contract
from quadric.atlas.contract import (
    ROWS_PER_PIXEL_FILE,
    ROWS_PER_TOKEN_FILE,
    Comparison,
    Manifest,
    Measure,
    Modality,
    Statistic,
    shard,
)
from quadric.atlas.folder import tables
from quadric.atlas.folder.checks.records import check_control, check_page, check_pair, check_rows
from quadric.atlas.folder.mentions import Mentions
from quadric.atlas.folder.replace import check_replaceable, replacing_folder, writing
from quadric.atlas.manifest import manifest_text
from quadric.atlas.records import Control, FormRow, Page, Pair
from quadric.errors import QuadricError

SHARD_BYTES = 384 * 1024
"""About how large a file of pages/ is: one request, quickly read."""
MOST_FORMS_PER_SHARD = 64

Tokens = Callable[[int, int], np.ndarray]
"""(start, stop) → the token ids of these rows."""
Texts = Callable[[list[int]], Sequence[str]]
"""Token ids → their texts."""
Pixels = Callable[[np.ndarray], np.ndarray]
"""m rows → (m, H·W·C) or (m, H, W, C) bytes."""


class AtlasWriter:
    """Writes one atlas; the arguments are the fields of ``contract.Manifest``.

    ``statistics`` may have any names but those of the fixed columns of forms.arrow. ``created`` is
    now unless given: with it the same records give the same bytes. ``shard_bytes`` is about how
    large a file of pages becomes, from one form to 64.

    Raises:
        QuadricError: ``folder`` holds something that is not an atlas, or the fields contradict
            each other.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        modality: Modality,
        facts: dict[str, str],
        rows: int,
        context_size: int,
        statistics: Sequence[Statistic],
        colour: str,
        size: str,
        measures: Sequence[Measure],
        comparison: Comparison | None = None,
        image_shape: tuple[int, int, int] | None = None,
        pixel_range: tuple[float, float] | None = None,
        run: str | None = None,
        created: str | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Check the fields and the folder; nothing is written yet."""
        self.manifest = Manifest(
            title=title,
            created=created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            quadric_version=__version__,
            modality=modality,
            facts=facts,
            forms=0,
            shard_size=1,
            rows=rows,
            context_size=context_size,
            statistics=list(statistics),
            colour=colour,
            size=size,
            measures=list(measures),
            comparison=comparison,
            image_shape=image_shape,
            pixel_range=pixel_range,
            run=run,
        )
        manifest_text(self.manifest)
        self._folder = Path(folder)
        check_replaceable(self._folder)
        self._ids: list[int] = []
        self._seen: set[int] = set()
        self._pages: list[Page] = []
        self._pairs: list[Pair] = []
        self._shard_bytes, self._shard_size = shard_bytes, 0
        self._shards = 0
        self._mentions = Mentions(self.manifest)
        self._files: list[tuple[str, int, str]] = []
        self._finished = False

    def __enter__(self) -> AtlasWriter:
        """Make the hidden folder."""
        self._replacing = replacing_folder(self._folder)
        self._temporary = self._replacing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the finished atlas into its place, or leave no trace of an unfinished one."""
        if kind is None and not self._finished:
            kind, error = QuadricError, QuadricError(f"the atlas in {self._folder} is unfinished")
            self._replacing.__exit__(kind, error, trace)
            raise error
        self._replacing.__exit__(kind, error, trace)

    def add(self, page: Page, pair: Pair | None = None) -> None:
        """Add the next form; every one has a ``pair`` exactly if the atlas compares.

        Raises:
            QuadricError: the record cannot be stored; it names the form and what is wrong.
        """
        check_page(page, self.manifest)
        if page.id in self._seen:
            raise QuadricError(f"form {page.id} was added twice")
        if (pair is None) != (self.manifest.comparison is None):
            state = "has no pair" if pair is None else "has a pair, but the atlas compares nothing"
            raise QuadricError(f"form {page.id} {state}")
        if pair is not None:
            check_pair(pair, page)
            self._pairs.append(pair)
        self._ids.append(page.id)
        self._seen.add(page.id)
        self._pages.append(page)
        self._mention(page)
        if len(self._pages) >= (self._shard_size or MOST_FORMS_PER_SHARD):
            self._flush(least=self._shard_size or MOST_FORMS_PER_SHARD)

    def finish(
        self,
        rows: Sequence[FormRow],
        controls: Sequence[Control] = (),
        *,
        tokens: Tokens | None = None,
        texts: Texts | None = None,
        pixels: Pixels | None = None,
    ) -> None:
        """Write everything but the pages; ``rows`` are in the order in which pages were added.

        ``tokens`` and ``texts`` are for text, ``pixels`` is for images.

        Raises:
            QuadricError: the rows do not fit the pages, or a source is missing or answers wrongly.
        """
        modality, names = self.manifest.modality, [each.name for each in self.manifest.statistics]
        for name, source, needs in (
            ("tokens", tokens, "text"), ("texts", texts, "text"), ("pixels", pixels, "image")
        ):  # fmt: skip
            if (source is not None) != (modality == needs):
                state = "missing" if source is None else "given"
                raise QuadricError(f"{name} are {state}, but the atlas is of modality {modality}")
        check_rows(rows, self._ids, names)
        for number, control in enumerate(controls):
            check_control(number, control)
        self._flush(least=1)
        self._write(contract.FORMS, tables.forms_table(rows, names))
        self._write(contract.LABELS, tables.labels_table(rows))
        if controls:
            self._write(contract.CONTROLS, tables.controls_table(controls))
        if tokens is not None and texts is not None:
            self._write_tokens(tokens, texts)
        if pixels is not None:
            self._write_pixels(pixels)
        self.manifest = dataclasses.replace(
            self.manifest,
            forms=len(self._ids),
            shard_size=max(self._shard_size, 1),
            controls=len(controls),
        )
        self._put(contract.MANIFEST, manifest_text(self.manifest).encode())
        self._write(contract.FILES, tables.files_table(sorted(self._files)))
        self._finished = True

    def _mention(self, page: Page) -> None:
        contexts = [(c.row, c.start, len(c.values)) for c in page.contexts]
        rows, starts, sizes = np.array(contexts, dtype=np.int64).reshape(-1, 3).T
        self._mentions.add(page.rows, rows, starts, sizes)

    def _flush(self, least: int) -> None:
        """Write waiting pages in whole files, as long as at least ``least`` of them wait."""
        if self._pages and not self._shard_size:
            images = self.manifest.modality == "image"
            size = tables.pages_table(self._pages, images=images).nbytes / len(self._pages)
            self._shard_size = int(min(MOST_FORMS_PER_SHARD, max(1, self._shard_bytes // size)))
            least = min(least, self._shard_size)
        while self._pages and len(self._pages) >= least:
            pages, self._pages = _split(self._pages, self._shard_size)
            pairs, self._pairs = _split(self._pairs, self._shard_size)
            table = tables.pages_table(pages, images=self.manifest.modality == "image")
            self._write(shard(contract.PAGES, self._shards), table)
            if pairs:
                self._write(shard(contract.PAIRS, self._shards), tables.pairs_table(pairs))
            self._shards += 1

    def _write_tokens(self, tokens: Tokens, texts: Texts) -> None:
        def ids_of(number: int) -> np.ndarray:
            start = number * ROWS_PER_TOKEN_FILE
            stop = min(start + ROWS_PER_TOKEN_FILE, self.manifest.rows)
            ids = np.asarray(tokens(start, stop))
            if ids.shape != (stop - start,) or ids.min() < 0:
                raise QuadricError(
                    f"the tokens of rows {start} … {stop - 1} have shape {ids.shape}, "
                    f"expected {stop - start} ids from 0"
                )
            return ids

        numbers = self._mentions.token_files()
        # Twice through the tokens, because all files have one type and it depends on the largest.
        known = np.zeros(0, np.int64)
        for number in numbers:
            known = np.union1d(known, ids_of(number))
        vocabulary = int(known.max(initial=0)) + 1
        for number in numbers:
            self._write(
                shard(contract.TOKENS, number), tables.tokens_table(ids_of(number), vocabulary)
            )
        words = list(texts(known.tolist()))
        if len(words) != len(known) or not all(isinstance(word, str) for word in words):
            raise QuadricError(f"{len(known)} token ids were given {len(words)} texts")
        self._write(contract.VOCABULARY, tables.vocabulary_table(known, words))

    def _write_pixels(self, pixels: Pixels) -> None:
        rows = self._mentions.image_rows()
        shape = self.manifest.image_shape or (0, 0, 0)
        width = int(np.prod(shape))
        for number in np.unique(rows // ROWS_PER_PIXEL_FILE).tolist():
            mine = rows[rows // ROWS_PER_PIXEL_FILE == number]
            images = np.asarray(pixels(mine))
            if images.dtype != np.uint8 or images.size != len(mine) * width:
                raise QuadricError(
                    f"pixels of {len(mine)} images are {images.dtype} of shape {images.shape}, "
                    f"expected uint8 of ({len(mine)}, {width})"
                )
            table = tables.pixels_table(mine, images.reshape(len(mine), width))
            self._write(shard(contract.PIXELS, number), table)

    def _write(self, path: str, table: pa.RecordBatch) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_batch(table)
        self._put(path, sink.getvalue())

    def _put(self, path: str, content: bytes | pa.Buffer) -> None:
        target = self._temporary / path
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        size = len(memoryview(content))
        self._files.append((path, size, hashlib.sha256(content).hexdigest()))


def _split(items: list, size: int) -> tuple[list, list]:  # type: ignore[type-arg]
    return items[:size], items[size:]
