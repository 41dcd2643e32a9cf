"""The input transform: centre, then scale, then normalise; kept with the autoencoder and undone.

For an activation x with training mean μ, scales σ and a norm ν(x),

    y = (x − μ) / σ / ν(x),        x = y·ν(x)·σ + μ.

``apply`` returns ν beside y, so that nothing is remembered between calls and ``undo`` is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quadric.autoencoders.config import AutoencoderConfig, Norm, Scale
from quadric.errors import QuadricError

SMALLEST = 1e-12


class Transformed(NamedTuple):
    """A transformed activation and the norm that undoing it needs."""

    y: Float[Tensor, "... d"]
    """The transformed activation."""
    norm: Float[Tensor, "... 1"]
    """ν(x); one where nothing is divided out."""


class InputTransform(nn.Module):
    """Centre, scale and normalise activations, invertibly.

    Until ``fit`` is called the mean is 0, every scale is 1 and the mean norm is 1.
    """

    mean: Float[Tensor, " d"]
    scales: Float[Tensor, " d"]
    mean_norm: Float[Tensor, ""]

    def __init__(self, d_in: int, *, centre: bool, scale: Scale, norm: Norm) -> None:
        """Choose the steps; the statistics come from ``fit`` or ``load_statistics``."""
        super().__init__()
        self.centre, self.scale, self.norm = centre, scale, norm
        self.register_buffer("mean", torch.zeros(d_in), persistent=False)
        self.register_buffer("scales", torch.ones(d_in), persistent=False)
        self.register_buffer("mean_norm", torch.ones(()), persistent=False)

    @classmethod
    def of(cls, config: AutoencoderConfig) -> InputTransform:
        """The transform an autoencoder's configuration asks for, not fitted yet."""
        return cls(config.d_in, centre=config.centre, scale=config.scale, norm=config.norm)

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "rows d"]) -> InputTransform:
        """Take the statistics from a sample of activations, accumulated in float64.

        Raises:
            QuadricError: the sample is empty.
        """
        if x.shape[0] == 0:
            raise QuadricError("cannot fit the input transform: the sample has no rows")
        x = x.double()
        if self.centre:
            self.mean.copy_(x.mean(0))
        centred = x - self.mean
        if self.scale == "dimension":
            deviation = centred.square().mean(0).sqrt()
            # A dimension that never varies carries nothing; dividing by 1 leaves it at zero.
            self.scales.copy_(torch.where(deviation > SMALLEST, deviation, 1.0))
        elif self.scale == "whole":
            self.scales.fill_(max(centred.square().mean().sqrt().item(), SMALLEST))
        norms = (centred / self.scales).norm(dim=-1)
        self.mean_norm.fill_(max(norms.mean().item(), SMALLEST))
        return self

    def apply_to(self, x: Float[Tensor, "... d"]) -> Transformed:
        """Transform activations; a vector equal to the mean becomes zero."""
        y = (x - self.mean) / self.scales
        if self.norm == "unit":
            norm = y.norm(dim=-1, keepdim=True)
            return Transformed(y / norm.clamp_min(SMALLEST), norm)
        norm = torch.ones_like(y[..., :1])
        if self.norm == "constant":
            norm = norm * self.mean_norm
        return Transformed(y / norm, norm)

    def undo(
        self, y: Float[Tensor, "... d"], norm: Float[Tensor, "... 1"] | None = None
    ) -> Float[Tensor, "... d"]:
        """Return to activation space; without ``norm`` the training data's mean norm is used."""
        if norm is None:
            norm = self.mean_norm if self.norm != "none" else torch.ones_like(self.mean_norm)
        return y * norm * self.scales + self.mean

    def statistics(self) -> dict[str, Any]:
        """The transform as JSON: its steps and its statistics, exact in float32."""
        return {
            "centre": self.centre,
            "scale": self.scale,
            "norm": self.norm,
            "mean_norm": self.mean_norm.item(),
            "mean": self.mean.tolist() if self.centre else None,
            "scales": self.scales.tolist() if self.scale != "none" else None,
        }

    def load_statistics(self, values: Mapping[str, Any], where: str) -> InputTransform:
        """Take the statistics from their JSON form.

        Raises:
            QuadricError: a vector is missing or has another width than this transform.
        """
        wanted = {"mean": self.centre, "scales": self.scale != "none"}
        for name, needed in wanted.items():
            vector = values.get(name)
            if not needed:
                continue
            width = len(vector) if isinstance(vector, list) else 0
            if width != len(self.mean):
                raise QuadricError(
                    f"{where}: input_transform.{name} has {width} numbers, expected "
                    f"{len(self.mean)} (d_in)"
                )
            getattr(self, name).copy_(torch.tensor(vector, dtype=torch.float64))
        if not isinstance(values.get("mean_norm"), int | float):
            raise QuadricError(f"{where}: input_transform.mean_norm is missing")
        self.mean_norm.fill_(float(values["mean_norm"]))
        return self
