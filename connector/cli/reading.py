"""The commands that answer questions about one thing: explain, profile, held, dead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from connector.cli.frame import as_of_option, emails_option, hinted, json_option, limit_option
from connector.errors import ConnectorError

if TYPE_CHECKING:
    from connector.cli.show import Words


@click.command()
@click.argument("text")
@click.argument("other", required=False)
@as_of_option
@json_option
@emails_option
def explain(text: str, other: str | None, as_of: int | None, as_json: bool, show_emails: bool) -> None:
    """Say why: of a messageId, an email address, an anonymousId, a userId, or another identifier's value.

    With two identifiers: what joins them, link by link, or what exactly keeps them apart, and what would change that.
    Each is a value, or type:value where a value alone is not clear.

    \b
    Examples:
      connector explain ajs-next-1790000000000-0c1d
      connector explain jane@example.com user_id:1042
      connector explain jane@example.com --as-of 2026-09-01T10:00:00Z
    """
    from connector.answers import explain as answer
    from connector.answers import explain_pair
    from connector.cli import opening, show

    with opening.reading() as desk, desk.store.reading() as tx:
        if other is None:
            told = answer(tx, desk.house, text, as_of)
        else:
            told = explain_pair(tx, desk.house, text, other, as_of)
    if as_json:
        show.as_json(told)
    else:
        words = show.Words(show_emails=show_emails)
        for sentence in told["in_words"]:
            words.say(hinted(sentence))
    if told["what"] == "unknown" or (other is not None and not (told["left"] and told["right"])):
        raise SystemExit(1)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="TYPE VALUE | ID")
@as_of_option
@json_option
@emails_option
def profile(names: tuple[str, ...], as_of: int | None, as_json: bool, show_emails: bool) -> None:
    """Print a person: identifiers, traits, browsers in time, links, what was refused, and the latest events.

    TYPE is email, user_id, anonymous_id, phone, <vendor>_profile_id (klaviyo_profile_id), <vendor>_user_id, or a type
    of your own in mappings/identity.toml; ID is a profile id.

    \b
    Examples:
      connector profile email jane@example.com
      connector profile anonymous_id 7f3a9c52
      connector profile 1f0e8c7d2b3a495867f0e1d2 --as-of 2026-09-01T10:00:00Z
    """
    from connector.answers import profile as by_identifier
    from connector.answers import profile_by_id
    from connector.cli import opening, show

    if len(names) > 2:
        raise click.UsageError("give a type and a value, or a profile id")
    with opening.reading() as desk, desk.store.reading() as tx:
        if len(names) == 2:
            _require_type(names[0], desk.house.rules)
            told = by_identifier(tx, desk.house, names[0], names[1], as_of)
        else:
            told = profile_by_id(tx, desk.house, names[0], as_of)
    if told is None:
        then = "was known by that at that time" if as_of is not None else "is known by that"
        raise ConnectorError(f"nobody {then}; `connector explain` looks everywhere")
    if as_json:
        show.as_json(told)
    else:
        _person(told, show.Words(show_emails=show_emails))


@click.command()
@limit_option(50)
@json_option
@emails_option
def held(limit: int, as_json: bool, show_emails: bool) -> None:
    """List what waits for an identity, the next to expire first.

    \b
    Example:
      connector held --limit 10
    """
    from connector.answers import held as answer
    from connector.cli import opening, show

    with opening.reading() as desk, desk.store.reading() as tx:
        rows = answer(tx, limit)
    if as_json:
        show.as_json(rows)
        return
    words = show.Words(show_emails=show_emails)
    if not rows:
        words.say("nothing is held")
        return
    columns = ("event", "at (utc)", "expires (utc)", "waits for", "message")
    words.table(columns, [_held(row) for row in rows])
    words.say(f"\nReleased by {rows[0]['released_by']}.", dim=True)


@click.command()
@limit_option(50)
@json_option
@emails_option
def dead(limit: int, as_json: bool, show_emails: bool) -> None:
    """List deliveries that were given up, newest first; `connector retry --dead ID` sends one again.

    \b
    Example:
      connector dead --json
    """
    from connector.answers import dead as answer
    from connector.cli import opening, show

    with opening.reading() as desk, desk.store.reading() as tx:
        rows = answer(tx, limit)
    if as_json:
        show.as_json(rows)
        return
    words = show.Words(show_emails=show_emails)
    if not rows:
        words.say("no delivery is dead")
        return
    columns = ("id", "event", "at (utc)", "since (utc)", "tries", "message", "why")
    words.table(
        columns,
        [
            (
                row["id"],
                row["event"],
                show.short_time(row["at"]),
                show.short_time(row["since"]),
                row["attempts"],
                row["message_id"],
                row["why"],
            )
            for row in rows
        ],
    )


def _held(row: dict[str, Any]) -> Sequence[object]:
    from connector.cli.show import short_time

    waits = ", ".join(f"{one['type']} {one['value']}" for one in row["waits_for"])
    return row["event"], short_time(row["at"]), short_time(row["expires_at"]), waits, row["message_id"]


def _require_type(name: str, rules: Any) -> None:
    from connector import orders

    try:
        orders.require_type(rules, name)
    except orders.BadOrder as error:
        raise click.UsageError(str(error)) from None


def _person(told: dict[str, Any], words: Words) -> None:
    from connector.cli.show import short_time

    if told.get("as_of"):
        words.say(f"as of {told['as_of']}", dim=True)
    words.say(_headline(told), bold=True)
    if told.get("hub"):
        words.say(f"It becomes somebody's again by {told['hub']['released_by']}.")
    if told.get("truncated"):
        words.say(told["truncated"], fg="yellow")
    words.title("Identifiers")
    _times(words, ("type", "value"), [((one["type"], one["value"]), one) for one in told["identifiers"]])
    if told["traits"]:
        words.title("Traits")
        words.table(("name", "value"), sorted(told["traits"].items()), "  ")
    if told["browsers"]:
        words.title("Browsers")
        spans = [
            (one["anonymous_id"], short_time(one["from"]) if one["from"] else "always", short_time(one["until"]))
            for one in told["browsers"]
        ]
        words.table(("anonymousId", "from (utc)", "until (utc)"), spans, "  ")
    if told["links"]:
        words.title("Links")
        _times(words, ("kind", "left", "right"), [(_ends(one), one) for one in told["links"]])
    if told["refused"]:
        words.title("Refused links")
        refused = [(*_ends(one), one["because"]) for one in told["refused"]]
        words.table(("kind", "left", "right", "because"), refused, "  ")
    if told["timeline"]:
        words.title("Latest events")
        rows = [
            (short_time(one["at"]), one["outcome"], one["event"] or one["type"], one["reason"])
            for one in told["timeline"]
        ]
        words.table(("at (utc)", "outcome", "event", "reason"), rows, "  ")


def _headline(told: dict[str, Any]) -> str:
    if told.get("hub"):
        return f"{told['hub']['type']} {told['hub']['value']} names nobody: {told['hub']['because']}"
    return f"profile {told['profile_id']}" if told["profile_id"] else "a browser that belongs to nobody yet"


def _ends(link: dict[str, Any]) -> tuple[str, str, str]:
    left, right = link["left"], link["right"]
    return link["kind"], f"{left['type']} {left['value']}", f"{right['type']} {right['value']}"


def _times(words: Words, names: Sequence[str], rows: Sequence[tuple[Sequence[object], dict[str, Any]]]) -> None:
    from connector.cli.show import short_time

    cells = [(*row, short_time(one["first_at"]), short_time(one["last_at"])) for row, one in rows]
    words.table((*names, "first seen (utc)", "last seen (utc)"), cells, "  ")
