"""``quadric steer``: move one activation of a text along a latent and see what the model says next.

view = steer_run(Path("runs/demo"), latent=312, text="The meeting is on Monday")
view.steps[0].change.rising
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from quadric.activations.capture import capture
from quadric.activations.hooks import resolve
from quadric.activations.models import load_model
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation.contexts import FormReader
from quadric.evaluation.steering import Steered, SteeredForm, TokenChange, logit_change

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

    along: str
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
    name, hook_name = model.metadata.model_name, model.metadata.hf_hook_name
    if name is None or hook_name is None:
        raise QuadricError(
            f"{folder} does not say which language model its activations came from, so there is "
            "nothing to steer: train on MODEL and DATASET"
        )
    language = load_model(name, dtype=torch.float32, device="cpu")
    if not language.model.can_generate():
        raise QuadricError(f"{name} does not predict next tokens, so there is nothing to steer")
    (hook,) = resolve(language.model, [hook_name])
    ids = torch.tensor(language.tokenizer(text, add_special_tokens=False)["input_ids"])
    if not len(ids):
        raise QuadricError(f"the text {text!r} holds no token")
    place = _place(position, len(ids))
    x = capture(language.model, [hook], ids[None])[hook.hook_name][0]

    def shown(changes: list[TokenChange]) -> list[ShownChange]:
        return [
            ShownChange(language.tokenizer.decode([change.token]), *change[1:])
            for change in changes
        ]

    def step(along: str, amount: float, steered: Steered) -> SteerStep:
        change = logit_change(language, hook, ids, place, steered.x[0], top=top)
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

    here = x[place : place + 1]
    return SteerView(
        latent=latent,
        hook=model.metadata.hook_name or hook_name,
        eigenvalues=eigenvalues,
        tokens=[language.tokenizer.decode([token]) for token in ids.tolist()],
        values=FormReader(model, model.tensor([latent]))(x)[:, 0].tolist(),
        position=place,
        axes=[axis + 1 for axis in plane],
        steps=[step("gradient", amount, form.climb(here, amount)) for amount in amounts]
        + [
            step("level set", angle, form.walk(here, math.radians(angle), plane))
            for angle in angles
        ],
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


def _place(position: int | None, count: int) -> int:
    place = count - 1 if position is None else position + count * (position < 0)
    if not 0 <= place < count:
        raise QuadricError(f"position {position} is outside the text, which has {count} tokens")
    return place
