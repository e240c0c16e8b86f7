"""A copy of the record, at another time or under other rules, in a store of its own that vanishes afterwards.

``--as-of`` asks what was known at a time: the record up to the end of that minute, derived anew, answers like the store
itself. For one answer only what hangs together with it is copied; an export copies all, into a file. ``--what-if`` is
the same with another ``identity.toml``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from connector import bulk, derive, device_links, remember, sweeps
from connector.components import JOINING
from connector.derive import SIGHTING, Progress
from connector.house import House
from connector.identity import UPSERT_SIGHTING
from connector.messages import MINUTE, Identifier, Milliseconds
from connector.rules import Rules
from connector.tables import (
    attempts,
    choices,
    consents,
    identifiers,
    inbox,
    landings,
    links,
    machine_clicks,
    mentions,
    messages,
    metadata,
    outbox,
    revocations,
    revoked_buckets,
    sightings,
    traits,
)

PAGE: Final = 1_000
MOST: Final = 50_000
"""Identifiers that one answer looks at."""

BROWSERS: Final = 2_000
EVENTS: Final = 500
NAMED: Final = ("recipient_id", "vendor_profile_id", "vendor_user_id", "browser_id")
WHOSE: Final = ("identifier_id", "browser_id", "profile_id")

IDENTIFIER: Final = ("id", "type", "value", "first_at", "first_message", "last_at", "carried_at", "profile_hash")

UPSERT_IDENTIFIER: Final = """on conflict (value, type) do update set
    first_message = case when (excluded.first_at, excluded.first_message)
                         < (identifiers.first_at, identifiers.first_message)
                    then excluded.first_message else identifiers.first_message end,
    first_at = min(excluded.first_at, identifiers.first_at), last_at = max(excluded.last_at, identifiers.last_at),
    carried_at = coalesce(min(excluded.carried_at, identifiers.carried_at), excluded.carried_at,
                          identifiers.carried_at)"""


def end_of_minute(at: Milliseconds) -> Milliseconds:
    """Sightings are kept per minute, so a time in the past means the end of its minute."""
    return (at // MINUTE + 1) * MINUTE - 1


@contextmanager
def as_of(
    tx: sa.Connection,
    house: House,
    at: Milliseconds,
    ids: Iterable[int] | None = None,
    progress: Progress = derive.nothing,
) -> Iterator[sa.Connection]:
    """The store as the messages up to a time made it. Args: ids bounds it to what hangs together with these."""
    until = end_of_minute(at)
    with opened(in_memory=ids is not None) as scratch:
        nearby = None if ids is None else around(tx, ids, until, house.rules)
        Copy(tx, scratch, house.rules, until, nearby).record(progress)
        derive.rebuild(scratch, house.rules, house.keys, progress)
        if nearby is not None:
            _timeline(tx, scratch, house.rules)
        yield scratch


def _timeline(tx: sa.Connection, scratch: sa.Connection, rules: Rules) -> None:
    """The newest entries of the log that speak of who was copied."""
    newest = sa.select(mentions.c.message).group_by(mentions.c.message).order_by(sa.func.max(mentions.c.at).desc())
    Copy(tx, scratch, rules).events(list(scratch.scalars(newest.limit(EVENTS))))


@contextmanager
def opened(*, in_memory: bool = False) -> Iterator[sa.Connection]:
    """An empty store of our own."""
    with tempfile.TemporaryDirectory(prefix="connector-") as folder:
        url = "sqlite://" if in_memory else f"sqlite:///{Path(folder) / 'scratch.db'}"
        engine = sa.create_engine(url, poolclass=sa.pool.StaticPool)
        try:
            with engine.begin() as scratch:
                metadata.create_all(scratch)
                yield scratch
        finally:
            engine.dispose()


# -- what hangs together --------------------------------------------------------------------------------------------


LANDED: Final = "(browser or kind = 'clicked')"
"""What may have landed: also what turned out to be an email's hash, for it may have carried a token first."""


def around(tx: sa.Connection, ids: Iterable[int], until: Milliseconds, rules: Rules) -> set[int]:
    """The identifiers that an answer about these may depend on, at any time up to one.

    Their people's identifiers, refused ones included; the browsers of these, and what devices connect with either; and
    all who were identified on these browsers or seen with these devices, with their people's identifiers.
    """
    people = _people(tx, set(ids), until, rules)
    browsers = bulk.select_by(
        tx, links, ("b_id",), "a_id", people, f"{LANDED} order by first_at desc limit {BROWSERS:d}"
    )
    attached = {b for (b,) in browsers} | set(ids)
    attached |= device_links.reach(tx, rules, people | attached, until)
    owners = _stronger(tx, attached, until, rules)
    return people | attached | _people(tx, owners, until, rules)


def _people(tx: sa.Connection, ids: set[int], until: Milliseconds, rules: Rules) -> set[int]:
    """These and everything that joining links reach from them, hubs not passed."""
    found, frontier = set(ids), set(ids)
    while frontier and len(found) < MOST:
        passing = (
            {one for one in frontier if not _is_hub(tx, one, until, rules)} if _any_apart(tx, frontier) else frontier
        )
        weaker = bulk.select_by(tx, links, ("b_id",), "a_id", passing, f"not browser and {JOINING}")
        browsers = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "id", frontier, BROWSER)}
        reached = {one for (one,) in weaker} | _stronger(tx, frontier - browsers, until, rules)
        frontier = reached - found
        found |= frontier
    return found


BROWSER: Final = "type = 'anonymous_id' and email_id is null"


def _any_apart(tx: sa.Connection, ids: set[int]) -> bool:
    return bool(bulk.select_by(tx, identifiers, ("id",), "id", ids, "apart"))


def _is_hub(tx: sa.Connection, one: int, until: Milliseconds, rules: Rules) -> bool:
    kind = tx.execute(sa.select(identifiers.c.type).where(identifiers.c.id == one)).scalar_one()
    return len(_some_stronger(tx, one, until, rules.type_of(kind).hub_limit)) > rules.type_of(kind).hub_limit


def _some_stronger(tx: sa.Connection, one: int, until: Milliseconds, limit: int) -> set[int]:
    """Stronger identifiers that one was linked with by a time, at most one more than makes a hub."""
    rows = tx.exec_driver_sql(
        f"""select distinct a_id from links where b_id = {one:d} and first_at <= {until:d} and {JOINING}
            limit {limit + 1:d}"""  # noqa: S608 - numbers of ours
    )
    return {a for (a,) in rows}


def _stronger(tx: sa.Connection, ids: set[int], until: Milliseconds, rules: Rules) -> set[int]:
    """The stronger ends of these identifiers' links; of a hub so many that it is known for one."""
    nodes = bulk.select_by(tx, identifiers, ("id", "type", "apart"), "id", ids)
    apart = {one: kind for one, kind, is_apart in nodes if is_apart}
    rows = bulk.select_by(tx, links, ("a_id",), "b_id", ids - apart.keys())
    found = {a for (a,) in rows}
    for one, kind in apart.items():
        found |= _some_stronger(tx, one, until, rules.type_of(kind).hub_limit)
    return found


# -- copying ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Copy:
    """Copies the record from one store to another.

    until: nothing later than this; None for all. only: these identifiers; None for all. moved: identifiers that the
    rules call otherwise than they are stored, and what is the same by these rules.
    """

    tx: sa.Connection
    scratch: sa.Connection
    rules: Rules
    until: Milliseconds | None = None
    only: set[int] | None = None
    moved: dict[int, int] = field(default_factory=dict)

    def record(self, progress: Progress = derive.nothing, *, evidence: bool = True) -> None:
        """All that is no cache. Args: evidence False leaves out what messages said, but not operators' links."""
        for page in self._pages():
            self._identifiers(page)
            progress("copying names", len(page))
        for page in self._pages():
            self._sightings(page, "" if evidence else " and kind = 'manual'")
            if evidence:
                self._told(page)
            progress("copying the record", len(page))
        self._acts()
        if self.rules.required or self.rules.opt_out:
            self._log()  # whose a message was decides whether its sender had refused

    def _log(self) -> None:
        """The log's rows of what was copied."""
        last = 0
        if self.only is None:
            tx, column = self.tx, messages.c.id
        else:
            tx, column = self.scratch, mentions.c.message
        query = sa.select(column).distinct().order_by(column).limit(PAGE)
        while page := list(tx.scalars(query.where(column > last))):
            self.events(page)
            last = page[-1]

    def message(self, inbox_id: int) -> None:
        """One message, and what answers it."""
        for table, key in ((messages, "id"), (inbox, "id"), (outbox, "inbox_id")):
            self._rows(table, key, [inbox_id])
        sent = [one for (one,) in bulk.select_by(self.tx, outbox, ("id",), "inbox_id", [inbox_id])]
        self._rows(attempts, "outbox_id", sent)

    def events(self, page: Sequence[int]) -> None:
        """The log's rows of these messages, their identifiers called as the rules call them."""
        columns = [column.name for column in messages.columns]
        named = [columns.index(name) for name in NAMED]
        rows = []
        for row in bulk.select_by(self.tx, messages, columns, "id", page):
            told = list(row)
            for place in named:
                told[place] = self.moved.get(told[place], told[place])
            rows.append(tuple(told))
        bulk.insert_rows(self.scratch, messages, columns, rows, "on conflict do nothing")

    def _rows(self, table: sa.Table, key: str, values: Sequence[int]) -> None:
        columns = [column.name for column in table.columns]
        rows = bulk.select_by(self.tx, table, columns, key, values)
        bulk.insert_rows(self.scratch, table, columns, rows, "on conflict do nothing")

    def _pages(self) -> Iterator[list[int]]:
        if self.only is not None:
            listed = sorted(self.only)
            yield from (listed[at : at + PAGE] for at in range(0, len(listed), PAGE))
            return
        last = 0
        query = sa.select(identifiers.c.id).order_by(identifiers.c.id).limit(PAGE)
        while page := list(self.tx.scalars(query.where(identifiers.c.id > last))):
            yield page
            last = page[-1]

    def _cut(self, column: str) -> str:
        return "" if self.until is None else f"{column} <= {self.until:d}"

    def _minutes(self, more: str = "") -> str:
        """A condition on a minute, which a time in the past ends."""
        return f"minute <= {(1 << 40 if self.until is None else self.until // MINUTE):d}{more}"

    def _identifiers(self, page: Sequence[int]) -> None:
        rows = bulk.select_by(self.tx, identifiers, IDENTIFIER, "id", page, self._cut("first_at"))
        last = self._last_times(page) if self.until is not None else {}
        copied = []
        for number, kind, value, first_at, message, last_at, carried_at, profile_hash in rows:
            known = self.rules.identify(kind, value) or Identifier(kind, value)  # a blocked one stays, and names nobody
            carried = carried_at if self.until is None or (carried_at or 0) <= self.until else None
            times = (first_at, message, last.get(number, last_at), carried)
            copied.append((number, *known, *times, profile_hash))
        bulk.insert_rows(self.scratch, identifiers, IDENTIFIER, copied, UPSERT_IDENTIFIER)
        values = {row[2] for row in copied}
        found = bulk.select_by(self.scratch, identifiers, ("type", "value", "id"), "value", values)
        kept = {(kind, value): number for kind, value, number in found}
        self.moved |= {row[0]: kept[row[1], row[2]] for row in copied if kept[row[1], row[2]] != row[0]}

    def _last_times(self, page: Sequence[int]) -> dict[int, Milliseconds]:
        where = f"{self._cut('at')} and said_by <> {remember.OPERATOR:d} group by identifier_id"
        return dict(bulk.select_by(self.tx, mentions, ("identifier_id", "max(at)"), "identifier_id", page, where))

    def _sightings(self, page: Sequence[int], more: str) -> None:
        rows = bulk.select_by(self.tx, sightings, SIGHTING, "a_id", page, self._minutes(more))
        if self.only is not None:
            rows = [row for row in rows if row[1] in self.only]
        kinds = {
            one: Identifier(kind, value)
            for one, kind, value in bulk.select_by(
                self.tx, identifiers, ("id", "type", "value"), "id", {end for row in rows for end in row[:2]}
            )
        }
        turned = [row for row in (self._turned(row, kinds) for row in rows) if row is not None]
        bulk.insert_rows(self.scratch, sightings, SIGHTING, turned, UPSERT_SIGHTING)

    def _turned(self, row: bulk.Row, kinds: dict[int, Identifier]) -> bulk.Row | None:
        """A sighting as these rules see it: the stronger end first; None if they see none."""
        a, b, *rest = row
        if self.rules.strength(kinds[a]) > self.rules.strength(kinds[b]):
            a, b = b, a
        a, b = self.moved.get(a, a), self.moved.get(b, b)
        return None if a == b else (a, b, *rest)

    def _told(self, page: Sequence[int]) -> None:
        """What else was told of these identifiers."""
        for table, key, where in (
            (mentions, "identifier_id", self._cut("at")),
            (consents, "identifier_id", self._cut("at")),
            (machine_clicks, "identifier_id", self._cut("at")),
            (choices, "identifier_id", self._minutes()),
            (traits, "identifier_id", self._minutes()),
            (landings, "browser_id", self._cut("at")),
        ):
            columns = [column.name for column in table.columns]
            names = [columns.index(name) for name in WHOSE if name in columns]
            rows: list[tuple[Any, ...]] = []
            for row in bulk.select_by(self.tx, table, columns, key, page, where):
                told = list(row)
                for place in names:
                    told[place] = self.moved.get(told[place], told[place])
                rows.append(tuple(told))
            bulk.insert_rows(self.scratch, table, columns, rows, "on conflict do nothing")
        sweeps.copy(self.tx, self.scratch, page, self._cut("at"), self.moved)

    def _acts(self) -> None:
        """What operators took back, by a time."""
        columns = [column.name for column in revocations.columns]
        rows = [tuple(row) for row in self.tx.execute(sa.select(revocations))]
        if self.until is not None:
            undone, at = columns.index("undone_at"), columns.index("at")
            rows = [
                (*row[:undone], row[undone] if row[undone] is not None and row[undone] <= self.until else None)
                for row in rows
                if row[at] is not None and row[at] <= self.until
            ]
        bulk.insert_rows(self.scratch, revocations, columns, rows)
        minutes = [tuple(row) for row in self.tx.execute(sa.select(revoked_buckets))]
        bulk.insert_rows(self.scratch, revoked_buckets, [column.name for column in revoked_buckets.columns], minutes)
