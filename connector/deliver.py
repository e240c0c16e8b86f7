"""From a pending row of the outbox to the destination's answer: claim, send, settle.

Each round claims a batch in one transaction, talks to the destination with no
transaction open, and settles what became of each delivery in another. Seconds of patience are tenacity's, inside an
attempt; hours are the outbox's (``retry``). Whatever dies in between leaves a claim that runs out by itself.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

import tenacity

from connector import queue
from connector.config import Config
from connector.destinations import Destination, Verdict
from connector.errors import StoreUnavailable, log_failure
from connector.exchange import TIMEOUTS, Exchange, Timeouts
from connector.gate import Gate
from connector.messages import MINUTE, Milliseconds, now_ms
from connector.queue import Delivery, Settlement
from connector.retry import next_attempt, too_late_to_repeat
from connector.store import Store

log = logging.getLogger("connector")


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient an attempt is. Only tests need others than these.

    One request: 3 tries, each at most 3 s to connect (times the few addresses a name has, say 4), 10 s to the first
    byte and 5 s for the rest of the answer, with two waits of at most 5 s between them: 3 · 27 + 2 · 5 = 91 s. No
    request begins later than 180 s after the claim, so a round ends within 271 s: the claim lasts 300.
    After SIGTERM no try is begun; the one under way ends within 15 s of a connected socket.
    """

    batch: int = 100
    tries: int = 3
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 5.0
    timeouts: Timeouts = TIMEOUTS
    sending_ms: Milliseconds = 3 * MINUTE
    claim_ms: Milliseconds = 5 * MINUTE
    idle_seconds: float = 0.5


LIMITS: Final = Limits()


class Deliverer:
    """Sends what is due to one destination. Several threads may run the same one: they share its gate."""

    def __init__(
        self,
        store: Store,
        config: Config,
        destination: Destination,
        *,
        limits: Limits = LIMITS,
        gate: Gate | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.config = config
        self.destination = destination
        self.limits = limits
        self.gate = gate or Gate()
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._exchange = Exchange(limits.timeouts)

    def run(self, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then end the current try, hand back the rest, and return."""
        try:
            while not stop.is_set():
                if not self._deliver_quietly(stop):
                    stop.wait(self.limits.idle_seconds)
        finally:
            self.close()

    def deliver_once(self, now: Milliseconds, stop: threading.Event | None = None) -> int:
        """One round: how many deliveries were settled (what was handed back does not count).

        Raises: StoreUnavailable; what had been sent by then is sent again when its claim has run out, under the
        same messageId.
        """
        claimer = uuid4().hex
        deliveries = self._claim(now, claimer)
        if not deliveries:
            return 0
        clock = _Clock(now)
        settlements = [*self._send(deliveries, clock, stop or threading.Event())]
        return self._settle(settlements, claimer, clock.now())

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self._exchange.close()

    def _deliver_quietly(self, stop: threading.Event) -> int:
        try:
            return self.deliver_once(now_ms(), stop)
        except StoreUnavailable:
            log.warning("deliver %s: the store did not answer; trying again", self.destination.NAME)
        except Exception as error:  # a worker outlives its bugs; the claim runs out and others go on
            log_failure(f"deliver {self.destination.NAME}", error)
        return 0

    def _claim(self, now: Milliseconds, claimer: str) -> list[Delivery]:
        size = self.gate.size(self.limits.batch)
        if not size or not self.destination.ready(self.config):
            return []
        name = self.destination.NAME
        with self.store.reading() as tx:
            if not queue.due(tx, name, now=now):
                return []
        with self.store.writing() as tx:
            return queue.claim(tx, name, limit=size, now=now, claimer=claimer, for_ms=self.limits.claim_ms)

    def _settle(self, settlements: Sequence[Settlement], claimer: str, now: Milliseconds) -> int:
        patient = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_fixed(0.2),
            reraise=True,
        )
        for attempt in patient:
            with attempt, self.store.writing() as tx:
                fates = queue.settle(tx, self.destination.NAME, settlements, claimer=claimer, now=now)
        told = {fate: number for fate, number in fates.items() if number}
        log.info("deliver %s: %s", self.destination.NAME, told, extra={"action": "deliver", "claim": claimer})
        return sum(fates.values()) - fates["handed back"]

    def _send(self, deliveries: Sequence[Delivery], clock: _Clock, stop: threading.Event) -> Iterator[Settlement]:
        good: list[Delivery] = []
        for one in deliveries:
            unfit = self._unfit(one, clock.began)
            if unfit is None:
                good.append(one)
            else:
                yield unfit
        todo = deque(self.destination.batches(good))
        while todo:
            batch = todo.popleft()
            in_time = clock.now() < clock.began + self.limits.sending_ms
            verdict = self._ask(batch, clock, stop) if in_time else None
            if verdict is None:
                yield queue.handed_back(batch)
            elif verdict.status == "split" and len(batch) > 1:
                middle = len(batch) // 2
                todo.extendleft((batch[middle:], batch[:middle]))
            else:
                yield from self._judge(batch, verdict, clock)

    def _unfit(self, one: Delivery, now: Milliseconds) -> Settlement | None:
        """Why a delivery dies unsent: nobody would tell us that it was dropped, or a repeat would count twice."""
        if too_late_to_repeat(one.maybe_sent_at, now):
            return queue.dead([one], "unknown", "may have arrived, too long ago to be repeated safely; retry by hand")
        problems = self.destination.problems(one.body)
        return queue.dead([one], "refused", f"not sent: {'; '.join(problems)}") if problems else None

    def _judge(self, batch: Sequence[Delivery], verdict: Verdict, clock: _Clock) -> Iterator[Settlement]:
        """What to do about an answer. A batch keeps one jitter, so that it comes back as a batch."""
        if verdict.status == "delivered":
            yield queue.delivered(batch, verdict.detail)
            return
        answer: queue.Answer = "unknown" if verdict.status == "unknown" else "refused"
        if not verdict.retryable:
            yield queue.dead(batch, answer, verdict.detail)
            return
        jitter = self._rng.random()
        by_due: dict[Milliseconds | None, list[Delivery]] = {}
        for one in batch:
            due_at = next_attempt(
                attempts=one.attempts + 1,
                pending_at=one.pending_at,
                # Our claim marked it as maybe sent; only an unknown answer leaves that mark standing.
                maybe_sent_at=clock.began if answer == "unknown" and one.maybe_sent_at is None else one.maybe_sent_at,
                now=clock.now(),
                jitter=jitter,
                retry_after_seconds=verdict.retry_after_seconds,
            )
            by_due.setdefault(due_at, []).append(one)
        for due_at, ones in by_due.items():
            if due_at is None:
                yield queue.dead(ones, answer, f"given up: {verdict.detail}")
            else:
                yield queue.postponed(ones, answer, verdict.detail, due_at)

    def _ask(self, batch: Sequence[Delivery], clock: _Clock, stop: threading.Event) -> Verdict | None:
        """The destination's answer after a few quick tries, None if nothing was sent."""
        verdicts: list[Verdict] = []

        def once() -> bool:
            if not self.gate.enter(stop):
                return False
            retries = max(one.attempts for one in batch) + len(verdicts)
            request = self.destination.build_request(batch, self.config, clock.now(), retries)
            verdicts.append(self._exchange.post(self.destination, request))
            self._tell_gate(verdicts[-1], len(batch))
            asked = verdicts[-1].retry_after_seconds or 0.0
            return verdicts[-1].retryable and asked <= self.limits.longest_wait_seconds

        again = tenacity.Retrying(
            retry=tenacity.retry_if_result(bool),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self.limits.tries), tenacity.stop_when_event_set(stop)),
            wait=lambda state: self._quick_wait(state.attempt_number, verdicts[-1]),
            sleep=tenacity.sleep_using_event(stop),
            retry_error_callback=lambda _state: False,
        )
        again(once)
        return _together(verdicts)

    def _quick_wait(self, tries: int, verdict: Verdict) -> float:
        """Seconds until the next quick try: what was asked for, else 0.5, 1, 2 … give or take half."""
        if verdict.retry_after_seconds:
            return verdict.retry_after_seconds + 0.05  # the gate keeps the same pause: do not come too early
        doubled = self.limits.first_wait_seconds * (1 << (tries - 1))
        return min(self.limits.longest_wait_seconds, doubled * (0.5 + self._rng.random()))

    def _tell_gate(self, verdict: Verdict, events: int) -> None:
        if verdict.status == "delivered":
            self.gate.succeeded()
        elif verdict.status == "split" and events > 1:
            self.gate.undecided()  # something of ours is bad, and the halves will tell what
        elif verdict.status == "split":
            self.gate.refused_one()
        else:
            self.gate.failed(at_once=verdict.at_once, pause_seconds=verdict.retry_after_seconds or 0.0)


class _Clock:
    """Wall time that starts where the round was told and goes on with the monotonic clock."""

    def __init__(self, began: Milliseconds) -> None:
        self.began = began
        self._monotonic = time.monotonic()

    def now(self) -> Milliseconds:
        return self.began + round((time.monotonic() - self._monotonic) * 1000)


def _together(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The last answer counts, but a refusal cannot take back an earlier try that may have arrived."""
    if not verdicts:
        return None
    last = verdicts[-1]
    if last.status == "refused" and last.retryable and any(one.status == "unknown" for one in verdicts):
        return replace(last, status="unknown", detail=f"{last.detail}, after a try without an answer: may have arrived")
    return last
