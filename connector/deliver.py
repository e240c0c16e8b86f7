"""From a pending row of the outbox to the destination's answer: claim, send, settle.

Each round claims a batch in one transaction, talks to the destination with no
transaction open, and settles what became of each delivery in another. Seconds of patience are tenacity's, inside an
``attempt``; hours are the outbox's (``retry``). Whatever dies in between leaves a claim that runs out by itself.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from uuid import uuid4

import tenacity

from connector import queue
from connector.attempt import Asker, Clock, Limits, NotSent
from connector.config import Config
from connector.destinations import Destination, Verdict
from connector.errors import StoreUnavailable, log_failure
from connector.gate import REFUSED_ONES, Gate
from connector.messages import Milliseconds, now_ms
from connector.queue import Delivery, Settlement
from connector.retry import next_attempt, too_late_to_repeat
from connector.store import Store

__all__ = ["LIMITS", "Deliverer", "Limits"]

log = logging.getLogger("connector")

LIMITS: Final = Limits()


class Portion(NamedTuple):
    """Deliveries for one request. mended: what was pointed at is out already, so halves have to tell the rest."""

    deliveries: tuple[Delivery, ...]
    mended: bool = False


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
        self.gate = gate or Gate(destination.TIERS)
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._asker = Asker(destination, config, limits, self.gate, self._rng)

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
        clock = Clock(now)
        settlements = [*self._send(deliveries, clock, stop or threading.Event())]
        return self._settle(settlements, claimer, clock.now())

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self._asker.close()

    def _deliver_quietly(self, stop: threading.Event) -> int:
        try:
            return self.deliver_once(now_ms(), stop)
        except StoreUnavailable:
            log.warning("deliver %s: the store did not answer; trying again", self.destination.NAME)
        except Exception as error:  # a worker outlives its bugs; the claim runs out and others go on
            log_failure(f"deliver {self.destination.NAME}", error)
        return 0

    def _claim(self, now: Milliseconds, claimer: str) -> list[Delivery]:
        size = self.gate.size(self.limits.batch or self.destination.CLAIM)
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

    def _send(self, deliveries: Sequence[Delivery], clock: Clock, stop: threading.Event) -> Iterator[Settlement]:
        good: list[Delivery] = []
        for one in deliveries:
            unfit = self._unfit(one, clock.began)
            if unfit is None:
                good.append(one)
            else:
                yield unfit
        todo = deque(Portion(batch) for batch in self.destination.batches(good))
        stuck: set[int | None] = set()  # subjects of whom something has to leave first, and did not
        ended: set[int | None] = set()  # and those that the destination would not have
        while todo:
            portion = todo.popleft()
            late = [one for one in portion.deliveries if one.subject_id in stuck]
            if late:
                yield queue.handed_back(late)
            lost = [one for one in portion.deliveries if one.subject_id in ended]
            if lost:
                yield queue.dead(lost, "refused", queue.FOLLOWS)
            rest = tuple(one for one in portion.deliveries if one.subject_id not in stuck | ended)
            portion = portion._replace(deliveries=rest)
            if not portion.deliveries:
                continue
            for settlement in self._portion(portion, todo, clock, stop):
                if settlement.fate in ("postponed", "handed back"):
                    stuck |= {one.subject_id for one in settlement.deliveries} - {None}
                elif settlement.followers:
                    ended |= {one.subject_id for one in settlement.deliveries} - {None}
                yield settlement

    def _portion(
        self, portion: Portion, todo: deque[Portion], clock: Clock, stop: threading.Event
    ) -> Iterator[Settlement]:
        """What came of one request; of one that was refused for a part of it, what is left to ask goes to ``todo``."""
        batch = portion.deliveries
        in_time = clock.now() < clock.began + self.limits.sending_ms
        verdict = self._asker.ask(batch, clock, stop) if in_time else NotSent()
        if isinstance(verdict, NotSent):
            yield queue.handed_back(batch, verdict.due_at)
        elif verdict.status == "split" and verdict.bad and not portion.mended:
            yield from _doomed(batch, verdict)
            rest = tuple(one for place, one in enumerate(batch) if place not in verdict.bad)
            if rest:
                todo.appendleft(Portion(rest, mended=True))
        elif verdict.status == "split" and len(batch) > 1:
            middle = len(batch) // 2
            todo.extendleft(Portion(half, portion.mended) for half in (batch[middle:], batch[:middle]))
        else:
            yield from self._judge(batch, verdict, clock)

    def _unfit(self, one: Delivery, now: Milliseconds) -> Settlement | None:
        """Why a delivery dies unsent: nobody would tell us that it was dropped, or a repeat would count twice."""
        if too_late_to_repeat(one.maybe_sent_at, now, self.destination.TERMS):
            return queue.dead([one], "unknown", "may have arrived, too long ago to be repeated safely; retry by hand")
        problems = self.destination.problems(one.body, now)
        return queue.dead([one], "refused", f"not sent: {'; '.join(problems)}") if problems else None

    def _judge(self, batch: Sequence[Delivery], verdict: Verdict, clock: Clock) -> Iterator[Settlement]:
        """What to do about an answer. A batch keeps one jitter, so that it comes back as a batch."""
        if verdict.status == "delivered":
            yield queue.delivered(batch, verdict.detail, erase=verdict.erase)
            return
        answer: queue.Answer = "unknown" if verdict.status == "unknown" else "refused"
        if not verdict.retryable:
            yield queue.dead(batch, answer, verdict.detail, followers=verdict.followers)
            return
        jitter = self._rng.random()
        by_due: dict[Milliseconds | None, list[Delivery]] = {}
        for one in batch:
            due_at = next_attempt(
                # Too many requests are no fault of this one: it waits as after its first attempt, and as often.
                attempts=1 if verdict.throttled else one.attempts + 1,
                pending_at=one.pending_at,
                # Our claim marked it as maybe sent; only an unknown answer leaves that mark standing.
                maybe_sent_at=clock.began if answer == "unknown" and one.maybe_sent_at is None else one.maybe_sent_at,
                now=clock.now(),
                jitter=jitter,
                terms=self.destination.TERMS,
                retry_after_seconds=verdict.retry_after_seconds,
            )
            by_due.setdefault(due_at, []).append(one)
        for due_at, ones in by_due.items():
            if due_at is None:
                yield queue.dead(ones, answer, f"given up: {verdict.detail}")
            else:
                yield queue.postponed(ones, answer, verdict.detail, due_at)


def _doomed(batch: Sequence[Delivery], verdict: Verdict) -> Iterator[Settlement]:
    """The end of what was pointed at, each with its reason. If that is everything, a few die and the rest is spared."""
    places = sorted(verdict.bad)
    spared = places[REFUSED_ONES:] if len(places) == len(batch) else []
    by_reason: dict[str, list[Delivery]] = {}
    for place in places[: len(places) - len(spared)]:
        by_reason.setdefault(verdict.bad[place], []).append(batch[place])
    for reason, ones in by_reason.items():
        yield queue.dead(ones, "refused", reason)
    if spared:
        yield queue.handed_back([batch[place] for place in spared])
