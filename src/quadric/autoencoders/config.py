"""What a bilinear autoencoder is: the choice of its parts, and where it came from.

``AutoencoderConfig`` holds everything that decides the function and its training loss;
``Metadata`` records the model, the data and the seed behind a trained one. Both are written to
``cfg.json`` and read back strictly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from quadric.errors import QuadricError

Variant = Literal["vanilla", "ordered", "mixed", "combined", "composite", "topk"]
Scale = Literal["none", "dimension", "whole"]
Norm = Literal["none", "unit", "constant"]

MIXED = ("mixed", "combined")
ORDERED = ("ordered", "combined")
DEFAULT_BOTTLENECK = 2.0
DEFAULT_BLOCK = 4
DEFAULT_K = 64
DEFAULT_DENSITY_WEIGHT = 0.1


@dataclass(frozen=True)
class AutoencoderConfig:
    """The parts of one bilinear autoencoder.

    Raises:
        QuadricError: a size is not positive, or two fields contradict each other.
    """

    d_in: int
    """Width of the activations the autoencoder reads."""
    d_sae: int
    """Number of latents. For the composite variant the number of composites."""
    variant: Variant = "vanilla"
    """Latents are products (vanilla), importance-ordered (ordered), read through a narrow linear
    bottleneck (mixed), both (combined), sums of a block of products (composite), or products of
    which each token keeps the k strongest (topk)."""
    symmetric: bool = True
    """Reconstruct with symmetrised atoms. False gives the unsymmetrised atoms of the paper."""
    affine: bool = False
    """Append a constant 1 to the input, so that a latent has quadratic, linear and constant parts
    and the reconstruction of x is linear in the latents."""
    bottleneck: float | None = None
    """Rows of the mixing matrix as a multiple of d_in; mixed and combined only (default 2)."""
    block: int | None = None
    """Products summed into one latent; composite only (default 4)."""
    k: int | None = None
    """Latents that a token keeps; topk only (default 64)."""
    batch_topk: bool = False
    """Whether the tokens of a batch share a budget of k each, so that some keep more; topk only."""
    density_weight: float | None = None
    """Weight of the Hoyer density in the loss (default 0.1); topk has none."""
    density_warmup: int = 100
    """Steps over which the density weight rises linearly from zero."""
    centre: bool = True
    """Subtract the mean activation of the training data."""
    scale: Scale = "none"
    """Divide by one standard deviation per dimension (dimension) or by a single one (whole)."""
    norm: Norm = "unit"
    """Divide every vector by its own norm (unit) or all vectors by their mean norm (constant)."""
    seed: int = 0
    """Seed of the initial weights."""

    def __post_init__(self) -> None:
        """Check the fields and fill in the defaults that depend on the variant."""
        for name in ("d_in", "d_sae"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected a positive integer")
        self._part("k", ("topk",), DEFAULT_K)
        if self.variant == "topk":
            self._check_topk()
        elif self.batch_topk:
            raise QuadricError(
                f"batch_topk does not apply to variant {self.variant!r}, only to topk"
            )
        elif self.density_weight is None:
            object.__setattr__(self, "density_weight", DEFAULT_DENSITY_WEIGHT)
        if self.penalty < 0:
            raise QuadricError(f"density_weight is {self.density_weight}, expected 0 or more")
        if self.density_warmup < 0:
            raise QuadricError(f"density_warmup is {self.density_warmup}, expected 0 or more")
        self._part("bottleneck", MIXED, DEFAULT_BOTTLENECK)
        self._part("block", ("composite",), DEFAULT_BLOCK)
        if self.bottleneck is not None and self.bottleneck_rows > self.d_sae:
            raise QuadricError(
                f"bottleneck {self.bottleneck} × d_in {self.d_in} = {self.bottleneck_rows} rows "
                f"exceed d_sae {self.d_sae}: it would not be a bottleneck"
            )

    def _part(self, name: str, variants: tuple[str, ...], default: float) -> None:
        """Give a variant's own field its default, and refuse it on the other variants."""
        value = getattr(self, name)
        if self.variant in variants:
            if value is None:
                object.__setattr__(self, name, default)
            elif value <= 0:
                raise QuadricError(f"{name} is {value}, expected a positive number")
        elif value is not None:
            raise QuadricError(
                f"{name} does not apply to variant {self.variant!r}, "
                f"only to {' and '.join(variants)}"
            )

    def _check_topk(self) -> None:
        if self.density_weight:
            raise QuadricError(
                f"density_weight is {self.density_weight}, but the topk variant has no density "
                "penalty: its latents are sparse by k"
            )
        object.__setattr__(self, "density_weight", 0.0)
        if self.k is not None and self.k > self.d_sae:
            raise QuadricError(f"k is {self.k}, expected at most d_sae = {self.d_sae}")

    @property
    def penalty(self) -> float:
        """The weight of the density, 0 where there is none."""
        return self.density_weight or 0.0

    @property
    def factors(self) -> int:
        """Number of products n, i.e. rows of the encoder factors."""
        return self.d_sae * (self.block or 1)

    @property
    def bottleneck_rows(self) -> int:
        """Rows b of the mixing matrix; only for mixed and combined."""
        assert self.bottleneck is not None
        return max(1, round(self.bottleneck * self.d_in))

    @property
    def ordered(self) -> bool:
        """Whether the loss averages over all prefixes of the latents."""
        return self.variant in ORDERED

    def replace(self, **changes: object) -> AutoencoderConfig:
        """A copy with some fields changed; a new variant resets the parts it does not have."""
        if (variant := changes.get("variant", self.variant)) != self.variant:
            if variant not in MIXED:
                changes.setdefault("bottleneck", None)
            if variant != "composite":
                changes.setdefault("block", None)
            if variant != "topk":
                changes.setdefault("k", None)
                changes.setdefault("batch_topk", False)
            if "topk" in (variant, self.variant):
                changes.setdefault("density_weight", None)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Metadata:
    """Where a trained autoencoder came from. Unknown facts are None."""

    model_name: str | None = None
    """The language model, as its loader was asked for it."""
    hook_name: str | None = None
    """The activation's place, in TransformerLens' spelling where it has one."""
    hf_hook_name: str | None = None
    """The same place as a module path of the transformers model."""
    dataset: str | None = None
    """The text, as its loader was asked for it."""
    context_size: int | None = None
    """Tokens of one context of the language model."""
    tokens: int | None = None
    """Activation vectors seen in training, repeats included."""
    seed: int | None = None
    """Seed of the data order."""
    quadric_version: str | None = None
    """The version of quadric that wrote the file."""
