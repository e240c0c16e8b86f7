"""``connector export``: everything as JSON Lines, sorted, so that two exports can be compared byte by byte."""

from __future__ import annotations

import click

from connector.cli.frame import as_of_option


@click.command()
@click.argument("what", type=click.Choice(("profiles", "links", "log")))
@as_of_option
def export(what: str, as_of: int | None) -> None:
    """Print all profiles, links, or log entries as JSON Lines.

    The same evidence gives the same bytes, in whatever order it arrived (the log is in the order of arrival).
    Addresses are printed in full.

    \b
    Examples:
      connector export profiles > profiles.jsonl
      connector export links | wc -l
      connector export profiles --as-of 2026-09-01T10:00:00Z
    """
    from connector.answers import export_links, export_log, export_profiles
    from connector.cli import opening, show

    if what == "log" and as_of is not None:
        raise click.UsageError("--as-of goes with profiles and links: the log says itself what was decided when")
    with opening.reading() as desk, desk.store.reading() as tx:
        if what == "profiles":
            rows = export_profiles(tx, desk.house, as_of)
        elif what == "links":
            rows = export_links(tx, desk.house, as_of)
        else:
            rows = export_log(tx)
        for row in rows:
            show.as_json_line(row)
