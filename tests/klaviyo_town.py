"""The connector between the two stand-ins, all its stages driven step by step, in a time that tests own.

Whoever waits here lets the town's time pass instead: nothing sleeps, and the limits of both sides, their pauses and our
patience are all of one clock. What is killed is killed for good: ``Town.works`` goes on with fresh stages over the same
store, as a supervisor would.
"""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from connector import bootstrap, queue, worker
from connector.app import close, create_app
from connector.attempt import Limits
from connector.config import Config
from connector.deliver import Deliverer
from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.demo.segment import SegmentStandIn
from connector.demo.segment_rules import stringify
from connector.destinations import Destination, segment
from connector.destinations.klaviyo import Klaviyo
from connector.exchange import Exchange, Timeouts
from connector.gate import Gate
from connector.klaviyo.api import Client, Patience, Refused, Unanswered
from connector.klaviyo.poll import Poller
from connector.klaviyo.resolver import Resolver
from connector.messages import MINUTE, Milliseconds
from connector.store import Store
from connector.tables import inbox_todo, messages, outbox
from tests import told
from tests.klaviyo_time import Clock, Killed, Mortal, Waiting
from tests.running import KLAVIYO_SECRET, WRITE_KEY

STEP = MINUTE
"""How far time goes on when all that is left waits for it."""

THREADS = 2
"""How many send to one destination at once."""

BACKFILL = "[backfill]\nenabled = true\n"


class Town:
    """The connector and its surroundings; a context manager.

    Args: mapping overrides ``destinations/klaviyo.toml``. settings are further variables. read_seconds: how long an
    answer is waited for, by this machine's clock.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        standing_in: SegmentStandIn,
        klaviyo: KlaviyoStandIn,
        clock: Clock,
        mapping: str = "",
        read_seconds: float = 1.0,
        **settings: str,
    ) -> None:
        mappings = folder / "mappings"
        (mappings / "destinations").mkdir(parents=True)
        if mapping:
            (mappings / "destinations" / "klaviyo.toml").write_text(mapping)
        self.config: Config = told.configured(
            **{
                "DESTINATIONS": "segment,klaviyo",
                "KLAVIYO_API_KEY": KEY,
                "KLAVIYO_API_URL": klaviyo.url,
                "SEGMENT_API_URL": standing_in.url,
                "SEGMENT_WRITE_KEY": WRITE_KEY,
                "MAPPINGS": str(mappings),
                **settings,
            }
        )
        self.klaviyo, self.clock = klaviyo, clock
        self._timeouts = Timeouts(read_seconds=read_seconds)
        self.house = bootstrap.open_house(self.config)
        self.store = Mortal(store.engine)
        self.restarts = 0
        self._app = create_app(self.config, store, mappings=self.house.mappings, now=clock)
        self._door = self._app.test_client()
        self._start()

    def __enter__(self) -> Town:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_stages()
        close(self._app)

    # -- what comes in ----------------------------------------------------------------------------------------------

    def segment_sends(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Segment's Webhook destination delivers, a request at a time, signed as a whole."""
        body = stringify(calls[0] if len(calls) == 1 else list(calls)).encode()
        signed = hmac.new(told.SETTINGS["SEGMENT_SHARED_SECRETS"].encode(), body, hashlib.sha1).hexdigest()
        self._post("/webhooks/segment", body, {"X-Signature": signed})

    def klaviyo_sends(self, elements: Sequence[Mapping[str, Any]]) -> None:
        """Klaviyo's system webhook delivers."""
        body = orjson.dumps({"data": list(elements), "meta": {"klaviyo_webhook_id": "W1"}})
        stamp = "Sat, 21 Nov 2026 10:00:00 GMT"
        signed = hmac.new(KLAVIYO_SECRET.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
        headers = {"Klaviyo-Signature": signed, "Klaviyo-Timestamp": stamp, "Klaviyo-Webhook-Id": "W1"}
        self._post("/webhooks/klaviyo", body, headers)

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        answer = self._door.post(path, data=body, headers={"Content-Type": "application/json", **headers})
        assert answer.status_code == 200, (path, answer.status_code, answer.get_data(as_text=True))

    # -- what it does -----------------------------------------------------------------------------------------------

    def works(self) -> None:
        """Everything that can be done now: Klaviyo is read, messages are stitched, what is due leaves."""
        self._outlives(self._poll)
        while self._outlives(self._round):
            pass

    def finishes(self, patience: int = 100) -> None:
        """Works until nothing is left to do but waiting for identities, however long that takes.

        Raises: AssertionError if it never ends.
        """
        for _ in range(patience):
            self.works()
            due_at = self._next()
            if due_at is None:
                return
            self.clock.at = max(self.clock.at + STEP, due_at)
        raise AssertionError(f"still there: {self.states()}")

    def restart(self) -> None:
        """Killed, and started anew over the same store."""
        self._stop_stages()
        self.restarts += 1
        self.store.dies_in = None
        self._start()

    def _start(self) -> None:
        """What ``Worker`` builds and starts, without its threads."""
        if self.store.sqlite:
            with self.store.writing() as tx:
                queue.release_stale(tx, now=self.clock())
        worker.adopt_rules(self.store, self.house)
        self.stop = Waiting(self.clock)
        self.asking = Waiting(self.clock, 2.0)  # the client's own limits go by this machine's clock, not by the town's
        self.deliverers = [self._deliverer(one) for one in self._destinations()]
        self.client = Client(
            self.config,
            exchange=Exchange(self._timeouts),
            stop=self.asking,
            patience=Patience(tries=2),
            rng=random.Random(self.restarts),
        )
        holder = f"worker-{self.restarts}"
        self.poller = Poller(self.config, self.store, self.house.mappings, self.client, now=self.clock, holder=holder)
        self.resolver = Resolver(self.config, self.store, self.client, self.clock, holder)

    def _stop_stages(self) -> None:
        self.client.close()

    def _destinations(self) -> list[Destination]:
        known = self.house.mappings.klaviyo
        return [segment, Klaviyo(on_conflict=known.on_conflict)]

    def _deliverer(self, destination: Destination) -> Deliverer:
        gate = Gate(destination.TIERS, self.clock.seconds)
        rng = random.Random(self.restarts)
        return Deliverer(
            self.store, self.config, destination, limits=Limits(timeouts=self._timeouts), gate=gate, rng=rng
        )

    def _outlives(self, step: Callable[[], int]) -> int:
        try:
            return step()
        except Killed:
            self.restart()
            return 1

    def _poll(self) -> int:
        with _forgiven():
            while self.poller.poll_once(self.asking).more:
                self._stitch()
        return 0

    def _round(self) -> int:
        done = self._stitch() + worker.expire_once(self.store, self.house, self.clock())
        with ThreadPoolExecutor(2 * THREADS) as threads:
            done += sum(list(threads.map(self._deliver, self.deliverers * THREADS)))
        with _forgiven():
            done += self.resolver.resolve_once(self.asking)
        return done

    def _deliver(self, one: Deliverer) -> int:
        try:
            return one.deliver_once(self.clock(), self.stop)
        finally:
            one.close()  # what this thread opened

    def _stitch(self) -> int:
        return worker.stitch_once(self.store, self.house, self.clock())

    # -- what is there ----------------------------------------------------------------------------------------------

    def states(self) -> dict[tuple[str, str], int]:
        """(destination, status) → how many deliveries."""
        query = sa.select(outbox.c.destination, outbox.c.status, sa.func.count()).group_by(
            outbox.c.destination, outbox.c.status
        )
        with self.store.reading() as tx:
            return {(destination, status): n for destination, status, n in tx.execute(query)}

    def outcomes(self) -> dict[str, int]:
        """outcome → how many messages."""
        query = sa.select(messages.c.outcome, sa.func.count()).group_by(messages.c.outcome)
        with self.store.reading() as tx:
            return {row[0]: row[1] for row in tx.execute(query)}

    def dead(self) -> dict[str, list[str]]:
        """destination → the ids of its dead letters."""
        query = sa.select(outbox.c.destination, outbox.c.message_id).where(outbox.c.status == "dead")
        found: dict[str, list[str]] = {}
        with self.store.reading() as tx:
            for destination, message_id in tx.execute(query.order_by(outbox.c.message_id)):
                found.setdefault(destination, []).append(message_id)
        return found

    def _next(self) -> Milliseconds | None:
        """When there is something to do again; None if there is nothing left."""
        with self.store.reading() as tx:
            if tx.execute(sa.select(inbox_todo.c.inbox_id).limit(1)).first() is not None:
                return self.clock()
            due = sa.func.coalesce(outbox.c.claimed_until, outbox.c.due_at)
            return tx.execute(sa.select(sa.func.min(due)).where(outbox.c.status == "pending")).scalar()


@contextmanager
def _forgiven() -> Iterator[None]:
    """Klaviyo may be away: whoever asks it asks again in the next round."""
    try:
        yield
    except (Refused, Unanswered):
        return
