"""Does a form fire on a closed class of tokens, and do the tokens lie apart in its slice?

Months and weekdays are closed classes: every occurrence of one of a few words fires the form and
little else does. The class of a form is the set of token types that predicts its firing rows best,

    F₁ = 2·|firing rows on the class| / (firing rows + all rows on the class),

and its number of words is exp(entropy) of the firing rows over the class. No meaning of any token
is used; shuffled labels are the null.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FEWEST_FIRINGS = 3
"""A token type with fewer firing rows is in no class."""

Ids = Int[np.ndarray, " n"]


class TokenClass(NamedTuple):
    """The set of token types that predicts a form's firing rows best."""

    f1: float
    """How well."""
    words: float
    """Effective number of its token types, exp(entropy) of the firing rows over them."""
    types: Ids
    """The token types, by the share of their rows that fire."""


def token_class(firing: Ids, corpus: Ids) -> TokenClass:
    """Find the class.

    Args:
        firing: token ids of the firing rows.
        corpus: how often each token id occurs in all rows looked at.
    """
    types, counts = np.unique(firing, return_counts=True)
    often = counts >= FEWEST_FIRINGS
    types, counts = types[often], counts[often]
    if not len(types):
        return TokenClass(0.0, 0.0, types)
    order = np.argsort(-counts / corpus[types], kind="stable")
    types, counts = types[order], counts[order]
    f1 = 2 * counts.cumsum() / (len(firing) + corpus[types].cumsum())
    best = int(f1.argmax()) + 1
    shares = counts[:best] / counts[:best].sum()
    words = float(np.exp(-(shares * np.log(shares)).sum()))
    return TokenClass(float(f1[best - 1]), words, types[:best])


def separation(points: Float[np.ndarray, "n k"], ids: Ids) -> float:
    """η²: the share of the points' variance that lies between token types."""
    centred = points - points.mean(0)
    total = float(np.square(centred).sum())
    _, place = np.unique(ids, return_inverse=True)
    counts = np.bincount(place)
    sums = np.stack([np.bincount(place, column) for column in centred.T])
    between = float((np.square(sums) / counts).sum())
    return between / total if total > 0 else 0.0
