"""Steer a language model with a form f: up its gradient, or along its level set.

form = SteeredForm(model, model.tensor([312]))
form.climb(x, 0.5).x                    # f changes
form.walk(x, degrees(60), (1, 2)).x     # f stays, the place on the manifold changes
logit_change(language, hook, ids, position, x_new)

Here f(x) is the form at the model's transformed, maybe lifted input, y = transform(x). All of it
runs in float64: a level is only as constant as the arithmetic.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.capture import splice
from quadric.activations.hooks import Hook
from quadric.activations.models import LanguageModel
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, Eigenpairs, lift

LARGEST_TURN = math.radians(2)
"""A walk rotates by no more than this before it returns to the level set."""
NEWTON_STEPS = 50
LEVEL_TOLERANCE = 1e-9
"""Largest relative change of f along a walk, before the result is rounded to x's type."""


class Steered(NamedTuple):
    """Activations that were moved, and what that did to the form."""

    x: Float[Tensor, "rows d_in"]
    """The new activations, in the type of the old ones."""
    before: Float[Tensor, " rows"]
    """f at the old ones, in float64."""
    after: Float[Tensor, " rows"]
    """f at the new ones as they are given, rounding included."""
    moved: Float[Tensor, " rows"]
    """‖x′ − x‖/‖x‖."""
    turned: Float[Tensor, " rows"]
    """How far the point turned in the walk's plane, in radians; 0 for a climb."""


class TokenChange(NamedTuple):
    """What steering does to one next token."""

    token: int
    """Its id."""
    logit: float
    """Change of its logit."""
    before: float
    """Its probability without steering."""
    after: float
    """Its probability with it."""


class LogitChange(NamedTuple):
    """What steering does to the next-token distribution after the text."""

    kl: float
    """KL(untouched ‖ steered) in nats."""
    rising: list[TokenChange]
    """The tokens that gain most probability."""
    falling: list[TokenChange]
    """The tokens that lose most."""


class SteeredForm:
    """One form on a model's input, ready to steer activations with."""

    def __init__(self, model: BilinearAutoencoder, tensor: BilinearTensor) -> None:
        """Args:
        model: whose transformed input the form reads.
        tensor: the form: one output, on d_in coordinates, or d_in + 1 for an affine model.

        Raises:
            QuadricError: there are several forms, or their width is not the model's.
        """
        width = model.d_in + int(model.config.affine)
        if tensor.m != 1 or tensor.d != width:
            raise QuadricError(
                f"steering needs one form on {width} coordinates, got {tensor.m} on {tensor.d}"
            )
        self.affine = model.config.affine
        self.transform = copy.deepcopy(model.transform).cpu()
        self.tensor = tensor.to("cpu", torch.float64)

    def value(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, " rows"]:
        """f at every activation, differentiable in x."""
        return self._level(self.transform.apply_to(x.double()).y)

    def gradient(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_in"]:
        """∇f in activation space, through the transform."""
        with torch.enable_grad():
            x = x.detach().double().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(x).sum(), x)
        return gradient

    def axes(self) -> Eigenpairs:
        """Eigenpairs of the form's quadratic part on the transformed input, largest |λ| first."""
        quadratic = self.tensor.parts().quadratic if self.affine else self.tensor
        return quadratic.eigh(torch.ones(1, dtype=torch.float64))

    def climb(self, x: Float[Tensor, "rows d_in"], amount: float) -> Steered:
        """x′ = x + t ‖x‖ ∇f/‖∇f‖, which changes f by t ‖x‖ ‖∇f‖ to first order.

        Args:
            x: activations.
            amount: t, the step as a share of ‖x‖; a negative one descends.

        Raises:
            QuadricError: the form is flat at some activation.
        """
        gradient = self.gradient(x)
        slope = gradient.norm(dim=-1, keepdim=True)
        if not (slope > 0).all():
            raise QuadricError("the form is flat at this activation: its gradient is zero there")
        length = x.double().norm(dim=-1, keepdim=True)
        new = x.double() + amount * length * gradient / slope
        return self._steered(x, new, torch.zeros(len(x), dtype=torch.float64))

    @torch.no_grad()
    def walk(
        self,
        x: Float[Tensor, "rows d_in"],
        angle: float,
        axes: tuple[int, int] | Float[Tensor, "2 d_in"] = (0, 1),
    ) -> Steered:
        """Move along the level set {f = f(x)} by turning in a plane, that of two eigenvectors.

        Every small rotation of y in the plane is followed by Newton steps along ∇f back to the
        level, y ← y − (f(y) − f₀) ∇f/‖∇f‖². Where the transform gives y unit norm, the steps follow
        the sphere. The plane's circles are not level unless the two eigenvalues are equal, so the
        point turns by ``turned``, not by ``angle``.

        Args:
            x: activations.
            angle: how far to rotate, in radians; the sign chooses the direction.
            axes: numbers of two eigenvectors of the quadratic part, 0 being that of the largest
                |λ|; or the plane itself, as two orthonormal rows on the transformed input.

        Raises:
            QuadricError: there is no such pair of eigenvectors, or the walk gets stuck at a
                critical point of the form.
        """
        first, second = self._plane(axes)
        start, norm = self.transform.apply_to(x.double())
        level, y = self._level(start), start
        turns = math.ceil(abs(angle) / LARGEST_TURN)
        for _ in range(turns):
            turn = angle / turns
            a, b = y @ first, y @ second
            y = (
                y
                + torch.outer((math.cos(turn) - 1) * a - math.sin(turn) * b, first)
                + torch.outer(math.sin(turn) * a + (math.cos(turn) - 1) * b, second)
            )
            y = self._back_to(level, y)
        # The difference is added, so that no turn is no change, to the bit.
        new = x.double() + self.transform.undo(y, norm) - self.transform.undo(start, norm)
        return self._steered(x, new, _turn(start, y, first, second))

    def _level(self, y: Tensor) -> Tensor:
        return self.tensor(lift(y) if self.affine else y)[..., 0]

    def _slope(self, y: Tensor) -> Tensor:
        """∇f on the transformed input, along the sphere where the transform lives on it."""
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._level(y).sum(), y)
        if self.transform.norm == "unit":
            slope = slope - (slope * y).sum(-1, keepdim=True) * y.detach()
        return slope.detach()

    def _back_to(self, level: Tensor, y: Tensor) -> Tensor:
        """Newton steps along the gradient until f is ``level`` again."""
        rounding = 1e-14 * self.tensor.norm()
        for _ in range(NEWTON_STEPS):
            off = self._level(y) - level
            if (off.abs() <= LEVEL_TOLERANCE * level.abs() + rounding).all():
                return y
            slope = self._slope(y)
            steepness = slope.square().sum(-1, keepdim=True)
            y = y - off[:, None] * slope / steepness.clamp_min(torch.finfo(y.dtype).tiny)
            if self.transform.norm == "unit":
                y = y / y.norm(dim=-1, keepdim=True)
        raise QuadricError(
            "the walk along the level set got stuck where the form is flat: take a smaller angle, "
            "or other axes"
        )

    def _plane(self, axes: tuple[int, int] | Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(axes, Tensor):
            given = axes.double()
            return given[0], given[1]
        values, vectors = self.axes()
        first, second = axes
        if first == second or not all(0 <= axis < len(values) for axis in axes):
            raise QuadricError(
                f"axes {first} and {second}: expected two different ones of the form's "
                f"{len(values)}, from 0"
            )
        return vectors[first], vectors[second]

    def _steered(self, x: Tensor, new: Tensor, turned: Tensor) -> Steered:
        given = new.to(x.dtype)
        length = x.double().norm(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
        moved = (given.double() - x.double()).norm(dim=-1) / length
        return Steered(given, self.value(x).detach(), self.value(given).detach(), moved, turned)


@torch.no_grad()
def logit_change(
    language_model: LanguageModel,
    hook: Hook,
    ids: Int[Tensor, " tokens"],
    position: int,
    activation: Float[Tensor, " d_in"],
    *,
    top: int = 8,
) -> LogitChange:
    """The next-token distribution after a text, untouched and with one activation replaced.

    Args:
        language_model: a causal language model.
        hook: where the activation is put.
        ids: the text.
        position: of the token whose activation is replaced.
        activation: what is put there.
        top: how many rising and falling tokens to list.
    """

    def replace(x: Tensor) -> Tensor:
        new = x.clone()
        new[:, position] = activation.to(x)
        return new

    batch = ids[None].to(language_model.model.device)
    clean = language_model.model(batch).logits[0, -1].double().cpu()
    with splice(language_model.model, hook, replace):
        steered = language_model.model(batch).logits[0, -1].double().cpu()
    before, after = clean.log_softmax(-1), steered.log_softmax(-1)
    gain = after.exp() - before.exp()

    def listed(sign: int) -> list[TokenChange]:
        best = (sign * gain).topk(min(top, len(gain)))
        return [
            TokenChange(
                token,
                (steered[token] - clean[token]).item(),
                before[token].exp().item(),
                after[token].exp().item(),
            )
            for token, height in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            if height > 0
        ]

    divergence = (before.exp() * (before - after)).sum().clamp_min(0).item()
    return LogitChange(divergence, listed(1), listed(-1))


def _turn(start: Tensor, end: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The signed angle between two points in a plane, in −π … π."""
    a, b = start @ first, start @ second
    c, d = end @ first, end @ second
    return torch.atan2(a * d - b * c, a * c + b * d)
