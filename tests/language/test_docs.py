"""The page on language models names what there is; its code runs in ``tests/test_readme.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from quadric.cli import commands as program
from quadric.experiments.language.commands import COMMANDS
from quadric.experiments.language.registry import NAMES
from quadric.language.bilinearize import ANNEALED, CONTROL
from tests.language.following import SMALLER, commands

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "language-models.md").read_text(encoding="utf-8")


def flags(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def test_the_page_shows_every_command() -> None:
    named = {command.name for command in COMMANDS}
    assert {arguments[0] for arguments in commands(PAGE)} == SMALLER.keys() == named - {"compose"}
    assert "`quadric lm compose`" in PAGE


def test_the_page_lists_every_experiment_once_and_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE.split("## The experiments")[1], flags=re.M)
    assert tuple(rows) == NAMES
    for name in re.findall(r"quadric experiment lm-([a-z]+)", PAGE):
        assert name in NAMES


def test_every_flag_in_the_text_is_one() -> None:
    known = {flag for command in COMMANDS for flag in flags(command)}
    experiment = program.commands["experiment"]
    known |= set(flags(experiment))
    mentioned = re.findall(r"`(--[a-z-]+)", PAGE)
    assert len(mentioned) > 8
    assert not set(mentioned) - known
    options = {command.name: set(flags(command)) for command in COMMANDS}
    for arguments in commands(PAGE):
        given = {argument for argument in arguments if argument.startswith("--")}
        assert not given - options[arguments[0]], arguments


def test_the_files_of_language_models_are_described() -> None:
    described = (DOCS / "files.md").read_text(encoding="utf-8").split("## A language model")[1]
    for name in ("training.json", "metrics.json", "bilinearize.json", "dictionaries.json"):
        assert f"`{name}`" in described
    for name in (ANNEALED, CONTROL):
        assert f"{name}/" in described
