"""How much the experiments on language models train. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from quadric.language.config import DictionaryConfig, Recipe

MODEL = (
    "dataset", "text_tokens", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "context_size", "steps", "batch_contexts", "lr",
    "seed",
)  # fmt: skip
"""Settings behind a model."""
DICTIONARIES = ("dictionary_expansion", "k", "dictionary_steps", "dictionary_batch")
"""Settings behind the dictionaries around its MLPs."""


@dataclass(frozen=True)
class LanguageSettings:
    """How much the experiments on language models train.

    The defaults are those of arXiv 2410.08417, appendix F; its text is a hub dataset.

    Raises:
        QuadricError: a value is out of range.
    """

    dataset: str = "roneneldan/TinyStories"
    """For bilinear language models: the text, as for lm train."""
    text_tokens: int = 2_000_000_000
    """For bilinear language models: at most so many tokens of it are read."""
    vocab_size: int = 4096
    """For bilinear language models: tokens of the tokeniser."""
    hidden_size: int = 512
    """For bilinear language models: width of the residual stream."""
    intermediate_size: int = 2048
    """For bilinear language models: products of each MLP."""
    num_hidden_layers: int = 6
    """For bilinear language models: number of blocks."""
    num_attention_heads: int = 8
    """For bilinear language models: heads of each attention layer."""
    context_size: int = 256
    """For bilinear language models: tokens in a context."""
    steps: int = 76_000
    """For bilinear language models: optimiser steps; the default is five passes over 2·10⁹
    tokens."""
    batch_contexts: int = 512
    """For bilinear language models: contexts per step."""
    lr: float = 1e-3
    """For bilinear language models: peak learning rate."""
    seeds: int = 1
    """For bilinear language models: how many seeds of each model."""
    layer: int = 4
    """For bilinear language models: the block whose MLP is read, from 0."""
    dictionary_expansion: int = 4
    """For bilinear language models: features per dimension of each dictionary."""
    k: int = 30
    """For bilinear language models: features that are on at a token."""
    dictionary_steps: int = 36_000
    """For bilinear language models: steps of each dictionary."""
    dictionary_batch: int = 4096
    """For bilinear language models: tokens in each of those steps."""
    base_model: str = "smollm2-135m"
    """For bilinear language models: the SwiGLU model whose gates are annealed."""
    anneal_steps: int = 20_000
    """For bilinear language models: steps of its fine-tuning."""
    anneal_contexts: int = 64
    """For bilinear language models: contexts in each of those steps."""
    anneal_lr: float = 2e-4
    """For bilinear language models: peak learning rate of the fine-tuning."""
    seed: int = 0
    """For bilinear language models: of the weights, the text's order and the nulls."""

    def __post_init__(self) -> None:
        """Check what no configuration behind this one checks."""
        if self.seeds < 1:
            raise QuadricError(f"seeds is {self.seeds}, expected 1 or more")

    def check(self, used: Sequence[str]) -> None:
        """Check what only some experiments use.

        Raises:
            QuadricError: the layer is used and the model has no such block.
        """
        if "layer" in used and not 0 <= self.layer < self.num_hidden_layers:
            raise QuadricError(
                f"layer is {self.layer}: the model has {self.num_hidden_layers} blocks "
                f"(0–{self.num_hidden_layers - 1})"
            )

    def recipe(self, *, gate: str = "identity", seed: int | None = None, **fit: Any) -> Recipe:
        """The recipe of a model with these settings except for what is given.

        Args:
            gate: σ of its MLPs.
            seed: of its weights and the order of contexts; the setting's when None.
            fit: fields of ``FitConfig`` to change.
        """
        from quadric.language.config import ArchitectureConfig, FitConfig, Recipe, TextConfig
        from quadric.settings import from_dict

        sizes = (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in sizes}
        training = {
            "steps": self.steps,
            "batch_contexts": self.batch_contexts,
            "lr": self.lr,
            "seed": self.seed if seed is None else seed,
            "eval_every": max(1, self.steps // 20),
            **fit,
        }
        return Recipe(
            architecture=from_dict(ArchitectureConfig, {"gate": gate, **values}, "settings"),
            text=TextConfig(
                dataset=self.dataset, context_size=self.context_size, tokens=self.text_tokens
            ),
            fit=FitConfig(**training),
        )

    def dictionaries(self, layer: int | None = None) -> DictionaryConfig:
        """The dictionaries around the MLP of a block; the setting's block when None."""
        from quadric.language.config import DictionaryConfig

        return DictionaryConfig(
            layer=self.layer if layer is None else layer,
            expansion=self.dictionary_expansion,
            k=self.k,
            steps=self.dictionary_steps,
            batch_size=self.dictionary_batch,
            seed=self.seed,
        )


FULL = LanguageSettings()
"""The settings without ``--quick``: days on an accelerator."""
QUICK = LanguageSettings(
    dataset="news", text_tokens=500_000, vocab_size=1024, hidden_size=64, intermediate_size=192,
    num_hidden_layers=2, num_attention_heads=4, context_size=64,
    steps=200, batch_contexts=16, lr=3e-3, layer=1, k=8, dictionary_steps=300, dictionary_batch=512,
    anneal_steps=4, anneal_contexts=4,
)  # fmt: skip
"""The settings of ``--quick``: each within two minutes on two cores."""
