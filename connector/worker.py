"""What runs beside the doors: stitching, sending, expiring, asking Klaviyo, and saying that it lives.

``Worker`` starts a thread for each and stops them cleanly: the batch under way is finished, claims are handed back.
On SQLite it lives in the one serving process; on PostgreSQL any number of worker processes may run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import sqlalchemy as sa

from connector import backfill, bulk, derive, held, house, identity, inbox, pipeline, queue
from connector.config import Config
from connector.deliver import Deliverer
from connector.destinations import Destination, segment
from connector.destinations.klaviyo import Klaviyo
from connector.errors import StoreUnavailable, log_failure
from connector.house import House
from connector.klaviyo.api import Client
from connector.klaviyo.poll import SOURCE, Poller
from connector.klaviyo.resolver import Resolver
from connector.mapping import Mappings
from connector.messages import MINUTE, Milliseconds, Stored, now_ms
from connector.store import Store
from connector.tables import facts, heartbeats, leases

log = logging.getLogger("connector")

BATCH: Final = 1_000
"""Messages stitched in one transaction."""
SQLITE_BATCH: Final = 250
"""The same where requests wait for the one writer while a batch is stitched."""
IDLE_SECONDS: Final = 0.1
"""How long stitching lets messages gather when there is no full batch of them."""
BEAT_SECONDS: Final = 5.0
EXPIRE_SECONDS: Final = 1.0
DELIVERY_THREADS: Final = 4
FORGET_BEATS_MS: Final = 10 * MINUTE
ADOPTED: Final = "identity.toml changed: everything was derived again"


class Worker:
    """The threads of one process that stitch, send and expire."""

    def __init__(
        self, config: Config, store: Store, mappings: Mappings, now: Callable[[], Milliseconds] = now_ms
    ) -> None:
        self.store = store
        self.now = now
        self.batch = SQLITE_BATCH if store.sqlite else BATCH
        self.house = house.build(config, mappings)
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        self._stop = threading.Event()
        self.deliverers = [Deliverer(store, config, one) for one in _destinations(config, mappings)]
        loops: list[Callable[[], object]] = [self._stitch, self._expire, self._beat]
        for one in self.deliverers:
            loops += [partial(one.run, self._stop)] * DELIVERY_THREADS
        poll = mappings.sources[SOURCE].poll
        if config.klaviyo_api_key:
            client = Client(config, stop=self._stop)  # one, for what Klaviyo allows is of an account
            if poll is not None and poll.enabled:
                loops.append(partial(Poller(config, store, mappings, client, now=now).run, self._stop))
            loops.append(partial(Resolver(config, store, client, now).run, self._stop))
        self._threads = [threading.Thread(target=loop, name="connector-worker", daemon=True) for loop in loops]

    def start(self) -> None:
        """Begin. On SQLite nobody else can be sending, so what a killed process had claimed is free again."""
        if self.store.sqlite:
            with self.store.writing() as tx:
                queue.release_stale(tx, now=self.now())
                tx.execute(sa.delete(leases))
        if adopt_rules(self.store, self.house):
            log.info(ADOPTED)
        self.beat()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 18.0) -> None:
        """Finish what is under way, hand back the rest, and end."""
        self._stop.set()
        deadline = threading.Event()
        timer = threading.Timer(timeout_seconds, deadline.set)
        timer.daemon = True
        timer.start()
        for thread in self._threads:
            while thread.is_alive() and not deadline.is_set():
                thread.join(0.05)
        timer.cancel()
        for one in self.deliverers:
            one.close()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until stopped; False if the time ran out first."""
        return self._stop.wait(seconds)

    def _stitch(self) -> None:
        """A full batch is followed by the next at once; after a small one more may gather, for a batch's price is
        mostly its statements, and requests wait for the same writer."""
        while not self._stop.is_set():
            n = self._quietly("stitch", lambda: stitch_once(self.store, self.house, self.now(), self.batch))
            if n < self.batch:
                self._stop.wait(IDLE_SECONDS)

    def _expire(self) -> None:
        while not self._stop.wait(EXPIRE_SECONDS):
            while self._quietly("expire", lambda: expire_once(self.store, self.house, self.now())):
                if self._stop.is_set():
                    return

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._quietly("beat", self.beat)

    def beat(self) -> int:
        """Say that this worker lives, and forget those that have not for long."""
        now = self.now()
        with self.store.writing() as tx:
            bulk.insert_rows(
                tx,
                heartbeats,
                ("name", "pid", "seen_at"),
                [(self.name, os.getpid(), now)],
                "on conflict (name) do update set pid = excluded.pid, seen_at = excluded.seen_at",
            )
            tx.execute(sa.delete(heartbeats).where(heartbeats.c.seen_at < now - FORGET_BEATS_MS))
        return 0

    def _quietly(self, action: str, step: Callable[[], int]) -> int:
        """A step that fails is logged and tried again: a store that is away for a minute must not end the worker."""
        try:
            return step()
        except StoreUnavailable as error:
            log.warning("the store is unavailable", extra={"action": action, "because": str(error)})
        except Exception as error:  # the loop must outlive a defect
            log_failure(action, error)
        self._stop.wait(1.0)
        return 0


def _destinations(config: Config, mappings: Mappings) -> list[Destination]:
    """What is written to. A key for Klaviyo alone reads."""
    found: list[Destination] = [segment]
    if Klaviyo.NAME in config.destinations:
        found.append(Klaviyo(on_conflict=mappings.klaviyo.on_conflict))
    return found


def stitch_once(store: Store, house: House, now: Milliseconds, limit: int = BATCH) -> int:
    """Process one batch and return its size. A message the stages cannot stand is found by halving, and set aside."""
    with store.reading() as tx:
        if not inbox.any_waiting(tx):
            return 0
    batch: list[Stored] = []
    try:
        with store.writing() as tx:
            batch = pipeline.take(tx, limit)
            forgotten = pipeline.process(tx, batch, house, now)
        if forgotten:
            store.empty_log()
    except StoreUnavailable:
        raise
    except Exception as error:  # a defect in the stages: its message is kept, visible and replayable
        if len(batch) > 1:
            return stitch_once(store, house, now, len(batch) // 2)
        log_failure("stitch", error)
        with store.writing() as tx:
            pipeline.set_aside(tx, batch, error)
        return 1
    return len(batch)


def expire_once(store: Store, house: House, now: Milliseconds, limit: int = 500) -> int:
    """End the waiting of held events whose time is up, and return how many there were."""
    with store.reading() as tx:
        events, kept = held.anything_expires(tx, house, now), backfill.anything_expires(tx, house, now)
    if not events and not kept:
        return 0
    with store.writing() as tx:
        n = held.expire(tx, house, now, limit) if events else 0
        return n + (backfill.expire(tx, house, now, limit) if kept else 0)


def knows_rules(store: Store, house: House) -> bool:
    """Was everything in a migrated store derived by the rules of this house?"""
    with store.reading() as tx:
        known = tx.execute(sa.select(facts.c.value).where(facts.c.name == derive.FACT)).scalar()
    return known == house.rules.fingerprint


def adopt_rules(store: Store, house: House, progress: derive.Progress = derive.nothing) -> bool:
    """Derive everything by the rules of this house, unless it was, and release what waited for that.

    Returns whether anything was derived again.

    However many processes start at once, one does it; the others wait for as long as it takes.
    """
    if knows_rules(store, house):
        return False
    pages = 0

    def counted(what: str, n: int) -> None:
        nonlocal pages
        pages += 1
        progress(what, n)

    with store.writing() as tx:
        if not store.sqlite:
            tx.exec_driver_sql("set local lock_timeout = 0")
        identity.take_lease(tx)
        derive.adopt(tx, house.rules, house.keys, counted)
        if pages:
            held.release_all(tx, house, now_ms())
            backfill.release_all(tx, house, now_ms())
    return pages > 0
