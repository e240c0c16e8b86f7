"""Stage 4 of T2: what leaves. A message and its ``Placement`` in, rows of the outbox out.

Held is a state of the outbox row: its body is complete but for the ids, which it gets when it is released, or when
its time is up under an opaque id. From then on the body is frozen; only ``sentAt`` changes. Next: ``deliver``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import bulk, counters
from connector.keys import Keys
from connector.mapping import Destination, Mappings
from connector.messages import Email, Json, Message, Milliseconds, iso
from connector.tables import mirrored, outbox, waiting

HELD: Final = "held"
PENDING: Final = "pending"
DROPPED: Final = "dropped"
UNSENT: Final = (HELD, PENDING, "dead")

OUTBOX_COLUMNS: Final = (
    "inbox_id", "destination", "message_id", "status", "at", "due_at", "body", "created_at", "pending_at", "subject_id",
)  # fmt: skip


NOT_SENT: Final = ("traits", "integration", "consent", "externalIds", "device")
"""Parts of a context that are ours to say, or that name further ids: Segment Unify would merge on those as well.

Source: https://segment.com/docs/unify/identity-resolution/externalids/
"""


HELD_COLUMNS: Final = ("id", "inbox_id", "at")


@dataclass(frozen=True, slots=True)
class Ids:
    """What identifies an outgoing event. consent is the person's, per category, None if none is known."""

    user_id: str | None = None
    anonymous_id: str | None = None
    email: str | None = None
    consent: Mapping[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """An outgoing event of one message. due_at: held until then, or pending from then.

    subject: the identifier whose record at the destination it changes; what concerns one leaves in its order.
    """

    inbox_id: int
    message_id: str
    status: str
    at: Milliseconds
    due_at: Milliseconds
    body: str
    waits_for: tuple[int, ...] = ()
    ambiguous: bool = False
    subject: int | None = None


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held delivery as it is read back, without its body."""

    id: int
    inbox_id: int
    at: Milliseconds


def compose(
    message: Message, email: Email, mappings: Mappings, destination: Destination, keys: Keys
) -> dict[str, Json]:
    """The outgoing track call without ids: Segment's spec names, the event's own time, and what it answers.

    The scanner's or proxy's ip and user agent are left out of machine-made events: they are nobody's.
    """
    context = {key: value for key, value in message.context.items() if key not in NOT_SENT}
    machine = bool(message.properties.get("machine_open") or message.properties.get("machine_click"))
    for name in ("ip", "userAgent", "user_agent", "direct") if machine else ("direct",):
        context.pop(name, None)
    vendor = mappings.sources.get(email.vendor)
    silenced = vendor.integrations if vendor else _named(message)
    return {
        "type": "track",
        "event": destination.names.get(message.event or "", message.event),
        "messageId": keys.outgoing_id(message.key, destination.name),
        "timestamp": iso(message.at),
        "properties": dict(message.properties),
        "context": {
            **context,
            "integration": dict(destination.integration),
            "connector": {"vendor": email.vendor, "source": message.source, "messageId": message.message_id},
        },
        "integrations": {**message.integrations, "All": True, **dict.fromkeys(silenced, False)},
    }


def _named(message: Message) -> tuple[str, ...]:
    """What a platform without a mapping calls itself, which is also how Segment calls its destination."""
    integration = message.context.get("integration")
    name = integration.get("name") if isinstance(integration, dict) else None
    return (name, f"{name} (Actions)") if isinstance(name, str) and name else ()


def address(body: Mapping[str, Json], ids: Ids, *, late: bool) -> str:
    """The body with its ids, as JSON text: frozen from here on."""
    complete: dict[str, Any] = {**body, "context": dict(body["context"])}
    if ids.user_id:
        complete["userId"] = ids.user_id
    if ids.anonymous_id:
        complete["anonymousId"] = ids.anonymous_id
    if ids.email:
        complete["context"]["traits"] = {"email": ids.email}
    if ids.consent:
        complete["context"]["consent"] = {"categoryPreferences": dict(ids.consent)}
    if late:
        complete["properties"] = {**body["properties"], "stitched_late": True}
    return orjson.dumps(complete).decode()


def bare(body: Mapping[str, Json]) -> dict[str, Json]:
    """The body without its ids: as it was composed."""
    context = {name: value for name, value in body["context"].items() if name not in ("traits", "consent")}
    return {name: value for name, value in body.items() if name not in ("userId", "anonymousId")} | {"context": context}


def rewrite(tx: sa.Connection, number: int, body: str) -> None:
    """Give a delivery of which nothing has arrived another body, with the ids that are known now."""
    bulk.update_rows(tx, outbox, ("id",), ("body",), [(number, body)])


def hold_again(tx: sa.Connection, row: Any, body: str, waits_for: Iterable[int], until: Milliseconds) -> None:
    """Let a delivery of which nothing has arrived wait for an identity once more. Args: body is one without ids."""
    columns = ("status", "due_at", "pending_at", "body", "subject_id")
    bulk.update_rows(tx, outbox, ("id",), columns, [(row.id, HELD, until, None, body, None)])
    wait_also(tx, sorted({(one, row.id, False) for one in waits_for}))
    counters.add(tx, f"outbox.{row.destination}.{row.status}", -1)
    counters.add(tx, f"outbox.{row.destination}.held", 1)


def take_turns(tx: sa.Connection, rows: Sequence[tuple[int | None, int]]) -> None:
    """Let deliveries follow what is pending for a subject, or nobody: (subject, outbox id)."""
    bulk.update_rows(tx, outbox, ("id",), ("subject_id",), [(number, subject) for subject, number in rows])


def wait_also(tx: sa.Connection, rows: Sequence[tuple[int, int, bool]]) -> None:
    """Let held deliveries wait for further identifiers: (identifier, outbox id, ambiguous)."""
    columns = ("identifier_id", "outbox_id", "ambiguous")
    bulk.insert_rows(tx, waiting, columns, rows, "on conflict (identifier_id, outbox_id) do nothing")


def follow(tx: sa.Connection, rows: Sequence[tuple[int, int | None]]) -> None:
    """Let what is pending for one subject keep its turn among another's: (the other, the one)."""
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    if rows:
        where = f"subject_id = {mark} and status = 'pending'"
        tx.exec_driver_sql(f"update {outbox.name} set subject_id = {mark} where {where}", list(rows))  # noqa: S608 - marks


def withhold(tx: sa.Connection, row: Any) -> None:
    """Let a delivery of which nothing has arrived never leave."""
    bulk.update_rows(tx, outbox, ("id",), ("status",), [(row.id, DROPPED)])
    counters.add(tx, f"outbox.{row.destination}.{row.status}", -1)
    _untell(tx, [row.subject_id])


def _untell(tx: sa.Connection, subjects: Iterable[int | None]) -> None:
    """What never left was not told: of these customers the next call says everything."""
    bulk.delete_rows(tx, mirrored, "identifier_id", {one for one in subjects if one is not None})


def correct(tx: sa.Connection, row: Any, body: Mapping[str, Json], ids: Ids, keys: Keys, now: Milliseconds) -> None:
    """A copy of what was sent, under the ids that are known now and an id that names what it corrects."""
    connector = {**body["context"].get("connector", {}), "corrects": row.message_id}
    message_id = keys.outgoing_id(f"correct/{row.message_id}/{ids.user_id}/{ids.anonymous_id}", row.destination)
    copy = bare(body)
    copy = {**copy, "messageId": message_id, "context": {**copy["context"], "connector": connector}}
    parcel = Parcel(row.inbox_id, message_id, PENDING, row.at, now, address(copy, ids, late=False))
    add(tx, row.destination, [parcel], now)


def joining_identify(
    user_id: str, anonymous_id: str, at: Milliseconds, destination: Destination, keys: Keys
) -> dict[str, Json]:
    """The one identify that joins an opaque id to the userId its addressee turned out to have."""
    return {
        "type": "identify",
        "userId": user_id,
        "anonymousId": anonymous_id,
        "messageId": keys.outgoing_id(f"join/{anonymous_id}", destination.name),
        "timestamp": iso(at),
        "traits": {},
        "context": {"integration": dict(destination.integration)},
    }


def add(tx: sa.Connection, destination: str, parcels: Sequence[Parcel], now: Milliseconds) -> None:
    """Write outgoing events; one that is there already under its messageId stays as it is."""
    if not parcels:
        return
    rows = [
        (
            one.inbox_id,
            destination,
            one.message_id,
            one.status,
            one.at,
            one.due_at,
            one.body,
            now,
            now if one.status == PENDING else None,
            one.subject,
        )
        for one in sorted(parcels, key=lambda one: (one.at, one.inbox_id))
    ]
    before = _existing(tx, destination, parcels)
    bulk.insert_rows(tx, outbox, OUTBOX_COLUMNS, rows, "on conflict (message_id, destination) do nothing")
    fresh = [one for one in parcels if one.message_id not in before]
    held = {one.inbox_id: one for one in fresh if one.status == HELD}
    ids = bulk.select_by(tx, outbox, ("id", "inbox_id"), "inbox_id", held, "status = 'held'")
    waits = {(one, row, held[inbox_id].ambiguous) for row, inbox_id in ids for one in held[inbox_id].waits_for}
    wait_also(tx, sorted(waits))
    counters.add(tx, f"outbox.{destination}.held", sum(one.status == HELD for one in fresh))
    counters.add(tx, f"outbox.{destination}.pending", sum(one.status == PENDING for one in fresh))


def _existing(tx: sa.Connection, destination: str, parcels: Sequence[Parcel]) -> set[str]:
    ids = [one.message_id for one in parcels]
    rows = bulk.select_by(tx, outbox, ("message_id", "destination"), "message_id", ids)
    return {message_id for message_id, known in rows if known == destination}


def waiting_for(tx: sa.Connection, destination: str, changed: Iterable[int], seen: Iterable[int] = ()) -> list[HeldRow]:
    """The events held for a destination that may have a visitor now, in event-time order.

    Args: changed are identifiers about which something new is known; of those only seen again, the events between
    two people are tried once more, because the latest sighting decides there.
    """
    rows = bulk.select_by(tx, waiting, ("outbox_id",), "identifier_id", changed)
    rows += bulk.select_by(tx, waiting, ("outbox_id",), "identifier_id", seen, "ambiguous")
    columns = (*HELD_COLUMNS, "destination")
    held = bulk.select_by(tx, outbox, columns, "id", {row[0] for row in rows}, "status = 'held'")
    return _held(row[:3] for row in held if row[3] == destination)


def erase(tx: sa.Connection, inbox_ids: Iterable[int]) -> list[int]:
    """Empty whatever answers these messages. What has not arrived never leaves; the messages of that."""
    columns = ("id", "inbox_id", "destination", "status", "subject_id")
    rows = bulk.select_locked(tx, outbox, columns, "inbox_id", inbox_ids)  # for one may be on its way
    unsent = [row for row in rows if row[3] in UNSENT]
    bulk.update_rows(tx, outbox, ("id",), ("body",), [(row[0], "") for row in rows])
    bulk.update_rows(tx, outbox, ("id",), ("status",), [(row[0], DROPPED) for row in unsent])
    bulk.delete_rows(tx, waiting, "outbox_id", [row[0] for row in rows])
    _untell(tx, [row[4] for row in unsent])
    for (destination, status), n in Counter((row[2], row[3]) for row in unsent).items():
        counters.add(tx, f"outbox.{destination}.{status}", -n)
    return [row[1] for row in unsent]


def bodies(tx: sa.Connection, ids: Iterable[int]) -> list[tuple[int, str]]:
    """The (outbox id, body) of these deliveries."""
    return [(one, body) for one, body in bulk.select_by(tx, outbox, ("id", "body"), "id", ids)]


def mark_ambiguous(tx: sa.Connection, rows: Sequence[tuple[int, bool]]) -> None:
    """Note which of these held (outbox id, ambiguous) wait between two people."""
    bulk.update_rows(tx, waiting, ("outbox_id",), ("ambiguous",), rows)


def any_expiring(tx: sa.Connection, destination: str, now: Milliseconds) -> bool:
    """Is the time of a held event up?"""
    return bool(_expiring(tx, destination, now, 1))


def expiring(tx: sa.Connection, destination: str, now: Milliseconds, limit: int) -> list[HeldRow]:
    """The held events whose time is up, oldest first."""
    return _held(_expiring(tx, destination, now, limit))


def held_after(tx: sa.Connection, destination: str, last: int, limit: int) -> list[HeldRow]:
    """A page of all that is held. Args: last is the number of the last row of the page before."""
    held: sa.ColumnClause[str] = sa.literal_column(
        "'held'"
    )  # a literal, because SQLite uses a partial index only if it sees the constant
    query = sa.select(outbox.c.id, outbox.c.inbox_id, outbox.c.at).where(
        outbox.c.status == held, outbox.c.destination == destination, outbox.c.id > last
    )
    return _held(tuple(row) for row in tx.execute(query.order_by(outbox.c.id).limit(limit)))


def _expiring(tx: sa.Connection, destination: str, now: Milliseconds, limit: int) -> list[bulk.Row]:
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    rows = tx.exec_driver_sql(
        f"""select id, inbox_id, at from outbox where status = 'held'
            and due_at <= {mark} and destination = {mark} order by due_at limit {limit:d}""",  # noqa: S608 - marks and a number
        (now, destination),
    )
    return [tuple(row) for row in rows]


def _held(rows: Iterable[bulk.Row]) -> list[HeldRow]:
    return sorted((HeldRow(*row) for row in rows), key=lambda row: (row.at, row.inbox_id))


def settle_held(
    tx: sa.Connection, destination: str, rows: Sequence[tuple[int, str]], status: str, now: Milliseconds
) -> None:
    """End the holding of these (outbox id, body): pending from now on, or dropped."""
    bulk.update_rows(
        tx,
        outbox,
        ("id",),
        ("status", "due_at", "pending_at", "body"),
        [(one, status, now, now if status == PENDING else None, body) for one, body in rows],
    )
    bulk.delete_rows(tx, waiting, "outbox_id", [one for one, _ in rows])
    counters.add(tx, f"outbox.{destination}.held", -len(rows))
    if status == PENDING:
        counters.add(tx, f"outbox.{destination}.pending", len(rows))
