"""Stop a training run that is going nowhere, and say why."""

from __future__ import annotations

import math

from quadric.errors import QuadricError

CEILING = 1.5
"""An error above this is worse than predicting nothing at all, which scores 1."""
PATIENCE = 30
"""Consecutive steps above the ceiling after which the run stops; short spikes do recover."""


class DivergenceGuard:
    """Watches one model's error and gradient.

    A loss or gradient that is not finite stops the run at once; an error that stays above
    ``CEILING`` for ``PATIENCE`` steps stops it as diverged.
    """

    def __init__(self, name: str, lr: float) -> None:
        """``name``, such as "autoencoder 'main'", and ``lr`` appear in the message."""
        self.name, self.lr = name, lr
        self.high = 0

    def check(self, step: int, error: float, grad_norm: float) -> None:
        """Raise when the run should stop.

        Raises:
            QuadricError: the loss or gradient is not finite, or the error stays too high.
        """
        if not math.isfinite(error) or not math.isfinite(grad_norm):
            what = "error" if not math.isfinite(error) else "gradient"
            raise QuadricError(
                f"{self.name}: the {what} is not finite at step {step}; "
                f"lower the learning rate ({self.lr:g}), for example --lr {self.lr / 3:.2g}"
            )
        self.high = self.high + 1 if error > CEILING else 0
        if self.high >= PATIENCE:
            raise QuadricError(
                f"{self.name} diverged: its error is {error:.3g} at step {step} and "
                f"has been above {CEILING} for {PATIENCE} steps (predicting nothing gives 1); "
                f"lower the learning rate ({self.lr:g}), for example --lr {self.lr / 3:.2g}"
            )
