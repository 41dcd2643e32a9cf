"""Activations around a gated MLP, and the text that they come from.

    language = load_model("runs/lm", dtype=torch.float32, device="cpu")
    found = harvest(language, hooks, TextConfig("news"), DictionaryConfig(layer=4))

One pass over the text reads every hook. As many contexts are read as the dictionaries will take,
and the same ones are held out as from the whole text.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.activations.capture import capture
from quadric.activations.hooks import Hook, resolve
from quadric.activations.models import LanguageModel
from quadric.errors import QuadricError
from quadric.kernels import fastest_product_dtype
from quadric.language.config import DictionaryConfig, TextConfig
from quadric.language.text import HELD_OUT_SHARE, Rows, check_text, read_rows
from quadric.layers import GatedLayer, wrap

if TYPE_CHECKING:
    from rich.console import Console

TOKENS_AT_ONCE = 8192
FLOAT32_BYTES = 2 << 30
"""What would take more memory than this in float32 is held in bfloat16."""


@dataclass(frozen=True, eq=False)
class Harvest:
    """Activations of training text and, below them, of held-out text."""

    activations: dict[str, Float[Tensor, "contexts tokens d"]]
    """By hook name, on the CPU."""
    held_out: Int[Tensor, "others tokens"]
    """The held-out contexts, whose activations are the last ones."""
    training_tokens: int
    """Tokens to train on, leading positions not counted."""


def harvest(
    language: LanguageModel,
    hooks: Sequence[Hook],
    text: TextConfig,
    config: DictionaryConfig,
    console: Console | None = None,
) -> Harvest:
    """Read hooks over ``dictionary_tokens`` tokens of a text, or as many as the steps will take.

    Raises:
        QuadricError: the text cannot be read or nothing of a context is left.
    """
    check_text(language, text)
    size = text.context_size - config.drop_first
    if size < 1:
        raise QuadricError(
            f"drop_first is {config.drop_first}, but a context has {text.context_size} tokens: "
            "nothing is left"
        )
    wanted = -(-min(config.dictionary_tokens, config.steps * config.batch_size) // size)
    rows = _read(language, text, wanted)
    training = rows.train[:wanted]
    contexts = torch.cat([training, rows.held_out])
    found: dict[str, Tensor] = {}
    done = 0
    status = console.status("") if console is not None else contextlib.nullcontext()
    with status as shown:
        for ids, values in batches(language, hooks, contexts, fast=True):
            if not found:
                found = _room(hooks, values, len(contexts))
            for hook, value in zip(hooks, values, strict=True):
                found[hook.hook_name][done : done + len(ids)] = value
            done += len(ids)
            if shown is not None:
                shown.update(f"reading activations: {done} of {len(contexts)} contexts")
    return Harvest(found, rows.held_out, len(training) * size)


def held_out(language: LanguageModel, text: TextConfig) -> Int[Tensor, "contexts tokens"]:
    """The held-out contexts of a text.

    Raises:
        QuadricError: the text cannot be read.
    """
    check_text(language, text)
    return _read(language, text, 0).held_out


@torch.no_grad()
def batches(
    language: LanguageModel,
    hooks: Sequence[Hook],
    contexts: Int[Tensor, "contexts tokens"],
    *,
    fast: bool = False,
) -> Iterator[tuple[Int[Tensor, "b tokens"], list[Float[Tensor, "b tokens d"]]]]:
    """Contexts, a few at once, each with the activations at every hook.

    Args:
        language: the language model.
        hooks: which activations.
        contexts: token ids.
        fast: multiply in bfloat16 where this machine does that clearly faster.
    """
    device = language.model.device
    dtype = fastest_product_dtype(device) if fast else torch.float32
    for ids in torch.split(contexts.long(), max(1, TOKENS_AT_ONCE // contexts.shape[1])):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found = capture(language.model, hooks, ids.to(device))
        yield ids, [found[hook.hook_name] for hook in hooks]


def gated_layer(language: LanguageModel, block: int) -> GatedLayer:
    """The MLP of a block.

    Raises:
        QuadricError: there is no such block, its MLP is no gated pair, or a norm stands between
            the MLP and the residual stream.
    """
    read, written = (
        resolve(language.model, [f"blocks.{block}.{kind}"])[0]
        for kind in ("mlp.hook_in", "hook_mlp_out")
    )
    if read.module is not written.module:
        raise QuadricError(
            f"block {block} of {language.name} adds {type(written.module).__name__} of its MLP to "
            "the residual stream: hook_mlp_out is not the output of the gated pair"
        )
    try:
        return wrap(read.module)
    except QuadricError as error:
        raise QuadricError(
            f"the MLP of block {block} of {language.name} is not a gated pair that can be read: "
            f"{error}"
        ) from error


def _read(language: LanguageModel, text: TextConfig, contexts: int) -> Rows:
    """The held-out contexts of the whole text and at least so many others, if it has them."""
    # From here on, what is held out does not depend on how much more is read.
    least = max(HELD_OUT_SHARE * text.held_out, contexts + text.held_out)
    capped = dataclasses.replace(text, tokens=min(text.tokens, least * text.context_size))
    return read_rows(language.tokenizer, capped)


def _room(hooks: Sequence[Hook], values: Sequence[Tensor], contexts: int) -> dict[str, Tensor]:
    """Empty tensors for all contexts."""
    size = contexts * sum(value[0].numel() for value in values)
    dtype = torch.float32 if 4 * size <= FLOAT32_BYTES else torch.bfloat16
    return {
        hook.hook_name: torch.empty(contexts, *value.shape[1:], dtype=dtype)
        for hook, value in zip(hooks, values, strict=True)
    }
