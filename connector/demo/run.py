"""``connector demo``: stage and story, and that nothing of either is left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

import click

from connector.demo.stage import Stage
from connector.demo.story import Story, introduce

ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


class Ended(SystemExit):
    """Somebody ended the demo from outside; the code is the shell's for that signal."""


def run(port: int | None = None, *, wait: bool = True) -> None:
    """Play the demo; with wait, stay up after it until Ctrl-C.

    Raises: ConnectorError if the story does not come true.
    """
    with (
        _ended_in_order(),
        TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=True) as folder,
        _undisturbed_end(Stage(Path(folder), port)) as stage,
    ):
        introduce(stage)
        Story(stage).play()
        if wait:
            _stay(stage)
    click.echo("\nThe demo has ended; nothing is left of it.")


def _stay(stage: Stage) -> None:
    click.echo()
    click.secho("  Look at it yourself", bold=True)
    page = click.style(f"{stage.url}/", fg="cyan", underline=True)
    click.echo(f"  {page}   token {click.style(stage.token, fg='green')}")
    click.echo("  Ctrl-C ends the demo and removes everything it made.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


@contextmanager
def _undisturbed_end(stage: Stage) -> Iterator[Stage]:
    """The stage; while it is taken down a second Ctrl-C is not heard."""
    with stage as opened:
        try:
            yield opened
        finally:
            for number in (signal.SIGINT, *ENDINGS):
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """While this lasts, SIGTERM and a closed terminal end the demo as Ctrl-C does: cleaning up."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(128 + number)

    before = {number: signal.signal(number, end) for number in ENDINGS}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
