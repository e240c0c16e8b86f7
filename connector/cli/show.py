"""Prints answers for people: words and aligned tables, addresses masked unless they asked for them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import Any, Final

import click

from connector.masking import mask

COLORS: Final = {
    "stitched": "green",
    "stitched_late": "green",
    "passed": "green",
    "delivered": "green",
    "held": "yellow",
    "pending": "yellow",
    "ambiguous": "yellow",
    "expired": "yellow",
    "quarantined": "red",
    "dead": "red",
    "warn": "yellow",
    "error": "red",
    "ok": "green",
}
"""What a word of ours looks like on a terminal."""


class Words:
    """Where a command's words go. Everything passes the mask, so no column can forget it."""

    def __init__(self, *, show_emails: bool) -> None:
        self._show_emails = show_emails

    def say(self, text: str = "", **style: Any) -> None:
        """A line."""
        click.secho(self._masked(text), **style)

    def title(self, text: str) -> None:
        """The heading of what follows."""
        self.say(f"\n{text}", bold=True)

    def table(self, names: Sequence[str], rows: Iterable[Sequence[object]], indent: str = "") -> None:
        """Aligned columns. On a terminal the last one is cut where the line ends; in a pipe nothing is."""
        cells = [[self._masked(_text(cell)) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip([*names], *cells, strict=True)]
        self._line([name.upper() for name in names], widths, indent, dim=True)
        for row in cells:
            self._line(row, widths, indent)

    def _line(self, cells: Sequence[str], widths: Sequence[int], indent: str, **style: Any) -> None:
        room = get_terminal_size().columns - len(indent) if sys.stdout.isatty() else sys.maxsize
        parts = []
        for cell, width in zip(cells, widths, strict=True):
            shown = cell if len(cell) <= room else cell[: max(room - 1, 0)] + "…"
            room -= width + 2
            padded = shown if cell is cells[-1] else shown.ljust(width)
            parts.append(click.style(padded, fg=COLORS.get(cell), **style))
            if room <= 0:
                break
        click.echo((indent + "  ".join(parts)).rstrip())

    def _masked(self, text: str) -> str:
        return text if self._show_emails else mask(text)


def as_json(value: object) -> None:
    """One JSON document, indented, keys in the API's order."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def as_json_line(value: object) -> None:
    """One JSON document on a line of its own, keys sorted, so that the same value is always the same bytes."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def short_time(text: object) -> str:
    """``2026-09-01T10:00:00.000Z`` → ``2026-09-01 10:00:00``; times are UTC everywhere."""
    return str(text)[:19].replace("T", " ") if text else "-"


def _text(cell: object) -> str:
    return "-" if cell in (None, "") else " ".join(str(cell).split())
