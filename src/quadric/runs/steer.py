"""``quadric steer``: move one activation of a text along a latent and see what the model says next.

view = steer_run(Path("runs/demo"), latent=312, text="The meeting is on Monday")
view.steps[0].change.rising
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.contexts import FormReader
from quadric.evaluation.steering import Steered, SteeredForm, TokenChange, logit_change
from quadric.runs.language import ModelSource, Reading

Along = Literal["gradient", "level set"]
AMOUNTS = (-0.5, 0.5)
ANGLES = (90.0, 180.0)


@dataclass(frozen=True)
class ShownChange:
    """What happened to one next token."""

    token: str
    """The token, as text."""
    logit: float
    """Change of its logit."""
    before: float
    """Its probability without steering."""
    after: float
    """Its probability with it."""


@dataclass(frozen=True)
class SteerStep:
    """One way the activation was moved, and its consequences."""

    along: Along
    """"gradient" or "level set"."""
    amount: float
    """The step as a share of ‖x‖, or the angle in degrees."""
    value_before: float
    """The latent at the activation."""
    value_after: float
    """The latent where it was moved to."""
    moved: float
    """‖x′ − x‖/‖x‖."""
    turned: float | None
    """Degrees by which it turned in the plane of the two axes; None for the gradient."""
    kl: float
    """KL(untouched ‖ steered) of the next token, in nats."""
    rising: list[ShownChange]
    """The next tokens that gain most probability."""
    falling: list[ShownChange]
    """Those that lose most."""


@dataclass(frozen=True)
class SteerView:
    """What ``quadric steer`` shows."""

    latent: int
    """The latent."""
    hook: str
    """Where in the model its activations come from."""
    eigenvalues: list[float]
    """Of its form, largest |λ| first: the axes to choose from."""
    tokens: list[str]
    """The tokens of the text."""
    values: list[float]
    """The latent on each of them."""
    position: int
    """The token whose activation is moved."""
    axes: list[int]
    """The two axes, from 1, of the walk along the level set."""
    steps: list[SteerStep]
    """What was tried."""

    def as_dict(self) -> dict[str, Any]:
        """The view as JSON values."""
        return asdict(self)


def steer_run(
    folder: Path,
    latent: int,
    text: str,
    *,
    amounts: Sequence[float] = AMOUNTS,
    angles: Sequence[float] = ANGLES,
    axes: tuple[int, int] | None = None,
    position: int | None = None,
    top: int = 8,
) -> SteerView:
    """Steer the language model behind a run with one of its latents.

    Args:
        folder: a run, or the folder of any trained autoencoder.
        latent: its index.
        text: what the language model reads.
        amounts: steps along the gradient, as shares of the activation's norm.
        angles: turns along the level set, in degrees.
        axes: the two eigenvectors whose plane is turned in, from 1 in the order of |λ|. When None,
            2 and 3, since the first is usually the mean direction of what the latent responds to;
            1 and 2 for a form that has no third.
        position: the token whose activation is moved, from 0, negative from the end; the last one
            when None.
        top: how many rising and falling tokens to list.

    Raises:
        QuadricError: no language model is known, it cannot generate, the text is empty, or an
            index is out of range.
    """
    model = BilinearAutoencoder.load_from_disk(folder)
    form = SteeredForm(model, model.tensor([latent]))
    eigenvalues = form.axes().values.tolist()
    plane = _plane(axes, len(eigenvalues))
    source = ModelSource.of(model, folder)
    source.check_generates()
    reading = source.read(text)
    place = reading.place(position)
    here = reading.x[place : place + 1]

    def step(along: Along, amount: float) -> SteerStep:
        steered = move(form, here, along, amount, plane)
        return describe_step(source, reading, place, along, amount, steered, top=top)

    return SteerView(
        latent=latent,
        hook=model.metadata.hook_name or source.hook.hf_hook_name,
        eigenvalues=eigenvalues,
        tokens=reading.tokens,
        values=FormReader(model, model.tensor([latent]))(reading.x)[:, 0].tolist(),
        position=place,
        axes=[axis + 1 for axis in plane],
        steps=[step("gradient", amount) for amount in amounts]
        + [step("level set", angle) for angle in angles],
    )


def move(
    form: SteeredForm,
    x: Float[Tensor, "rows d_in"],
    along: Along,
    amount: float,
    plane: tuple[int, int] | Float[Tensor, "2 d_in"],
) -> Steered:
    """Move activations along a form's gradient, or along its level set.

    Args:
        form: the form.
        x: activations.
        along: "gradient" or "level set".
        amount: the step as a share of ‖x‖, or the angle in degrees.
        plane: what a walk along the level set turns in, see :meth:`SteeredForm.walk`.

    Raises:
        QuadricError: as ``climb`` and ``walk``.
    """
    if along == "gradient":
        return form.climb(x, amount)
    return form.walk(x, math.radians(amount), plane)


def describe_step(
    source: ModelSource,
    reading: Reading,
    place: int,
    along: Along,
    amount: float,
    steered: Steered,
    *,
    top: int,
) -> SteerStep:
    """What the language model says next when one activation of a text was moved.

    Args:
        source: the language model.
        reading: the text.
        place: the token whose activation was moved, from 0.
        along: how.
        amount: by how much.
        steered: where to; one row.
        top: how many rising and falling tokens to list.
    """
    change = logit_change(source.language, source.hook, reading.ids, place, steered.x[0], top=top)

    def shown(changes: list[TokenChange]) -> list[ShownChange]:
        return [ShownChange(source.token(each.token), *each[1:]) for each in changes]

    return SteerStep(
        along=along,
        amount=amount,
        value_before=steered.before.item(),
        value_after=steered.after.item(),
        moved=steered.moved.item(),
        turned=math.degrees(steered.turned.item()) if along == "level set" else None,
        kl=change.kl,
        rising=shown(change.rising),
        falling=shown(change.falling),
    )


def _plane(axes: tuple[int, int] | None, count: int) -> tuple[int, int]:
    """The two axes, from 0; refused before the language model is loaded."""
    first, second = axes or ((2, 3) if count >= 3 else (1, 2))
    if first == second or not all(1 <= axis <= count for axis in (first, second)):
        raise QuadricError(
            f"axes {first} and {second}: expected two different ones of the latent's {count}, "
            "from 1"
        )
    return first - 1, second - 1
