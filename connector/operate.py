"""What operators do is a message too: stored in the inbox, acted on by the worker, and written in the log.

So a command never fights with the serving process over the store, and who did what when can always be told.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import inbox, log, queue
from connector.messages import Milliseconds, Outcome, Received, Stored
from connector.tables import messages

SOURCE: Final = "operator"


def retry_quarantined(
    now: Milliseconds, *, source: str | None = None, ids: Sequence[str] = (), reason: str = ""
) -> Received:
    """The message that has quarantined elements tried again: all, those of a source, or those of these messageIds."""
    return _act("retry-quarantined", now, source=source, ids=list(ids), reason=reason)


def retry_dead(now: Milliseconds, *, ids: Sequence[int] = (), reason: str = "") -> Received:
    """The message that puts dead deliveries back into the queue: all, or those of these outbox ids."""
    return _act("retry-dead", now, ids=list(ids), reason=reason)


def _act(name: str, now: Milliseconds, **arguments: Any) -> Received:
    body = orjson.dumps({"type": name, **arguments}).decode()
    return Received(SOURCE, f"{name}-{uuid.uuid4()}", body, now)


def act(tx: sa.Connection, batch: Sequence[Stored], entries: list[log.Entry], now: Milliseconds) -> None:
    """Do what the operator messages of a batch say, and log what came of it."""
    for stored in batch:
        order = orjson.loads(stored.body)
        match order["type"]:
            case "retry-quarantined":
                n = _requeue(tx, order.get("source"), order.get("ids") or [])
                said = f"{_are(n, 'quarantined message')} tried again"
            case "retry-dead":
                n = queue.retry(tx, order.get("ids") or None, now=now)
                said = f"{_are(n, 'dead letter')} pending again"
            case other:
                said = f"this version does not know the act '{str(other)[:40]}'"
        reason = str(order.get("reason") or "")[:500]
        entries.append(log.act(stored, order["type"], f"{said}; reason given: {reason}" if reason else said))


def _are(n: int, what: str) -> str:
    return f"1 {what} is" if n == 1 else f"{n} {what}s are"


def _requeue(tx: sa.Connection, source: str | None, ids: Sequence[str]) -> int:
    chosen = sa.select(messages.c.id).where(messages.c.outcome == Outcome.QUARANTINED)
    if source:
        chosen = chosen.where(messages.c.source == source)
    if ids:
        chosen = chosen.where(messages.c.message_id.in_(ids))
    found = [row[0] for row in tx.execute(chosen)]
    inbox.put_back(tx, found)
    return len(found)
