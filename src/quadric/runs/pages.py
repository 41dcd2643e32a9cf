"""Forms on rows of their store: what the pages of an atlas show, one after another.

    for row, page, pair in pages(source, listing.entries, near, places):
        atlas.add(page, pair)

Rows of the store are gathered once for as many forms as fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.permutation import Permutation
from quadric.activations.rows import Rows
from quadric.atlas.content.axes import Form
from quadric.atlas.content.neighbours import Near
from quadric.atlas.content.points import (
    completed,
    contexts,
    form_points,
    gather,
    window_rows,
)
from quadric.atlas.content.statistics import Sampled, by_spectrum, sampled
from quadric.atlas.records import FormRow, Neighbour, Page, Pair
from quadric.forms import name_quadric
from quadric.runs.listing import Entry
from quadric.runs.view import View

RANDOM_ROWS = 256
"""Rows drawn without looking, on which every form is shown."""
FULL_UP_TO, FULL = 4096, 2048
"""Forms up to which all are shown in full, and how many are in a larger atlas."""
FEW_POINTS, FEW_RANDOM = 256, 64
"""Present and random rows of the others."""
SAMPLE = 16_384
"""Rows behind histograms, means and frequencies, at most."""
SEED = 0
NEIGHBOURS = 12
"""Neighbours listed by each measure."""
FORMS_AT_ONCE = 64
"""Forms read on the sample together, at most."""
PRODUCTS_AT_ONCE = 1 << 26
"""Products of their factors on its rows, held meanwhile."""
COMPUTED = frozenset({
    "effective_rank", "top3_share", "mean_square", "frequency", "max_positive", "max_negative",
})  # fmt: skip
"""Statistics that every form has, whatever the run's tables say."""


@dataclass(frozen=True)
class Source:
    """Where pages come from."""

    view: View
    """The model."""
    store: Rows
    """What it reads."""
    searched: int
    """Leading rows of them that were looked at."""
    drop_first: int
    """Positions of a context left out."""
    points: int
    """Present rows of a form, at most."""
    context_size: int | None = None
    """Rows of a context; None where there is no text."""

    @cached_property
    def sample(self) -> Int[Tensor, " rows"]:
        """Seeded rows among those searched, without the first positions."""
        rows = Permutation(self.searched, SEED)(torch.arange(self.searched))
        positions = self.store.positions(rows)
        return (rows if positions is None else rows[positions >= self.drop_first])[:SAMPLE]

    @cached_property
    def sample_x(self) -> Float[Tensor, "rows d_in"]:
        """They themselves."""
        return self.store.gather(self.sample)

    @cached_property
    def sample_y(self) -> Float[Tensor, "rows d_in"]:
        """As the forms read them."""
        return self.view.read(self.sample_x)


class Chosen(NamedTuple):
    """The rows of a form's points."""

    rows: Int[Tensor, " n"]
    """Present ones first, then random ones."""
    present: int
    """How many are present."""


class Read(NamedTuple):
    """The partners of some forms on gathered rows."""

    forms: list[Form]
    """The partners."""
    y: Float[Tensor, "n d_in"]
    """The rows as the partners read them."""


@dataclass(frozen=True, eq=False)
class Partners:
    """Another model, and which of its forms belongs to each form; in the order of the forms."""

    forms: Callable[[range], list[Form]]
    """The partners of the forms at some places."""
    overlap: Float[Tensor, " n"]
    """How alike the two are, −1 … 1."""
    labels: Mapping[int, str]
    """Labels of the partners by their ids, where they are known."""
    other: Callable[[Tensor], Tensor] | None = None
    """Rows of the store as the partners read them; None where both models read them alike."""

    def read(self, some: range, x: Tensor, y: Tensor) -> Read:
        """The partners of some forms, on rows that the first model reads as ``y``."""
        return Read(self.forms(some), y if self.other is None else self.other(x))

    def pair(self, place: int, form: int, partner: Form, y: Tensor, points: Chosen) -> Pair:
        """The partner on the points of a form's page."""
        whole = completed(partner, y[: points.present])
        return Pair(
            id=form,
            partner=partner.id,
            overlap=float(self.overlap[place]),
            label=self.labels.get(partner.id, ""),
            points=form_points(whole, y[: len(points.rows)]),
        )


@torch.no_grad()
def pages(
    source: Source,
    entries: Sequence[Entry],
    near: Mapping[str, Near],
    places: Float[np.ndarray, "n 2"],
    partners: Partners | None = None,
) -> Iterator[tuple[FormRow, Page, Pair | None]]:
    """Rows of the map and pages, in the order of ``entries``.

    Args:
        source: the model and the rows it reads.
        entries: the forms.
        near: their neighbours by each measure, by id.
        places: their places on the map.
        partners: for a comparison.
    """
    size, total = source.context_size, len(source.store)
    shown = {entry.id for entry in entries}
    chosen = [_rows(source, entry, place, len(entries)) for place, entry in enumerate(entries)]
    windows = [window_rows(entry.found, size, total) for entry in entries]
    wanted = [torch.cat([each.rows, shown]) for each, shown in zip(chosen, windows, strict=True)]
    for some, here in gather(source.store, wanted):
        forms = source.view.forms([entries[place] for place in some])
        drawn = _sampled(forms, source.sample_y)
        y = source.view.read(here.x)
        there = None if partners is None else partners.read(some, here.x, y)
        for number, place in enumerate(some):
            entry, points = entries[place], chosen[place]
            at = here.places(wanted[place])
            own = y[at]
            form = completed(forms[number], own[: points.present])
            page = Page(
                id=entry.id,
                points=form_points(form, own[: len(points.rows)]),
                rows=points.rows.numpy(),
                present=np.arange(len(points.rows)) < points.present,
                ring_plane=_ring_plane(entry, form),
                histogram_edges=drawn.edges[number].double().numpy(),
                histogram_counts=drawn.counts[number].numpy(),
                contexts=contexts(form, entry.found, windows[place], own[len(points.rows) :], size),
                neighbours=_neighbours(near, entry.id, shown),
                scores=entry.scores,
                images=source.view.pictures(form.axes),
            )
            pair = None
            if partners is not None and there is not None:
                theirs = own if there.y is y else there.y[at[: len(points.rows)]]
                pair = partners.pair(place, entry.id, there.forms[number], theirs, points)
            yield _form_row(entry, form, page, drawn, number, places[place]), page, pair


def _rows(source: Source, entry: Entry, place: int, count: int) -> Chosen:
    few = count > FULL_UP_TO and place >= FULL
    present = entry.found.rows[: min(source.points, FEW_POINTS) if few else source.points]
    drawn = source.sample[: FEW_RANDOM if few else RANDOM_ROWS]
    drawn = drawn[~torch.isin(drawn, present)]
    return Chosen(torch.cat([present, drawn]), len(present))


def _sampled(forms: Sequence[Form], y: Float[Tensor, "rows d_in"]) -> Sampled:
    """Every form on the sample of rows."""
    found = []
    widest = max(len(form.left) for form in forms)
    step = max(1, min(FORMS_AT_ONCE, PRODUCTS_AT_ONCE // max(1, widest * len(y))))
    for start in range(0, len(forms), step):
        some = forms[start : start + step]
        left, right = (torch.cat([getattr(f, side) for f in some]) for side in ("left", "right"))
        lifted = torch.nn.functional.pad(y, (0, left.shape[1] - y.shape[1]), value=1.0)
        products = (left @ lifted.T) * (right @ lifted.T)
        owner = torch.arange(len(some)).repeat_interleave(
            torch.tensor([len(form.left) for form in some])
        )
        found.append(sampled(torch.zeros(len(some), len(y)).index_add_(0, owner, products)))
    return Sampled(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _ring_plane(entry: Entry, form: Form) -> tuple[int, int] | None:
    """The two of the form's axes in which the analysis measured its ring, where it has them.

    An atlas stores fewer axes than a large form has, and the axes of an affine form are those of
    its quadratic part alone, which the analysis does not use.
    """
    if entry.ring_plane is None or form.lifted:
        return None
    own = [place for place, kind in enumerate(form.axis_kind) if kind != "principal"]
    return entry.ring_plane if set(entry.ring_plane) <= set(own) else None


def _neighbours(near: Mapping[str, Near], form: int, shown: set[int]) -> list[Neighbour]:
    """The nearest forms by each measure, among those that the atlas shows."""
    listed = []
    for measure, each in enumerate(near.values()):
        if form >= len(each.ids):
            continue
        pairs = zip(each.ids[form].tolist(), each.overlaps[form].tolist(), strict=True)
        inside = [(other, value) for other, value in pairs if value and other in shown]
        listed += [Neighbour(measure, other, value) for other, value in inside[:NEIGHBOURS]]
    return listed


def _form_row(
    entry: Entry,
    form: Form,
    page: Page,
    drawn: Sampled,
    number: int,
    place: Float[np.ndarray, "2"],
) -> FormRow:
    positive, negative = form.signature
    shown = {kind: [0.0] for kind in ("most_positive", "most_negative")}
    for context in page.contexts:
        shown.setdefault(context.kind, []).append(context.value)
    return FormRow(
        id=entry.id,
        kind=entry.kind,
        shape=entry.shape,
        x=float(place[0]),
        y=float(place[1]),
        positive=positive,
        negative=negative,
        statistics={
            **entry.statistics,
            **by_spectrum(form.spectrum.tolist()),
            "mean_square": float(drawn.mean_square[number]),
            "frequency": float(drawn.frequency[number]),
            "max_positive": max(shown["most_positive"]),
            "max_negative": min(shown["most_negative"]),
        },
        label=entry.label,
        written_label=entry.written_label,
        tokens=entry.tokens,
        quadric=_quadric(form, entry.found.level),
        members=entry.members,
        weights=entry.weights,
    )


def _quadric(form: Form, level: float) -> str:
    """The level surface of the form in its first three axes, at the median of its firing values."""
    values, turn = torch.linalg.eigh(form.matrix[:3, :3])
    linear = turn.T @ form.linear[:3]
    return name_quadric(values.tolist(), level - form.constant, linear.tolist())
