"""A batch of messages folded: what it says about each identifier, link, mention and consent, each said once.

Only minima, maxima and unions, so that the order and the number of messages cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from connector.messages import MINUTE, Identifier, Message, Milliseconds

Moment = tuple[Milliseconds, str]
"""When, and by which message: compared as a pair, so that ties never depend on arrival."""

Key = tuple[Identifier, Identifier, str, int]
"""A sighting's place: stronger and weaker identifier, kind, minute."""


@dataclass(slots=True)
class Lesson:
    """What one identifier is told by a batch."""

    first: Moment
    last_at: Milliseconds
    carried_at: Milliseconds | None = None


@dataclass(slots=True)
class Sighting:
    first: Moment
    last: Moment


def fold(batch: Iterable[Message]) -> tuple[dict[Identifier, Lesson], dict[Key, Sighting]]:
    """What a batch says about each identifier, and the sightings of each link and minute."""
    lessons: dict[Identifier, Lesson] = {}
    seen: dict[Key, Sighting] = {}
    for message in batch:
        moment = (message.at, message.key)
        for identifier in (*message.identifiers, *message.carried):
            lesson = lessons.get(identifier)
            if lesson is None:
                lessons[identifier] = Lesson(moment, message.at)
            else:
                lesson.first = min(lesson.first, moment)
                lesson.last_at = max(lesson.last_at, message.at)
        for identifier in message.carried:
            lesson = lessons[identifier]
            lesson.carried_at = message.at if lesson.carried_at is None else min(lesson.carried_at, message.at)
        for stronger, weaker, kind in message.links:
            key = (stronger, weaker, kind, message.at // MINUTE)
            sighting = seen.get(key)
            if sighting is None:
                seen[key] = Sighting(moment, moment)
            else:
                sighting.first = min(sighting.first, moment)
                sighting.last = max(sighting.last, moment)
    return lessons, seen
