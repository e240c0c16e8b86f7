"""The numbers of ``GET /api/stats``: counters that the stages keep, never a count over rows that grow."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from connector import counters
from connector.klaviyo import records
from connector.messages import Json, Outcome
from connector.operate import SOURCE as OPERATOR
from connector.tables import inbox, inbox_todo, messages

STATUSES = ("held", "pending", "delivered", "dead")


def stats(tx: sa.Connection, destinations: tuple[str, ...] = ("segment",)) -> dict[str, Json]:
    """What was received, decided and sent, and the orphan rate before and after.

    The shape is design's: messages, email_events, orphan_rate (shares of ``email_events.total``, null while that is
    0), profiles, links, refused_links, outbox by destination.
    """
    told = counters.read(tx)
    outcomes = {outcome: told.get(f"email.{outcome}", 0) for outcome in Outcome.COUNTED}
    total = sum(outcomes.values())
    return {
        "messages": _messages(told, *_waiting(tx)),
        "email_events": {"total": total, **outcomes, "ignored": told.get("email.ignored", 0)},
        "orphan_rate": {
            "before": _share(told.get("email.arrived_unusable", 0), total),
            "after": _share(total - told.get("email.left_usable", 0), total),
        },
        "profiles": told.get("profiles", 0),
        "links": told.get("links", 0),
        "refused_links": told.get("refused_links", 0),
        "outbox": _outbox(told, destinations),
    }


def _messages(told: Mapping[str, int], waiting: int, unread: int) -> dict[str, Json]:
    rejected: dict[str, dict[str, int]] = {}
    for name, value in told.items():
        if name.startswith("rejected."):
            _, source, reason = name.split(".", 2)
            rejected.setdefault(source, {})[reason] = value
    return {
        "received": told.get("processed", 0) + unread,
        "waiting": waiting,
        "quarantined": told.get("quarantined", 0),
        "duplicates": told.get("duplicates", 0),
        "conflicting_duplicates": told.get("conflicting_duplicates", 0),
        "rejected": sum(n for reasons in rejected.values() for n in reasons.values()),
        "rejected_by": rejected,
    }


def _waiting(tx: sa.Connection) -> tuple[int, int]:
    """Messages that nobody has taken, and those of them that nobody has ever read (the others are tried again).

    Only the backlog is looked at, which is short or a problem. What an operator said is nobody's message, and neither
    is what Klaviyo's API told of a profile.
    """
    one = inbox_todo.c.inbox_id
    # Looked up row by row: joined, SQLite would rather walk the whole inbox by its index.
    record = sa.and_(inbox.c.source == records.SOURCE, inbox.c.message_id.startswith(records.PREFIX))
    counts = sa.select(sa.and_(inbox.c.source != OPERATOR, sa.not_(record))).where(inbox.c.id == one).scalar_subquery()
    read_before = sa.select(messages.c.id).where(messages.c.id == one).scalar_subquery()
    told = sa.select(sa.func.count(), sa.func.count(read_before)).select_from(inbox_todo).where(counts)
    waiting, again = tx.execute(told).one()
    return waiting, waiting - again


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def _outbox(told: Mapping[str, int], destinations: tuple[str, ...]) -> dict[str, Json]:
    met = {name.split(".")[1] for name in told if name.startswith("outbox.")}
    return {
        destination: {status: told.get(f"outbox.{destination}.{status}", 0) for status in STATUSES}
        for destination in sorted(met.union(destinations))
    }
