"""``connector klaviyo poll``: everything there is to read of Klaviyo's events, now and in the foreground."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from connector.cli.frame import hinted, json_option

if TYPE_CHECKING:
    from connector.klaviyo.polled import Step

WIDTH = 1_000
"""How finely a bar shows how far a reading is."""


@click.command()
@json_option
def poll(as_json: bool) -> None:
    """Read Klaviyo's email events to the end: what is new, the history of a first time, what came late.

    `connector serve` and `connector worker` do so by themselves, so this is for the first time, or while neither runs.
    It can be stopped at any time and goes on where it was; what is known already is not counted again.

    \b
    Examples:
      connector klaviyo poll
      connector klaviyo poll --json
    """
    from connector.cli import klaviyo_client, opening, show
    from connector.klaviyo import polled
    from connector.klaviyo.poll import Poller, sync
    from connector.messages import now_ms

    config = klaviyo_client.settings()
    bars = Bars()
    with opening.changing() as desk, klaviyo_client.connected(config, seconds=None) as client:
        poller = Poller(desk.config, desk.store, klaviyo_client.mappings(desk.config), client, progress=bars)
        try:
            told = sync(poller, threading.Event(), desk.learn)
        finally:
            bars.close()
        with desk.store.writing() as tx:
            polled.note(tx, now_ms(), polled.summary(told), ok=True)
    if as_json:
        read = {name: getattr(told, name) for name in ("metrics", "pages", "events", "stored")}
        show.as_json({**read, "stitched": desk.alone})
    else:
        click.echo(f"{polled.summary(told)}.")
        if not desk.alone:
            click.echo(hinted("The process that serves this database stitches them: see `connector log`."))


class Bars:
    """A bar for each reading, on standard error; nothing where nobody watches it."""

    def __init__(self) -> None:
        self._reading: tuple[str, str] | None = None
        self._bar: Any = None
        self._reached = 0

    def __call__(self, step: Step) -> None:
        """One page more was read."""
        if not sys.stderr.isatty():
            return
        if self._reading != (step.metric, step.what):
            self.close()
            self._reading, self._reached = (step.metric, step.what), 0
            label = f"{step.metric}, {step.what}"
            self._bar = click.progressbar(length=WIDTH, label=label, file=sys.stderr, show_pos=False)
        reached = round(WIDTH * step.share)
        self._bar.update(reached - self._reached)
        self._reached = reached

    def close(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = self._reading = None
