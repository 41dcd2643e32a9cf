"""Which chunks of a stream are whose, how far each rank has come, and what has been counted.

Of W ranks, rank r uses the chunks r, r + W, r + 2W … so the language model's work is spread over
them and nothing is sent. Numbers count on through later passes: in each pass every chunk is used by
one rank.
"""

from __future__ import annotations

from collections.abc import Mapping

from quadric.activations.loader import position_of
from quadric.ranks import Ranks

COUNTS = ("tokens", "dropped_first", "dropped_norm")
"""What is counted of each chunk once: rows kept, and rows dropped by position and by norm."""
_TALLY = ("counted_chunks", *COUNTS)
_KEYS = ("chunk", "offset", *_TALLY)


class Turns:
    """One rank's place among the chunks.

    Attributes:
        chunk: the number of its chunk.
        offset: rows of it that were used.
    """

    def __init__(self, ranks: Ranks) -> None:
        """The beginning: nothing used, nothing counted."""
        self._rank, self._world = ranks.rank, ranks.world
        self.chunk, self.offset = ranks.rank, 0
        self._tally = dict.fromkeys(_TALLY, 0)
        self._others = dict.fromkeys(COUNTS, 0)

    def advance(self) -> None:
        """Go to the next chunk of this rank."""
        self.chunk, self.offset = self.chunk + self._world, 0

    def count(self, found: Mapping[str, int]) -> None:
        """Count the chunk, unless it was counted: the place walks through the chunks in order."""
        if self.chunk >= self._tally["counted_chunks"]:
            self._tally["counted_chunks"] = self.chunk + 1
            for key in COUNTS:
                self._tally[key] += found[key]

    def counts(self) -> dict[str, int]:
        """The counts of this rank's chunks, and of the others' as far as a loaded state told."""
        return {key: self._tally[key] + self._others[key] for key in COUNTS}

    def state_dict(self) -> dict[str, int]:
        """``chunk``, ``offset`` and the counts; of several ranks, these of this rank and ``world``.

        The keys of rank r of several end in ``.r``, so the states of all are kept as their union.
        """
        own = {"chunk": self.chunk, "offset": self.offset, **self._tally}
        if self._world == 1:
            return own
        return {"world": self._world} | {f"{key}.{self._rank}": own[key] for key in _KEYS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a saved place.

        As many ranks as wrote it go on exactly, each from its own entries. Another number of ranks
        begins with the first chunk after all that were begun, so no row is used twice in the pass.

        Raises:
            QuadricError: the state is incomplete or holds something else than counts.
        """
        world = position_of(state, "world") if "world" in state else 1
        each = {
            rank: {key: position_of(state, _name(key, rank, world)) for key in _KEYS}
            for rank in range(world)
            # The other ranks' entries are only counts here, and may be absent.
            if world != self._world or rank == self._rank or _name("chunk", rank, world) in state
        }
        total = {key: sum(entry[key] for entry in each.values()) for key in COUNTS}
        if world == self._world:
            own = each[self._rank]
        else:
            begun = max(
                entry["chunk"] if entry["offset"] else entry["chunk"] - world
                for entry in each.values()
            )
            first = max(begun + 1, 0)
            own = {
                "chunk": first + (self._rank - first) % self._world,
                "offset": 0,
                "counted_chunks": first,
                # One rank carries what was counted before, so that the sum stays right.
                **{key: total[key] if self._rank == 0 else 0 for key in COUNTS},
            }
        self.chunk, self.offset = own["chunk"], own["offset"]
        self._tally = {key: own[key] for key in _TALLY}
        self._others = {key: total[key] - own[key] for key in COUNTS}


def _name(key: str, rank: int, world: int) -> str:
    return key if world == 1 else f"{key}.{rank}"
