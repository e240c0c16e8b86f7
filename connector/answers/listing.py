"""Lists, newest or most urgent first: the log, and what is held, dead or quarantined. Bounded, by index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.answers import parts
from connector.elements import dedupe_key
from connector.identifiers import NORMALISERS
from connector.messages import Json, Outcome, iso
from connector.tables import attempts, identifiers, mentions, messages, outbox, waiting

SCAN: Final = 50_000
"""Rows one page looks at when it is filtered by what no index knows (source, event)."""

ENTRY: Final = (
    "id", "source", "message_id", "type", "event", "vendor", "at", "received_at", "authenticated", "outcome", "reason",
    "notes", "user_id", "anonymous_id", "recipient_id",
)  # fmt: skip

RELEASED_BY: Final = (
    "a call of the site or server, or a record of the email platform, that joins the addressee to a visitor:"
    " identify with this email on the browser, or with this email and a userId"
)


def log_page(
    tx: sa.Connection,
    *,
    outcome: str | None = None,
    source: str | None = None,
    event: str | None = None,
    q: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> dict[str, Json]:
    """A page of the log, newest first: ``{"entries":[…],"next":…}``.

    Args: q is a messageId (incoming or outgoing) or an identifier's value, exactly. before is the ``next`` of the
    page before, which is null on the last one. A page filtered by source or event looks at a bounded stretch of the
    log, so it may hold less than limit entries (even none) and still have a next.
    """
    wanted = sa.select(messages.c.id).order_by(messages.c.id.desc())
    if before is not None:
        wanted = wanted.where(messages.c.id < before)
    if outcome:
        wanted = wanted.where(messages.c.outcome == outcome)
    lowest = None
    if q:
        matching, lowest = _matching(tx, q, before)
        wanted = wanted.where(messages.c.id.in_(matching))
    elif source or event:
        stretch = wanted.limit(SCAN).subquery()
        seen, lowest = tx.execute(sa.select(sa.func.count(), sa.func.min(stretch.c.id))).one()
        wanted = wanted.where(messages.c.id >= (lowest or 0))
        lowest = lowest if seen == SCAN else None
    for column, value in ((messages.c.source, source), (messages.c.event, event)):
        wanted = wanted.where(column == value) if value else wanted
    ids = list(tx.scalars(wanted.limit(limit + 1)))
    more = len(ids) > limit
    found = entries(tx, ids[:limit])
    return {"entries": [found[one] for one in ids[:limit]], "next": ids[limit - 1] if more else lowest}


def entries(tx: sa.Connection, ids: Iterable[int]) -> dict[int, dict[str, Json]]:
    """Entries of the log by their number. ``recipient`` is whom an email event was sent to, if it says so."""
    rows = bulk.select_by(tx, messages, ENTRY, "id", ids)
    recipients = parts.nodes(tx, {row[-1] for row in rows if row[-1] is not None})
    found = {}
    for row in rows:
        told: dict[str, Json] = dict(zip(ENTRY, row, strict=True))
        recipient = recipients.get(told.pop("recipient_id"))
        told |= {
            "at": iso(told["at"]),
            "received_at": iso(told["received_at"]),
            "authenticated": bool(told["authenticated"]),
            "notes": notes(told["notes"]),
            "recipient": parts.pair(recipient.identifier) if recipient else None,
        }
        found[row[0]] = told
    return found


def notes(text: str | None) -> list[str]:
    return orjson.loads(text) if text else []


MATCHES: Final = 2_000


def stored_ids(given: str) -> list[str]:
    """What the inbox may call a message whose sender calls it so: itself, or the digest of a name it cannot keep."""
    return sorted({given, dedupe_key(given, "")})


def _matching(tx: sa.Connection, q: str, before: int | None) -> tuple[list[int], int | None]:
    """The numbers of the messages with this id, or that carry this identifier, newest first.

    If there are more than MATCHES, also the number down to which these are complete.
    """
    exact = list(tx.scalars(sa.select(messages.c.id).where(messages.c.message_id.in_(stored_ids(q))).limit(MATCHES)))
    exact += tx.scalars(sa.select(outbox.c.inbox_id).where(outbox.c.message_id == q))
    named = sa.select(identifiers.c.id).where(identifiers.c.value.in_({q, q.strip(), NORMALISERS["email"](q)}))
    carried = sa.select(mentions.c.message).where(mentions.c.identifier_id.in_(list(tx.scalars(named))))
    if before is not None:
        carried = carried.where(mentions.c.message < before)
    newest = list(tx.scalars(carried.distinct().order_by(mentions.c.message.desc()).limit(MATCHES)))
    lowest = newest[-1] if len(newest) == MATCHES else None
    return [one for one in {*exact, *newest} if one >= (lowest or 0)], lowest


# Literals, because SQLite uses a partial index only if it sees the constant, not a bound value.
HELD: Final[sa.ColumnClause[str]] = sa.literal_column("'held'")
DEAD: Final[sa.ColumnClause[str]] = sa.literal_column("'dead'")


def held(tx: sa.Connection, limit: int = 100) -> list[dict[str, Json]]:
    """What waits for an identity, the next to expire first."""
    query = (
        sa.select(
            outbox, messages.c.source, messages.c.message_id.label("incoming"), messages.c.event, messages.c.reason
        )
        .join(messages, messages.c.id == outbox.c.inbox_id)
        .where(outbox.c.status == HELD)
        .order_by(outbox.c.due_at, outbox.c.id)
        .limit(limit)
    )
    rows = tx.execute(query).all()
    waits = waits_for(tx, [row.id for row in rows])
    return [
        {
            **_answered(row),
            "why": row.reason,
            "since": iso(row.created_at),
            "expires_at": iso(row.due_at),
            "waits_for": waits.get(row.id, []),
            "released_by": RELEASED_BY,
        }
        for row in rows
    ]


def _answered(row: Any) -> dict[str, Json]:
    """Which message a delivery answers."""
    return {
        "source": row.source,
        "message_id": row.incoming,
        "event": row.event,
        "at": iso(row.at),
        "destination": row.destination,
    }


def waits_for(tx: sa.Connection, ids: Sequence[int]) -> dict[int, list[dict[str, Json]]]:
    """What held deliveries wait for, by the number of their row."""
    rows = bulk.select_by(tx, waiting, ("outbox_id", "identifier_id"), "outbox_id", ids)
    known = parts.nodes(tx, {one for _, one in rows})
    found: dict[int, list[dict[str, Json]]] = {}
    for outbox_id, one in rows:
        found.setdefault(outbox_id, []).append(parts.pair(known[one].identifier))
    return {one: sorted(pairs, key=lambda pair: (pair["type"], pair["value"])) for one, pairs in found.items()}


def dead(tx: sa.Connection, limit: int = 100) -> list[dict[str, Json]]:
    """Deliveries that were given up, newest first. ``id`` is what ``connector retry`` takes."""
    query = (
        sa.select(outbox, messages.c.source, messages.c.message_id.label("incoming"), messages.c.event)
        .outerjoin(messages, messages.c.id == outbox.c.inbox_id)
        .where(outbox.c.status == DEAD)
        .order_by(outbox.c.id.desc())
        .limit(limit)
    )
    rows = tx.execute(query).all()
    tried = attempts_of(tx, [row.id for row in rows])
    return [
        {
            "id": row.id,
            **_answered(row),
            "outgoing_id": row.message_id,
            "why": tried[row.id][-1]["detail"] if tried.get(row.id) else "it was never tried",
            "since": tried[row.id][-1]["at"] if tried.get(row.id) else iso(row.created_at),
            "attempts": row.attempts,
            "may_have_arrived": row.maybe_sent_at is not None,
            "released_by": f"connector retry --dead {row.id}, once the cause is gone",
        }
        for row in rows
    ]


def attempts_of(tx: sa.Connection, ids: Sequence[int]) -> dict[int, list[dict[str, Json]]]:
    """What happened to deliveries, oldest first."""
    rows = bulk.select_by(tx, attempts, ("outbox_id", "id", "at", "status", "detail"), "outbox_id", ids)
    found: dict[int, list[dict[str, Json]]] = {}
    for outbox_id, _, at, status, detail in sorted(rows):
        found.setdefault(outbox_id, []).append({"at": iso(at), "status": status, "detail": detail})
    return found


def quarantined(tx: sa.Connection, limit: int = 100) -> list[dict[str, Json]]:
    """Elements that could not be read, newest first."""
    query = sa.select(messages).where(messages.c.outcome == Outcome.QUARANTINED)
    return [
        {
            "source": row.source,
            "message_id": row.message_id,
            "why": row.reason,
            "since": iso(row.received_at),
            "authenticated": bool(row.authenticated),
            "released_by": "connector retry --quarantined, once the mapping or the cause is repaired",
        }
        for row in tx.execute(query.order_by(messages.c.id.desc()).limit(limit))
    ]
