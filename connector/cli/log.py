"""``connector log``: what was decided, newest last, and on request as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from connector.cli.frame import emails_option, hinted, json_option, limit_option
from connector.messages import Outcome

POLL_SECONDS: Final = 1.0
WINDOW: Final = 200
"""How many of the newest entries are compared with what was shown: late commits and changed outcomes lie among them."""

CATCH_UP: Final = 20_000
"""The most entries between two looks that are still shown one by one."""

OUTCOMES: Final = tuple(value for name, value in vars(Outcome).items() if name.isupper() and isinstance(value, str))

HEAD: Final = ("AT (UTC)".ljust(19), "OUTCOME".ljust(13), "SOURCE", "EVENT", "IDS AND REASON")

Entry = dict[str, Any]


@click.command()
@click.option(
    "--outcome", type=click.Choice(OUTCOMES), metavar="OUTCOME", help=f"Only this one: {', '.join(OUTCOMES)}."
)
@click.option("--source", help="Only from this source: segment, klaviyo, tracking_api, import, …")
@click.option("--event", help="Only this event, by Segment's name: “Email Opened”, …")
@click.option("-q", "query", help="Only what this messageId names or this identifier's value appears in, exactly.")
@click.option("--hubs", is_flag=True, help="Instead: identifiers that name nobody, being linked to too many others.")
@click.option("--follow", is_flag=True, help="Stay, and print what comes and what changes, until Ctrl-C.")
@limit_option(50)
@json_option
@emails_option
def log(
    outcome: str | None,
    source: str | None,
    event: str | None,
    query: str | None,
    hubs: bool,
    follow: bool,
    limit: int,
    as_json: bool,
    show_emails: bool,
) -> None:
    """Print the latest decisions, in the order of arrival, the newest last. Times are the events' own, in UTC.

    \b
    Examples:
      connector log --outcome held
      connector log --follow --source klaviyo
      connector log -q jane@example.com --json
      connector log --hubs
    """
    from connector.cli import show

    chosen = {"outcome": outcome, "source": source, "event": event, "q": query}
    words = show.Words(show_emails=show_emails)
    if not hubs:
        _decisions(chosen, limit, Printer(as_json, words), follow=follow)
    elif follow or any(chosen.values()):
        raise click.UsageError("--hubs is a list of its own: it goes with --limit and --json only")
    else:
        _hubs(limit, as_json, words)


def _decisions(chosen: dict[str, str | None], limit: int, printer: Printer, *, follow: bool) -> None:
    from connector.answers import log_page
    from connector.cli import opening

    with opening.reading() as desk:

        def page(limit: int, before: int | None = None) -> dict[str, Any]:
            with desk.store.reading() as tx:
                return log_page(tx, **chosen, before=before, limit=limit)

        first = page(limit)
        if not follow:
            printer.page(first)
            return
        printer.lines(reversed(first["entries"]))
        _follow(Following(page, first["entries"]), printer)


def _hubs(limit: int, as_json: bool, words: Any) -> None:
    from connector.answers import hubs as answer
    from connector.cli import opening, show

    with opening.reading() as desk, desk.store.reading() as tx:
        page = answer(tx, desk.house, limit)
    if as_json:
        show.as_json(page)
        return
    if not page["entries"]:
        words.say("no identifier is a hub, and none has a value that is blocked")
        return
    columns = ("type", "value", "linked to", "limit", "first seen (utc)", "last seen (utc)", "released by")
    rows = [
        (
            one["type"],
            one["value"],
            one["degree"],
            one["hub_limit"],
            show.short_time(one["first_at"]),
            show.short_time(one["last_at"]),
            hinted(one["released_by"]),
        )
        for one in page["entries"]
    ]
    words.table(columns, rows)
    if page["next"] is not None:
        words.say("there are more: raise --limit", dim=True)


class Following:
    """Compares the newest entries with those shown before, so that late and changed ones are told as well."""

    def __init__(self, page: Any, shown: list[Entry]) -> None:
        self._page = page
        self._seen = self._outcomes(page(WINDOW)["entries"])
        self._seen |= self._outcomes(shown)

    def news(self) -> Iterator[Entry]:
        """What is new or has another outcome since the last look, oldest first."""
        found: dict[int, Entry] = {}
        before = None
        newest: dict[int, str] = {}
        while len(found) < CATCH_UP:
            page = self._page(WINDOW, before)
            told = self._outcomes(page["entries"])
            newest |= {} if before else told
            found |= {one["id"]: one for one in page["entries"] if self._seen.get(one["id"]) != one["outcome"]}
            before = page["next"]
            if before is None or any(one in self._seen for one in told):
                break
        self._seen = {**self._seen, **self._outcomes(list(found.values())), **newest}
        for old in sorted(self._seen)[: -10 * WINDOW]:
            del self._seen[old]
        for number in sorted(found):
            yield found[number]

    @staticmethod
    def _outcomes(entries: list[Entry]) -> dict[int, str]:
        return {one["id"]: one["outcome"] for one in entries}


class Printer:
    """Entries as JSON, or as lines for people."""

    def __init__(self, as_json: bool, words: Any) -> None:
        self._as_json = as_json
        self._words = words
        self._headed = as_json

    def page(self, page: dict[str, Any]) -> None:
        from connector.cli import show

        if self._as_json:
            show.as_json(page)
        elif page["entries"]:
            self.lines(reversed(page["entries"]))
        else:
            self._words.say("nothing matches yet" if page["next"] is None else "nothing among the latest")

    def lines(self, entries: Any) -> None:
        from connector.cli import show

        for entry in entries:
            if self._as_json:
                show.as_json_line(entry)
            else:
                self._line(entry)

    def _line(self, entry: Entry) -> None:
        from connector.cli import show

        if not self._headed:
            self._words.say("  ".join(HEAD), dim=True)
            self._headed = True
        what = entry["event"] or entry["type"] or "unreadable"
        outcome = click.style(entry["outcome"].ljust(13), fg=show.COLORS.get(entry["outcome"]))
        ids = " ".join(f"{name}={entry[name]}" for name in ("user_id", "anonymous_id") if entry[name])
        whom = f" {entry['recipient']['value']}" if entry["recipient"] else ""
        if entry["source"] == "operator":
            whom = f" {entry['message_id']}"  # what `unlink --undo` is given
        head = f"{show.short_time(entry['at'])}  {outcome}  {entry['source']}  {what}{whom}"
        self._words.say(f"{head}  {ids + '  ' if ids else ''}{click.style(entry['reason'], dim=True)}")


def _follow(following: Following, printer: Printer) -> None:
    """Print news until Ctrl-C, which is how this is meant to end."""
    import time

    try:
        while True:
            printer.lines(following.news())
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return
