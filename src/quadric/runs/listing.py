"""What a run says of each of its forms, in the order of its atlas.

    listing = list_forms(folder, model, store, drop_first=1)
    listing.entries[0].label, listing.entries[0].found.rows

First come the rows of manifolds.json, best evidence first; then the latents that were no
candidates, the most important first. Their points are searched for in the same way here, since the
analysis did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadric.activations.rows import Rows
from quadric.atlas.content.axes import latent_forms
from quadric.atlas.records import NullScore
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import files
from quadric.manifolds.candidates import Candidate
from quadric.manifolds.files import Found, FoundControl
from quadric.manifolds.presence import AT_ONCE, find_points
from quadric.runs import latents

SCORES = ("ring", "dimension", "clustering", "slice_share", "token_class", "separation")


@dataclass(frozen=True, eq=False)
class Entry:
    """A form as the run's tables describe it."""

    id: int
    """The latent, or d_sae plus a group's number."""
    kind: str
    """latent, composite or group."""
    members: tuple[int, ...]
    """The latents it sums."""
    weights: tuple[float, ...]
    """Their weights."""
    shape: str
    """What the evidence says; unscored for a latent that was no candidate."""
    label: str
    """Its distinctive words."""
    written_label: str
    """What a language model called it."""
    tokens: tuple[str, ...]
    """The words or tokens it responds to."""
    statistics: dict[str, float]
    """Those that the tables have."""
    ring_plane: tuple[int, int] | None
    """Two of the candidate's axes."""
    scores: tuple[NullScore, ...]
    """Every score beside every null."""
    found: Found
    """Where it is present, and rows to show it on."""


@dataclass(frozen=True, eq=False)
class Listing:
    """All forms of a run."""

    entries: list[Entry]
    """In the order of the atlas."""
    controls: list[FoundControl]
    """Random forms."""
    searched: int
    """Leading rows of the store that were looked at."""


def list_forms(
    folder: Path,
    model: BilinearAutoencoder,
    store: Rows,
    *,
    drop_first: int,
    ids: Iterable[int] | None = None,
    rows_searched: int,
) -> Listing:
    """Read a run's tables.

    Args:
        folder: an analysed run.
        model: its autoencoder.
        store: its activations.
        drop_first: positions of a context left out, as in training.
        ids: the forms wanted; all when None.
        rows_searched: leading rows to look at, where the analysis found nothing to examine.

    Raises:
        QuadricError: a table is missing or damaged, or an id does not exist.
    """
    described = {row["id"]: row for row in _read_latents(folder)}
    table, points = _ranked(folder, rows_searched)
    wanted = None if ids is None else list(ids)
    if wanted is not None:
        known = {*described, *(row["id"] for row in table)}
        if missing := [each for each in wanted if each not in known]:
            raise QuadricError(
                f"form {missing[0]} does not exist: {folder} has latents 0 to {model.d_sae - 1}"
                f" and groups up to {max(known)}"
            )
    entries = [
        _ranked_entry(row, found, described)
        for row, found in zip(table, points.forms, strict=True)
        if wanted is None or row["id"] in wanted
    ]
    ranked = {row["id"] for row in table}
    others = [
        latent
        for latent in sorted(described, key=lambda each: -described[each]["importance"])
        if latent not in ranked and (wanted is None or latent in wanted)
    ]
    searched = find_latents(model, store, others, limit=points.searched, drop_first=drop_first)
    kind = "latent" if model.config.block is None else "composite"
    entries += [
        _plain_entry(described[latent], kind, found)
        for latent, found in zip(others, searched, strict=True)
    ]
    return Listing(entries, points.controls, points.searched)


def find_latents(
    model: BilinearAutoencoder,
    store: Rows,
    chosen: Sequence[int],
    *,
    limit: int,
    drop_first: int,
) -> list[Found]:
    """Where latents are present along their own eigenvectors, whether candidates or not."""
    found = []
    for start in range(0, len(chosen), AT_ONCE):
        forms = latent_forms(model, chosen[start : start + AT_ONCE])
        candidates = [
            Candidate(form.id, "composite", form.members, form.weights, diagonal, form.axes)
            for form in forms
            for diagonal in [form.matrix.diagonal().to(form.axes)]
        ]
        points = find_points(model, store, candidates, limit=limit, drop_first=drop_first)
        found += [Found.of(each) for each in points]
    return found


def _ranked(folder: Path, rows_searched: int) -> tuple[list[dict[str, Any]], files.FoundPoints]:
    """The ranked table and its points; empty where nothing was there to examine."""
    if not (folder / files.TABLE).is_file():
        return [], files.FoundPoints([], [], rows_searched)
    table, points = files.read(folder), files.read_points(folder)
    if len(points.forms) != len(table):
        raise QuadricError(
            f"{folder / files.POINTS} is of {len(points.forms)} forms and {files.TABLE} of "
            f"{len(table)}: run quadric analyze {folder} again"
        )
    return table, points


def _ranked_entry(row: dict[str, Any], found: Found, described: dict[int, Any]) -> Entry:
    latent = described.get(row["id"], {})
    scores = row["scores"]
    statistics = {
        "evidence": row["evidence"],
        "p_value": row["p_value"],
        "importance": sum(described[member]["importance"] for member in row["members"]),
        "points": float(row["points"]),
        **{name: scores[name]["value"] for name in SCORES if name in scores},
    }
    if "token_class" in scores:
        statistics["words"] = row["words"]
    plane = row["ring_plane"]
    return Entry(
        id=row["id"],
        kind=row["kind"],
        members=tuple(row["members"]),
        weights=tuple(row["weights"]),
        shape=row["shape"],
        label=row["label"],
        written_label=latent.get("written_label") or "",
        tokens=tuple(token["token"] for token in row["top_tokens"]),
        statistics=statistics,
        ring_plane=(plane[0], plane[1]) if plane else None,
        scores=tuple(_scores(scores)),
        found=found,
    )


def _plain_entry(row: dict[str, Any], kind: str, found: Found) -> Entry:
    return Entry(
        id=row["id"],
        kind=kind,
        members=(row["id"],),
        weights=(1.0,),
        shape="unscored",
        label=row["label"],
        written_label=row["written_label"] or "",
        tokens=tuple(word["token"] for word in row["words"]),
        statistics={"importance": row["importance"], "points": float(len(found.rows))},
        ring_plane=None,
        scores=(),
        found=found,
    )


def _scores(scores: dict[str, Any]) -> Iterable[NullScore]:
    for name in SCORES:
        if name in scores:
            value = scores[name]["value"]
            for null, drawn in scores[name]["nulls"].items():
                yield NullScore(name, value, null, **drawn)


def _read_latents(folder: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    path = folder / latents.FILE
    if not path.is_file():
        raise QuadricError(f"{folder} has no {latents.FILE}: run quadric analyze {folder} first")
    columns = ["id", "importance", "label", "words", "written_label"]
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise QuadricError(f"cannot read {path}: {error}") from error
    return rows
