"""What all commands share: how they are listed, how they fail, and the options that several of them take."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from connector.errors import ConfigError, ConnectorError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Commands(click.Group):
    """The group of all commands, listed in sections; what the connector refuses is said in words, with status 1."""

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[click.Command]], **more: Any) -> None:
        super().__init__(*args, **more)
        self.sections = sections
        for commands in sections.values():
            for command in commands:
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for commands in self.sections.values() for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([((c.name or "").ljust(width), c.get_short_help_str(100)) for c in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConnectorError as error:
            for mistake in (error.mistakes if isinstance(error, ConfigError) else ()) or (str(error),):
                click.echo(f"Error: {hinted(mistake)}", err=True)
            ctx.exit(1)


def called() -> str:
    """How the connector was called, so that what we tell people to type works in their shell as it is."""
    name = Path(sys.argv[0])
    if name.name != "connector" or shutil.which("connector") == str(name):
        return "connector"
    return str(name.relative_to(Path.cwd())) if name.is_relative_to(Path.cwd()) else str(name)


def hinted(text: str) -> str:
    """A text with its commands as they have to be typed here."""
    return text.replace("`connector ", f"`{called()} ")


def json_option(command: Decorated) -> Decorated:
    """``--json``: the answer as the API gives it, addresses included."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, with addresses in full.")(command)


def emails_option(command: Decorated) -> Decorated:
    """``--show-emails``: addresses in full where people read."""
    return click.option("--show-emails", is_flag=True, help="Print addresses in full, not masked.")(command)


def limit_option(default: int) -> Callable[[Decorated], Decorated]:
    """``-n``/``--limit``: how many at most."""
    return click.option(
        "-n", "--limit", type=click.IntRange(1, 1000), default=default, show_default=True, help="How many at most."
    )


class Moment(click.ParamType[int]):
    """A time as people write it: ISO 8601, without a zone in UTC; milliseconds for the command."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from connector.orders import BadOrder, moment

        try:
            return moment(f"'{value}'", value)
        except BadOrder as error:
            self.fail(str(error), param, ctx)


def as_of_option(command: Decorated) -> Decorated:
    """``--as-of``: what was known at a time."""
    told = "What was known up to the end of this minute, in event time (ISO 8601)."
    return click.option("--as-of", type=Moment(), metavar="TIME", help=told)(command)


def order_options(command: Decorated) -> Decorated:
    """What all commands take that change who is who: why, by whom, and whether to ask."""
    for option in (
        click.option("--reason", default="", help="Why, for the log; needed unless --dry-run."),
        click.option("--operator", help="Who does it, for the log; by default the name you are logged in with."),
        click.option("--dry-run", is_flag=True, help="Only show what it would do."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    ):
        command = option(command)
    return command
