"""``connector import``: history for the cold start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.cli.opening import Desk
    from connector.importing import Imported

TOLD: Final = 20
"""How many bad lines are named; the others are counted, and listed by the log."""


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@json_option
def import_(files: tuple[str, ...], as_json: bool) -> None:
    """Learn from history: JSON Lines of Segment calls, or CSV with user_id, anonymous_id, email, timestamp.

    Files may be gzipped; - is standard input. A timestamp is ISO 8601 (2026-01-31T10:00:00Z; without a zone it is
    UTC) or seconds since 1970. Nothing that is imported is sent; held events whose visitor becomes known are
    released. An interrupted import goes on where it ended, and importing twice changes nothing. Lines that cannot be
    used are named, kept as quarantined, and never stop the rest.

    \b
    Examples:
      connector import identities.csv
      gunzip -c calls.jsonl.gz | connector import -
    """
    from dataclasses import asdict

    from connector import history
    from connector.cli import opening, show

    if not opening.exists(opening.settings()):  # no database is made for what cannot be imported
        for file in files:
            if file != history.STDIN:
                history.require(file)
    with opening.changing(create=True) as desk:
        told = [_import(file, desk, err=as_json) for file in files]
    if as_json:
        show.as_json([asdict(one) for one in told])
    elif not desk.alone and any(one.stored for one in told):
        click.echo("The process that serves this database is learning from them now.")


def _import(path: str, desk: Desk, *, err: bool) -> Imported:
    """Args: err keeps standard output free, for JSON."""
    from connector import importing

    bad = 0

    def report(where: str, reason: str) -> None:
        nonlocal bad
        bad += 1
        if bad <= TOLD:
            click.echo(f"{path}: {where}: {reason}", err=err)

    with _bar(path) as bar:
        told = importing.import_file(desk.store, path, report=report, progress=bar.update, learn=desk.learn)
    if bad > TOLD:
        more = f"{path}: {bad - TOLD:,} more: see `connector log --source import --outcome quarantined`"
        click.echo(hinted(more), err=err)
    for line in _summary(told):
        click.echo(f"{path}: {line}", err=err)
    return told


def _bar(path: str) -> Any:
    from pathlib import Path

    size = Path(path).stat().st_size if Path(path).is_file() else 0
    hidden = not (sys.stderr.isatty() and size)
    return click.progressbar(length=size, label=f"importing {path}", file=sys.stderr, hidden=hidden, show_pos=False)


def _summary(told: Imported) -> Iterator[str]:
    if told.ignored_columns:
        yield f"columns not used: {', '.join(told.ignored_columns)}"
    if told.first_line > 1:
        if not told.lines:
            yield "nothing new; all of it was imported before"
            return
        yield f"continued after line {told.first_line - 1}, where the last import ended"
    parts = [
        (told.stored, "new"),
        (told.duplicates, "known already"),
        (told.nothing_to_learn, "skipped for having fewer than two identifiers"),
    ]
    named = ", ".join(f"{n:,} {words}" for n, words in parts if n)
    empty = f" ({_n(told.empty_lines, 'empty line')} passed over)" if told.empty_lines else ""
    yield f"{_n(told.lines, 'record')}: {named or 'none'}{empty}"
    if told.unusable:
        kept = "was kept" if told.unusable == 1 else "were kept"
        yield f"{_n(told.unusable, 'record')} could not be used and {kept} as quarantined"
    if told.without_address:
        yield f"{_n(told.without_address, 'address', 'addresses')} could not be used ({_lines(told)})"
    if told.without_time:
        yield f"{_n(told.without_time, 'record')} without a timestamp: taken as of now"


def _n(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def _lines(told: Imported) -> str:
    named = ", ".join(map(str, told.address_lines))
    rest = ", …" if told.without_address > len(told.address_lines) else ""
    return f"line{'' if told.without_address == 1 else 's'} {named}{rest}"
