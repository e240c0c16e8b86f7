"""The ``connector`` command. Whatever ``connector --help`` does not need is imported inside the sub-commands."""

from __future__ import annotations

import os

import click

from connector import __version__
from connector.cli.checking import check
from connector.cli.demo import demo
from connector.cli.exporting import export
from connector.cli.forgetting import forget
from connector.cli.frame import Commands
from connector.cli.importing import import_
from connector.cli.klaviyo import klaviyo
from connector.cli.log import log
from connector.cli.mappings import mappings
from connector.cli.operating import retry
from connector.cli.reading import dead, explain, held, profile
from connector.cli.rebuilding import rebuild
from connector.cli.repairing import link, unlink
from connector.cli.serving import migrate, serve, web, worker

SECTIONS = {
    "Run": (demo, serve, migrate, web, worker),
    "Look": (check, log, explain, profile, held, dead, export),
    "Change": (import_, link, unlink, forget, retry, rebuild),
    "Adapt": (mappings, klaviyo),
}


@click.group(cls=Commands, sections=SECTIONS, context_settings={"max_content_width": 100})
@click.version_option(__version__, message="connector %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Gives email events their visitor back, and sends them on to Segment.

    Settings come from the environment and from a file .env in the working folder; see the README for each.

    \b
    Examples:
      connector demo            see it work, without any configuration
      connector serve           make a .env at the first start, then run
      connector explain ID      why a message, address or visitor was decided upon as it was
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
