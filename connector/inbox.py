"""What a door received, on disk before anybody is told so; each message once, until stitching takes it.

``store`` is the end of T1, ``take`` the beginning of T2. Messages are deduplicated exactly on (source, message id):
the first body is kept. Rows wait in the side table ``inbox_todo``, which loses nobody who commits late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from connector import bulk, counters
from connector.messages import SECOND, Json, Milliseconds, Received, Stored
from connector.tables import doors, inbox, inbox_todo

Key = tuple[str, str]  # source, message_id


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a request's elements. conflicts are those duplicates whose body differs from the one kept."""

    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0


def store(tx: sa.Connection, received: Sequence[Received]) -> Kept:
    """Put the elements of one request into the inbox, but those that are there already."""
    return store_all(tx, [received])[0]


def store_all(tx: sa.Connection, requests: Sequence[Sequence[Received]]) -> list[Kept]:
    """Put the elements of several requests into the inbox at once, and say of each request what was kept."""
    first: dict[Key, Received] = {}
    for request in requests:
        for one in request:
            first.setdefault((one.source, one.message_id), one)
    if not first:
        return [Kept() for _ in requests]
    fresh = (_insert_sqlite if tx.dialect.name == "sqlite" else _insert_postgresql)(tx, list(first.values()))
    if len(fresh) == sum(map(len, requests)):
        kept = [Kept(len(request)) for request in requests]
    else:
        kept = _tell_apart(requests, fresh, first | _known(tx, first.keys() - fresh))
        _count(tx, kept)
    _remember_last(tx, first.values())
    return kept


def take(tx: sa.Connection, limit: int) -> list[Stored]:
    """Up to limit messages that nobody else takes, oldest first. They are gone for good when tx commits."""
    oldest = sa.select(inbox_todo.c.inbox_id).order_by(inbox_todo.c.inbox_id).limit(limit)
    if tx.dialect.name == "sqlite":
        gone = sa.delete(inbox_todo).where(inbox_todo.c.inbox_id.in_(oldest)).returning(inbox_todo.c.inbox_id)
        rows = bulk.select_by(tx, inbox, _STORED, "id", sorted(tx.scalars(gone)))
    else:
        rows = [tuple(row) for row in tx.execute(_POSTGRESQL_TAKE, {"limit": limit})]
    return sorted(map(_stored, rows), key=lambda one: one.id)


def _stored(row: bulk.Row) -> Stored:
    """A row of _STORED."""
    number, source, message_id, body, received_at, authenticated, envelope, rotten = row
    return Stored(number, source, message_id, body, received_at, bool(authenticated), envelope, rotten)


def read(tx: sa.Connection, after: int, limit: int) -> list[Stored]:
    """Messages in the order of their arrival, those taken long ago too. Args: after is the number of the last one."""
    rows = tx.execute(
        sa.select(*(inbox.c[name] for name in _STORED)).where(inbox.c.id > after).order_by(inbox.c.id).limit(limit)
    )
    return [_stored(tuple(row)) for row in rows]


def by_ids(tx: sa.Connection, ids: Iterable[int]) -> list[Stored]:
    """These messages, whether they were taken or not."""
    return [_stored(row) for row in bulk.select_by(tx, inbox, _STORED, "id", ids)]


def empty(tx: sa.Connection, ids: Iterable[int]) -> None:
    """Remove what these messages said; that they came is kept, so that they are known as repeats."""
    bulk.update_rows(tx, inbox, ("id",), ("body", "envelope", "rotten"), [(one, "", None, None) for one in ids])


def find(tx: sa.Connection, source: str, message_id: str) -> Stored | None:
    """One message by its key, taken or not."""
    chosen = sa.select(*(inbox.c[name] for name in _STORED))
    row = tx.execute(chosen.where(inbox.c.source == source, inbox.c.message_id == message_id)).first()
    return _stored(tuple(row)) if row else None


def drop(tx: sa.Connection, number: int) -> bool:
    """Take one certain message, of which nothing is wanted any more; False if somebody else has it."""
    gone = sa.delete(inbox_todo).where(inbox_todo.c.inbox_id == number).returning(inbox_todo.c.inbox_id)
    return tx.execute(gone).first() is not None


def put_back(tx: sa.Connection, ids: Iterable[int]) -> None:
    """Let these messages be taken again; those that wait already are left alone."""
    rows = [{"inbox_id": number} for number in ids]
    if rows:
        dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
        tx.execute(dialect.insert(inbox_todo).on_conflict_do_nothing(), rows)


def any_waiting(tx: sa.Connection) -> bool:
    """Is there a message that nobody has taken yet?"""
    return tx.execute(sa.select(inbox_todo.c.inbox_id).limit(1)).first() is not None


def oldest_waiting(tx: sa.Connection) -> Milliseconds | None:
    """When the oldest message that nobody has taken yet was received."""
    first = sa.select(sa.func.min(inbox_todo.c.inbox_id)).scalar_subquery()
    return tx.execute(sa.select(inbox.c.received_at).where(inbox.c.id == first)).scalar_one_or_none()


def waiting(tx: sa.Connection) -> int:
    """How many messages nobody has taken yet. Counts rows: for people who ask, not for every event."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(inbox_todo)).scalar_one())


_STORED: Final = ("id", "source", "message_id", "body", "received_at", "authenticated", "envelope", "rotten")

# Materialised, or the planner may run the limit again for every row it joins.
_POSTGRESQL_TAKE: Final = sa.text(f"""
with picked as materialized (
    select inbox_id from inbox_todo order by inbox_id limit :limit for update skip locked
), gone as (
    delete from inbox_todo using picked where inbox_todo.inbox_id = picked.inbox_id returning inbox_todo.inbox_id
)
select {", ".join(_STORED)} from inbox join gone on inbox_id = id
""")  # noqa: S608 - names of ours

_SQLITE_INSERT: Final = """
insert into inbox (source, message_id, body, envelope, received_at, authenticated, rotten) values (?, ?, ?, ?, ?, ?, ?)
on conflict (source, message_id) do nothing
"""

# One statement and one parameter: psycopg dumps a JSON text ten times faster than seven arrays. Sorted, so that two
# requests with the same messages in another order wait for each other instead of deadlocking.
_POSTGRESQL_INSERT: Final = sa.text("""
with new as (
    insert into inbox (source, message_id, body, envelope, received_at, authenticated, rotten)
    select source, message_id, body, envelope, received_at, authenticated, rotten
    from json_to_recordset(cast(:rows as json)) as r (source text, message_id text, body text, envelope text,
        received_at bigint, authenticated boolean, rotten text)
    order by source, message_id
    on conflict (source, message_id) do nothing
    returning id, source, message_id
), todo as (insert into inbox_todo (inbox_id) select id from new)
select source, message_id from new
""")


_KNOWN: Final = """
select inbox.source, inbox.message_id, inbox.body, inbox.received_at from {asked} as asked
cross join inbox where inbox.source = asked.source and inbox.message_id = asked.message_id
"""


def _insert_sqlite(tx: sa.Connection, rows: list[Received]) -> set[Key]:
    """Rows are numbered upwards and nobody else writes meanwhile: the new ones are those above the last."""
    last = tx.exec_driver_sql("select coalesce(max(id), 0) from inbox").scalar_one()
    tx.exec_driver_sql(
        _SQLITE_INSERT,
        [(r.source, r.message_id, r.body, r.envelope, r.received_at, r.authenticated, r.rotten) for r in rows],
    )
    todo = tx.exec_driver_sql("insert into inbox_todo (inbox_id) select id from inbox where id > ?", (last,))
    if todo.rowcount == len(rows):
        return {(row.source, row.message_id) for row in rows}
    new = tx.exec_driver_sql("select source, message_id from inbox where id > ?", (last,))
    return {(source, message_id) for source, message_id in new}


def _insert_postgresql(tx: sa.Connection, rows: list[Received]) -> set[Key]:
    new = tx.execute(_POSTGRESQL_INSERT, {"rows": orjson.dumps(rows).decode()})
    return {(source, message_id) for source, message_id in new}


def _known(tx: sa.Connection, keys: Iterable[Key]) -> dict[Key, Received]:
    """The messages that were there first, by key."""
    rows = bulk.select_joined(tx, _KNOWN, (("source", "text"), ("message_id", "text")), list(keys))
    return {(source, message_id): Received(source, message_id, *rest) for source, message_id, *rest in rows}


def _tell_apart(requests: Sequence[Sequence[Received]], fresh: set[Key], kept: dict[Key, Received]) -> list[Kept]:
    left = set(fresh)
    told = []
    for request in requests:
        stored = duplicates = conflicts = 0
        for one in request:
            key = one.source, one.message_id
            if key in left:
                left.remove(key)
                stored += 1
            else:
                duplicates += 1
                conflicts += bool(kept[key].body) and not _same(one.body, kept[key].body)  # emptied since, if ""
        told.append(Kept(stored, duplicates, conflicts))
    return told


def _same(one: str, other: str) -> bool:
    """Do two bodies say the same? A sender that tries again may change ``sentAt``, and nothing else."""
    return one == other or _without_sent_at(one) == _without_sent_at(other)


def _without_sent_at(body: str) -> Json:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return {name: value[name] for name in value if name != "sentAt"} if isinstance(value, dict) else body


def _count(tx: sa.Connection, kept: Sequence[Kept]) -> None:
    for name, n in (
        ("conflicting_duplicates", sum(one.conflicts for one in kept)),
        ("duplicates", sum(one.duplicates for one in kept)),
    ):
        if n:
            counters.add(tx, name, n)


_last_told: WeakKeyDictionary[sa.Engine, dict[str, Milliseconds]] = WeakKeyDictionary()


def _remember_last(tx: sa.Connection, received: Iterable[Received]) -> None:
    """Note when each source last sent something, at most once a second: every row here is a hot one."""
    told = _last_told.setdefault(tx.engine, {})
    latest: dict[str, Milliseconds] = {}
    for one in received:
        latest[one.source] = max(one.received_at, latest.get(one.source, one.received_at))
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    for source, at in sorted(latest.items()):
        if at - told.get(source, at - SECOND) >= SECOND:
            told[source] = at
            insert = dialect.insert(doors)
            tx.execute(
                insert.on_conflict_do_update(
                    index_elements=[doors.c.source], set_={"last_at": insert.excluded.last_at}
                ),
                {"source": source, "last_at": at},
            )
