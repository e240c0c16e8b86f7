"""Scanners among those who click. ``Message``s in, the same out, with ``machine_click`` on what a scanner clicked.

    1. Note every click of the batch: of which mail to whom, on which link, when.
    2. Read the clicks of the same mails around them, and see which are a sweep: enough different links of one mail
       within the window. A person follows one link after the other; a scanner follows all of them at once.
    3. Flag the messages of the batch, and of earlier ones whatever has not left yet; the log says so of both.

It only flags: nothing waits and nothing is dropped for it, and what has left stays as it left. Which clicks are swept
follows from the clicks alone and only grows with them, so order, repetition and batch size cannot matter. They count as
a machine's (``clicks``), beside those that their platform flagged. Next stage: ``stitch``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final, NamedTuple

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.keys import Keys
from connector.messages import SECOND, Identifier, Json, Message, Milliseconds, Outcome
from connector.rules import Rules
from connector.tables import clicks as table
from connector.tables import messages as log_rows
from connector.tables import outbox

CLICKED: Final = "Email Link Clicked"

PAGE: Final = 1_000

NOT_THEIRS: Final = ("ip", "userAgent", "user_agent")
"""What a context says of who clicked, which is nobody if a machine did."""

FLAGGED: Final = (
    "one of {links} or more different links of this mail clicked within {seconds:g} s: flagged as a scanner's"
)
TOO_LATE: Final = (
    "one of {links} or more different links of this mail clicked within {seconds:g} s: a scanner's, which was not known"
    " yet when it was first sent"
)

KEY: Final = ("delivery", "at", "inbox_id")
READ: Final = (*KEY, "link", "swept")

MOST: Final = 20_000
"""Clicks that are looked at for one batch. No mail has so many in a second: what comes beyond is an attack, and is not
looked at."""

AROUND: Final = f"""
    select {", ".join(f"c.{name}" for name in READ)} from {{asked}} q
    join clicks c on c.delivery = q.delivery and c.at between q.since and q.until
    limit {MOST}"""  # noqa: S608 - names of ours
SPAN: Final = (("delivery", "text"), ("since", "bigint"), ("until", "bigint"))

UNSENT: Final = (
    "(status = 'held' or (status = 'pending' and attempts = 0 and claimed_by is null and maybe_sent_at is null))"
)
"""Surely nobody has sent it or is sending it; a row that is locked while this holds is passed over by who claims."""


class Click(NamedTuple):
    """A click as it is noted. delivery stands for one mail to one person, link for where it led."""

    delivery: str
    at: Milliseconds
    inbox_id: int
    link: str
    swept: bool = False


def flag(
    tx: sa.Connection, messages: Sequence[Message], ids: Mapping[Identifier, int], rules: Rules, keys: Keys
) -> tuple[list[Message], dict[int, dict[str, Json]]]:
    """The messages, those flagged that are a scanner's; and of earlier ones what still waited, as it leaves now.

    Args: ids are the numbers of the messages' identifiers. The earlier ones are told by the message they answer.
    """
    fresh = record(tx, messages, ids, rules, keys)
    if not fresh or not rules.sweep_links:
        return list(messages), {}
    known = _read(bulk.select_joined(tx, AROUND, SPAN, _spans(fresh, rules.sweep_ms)))
    found = swept(known, rules)
    late = [one for one in known if one.inbox_id in found and not one.swept]
    _write(tx, [(one, True) for one in late])
    earlier = _flag_earlier(tx, {one.inbox_id for one in late} - {one.inbox_id for one in fresh}, rules)
    return [_flagged(one, rules) if one.inbox_id in found else one for one in messages], earlier


def record(
    tx: sa.Connection, messages: Iterable[Message], ids: Mapping[Identifier, int], rules: Rules, keys: Keys
) -> list[Click]:
    """Note the clicks among these messages. That a click is noted does not depend on the rules for sweeps."""
    found: list[Click] = []
    rows = []
    for message in messages:
        click = _click(message, rules, keys)
        if click is not None and message.email is not None:
            profile = message.email.vendor_profile
            found.append(click)
            rows.append((*click[:4], ids[profile] if profile else None))
    columns = (*KEY, "link", "profile_id")
    bulk.insert_rows(tx, table, columns, sorted(rows), f"on conflict ({', '.join(KEY)}) do nothing")
    return found


def swept(clicks: Iterable[Click], rules: Rules) -> set[int]:
    """The messages of those clicks that are part of a sweep, if these are all clicks of their mails about then."""
    found: set[int] = set()
    if not rules.sweep_links:
        return found
    for _, ones in groupby(sorted(clicks), key=lambda one: one.delivery):
        found |= _of_one_mail(list(ones), rules)
    return found


def _of_one_mail(clicks: Sequence[Click], rules: Rules) -> set[int]:
    """A window over the clicks in their order; wherever it holds enough different links, all in it are swept."""
    found: set[int] = set()
    links: Counter[str] = Counter()
    first = told = 0
    for last, click in enumerate(clicks):
        links[click.link] += 1
        while click.at - clicks[first].at > rules.sweep_ms:
            passed = clicks[first].link
            links[passed] -= 1
            if not links[passed]:
                del links[passed]
            first += 1
        if len(links) >= rules.sweep_links:
            found |= {one.inbox_id for one in clicks[max(first, told) : last + 1]}
            told = last + 1
    return found


# -- 1. what is a click -------------------------------------------------------------------------------------------


def _click(message: Message, rules: Rules, keys: Keys) -> Click | None:
    """The click that a message is, if it says of which mail, to whom, on which link, and when."""
    email = message.email
    if email is None or message.event != CLICKED or not message.timed:
        return None
    named = [one for one in (email.recipient, email.vendor_profile, email.vendor_user) if one is not None]
    mail, link = _mail(message.properties), _link(message.properties)
    if not named or mail is None or link is None:
        return None
    # By source too: a click that is told by two channels, each with its own spelling of the link, is one click.
    delivery = keys.delivery(message.source, email.vendor, min(named, key=rules.strength), mail)
    return Click(delivery, message.at, message.inbox_id, keys.hyperlink(link))


def _mail(properties: Mapping[str, Json]) -> str | None:
    """The platform's id of the mail; what knows only the campaign stands for its mail to this addressee."""
    return _named(properties, "email_id") or _named(properties, "campaign_id")


def _link(properties: Mapping[str, Json]) -> str | None:
    """Where the link leads, without the place on the page; else what the platform calls it."""
    url = properties.get("link_url")
    page = url.partition("#")[0] if isinstance(url, str) else ""
    return f"link_url {page}" if page else _named(properties, "link_id")


def _named(properties: Mapping[str, Json], name: str) -> str | None:
    value = properties.get(name)
    return f"{name} {value}" if value and isinstance(value, str | int) and value is not True else None


# -- 2. the clicks around -----------------------------------------------------------------------------------------


def _spans(clicks: Iterable[Click], within: Milliseconds) -> list[tuple[str, Milliseconds, Milliseconds]]:
    """(delivery, since, until) in which other clicks could be in a sweep with one of these; none overlaps another."""
    spans: list[tuple[str, Milliseconds, Milliseconds]] = []
    for one in sorted(clicks):
        since, until = one.at - within, one.at + within
        if spans and spans[-1][0] == one.delivery and since <= spans[-1][2]:
            since = spans.pop()[1]
        spans.append((one.delivery, since, until))
    return spans


def _read(rows: Iterable[bulk.Row]) -> list[Click]:
    return [Click(*row) for row in rows]


def _write(tx: sa.Connection, clicks: Iterable[tuple[Click, bool]]) -> None:
    bulk.update_rows(tx, table, KEY, ("swept",), [(*one[:3], is_swept) for one, is_swept in clicks])


# -- 3. what follows ----------------------------------------------------------------------------------------------


def _flagged(message: Message, rules: Rules) -> Message:
    properties = {**message.properties, "machine_click": True}
    return replace(message, properties=properties, notes=(*message.notes, _said(FLAGGED, rules)))


def _said(sentence: str, rules: Rules) -> str:
    return sentence.format(links=rules.sweep_links, seconds=rules.sweep_ms / SECOND)


def _flag_earlier(tx: sa.Connection, inbox_ids: set[int], rules: Rules) -> dict[int, dict[str, Json]]:
    """Flag what is still here of messages that came before, and say of the others that they had left."""
    if not inbox_ids:
        return {}
    # Locked, so that nobody begins to send one meanwhile; what is claimed already is neither touched nor waited for.
    unsent = bulk.select_locked(tx, outbox, ("id", "inbox_id", "body"), "inbox_id", inbox_ids, UNSENT)
    flagged = [(number, one, body) for number, one, text in unsent if (body := _flagged_body(text)) is not None]
    rows = [(number, orjson.dumps(body).decode()) for number, _, body in flagged]
    bulk.update_rows(tx, outbox, ("id",), ("body",), rows)
    earlier = {one: body for _, one, body in flagged}
    rest = inbox_ids - set(earlier)
    left = {one for (one,) in bulk.select_by(tx, outbox, ("inbox_id",), "inbox_id", rest, "status <> 'dropped'")}
    _note(tx, {one: _said(TOO_LATE if one in left else FLAGGED, rules) for one in inbox_ids})
    return earlier


def _flagged_body(text: str) -> dict[str, Json] | None:
    """An outgoing call with the flag, as ``outbox.compose`` would have made it; None if it is no event."""
    body = orjson.loads(text)
    if body["type"] != "track":
        return None  # an identify that joins an opaque id answers the same message
    properties = {**body["properties"], "machine_click": True}
    context = {name: value for name, value in body["context"].items() if name not in NOT_THEIRS}
    return {**body, "properties": properties, "context": context}


def _note(tx: sa.Connection, told: Mapping[int, str]) -> None:
    """Add a sentence to the notes of messages in the log."""
    forgotten = f"outcome <> '{Outcome.FORGOTTEN}'"
    before = {
        one: orjson.loads(notes or "[]")
        for one, notes in bulk.select_by(tx, log_rows, ("id", "notes"), "id", told, forgotten)
    }
    after = [(one, orjson.dumps([*notes, told[one]]).decode()) for one, notes in before.items()]
    bulk.update_rows(tx, log_rows, ("id",), ("notes",), after)


# -- the record ---------------------------------------------------------------------------------------------------


def settle_all(tx: sa.Connection, rules: Rules) -> None:
    """Find out anew of all clicks which are swept: after the rules have changed, or in a copy of the record."""
    last = ""
    query = sa.select(table.c.delivery).distinct().order_by(table.c.delivery).limit(PAGE)
    while page := list(tx.scalars(query.where(table.c.delivery > last))):
        _settle(tx, page, rules)
        last = page[-1]


def forget(tx: sa.Connection, inbox_ids: set[int], rules: Rules) -> None:
    """Erase the clicks of these messages; others of the same mails may be no sweep without them."""
    deliveries = {one for (one,) in bulk.select_by(tx, table, ("delivery",), "inbox_id", inbox_ids)}
    bulk.delete_rows(tx, table, "inbox_id", inbox_ids)
    _settle(tx, deliveries, rules)


def _settle(tx: sa.Connection, deliveries: Iterable[str], rules: Rules) -> None:
    known = _read(bulk.select_by(tx, table, READ, "delivery", deliveries))
    found = swept(known, rules)
    turned = [one for one in known if one.swept != (one.inbox_id in found)]
    _write(tx, [(one, not one.swept) for one in turned])


def copy(
    tx: sa.Connection, scratch: sa.Connection, profiles: Iterable[int], where: str, moved: Mapping[int, int]
) -> None:
    """Copy the clicks of mails that one of these vendor profiles clicked in to another store.

    Args: where is a further SQL condition, moved what identifiers are called there instead.
    """
    columns = [column.name for column in table.columns]
    deliveries = {one for (one,) in bulk.select_by(tx, table, ("delivery",), "profile_id", profiles)}
    rows = [
        (*row[:4], moved.get(row[4], row[4]), row[5])
        for row in bulk.select_by(tx, table, columns, "delivery", deliveries, where)
    ]
    bulk.insert_rows(scratch, table, columns, rows, "on conflict do nothing")
