"""The times two identifiers were seen together, read around a moment: by index, never a whole history.

A row of the table is a link's minute, with its earliest and latest sighting; that is also how exactly "latest at or
before t" is known within t's own minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

import sqlalchemy as sa

from connector import bulk
from connector.messages import MINUTE, Kind, Milliseconds
from connector.tables import OWNED

PAGE: Final = 64
"""Sightings read at a time where the latest one did not settle the question."""


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """One sighting: when, by which message, of which pair. Sorted by time, ties by message."""

    at: Milliseconds
    message: str
    a: int
    b: int
    kind: str


@dataclass(frozen=True, slots=True)
class Around:
    """The sightings next to a time t: those of the latest moment at or before it, and of the first after."""

    before: tuple[Seen, ...] = ()
    after: tuple[Seen, ...] = ()

    @property
    def nearest(self) -> Seen | None:
        """The latest at or before t, else the first after."""
        if self.before:
            return max(self.before)
        return min(self.after) if self.after else None


def around(
    tx: sa.Connection, side: str, asked: Sequence[tuple[int, Milliseconds]]
) -> dict[tuple[int, Milliseconds], Around]:
    """The sightings next to each (identifier, time).

    Args: side is ``browsers`` (those seen with this identifier) or ``owners`` (of this browser).
    """
    found: dict[tuple[int, Milliseconds], tuple[list[Seen], list[Seen]]] = {one: ([], []) for one in asked}
    rows = bulk.select_joined(
        tx,
        AROUND[side],
        (("id", "bigint"), ("at", "bigint"), ("minute", "bigint")),
        [(one, at, at // MINUTE) for one, at in asked],
    )
    for one, at, *row in rows:
        _sort_in(found[one, at], row, at)
    return {key: Around(tuple(before), tuple(after)) for key, (before, after) in found.items()}


def _sort_in(found: tuple[list[Seen], list[Seen]], row: Sequence[Any], at: Milliseconds) -> None:
    """A minute's earliest and latest sighting: which of them is the latest at or before a time, or else comes after?"""
    last, first = _last(row), _first(row)
    if last.at <= at:
        found[0].append(last)
    elif first.at <= at:
        found[0].append(first)
    else:
        found[1].append(first)


def linked_directly(tx: sa.Connection, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those (identifier, browser) pairs that a site or server call, or an operator, carried together."""
    rows = bulk.select_joined(tx, PAIRS, (("a_id", "bigint"), ("b_id", "bigint")), pairs)
    return {(row[0], row[1]) for row in rows}


def of_pairs(
    tx: sa.Connection, asked: Sequence[tuple[int, int, Milliseconds]], *, browsers: bool
) -> dict[tuple[int, int, Milliseconds], Around]:
    """The sightings of each (stronger, weaker) pair next to a time.

    Args: browsers says whether the weaker ends are browsers, of which vendors' sightings prove nothing.
    """
    found: dict[tuple[int, int, Milliseconds], tuple[list[Seen], list[Seen]]] = {one: ([], []) for one in asked}
    columns = (("a_id", "bigint"), ("b_id", "bigint"), ("at", "bigint"), ("minute", "bigint"))
    query = PAIR.format(
        kinds=" union all ".join(f"select '{kind}' as kind" for kind in _kinds(browsers)), asked="{asked}"
    )
    for at, *row in bulk.select_joined(tx, query, columns, [(*one, one[2] // MINUTE) for one in asked]):
        _sort_in(found[row[0], row[1], at], row, at)
    return {key: Around(tuple(before), tuple(after)) for key, (before, after) in found.items()}


def of_kind(tx: sa.Connection, pairs: Sequence[tuple[int, int]], kind: str, at: Milliseconds) -> list[Around]:
    """The sightings of one kind of each (stronger, weaker) pair next to a time."""
    if not pairs:
        return []
    columns = (("a_id", "bigint"), ("b_id", "bigint"), ("at", "bigint"), ("minute", "bigint"))
    found: dict[tuple[int, int], tuple[list[Seen], list[Seen]]] = {pair: ([], []) for pair in pairs}
    query = PAIR.format(kinds=f"select '{kind}' as kind", asked="{asked}")  # a word of ours
    for _, *row in bulk.select_joined(tx, query, columns, [(a, b, at, at // MINUTE) for a, b in pairs]):
        _sort_in(found[row[0], row[1]], row, at)
    return [Around(tuple(before), tuple(after)) for before, after in found.values()]


def of_link(tx: sa.Connection, pair: tuple[int, int], kinds: Sequence[str], most: int = 1_000) -> list[Seen]:
    """The sightings of a (stronger, weaker) pair of some kinds: of every minute the first and the last."""
    told = ", ".join(f"'{kind}'" for kind in kinds)
    rows = tx.exec_driver_sql(
        f"""select {SIGHTING_COLUMNS} from sightings s where s.a_id = {pair[0]:d} and s.b_id = {pair[1]:d}
            and s.kind in ({told}) and s.stands and not s.apart order by s.minute limit {most:d}"""  # noqa: S608 - ours
    )
    return sorted({seen for row in map(tuple, rows) for seen in (_first(row), _last(row))})


def owners(tx: sa.Connection, browser: int, most: int = 1_000) -> list[Seen]:
    """The sightings by which a browser was ever somebody's: of every minute the first and the last."""
    rows = tx.exec_driver_sql(
        f"""select {SIGHTING_COLUMNS} from sightings s where s.b_id = {browser:d} and {OWNED}
            and s.kind in ('manual', 'declared') order by s.minute limit {most:d}"""  # noqa: S608 - numbers of ours
    )
    return sorted({seen for row in map(tuple, rows) for seen in (_first(row), _last(row))})


def browsers(tx: sa.Connection, anchor: int, at: Milliseconds, most: int) -> Iterator[Seen]:
    """The browsers seen with an identifier, each with its sighting nearest to a time: latest before first, then after.

    Exact for up to most browsers; of more, those of the latest sightings before and the earliest after.
    """
    found = tx.exec_driver_sql(
        f"""select distinct b_id from links where a_id = {anchor:d} and {OWNED} and kind in ('manual', 'declared')
            limit {most + 1:d}"""  # noqa: S608 - numbers of ours
    )
    known = [row[0] for row in found]
    if len(known) > most:
        yield from islice(_distinct(_earlier(tx, anchor, at), _later(tx, anchor, at)), most)
        return
    arounds = of_pairs(tx, [(anchor, browser, at) for browser in known], browsers=True).values()
    yield from sorted((max(one.before) for one in arounds if one.before), reverse=True)
    yield from sorted(min(one.after) for one in arounds if one.after and not one.before)


def _distinct(*parts: Iterator[Seen]) -> Iterator[Seen]:
    met: set[int] = set()
    for seen in chain(*parts):
        if seen.b not in met:
            met.add(seen.b)
            yield seen


def _earlier(tx: sa.Connection, anchor: int, at: Milliseconds) -> Iterator[Seen]:
    minute = at // MINUTE + 1
    while rows := _page(tx, anchor, f"minute < {minute:d}", "desc"):
        told = (_last(row) if row[6] <= at else _first(row) for row in rows)
        yield from sorted((seen for seen in told if seen.at <= at), reverse=True)
        minute = min(row[3] for row in rows)


def _later(tx: sa.Connection, anchor: int, at: Milliseconds) -> Iterator[Seen]:
    minute = at // MINUTE - 1
    while rows := _page(tx, anchor, f"minute > {minute:d}", "asc"):
        yield from sorted(seen for seen in map(_first, rows) if seen.at > at)
        minute = max(row[3] for row in rows)


def _page(tx: sa.Connection, anchor: int, condition: str, order: str) -> list[bulk.Row]:
    """A page of whole minutes."""
    limit = f"""(select x.minute from sightings x where x.a_id = {anchor:d} and {OWNED} and x.{condition}
                 and x.kind in ('manual', 'declared') order by x.minute {order} limit 1 offset {PAGE - 1})"""  # noqa: S608 - numbers of ours
    bound = ">=" if order == "desc" else "<="
    rows = tx.exec_driver_sql(
        f"""select {SIGHTING_COLUMNS} from sightings s where s.a_id = {anchor:d} and {OWNED} and s.{condition}
            and s.kind in ('manual', 'declared') and ({limit} is null or s.minute {bound} {limit})
            order by s.minute {order}"""  # noqa: S608 - numbers of ours
    )
    return [tuple(row) for row in rows]


SIGHTING_COLUMNS: Final = "s.a_id, s.b_id, s.kind, s.minute, s.first_at, s.first_message, s.last_at, s.last_message"


def _kinds(browsers: bool) -> tuple[str, ...]:
    return Kind.OWNING if browsers else (*Kind.OWNING, Kind.VENDOR)


def _last(row: Sequence[object]) -> Seen:
    a, b, kind, _, _, _, last_at, last_message = row
    return Seen(last_at, last_message, a, b, kind)  # type: ignore[arg-type]  # rows are untyped


def _first(row: Sequence[object]) -> Seen:
    a, b, kind, _, first_at, first_message, _, _ = row
    return Seen(first_at, first_message, a, b, kind)  # type: ignore[arg-type]  # rows are untyped


def _around_query(end: str, condition: str) -> str:
    """Rows from the latest minute before t's own, of its own, and of the first minute after."""
    same = f"x.{end} = q.id and {condition.format(row='x')}"
    return f"""
        select q.id, q.at, {SIGHTING_COLUMNS} from {{asked}} q join sightings s on s.{end} = q.id
        and s.minute >= coalesce((select max(x.minute) from sightings x where {same} and x.minute < q.minute), q.minute)
        and s.minute <= coalesce((select min(x.minute) from sightings x where {same} and x.minute > q.minute), q.minute)
        where {condition.format(row="s")}"""  # noqa: S608 - names of ours


OWNING: Final = "{row}.stands and not {row}.apart and {row}.kind in ('manual', 'declared')"

AROUND: Final = {
    "browsers": _around_query("a_id", "{row}.browser and " + OWNING),
    "owners": _around_query("b_id", "{row}.browser and " + OWNING),
}

PAIR: Final = f"""
    select q.at, {SIGHTING_COLUMNS} from {{asked}} q cross join ({{kinds}}) k
    join sightings s on s.a_id = q.a_id and s.b_id = q.b_id and s.kind = k.kind
    and s.minute >= coalesce((select max(x.minute) from sightings x where x.a_id = q.a_id and x.b_id = q.b_id
                              and x.kind = k.kind and x.stands and x.minute < q.minute), q.minute)
    and s.minute <= coalesce((select min(x.minute) from sightings x where x.a_id = q.a_id and x.b_id = q.b_id
                              and x.kind = k.kind and x.stands and x.minute > q.minute), q.minute)
    where s.stands and not s.apart"""  # noqa: S608 - names of ours

PAIRS: Final = """
    select distinct l.a_id, l.b_id from {asked} q join links l on l.a_id = q.a_id and l.b_id = q.b_id
    where l.stands and not l.apart and l.kind in ('manual', 'declared')"""
