"""What an image classifier is and how it is trained: three frozen configurations and a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, get_args

from quadric.errors import QuadricError
from quadric.layers.gates import Gate, check_gate
from quadric.layers.layer import Side
from quadric.settings import from_dict
from quadric.vision.data.augment import AugmentConfig


@dataclass(frozen=True)
class ClassifierConfig:
    """The parts of an image classifier: embed → blocks → head.

    Raises:
        QuadricError: a size is out of range, or sizes do not fit together.
    """

    d_embed: int | None = 64
    """Width of the embedding; none lets the first block read pixels."""
    d_hidden: int = 64
    """Products per block."""
    blocks: int = 1
    """Number of gated layers, each reading the one before."""
    residual: bool = False
    """Whether a block's input is added to its output."""
    bias: bool = False
    """Whether the factors of a block have biases."""
    gate: Gate = "identity"
    """Function on one factor of each block; the identity makes the model bilinear."""
    beta: float = 1.0
    """β of a swish gate."""
    gate_side: Side = "right"
    """The factor that the gate acts on."""
    dropout: float = 0.0
    """Share of a block's products dropped while training."""
    model_noise: float = 0.0
    """Standard deviation of Gaussian noise on the embedding while training."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("d_embed", "d_hidden", "blocks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise QuadricError(f"{name} is {value}, expected 1 or more")
        check_gate(self.gate)
        if self.gate_side not in get_args(Side):
            raise QuadricError(f"gate_side is {self.gate_side!r}, expected left or right")
        if not 0 <= self.dropout < 1:
            raise QuadricError(f"dropout is {self.dropout}, expected 0 to below 1")
        if self.model_noise < 0:
            raise QuadricError(f"model_noise is {self.model_noise}, expected 0 or more")


@dataclass(frozen=True)
class FitConfig:
    """How a classifier is trained: AdamW and a cosine to zero (arXiv 2410.08417, table 1).

    Raises:
        QuadricError: a value is out of range.
    """

    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step."""
    lr: float = 2e-3
    """Peak learning rate."""
    weight_decay: float = 1.0
    """AdamW's decoupled decay; each step shrinks weights by lr · weight_decay."""
    seed: int = 0
    """Seed of the weights, the order of images and the augmentation."""
    snapshots: int = 0
    """How many copies of the weights to keep along training, evenly spaced in epochs."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in {"epochs": 1, "batch_size": 1, "seed": 0, "snapshots": 0}.items():
            if getattr(self, name) < least:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if not self.lr > 0:
            raise QuadricError(f"lr is {self.lr}, expected a positive number")
        if not self.weight_decay >= 0:
            raise QuadricError(f"weight_decay is {self.weight_decay}, expected 0 or more")
        if self.snapshots > self.epochs:
            raise QuadricError(
                f"snapshots is {self.snapshots}, expected at most the {self.epochs} epochs"
            )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a trained classifier."""

    dataset: str = "digits"
    """Name or folder of the images."""
    target: int | None = None
    """Index of the training image whose likeness is the label, instead of the classes."""
    threshold: float = 0.4
    """Cosine above which an image is like the target."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """The model."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Its training."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What is done to training images."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values, one object per configuration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> Recipe:
        """The recipe of JSON values.

        Raises:
            QuadricError: a key is unknown or a value is of the wrong type; ``where`` is named.
        """
        parts: dict[str, Any] = {
            "classifier": ClassifierConfig, "fit": FitConfig, "augment": AugmentConfig
        }  # fmt: skip
        plain = {key: value for key, value in values.items() if key not in parts}
        read = {
            key: from_dict(kind, values.get(key, {}), f"{where}, {key}")
            for key, kind in parts.items()
        }
        return from_dict(cls, {**plain, **read}, where)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that name this recipe."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
