"""May a request to this destination leave now? One gate a destination, shared by the threads that send to it.

It spaces requests (Segment asks partner streams for at most 50 a second), keeps a pause the destination asked
for, and is a circuit breaker: after five failures in a row nothing leaves for a second, then two, four … up to a
minute; then one small probe decides. So a dead destination costs a few deliveries an attempt, not the backlog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PER_SECOND: Final = 50.0
"""Source: https://segment.com/docs/partners/sources/ (for one process; several share no clock)."""

FAILURES: Final = 5
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
REFUSED_ONES: Final = 25
"""Single events refused in a row, with none taken, after which it is not the events: the backlog is spared."""

PROBE: Final = 1
"""How many deliveries a probe risks."""


class Gate:
    """Rate limit and circuit breaker.

    Every ``enter`` that says yes is followed by ``succeeded``, ``failed`` or, where the answer tells nothing about
    the destination's health, ``undecided``.
    """

    def __init__(self, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spacing = 1.0 / per_second
        self._lock = threading.Lock()
        self._next_slot = 0.0
        self._closed_until = 0.0
        self._failures = 0  # in a row
        self._refused_ones = 0  # in a row
        self._pauses = 0  # in a row, without a success between them
        self._probing = False

    def size(self, most: int) -> int:
        """How many deliveries are worth claiming now: none, one for a probe, or ``most``."""
        with self._lock:
            if self._clock() < self._closed_until or self._probing:
                return 0
            return PROBE if self._failures >= FAILURES else most

    def enter(self, stop: threading.Event) -> bool:
        """Wait for a slot and say whether the request may leave; False if the gate is shut or ``stop`` is set."""
        with self._lock:
            now = self._clock()
            if now < self._closed_until or self._probing:
                return False
            probe = self._probing = self._failures >= FAILURES
            slot = max(now, self._next_slot)
            self._next_slot = slot + self._spacing
        if not stop.wait(slot - now):
            return True
        with self._lock:
            self._probing = self._probing and not probe
        return False

    def succeeded(self) -> None:
        """The destination answered as it should: whatever failed before is forgotten."""
        with self._lock:
            self._failures = self._pauses = self._refused_ones = 0
            self._probing = False

    def undecided(self) -> None:
        """The destination works, but has taken nothing: no news, neither good nor bad."""
        with self._lock:
            self._probing = False

    def refused_one(self) -> None:
        """The destination works, and will not have one certain event: our event's fault, unless all have it."""
        with self._lock:
            self._refused_ones += 1
            self._probing = False
            everything = self._refused_ones >= REFUSED_ONES
        if everything:
            self.failed(at_once=True)

    def failed(self, *, at_once: bool = False, pause_seconds: float = 0.0) -> None:
        """The destination did not take a request.

        Args: at_once shuts the gate without waiting for five in a row (it would refuse everything alike).
        pause_seconds is what the destination asked for.
        """
        with self._lock:
            now = self._clock()
            self._failures = max(self._failures + 1, FAILURES if at_once else 0)
            # Requests that were under way when the gate shut come back as failures too: they are no news.
            if self._failures >= FAILURES and (self._probing or now >= self._closed_until):
                pause_seconds = max(pause_seconds, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._pauses))
                self._pauses = min(self._pauses + 1, 10)
            self._closed_until = max(self._closed_until, now + pause_seconds)
            self._probing = False
