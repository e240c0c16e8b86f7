"""The outbox as a queue: claim the deliveries that are due, and settle what became of them.

A claim is a lease, not a lock: it ends by itself, so a worker that was killed loses nothing. Because nobody knows
whether the killed one had sent already, a claim marks its rows as *maybe sent* before anything leaves; a sure
refusal takes the mark back. ``deliver`` calls ``claim`` in one transaction and ``settle`` in another, and talks to
the destination between the two. Statements are set-based: a batch of a hundred costs as many as a batch of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Literal

import sqlalchemy as sa

from connector import counters, turns
from connector.messages import Milliseconds
from connector.tables import attempts, mirrored, outbox
from connector.turns import PENDING, among

Answer = Literal["delivered", "refused", "unknown"]
Fate = Literal["delivered", "postponed", "dead", "handed back"]

# A literal, because SQLite uses a partial index only if it sees the constant, not a bound value.
DEAD: Final[sa.ColumnClause[str]] = sa.literal_column("'dead'")

MAX_BYTES: Final = 32 * 1024 * 1024
"""How much one claim may hold; in characters where the database does not know the bytes without reading them."""

FOLLOWS: Final = "not sent: the destination refused the profile that it belongs to"
LOST: Final = "the sender ended before it saw an answer: may have arrived"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One claimed row of the outbox.

    body is the outgoing event as JSON text, without ``sentAt`` (empty if it was erased). attempts counts those
    already made. pending_at says since when it may leave. maybe_sent_at is as it was *before* this claim: the first
    attempt whose answer nobody saw, None if there is none. Deliveries of one subject_id have to leave one after the
    other, in the order in which they were claimed.
    """

    id: int
    inbox_id: int
    message_id: str
    body: str
    attempts: int
    pending_at: Milliseconds
    maybe_sent_at: Milliseconds | None
    subject_id: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of some claimed deliveries, for the same reason. Made by the four functions below."""

    deliveries: tuple[Delivery, ...]
    fate: Fate
    answer: Answer | None = None
    detail: str = ""
    due_at: Milliseconds | None = None
    erase: bool = False
    followers: bool = False


def delivered(deliveries: Iterable[Delivery], detail: str, *, erase: bool = False) -> Settlement:
    """The destination has them. Args: erase says that we are not to keep what it has."""
    return Settlement(tuple(deliveries), "delivered", "delivered", detail, erase=erase)


def postponed(deliveries: Iterable[Delivery], answer: Answer, detail: str, due_at: Milliseconds) -> Settlement:
    """To be tried again at ``due_at``. ``refused``: surely not there. ``unknown``: the maybe-sent mark stays."""
    return Settlement(tuple(deliveries), "postponed", answer, detail, due_at)


def dead(deliveries: Iterable[Delivery], answer: Answer, detail: str, *, followers: bool = False) -> Settlement:
    """Not tried again unless an operator says so; ``detail`` is the reason people will read.

    Args: followers says that what waits behind them of the same subject is nothing without them, and dies as well.
    """
    return Settlement(tuple(deliveries), "dead", answer, detail, followers=followers)


def handed_back(deliveries: Iterable[Delivery], due_at: Milliseconds | None = None) -> Settlement:
    """Claimed but never sent (a clean stop, a shut gate): as if they had not been claimed, no attempt counted.

    Args: due_at is when it is their turn, if that is known.
    """
    return Settlement(tuple(deliveries), "handed back", due_at=due_at)


def due(tx: sa.Connection, destination: str, *, now: Milliseconds) -> bool:
    """Is there anything to claim? A cheap look, so that idle workers do not queue for the writer's lock."""
    return tx.execute(sa.select(outbox.c.id).where(*turns.claimable(destination, now)).limit(1)).first() is not None


def claim(
    tx: sa.Connection,
    destination: str,
    *,
    limit: int,
    now: Milliseconds,
    claimer: str,
    for_ms: Milliseconds,
) -> list[Delivery]:
    """Up to ``limit`` deliveries that are due, in the order in which they should leave, ours for ``for_ms``.

    Args: claimer is a name no other claim has. Rows that another worker holds are passed over, unless its claim has
    run out: that attempt is then written down as one whose answer nobody saw. Of one subject the oldest pending row
    comes first, and those after it only together with it, in their order. Not more than fit in ``MAX_BYTES``.
    """
    heads = turns.heads(tx, destination, limit, now)
    if not heads:
        return []
    rows = _within_bytes([*heads, *turns.following(tx, destination, heads, limit - len(heads), now)])
    _lost(tx, [row.id for row in rows if row.claimed_by is not None], now)
    claimed = tx.execute(
        sa.update(outbox)
        .where(among(tx, [row.id for row in rows]))
        .values(
            claimed_by=claimer,
            claimed_until=now + for_ms,
            # Before anything leaves: if we are killed after sending, this is all that is known about it.
            maybe_sent_at=sa.func.coalesce(outbox.c.maybe_sent_at, now),
        )
        .returning(outbox.c.id, outbox.c.body)
    )
    bodies = {row.id: row.body for row in claimed}
    return [_delivery(row, bodies[row.id]) for row in rows]


def settle(
    tx: sa.Connection, destination: str, settlements: Sequence[Settlement], *, claimer: str, now: Milliseconds
) -> dict[Fate, int]:
    """Write down what became of claimed deliveries, one ``attempts`` row each, and count.

    Returns how many rows met which fate. Rows whose claim has passed to somebody else meanwhile are left to them,
    except delivered ones: that they arrived is true whoever holds them now.
    """
    fates: dict[Fate, int] = {"delivered": 0, "postponed": 0, "dead": 0, "handed back": 0}
    for settlement in _merged(settlements):
        fates[settlement.fate] += _settle(tx, settlement, claimer, now)
        if settlement.followers:
            fates["dead"] += _end_followers(tx, destination, settlement, now)
        turns.put_off(tx, destination, (one.subject_id for one in settlement.deliveries), settlement.due_at)
    done = fates["delivered"] + fates["dead"]
    _count(tx, destination, delivered=fates["delivered"], dead=fates["dead"], pending=-done)
    return fates


def release_stale(tx: sa.Connection, *, now: Milliseconds) -> int:
    """Give up every claim of a process that is gone, and say how many there were.

    Only for one who knows that no other process delivers: on SQLite the holder of the lock, at its start.
    """
    stale = [outbox.c.status == PENDING, outbox.c.claimed_by.is_not(None)]
    ids = list(tx.execute(sa.select(outbox.c.id).where(*stale)).scalars())
    _lost(tx, ids, now)
    if ids:
        free = sa.update(outbox).where(among(tx, ids))
        tx.execute(free.values(claimed_by=None, claimed_until=None))
    return len(ids)


def retry(tx: sa.Connection, ids: Sequence[int] | None, *, now: Milliseconds, detail: str = "by an operator") -> int:
    """Send dead letters again, those of ``ids`` or all, and say how many; works any number of times.

    They start afresh: seven days from now, no attempt counted, and the maybe-sent mark is gone, because a person
    has decided that a possible duplicate is the lesser harm. A letter whose body was erased stays dead.
    """
    chosen = [outbox.c.status == DEAD, outbox.c.body != ""]
    if ids is not None:
        chosen.append(among(tx, ids))
    columns = (outbox.c.id, outbox.c.destination, outbox.c.subject_id)
    rows = tx.execute(sa.select(*columns).where(*chosen).with_for_update()).all()
    if not rows:
        return 0
    picked = among(tx, [row.id for row in rows])
    tx.execute(
        sa.update(outbox)
        .where(picked)
        .values(
            status="pending",
            due_at=now,
            pending_at=now,
            attempts=0,
            maybe_sent_at=None,
            claimed_by=None,
            claimed_until=None,
        )
    )
    _refuse(tx, {row.subject_id for row in rows if row.subject_id is not None}, refused=False)
    _write_down(tx, picked, now, "retry", detail)
    for destination in sorted({row.destination for row in rows}):
        revived = sum(row.destination == destination for row in rows)
        _count(tx, destination, dead=-revived, pending=revived)
    return len(rows)


def _within_bytes(rows: Sequence[Any]) -> list[Any]:
    """The first of these rows, at least one: a thousand large bodies need not be in memory at the same time."""
    sizes = accumulate(row.size for row in rows)
    return [row for number, (row, size) in enumerate(zip(rows, sizes, strict=True)) if not number or size <= MAX_BYTES]


def _delivery(row: Any, body: str) -> Delivery:
    return Delivery(
        id=row.id,
        inbox_id=row.inbox_id,
        message_id=row.message_id,
        body=body,
        attempts=row.attempts,
        pending_at=row.created_at if row.pending_at is None else row.pending_at,
        maybe_sent_at=row.maybe_sent_at,
        subject_id=row.subject_id,
    )


def _merged(settlements: Iterable[Settlement]) -> list[Settlement]:
    """Those that end alike as one: a thousand requests must not be a thousand statements."""
    alike: dict[Settlement, list[Delivery]] = {}
    for one in settlements:
        alike.setdefault(replace(one, deliveries=()), []).extend(one.deliveries)
    return [replace(one, deliveries=tuple(deliveries)) for one, deliveries in alike.items()]


def _settle(tx: sa.Connection, settlement: Settlement, claimer: str, now: Milliseconds) -> int:
    ours = [outbox.c.status == PENDING, among(tx, [one.id for one in settlement.deliveries])]
    if settlement.fate != "delivered":
        ours.append(outbox.c.claimed_by == claimer)
    ids = list(tx.execute(sa.select(outbox.c.id).where(*ours).order_by(outbox.c.id).with_for_update()).scalars())
    if not ids:
        return 0
    picked = among(tx, ids)
    tx.execute(sa.update(outbox).where(picked).values(**_changes(tx, settlement)))
    if settlement.answer is not None:
        _write_down(tx, picked, now, settlement.answer, settlement.detail)
    return len(ids)


def _end_followers(tx: sa.Connection, destination: str, settlement: Settlement, now: Milliseconds) -> int:
    """End what waits for a subject that the destination would not have; how much of it. What is claimed, its claimer
    ends."""
    subjects = sorted({one.subject_id for one in settlement.deliveries if one.subject_id is not None})
    ids = turns.waiting_behind(tx, destination, subjects)
    if ids:
        picked = among(tx, ids)
        tx.execute(sa.update(outbox).where(picked).values(status="dead"))
        _write_down(tx, picked, now, "refused", FOLLOWS)
    _refuse(tx, subjects, refused=True)
    return len(ids)


def _refuse(tx: sa.Connection, subjects: Collection[int], *, refused: bool) -> None:
    """Note whether the destination would not have these: nothing more of theirs is made for it then."""
    if subjects:
        theirs = among(tx, sorted(subjects), mirrored.c.identifier_id)
        tx.execute(sa.update(mirrored).where(theirs).values(refused=refused))


def _changes(tx: sa.Connection, settlement: Settlement) -> dict[str, Any]:
    changes: dict[str, Any] = {"claimed_by": None, "claimed_until": None}
    if settlement.answer is not None:
        changes["attempts"] = outbox.c.attempts + 1
    if settlement.fate in ("delivered", "dead"):
        changes["status"] = settlement.fate
    if settlement.due_at is not None:
        changes["due_at"] = settlement.due_at
    if settlement.erase:
        changes["body"] = ""
    if settlement.answer in ("refused", None):
        # The claim set the mark only where there was none: there, and only there, nothing can have arrived.
        unmarked = among(tx, [one.id for one in settlement.deliveries if one.maybe_sent_at is None])
        changes["maybe_sent_at"] = sa.case((unmarked, sa.null()), else_=outbox.c.maybe_sent_at)
    return changes


def _lost(tx: sa.Connection, ids: Sequence[int], now: Milliseconds) -> None:
    if ids:
        picked = among(tx, ids)
        tx.execute(sa.update(outbox).where(picked).values(attempts=outbox.c.attempts + 1))
        _write_down(tx, picked, now, "unknown", LOST)


def _write_down(tx: sa.Connection, picked: sa.ColumnElement[bool], now: Milliseconds, status: str, detail: str) -> None:
    facts = sa.select(outbox.c.id, sa.literal(now, sa.BigInteger), sa.literal(status), sa.literal(detail)).where(picked)
    tx.execute(sa.insert(attempts).from_select(["outbox_id", "at", "status", "detail"], facts.order_by(outbox.c.id)))


def _count(tx: sa.Connection, destination: str, **changes: int) -> None:
    """Counters last and in alphabetical order, so that two transactions never wait for each other crosswise."""
    for status, change in sorted(changes.items()):
        if change:
            counters.add(tx, f"outbox.{destination}.{status}", change)
