"""``connector demo``: the whole story on this machine, with stand-ins for Segment and Klaviyo."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where to listen; a free port otherwise.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Stay up after the story, to look at the page (until Ctrl-C); without either, only on a terminal.",
)
def demo(port: int | None, wait: bool | None) -> None:
    """Play the story with real HTTP and signatures, and show what becomes of it. Needs nothing, leaves nothing.

    \b
    Examples:
      connector demo
      connector demo --no-wait
    """
    from connector.demo.run import run

    run(port, wait=sys.stdout.isatty() if wait is None else wait)
