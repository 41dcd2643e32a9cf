"""Questions to a session as they come from a page: every field checked by name, type and range.

Encode.read({"text": "on Monday", "id": 12}).ask(session)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quadric.errors import QuadricError, nearest

if TYPE_CHECKING:
    from quadric.atlas.service.session import Session

LONGEST_TEXT = 2000
"""Characters of a sentence."""
MOST_MEMBERS = 32
"""Latents of a composed form."""
MOST_POINTS = 2048
LARGEST_WEIGHT = 1e6
LARGEST_ID = 2**32 - 1
LARGEST_STEP = 4.0
"""Along the gradient, as a share of the activation's norm."""
LARGEST_TURN = 720.0
"""Along the level set, in degrees."""


@dataclass(frozen=True)
class Encode:
    """What does the autoencoder make of a sentence?"""

    text: str
    id: int | None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Encode:
        """From the fields text, id (null for no form) and axes_of ("form")."""
        given = _Fields(values, ("text", "id", "axes_of"))
        given.choice("axes_of", ("form",), default="form")
        return cls(given.text("text"), given.whole("id", 0, LARGEST_ID, default=None))

    def ask(self, session: Session) -> dict[str, Any]:
        """The answer, as JSON values."""
        return session.encode(self.text, self.id)


@dataclass(frozen=True)
class Compose:
    """What does a weighted sum of forms look like?"""

    members: dict[int, float]
    points: int

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Compose:
        """From the fields members, each with an id and a weight, and points."""
        given = _Fields(values, ("members", "points"))
        members: dict[int, float] = {}
        for member in given.objects("members", MOST_MEMBERS):
            one = _Fields(member, ("id", "weight"), "a member's ")
            number = one.whole("id", 0, LARGEST_ID)
            assert number is not None
            members[number] = members.get(number, 0.0) + one.number(
                "weight", -LARGEST_WEIGHT, LARGEST_WEIGHT
            )
        points = given.whole("points", 1, MOST_POINTS, default=MOST_POINTS)
        return cls(members, points or MOST_POINTS)

    def ask(self, session: Session) -> dict[str, Any]:
        """The answer, as JSON values."""
        return session.compose(self.members, self.points)


@dataclass(frozen=True)
class Steer:
    """What does the language model say when one token's activation is moved?"""

    text: str
    id: int
    position: int | None
    along: Literal["gradient", "level set"]
    amount: float
    axes: tuple[int, int] | None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Steer:
        """From the fields text, id, position, along, amount and axes."""
        given = _Fields(values, ("text", "id", "position", "along", "amount", "axes"))
        number = given.whole("id", 0, LARGEST_ID)
        assert number is not None
        along: Any = given.choice("along", ("gradient", "level set"))
        largest = LARGEST_STEP if along == "gradient" else LARGEST_TURN
        return cls(
            given.text("text"),
            number,
            given.whole("position", -LONGEST_TEXT, LONGEST_TEXT, default=None),
            along,
            given.number("amount", -largest, largest),
            given.pair("axes"),
        )

    def ask(self, session: Session) -> dict[str, Any]:
        """The answer, as JSON values."""
        return session.steer(
            self.text,
            self.id,
            position=self.position,
            along=self.along,
            amount=self.amount,
            axes=self.axes,
        )


_REQUIRED: Any = object()


class _Fields:
    """The fields of a JSON object; whatever is wrong with one is said by its name."""

    def __init__(self, values: Any, known: Sequence[str], of: str = "") -> None:
        if not isinstance(values, Mapping):
            raise QuadricError(f"{of.strip() or 'the request'} is no JSON object")
        for name in values:
            if name not in known:
                raise QuadricError(f"there is no field {of}{name!r}{nearest(name, known)}")
        self.values, self.of = values, of

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        if len(value) > LONGEST_TEXT:
            raise QuadricError(
                f"{self.of}{name} has {len(value)} characters, at most {LONGEST_TEXT} are read"
            )
        return value

    def choice(self, name: str, allowed: Sequence[str], default: Any = _REQUIRED) -> str:
        value = self._get(name, default)
        if value not in allowed:
            raise self._wrong(name, value, " or ".join(map(repr, allowed)))
        return str(value)

    def whole(
        self, name: str, lowest: int, highest: int, default: int | None = _REQUIRED
    ) -> int | None:
        value = self._get(name, default)
        if value is None and default is not _REQUIRED:
            return default
        if not _is_whole(value) or not lowest <= value <= highest:
            raise self._wrong(name, value, f"a whole number from {lowest} to {highest}")
        return int(value)

    def number(self, name: str, lowest: float, highest: float) -> float:
        value = self._get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not lowest <= value <= highest
        ):
            raise self._wrong(name, value, f"a number from {lowest:g} to {highest:g}")
        return float(value)

    def objects(self, name: str, most: int) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self._wrong(name, value, f"a list of 1 to {most} members")
        return value

    def pair(self, name: str) -> tuple[int, int] | None:
        value = self._get(name, None)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_whole, value)):
            raise self._wrong(name, value, "two whole numbers from 1")
        return int(value[0]), int(value[1])

    def _get(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self.values.get(name, default)
        if value is _REQUIRED:
            raise QuadricError(f"the field {self.of}{name!r} is missing")
        return value

    def _wrong(self, name: str, value: Any, expected: str) -> QuadricError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return QuadricError(f"{self.of}{name} is {shown}, expected {expected}")


def _is_whole(value: Any) -> bool:
    # JSON's 2.0 is a float here, and true is no number at all.
    return isinstance(value, int) and not isinstance(value, bool)
