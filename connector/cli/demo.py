"""``connector demo``: the whole story on this machine, with stand-ins for Segment and Klaviyo."""

from __future__ import annotations

import click


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where to listen; a free port otherwise.")
@click.option("--wait/--no-wait", default=True, help="Stay up after the story, to look at the page (until Ctrl-C).")
def demo(port: int | None, wait: bool) -> None:
    """Play the story with real HTTP and signatures, and show what becomes of it. Needs nothing, leaves nothing.

    \b
    Examples:
      connector demo
      connector demo --no-wait
    """
    from connector.demo.run import run

    run(port, wait=wait)
