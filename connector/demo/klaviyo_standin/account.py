"""The account behind the stand-in: its people, its events, its settings, and what happens there later.

Klaviyo answers 201 or 202 and does the work afterwards. What is left to do waits here until its time has come, or until
``settle`` says that enough time has passed.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.demo.klaviyo_standin.history import KLAVIYO, Event, History
from connector.demo.klaviyo_standin.people import People, Profile
from connector.messages import SECOND, Milliseconds

CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was answered like a success and is gone, or is not where it was meant to be."""

    reason: str
    what: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in. names are the variable parts of its path, base is our own scheme and host."""

    base: str
    path: str
    names: tuple[str, ...]
    query: Mapping[str, str]
    document: Any
    size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; no body without a document."""

    status: int
    document: Mapping[str, Any] | None = None


@dataclass(eq=False, slots=True)
class Webhook:
    """A subscription. failing_since is when its deliveries began to fail."""

    id: str
    name: str
    description: str | None
    endpoint_url: str
    secret_key: str
    topics: list[str]
    created: Milliseconds
    updated: Milliseconds
    enabled: bool = True
    failing_since: Milliseconds | None = None
    waiting: list[tuple[str, Event]] = field(default_factory=list)


class Account:
    """Everything that Klaviyo remembers of one account. Not safe for threads: the server has the lock."""

    def __init__(
        self,
        account_id: str,
        clock: Callable[[], Milliseconds],
        later_ms: int,
        *,
        multi_email: bool = False,
        merges_phone: bool = False,
    ) -> None:
        self.id = account_id
        self.clock = clock
        self.later_ms = later_ms
        self.people = People(
            lambda: self.name(26, CROCKFORD), self._on_merge, multi_email=multi_email, merges_phone=merges_phone
        )
        self.history = History(self.name)
        self.webhooks: dict[str, Webhook] = {}
        self.tracking: dict[str, Any] = {}
        self.dropped: list[Dropped] = []
        self.consents: list[tuple[str, Any]] = []
        self._jobs: list[tuple[Milliseconds, int, Callable[[], None]]] = []
        self._named = 0

    def name(self, length: int, alphabet: str = BASE62) -> str:
        """A new id: the same ones in the same order, whoever asks, so that a test can be repeated."""
        self._named += 1
        number = int.from_bytes(hashlib.sha256(f"{self.id}/{self._named}".encode()).digest(), "big")
        letters = []
        for _ in range(length):
            number, digit = divmod(number, len(alphabet))
            letters.append(alphabet[digit])
        return "01" + "".join(letters[2:]) if alphabet is CROCKFORD else "".join(letters)

    def later(self, work: Callable[[], None]) -> None:
        """Do this when its time has come."""
        self._named += 1
        heapq.heappush(self._jobs, (self.clock() + self.later_ms, self._named, work))

    def catch_up(self, *, everything: bool = False) -> None:
        """Do what is due; everything that waits, if told so."""
        now = self.clock()
        while self._jobs and (everything or self._jobs[0][0] <= now):
            heapq.heappop(self._jobs)[2]()
        self.history.show(None if everything else now)
        if everything:
            for profile in self.people.all.values():
                profile.visible_at = min(profile.visible_at, now)

    def visible(self, profile: Profile) -> bool:
        """Is it readable yet? What an event made is not at once."""
        return profile.visible_at <= self.clock()

    def _on_merge(self, into: Profile, source: Profile) -> None:
        """Klaviyo tells of a merge by an event of the survivor."""
        now = self.clock()
        metric = self.history.metric("Merged Profile", KLAVIYO, now)
        event = self.history.add(metric, into, now // SECOND, {}, f"merged-{source.id}", due=now)
        if event is not None:
            self.announce(event)

    def announce(self, event: Event) -> None:
        """Leave the event with every webhook that has its topic; ``mail`` delivers."""
        for webhook in self.webhooks.values():
            if webhook.enabled and topic(event) in webhook.topics:
                webhook.waiting.append((topic(event), event))


def topic(event: Event) -> str:
    """The webhook topic of an event, of which there is one for every metric."""
    return "" if event.metric is None else topic_of(event.metric.name, event.metric.service)


def topic_of(name: str, service: str) -> str:
    """``Opened Email`` of Klaviyo is ``event:klaviyo.opened_email``."""
    return f"event:{service}.{name.lower().replace(' ', '_')}"
