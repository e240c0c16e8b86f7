"""What operators do is a message too: stored in the inbox, acted on by the worker, and written in the log.

So a command never fights with the serving process over the store, and who did what when can always be told. This
module makes the orders, and does them by ``repair``, ``forget`` and the queue.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import forget as erasing
from connector import inbox, log, queue, repair
from connector.effect import Effect
from connector.house import House
from connector.messages import Identifier, Json, Milliseconds, Outcome, Received, Stored
from connector.tables import messages

SOURCE: Final = "operator"
REPAIRS: Final = ("link", "unlink", "restore")
ADDRESS: Final = re.compile(r"[^\s@<>()\"',;]+@[^\s@<>()\"',;]+")


def retry_quarantined(
    now: Milliseconds, *, source: str | None = None, ids: Sequence[str] = (), reason: str = ""
) -> Received:
    """The message that has quarantined elements tried again: all, those of a source, or those of these messageIds."""
    return _act("retry-quarantined", now, source=source, ids=list(ids), reason=reason)


def retry_dead(now: Milliseconds, *, ids: Sequence[int] = (), reason: str = "", operator: str = "") -> Received:
    """The message that puts dead deliveries back into the queue: all, or those of these outbox ids."""
    return _act("retry-dead", now, ids=list(ids), reason=reason, operator=operator)


def link(
    now: Milliseconds,
    left: Identifier,
    right: Identifier,
    *,
    reason: str = "",
    correct: bool = False,
    operator: str = "",
) -> Received:
    """The message that says that two identifiers are one person's, or that a browser is a person's from now on."""
    return _act("link", now, left=left, right=right, reason=reason, correct=correct, operator=operator)


def unlink(
    now: Milliseconds,
    *,
    left: Identifier | None = None,
    right: Identifier | None = None,
    message: str | None = None,
    identifier: Identifier | None = None,
    until: Milliseconds | None = None,
    reason: str = "",
    correct: bool = False,
    operator: str = "",
) -> Received:
    """The message that takes back a link, what one message proved, or all that one identifier proved.

    Args: left and right, or message (``source/messageId``), or identifier. until: later sightings count again.
    correct: what was sent under the old identity is sent once more under the new one.
    """
    named = {"left": left, "right": right, "message": message, "identifier": identifier, "until": until}
    return _act("unlink", now, **named, reason=reason, correct=correct, operator=operator)


def restore(
    now: Milliseconds, revocation: str, *, reason: str = "", correct: bool = False, operator: str = ""
) -> Received:
    """The message that undoes an ``unlink``, exactly. Args: revocation is the messageId of that act."""
    return _act("restore", now, revocation=revocation, reason=reason, correct=correct, operator=operator)


def forget(
    now: Milliseconds,
    identifier: Identifier,
    *,
    at: Milliseconds | None = None,
    suppress: bool = False,
    reason: str = "",
    operator: str = "",
) -> Received:
    """The message that erases a person up to a time. Args: suppress drops also whatever comes later."""
    when = now if at is None else min(at, now)
    return _act("forget", now, identifier=identifier, until=when, suppress=suppress, reason=reason, operator=operator)


def _act(name: str, now: Milliseconds, **arguments: Any) -> Received:
    told = {key: list(value) if isinstance(value, Identifier) else value for key, value in arguments.items()}
    body = orjson.dumps({"type": name, "at": now, **told}).decode()
    return Received(SOURCE, f"{name}-{uuid.uuid4()}", body, now)


def act(tx: sa.Connection, batch: Sequence[Stored], house: House, now: Milliseconds) -> Effect:
    """Do what the operator messages of a batch say, and log what came of it; what all of them changed."""
    total = Effect()
    for stored in batch:
        effect = perform(tx, stored, orjson.loads(stored.body or "{}"), house, now)
        total.add(effect)
    return total


def perform(tx: sa.Connection, stored: Stored, order: dict[str, Json], house: House, now: Milliseconds) -> Effect:
    """Do one act, and write it in the log."""
    kind = str(order.get("type"))
    at = min(int(order.get("at") or stored.received_at), stored.received_at)
    if kind in REPAIRS:
        effect = repair.repair(tx, stored, order, at, house, now)
    elif kind == "forget":
        effect = erasing.obey(tx, stored, order, house, now)
    else:
        effect = Effect(said=_retry(tx, kind, order, now))
    reason = str(order.get("reason") or "")[:500]
    operator = str(order.get("operator") or "")[:100]
    said = effect.said + (f"; by {operator}" if operator else "") + (f"; reason given: {reason}" if reason else "")
    if kind == "forget":
        said = ADDRESS.sub("(an address)", said)  # not even masked: it may be hers
    log.write(tx, [log.act(stored, kind, at, said, effect.notes, effect.taught)])
    return effect


def _retry(tx: sa.Connection, kind: str, order: dict[str, Json], now: Milliseconds) -> str:
    match kind:
        case "retry-quarantined":
            n = _requeue(tx, order.get("source"), order.get("ids") or [])
            return f"{_are(n, 'quarantined message')} tried again"
        case "retry-dead":
            n = queue.retry(tx, order.get("ids") or None, now=now)
            return f"{_are(n, 'dead letter')} pending again"
        case other:
            return f"this version does not know the act '{other[:40]}'"


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
