"""A story told twice: as it goes today, with Segment's own pair for Klaviyo, and as it goes with the connector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.demo.klaviyo_standin import Event, KlaviyoStandIn, answer
from connector.demo.segment import SegmentStandIn
from connector.messages import HOUR, Milliseconds, iso, parse_time
from connector.store import Store
from tests import klaviyo_today as today
from tests.klaviyo_time import Clock
from tests.klaviyo_town import Town
from tests.running import WRITE_KEY

DAY_OF_STORIES = "2026-11-20"
SITE_KEY, SOURCE_KEY = "the-site", "the-klaviyo-source"

Call = Mapping[str, Any]
Kept = tuple[str, str | None, str | None]
"""(event, userId, anonymousId) of a call as Segment kept it."""


@dataclass(frozen=True, slots=True)
class Mailed:
    """An email event at Klaviyo."""

    at: Milliseconds
    email: str
    metric: str


@dataclass(frozen=True, slots=True)
class Down:
    """Klaviyo refuses the next so many requests for a path."""

    path: str
    times: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the stand-ins hold when a story is over.

    klaviyo: the profiles, each (external id, email, metrics of its events in their order of time), the oldest first.
    segment: the calls it kept in their order of time. journeys: which of them its ids join, as any tool behind Segment
    does that knows no more than they say.
    """

    klaviyo: list[tuple[str | None, str | None, list[str]]]
    segment: list[Kept]
    journeys: list[list[str]]


Story = list[Call | Mailed | Down]


def kept(user: str | None, anonymous: str | None, *events: str) -> list[Kept]:
    """Calls under the same ids, as Segment kept them."""
    return [(event, user, anonymous) for event in events]


def at(time: str) -> Milliseconds:
    """A time of the day of the stories."""
    return parse_time(f"{DAY_OF_STORIES}T{time}Z") or 0


def site(kind: str, time: str, anonymous: str | None = None, user: str | None = None, **parts: Any) -> Call:
    """A call of the site. Args: email becomes a trait, of the context where the call is no identify."""
    ids = {"anonymousId": anonymous, "userId": user}
    email = parts.pop("email", None)
    if email and kind == "identify":
        parts["traits"] = {"email": email}
    elif email:
        parts["context"] = {"traits": {"email": email}}
    given = {name: value for name, value in ids.items() if value is not None}
    return {"type": kind, "messageId": f"{kind}-{time}", "timestamp": iso(at(time)), **given, **parts}


def track(event: str, time: str, anonymous: str | None = None, user: str | None = None, **parts: Any) -> Call:
    return site("track", time, anonymous, user, event=event, **parts)


def mailed(metric: str, time: str, email: str) -> Mailed:
    return Mailed(at(time), email, metric)


Destination = Callable[[KlaviyoStandIn, Iterable[Call]], None]


def as_today(story: Story, destination: Destination = today.destination) -> Told:
    """Segment's own destination writes to Klaviyo, and its own source reads it."""
    with _surroundings() as (clock, segment, klaviyo):
        for one in story:
            if isinstance(one, Mailed):
                clock.at = one.at
                today.post(segment, SOURCE_KEY, today.source([_mail(klaviyo, one)]))
            elif isinstance(one, Down):
                klaviyo.script(*[answer(503)] * one.times, path=one.path)
            else:
                clock.at = parse_time(one["timestamp"]) or 0
                today.post(segment, SITE_KEY, [one])
                destination(klaviyo, [one])
        klaviyo.settle()
        return _told(segment, klaviyo)


def with_connector(
    story: Story,
    store: Store,
    folder: Path,
    *,
    mapping: str = "",
    source_too: bool = False,
    later: Callable[[Town], None] = lambda _town: None,
    dead: int = 0,
    **settings: Any,
) -> Told:
    """The connector gets Segment's calls, writes to Klaviyo and reads it.

    Args: source_too: Segment's Klaviyo source is connected to the connector as well. later: what else happens.
    dead: how much Klaviyo would not have.
    """
    with (
        _surroundings() as (clock, segment, klaviyo),
        Town(folder, store, segment, klaviyo, clock, mapping, **settings) as town,
    ):
        town.works()
        for one in story:
            if isinstance(one, Mailed):
                clock.at = one.at
                event = _mail(klaviyo, one)
                if source_too:
                    town.segment_sends(today.source([event]))
            elif isinstance(one, Down):
                klaviyo.script(*[answer(503)] * one.times, path=one.path)
                continue
            else:
                clock.at = parse_time(one["timestamp"]) or 0
                before = len(segment.accepted)
                today.post(segment, SITE_KEY, [one])
                town.segment_sends(segment.accepted[before:])
            town.works()
            klaviyo.settle()
        clock.passes(2 * HOUR)  # by then every metric that is new is known
        town.finishes()
        later(town)
        klaviyo.settle()
        assert [status for _, status in town.states()].count("dead") == dead
        return _told(segment, klaviyo)


def profiles(klaviyo: KlaviyoStandIn) -> list[tuple[str | None, str | None, list[str]]]:
    return [
        (one.external_id, one.email, [_name(event) for event in sorted(one.events, key=_when)])
        for one in sorted(klaviyo.profiles, key=lambda one: one.created)
    ]


@contextmanager
def _surroundings() -> Iterator[tuple[Clock, SegmentStandIn, KlaviyoStandIn]]:
    clock = Clock(at("09:00:00"))
    with (
        SegmentStandIn(SITE_KEY, SOURCE_KEY, WRITE_KEY, clock=clock) as segment,
        KlaviyoStandIn(clock=clock) as klaviyo,
    ):
        yield clock, segment, klaviyo


def _mail(klaviyo: KlaviyoStandIn, one: Mailed) -> Event:
    event = klaviyo.mail(one.email, one.metric, one.at)
    klaviyo.settle()
    return event


def _told(segment: SegmentStandIn, klaviyo: KlaviyoStandIn) -> Told:
    calls = sorted(segment.accepted, key=lambda call: (call["timestamp"], call["messageId"]))
    rows = [(call.get("event") or call["type"], call.get("userId"), call.get("anonymousId")) for call in calls]
    return Told(profiles(klaviyo), rows, _journeys(rows))


def _journeys(rows: Sequence[Kept]) -> list[list[str]]:
    """The events of each visitor: what shares a userId or an anonymousId with something that does, and so on."""
    groups: list[tuple[set[str], list[int]]] = []
    for place, (_, user, anonymous) in enumerate(rows):
        ids = {one for one in (user and f"user {user}", anonymous and f"browser {anonymous}") if one}
        places = [place]
        for group in [group for group in groups if group[0] & ids]:
            groups.remove(group)
            ids |= group[0]
            places = group[1] + places
        groups.append((ids, sorted(places)))
    return [[rows[place][0] for place in places] for _, places in sorted(groups, key=lambda group: group[1])]


def _name(event: Event) -> str:
    assert event.metric is not None
    return event.metric.name


def _when(event: Event) -> tuple[int, str]:
    return event.second, _name(event)
