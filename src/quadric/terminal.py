"""What every command shares: how it takes a run, how it answers, and how it is suggested."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quadric.errors import nearest

if TYPE_CHECKING:
    from rich.console import Console


class Commands(click.Group):
    """A group that suggests the nearest command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that the first argument names."""
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


class Deferred(Commands):
    """A group whose commands are made when one of them is asked for.

    Flags made from configurations need their classes, and those need torch: ``quadric --help``
    must not wait for that.
    """

    def __init__(self, name: str, help: str, module: str) -> None:
        """Args:
        name: of the group.
        help: its first line.
        module: where ``COMMANDS`` is, a list of its commands.
        """
        super().__init__(name, help=help)
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, sorted."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if not self.commands:
            for command in importlib.import_module(self._module).COMMANDS:
                self.add_command(command)


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
run_argument = click.argument("run", type=click.Path(path_type=Path))


def answer(values: Any, text: str, as_json: bool) -> None:
    """Print a result, as JSON or as text."""
    click.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)


def progress() -> Console:
    """Where progress and errors go: standard error."""
    from rich.console import Console

    return Console(stderr=True)
