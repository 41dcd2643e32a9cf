"""``quadric analyze``: what a finished run's weights say, and the evidence for its manifolds.

Writes a table of latents (spectra, labels, responses), one of neighbours, the ranked manifolds with
their axes and the rows they were found on, and a picture of the first of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from quadric.activations.cache import ActivationCache
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.contexts import Visit
from quadric.manifolds import files
from quadric.manifolds.candidates import NEIGHBOURS, candidates
from quadric.manifolds.controls import random_forms
from quadric.manifolds.discovery import Manifold, discover
from quadric.manifolds.labels import Label, TokenStatistics
from quadric.manifolds.overlap import overlaps
from quadric.report import figures, slices
from quadric.runs import latents, neighbours
from quadric.runs.config import RunConfig, is_finished
from quadric.runs.inspect import open_store, tokenizer_of
from quadric.runs.latents import Latent, describe_latents, write_latents
from quadric.runs.neighbours import write_neighbours
from quadric.storage import make_folder

ROWS_SEARCHED = 200_000
"""Leading rows of the store in which manifolds are looked for."""
PICTURE = "manifolds.png"
LATENT_ROWS = 100_000
"""Leading rows searched for the responses of single latents, where as many are searched at all."""
DRAWN = 12
"""Rows of the table that are drawn."""


class NothingToExamine(QuadricError):
    """No latents overlap, so that there are no candidates for manifolds."""


class Analysis(NamedTuple):
    """What ``quadric analyze`` found."""

    latents: list[Latent]
    """The rows of latents.parquet, the most important first."""
    manifolds: list[dict[str, Any]]
    """The rows of manifolds.json, best first."""


def analyze_run(folder: Path, *, rows_searched: int = ROWS_SEARCHED, seed: int = 0) -> Analysis:
    """Describe a run's latents and rank its manifolds.

    Args:
        folder: a finished run.
        rows_searched: leading rows of its activations to look at.
        seed: of everything random.

    Raises:
        QuadricError: the run is unfinished, keeps no activations, or has nothing to examine.
    """
    config = RunConfig.read(folder)
    if not is_finished(folder):
        raise QuadricError(f"the run {folder} is not finished: continue it with train --resume")
    store = open_store(config)
    if store is None:
        raise QuadricError(
            f"the activations of {folder} are gone or were never kept: train on stored ones, "
            "without --stream"
        )
    model = BilinearAutoencoder.load_from_disk(folder)
    tokens, tokenizer = None, None
    if isinstance(store, ActivationCache):
        tokens = store.token_ids(torch.arange(min(len(store), rows_searched)))
        tokenizer = tokenizer_of(model)
    counted: list[TokenStatistics] = []

    def watch(forms: int) -> Visit:
        assert isinstance(store, ActivationCache)
        counted.append(
            TokenStatistics(store, forms, limit=rows_searched, drop_first=config.data.drop_first)
        )
        return counted[-1].add

    graphs = overlaps(model, NEIGHBOURS)
    write_neighbours(graphs, folder / neighbours.FILE)
    described = describe_latents(
        model,
        store,
        tokenizer,
        limit=min(rows_searched, LATENT_ROWS),
        drop_first=config.data.drop_first,
    )
    write_latents(described, folder / latents.FILE)
    chosen = candidates(model, graphs)
    looking = {"limit": rows_searched, "drop_first": config.data.drop_first, "seed": seed}
    controls = random_forms(model, store, chosen, **looking)
    found = discover(
        model,
        store,
        tokens=tokens,
        watch=watch if tokenizer is not None else None,
        chosen=chosen,
        null=controls,
        **looking,
    )
    if not found:
        raise NothingToExamine(
            f"nothing to examine in {folder}: no latents overlap; train a composite autoencoder "
            "(--variant composite)"
        )
    labels = _labels(found, counted, tokenizer)
    rows = [files.as_row(manifold, label) for manifold, label in zip(found, labels, strict=True)]
    files.write_points(found, controls, min(rows_searched, len(store)), folder)
    files.write(found, rows, folder)
    names = [_names(manifold, store, tokenizer) for manifold in found[:DRAWN]]
    picture = slices.grid(found[:DRAWN], labels[:DRAWN], names)
    figures.save(picture, make_folder(folder / "figures") / PICTURE)
    return Analysis(described, rows)


def _labels(
    found: list[Manifold],
    counted: list[TokenStatistics],
    tokenizer: Any,
) -> list[Label]:
    """A label for every row, from the token counts gathered in the order of the candidates."""
    if tokenizer is None:
        return [Label("", "token", [])] * len(found)
    in_order = [label for statistics in counted for label in statistics.labels(tokenizer)]
    # Candidates are numbered in the order they were examined, composites before groups.
    ids = sorted(manifold.candidate.id for manifold in found)
    by_id = dict(zip(ids, in_order, strict=True))
    return [by_id[manifold.candidate.id] for manifold in found]


def _names(manifold: Manifold, store: Any, tokenizer: Any) -> list[str] | None:
    """The token at every point, where tokens are known."""
    if tokenizer is None or manifold.points is None:
        return None
    return [tokenizer.decode([i]).strip() for i in store.token_ids(manifold.points.rows).tolist()]
