"""``connector export``: everything as JSON Lines, sorted, so that two exports can be compared byte by byte."""

from __future__ import annotations

import click


@click.command()
@click.argument("what", type=click.Choice(("profiles", "links", "log")))
def export(what: str) -> None:
    """Print all profiles, links, or log entries as JSON Lines.

    The same evidence gives the same bytes, in whatever order it arrived (the log is in the order of arrival).
    Addresses are printed in full.

    \b
    Examples:
      connector export profiles > profiles.jsonl
      connector export links | wc -l
    """
    from connector.answers import export_links, export_log, export_profiles
    from connector.cli import opening, show

    with opening.reading() as desk, desk.store.reading() as tx:
        if what == "profiles":
            rows = export_profiles(tx, desk.house)
        elif what == "links":
            rows = export_links(tx, desk.house)
        else:
            rows = export_log(tx)
        for row in rows:
            show.as_json_line(row)
