"""May a request to this destination leave now? One gate a destination, shared by the threads that send to it.

``Windows`` counts requests, a set of them for each tier of requests that a destination limits apart. ``Gate`` is the
circuit breaker around them: after five failures in a row nothing leaves for a second, then two, four … up to a minute;
then one small probe decides. So a dead destination costs a few deliveries an attempt, not the backlog.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

Limit: TypeAlias = tuple[int, float]
"""So many requests within so many seconds."""

LONGEST_SLOT_SECONDS: Final = 5.0
"""A request that would wait longer for its turn is put off: others, of another tier, need not wait behind it."""

FAILURES: Final = 5
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
REFUSED_ONES: Final = 25
"""Single events refused in a row, with none taken, after which it is not the events: the backlog is spared."""

PROBE: Final = 1
"""How many deliveries a probe risks."""


class Windows:
    """Sliding windows: of the requests that begin in any so many seconds there are never more than so many.

    Threads share it; slots are given out in the order in which they were asked for. It remembers as many times as the
    largest limit counts. ``Windows((1, 0.02))`` spaces requests evenly, ``Windows((75, 1.0), (750, 60.0))`` lets 75
    go at once.
    """

    def __init__(self, *limits: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits = limits
        self._given = [deque[float](maxlen=most) for most, _ in limits]
        self._not_before = 0.0

    def reserve(self, at_most: float = float("inf")) -> float:
        """Take the next slot and say in how many seconds it comes.

        If that is more than ``at_most`` seconds none is taken, and the answer is how long it would have been.
        """
        with self._lock:
            now = self._clock()
            slot = max(now, self._not_before)
            for (most, seconds), given in zip(self._limits, self._given, strict=True):
                if len(given) == most:
                    slot = max(slot, given[0] + seconds)
            if slot - now <= at_most:
                for given in self._given:
                    given.append(slot)
            return slot - now

    def wait(self, stop: threading.Event) -> bool:
        """Sleep until it is our turn; False if ``stop`` was set before."""
        return not stop.wait(self.reserve())

    def pause(self, seconds: float) -> None:
        """Give out no slot for so many seconds: we were told that we were too fast."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)

    def lower(self, told: Sequence[Limit]) -> None:
        """Keep to the limits we were told where they are lower than ours over the same time; never to higher ones."""
        with self._lock:
            for number, (most, seconds) in enumerate(self._limits):
                new = min([most, *(one for one, over in told if over == seconds and one > 0)])
                if new < most:
                    self._limits = (*self._limits[:number], (new, seconds), *self._limits[number + 1 :])
                    self._given[number] = deque(self._given[number], maxlen=new)


class Gate:
    """Rate limits and circuit breaker.

    Every ``enter`` that says yes is followed by ``succeeded``, ``failed`` or, where the answer tells nothing about
    the destination's health, ``undecided``.

    Args: tiers are the limits of each kind of request, by the name that ``Request.tier`` calls it.
    """

    def __init__(self, tiers: Mapping[str, tuple[Limit, ...]], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows = {tier: Windows(*limits, clock=clock) for tier, limits in tiers.items()}
        self._lock = threading.Lock()
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

    def enter(self, stop: threading.Event, tier: str = "") -> bool:
        """Wait for a slot and say whether the request may leave.

        False if the gate is shut, if ``stop`` is set, or if the next slot of this tier is too far away to wait for:
        ``slot_seconds`` says how far.
        """
        with self._lock:
            if self._clock() < self._closed_until or self._probing:
                return False
            probe = self._probing = self._failures >= FAILURES
        seconds = self._windows[tier].reserve(LONGEST_SLOT_SECONDS)
        if seconds <= LONGEST_SLOT_SECONDS and not stop.wait(seconds):
            return True
        with self._lock:
            self._probing = self._probing and not probe
        return False

    def slot_seconds(self, tier: str) -> float:
        """In how many seconds a request of this tier could leave, as far as its limits are concerned."""
        return self._windows[tier].reserve(-1.0)

    def throttled(self, tier: str, pause_seconds: float) -> None:
        """The destination works, and had too many requests of this tier: the others go on."""
        self._windows[tier].pause(pause_seconds)
        self.undecided()

    def told(self, tier: str, limits: Sequence[Limit]) -> None:
        """The limits that the destination says this tier has."""
        self._windows[tier].lower(limits)

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
