"""A run behind an atlas that is being served: its autoencoder, store and language model.

    session.encode("The meeting is on Monday", form=12)

Everything is answered on the axes that the atlas's pages have. The language model is loaded by the
first question that needs it. A session answers one question at a time (``live`` sees to that).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.atlas.content.axes import Form
from quadric.atlas.content.points import completed, form_points, transformed
from quadric.atlas.folder.reader import AtlasFolder
from quadric.atlas.service.composition import composed_form, known_form, level_surface, one_output
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.steering import SteeredForm
from quadric.runs.language import ModelSource, Reading
from quadric.runs.steer import Along, describe_step, move

MOST_TOKENS = 1024
"""Tokens of a sentence that is read."""
TOKENS_AT_ONCE = 128
"""Tokens whose latents are in memory together."""
TOP = 8
"""Latents listed for a token, and next tokens for a step."""
FORMS_KEPT = 64
OFF = 0.01
"""Largest difference of a point's coordinate from its page's, as a share of the largest."""


class Session:
    """A run, ready to answer what a page asks."""

    def __init__(
        self, atlas: AtlasFolder, run: Path, model: BilinearAutoencoder, store: Rows | None
    ) -> None:
        """Args:
        atlas: what is served.
        run: where the run lies, for messages.
        model: its autoencoder.
        store: its activations, where they are kept.
        """
        self.atlas, self.run, self.model, self.store = atlas, run, model, store
        self.form = lru_cache(FORMS_KEPT)(self._form)

    def capabilities(self) -> dict[str, Any]:
        """What can be asked."""
        metadata = self.model.metadata
        reads = (
            self.atlas.manifest.modality == "text"
            and None not in (metadata.model_name, metadata.hf_hook_name)
            and importlib.util.find_spec("transformers") is not None
        )
        return {
            "encode": reads,
            "compose": self.store is not None,
            "steer": reads,
            "model": metadata.model_name if reads else None,
        }

    @cached_property
    def source(self) -> ModelSource:
        """The language model, loaded now if nobody needed it before."""
        return ModelSource.of(self.model, self.run)

    @torch.no_grad()
    def encode(self, text: str, form: int | None) -> dict[str, Any]:
        """A sentence, token by token: the strongest latents, and its path on a form's axes.

        Raises:
            QuadricError: the text is empty or too long, or there is no such form.
        """
        shown = None if form is None else self.form(form)
        reading = self._read(text)
        path = None
        if shown is not None:
            y = transformed(self.model, reading.x)
            path = {
                "coordinates": (y @ shown.axes.T).tolist(),
                "values": shown.values_at(y).tolist(),
            }
        return {"tokens": reading.tokens, "top": self._top(reading.x), "path": path}

    @torch.no_grad()
    def compose(self, members: dict[int, float], points: int) -> dict[str, Any]:
        """The form Σ w_k Q_k on the points of its members' pages.

        Raises:
            QuadricError: there is no such form, or nothing is left of the sum.
        """
        weights: dict[int, float] = {}
        for number, weight in members.items():
            row = self.atlas.row(self.atlas.place_of(number))
            for latent, share in zip(row.members, row.weights, strict=True):
                weights[latent] = weights.get(latent, 0.0) + weight * share
        rows = _taken_in_turn([self.atlas.page_of(each).rows.tolist() for each in members], points)
        y = self._y(rows)
        form = completed(composed_form(self.model, weights), y)
        found = form_points(form, y)
        text = self.atlas.manifest.modality == "text"
        return {
            "spectrum": found.spectrum.tolist(),
            "axes": len(found.axis_kind),
            "axis_kind": list(found.axis_kind),
            "form": found.form.ravel().tolist(),
            "linear": found.linear.tolist(),
            "constant": found.constant,
            "coordinates": found.coordinates.T.tolist(),
            "value": found.value.tolist(),
            "row": rows,
            "tokens": [self.atlas.tokens(row, row + 1)[0] for row in rows] if text else [],
            "quadric": level_surface(form, form.values_at(y)),
        }

    def steer(
        self,
        text: str,
        form: int,
        *,
        position: int | None,
        along: Along,
        amount: float,
        axes: tuple[int, int] | None,
    ) -> dict[str, Any]:
        """Move the activation of one token with a form, and what the language model says next.

        Raises:
            QuadricError: as for ``encode``, the model predicts no tokens, or there are no such
                axes or position.
        """
        shown = self.form(form)
        plane = _plane(shown, axes)
        self.source.check_generates()
        reading = self._read(text)
        place = reading.place(position)
        here = reading.x[place : place + 1]
        form_of_x = SteeredForm(self.model, one_output(shown.left, shown.right))
        steered = move(form_of_x, here, along, amount, plane)
        step = describe_step(self.source, reading, place, along, amount, steered, top=TOP)
        return {
            "value_before": step.value_before,
            "value_after": step.value_after,
            "moved": step.moved,
            "turned": step.turned or 0.0,
            "kl": step.kl,
            "rising": [vars(change) for change in step.rising],
            "falling": [vars(change) for change in step.falling],
            "coordinates_before": self._coordinates(shown, here),
            "coordinates_after": self._coordinates(shown, steered.x),
            "tokens": reading.tokens,
            "position": place,
        }

    def _coordinates(self, form: Form, x: Float[Tensor, "1 d_in"]) -> list[float]:
        coordinates: list[float] = (transformed(self.model, x) @ form.axes.T)[0].tolist()
        return coordinates

    def _read(self, text: str) -> Reading:
        return self.source.read(text, most=MOST_TOKENS)

    def _top(self, x: Float[Tensor, "tokens d_in"]) -> list[list[dict[str, Any]]]:
        listed = []
        for start in range(0, len(x), TOKENS_AT_ONCE):
            latents = self.model.encode(x[start : start + TOKENS_AT_ONCE])
            strongest = latents.abs().topk(min(TOP, self.model.d_sae)).indices
            found = strongest.tolist(), latents.gather(1, strongest).tolist()
            listed += [
                [
                    {"id": number, "value": value, "label": self._label(number)}
                    for number, value in zip(*token, strict=True)
                ]
                for token in zip(*found, strict=True)
            ]
        return listed

    def _label(self, latent: int) -> str:
        try:
            place = self.atlas.place_of(latent)
        except QuadricError:
            # An atlas need not show every latent.
            return ""
        labels = self.atlas.labels()
        return str(labels["written_label"][place].as_py() or labels["label"][place].as_py())

    def _form(self, number: int) -> Form:
        """A form of the atlas on the axes of its page."""
        place = self.atlas.place_of(number)
        row, page = self.atlas.row(place), self.atlas.page(place)
        form = known_form(self.model, number, row.members, row.weights)
        if self.store is None:
            return form
        y = self._y(page.rows.tolist())
        form = completed(form, y)
        there, here = page.points.coordinates, (y @ form.axes.T).double().numpy()
        largest = abs(there).max(axis=0)
        if there.shape != here.shape or (abs(here - there).max(axis=0) > OFF * largest).any():
            raise QuadricError(
                f"the axes of form {number} in this atlas are not those of {self.run}: build the "
                "atlas again"
            )
        return form

    def _y(self, rows: Sequence[int]) -> Float[Tensor, "rows d_in"]:
        if self.store is None:
            raise QuadricError(f"the activations of {self.run} are not on this machine")
        if max(rows) >= len(self.store):
            raise QuadricError(f"the activations of {self.run} are not those of this atlas")
        return transformed(self.model, self.store.gather(torch.tensor(rows)))


def _plane(form: Form, axes: tuple[int, int] | None) -> Float[Tensor, "2 d_in"]:
    """The two axes of a page that are turned in, counted from 1."""
    count = len(form.axes)
    first, second = axes or ((2, 3) if count >= 3 else (1, 2))
    if first == second or not all(1 <= axis <= count for axis in (first, second)):
        raise QuadricError(
            f"axes {first} and {second}: expected two different ones of the form's {count}, from 1"
        )
    return form.axes[[first - 1, second - 1]]


def _taken_in_turn(lists: Sequence[Sequence[int]], count: int) -> list[int]:
    """Rows of several lists, one of each in turn, every row once, ``count`` at most."""
    longest = max((len(rows) for rows in lists), default=0)
    turns = (rows[i] for i in range(longest) for rows in lists if i < len(rows))
    return list(dict.fromkeys(turns))[:count]
