"""Reading Klaviyo: the events of its email metrics, by the one channel that every account has.

    find the metrics by name and integration        once an hour
    recent   what is new of each, from shortly before the newest event known
    past     history, the first time; once a day what came late; in slices, behind what is new

A page and the place it leads to are stored in one transaction: whatever is killed, nothing is lost and nothing comes
twice. One process at a time reads; whoever lost the lease stores nothing more. Memory is bounded by one page.

Source: https://developers.klaviyo.com/en/reference/get_events and ``get_metrics``
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from connector import leases
from connector.config import Config
from connector.errors import ConfigError, ConnectorError, StoreUnavailable, log_failure
from connector.keys import Keys
from connector.klaviyo import pages, polled, readings, records, rights, stored
from connector.klaviyo.api import Client, Refused, Tier, Unanswered
from connector.klaviyo.pages import Page, Slot, Unreadable
from connector.klaviyo.polled import Polled, Progress, explained, note
from connector.klaviyo.readings import Metric, Part, Reading
from connector.mapping import Mappings
from connector.messages import HOUR, MINUTE, Milliseconds, now_ms
from connector.store import Store
from connector.tables import inbox_todo

log = logging.getLogger("connector")

SOURCE: Final = records.SOURCE
LEASE: Final = "klaviyo.poll"
LEASE_MS: Final = 5 * MINUTE
METRICS_EVERY: Final = HOUR
FORBIDDEN_SECONDS: Final = 3600.0
"""After which a key that may not read is tried again: somebody has to change something first."""

SLICE: Final = 10
"""Pages of one reading before it is another's turn."""
LATER_SECONDS: Final = 1.0
"""How long somebody who watches waits for room."""
CROWDED: Final = 20_000
"""Messages that wait to be stitched, from which on history waits: the site's own must not stand behind it."""
TOO_MUCH: Final = (500, 502, 504, 524)
"""Answers after which less is asked for at a time: a page may be more than Klaviyo can make in its own time."""


class Occupied(ConnectorError):
    """Another process reads Klaviyo already, and goes on by itself."""


class Poller:
    """Reads Klaviyo in rounds.

    Args: progress is told of every page. holder is what we are called in the lease.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        mappings: Mappings,
        client: Client,
        *,
        now: Callable[[], Milliseconds] = now_ms,
        progress: Progress = polled.nothing,
        holder: str | None = None,
    ) -> None:
        poll = mappings.sources[SOURCE].poll
        if poll is None:
            raise ConfigError(f"sources/{SOURCE}.toml: there is no [poll], so Klaviyo cannot be read")
        self.store = store
        self.client = client
        self.now = now
        self.progress = progress
        self.holder = holder or f"{socket.gethostname()}/{os.getpid()}"
        self._keys = Keys(config.secret)
        self._poll = poll
        self._found: dict[str, str] = {}
        self._found_at: Milliseconds | None = None

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped; then somebody else may read at once."""
        try:
            while not stop.is_set():
                stop.wait(self._round(stop))
        finally:
            self.leave()
            self.client.close()

    def leave(self) -> None:
        """Let somebody else read at once."""
        with suppress(StoreUnavailable), self.store.writing() as tx:
            leases.give_back(tx, LEASE, self.holder)

    def poll_once(self, stop: threading.Event) -> Polled:
        """One round: of each metric what is new, then a slice of what is past.

        Raises: Refused, Unanswered, Unreadable, StoreUnavailable, after the other metrics were read. What was stored
        stays stored.
        """
        told = Polled()
        failed: dict[str, ConnectorError] = {}
        try:
            metrics = self._metrics()
            told = Polled(metrics=len(metrics))
            for part in readings.PARTS:
                for number, metric in enumerate(metrics):
                    if metric.name in failed:
                        continue
                    try:
                        metrics[number], some = self._slice(metric, part, stop)
                    except (Refused, Unanswered, Unreadable) as error:
                        if isinstance(error, Refused) and rights.of_the_key(error):
                            raise  # no other metric would fare better
                        error.add_note(f"reading '{metric.name}': ")
                        failed[metric.name] = error
                    else:
                        told += some
        except Occupied:
            return replace(told, idle=True, more=False)
        for first in failed.values():
            raise first
        return told

    # -- a round, whatever comes ----------------------------------------------------------------------------------

    def _round(self, stop: threading.Event) -> float:
        """One round, and what is said of it; the seconds until the next."""
        pause = self._poll.every_ms / 1000
        try:
            told = self.poll_once(stop)
        except Refused as error:
            self.say(explained(error), ok=False)
            return FORBIDDEN_SECONDS if rights.of_the_key(error) else pause
        except (Unanswered, Unreadable) as error:
            if not stop.is_set():
                self.say(polled.noted(error) + str(error), ok=False)
            asked = error.retry_after_seconds if isinstance(error, Unanswered) else None
            return max(pause, asked or 0)
        except StoreUnavailable as error:
            log.warning("the store is unavailable", extra={"action": "poll", "because": str(error)})
            return pause
        except Exception as error:  # the loop must outlive a defect
            log_failure("poll", error)
            return pause
        if not told.idle and not stop.is_set():
            self.say(polled.summary(told), ok=True)
        if told.more:
            return pause if told.later else 0.0  # what waits for room must not ask for what is new all the time
        return pause

    def say(self, said: str, *, ok: bool) -> None:
        """Note how it goes, for `connector check`; what is not well is logged too."""
        if not ok:
            log.warning("Klaviyo was not read", extra={"action": "poll", "because": said})
        with suppress(StoreUnavailable), self.store.writing() as tx:
            note(tx, self.now(), said, ok=ok)

    # -- which metrics --------------------------------------------------------------------------------------------

    def _metrics(self) -> list[Metric]:
        """The metrics to read, in the mapping's order, with what is to be read of each.

        Raises: Occupied.
        """
        now = self.now()
        with self.store.writing() as tx:
            self._renew(tx)
            began = readings.began_at(tx, SOURCE, now)
        if self._found_at is None or not self._found_at <= now < self._found_at + METRICS_EVERY:
            order = list(self._poll.metrics)
            self._found = dict(sorted(self._listed(), key=lambda one: (order.index(one[1]), one[0])))
            self._found_at = now
        with self.store.reading() as tx:
            known = readings.load(tx, SOURCE)
        rows = (
            known.get(one) or readings.first(one, name, began, now, self._poll) for one, name in self._found.items()
        )
        return [readings.planned(one, began, now, self._poll) for one in rows]

    def _listed(self) -> Iterator[tuple[str, str]]:
        """(id, name) of the account's metrics that the mapping lists and that Klaviyo itself makes.

        A name alone says nothing: whoever writes to the API may use the same.
        """
        asked = {"filter": 'equals(integration.name,"Klaviyo")'}
        for page in self.client.pages("/api/metrics", asked, tier=Tier.METRICS):
            for one in page.get("data") or ():
                attributes = one.get("attributes") or {}
                made_by = (attributes.get("integration") or {}).get("name")
                if made_by == "Klaviyo" and attributes.get("name") in self._poll.metrics:
                    yield str(one["id"]), str(attributes["name"])

    # -- a slice of a reading -------------------------------------------------------------------------------------

    def _slice(self, metric: Metric, part: Part, stop: threading.Event) -> tuple[Metric, Polled]:
        """Up to SLICE pages of one reading, and the row after them."""
        told = Polled()
        for _ in range(SLICE):
            reading = metric.reading(part)
            if reading is None or stop.is_set():
                return metric, told
            if part == "past" and self._is_crowded():
                return metric, replace(told, more=True, later=True)
            metric, some = self._page(metric, part, reading)
            told += some
            if some.later:
                break
        return metric, replace(told, more=metric.reading(part) is not None)

    def _page(self, metric: Metric, part: Part, reading: Reading) -> tuple[Metric, Polled]:
        """One page, asked for and stored."""
        asked = reading.query or pages.query(metric.id, reading.since, reading.until, reading.size)
        try:
            document = self.client.get(pages.PATH, asked, tier=Tier.EVENTS)
        except Refused as error:
            if error.status != 400 or reading.query is None:
                raise
            log.info("Klaviyo does not know the place where a reading was; it goes on after the newest event read")
            metric = metric.at(part, reading.again())
            self._keep(metric, None)
            return metric, Polled(later=True)
        except Unanswered as error:
            if error.status in (0, *TOO_MUCH) and asked.get("page[size]") != pages.SMALL:
                self._keep(metric.at(part, reading.again(pages.SMALL)), None)
            raise
        history_until = None if self._poll.history_counts else metric.began_at
        slot = Slot(metric.id, self._poll.metrics[metric.name], history_until)
        page = pages.read(document, asked, slot, self._keys, self.now())
        metric = readings.read_on(metric, part, page.reached, page.following)
        told = Polled(pages=1, events=page.events, stored=self._keep(metric, page))
        self.progress(polled.step(metric.name, part, reading, page, told.stored, self.now()))
        return metric, told

    def _keep(self, metric: Metric, page: Page | None) -> int:
        """What is new of a page, and how far its reading is, in one transaction. Returns how much was new.

        Raises: Occupied if the lease was lost meanwhile: somebody else reads the same, and this is not stored.
        """
        now = self.now()
        with self.store.writing() as tx:
            self._renew(tx)
            new = stored.keep(tx, page, self._keys, now) if page else 0
            readings.save(tx, SOURCE, metric)
            note(tx, now, f"'{metric.name}' is being read", ok=True)
        return new

    def _renew(self, tx: sa.Connection) -> None:
        """Raises: Occupied."""
        if not leases.take(tx, LEASE, self.holder, self.now(), LEASE_MS + self._poll.every_ms):
            raise Occupied("another process reads Klaviyo already, and goes on by itself")

    def _is_crowded(self) -> bool:
        with self.store.reading() as tx:
            further = sa.select(inbox_todo.c.inbox_id).order_by(inbox_todo.c.inbox_id).offset(CROWDED).limit(1)
            return tx.execute(further).first() is not None


def sync(poller: Poller, stop: threading.Event, learn: Callable[[], object]) -> Polled:
    """Everything that there is to read, in the foreground.

    Args: learn is called after every round, with no transaction open.

    Raises: Occupied; ConnectorError saying what the key lacks; Unanswered, Unreadable, StoreUnavailable.
    """
    told = Polled()
    try:
        while True:
            some = poller.poll_once(stop)
            if some.idle:
                raise Occupied("another process reads Klaviyo already, and goes on by itself")
            told = replace(told, more=False) + some
            learn()
            if not some.more or stop.wait(LATER_SECONDS if some.later else 0.0):
                break
    except Refused as error:
        raise ConnectorError(explained(error)) from None
    finally:
        poller.leave()
    poller.say(polled.summary(told), ok=True)
    return told
