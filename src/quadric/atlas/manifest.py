"""Reading and writing ``atlas.json``.

Keys are the fields of ``contract.Manifest``; an unknown, missing or wrongly typed one is an error,
and so is a version newer than this code.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quadric.atlas.contract import FORMAT, MANIFEST, VERSION, Manifest, forms_schema
from quadric.errors import QuadricError, nearest


def manifest_text(manifest: Manifest) -> str:
    """``atlas.json``, after checking that a reader will accept it."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False) + "\n"
    try:
        _parsed(json.loads(text), Manifest, "")
    except QuadricError as error:
        raise QuadricError(f"cannot write an atlas: {error}") from error
    for fault in manifest_faults(manifest):
        raise QuadricError(f"cannot write an atlas: {fault}")
    return text


def read_manifest(folder: Path) -> Manifest:
    """Read ``atlas.json``.

    Raises:
        QuadricError: it is missing, damaged, of another format, or from a newer quadric.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise QuadricError(f"{folder} is not an atlas: it has no {MANIFEST}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise QuadricError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise QuadricError(f"{path} is damaged: not valid JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise QuadricError(f"{path} is not of a quadric atlas: its format is not {FORMAT!r}")
    version = value.get("version")
    if type(version) is not int or version < 1:
        raise QuadricError(f"{path} is damaged: version is {version!r}")
    if version > VERSION:
        raise QuadricError(
            f"{path} has format version {version}; this quadric reads versions up to {VERSION}: "
            "upgrade quadric, or build the atlas again"
        )
    try:
        manifest: Manifest = _parsed(value, Manifest, "")
    except QuadricError as error:
        raise QuadricError(f"{path} is damaged: {error}") from error
    for fault in manifest_faults(manifest):
        raise QuadricError(f"{path} is damaged: {fault}")
    return manifest


def manifest_faults(manifest: Manifest) -> Iterator[str]:
    """In what a manifest contradicts itself."""
    for name, least in (
        ("forms", 0), ("shard_size", 1), ("rows", 1), ("context_size", 1), ("controls", 0)
    ):  # fmt: skip
        # Ids and rows are stored in 32 bits.
        if not least <= getattr(manifest, name) <= 2**32:
            yield f"{name} is {getattr(manifest, name)}, expected {least} … 2³²"
    if manifest.modality != "text" and manifest.context_size != 1:
        yield f"context_size is {manifest.context_size}, expected 1 where rows are no text"
    names = [statistic.name for statistic in manifest.statistics]
    if len(set(names)) < len(names) or set(names) & set(forms_schema([]).names):
        yield f"a column of forms.arrow is named twice: {', '.join(names)}"
    for role in ("colour", "size"):
        chosen = getattr(manifest, role)
        if chosen not in names:
            yield f"{role} is {chosen!r}, which is no statistic{nearest(chosen, names)}"
    image = manifest.modality == "image"
    if (manifest.image_shape is not None) != image or (manifest.pixel_range is not None) != image:
        yield "image_shape and pixel_range belong to images, and images need both"
    if manifest.image_shape is not None and min(manifest.image_shape) < 1:
        yield f"image_shape is {manifest.image_shape}"
    if manifest.pixel_range is not None:
        low, high = manifest.pixel_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            yield f"pixel_range is {manifest.pixel_range}"


def _parsed(value: Any, hint: Any, where: str) -> Any:
    """``value`` from JSON as the type ``hint``: 1 is no string here, and true is no number."""
    name = where or MANIFEST
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    found: Any = None
    if dataclasses.is_dataclass(hint):
        found = _record(value, typing.cast("type[Any]", hint), where)
    elif origin is types.UnionType:
        (inner,) = (kind for kind in arguments if kind is not type(None))
        return None if value is None else _parsed(value, inner, where)
    elif origin is list and isinstance(value, list):
        found = [_parsed(item, arguments[0], f"{name}[{i}]") for i, item in enumerate(value)]
    elif origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        items = enumerate(zip(value, arguments, strict=True))
        found = tuple(_parsed(item, kind, f"{name}[{i}]") for i, (item, kind) in items)
    elif origin is dict and isinstance(value, dict):
        found = {key: _parsed(item, arguments[1], f"{name}.{key}") for key, item in value.items()}
    elif hint is float and type(value) in (int, float):
        found = float(value)
    elif (origin is typing.Literal and value in arguments) or type(value) is hint:
        found = value
    if found is None:
        words = ", ".join(arguments) if origin is typing.Literal else ""
        expected = f"one of {words}" if words else f"a {getattr(origin or hint, '__name__', hint)}"
        raise QuadricError(f"{name} is {value!r}, expected {expected}")
    return found


def _record(value: Any, kind: type[Any], where: str) -> Any:
    if not isinstance(value, dict):
        raise QuadricError(f"{where} is {value!r}, expected an object")
    prefix = f"{where}." if where else ""
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise QuadricError(f"unknown key {prefix}{key}{nearest(key, hints)}")
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING
        if required and field.default_factory is dataclasses.MISSING and field.name not in value:
            raise QuadricError(f"key {prefix}{field.name} is missing")
    return kind(**{key: _parsed(item, hints[key], prefix + key) for key, item in value.items()})
