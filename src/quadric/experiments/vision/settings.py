"""How much the image experiments train. Importing this loads no torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from quadric.vision.config import Recipe
    from quadric.vision.data.augment import AugmentConfig


@dataclass(frozen=True)
class VisionSettings:
    """How much the image experiments train; each adds what its own figure varies.

    Raises:
        QuadricError: a value is out of range.
    """

    dataset: str = "mnist"
    """For images: digits, mnist-sample, mnist, fashion-mnist, a folder of IDX files or a hub id."""
    sizes: str = "30,100,300"
    """For images: comma-separated widths of embedding and hidden layer; where one is enough, the
    middle one."""
    seeds: int = 3
    """For images: how many seeds of each model."""
    epochs: int = 25
    """For images: passes over the training set."""
    batch_size: int = 512
    """For images: how many per step; 25 passes are as many steps as the paper's 100 of 2,048."""
    lr: float = 1e-3
    """For images: peak learning rate."""
    weight_decay: float = 1.0
    """For images: AdamW's weight decay, where the figure does not vary it."""
    noise: float = 0.4
    """For images: standard deviation of input noise per pixel, where the figure does not fix it."""

    def __post_init__(self) -> None:
        """Check the ranges that the recipes do not check."""
        if self.seeds < 1:
            raise QuadricError(f"seeds is {self.seeds}, expected 1 or more")
        if not self.widths:
            raise QuadricError("sizes is empty, expected numbers such as 30,100,300")

    @property
    def widths(self) -> tuple[int, ...]:
        """The sizes as numbers, ascending."""
        parts = [part.strip() for part in self.sizes.split(",") if part.strip()]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise QuadricError(f"sizes is {self.sizes!r}, expected numbers such as 30,100,300")
        return tuple(sorted({int(part) for part in parts}))

    @property
    def width(self) -> int:
        """The middle size (the lower one of two)."""
        return self.widths[(len(self.widths) - 1) // 2]

    def recipe(
        self,
        *,
        seed: int = 0,
        width: int | None = None,
        weight_decay: float | None = None,
        target: int | None = None,
        threshold: float = 0.4,
        snapshots: int = 0,
        augment: AugmentConfig | None = None,
        **classifier: Any,
    ) -> Recipe:
        """A recipe with these settings except for what is given.

        Args:
            seed: of weights, order and augmentation.
            width: of embedding and hidden layer; the middle size when None.
            weight_decay: instead of the setting's.
            target: for the ground-truth task: the training image whose likeness is the label.
            threshold: for that task.
            snapshots: copies kept along training.
            augment: instead of Gaussian noise of the setting's size.
            classifier: further fields of ``ClassifierConfig``.
        """
        from quadric.vision.config import ClassifierConfig, FitConfig, Recipe
        from quadric.vision.data.augment import AugmentConfig

        width = self.width if width is None else width
        return Recipe(
            dataset=self.dataset,
            target=target,
            threshold=threshold,
            classifier=ClassifierConfig(**{"d_embed": width, "d_hidden": width, **classifier}),
            fit=FitConfig(
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                weight_decay=self.weight_decay if weight_decay is None else weight_decay,
                seed=seed,
                snapshots=snapshots,
            ),
            augment=AugmentConfig(noise=self.noise) if augment is None else augment,
        )


FULL = VisionSettings()
"""The settings without ``--quick``."""
QUICK = VisionSettings(
    dataset="digits", sizes="8,16,32", seeds=3, epochs=40, batch_size=128, lr=2e-3
)
"""The settings of ``--quick``: all experiments on 8×8 digits in under three minutes."""
