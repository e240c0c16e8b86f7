"""Whose turn it is in the outbox: what is due, and what concerns one subject in the order in which it was put there.

A subject is held by its oldest pending row, its head. Only heads can be claimed, and others only together with theirs:
so whoever has the head has the subject, and however many workers there are, it leaves in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from connector.bulk import as_json
from connector.messages import Milliseconds
from connector.tables import outbox

# A literal, because SQLite uses a partial index only if it sees the constant, not a bound value.
PENDING: Final[sa.ColumnClause[str]] = sa.literal_column("'pending'")


def claimable(destination: str, now: Milliseconds) -> list[sa.ColumnElement[bool]]:
    """What may be claimed by itself: it is due, nobody has it, and it is no part of a subject or the head of one."""
    c, older = outbox.c, outbox.alias("older")
    earlier = [
        older.c.subject_id == c.subject_id,
        older.c.id < c.id,
        older.c.status == PENDING,
        _plainly(older.c.destination) == c.destination,
    ]
    return [
        c.destination == destination,
        c.status == PENDING,
        c.due_at <= now,
        sa.or_(c.claimed_until.is_(None), c.claimed_until <= now),
        sa.or_(c.subject_id.is_(None), ~sa.exists().where(*earlier)),
    ]


def without_bodies(tx: sa.Connection) -> sa.Select[Any]:
    """All of a row but its body, of which only the size is told."""
    length = sa.func.length if tx.dialect.name == "sqlite" else sa.func.octet_length
    return sa.select(*(one for one in outbox.c if one.name != "body"), length(outbox.c.body).label("size"))


def heads(tx: sa.Connection, destination: str, limit: int, now: Milliseconds) -> list[Any]:
    """What may be claimed by itself, in the order in which it should leave, locked; not what somebody else is at."""
    query = without_bodies(tx).where(*claimable(destination, now)).limit(limit)
    in_order = query.order_by(outbox.c.due_at, outbox.c.at, outbox.c.id)
    return list(tx.execute(in_order.with_for_update(skip_locked=True)))


def following(tx: sa.Connection, destination: str, first: Sequence[Any], room: int, now: Milliseconds) -> list[Any]:
    """What comes next of the subjects of these locked heads, locked too: due, without a gap, as much as has room."""
    head = {row.subject_id: row.id for row in first if row.subject_id is not None}
    if not head or room <= 0:
        return []
    c = outbox.c
    queued = tx.execute(
        sa.select(c.id, c.subject_id, c.due_at, c.claimed_until)
        .where(among(tx, [*head], c.subject_id), c.status == PENDING, _plainly(c.destination) == destination)
        .order_by(c.subject_id, c.id)
        .limit(room + len(head))
    )
    stuck: set[int] = set()
    ready: list[tuple[int, int]] = []
    for row in queued:
        if row.due_at > now or (row.claimed_until is not None and row.claimed_until > now):
            stuck.add(row.subject_id)  # itself, and all that come after it
        elif row.subject_id not in stuck and row.id != head[row.subject_id]:
            ready.append((row.id, row.subject_id))
    return _without_gaps(tx, ready[:room]) if ready else []


def put_off(
    tx: sa.Connection, destination: str, subject_ids: Iterable[int | None], due_at: Milliseconds | None
) -> None:
    """Let everything of these subjects wait until their heads are due: it would only be looked at in vain."""
    ids = {one for one in subject_ids if one is not None}
    if not ids or due_at is None:
        return
    c = outbox.c
    theirs = [among(tx, sorted(ids), c.subject_id), c.status == PENDING, _plainly(c.destination) == destination]
    tx.execute(sa.update(outbox).where(*theirs, c.due_at < due_at).values(due_at=due_at))


def waiting_behind(tx: sa.Connection, destination: str, subject_ids: Sequence[int]) -> list[int]:
    """What is pending for these subjects and nobody has claimed, locked."""
    c = outbox.c
    theirs = [among(tx, subject_ids, c.subject_id), c.status == PENDING, _plainly(c.destination) == destination]
    query = sa.select(c.id).where(*theirs, c.claimed_by.is_(None)).order_by(c.id).with_for_update()
    return list(tx.execute(query).scalars())


def among(tx: sa.Connection, ids: Sequence[int], column: sa.ColumnElement[Any] = outbox.c.id) -> sa.ColumnElement[bool]:
    """The rows with these ids: one parameter, however many they are."""
    if tx.dialect.name == "sqlite":
        return column.in_(sa.select(sa.func.json_each(as_json(ids)).table_valued("value").c.value))
    return column == sa.any_(sa.cast(list(ids), ARRAY(sa.BigInteger)))


def _plainly(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """The column where no index of it is to be used: a planner without statistics takes that of all pending rows."""
    return sa.func.coalesce(column, sa.literal_column("''"))


def _without_gaps(tx: sa.Connection, wanted: Sequence[tuple[int, int]]) -> list[Any]:
    """The wanted rows, locked; of a subject none after one that somebody else is just changing."""
    query = without_bodies(tx).where(among(tx, [number for number, _ in wanted]), outbox.c.status == PENDING)
    locked = {row.id: row for row in tx.execute(query.with_for_update(skip_locked=True))}
    stuck: set[int] = set()
    found = []
    for number, subject_id in wanted:
        if number not in locked:
            stuck.add(subject_id)
        elif subject_id not in stuck:
            found.append(locked[number])
    return found
