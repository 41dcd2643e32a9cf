"""Configuration dataclasses: their documentation, their JSON form, and their errors.

A configuration is a frozen dataclass with a docstring under every field. From those the command
line takes its flags and help, ``cfg.json`` its keys, and the docs their tables, so a field is
described once. Unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from quadric.errors import QuadricError, nearest

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a configuration, resolved for a reader."""

    name: str
    """The attribute's name."""
    kind: type
    """The type of a value: str, int, float or bool."""
    choices: tuple[str, ...]
    """The allowed words, when the type is a Literal; empty otherwise."""
    optional: bool
    """Whether None is allowed."""
    default: Any
    """The default value."""
    doc: str
    """The docstring under the field, on one line."""


@cache
def fields(config: type) -> tuple[Field, ...]:
    """The fields of a configuration dataclass with their documentation."""
    docs = _docstrings(config)
    hints = typing.get_type_hints(config)
    return tuple(
        _describe(field, hints[field.name], docs.get(field.name, ""))
        for field in dataclasses.fields(config)
    )


def from_dict(config: type[C], values: Mapping[str, Any], where: str) -> C:
    """Build a configuration from JSON values.

    Raises:
        QuadricError: a key is unknown, a value has the wrong type, or the configuration
            contradicts itself. ``where`` says in the message where the values came from.
    """
    known = {field.name: field for field in fields(typing.cast(type, config))}
    for key, value in values.items():
        if key not in known:
            raise QuadricError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        _check(known[key], value, where)
    required = {
        field.name
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(values)):
        raise QuadricError(f"{where}: missing key {missing[0]!r}")
    return config(**values)


def _check(field: Field, value: Any, where: str) -> None:
    if value is None and field.optional:
        return
    if field.choices and value not in field.choices:
        hint = nearest(str(value), field.choices)
        raise QuadricError(
            f"{where}: {field.name} is {value!r}, expected one of {', '.join(field.choices)}{hint}"
        )
    numeric = field.kind is float and isinstance(value, int) and not isinstance(value, bool)
    wrong_bool = isinstance(value, bool) and field.kind is not bool
    if wrong_bool or not (numeric or isinstance(value, field.kind)):
        raise QuadricError(f"{where}: {field.name} is {value!r}, expected a {field.kind.__name__}")


def _describe(field: dataclasses.Field[Any], hint: Any, doc: str) -> Field:
    arguments = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arguments = list(typing.get_args(hint))
    optional = type(None) in arguments
    inner = next(argument for argument in arguments if argument is not type(None))
    choices: tuple[str, ...] = ()
    if typing.get_origin(inner) is typing.Literal:
        choices = typing.get_args(inner)
        inner = str
    default = None if field.default is dataclasses.MISSING else field.default
    return Field(field.name, inner, choices, optional, default, doc)


def _docstrings(config: type) -> dict[str, str]:
    """The string literal that follows each annotated assignment in the class body."""
    docs: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        body = typing.cast(ast.ClassDef, tree.body[0]).body
        for statement, following in itertools.pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                docs[statement.target.id] = " ".join(following.value.value.split())
    return docs
