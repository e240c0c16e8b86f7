"""Rows of the outbox for tests of sending, and a look at what became of them."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa

from connector import counters
from connector.messages import HOUR, iso
from connector.store import Store
from connector.tables import attempts, outbox

NOW = 1_763_760_000_000  # 2025-11-21T21:20:00Z


def event(message_id: str = "cdp-1", **fields: Any) -> dict[str, Any]:
    """An outgoing email event that Segment would keep."""
    return {
        "type": "track",
        "event": "Email Opened",
        "messageId": message_id,
        "anonymousId": "browser-1",
        "timestamp": iso(NOW - HOUR),
        "properties": {"campaign_name": "Spring"},
        "context": {"traits": {"email": "ada@example.com"}},
        **fields,
    }


def put(store: Store, message_id: str = "cdp-1", body: dict[str, Any] | None = None, **columns: Any) -> int:
    """One pending row, due now unless told otherwise; its id."""
    row = {
        "inbox_id": 1,
        "destination": "segment",
        "message_id": message_id,
        "status": "pending",
        "at": NOW - HOUR,
        "due_at": NOW,
        "body": orjson.dumps(event(message_id) if body is None else body).decode(),
        "created_at": NOW,
        "pending_at": NOW,
        **columns,
    }
    with store.writing() as tx:
        return int(tx.execute(sa.insert(outbox).values(row).returning(outbox.c.id)).scalar_one())


def rows(store: Store, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of every row, in the order of their making."""
    with store.reading() as tx:
        found = tx.execute(sa.select(*(outbox.c[name] for name in columns)).order_by(outbox.c.id))
        return [tuple(row) for row in found]


def told(store: Store, outbox_id: int | None = None) -> list[tuple[str, str]]:
    """(status, detail) of the attempts, of one delivery or of all."""
    with store.reading() as tx:
        query = sa.select(attempts.c.status, attempts.c.detail).order_by(attempts.c.id)
        if outbox_id is not None:
            query = query.where(attempts.c.outbox_id == outbox_id)
        return [(row.status, row.detail) for row in tx.execute(query)]


def counted(store: Store) -> dict[str, int]:
    """The outbox counters that are not nought."""
    with store.reading() as tx:
        return {name: value for name, value in counters.read(tx).items() if name.startswith("outbox.") and value}
