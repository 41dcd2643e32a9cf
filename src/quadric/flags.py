"""Command-line flags made from configuration dataclasses.

Every field becomes a flag of the same name with its docstring as help. A flag left out is absent
from the values a command receives, so defaults stay in the dataclass and a resumed run can tell
what its user typed from what was not mentioned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from quadric.errors import QuadricError, nearest
from quadric.settings import Field, fields

F = TypeVar("F", bound=Callable[..., Any])


def config_flags(*configs: type, leave_out: tuple[str, ...] = ()) -> Callable[[F], F]:
    """A decorator that adds one flag per field; a name shared by configurations is one flag.

    Such a flag sets the field of each, and its help is what each says of it.
    """

    def decorate(command: F) -> F:
        seen: dict[str, list[Field]] = {}
        for config in configs:
            for field in fields(config):
                if field.name not in leave_out:
                    seen.setdefault(field.name, []).append(field)
        for same in reversed(seen.values()):
            command = _flag(same)(command)
        return command

    return decorate


def chosen(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The typed flags that belong to a configuration."""
    names = {field.name for field in fields(config)}
    return {name: value for name, value in values.items() if name in names and value is not None}


def parse_assignments(config: type, text: str) -> tuple[str, dict[str, Any]]:
    """``NAME:field=value,field=value`` as a name and typed values.

    Raises:
        QuadricError: the form is wrong, a field is unknown, or a value is not of its type.
    """
    name, colon, rest = text.partition(":")
    if not colon or not name.isidentifier():
        raise QuadricError(f"{text!r}: expected NAME:field=value,field=value")
    known = {field.name: field for field in fields(config)}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if key not in known:
            raise QuadricError(f"{text!r}: unknown field {key!r}{nearest(key, known)}")
        if not equals:
            raise QuadricError(f"{text!r}: {key} has no value")
        values[key] = _convert(known[key], value.strip(), text)
    return name, values


def _flag(same: Sequence[Field]) -> Callable[[F], F]:
    """One flag for fields of one name."""
    field = same[0]
    for other in same:
        # One value goes to every field of the name, so they must mean the same type by it.
        assert (other.kind, other.choices) == (field.kind, field.choices), f"{field.name} differs"
    name = field.name.replace("_", "-")
    declaration = f"--{name}/--no-{name}" if field.kind is bool else f"--{name}"
    kind = click.Choice(field.choices) if field.choices else field.kind
    return click.option(
        declaration, field.name, type=kind, default=None, help=_help(same), metavar=None
    )


def _help(same: Sequence[Field]) -> str:
    """What each field says of the flag, with its default where they differ."""
    defaults = [
        "" if field.default in (None, "") else f"  [default: {_shown(field.default)}]"
        for field in same
    ]
    if len(set(defaults)) == 1:
        return " ".join(dict.fromkeys(field.doc for field in same)) + defaults[0]
    return "  ".join(field.doc + default for field, default in zip(same, defaults, strict=True))


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _convert(field: Field, value: str, where: str) -> Any:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if field.optional and value == "none":
        return None
    if field.kind is bool:
        if value.lower() in words:
            return words[value.lower()]
    else:
        try:
            return field.kind(value)
        except ValueError:
            pass
    raise QuadricError(f"{where!r}: {field.name} is {value!r}, expected a {field.kind.__name__}")
