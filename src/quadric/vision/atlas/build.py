"""From a trained image classifier to its atlas: the folder of tables that the web page explores.

    trained = load(Path("runs/digits"))
    build_atlas(trained, Path("runs/digits-atlas"), compare=load(Path("runs/twin")))

Forms are the classes' logits, the differences of confused classes and the tensor's components, from
the weights alone; rows are the test images. Each form has up to 1,024 images of which its leading
axes hold much, and 256 drawn at random, the same for all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.activations.rows import MemoryRows
from quadric.atlas import bundle
from quadric.atlas.content.axes import Form, Group
from quadric.atlas.content.images import Pixels
from quadric.atlas.content.layout import NEIGHBOURS as MAPPED
from quadric.atlas.content.layout import layout
from quadric.atlas.content.neighbours import MEASURES, among, cosines
from quadric.atlas.content.pairs import widened
from quadric.atlas.content.statistics import definitions
from quadric.atlas.folder.replace import check_replaceable
from quadric.atlas.folder.writer import AtlasWriter
from quadric.atlas.records import FormRow
from quadric.errors import QuadricError
from quadric.manifolds.files import Found
from quadric.manifolds.presence import MOST, points_of
from quadric.runs.listing import Entry
from quadric.runs.pages import COMPUTED, NEIGHBOURS, Partners, Source, pages
from quadric.vision.atlas.directions import Direction, directions
from quadric.vision.atlas.facts import describe, describe_other
from quadric.vision.atlas.view import ClassifierView
from quadric.vision.files import Trained

BOUNDS = (0.0, 1.0)
"""Pixels that are stored as 0 and 255."""


@torch.no_grad()
def build_atlas(
    trained: Trained, out: Path, *, compare: Trained | None = None, title: str | None = None
) -> dict[str, Any]:
    """Write the atlas of a classifier and put the page beside it, where the page has been built.

    Args:
        trained: a classifier with one bilinear block; biases and a residual path are welcome.
        out: the folder to write; an older atlas there is replaced.
        compare: another classifier of the same classes, whose form of the same combination of
            logits stands beside each form.
        title: what the page is headed with; the data set's name when None.

    Returns:
        ``forms``, ``points`` (those of all forms together), ``seconds``, and ``page``: None, or why
        the page is missing.

    Raises:
        QuadricError: the logits are no quadratic forms, the test images are not on this machine,
            the two classifiers read other images or classes, or ``out`` holds something else.
    """
    started = time.monotonic()
    check_replaceable(out)
    view = ClassifierView(trained.model)
    if compare is not None:
        _check_comparable(trained, compare)
    data = trained.data()
    shown = directions(trained.model, data.test)
    weights = torch.stack([each.weights for each in shown])
    store = MemoryRows(data.test.pixels)
    near = among(view.stack(weights), view.pairs(weights), k=max(NEIGHBOURS, MAPPED))
    places = layout(near["gram"].ids.numpy(), near["gram"].overlaps.numpy())
    entries = _entries(view, shown, weights, store)
    partners = None if compare is None else _partners(view, compare, entries, weights)
    source = Source(view, store, searched=len(store), drop_first=0, points=MOST)
    rows: list[FormRow] = []
    count = 0
    with AtlasWriter(
        out,
        title=title or f"{Path(data.name).name} classifier",
        modality="image",
        facts=describe(trained, data, shown),
        rows=len(store),
        context_size=1,
        statistics=definitions(
            {"importance", "points", "accuracy"} | COMPUTED,
            rows=len(source.sample),
            searched=len(store),
        ),
        colour="effective_rank",
        size="importance",
        measures=[MEASURES[name] for name in near],
        comparison=None if compare is None else describe_other(compare),
        image_shape=data.test.shape,
        pixel_range=BOUNDS,
    ) as atlas:
        for row, page, pair in pages(source, entries, near, places, partners):
            atlas.add(page, pair)
            rows.append(row)
            count += len(page.rows)
        atlas.finish(rows, pixels=Pixels(store, BOUNDS))
    return {
        "forms": len(rows),
        "points": count,
        "seconds": time.monotonic() - started,
        "page": bundle.add_page(out),
    }


def _entries(
    view: ClassifierView,
    shown: Sequence[Direction],
    weights: Float[Tensor, "q m"],
    store: MemoryRows,
) -> list[Entry]:
    """Every form with the images on which it is present."""
    groups = [_group(number, each) for number, each in enumerate(shown)]
    forms = view.combine(groups)
    found = points_of(
        lambda x: (view.values(weights, x), x),
        view.read,
        [form.axes for form in forms],
        store,
        drop_first=0,
    )
    return [
        _entry(group, each, form, Found.of(points))
        for group, each, form, points in zip(groups, shown, forms, found, strict=True)
    ]


def _group(number: int, shown: Direction) -> Group:
    members = shown.weights.nonzero()[:, 0]
    return Group(number, tuple(members.tolist()), tuple(shown.weights[members].tolist()))


def _entry(group: Group, shown: Direction, form: Form, found: Found) -> Entry:
    statistics = {
        "importance": float(form.spectrum.double().square().sum()),
        "points": float(len(found.rows)),
    }
    if shown.accuracy is not None:
        statistics["accuracy"] = shown.accuracy
    return Entry(
        id=group.id,
        kind=shown.kind,
        members=group.members,
        weights=group.weights,
        shape="unscored",
        label=shown.label,
        written_label="",
        tokens=(),
        statistics=statistics,
        ring_plane=None,
        scores=(),
        found=found,
    )


def _partners(
    view: ClassifierView, other: Trained, entries: Sequence[Entry], weights: Float[Tensor, "q m"]
) -> Partners:
    """The same combinations of logits in another classifier, which reads the same pixels."""
    theirs = ClassifierView(other.model)
    width = max(view.tensor.d, theirs.tensor.d)
    one, two = (
        widened(each.stack(weights), width).to(dtype=torch.float64) for each in (view, theirs)
    )
    norms = (each.gram().diagonal().clamp_min(0).sqrt() for each in (one, two))
    return Partners(
        forms=lambda some: theirs.forms(entries[some.start : some.stop]),
        overlap=cosines(one, two, *norms).diagonal().clamp(-1, 1),
        labels={entry.id: entry.label for entry in entries},
    )


def _check_comparable(trained: Trained, other: Trained) -> None:
    one, two = trained.model, other.model
    if one.shape != two.shape:
        raise QuadricError(
            f"{trained.path} reads images of {'×'.join(map(str, one.shape))} and {other.path} of "
            f"{'×'.join(map(str, two.shape))}: an atlas compares classifiers of the same images"
        )
    if one.classes != two.classes:
        raise QuadricError(
            f"{trained.path} has the classes {', '.join(one.classes)} and {other.path} "
            f"{', '.join(two.classes)}: an atlas compares classifiers of the same classes"
        )
