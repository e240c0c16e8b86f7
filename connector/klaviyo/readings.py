"""How far each metric of Klaviyo's was read, and the readings under way: the table ``polls``, a row a metric.

A reading is stored with every page of it, in the transaction that stores the page, so that it goes on where it was,
whatever was killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.klaviyo import pages
from connector.klaviyo.records import PREFIX
from connector.messages import DAY, Milliseconds
from connector.poll_mapping import Poll
from connector.tables import facts, inbox, polls

Part = Literal["recent", "past"]
PARTS: Final[tuple[Part, ...]] = ("recent", "past")

SWEEP_EVERY: Final = DAY

COLUMNS: Final = ("metric_id", "name", "began_at", "watermark", "swept_at", "task")


@dataclass(frozen=True, slots=True)
class Reading:
    """What happened from ``since`` on, before ``until`` if that is not None, page by page, the oldest first.

    query: of the next page; None where it begins, or begins again. reached: the newest event read. size: how many
    events a page. history: was it begun for what happened before the connector came?
    """

    since: Milliseconds
    until: Milliseconds | None
    query: Mapping[str, str] | None = None
    reached: Milliseconds | None = None
    size: str = pages.FULL
    history: bool = False

    def again(self, size: str = pages.FULL) -> Reading:
        """The same reading from the newest event on: its place is not known any more, or pages have to be smaller."""
        return replace(self, since=max(self.since, self.reached or self.since), query=None, size=size)


@dataclass(frozen=True, slots=True)
class Metric:
    """A row. What is older than began_at is history. watermark: everything up to here was read once.

    recent: what came since; past: history, and what comes late. Both may be under way at once: the first is short, and
    goes first.
    """

    id: str
    name: str
    began_at: Milliseconds
    watermark: Milliseconds
    swept_at: Milliseconds
    recent: Reading | None = None
    past: Reading | None = None

    def reading(self, part: Part) -> Reading | None:
        return self.recent if part == "recent" else self.past

    def at(self, part: Part, reading: Reading | None) -> Metric:
        """The row with one of its readings changed."""
        return replace(self, recent=reading) if part == "recent" else replace(self, past=reading)


def first(metric_id: str, name: str, began_at: Milliseconds, now: Milliseconds, poll: Poll) -> Metric:
    """The row of a metric that was never read: what is new from now on, and the history before."""
    past = Reading(now - poll.history_ms, now, history=True) if poll.history_ms else None
    return Metric(metric_id, name, began_at, now, now, past=past)


def planned(metric: Metric, began: Milliseconds, now: Milliseconds, poll: Poll) -> Metric:
    """The row with what is to be read now. A clock that was ahead of the world's is not believed any longer."""
    recent = metric.recent or Reading(min(metric.watermark, now) - poll.overlap_ms, None)
    metric = replace(metric, began_at=min(metric.began_at, began), recent=recent)
    if metric.past is None and not now - SWEEP_EVERY < metric.swept_at <= now:
        since = max(now - poll.sweep_ms, metric.began_at - poll.history_ms)
        metric = replace(metric, past=Reading(since, now), swept_at=now)
    return metric


def read_on(metric: Metric, part: Part, reached: Milliseconds | None, following: Mapping[str, str] | None) -> Metric:
    """The row after a page of one of its readings; after the last page that reading is over."""
    reading = metric.reading(part)
    assert reading is not None  # noqa: S101 - it has just been read
    newest = max((one for one in (reading.reached, reached) if one is not None), default=None)
    if part == "recent" and newest is not None:
        metric = replace(metric, watermark=max(metric.watermark, newest))
    return metric.at(part, None if following is None else replace(reading, query=following, reached=newest))


# -- the table ----------------------------------------------------------------------------------------------------


def load(tx: sa.Connection, source: str) -> dict[str, Metric]:
    """The rows of a source, by the metric's id."""
    found = tx.execute(sa.select(*(polls.c[name] for name in COLUMNS)).where(polls.c.source == source))
    return {row.metric_id: _metric(row) for row in found}


def save(tx: sa.Connection, source: str, metric: Metric) -> None:
    """Write a row, whether it is there or not."""
    under_way = {part: asdict(one) for part in PARTS if (one := metric.reading(part)) is not None}
    task = orjson.dumps(under_way).decode() if under_way else None
    row = (source, metric.id, metric.name, metric.began_at, metric.watermark, metric.swept_at, task)
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "metric_id")
    again = f"on conflict (source, metric_id) do update set {changes}"
    bulk.insert_rows(tx, polls, ("source", *COLUMNS), [row], again)


def began_at(tx: sa.Connection, source: str, now: Milliseconds) -> Milliseconds:
    """Since when events of this source count by its own channel: the first reading, or the webhook's first event.

    Remembered, whether there was anything to read or not. A time that is to come was told by a clock that was wrong.
    """
    fact = f"{source}.began_at"
    known = tx.execute(sa.select(facts.c.value).where(facts.c.name == fact)).scalar()
    began = _first_event(tx, source) if known is None else int(known)
    if began is None or began > now:
        began = now
    if known != str(began):
        again = "on conflict (name) do update set value = excluded.value"
        bulk.insert_rows(tx, facts, ("name", "value"), [(fact, str(began))], again)
    return began


def began(tx: sa.Connection, sources: Collection[str]) -> dict[str, Milliseconds | None]:
    """Since when events of these sources count by their own channel, None if that has not begun."""
    facts_of = {f"{source}.began_at": source for source in sources}
    known: dict[str, str] = dict(bulk.select_by(tx, facts, ("name", "value"), "name", facts_of))
    return {source: int(known[fact]) if fact in known else None for fact, source in facts_of.items()}


def _first_event(tx: sa.Connection, source: str) -> Milliseconds | None:
    earliest = sa.select(sa.func.min(inbox.c.received_at)).where(
        inbox.c.source == source, inbox.c.message_id.not_like(f"{PREFIX}%")
    )
    found: Milliseconds | None = tx.execute(earliest).scalar()
    return found


def _metric(row: Any) -> Metric:
    task: dict[str, Any] = orjson.loads(row.task) if row.task else {}
    recent, past = (Reading(**task[part]) if part in task else None for part in PARTS)
    return Metric(row.metric_id, row.name, row.began_at, row.watermark, row.swept_at, recent, past)
