"""The forms behind an autoencoder's map X̂ = Σ_i ⟨F_i,X⟩F_i, a tile at a time.

The whole stack of forms can be had from ``model.map_forms()``, but its output matrix alone takes
(composites)²·block numbers; here at most :data:`FORMS_AT_ONCE` forms exist as a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.autoencoders.mixing import Dense
from quadric.forms import BilinearTensor

FORMS_AT_ONCE = 1024
"""Rows and columns of a tile of inner products."""


class Dictionary:
    """The forms F_i of an autoencoder on ``width`` coordinates, some at a time."""

    def __init__(self, model: BilinearAutoencoder, width: int) -> None:
        """Read the forms; coordinates that the autoencoder does not have are zeros at the end."""
        missing = width - model.left.shape[1]
        self.left, self.right = (
            torch.nn.functional.pad(factor.detach(), (0, missing))
            for factor in (model.left, model.right)
        )
        mixing = model.mixing
        self.rows = mixing.weight.detach() if isinstance(mixing, Dense) else None
        self.count = model.d_sae if self.rows is None else len(self.rows)
        self.block = model.config.block or 1

    def on_basis(self, basis: Float[Tensor, "width p"]) -> Dictionary:
        """The forms EᵀF_iE."""
        other = copy(self)
        other.left, other.right = (f @ basis.to(f) for f in (self.left, self.right))
        return other

    def pieces(self) -> list[slice]:
        """Consecutive forms, at most FORMS_AT_ONCE at a time."""
        starts = range(0, self.count, FORMS_AT_ONCE)
        return [slice(start, min(start + FORMS_AT_ONCE, self.count)) for start in starts]

    def forms(self, rows: slice) -> BilinearTensor:
        """A few of the forms as one small tensor."""
        if self.rows is not None:
            return BilinearTensor(self.left, self.right, self.rows[rows])
        products = slice(rows.start * self.block, rows.stop * self.block)
        left, right = self.left[products], self.right[products]
        if self.block == 1:
            return BilinearTensor(left, right)
        out = torch.eye(rows.stop - rows.start).to(left).repeat_interleave(self.block, dim=1)
        return BilinearTensor(left, right, out)


def gram_tiles(
    first: BilinearAutoencoder, second: BilinearAutoencoder
) -> Iterator[tuple[slice, slice, Float[Tensor, "rows columns"]]]:
    """⟨F_i,G_j⟩ of the first's forms with the second's, in tiles, in float64."""
    width = max(first.left.shape[1], second.left.shape[1])
    a, b = Dictionary(first, width), Dictionary(second, width)
    for rows in a.pieces():
        some = a.forms(rows)
        for columns in b.pieces():
            yield rows, columns, some.cross_gram(b.forms(columns)).double()


def form_norms(model: BilinearAutoencoder) -> Float[Tensor, " m"]:
    """‖F_i‖, in float64."""
    dictionary = Dictionary(model, model.left.shape[1])
    squares = [dictionary.forms(rows).gram().diagonal() for rows in dictionary.pieces()]
    return torch.cat(squares).double().clamp_min(0).sqrt()
