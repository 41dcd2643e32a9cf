"""The one exception that quadric raises for things a user can mend.

The command line prints its message as a single line and exits with status 1; a library user
catches it like any ``ValueError``. A message names what was wrong, the value seen, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QuadricError(ValueError):
    """Something outside the code is wrong: an argument, a file, a model, the data."""


class Interrupted(QuadricError):
    """A run was asked to stop; its checkpoint is whole."""


class Followed(QuadricError):
    """Another of several processes stopped and says why; this one stops with it in silence."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A trailing hint ``; did you mean 'x'?`` for a misspelt ``name``, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
