"""A tokeniser learnt from text: lower case, words apart, byte pairs within them.

    tokenizer = train_tokenizer(documents("news", seed=0), vocab_size=4096)
    tokenizer.save_pretrained("runs/mine")

As in arXiv 2410.08417, appendix F.2: text becomes lower case and is split at white space and around
punctuation, and byte pairs are merged within the pieces. A piece that begins a word carries the
space before it, so decoding gives the text back but for its case (and Unicode's NFKC form).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
"""Ends every document; it is also what padding is made of."""
_SMALLEST = 257
"""One token for each byte, and the end."""


def train_tokenizer(documents: Iterable[str], vocab_size: int = 4096) -> PreTrainedTokenizerFast:
    """Learn a tokeniser of exactly ``vocab_size`` tokens.

    Every text can be encoded: a character that no merge covers is written as its UTF-8 bytes.

    Args:
        documents: what it learns from.
        vocab_size: number of tokens, the end of a text and the 256 bytes included.

    Raises:
        QuadricError: the size is below 257, or the text is too short for so many merges.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    if vocab_size < _SMALLEST:
        raise QuadricError(
            f"vocab_size is {vocab_size}, expected at least {_SMALLEST}: the 256 bytes and the end"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    # Writes the space before a word as part of the word, and any byte as one character.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    found = tokenizer.get_vocab_size()
    if found < vocab_size:
        raise QuadricError(
            f"the text is enough for {found} tokens, expected {vocab_size}: give more text or "
            f"vocab_size={found}"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=END
    )
