"""A form put together by a reader: Σ_k w_k Q_k on its own eigenvectors.

form = composed_form(model, {3: 1.0, 7: -0.5})
level_surface(form, form.values_at(y))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.atlas.content.axes import Form, Group, group_forms, latent_forms
from quadric.atlas.contract import MOST_AXES
from quadric.atlas.records import AxisKind
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, name_quadric
from quadric.manifolds.spectra import SIGNED

CANCELLED = 1e-6
"""A sum this small beside its terms is nothing but rounding."""


def known_form(
    model: BilinearAutoencoder, number: int, members: Sequence[int], weights: Sequence[float]
) -> Form:
    """A latent or a group of an atlas, on the axes that the weights alone give it."""
    if number < model.d_sae:
        return latent_forms(model, [number])[0]
    return group_forms(model, [Group(number, tuple(members), tuple(weights))])[0]


def composed_form(model: BilinearAutoencoder, weights: Mapping[int, float]) -> Form:
    """A weighted sum of latents, with the number d_sae, which no latent has.

    Raises:
        QuadricError: a latent does not exist, or the terms cancel.
    """
    parts = latent_forms(model, list(weights))
    left = torch.cat([part.left for part in parts])
    right = torch.cat(
        [weight * part.right for weight, part in zip(weights.values(), parts, strict=True)]
    )
    tensor = one_output(left, right)
    terms = sum(
        abs(weight) * part.spectrum.double().norm().item()
        for weight, part in zip(weights.values(), parts, strict=True)
    )
    whole = tensor.parts() if model.config.affine else None
    pairs = (whole.quadratic if whole else tensor).eigh(torch.ones(1).to(left))
    values = pairs.values
    if not values.double().norm().item() > CANCELLED * terms:
        raise QuadricError("nothing is left of this sum: its terms cancel, or all weights are 0")
    alive = int((values.abs() > SIGNED * values.abs().max()).sum())
    axes = pairs.vectors[: min(MOST_AXES, alive)]
    kind: AxisKind = "eigenvector"
    linear = torch.zeros(len(axes), dtype=torch.float64)
    if whole:
        linear = axes.double() @ whole.linear[0].double()
    return Form(
        id=model.d_sae,
        members=tuple(weights),
        weights=tuple(weights.values()),
        spectrum=values,
        axes=axes,
        axis_kind=(kind,) * len(axes),
        matrix=values[: len(axes)].double().diag(),
        linear=linear,
        constant=whole.constant.item() if whole else 0.0,
        left=left,
        right=right,
    )


def one_output(left: Float[Tensor, "s width"], right: Float[Tensor, "s width"]) -> BilinearTensor:
    """The form Σ_s (l_s·y)(r_s·y) as a tensor."""
    return BilinearTensor(left, right, torch.ones(1, len(left)).to(left))


def level_surface(form: Form, values: Float[Tensor, " n"]) -> str:
    """The name of a form's level surface on its first three axes, where it fires.

    The level is the median of its strongest values in the sign that dominates, as many of them as
    (Σz²)²/Σz⁴ says.
    """
    squares = values.double().square()
    total = squares.sum()
    if not total > 0:
        return ""
    sign = 1.0 if (squares * values.sign()).sum() >= 0 else -1.0
    count = max(1, round((total**2 / squares.square().sum()).item()))
    strong = (sign * values.double()).topk(min(count, len(values))).values
    level = sign * strong[strong > 0].median().item() - form.constant
    return name_quadric(form.matrix.diagonal()[:3].tolist(), level, form.linear[:3].tolist())
