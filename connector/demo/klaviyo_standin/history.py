"""Klaviyo's metrics and events: taken in at once, readable later, and read in order of second and id."""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from connector.demo.klaviyo_standin.people import Profile
from connector.messages import SECOND, Milliseconds, iso

KLAVIYO: Final = "klaviyo"
"""The service of Klaviyo's own metrics; ours is ``api``."""

GREGORIAN: Final = 0x01B21DD213814000
"""The Unix epoch in hundreds of nanoseconds since 1582. Source: https://www.rfc-editor.org/rfc/rfc9562#section-5.1"""

Place = tuple[int, str]
"""Where an event stands in the order: epoch second and id."""


@dataclass(eq=False, slots=True)
class Metric:
    """A name under an integration; the same name under two of them is two metrics."""

    id: str
    name: str
    service: str
    created: Milliseconds

    @property
    def integration(self) -> dict[str, Any]:
        """Klaviyo's own is called Klaviyo, that of its API is called API."""
        if self.service == KLAVIYO:
            return {"object": "integration", "id": "0eMvjm", "name": "Klaviyo", "category": "Internal"}
        name = "API" if self.service == "api" else self.service
        return {"object": "integration", "id": "4qYGmQ", "key": self.service, "name": name, "category": "API"}


@dataclass(eq=False, slots=True)
class Event:
    """An event; without a profile once that was deleted, without a metric once nobody can say which it was."""

    id: str
    metric: Metric | None
    profile: Profile | None
    second: int
    properties: dict[str, Any]
    unique_id: str
    backfill: bool = False
    given: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where it stands in the order."""
        return self.second, self.id

    @property
    def uuid(self) -> str:
        """A version 1 UUID whose time is the event's second."""
        ticks = self.second * 10_000_000 + GREGORIAN
        node = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:6], "big")
        fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF | 0x1000, 0x80, 0x01, node)
        return str(UUID(fields=fields))

    def datetime(self, separator: str = "T") -> str:
        """As the API writes it; webhooks have a space where the T is."""
        return f"{iso(self.second * SECOND)[:19].replace('T', separator)}+00:00"


class History:
    """All metrics and events of the account.

    Args: name makes an id of so many characters.
    """

    def __init__(self, name: Callable[[int], str]) -> None:
        self.metrics: dict[str, Metric] = {}
        self.accepted: list[Event] = []
        self.readable: dict[str, Event] = {}
        self._name = name
        self._named: dict[tuple[str, str], Metric] = {}
        self._waiting: list[tuple[Milliseconds, int, Event]] = []
        self._order: dict[str | None, list[Place]] = {None: []}

    def metric(self, name: str, service: str, now: Milliseconds) -> Metric:
        """The metric of this name and service, made on first use."""
        found = self._named.get((name, service))
        if found is None:
            found = self._named[name, service] = Metric(self._name(6), name, service, now)
            self.metrics[found.id] = found
        return found

    def lose_metric(self, name: str) -> None:
        """From now on nobody can say which metric the events of this API metric are of."""
        metric = self._named.pop((name, "api"))
        del self.metrics[metric.id]
        for event in self.accepted:
            if event.metric is metric:
                event.metric = None

    def add(
        self,
        metric: Metric,
        profile: Profile,
        second: int,
        properties: Mapping[str, Any],
        unique_id: str | None,
        *,
        backfill: bool = False,
        given: Mapping[str, str] | None = None,
        due: Milliseconds,
    ) -> Event | None:
        """Take an event in; None if its profile and metric have had one with this unique id, or of this second."""
        unique = unique_id if unique_id is not None else str(second)
        if (metric.id, unique) in profile.unique:
            return None
        profile.unique.add((metric.id, unique))
        event = Event(self._name(11), metric, profile, second, dict(properties), unique, backfill, dict(given or {}))
        event.properties["$event_id"] = properties.get("$event_id", unique)
        profile.events.append(event)
        self.accepted.append(event)
        heapq.heappush(self._waiting, (due, len(self.accepted), event))
        return event

    def show(self, now: Milliseconds | None) -> None:
        """Make readable what is due; everything if no time is given."""
        while self._waiting and (now is None or self._waiting[0][0] <= now):
            event = heapq.heappop(self._waiting)[2]
            self.readable[event.id] = event
            insort(self._order[None], event.place)
            if event.metric is not None:
                insort(self._order.setdefault(event.metric.id, []), event.place)

    def read(self, metric_id: str | None, start: Place, *, backwards: bool = False) -> Iterator[Event]:
        """The readable events after a place, or before it if read backwards; of one metric or of all."""
        order = self._order.get(metric_id, [])
        if backwards:
            end = bisect_left(order, start)
            places: Iterator[Place] = (order[index] for index in range(end - 1, -1, -1))
        else:
            begin = bisect_right(order, start)
            places = (order[index] for index in range(begin, len(order)))
        return (self.readable[place[1]] for place in places)
