"""One attempt at one request: a few quick tries within the gate, and the questions that an answer leads to.

Seconds of patience are tenacity's, here; hours are the outbox's. The places where a try may end without having begun
are told apart from answers: ``NotSent``.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import tenacity

from connector.config import Config
from connector.destinations import Destination, Request, Verdict
from connector.exchange import TIMEOUTS, Exchange, Timeouts
from connector.gate import LONGEST_SLOT_SECONDS, Gate
from connector.messages import MINUTE, SECOND, Milliseconds
from connector.queue import Delivery

MOST_QUESTIONS: Final = 5
"""How many requests one attempt may lead to: what a destination asks next never leads back, and this makes sure."""

UNTOLD_PAUSE_SECONDS: Final = 1.0
"""How long a tier rests if the destination had too many requests and does not say when it can have more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient an attempt is. Only tests need others than these.

    One request: 3 tries, each at most 3 s to connect (times the few addresses a name has, say 4), 10 s to the first
    byte and 5 s for the rest of the answer, with two waits of at most 5 s between them: 3 · 27 + 2 · 5 = 91 s; what it
    leads to is asked once, 4 · (27 + 5) = 128 s at most, instead of the other tries. No request begins later than
    120 s after the claim, so a round ends within 280 s: the claim lasts 300.
    After SIGTERM no try is begun; the one under way ends within 15 s of a connected socket.

    batch: how many deliveries to claim, None for as many as the destination says.
    """

    batch: int | None = None
    tries: int = 3
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 5.0
    timeouts: Timeouts = TIMEOUTS
    sending_ms: Milliseconds = 2 * MINUTE
    claim_ms: Milliseconds = 5 * MINUTE
    idle_seconds: float = 0.5


class Clock:
    """Wall time that starts where the round was told and goes on with the monotonic clock."""

    def __init__(self, began: Milliseconds) -> None:
        self.began = began
        self._monotonic = time.monotonic()

    def now(self) -> Milliseconds:
        return self.began + round((time.monotonic() - self._monotonic) * SECOND)


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing left, and no attempt was made. due_at: when there is room again, where limits were the reason."""

    due_at: Milliseconds | None = None


class Asker:
    """Asks a destination. Threads share one."""

    def __init__(
        self, destination: Destination, config: Config, limits: Limits, gate: Gate, rng: random.Random
    ) -> None:
        self.destination = destination
        self.config = config
        self.limits = limits
        self.gate = gate
        self._rng = rng
        self._exchange = Exchange(limits.timeouts)

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self._exchange.close()

    def ask(self, batch: Sequence[Delivery], clock: Clock, stop: threading.Event) -> Verdict | NotSent:
        """The destination's verdict on these deliveries after a few quick tries."""
        verdicts: list[Verdict] = []
        tier = self.destination.tier(batch)

        def once() -> bool:
            if not self.gate.enter(stop, tier):
                return False
            retries = max(one.attempts for one in batch) + len(verdicts)
            request = self.destination.build_request(batch, self.config, clock.now(), retries)
            first = self._exchange.post(self.destination, request)
            self._tell_gate(first, tier, len(batch))
            verdicts.append(self._followed(first, stop))
            asked = first.retry_after_seconds or 0.0
            return first.retryable and first.then is None and asked <= self.limits.longest_wait_seconds

        again = tenacity.Retrying(
            retry=tenacity.retry_if_result(bool),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self.limits.tries), tenacity.stop_when_event_set(stop)),
            wait=lambda state: self._quick_wait(state.attempt_number, verdicts[-1]),
            sleep=tenacity.sleep_using_event(stop),
            retry_error_callback=lambda _state: False,
        )
        again(once)
        return _together(verdicts) or self._not_sent(tier, clock)

    def _followed(self, verdict: Verdict, stop: threading.Event) -> Verdict:
        """The verdict that the answers to the questions after it come to; its detail tells each step."""
        told = [verdict.detail]
        for _ in range(MOST_QUESTIONS - 1):
            if verdict.then is None:
                break
            verdict = self._next(verdict.then, stop)
            told.append(verdict.detail)
        return replace(verdict, detail="; then ".join(told), then=None)

    def _next(self, request: Request, stop: threading.Event) -> Verdict:
        if not self.gate.enter(stop, request.tier):
            seconds = self.gate.slot_seconds(request.tier)
            return Verdict(
                "refused", "there was no time for the next step", retryable=True, retry_after_seconds=seconds
            )
        verdict = self._exchange.post(self.destination, request)
        self._tell_gate(verdict, request.tier, 1)
        return verdict

    def _not_sent(self, tier: str, clock: Clock) -> NotSent:
        seconds = self.gate.slot_seconds(tier)
        if seconds <= LONGEST_SLOT_SECONDS:
            return NotSent()
        return NotSent(clock.now() // SECOND * SECOND + ceil(seconds + 1) * SECOND)  # alike for many, to settle at once

    def _quick_wait(self, tries: int, verdict: Verdict) -> float:
        """Seconds until the next quick try: what was asked for, else 0.5, 1, 2 … give or take half."""
        if verdict.retry_after_seconds:
            return verdict.retry_after_seconds + 0.05  # the gate keeps the same pause: do not come too early
        doubled = self.limits.first_wait_seconds * (1 << (tries - 1))
        return min(self.limits.longest_wait_seconds, doubled * (0.5 + self._rng.random()))

    def _tell_gate(self, verdict: Verdict, tier: str, events: int) -> None:
        if verdict.limits:
            self.gate.told(tier, verdict.limits)
        if verdict.status == "delivered":
            self.gate.succeeded()
        elif verdict.throttled:
            asked = verdict.retry_after_seconds
            self.gate.throttled(tier, UNTOLD_PAUSE_SECONDS if asked is None else asked)
        elif verdict.then is not None or (verdict.status == "split" and len(verdict.bad) < events > 1):
            self.gate.undecided()  # something of ours is bad, and the halves will tell what
        elif verdict.status == "split":
            for _ in range(events):
                self.gate.refused_one()
        else:
            self.gate.failed(at_once=verdict.at_once, pause_seconds=verdict.retry_after_seconds or 0.0)


def _together(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The last answer counts, but a refusal cannot take back an earlier try that may have arrived."""
    if not verdicts:
        return None
    last = verdicts[-1]
    if last.status == "refused" and last.retryable and any(one.status == "unknown" for one in verdicts):
        return replace(last, status="unknown", detail=f"{last.detail}, after a try without an answer: may have arrived")
    return last
