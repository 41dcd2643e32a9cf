"""``quadric steer`` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quadric.runs.steer import ShownChange, SteerStep, SteerView


def render(view: SteerView) -> str:
    """The text with the latent on every token, then each step with the tokens it changes."""
    marked = (
        f"[{token!r} {value:+.3g}]" if place == view.position else f"{token!r} {value:+.3g}"
        for place, (token, value) in enumerate(zip(view.tokens, view.values, strict=True))
    )
    axes = "  ".join(f"{value:+.3g}" for value in view.eigenvalues)
    lines = [
        f"latent {view.latent} at {view.hook}; eigenvalues {axes}",
        "  " + "  ".join(marked),
        *(line for step in view.steps for line in _step(step, view)),
    ]
    return "\n".join(lines)


def _step(step: SteerStep, view: SteerView) -> list[str]:
    if step.turned is None:
        how = f"gradient, {step.amount:+g} of the norm"
    else:
        first, second = view.axes
        how = (
            f"level set, {step.amount:+g}° in the plane of axes {first} and {second} "
            f"(turned {step.turned:+.1f}°)"
        )
    return [
        f"{how}: latent {step.value_before:+.4g} → {step.value_after:+.4g}, moved "
        f"{step.moved:.1%}, KL {step.kl:.3g}",
        f"  rising   {_tokens(step.rising)}",
        f"  falling  {_tokens(step.falling)}",
    ]


def _tokens(changes: list[ShownChange]) -> str:
    return "  ".join(
        f"{change.token!r} {change.before:.2g}→{change.after:.2g}" for change in changes
    )
