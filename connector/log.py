"""The stitching log: one row a message, saying what became of it and why. Never an address in its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from connector import bulk, counters
from connector.messages import Message, Outcome, Stored
from connector.outbox import Ids
from connector.stitch import Case, Evidence, Placement
from connector.tables import messages

COLUMNS = tuple(str(column.name) for column in messages.columns)
NOBODY = Ids()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be written, and what it adds to the counters."""

    row: bulk.Row
    counts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A later outcome of a message that was held."""

    inbox_id: int
    outcome: str
    reason: str
    ids: Ids = NOBODY
    evidence: tuple[Evidence, ...] = ()


def unprocessed(tx: sa.Connection, batch: Sequence[Stored]) -> list[Stored]:
    """Those of a batch that have not been processed, or were quarantined and are tried again."""
    known: dict[int, str] = dict(bulk.select_by(tx, messages, ("id", "outcome"), "id", [one.id for one in batch]))
    counters.add(tx, "quarantined", -sum(outcome == Outcome.QUARANTINED for outcome in known.values()))
    new = [one for one in batch if one.id not in known and one.source != "operator"]
    counters.add(tx, "processed", len(new))
    return [one for one in batch if known.get(one.id, Outcome.QUARANTINED) == Outcome.QUARANTINED]


def entry(
    message: Message,
    outcome: str,
    reason: str,
    case: Case | None = None,
    placement: Placement | None = None,
    ids: Ids = NOBODY,
) -> Entry:
    """What was decided about a valid message."""
    counted = outcome in Outcome.COUNTED
    usable = placement is not None and placement.usable
    row = (
        message.inbox_id,
        message.source,
        message.message_id,
        message.type,
        message.event,
        message.email.vendor if message.email else None,
        message.at,
        message.received_at,
        message.authenticated,
        outcome,
        reason,
        orjson.dumps(message.notes).decode() if message.notes else None,
        ids.user_id if message.email else message.user_id,
        ids.anonymous_id if message.email else message.anonymous_id,
        placement.arrived_usable if placement else None,
        orjson.dumps(placement.evidence).decode() if placement and placement.evidence else None,
        case.recipient if case else None,
        case.vendor_profile if case else None,
        case.vendor_user if case else None,
        case.browser if case else None,
    )
    counts = []
    if message.email or outcome == Outcome.ECHO:
        counts.append(f"email.{outcome}")
    if counted and placement is not None and not placement.arrived_usable:
        counts.append("email.arrived_unusable")
    if counted and usable:
        counts.append("email.left_usable")
    return Entry(row, tuple(counts))


def quarantined(stored: Stored, reasons: Iterable[str]) -> Entry:
    """An element that is not a message, with why."""
    row = (
        stored.id, stored.source, stored.message_id, None, None, None, stored.received_at, stored.received_at,
        stored.authenticated, Outcome.QUARANTINED, "; ".join(reasons), *[None] * 9,
    )  # fmt: skip
    return Entry(row, ("quarantined",))


def act(stored: Stored, kind: str, reason: str) -> Entry:
    """What an operator did."""
    row = (
        stored.id, stored.source, stored.message_id, kind, None, None, stored.received_at, stored.received_at,
        stored.authenticated, Outcome.LEARNED, reason, *[None] * 9,
    )  # fmt: skip
    return Entry(row, ())


def write(tx: sa.Connection, entries: Sequence[Entry]) -> None:
    """Write the rows; a message that was quarantined before gets its new outcome."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[3:])
    bulk.insert_rows(tx, messages, COLUMNS, [one.row for one in entries], f"on conflict (id) do update set {sets}")
    for name, n in Counter(name for one in entries for name in one.counts).items():
        counters.add(tx, name, n)


def change(tx: sa.Connection, changes: Sequence[Change]) -> None:
    """Give held messages their later outcome."""
    before: dict[int, str] = dict(
        bulk.select_by(tx, messages, ("id", "outcome"), "id", [one.inbox_id for one in changes])
    )
    bulk.update_rows(
        tx,
        messages,
        ("id",),
        ("outcome", "reason", "user_id", "anonymous_id", "evidence"),
        [
            (
                one.inbox_id,
                one.outcome,
                one.reason,
                one.ids.user_id,
                one.ids.anonymous_id,
                orjson.dumps(one.evidence).decode(),
            )
            for one in changes
        ],
    )
    counts: Counter[str] = Counter()
    for one in changes:
        counts[f"email.{before[one.inbox_id]}"] -= 1
        counts[f"email.{one.outcome}"] += 1
        counts["email.left_usable"] += one.outcome == Outcome.STITCHED_LATE
    for name, n in counts.items():
        counters.add(tx, name, n)


def cases(tx: sa.Connection, inbox_ids: Iterable[int]) -> dict[int, Case]:
    """The cases of messages in the log."""
    columns = ("id", "at", "recipient_id", "vendor_profile_id", "vendor_user_id", "browser_id")
    return {row[0]: Case(*row) for row in bulk.select_by(tx, messages, columns, "id", inbox_ids)}
