"""``connector import``: history for the cold start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import json_option

if TYPE_CHECKING:
    from connector.cli.opening import Desk
    from connector.importing import Imported

TOLD: Final = 20
"""How many bad lines are named; the others are counted, and listed by the log."""


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@json_option
def import_(files: tuple[str, ...], as_json: bool) -> None:
    """Learn from history: JSON Lines of Segment calls, or CSV with user_id, anonymous_id, email, timestamp.

    Files may be gzipped; - is standard input. Nothing that is imported is sent; held events whose visitor becomes
    known are. An interrupted import goes on where it ended, and importing twice changes nothing. Lines that cannot
    be used are named, kept as quarantined, and never stop the rest.

    \b
    Examples:
      connector import identifies.csv
      gunzip -c calls.jsonl.gz | connector import -
    """
    from dataclasses import asdict

    from connector.cli import opening, show

    with opening.changing(create=True) as desk:
        told = [_import(file, desk) for file in files]
    if as_json:
        show.as_json([asdict(one) for one in told])
    else:
        for one in told:
            _say(one)
        if not desk.alone and any(one.stored for one in told):
            click.echo("The process that serves this database is learning from them now.")


def _import(path: str, desk: Desk) -> Imported:
    from connector import importing

    bad = 0

    def report(line: int, reason: str) -> None:
        nonlocal bad
        bad += 1
        if bad <= TOLD:
            click.echo(f"{path}: line {line}: {reason}", err=True)

    with _bar(path) as bar:
        told = importing.import_file(desk.store, path, report=report, progress=bar.update, learn=desk.learn)
    if bad > TOLD:
        click.echo(f"{path}: {bad - TOLD} more: see `connector log --source import --outcome quarantined`", err=True)
    if told.ignored_columns:
        click.echo(f"{path}: columns that were not used: {', '.join(told.ignored_columns)}", err=True)
    return told


def _bar(path: str) -> Any:
    from pathlib import Path

    size = Path(path).stat().st_size if Path(path).is_file() else 0
    hidden = not (sys.stderr.isatty() and size)
    return click.progressbar(length=size, label=f"importing {path}", file=sys.stderr, hidden=hidden, show_pos=False)


def _say(told: Imported) -> None:
    if told.first_line > 1:
        if not told.lines:
            click.echo(f"{told.file}: nothing new; all of it was imported before")
            return
        click.echo(f"{told.file}: continued after line {told.first_line - 1}, where the last import ended")
    parts = [
        (told.stored, "new"),
        (told.duplicates, "known already"),
        (told.nothing_to_learn, "skipped, because they have fewer than two identifiers"),
    ]
    named = ", ".join(f"{n:,} {words}" for n, words in parts if n)
    click.echo(f"{told.file}: {told.lines:,} records: {named or 'none'}")
    if told.unusable:
        click.echo(f"{told.file}: {told.unusable:,} of them are unusable and were quarantined", err=True)
    if told.without_time:
        click.echo(f"{told.file}: {told.without_time:,} records without a time of their own count as of now", err=True)
