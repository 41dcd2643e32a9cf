"""From a run to its atlas: the folder of tables that the web page explores.

    build_atlas(Path("runs/demo"), Path("runs/demo/atlas"), compare=Path("runs/demo/twin"))

Everything is read from the run's tables and its stored activations; a run that was not analysed is
analysed first. Forms are in the order of manifolds.json, then the latents that are no candidates.
Each has up to ``points`` rows on which it is present and 256 drawn at random, the same for all; of
an atlas of more than 4,096 forms, those after the first 2,048 have 256 present and 64 random rows,
so that a hundred thousand forms fit on a disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console

from quadric.activations.cache import ActivationCache
from quadric.activations.rows import Rows
from quadric.atlas import bundle
from quadric.atlas.content.axes import latent_forms
from quadric.atlas.content.images import Pixels, check_shape, pixel_range
from quadric.atlas.content.layout import layout
from quadric.atlas.content.neighbours import MEASURES, Near
from quadric.atlas.content.pairs import match
from quadric.atlas.content.points import transformed
from quadric.atlas.content.statistics import definitions
from quadric.atlas.contract import MOST_EIGENVALUES, Comparison, Statistic
from quadric.atlas.folder.replace import check_replaceable
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import Control, FormPoints, FormRow
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import files
from quadric.manifolds.files import FoundControl
from quadric.runs import facts, latents, neighbours
from quadric.runs.analyze import ROWS_SEARCHED, NothingToExamine, analyze_run
from quadric.runs.config import FILE as RUN_FILE
from quadric.runs.config import RunConfig, is_finished
from quadric.runs.data import cache_of
from quadric.runs.inspect import open_store, tokenizer_of
from quadric.runs.listing import Entry, list_forms
from quadric.runs.pages import COMPUTED, Partners, Source, pages
from quadric.runs.view import AutoencoderView

POINTS = 1024
"""Present rows of a form, at most."""
MATCHED = {
    "cosine": "the largest |cosine| of the forms",
    "correlation": "the largest |correlation| of values on sampled rows, since the two transform "
    "their input differently",
}


def build_atlas(
    run: Path,
    out: Path,
    *,
    compare: Path | None = None,
    ids: Sequence[int] | None = None,
    points: int = POINTS,
    image_shape: tuple[int, int, int] | None = None,
    title: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Write the atlas of a run and put the page beside it, where the page has been built.

    Args:
        run: a finished run with its activations.
        out: the folder to write; an older atlas there is replaced.
        compare: the folder of another autoencoder on the same activations.
        ids: the forms to show; all when None.
        points: present rows of a form, at most; the analysis keeps up to 1,024.
        image_shape: height, width and channels, where activations are pixels.
        title: what the page is headed with; the run's name when None.
        console: where progress is reported.

    Returns:
        ``forms``, ``points`` (those of all forms together), ``seconds``, and ``page``: None, or why
        the page is missing.

    Raises:
        QuadricError: the run is unfinished or keeps no activations, a form does not exist, the
            autoencoders read different activations, or ``out`` holds something else.
    """
    started = time.monotonic()
    check_replaceable(out)
    config, store, model = _open(run)
    if image_shape is not None:
        check_shape(image_shape, model.d_in)
    _analyse(run, console)
    listing = list_forms(
        run,
        model,
        store,
        drop_first=config.data.drop_first,
        ids=ids,
        rows_searched=min(ROWS_SEARCHED, len(store)),
    )
    text = _text(store, model) if image_shape is None else {}
    source = Source(
        view=AutoencoderView(model, image_shape),
        store=store,
        searched=listing.searched,
        drop_first=config.data.drop_first,
        points=points,
        context_size=getattr(store, "context_size", None) if text else None,
    )
    near = neighbours.read_near(run, model)
    places = _places(near["gram"], listing.entries)
    partners, comparison = None, None
    if compare is not None:
        partners, comparison = _partners(compare, config, model, source, listing.entries)
    pixels = None
    if image_shape is not None:
        pixels = Pixels(store, pixel_range(source.sample_x))
    rows: list[FormRow] = []
    shown = 0
    with AtlasWriter(
        out,
        title=title or run.resolve().name,
        modality="image" if pixels else "text" if text else "vector",
        facts=facts.of_run(run, model, searched=source.searched, rows=len(store)),
        rows=len(store),
        context_size=source.context_size or 1,
        statistics=_statistics(source, listing.entries),
        colour="evidence" if any(entry.scores for entry in listing.entries) else "effective_rank",
        size="importance",
        measures=[MEASURES[name] for name in near],
        comparison=comparison,
        image_shape=image_shape,
        pixel_range=None if pixels is None else pixels.bounds,
        run=os.path.relpath(run.resolve(), out.resolve()),
    ) as atlas:
        for row, page, pair in pages(source, listing.entries, near, places, partners):
            atlas.add(page, pair)
            rows.append(row)
            shown += len(page.rows)
        controls = [_control(each) for each in listing.controls]
        atlas.finish(rows, controls, **text, pixels=pixels)
    return {
        "forms": len(rows),
        "points": shown,
        "seconds": time.monotonic() - started,
        "page": bundle.add_page(out),
    }


def _open(run: Path) -> tuple[RunConfig, Rows, BilinearAutoencoder]:
    config = RunConfig.read(run)
    if not is_finished(run):
        raise QuadricError(f"the run {run} is not finished: continue it with train --resume")
    store = open_store(config)
    if store is None:
        raise QuadricError(
            f"the activations of {run} are gone or were never kept: train on stored ones, "
            "without --stream"
        )
    return config, store, BilinearAutoencoder.load_from_disk(run)


def _analyse(run: Path, console: Console | None) -> None:
    """Analyse the run unless that was done, by a version that keeps the points."""
    tables = (latents.FILE, neighbours.FILE, files.TABLE, files.POINTS)
    if all((run / name).is_file() for name in tables):
        return
    if console is not None:
        console.print(f"analysing {run} first", markup=False, highlight=False)
    try:
        analyze_run(run)
    except NothingToExamine:
        # The atlas then shows the latents themselves, and nothing of an older analysis.
        for name in (files.TABLE, files.POINTS):
            (run / name).unlink(missing_ok=True)


def _text(store: Rows, model: BilinearAutoencoder) -> dict[str, Any]:
    """Token ids by row and texts by id, as the writer asks for them; nothing where unknown."""
    tokenizer = tokenizer_of(model) if isinstance(store, ActivationCache) else None
    if tokenizer is None or not isinstance(store, ActivationCache):
        return {}
    return {
        "tokens": lambda start, stop: store.token_ids(torch.arange(start, stop)).numpy(),
        "texts": lambda ids: [tokenizer.decode([each]) for each in ids],
    }


def _places(near: Near, entries: Sequence[Entry]) -> Float[np.ndarray, "n 2"]:
    """The map of the forms shown, from the graph among them."""
    ids = torch.tensor([entry.id for entry in entries])
    place = torch.full((len(near.ids),), -1)
    place[ids] = torch.arange(len(ids))
    graph, overlaps = place[near.ids[ids]], near.overlaps[ids].double()
    # Where only some forms are shown, an edge to another one leads back to where it starts.
    out = graph < 0
    graph = torch.where(out, torch.arange(len(ids))[:, None], graph)
    return layout(graph.numpy(), overlaps.masked_fill(out, 0).numpy())


def _partners(
    compare: Path,
    config: RunConfig,
    model: BilinearAutoencoder,
    source: Source,
    entries: Sequence[Entry],
) -> tuple[Partners, Comparison]:
    """The partner of every form in the other autoencoder, and what that one is."""
    other = BilinearAutoencoder.load_from_disk(compare)
    if (compare / RUN_FILE).is_file():
        theirs, ours = _origin(RunConfig.read(compare)), _origin(config)
        if theirs != ours:
            raise QuadricError(
                f"{compare} reads {theirs} and not {ours}: an atlas compares autoencoders on the "
                "same rows"
            )
    members = [entry.members for entry in entries]
    weights = [entry.weights for entry in entries]
    matched = match(model, other, members, weights, source.sample_x)
    # Companions of one run have one transform: its work is done already.
    alike = other.transform.statistics() == model.transform.statistics()
    partners = Partners(
        forms=lambda some: latent_forms(other, matched.partner[some.start : some.stop].tolist()),
        overlap=matched.overlap,
        labels=latents.read_labels(compare),
        other=None if alike else partial(transformed, other),
    )
    described = {**facts.of_model(other), "Matched by": MATCHED[matched.by]}
    return partners, Comparison(compare.resolve().name, described)


def _origin(config: RunConfig) -> str:
    """Where a run's activations lie."""
    if config.data.activations is None and config.harvest is not None:
        return str(cache_of(config.harvest))
    return str(Path(config.data.activations or "").resolve())


def _statistics(source: Source, entries: Sequence[Entry]) -> list[Statistic]:
    names = {name for entry in entries for name in entry.statistics} | COMPUTED
    return definitions(names, rows=len(source.sample), searched=source.searched)


def _control(found: FoundControl) -> Control:
    """A random form, which is diagonal on its random axes."""
    r = found.coordinates.shape[1]
    values = found.eigenvalues.double()
    order = values.abs().argsort(descending=True, stable=True)[:MOST_EIGENVALUES]
    return Control(
        found.effective_rank,
        FormPoints(
            spectrum=values[order].numpy(),
            axis_kind=["eigenvector"] * r,
            form=values[:r].diag().numpy(),
            linear=np.zeros(r),
            constant=0.0,
            coordinates=found.coordinates.double().numpy(),
            value=found.values.double().numpy(),
        ),
    )
