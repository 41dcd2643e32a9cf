"""The language model behind a run, and what passes at its hook on a text.

source = ModelSource.of(model, Path("runs/demo"))
reading = source.read("The meeting is on Monday")
reading.tokens, reading.x
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.capture import capture
from quadric.activations.hooks import Hook, resolve
from quadric.activations.models import LanguageModel, load_model
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError


@dataclass(frozen=True, eq=False)
class Reading:
    """A text as the language model reads it."""

    ids: Int[Tensor, " tokens"]
    """Its tokens."""
    tokens: list[str]
    """They as text."""
    x: Float[Tensor, "tokens d_in"]
    """The activations at the hook."""

    def place(self, position: int | None) -> int:
        """A position from 0, or negative from the end, as one from 0; the last when None.

        Raises:
            QuadricError: the text has no such position.
        """
        count = len(self.ids)
        place = count - 1 if position is None else position + count * (position < 0)
        if not 0 <= place < count:
            raise QuadricError(f"position {position} is outside the text, which has {count} tokens")
        return place


@dataclass(frozen=True, eq=False)
class ModelSource:
    """A language model, in float32 on the CPU, and the hook that an autoencoder reads."""

    language: LanguageModel
    hook: Hook

    @classmethod
    def of(cls, model: BilinearAutoencoder, folder: Path) -> ModelSource:
        """Load what an autoencoder was trained on.

        Args:
            model: the autoencoder.
            folder: where it lies, for messages.

        Raises:
            QuadricError: it does not say, or the language model cannot be loaded.
        """
        name, hook_name = model.metadata.model_name, model.metadata.hf_hook_name
        if name is None or hook_name is None:
            raise QuadricError(
                f"{folder} does not say which language model its activations came from, so there "
                "is none to read with: train on MODEL and DATASET"
            )
        language = load_model(name, dtype=torch.float32, device="cpu")
        (hook,) = resolve(language.model, [hook_name])
        return cls(language, hook)

    def check_generates(self) -> None:
        """Raise unless the model predicts next tokens.

        Raises:
            QuadricError: it does not.
        """
        if not self.language.model.can_generate():
            raise QuadricError(
                f"{self.language.name} does not predict next tokens, so there is nothing to steer"
            )

    def read(self, text: str, *, most: int | None = None) -> Reading:
        """Tokenise a text, without special tokens, and capture its activations.

        Args:
            text: what is read.
            most: tokens that a text may have; any number when None.

        Raises:
            QuadricError: the text holds no token, or too many.
        """
        ids = torch.tensor(self.language.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not len(ids):
            raise QuadricError(f"the text {text!r} holds no token")
        if most is not None and len(ids) > most:
            raise QuadricError(f"the text has {len(ids)} tokens, at most {most} are read")
        x = capture(self.language.model, [self.hook], ids[None])[self.hook.hook_name][0]
        return Reading(ids, [self.token(each) for each in ids.tolist()], x)

    def token(self, number: int) -> str:
        """A token id as text."""
        return str(self.language.tokenizer.decode([number]))
