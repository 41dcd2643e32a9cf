"""Known classes of tokens: months, weekdays and years, as an answer key.

Nothing here takes part in discovery. A class gives every row of a cache its place (0 for January)
or −1, so that ``order`` can say whether a manifold that was found without labels has them in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST_YEAR, LAST_YEAR, SPAN = 1700, 1999, 10
"""Years are put together by decades."""

Name = Literal["months", "weekdays", "years"]


@dataclass(frozen=True)
class AnswerKey:
    """The places of a known class."""

    name: Name
    """Which class."""
    cyclic: bool
    """Whether its order is a wheel or a line."""
    places: int
    """How many places there are."""
    names: tuple[str, ...]
    """A name for every place."""
    of_rows: Int[np.ndarray, " rows"]
    """The place of every row, −1 for a row outside the class."""


def answer_keys(ids: Int[np.ndarray, " rows"], tokenizer: Any) -> list[AnswerKey]:
    """The classes in a text.

    Args:
        ids: the token id of every row, in reading order.
        tokenizer: of the language model.
    """
    decades = tuple(f"{year}s" for year in range(FIRST_YEAR, LAST_YEAR + 1, SPAN))
    return [
        AnswerKey("months", True, 12, MONTHS, _of_words(ids, MONTHS, tokenizer)),
        AnswerKey("weekdays", True, 7, WEEKDAYS, _of_words(ids, WEEKDAYS, tokenizer)),
        AnswerKey("years", False, len(decades), decades, _of_years(ids, tokenizer)),
    ]


def _of_words(
    ids: Int[np.ndarray, " rows"], words: tuple[str, ...], tokenizer: Any
) -> Int[np.ndarray, " rows"]:
    """Places of words that are one token, with a space before them or not."""
    places = np.full(len(ids), -1)
    for place, word in enumerate(words):
        for text in (word, f" {word}"):
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(tokens) == 1:
                places[ids == tokens[0]] = place
    return places


def _of_years(ids: Int[np.ndarray, " rows"], tokenizer: Any) -> Int[np.ndarray, " rows"]:
    """Decades of years written with a token a digit, at the last digit; none where they are not."""
    value = np.full(len(ids), -1)
    for digit in range(10):
        tokens = tokenizer(str(digit), add_special_tokens=False)["input_ids"]
        if len(tokens) == 1:
            value[ids == tokens[0]] = digit
    places = np.full(len(ids), -1)
    if len(ids) < 6:
        return places
    a, b, c, d = (value[1 + i : len(value) - 4 + i] for i in range(4))
    before, after = value[: len(a)], value[5 : 5 + len(a)]
    year = 1000 * a + 100 * b + 10 * c + d
    whole = (np.minimum(np.minimum(a, b), np.minimum(c, d)) >= 0) & (before < 0) & (after < 0)
    inside = whole & (year >= FIRST_YEAR) & (year <= LAST_YEAR)
    places[np.nonzero(inside)[0] + 4] = (year[inside] - FIRST_YEAR) // SPAN
    return places
