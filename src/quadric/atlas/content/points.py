"""Forms on rows of a store: coordinates, values, and windows of text around a response.

    for some, here in gather(store, wanted):
        y = transformed(model, here.x)
        for place in some:
            form_points(forms[place], y[here.places(wanted[place])])

Rows are gathered for some forms at a time, each row once, so that memory stays bounded however many
forms there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.atlas.content.axes import Form
from quadric.atlas.contract import AROUND, MOST_EIGENVALUES
from quadric.atlas.records import Context, ContextKind, FormPoints
from quadric.autoencoders import BilinearAutoencoder
from quadric.forms.spectrum import sign_fixed
from quadric.manifolds.files import Found

FEWEST_AXES = 3
"""A form with fewer gets principal directions of its points, where d_in has them."""
CONTEXTS = 8
"""Contexts of each kind that are shown."""
BYTES = 1 << 27
"""Memory of the rows gathered at once."""
PRINCIPAL_POINTS = 256
"""Points behind a principal direction, at most."""
EMPTY = 1e-9
"""Below this share of the points' energy, a direction does not vary."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Some rows of a store."""

    rows: Int[Tensor, " n"]
    """Their numbers, ascending."""
    x: Float[Tensor, "n d_in"]
    """The activations."""

    def places(self, rows: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """Where some of the rows stand among them."""
        return torch.searchsorted(self.rows, rows)


def gather(store: Rows, wanted: Sequence[Int[Tensor, " k"]]) -> Iterator[tuple[range, Gathered]]:
    """The rows that each form wants, for as many forms at a time as fit into memory.

    Args:
        store: the activations.
        wanted: rows for every form, in any order.
    """
    room = max(1, BYTES // (4 * store.d_in))
    largest = max((int(rows.max()) for rows in wanted if len(rows)), default=-1)
    start = 0
    while start < len(wanted):
        held = torch.zeros(largest + 1, dtype=torch.bool)
        stop, count = start, 0
        while stop < len(wanted):
            # Points and windows share a few rows, which are counted twice.
            new = int((~held[wanted[stop]]).sum())
            if stop > start and count + new > room:
                break
            held[wanted[stop]] = True
            stop, count = stop + 1, count + new
        rows = held.nonzero()[:, 0]
        yield range(start, stop), Gathered(rows, store.gather(rows))
        start = stop


@torch.no_grad()
def transformed(model: BilinearAutoencoder, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    """Activations as the autoencoder's transform shows them to its forms, on the CPU."""
    return model.transform.apply_to(x.to(model.device, model.dtype)).y.cpu()


def form_points(form: Form, y: Float[Tensor, "n d_in"]) -> FormPoints:
    """A form at transformed activations."""
    return FormPoints(
        spectrum=form.spectrum[:MOST_EIGENVALUES].double().numpy(),
        axis_kind=form.axis_kind,
        form=form.matrix.numpy(),
        linear=form.linear.numpy(),
        constant=form.constant,
        coordinates=(y @ form.axes.T).double().numpy(),
        value=form.values_at(y).double().numpy(),
    )


def completed(form: Form, y: Float[Tensor, "n d_in"]) -> Form:
    """The form with three axes at least, where d_in has them.

    A form with fewer eigenvectors gets the principal directions of the points ``y`` beside them.
    """
    missing = min(FEWEST_AXES, form.axes.shape[1]) - len(form.axes)
    return form if missing <= 0 else form.with_axes(_principal(y, form.axes, missing))


def _principal(
    y: Float[Tensor, "n d_in"], axes: Float[Tensor, "r d_in"], count: int
) -> Float[Tensor, "count d_in"]:
    """Leading principal directions of the first points, orthogonal to ``axes``."""
    axes = axes.double()
    centred = y[:PRINCIPAL_POINTS].double()
    centred = centred - centred.mean(0)
    beside = centred - (centred @ axes.T) @ axes
    # The Gram matrix of the points is smaller than their covariance.
    energies, turns = torch.linalg.eigh(beside @ beside.T)
    spanned = energies > EMPTY * centred.square().sum()
    found = (turns.T.flip(0) @ beside)[: min(count, int(spanned.sum()))]
    found = found / found.norm(dim=1, keepdim=True)
    if len(found) < count:
        # Too few directions vary: rows of the identity complete them.
        rows = torch.cat([axes, found, torch.eye(axes.shape[1], dtype=axes.dtype)])
        found = torch.linalg.qr(rows.T).Q.T[len(axes) : len(axes) + count]
    return sign_fixed(found[None])[0]


def window(row: int, context_size: int | None) -> range:
    """The rows shown around a row, within its context; itself where there is no text."""
    if context_size is None:
        return range(row, row + 1)
    before, after = AROUND
    start = row - row % context_size
    return range(max(start, row - before), min(start + context_size, row + after + 1))


def window_rows(found: Found, context_size: int | None, rows: int) -> Int[Tensor, " w"]:
    """All rows of the windows that ``contexts`` reads."""
    shown = {
        each
        for kind in found.responses
        for row in kind.tolist()
        for each in window(row, context_size)
        if each < rows
    }
    return torch.tensor(sorted(shown), dtype=torch.int64)


def contexts(
    form: Form,
    found: Found,
    shown: Int[Tensor, " w"],
    y: Float[Tensor, "w d_in"],
    context_size: int | None,
) -> list[Context]:
    """The form's responses with the windows around them.

    Args:
        form: whose values are read.
        found: the rows that respond.
        shown: ``window_rows`` of them.
        y: the transformed activations there.
        context_size: rows of a context; None where there is no text.
    """
    values = dict(zip(shown.tolist(), form.values_at(y).tolist(), strict=True))
    listed: list[Context] = []
    for kind, order in _ORDER.items():
        chosen = [row for row in getattr(found.responses, kind).tolist() if _is(kind, values[row])]
        # Read once more, a value can have changed by rounding, and with it the order.
        chosen.sort(key=lambda row, order=order: order(values[row]))  # type: ignore[misc]
        for row in chosen[:CONTEXTS]:
            around = [each for each in window(row, context_size) if each in values]
            listed.append(Context(kind, row, around[0], np.array([values[i] for i in around])))
    return listed


_ORDER: dict[ContextKind, Callable[[float], float]] = {
    "most_positive": lambda value: -value,
    "most_negative": lambda value: value,
    "near_zero": abs,
    "random": lambda value: 0.0,  # noqa: ARG005 - in the order drawn
}


def _is(kind: ContextKind, value: float) -> bool:
    """Whether a value has the sign that its kind says."""
    return {"most_positive": value > 0, "most_negative": value < 0}.get(kind, True)
