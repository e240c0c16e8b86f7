"""What touching one link costs in a small and in a large store, and what hubs cost beside the same stream without any.

The stores are filled by SQL in the shape that stitching leaves: people with a userId, an email and two browsers, seen
together at two times. Then calls go through the whole of T2 in batches, each about a link of somebody drawn at random,
which is the worst case for caches: three of five repeat a known pair, one of five tells that a pair was seen earlier
than was known, for which the profile is resolved anew, one of five brings a new browser. Both sides of a ratio take
turns, and the best round of each counts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from connector import config, derive, inbox, mapping, migrate, pipeline, resources
from connector.house import House, build
from connector.keys import Keys
from connector.messages import DAY, MINUTE, Json, Received, iso
from connector.store import Store, open_store
from tests.bench.streams import NOW

BATCH = 500
CALLS = 3_000
CROWD = 10_000
BROWSERS = 100_000
AT = (NOW - 40 * DAY) // MINUTE * MINUTE
PEOPLE = ("'user-' || i", "'person' || i || '@shop.test'", "'browser-' || i || '-0'", "'browser-' || i || '-1'")
TYPES = ("user_id", "email", "anonymous_id", "anonymous_id")

Call = dict[str, Json]


class Filled:
    """A migrated store with so many people in it."""

    def __init__(self, url: str, people: int) -> None:
        settings = config.read({"DATABASE_URL": url, "CONNECTOR_SECRET": "0" * 32}, Path("no.env"))
        self.people = people
        self.store: Store = open_store(settings.database_url)
        migrate.upgrade(self.store)
        mappings = mapping.load(resources.shipped_mappings(), None, Keys(settings.secret).prefix)
        self.house: House = build(settings, mappings)
        with self.store.writing() as tx:
            derive.adopt(tx, self.house.rules, self.house.keys)
        if people:
            self._fill()

    def _fill(self) -> None:
        for place, (kind, value) in enumerate(zip(TYPES, PEOPLE, strict=True), start=1):
            component = "null" if kind == "anonymous_id" else "i * 4 + 1"
            hashed = "substr(hex(randomblob(12)), 1, 24)" if self.store.sqlite else f"md5(i::text || '-{place}')"
            self._insert(
                "identifiers (id, type, value, first_at, first_message, last_at, carried_at, component_id,"
                " profile_hash, degree)",
                f"i * 4 + {place}, '{kind}', {value}, {AT}, 'segment/fill', {AT}, {AT}, {component}, {hashed},"
                f" {int(place > 1)}",
            )
        for place in (2, 3, 4):
            ends = f"i * 4 + 1, i * 4 + {place}, 'declared'"
            browser = "false" if place == 2 else "true"
            columns = "a_id, b_id, kind, browser, first_at, first_message"
            self._insert(f"links ({columns})", f"{ends}, {browser}, {AT}, 'segment/fill'")
            for minute in (AT // MINUTE, AT // MINUTE + 60):
                times = f"{minute * MINUTE}, 'segment/fill', {minute * MINUTE}, 'segment/fill', {minute}"
                self._insert(f"sightings ({columns}, last_at, last_message, minute)", f"{ends}, {browser}, {times}")
        if not self.store.sqlite:
            with self.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("vacuum analyze")

    def _insert(self, into: str, select: str) -> None:
        if self.store.sqlite:
            series = f"with recursive n(i) as (select 0 union all select i + 1 from n where i < {self.people - 1})"
        else:
            series = f"with n(i) as (select generate_series(0, {self.people - 1}))"
        with self.store.writing() as tx:
            tx.exec_driver_sql(f"insert into {into} {series} select {select} from n")

    def cost(self, calls: Sequence[Call]) -> float:
        """Microseconds a call, from the inbox to everything that follows, committed."""
        received = [Received("segment", str(one["messageId"]), orjson.dumps(one).decode(), NOW) for one in calls]
        spent = 0.0
        for at in range(0, len(received), BATCH):
            with self.store.writing() as tx:
                inbox.store(tx, received[at : at + BATCH])
            began = time.perf_counter()
            with self.store.writing() as tx:
                pipeline.process(tx, inbox.take(tx, BATCH), self.house, NOW)
            spent += time.perf_counter() - began
        return spent / len(received) * 1e6


def _call(name: str, rng: random.Random, **ids: Json) -> Call:
    return {"messageId": name, "timestamp": iso(AT + rng.randrange(30 * DAY)), "type": "identify", **ids}


def _opened(name: str, rng: random.Random, email: str) -> Call:
    context = {"integration": {"name": "Klaviyo"}, "traits": {"email": email}}
    return _call(name, rng, anonymousId=email, context=context) | {"type": "track", "event": "Email Opened"}


def touches(people: int, seed: int) -> Iterator[Call]:
    """Calls that each touch one link of a person drawn at random."""
    rng = random.Random(seed)
    for number in range(CALLS):
        person = rng.randrange(people)
        user, name = f"user-{person}", f"touch-{seed}-{number}"
        known = {"userId": user, "traits": {"email": f"person{person}@shop.test"}}
        if number % 5 == 0:
            yield _call(name, rng, userId=user, anonymousId=f"new-{name}")
        elif number % 5 == 1:
            yield _call(name, rng, **known) | {"timestamp": iso(AT - DAY)}
        else:
            yield _call(name, rng, **known)


def crowd(prefix: str, seed: int, browser_of: str) -> Iterator[Call]:
    """People who sign in one after the other, each with mail. browser_of: a format of the person's number."""
    rng = random.Random(seed)
    for number in range(CROWD // 2):
        email = f"{prefix}{number}@crowd.test"
        browser = browser_of.format(number)
        yield _call(
            f"{prefix}-{number}", rng, userId=f"{prefix}-{number}", anonymousId=browser, traits={"email": email}
        )
        yield _opened(f"{prefix}-open-{number}", rng, email)


def sign_ins(prefix: str, seed: int, user_of: str, n: int) -> Iterator[Call]:
    """New browsers of a user, every tenth call an email event."""
    rng = random.Random(seed)
    for number in range(n):
        user = user_of.format(number)
        email = f"{user}@many.test"
        if number % 10 == 9:
            yield _opened(f"{prefix}-open-{number}", rng, email)
        else:
            traits = {"email": email} if number % 10 == 0 else {}
            yield _call(f"{prefix}-{number}", rng, userId=user, anonymousId=f"{prefix}-b-{number}", traits=traits)


def growth(small: Filled, large: Filled, rounds: int) -> tuple[float, float]:
    """Microseconds a touch in the small and in the large store."""
    for store in (small, large):
        store.cost(list(touches(store.people, 999)))  # the caches are warm when it counts
    costs = [
        (small.cost(list(touches(small.people, number))), large.cost(list(touches(large.people, number))))
        for number in range(rounds)
    ]
    return min(one for one, _ in costs), min(other for _, other in costs)


def hubs(store: Filled, rounds: int) -> Iterator[tuple[str, float, float]]:
    """What, microseconds a call with the hub, and without one."""
    for what, shared in (
        ("10,000 people who share one browser", "kiosk-{round}"),
        ("50 support browsers, each with its customers", "support-{round}-{{0}}"),
    ):
        with_hub, without = [], []
        for number in range(rounds):
            browser = shared.format(round=number)
            name = f"h{len(what)}-{number}"
            calls = list(crowd(f"{name}-s", number, browser))
            if "support" in browser:
                for at, call in enumerate(calls):
                    if call["type"] == "identify":
                        call["anonymousId"] = f"support-{number}-{at % 50}"
            with_hub.append(store.cost(calls))
            without.append(store.cost(list(crowd(f"{name}-p", number, f"own-{name}-" + "{}"))))
        yield what, min(with_hub), min(without)
    store.cost(list(sign_ins("first", 1, "many", BROWSERS)))
    many = [store.cost(list(sign_ins(f"many-{one}", one, "many", CALLS))) for one in range(rounds)]
    few = [store.cost(list(sign_ins(f"few-{one}", one, f"few-{one}-" + "{}", CALLS))) for one in range(rounds)]
    yield "one userId with 100,000 anonymousIds", min(many), min(few)
