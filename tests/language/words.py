"""Text of invented words, with something to learn: each word is mostly followed by the same one."""

from __future__ import annotations

import random
from pathlib import Path

_SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "wen", "dar")
VOCABULARY = tuple(first + second for first in _SYLLABLES for second in _SYLLABLES[:6])


def documents(count: int, *, words: int = 50, seed: int = 0, jumps: float = 0.2) -> list[str]:
    """So many documents, each with its number first; ``jumps`` is the share of random words."""
    generator = random.Random(seed)
    found = []
    for index in range(count):
        place = generator.randrange(len(VOCABULARY))
        text = [f"Document{index}."]
        for _ in range(words):
            jump = generator.random() < jumps
            place = generator.randrange(len(VOCABULARY)) if jump else (place + 7) % len(VOCABULARY)
            text.append(VOCABULARY[place])
        found.append(" ".join(text))
    return found


def write(path: Path, count: int = 40, *, words: int = 50, seed: int = 0) -> Path:
    """The documents as a text file, blank lines between them."""
    path.write_text("\n\n".join(documents(count, words=words, seed=seed)), encoding="utf-8")
    return path
