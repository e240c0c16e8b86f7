"""Whose are the tokens and profile ids that came without an address? Noted here; ``resolver`` asks Klaviyo.

    want     in T2, with the batch that carried them: a row in ``lookups`` each, nothing asked
    due      the rows whose turn it is
    settle   the answer goes into the inbox as a profile record, the row is closed and its token gone: one transaction
    missing  Klaviyo knows none: asked again after a day, three times in all

A token that stands in ``lookups`` can be asked with, so it stays for as long as that, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from connector import bulk, consent, inbox
from connector.keys import Keys
from connector.klaviyo import records
from connector.messages import DAY, MINUTE, Identifier, Json, Message, Milliseconds, Received
from connector.rules import Rules
from connector.tables import identifiers, links, lookups

TOKEN_TYPE: Final = "klaviyo_exchange_id"  # noqa: S105 - the name of a type
PROFILE_TYPE: Final = "klaviyo_profile_id"

WANTED, KNOWN, UNKNOWN = "wanted", "known", "unknown"

TRIES: Final = 3
AGAIN_AFTER: Final = DAY
LATER_BY: Final = 10 * MINUTE
"""How long a row stands back that could not be answered, so that it stops nobody else."""

MOST: Final = 50_000
"""Rows that wait at most. Anybody can write tokens into URLs; what is beyond is noted when it is seen again."""

TOKEN: Final = re.compile(r"[A-Za-z0-9_+/=-]{4,480}\.[A-Za-z0-9]{1,20}")
"""``<base64>.<company>``; anything else need not be asked."""

ADDRESSED: Final = """
    select l.b_id from {asked} q join links l on l.b_id = q.id and l.stands
    join identifiers i on i.id = l.a_id and i.type = 'email'"""

KEY: Final = (("type", "text"), ("value", "text"))


@dataclass(frozen=True, slots=True)
class Row:
    """What waits to be asked. token: of a token, the token itself."""

    type: str
    value: str
    token: str | None = field(repr=False)
    attempts: int

    @property
    def key(self) -> tuple[str, str]:
        return self.type, self.value


# -- in T2 ------------------------------------------------------------------------------------------------------------


def want(
    tx: sa.Connection, messages: Sequence[Message], ids: Mapping[Identifier, int], rules: Rules, now: Milliseconds
) -> int:
    """Note what of a batch only Klaviyo can say, unless its visitor had refused; how many rows are new.

    Args: ids are the numbers of the batch's identifiers, after ``identity.record``.
    """
    concerned = [one for one in messages if one.lookups or one.choices]
    choices = consent.read(tx, {ids[one] for message in concerned for one in _own(message)}, rules)
    wanted: dict[Identifier, str | None] = {}
    refusing: set[int] = set()
    for message in concerned:
        own = [ids[one] for one in _own(message)]
        if choices.any_refused(own, message.at) is None:
            wanted |= {one: token for one, raw in message.lookups for token in _askable(one, raw)}
        elif message.choices:
            refusing.update(own)
    _leave(tx, refusing)
    return _note(tx, wanted, ids, now) if wanted else 0


def _own(message: Message) -> tuple[Identifier, ...]:
    return message.identifiers if message.email else message.own


def _askable(one: Identifier, raw: str) -> list[str | None]:
    """What is asked with: a token itself, nothing beside the id of a profile; empty where there is nothing to ask."""
    if one.type == TOKEN_TYPE:
        return [raw] if TOKEN.fullmatch(raw) else []
    return [None] if one.type == PROFILE_TYPE and records.is_profile_id(one.value) else []


def _note(
    tx: sa.Connection, wanted: Mapping[Identifier, str | None], ids: Mapping[Identifier, int], now: Milliseconds
) -> int:
    known = set(bulk.select_by(tx, lookups, ("type", "value"), "value", {one.value for one in wanted}))
    fresh = [one for one in wanted if one not in known]
    profiles = [(ids[one],) for one in fresh if one.type == PROFILE_TYPE and one in ids]
    addressed = {one for (one,) in bulk.select_joined(tx, ADDRESSED, (("id", "bigint"),), profiles)}
    fresh = [one for one in fresh if ids.get(one) not in addressed]
    if not fresh or _is_full(tx):
        return 0
    bulk.insert_rows(
        tx,
        lookups,
        ("type", "value", "token", "status", "at", "due_at", "attempts"),
        [(*one, wanted[one], WANTED, now, now, 0) for one in sorted(fresh)],
        "on conflict (type, value) do nothing",
    )
    return len(fresh)


def _is_full(tx: sa.Connection) -> bool:
    last = sa.select(lookups.c.due_at).where(lookups.c.status == sa.text(f"'{WANTED}'")).order_by(lookups.c.due_at)
    return tx.execute(last.offset(MOST - 1).limit(1)).first() is not None


def _leave(tx: sa.Connection, refusing: set[int]) -> None:
    """Do not ask whose the tokens of a browser are whose visitor refuses now."""
    rows = bulk.select_by(tx, links, ("a_id",), "b_id", refusing, "kind = 'clicked'")
    erase_of(tx, {a for (a,) in rows})


def erase_of(tx: sa.Connection, ids: Iterable[int]) -> None:
    """Forget that these were ever asked, and what with. Args: ids are numbers of identifiers."""
    erase(tx, [Identifier(*one) for one in bulk.select_by(tx, identifiers, ("type", "value"), "id", ids)])


def erase(tx: sa.Connection, gone: Collection[Identifier]) -> None:
    """Forget that these were ever asked, and what with."""
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    if gone:
        tx.exec_driver_sql(
            f"delete from lookups where type = {mark} and value = {mark}",  # noqa: S608 - marks
            [tuple(one) for one in sorted(gone)],
        )


# -- for the resolver -------------------------------------------------------------------------------------------------


def due(tx: sa.Connection, type_name: str, now: Milliseconds, limit: int) -> list[Row]:
    """The rows of a type whose turn it is, those first that wait longest."""
    chosen = sa.select(*(lookups.c[name] for name in ("type", "value", "token", "attempts")))
    waiting = chosen.where(
        lookups.c.status == sa.text(f"'{WANTED}'"),  # the words of the partial index
        lookups.c.type == type_name,
        lookups.c.due_at <= now,
    )
    rows = tx.execute(waiting.order_by(lookups.c.due_at, lookups.c.value).limit(limit))
    return [Row(*row) for row in rows]


def settle(
    tx: sa.Connection, row: Row, profile_id: Json, attributes: Json, keys: Keys, now: Milliseconds
) -> Received | None:
    """Close a row with what Klaviyo said of its profile; the record that went into the inbox, None if there is none.

    Whoever was forgotten while Klaviyo was asked has no row any more: the answer is dropped.
    """
    asked_at = _close(tx, row, KNOWN, now)
    if asked_at is None:
        return None
    token = row.value if row.type == TOKEN_TYPE else None
    record = records.of_profile(profile_id, attributes, keys, now, exchange_id=token)
    if record is None:
        return None
    before = inbox.find(tx, record.source, record.message_id)
    if before is not None and before.body:
        return None  # it says the same
    if before is not None:  # what it said was forgotten, and is true again
        record = replace(record, message_id=f"{record.message_id}-{asked_at}")
    inbox.store(tx, [record])
    return record


def missing(tx: sa.Connection, row: Row, now: Milliseconds) -> None:
    """Klaviyo knows no such profile: not yet, perhaps."""
    if row.attempts + 1 >= TRIES:
        _close(tx, row, UNKNOWN, now)
    else:
        bulk.update_rows(
            tx, lookups, ("type", "value"), ("due_at", "attempts"), [(*row.key, now + AGAIN_AFTER, row.attempts + 1)]
        )


def postpone(tx: sa.Connection, rows: Iterable[Row], now: Milliseconds) -> None:
    """There was no answer: others first."""
    bulk.update_rows(tx, lookups, ("type", "value"), ("due_at",), [(*row.key, now + LATER_BY) for row in rows])


def _close(tx: sa.Connection, row: Row, status: str, now: Milliseconds) -> Milliseconds | None:
    """End the asking; when it began, None if nobody wants it any more."""
    this = sa.and_(lookups.c.type == row.type, lookups.c.value == row.value)
    asked_at: Milliseconds | None = tx.execute(
        sa.select(lookups.c.at).where(this, lookups.c.status == WANTED)
    ).scalar_one_or_none()
    if asked_at is not None:
        tx.execute(sa.update(lookups).where(this).values(token=None, status=status, at=now, due_at=now))
    return asked_at
