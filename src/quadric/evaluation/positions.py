"""What kind of token stands at a position: the start of a word, its continuation, a number, …

token_types(tokenizer, contexts)      # (contexts, tokens) numbers into TYPES

A token is judged by its text and by the text before it in its context:

    word_start          has a letter and does not continue a word
    word_continuation   has a letter, no space in front, and follows a letter, a digit or an
                        apostrophe inside a word
    number              has a digit and no letter
    punctuation         has other signs only
    whitespace          has only spaces and line ends, or is a special token between documents
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TYPES = ("word_start", "word_continuation", "number", "punctuation", "whitespace")
APOSTROPHES = "'’"
SPACES = ("Ġ", "▁")
"""Signs that stand for a leading space in the tokenisers' own spelling."""


def token_types(
    tokenizer: PreTrainedTokenizerBase, contexts: Int[Tensor, "contexts tokens"]
) -> Int[Tensor, "contexts tokens"]:
    """The type of every token, as its place in ``TYPES``."""
    special = set(tokenizer.all_special_ids)
    texts = {
        token: "" if token in special else _text(tokenizer, token)
        for token in set(contexts.flatten().tolist())
    }
    types = torch.empty(contexts.shape, dtype=torch.int64)
    for number, context in enumerate(contexts.tolist()):
        before = ""
        for position, token in enumerate(context):
            text = texts[token]
            types[number, position] = TYPES.index(type_of(text, before))
            # A special token ends a document, and with it the word before.
            before = (before + text)[-2:] if text else ""
    return types


def type_of(text: str, before: str) -> str:
    """The type of a token.

    Args:
        text: the token with its leading space, if it has one; empty for a special token.
        before: the text in front of it; the last two characters are enough.
    """
    if not text.strip():
        return "whitespace"
    if any(sign.isalpha() for sign in text):
        return "word_continuation" if _inside_word(before) and text[0].strip() else "word_start"
    if any(sign.isdigit() for sign in text):
        return "number"
    return "punctuation"


def _inside_word(before: str) -> bool:
    """Whether the text ends inside a word: in a letter, a digit, or an apostrophe after one."""
    return before[-1:].isalnum() or (before[-1:] in APOSTROPHES and before[-2:-1].isalnum())


def _text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token's text with its leading space, which some tokenisers drop in decoding it alone."""
    text: str = tokenizer.decode([token])
    spelt = tokenizer.convert_ids_to_tokens(token)
    spaced = isinstance(spelt, str) and spelt.startswith(SPACES)
    return f" {text}" if spaced and not text[:1].isspace() else text
