"""Which sightings count: those that no operator took back and no visitor refused. The columns ``stands`` say so.

    1. Read the sightings of some pairs, the revocations that name their ends, and the choices of their ends.
    2. A minute of a link stands unless one of these covers it; a link stands if one of its minutes does.
    3. Write what changed, and tell which pairs came to be joined or ceased to be.

Nothing is deleted here, so undoing a revocation restores exactly. Called by ``identity`` with what a batch concerns.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from connector import bulk, consent
from connector.messages import MINUTE, Kind, Milliseconds
from connector.rules import Rules
from connector.tables import identifiers, links, revocations, revoked_buckets, sightings

Pair = tuple[int, int]
"""(stronger, weaker) by number."""

Minute = tuple[int, int, str, int]

BUCKETS: Final = """
    select s.a_id, s.b_id, s.kind, s.minute, s.first_at, s.first_message, s.last_at, s.stands
    from {asked} q join sightings s on s.a_id = q.a_id and s.b_id = q.b_id"""

LINKS: Final = """
    select l.a_id, l.b_id, l.kind, l.first_at, l.first_message, l.stands
    from {asked} q join links l on l.a_id = q.a_id and l.b_id = q.b_id"""

REVOKED: Final = """
    select r.a_id, r.b_id, r.kind, r.minute from {asked} q
    join revoked_buckets r on r.a_id = q.a_id and r.b_id = q.b_id
    left join revocations x on x.id = r.revocation
    where substr(r.revocation, 1, 8) = 'consent/' or (x.at is not null and x.undone_at is null)"""

PAIR: Final = (("a_id", "bigint"), ("b_id", "bigint"))


@dataclass(frozen=True, slots=True)
class Revocation:
    """What an operator took back: of one identifier (right is None) or of a pair, by their hashes."""

    at: Milliseconds
    left: str
    right: str | None
    until: Milliseconds | None

    def covers(self, kind: str, minute: int, last_at: Milliseconds) -> bool:
        """Is a minute of a link taken back? A manual link made later stands."""
        if kind == Kind.MANUAL and last_at > self.at:
            return False
        return self.until is None or minute <= self.until // MINUTE


@dataclass(slots=True)
class Turned:
    """What settling changed: pairs that came to be joined or ceased to be, and by how much the links became more."""

    gained: set[Pair] = field(default_factory=set)
    lost: set[Pair] = field(default_factory=set)
    changed: set[Pair] = field(default_factory=set)
    links: int = 0


def any_revoked(tx: sa.Connection) -> bool:
    """Did an operator ever take something back?"""
    return tx.execute(sa.select(revocations.c.id).limit(1)).first() is not None


def named(tx: sa.Connection, hashes: Mapping[str, int]) -> set[int]:
    """Those of these identifiers, by hash, that a revocation names."""
    found = bulk.select_by(tx, revocations, ("left_hash",), "left_hash", hashes)
    found += bulk.select_by(tx, revocations, ("right_hash",), "right_hash", hashes)
    return {hashes[one] for (one,) in found}


def pairs_of(tx: sa.Connection, ids: Iterable[int]) -> set[Pair]:
    """All pairs with one of these identifiers at an end, whether they count or not."""
    wanted = set(ids)
    found = bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", wanted)
    found += bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", wanted)
    return {(a, b) for a, b in found}


def note_messages(tx: sa.Connection, taught: Mapping[str, Sequence[Minute]]) -> set[Pair]:
    """Note which minutes of links revoked messages had shown; the pairs concerned.

    Args: taught is, by ``source/messageId``, what each message is a sighting of.
    """
    found = bulk.select_by(tx, revocations, ("message", "id"), "message", taught)
    rows = {(*minute, revocation) for message, revocation in found for minute in taught[message]}
    bulk.insert_rows(
        tx,
        revoked_buckets,
        ("a_id", "b_id", "kind", "minute", "revocation"),
        sorted(rows),
        "on conflict (a_id, b_id, kind, minute, revocation) do nothing",
    )
    return {(a, b) for a, b, *_ in rows}


def withhold(tx: sa.Connection, taught: Mapping[int, Sequence[Minute]], refused: Container[int]) -> set[Pair]:
    """Let the minutes of links that messages showed whose sender had refused count no more, and those of others again.

    Args: taught is, by the message's number, what it is a sighting of. Returns the pairs concerned.
    """
    minutes = {(*minute, f"consent/{number}") for number, shown in taught.items() for minute in shown}
    held = {(*minute, f"consent/{number}") for number, shown in taught.items() if number in refused for minute in shown}
    columns = ("a_id", "b_id", "kind", "minute", "revocation")
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    if minutes - held:
        where = " and ".join(f"{name} = {mark}" for name in columns)
        tx.exec_driver_sql(f"delete from revoked_buckets where {where}", sorted(minutes - held))  # noqa: S608 - names of ours
    bulk.insert_rows(tx, revoked_buckets, columns, sorted(held), f"on conflict ({', '.join(columns)}) do nothing")
    return {(a, b) for a, b, *_ in minutes}


def settle(tx: sa.Connection, pairs: Iterable[Pair], rules: Rules) -> Turned:
    """Find out which sightings and links of these pairs stand, and write it."""
    asked = sorted(set(pairs))
    turned = Turned()
    if not asked:
        return turned
    buckets = bulk.select_joined(tx, BUCKETS, PAIR, asked)
    stored = bulk.select_joined(tx, LINKS, PAIR, asked)
    guard = _Guard(tx, asked, rules)
    first: dict[tuple[int, int, str], tuple[Milliseconds, str]] = {}
    fallen: dict[tuple[int, int, str], tuple[Milliseconds, str]] = {}
    changes = []
    for a, b, kind, minute, first_at, first_message, last_at, stood in sorted(buckets):
        stands = not guard.covers(a, b, kind, minute, last_at)
        (first if stands else fallen).setdefault((a, b, kind), (first_at, first_message))
        if stands != bool(stood):
            changes.append((a, b, kind, minute, stands))
            turned.changed.add((a, b))
    bulk.update_rows(tx, sightings, ("a_id", "b_id", "kind", "minute"), ("stands",), changes)
    _settle_links(tx, stored, first, fallen, guard, turned)
    return turned


def _settle_links(
    tx: sa.Connection,
    stored: Sequence[bulk.Row],
    first: Mapping[tuple[int, int, str], tuple[Milliseconds, str]],
    fallen: Mapping[tuple[int, int, str], tuple[Milliseconds, str]],
    guard: _Guard,
    turned: Turned,
) -> None:
    before: dict[Pair, bool] = {}
    after: dict[Pair, bool] = {}
    changes = []
    for a, b, kind, first_at, first_message, stood in stored:
        stands = not guard.covers_implied(a, b) if kind == Kind.IMPLIED else (a, b, kind) in first
        moment = first.get((a, b, kind)) or fallen.get((a, b, kind), (first_at, first_message))
        if (stands, *moment) != (bool(stood), first_at, first_message):
            changes.append((a, b, kind, stands, *moment))
            turned.changed.add((a, b))
        turned.links += stands - bool(stood)
        if kind in Kind.JOINING:
            before[a, b] = before.get((a, b), False) or bool(stood)
            after[a, b] = after.get((a, b), False) or stands
    bulk.update_rows(tx, links, ("a_id", "b_id", "kind"), ("stands", "first_at", "first_message"), changes)
    turned.gained = {pair for pair, stands in after.items() if stands and not before[pair]}
    turned.lost = {pair for pair, stands in after.items() if not stands and before[pair]}


class _Guard:
    """The revocations and choices that concern some pairs."""

    def __init__(self, tx: sa.Connection, pairs: Sequence[Pair], rules: Rules) -> None:
        ends = {end for pair in pairs for end in pair}
        self._hash: dict[int, str] = {}
        self._single: dict[str, list[Revocation]] = {}
        self._pair: dict[frozenset[str], list[Revocation]] = {}
        self._minutes: set[Minute] = set()
        self._choices = consent.read(tx, ends, rules)
        if any_revoked(tx):
            self._hash = dict(bulk.select_by(tx, identifiers, ("id", "profile_hash"), "id", ends))
            for one in _revocations(tx, set(self._hash.values())):
                if one.right is None:
                    self._single.setdefault(one.left, []).append(one)
                else:
                    self._pair.setdefault(frozenset((one.left, one.right)), []).append(one)
        if self._hash or rules.required or rules.opt_out:
            rows = bulk.select_joined(tx, REVOKED, PAIR, pairs)
            self._minutes = {(a, b, kind, minute) for a, b, kind, minute in rows}

    def covers(self, a: int, b: int, kind: str, minute: int, last_at: Milliseconds) -> bool:
        """Does a minute of a link not count?"""
        at = minute * MINUTE
        return (
            (a, b, kind, minute) in self._minutes
            or any(one.covers(kind, minute, last_at) for one in self._acts(a, b))
            or self._choices.refused(a, at) is not None
            or self._choices.refused(b, at) is not None
        )

    def covers_implied(self, a: int, b: int) -> bool:
        """An implied link has no sightings: only what is taken back for good concerns it."""
        return any(one.until is None for one in self._acts(a, b))

    def _acts(self, a: int, b: int) -> list[Revocation]:
        if not self._hash:
            return []
        left, right = self._hash.get(a, ""), self._hash.get(b, "")
        pair = self._pair.get(frozenset((left, right)), [])
        return [*pair, *self._single.get(left, ()), *self._single.get(right, ())]


def _revocations(tx: sa.Connection, hashes: set[str]) -> list[Revocation]:
    """Those in force that name one of these."""
    columns = ("id", "at", "left_hash", "right_hash", "until")
    in_force = "at is not null and undone_at is null"
    rows: dict[str, tuple[Any, ...]] = {}
    for side in ("left_hash", "right_hash"):
        rows |= {row[0]: row[1:] for row in bulk.select_by(tx, revocations, columns, side, hashes, in_force)}
    return [Revocation(*row) for row in rows.values()]
