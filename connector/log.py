"""The stitching log: one row a message, saying what became of it and why. Never an address in its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from connector import bulk, counters
from connector.klaviyo import records
from connector.masking import mask
from connector.messages import MINUTE, Identifier, Message, Milliseconds, Outcome, Stored
from connector.outbox import Ids
from connector.stitch import Case, Evidence, Placement
from connector.tables import mentions, messages, traits

PERSONAL = (
    "event", "vendor", "notes", "user_id", "anonymous_id", "evidence", "recipient_id", "vendor_profile_id",
    "vendor_user_id", "browser_id", "identifiers", "taught",
)  # fmt: skip
"""What of a row may tell of a person."""

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
    new = [one for one in batch if one.id not in known and one.source != "operator" and not records.is_record(one)]
    counters.add(tx, "processed", len(new))
    return [one for one in batch if known.get(one.id, Outcome.QUARANTINED) == Outcome.QUARANTINED]


def entry(
    message: Message,
    outcome: str,
    reason: str,
    case: Case | None = None,
    placement: Placement | None = None,
    ids: Ids = NOBODY,
    numbers: Mapping[Identifier, int] | None = None,
) -> Entry:
    """What was decided about a valid message. Args: numbers are those of its identifiers, if it taught anything."""
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
        ids.user_id if message.email or outcome == Outcome.ECHO else message.user_id,
        ids.anonymous_id if message.email or outcome == Outcome.ECHO else message.anonymous_id,
        placement.arrived_usable if placement else None,
        orjson.dumps(placement.evidence).decode() if placement and placement.evidence else None,
        case.recipient if case else None,
        case.vendor_profile if case else None,
        case.vendor_user if case else None,
        case.browser if case else None,
        *_told(message, numbers),
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
        stored.authenticated, Outcome.QUARANTINED, "; ".join(reasons), *[None] * 11,
    )  # fmt: skip
    return Entry(row, ("quarantined",))


def _told(message: Message, numbers: Mapping[Identifier, int] | None) -> tuple[str | None, str | None]:
    """What a message carried and taught, in numbers: known also when its body is gone."""
    if numbers is None:
        return None, None
    taught = [(numbers[a], numbers[b], kind) for a, b, kind in message.links]
    return (
        orjson.dumps([numbers[one] for one in dict.fromkeys((*message.identifiers, *message.carried))]).decode(),
        orjson.dumps(taught).decode() if taught else None,
    )


def act(
    stored: Stored,
    kind: str,
    at: Milliseconds,
    reason: str,
    notes: Sequence[str] = (),
    taught: Sequence[tuple[int, int, str]] = (),
) -> Entry:
    """What an operator did. Args: notes are what came of it, a sentence each; taught the link that it made."""
    told = orjson.dumps([mask(note) for note in notes]).decode() if notes else None
    ends = orjson.dumps(sorted({end for a, b, _ in taught for end in (a, b)})).decode() if taught else None
    row = (
        stored.id, stored.source, stored.message_id, kind, None, None, at, stored.received_at,
        stored.authenticated, Outcome.LEARNED, mask(reason), told, *[None] * 8, ends,
        orjson.dumps(taught).decode() if taught else None,
    )  # fmt: skip
    return Entry(row, ())


def forgotten(stored: Stored, reason: str) -> Entry:
    """A message of somebody we were told to forget: when it came, and nothing of what it said."""
    row = (
        stored.id, stored.source, stored.message_id, None, None, None, stored.received_at, stored.received_at,
        stored.authenticated, Outcome.FORGOTTEN, reason, *[None] * 11,
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
    columns = ("id", "outcome", "user_id", "anonymous_id", "arrived_usable")
    before = {row[0]: row[1:] for row in bulk.select_by(tx, messages, columns, "id", [one.inbox_id for one in changes])}
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
        outcome, user_id, anonymous_id, arrived_usable = before[one.inbox_id]
        counts[f"email.{outcome}"] -= 1
        counts[f"email.{one.outcome}"] += 1
        counts["email.left_usable"] += _left_usable(one.outcome, one.ids.user_id, one.ids.anonymous_id)
        counts["email.left_usable"] -= _left_usable(outcome, user_id, anonymous_id)
        if not arrived_usable:
            counts["email.arrived_unusable"] += (one.outcome in Outcome.COUNTED) - (outcome in Outcome.COUNTED)
    for name, n in counts.items():
        counters.add(tx, name, n)


def forget(tx: sa.Connection, inbox_ids: Iterable[int], reason: str) -> None:
    """Take out of the log what these messages said, and out of everybody's timeline that they did."""
    columns = (
        "id",
        "outcome",
        "user_id",
        "anonymous_id",
        "arrived_usable",
        "at",
        "identifiers",
        "source",
        "message_id",
    )
    rows = bulk.select_by(tx, messages, columns, "id", inbox_ids, f"outcome <> '{Outcome.FORGOTTEN}'")
    bulk.update_rows(
        tx,
        messages,
        ("id",),
        ("outcome", "reason", *PERSONAL),
        [(row[0], Outcome.FORGOTTEN, reason, *[None] * len(PERSONAL)) for row in rows],
    )
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    mentioned = [(one, row[5], row[0]) for row in rows for one in orjson.loads(row[6] or "[]")]
    if mentioned:
        where = f"identifier_id = {mark} and at = {mark} and message = {mark}"
        tx.exec_driver_sql(f"delete from {mentions.name} where {where}", mentioned)  # noqa: S608 - marks
        told = [(one, row[5] // MINUTE, f"{row[7]}/{row[8]}") for row in rows for one in orjson.loads(row[6] or "[]")]
        where = f"identifier_id = {mark} and minute = {mark} and message = {mark}"
        tx.exec_driver_sql(f"delete from {traits.name} where {where}", told)  # noqa: S608 - marks
    counts: Counter[str] = Counter()
    for _, outcome, user_id, anonymous_id, arrived_usable, *_ in rows:
        if arrived_usable is not None or outcome == Outcome.ECHO:
            counts[f"email.{outcome}"] -= 1
            counts["email.left_usable"] -= _left_usable(outcome, user_id, anonymous_id)
            counts["email.arrived_unusable"] -= outcome in Outcome.COUNTED and not arrived_usable
        counts["quarantined"] -= outcome == Outcome.QUARANTINED
    for name, n in counts.items():
        counters.add(tx, name, n)


def _left_usable(outcome: str, user_id: str | None, anonymous_id: str | None) -> bool:
    """Did it leave, or does it leave, with an id that names somebody? An opaque one does not."""
    return outcome in Outcome.COUNTED and outcome != Outcome.EXPIRED and bool(user_id or anonymous_id)


def cases(tx: sa.Connection, inbox_ids: Iterable[int]) -> dict[int, Case]:
    """The cases of messages in the log."""
    return {row[0]: case(row) for row in bulk.select_by(tx, messages, CASE, "id", inbox_ids)}


CASE = ("id", "at", "recipient_id", "vendor_profile_id", "vendor_user_id", "browser_id", "identifiers")


def case(row: Sequence[Any]) -> Case:
    """The case in a row of CASE."""
    inbox_id, at, recipient, vendor_profile, vendor_user, browser, carried = row
    return Case(inbox_id, at, recipient, vendor_profile, vendor_user, browser, tuple(orjson.loads(carried or "[]")))
