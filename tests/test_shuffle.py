"""Order does not matter: one realistic stream in many orders, batches and repeats ends in the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import orjson
import pytest
import sqlalchemy as sa

from connector import answers, held, inbox, pipeline
from connector.house import House
from connector.messages import HOUR, Received
from connector.store import Store
from connector.tables import metadata
from tests import streams
from tests.streams import call, customerio, house, identify, klaviyo, md5, page, sha256, sourced

HOUSE: House = house(("klaviyo",))
EVENTS = ("Email Delivered", "Email Opened", "Email Link Clicked", "Email Unsubscribed", "Email Bounced")


@dataclass(frozen=True)
class Someone:
    """A person of the stream. moved: the account was made again under the same email, at that time."""

    number: int
    emails: tuple[str, ...]
    browsers: tuple[str, ...]
    user: str | None
    moved: bool

    @property
    def profile(self) -> str:
        return f"01H{self.number:05}"


@cache
def stream() -> tuple[Received, ...]:
    """About 300 messages of two days: browsing, forms, signups, and what the email platforms tell of it."""
    rng = random.Random(20261121)
    everything = [one for number in range(16) for one in _life(_someone(number, rng), rng)]
    everything += _oddities()
    return tuple(_named(one, number) for number, one in enumerate(everything))


def _someone(number: int, rng: random.Random) -> Someone:
    emails = tuple(f"p{number}.{n}@x.test" for n in range(rng.choice([1, 1, 2])))
    browsers = [f"browser-{number}-{n}" for n in range(rng.randint(1, 3))]
    if number % 4 == 1:
        browsers.append(f"browser-{number - 1}-0")  # the family's laptop
    user = f"user-{number}" if rng.random() < 0.6 else None
    return Someone(number, emails, tuple(browsers), user, moved=user is not None and number % 5 == 0)


def _life(who: Someone, rng: random.Random) -> Iterator[Received]:
    def when(earliest: int = 0) -> float:
        return earliest + rng.choice([rng.randrange(2_000), rng.randrange(60)]) + rng.choice([0, 0.25, 0.5])

    for browser in who.browsers:
        for _ in range(3):
            yield page(when(), browser)
        if rng.random() < 0.7:
            yield identify(when(), browser, email=rng.choice(who.emails))
        if who.user:
            yield identify(when(500), browser, who.user, rng.choice(who.emails))
            yield page(when(500), browser, who.user)
    if who.moved:
        yield identify(when(1_500), who.browsers[-1], f"{who.user}-again", who.emails[0])
    for email in who.emails:
        for event in rng.sample(EVENTS, 3):
            yield sourced(when(), rng.choice([email, md5(email), sha256(email)]), event=event)
            yield sourced(when(), who.browsers[0], who.user, email, event, rng.choice(["Customer.io", "Iterable"]))
        yield klaviyo(when(), email, who.profile, rng.choice(["received_email", "opened_email", "clicked_email"]))
        yield klaviyo(when(), None, who.profile, "opened_email")
        yield customerio(when(), email, rng.choice(who.emails), f"cio{who.number}", who.user)


def _oddities() -> Iterator[Received]:
    yield identify(10, "kiosk", email="info@x.test")
    yield identify(20, "null", "undefined", "p1.0@x.test")
    yield call(None, type="identify", anonymousId="browser-2-0", traits={"email": "p2.0@x.test"})  # no clock
    yield call(1e6, type="page", anonymousId="browser-3-0", userId="user-3")  # a clock ahead
    yield call(30, type="group", groupId="G", userId="user-4", traits={"email": "office@x.test"})
    yield call(40, type="alias", userId="user-4", previousId="browser-4-0")
    yield call(50, type="track", userId="user-5")  # quarantined: no event
    yield sourced(60, "never.seen@x.test")
    yield sourced(61, md5("p6.0@x.test").upper(), context={"integration": {"name": "Klaviyo"}})
    yield sourced(62, "p7.0@x.test", source="tracking_api", integration=None)
    yield identify(63, "a" * 32, "user-8")
    yield sourced(64, "a" * 32, email="p8.0@x.test", integration="Iterable")


def _named(one: Received, number: int) -> Received:
    """The same stream has the same names in every run."""
    body = orjson.loads(one.body)
    key = {"klaviyo": "external_id", "customerio": "event_id"}.get(one.source, "messageId")
    body[key] = f"m{number:03}"
    return Received(one.source, body[key], orjson.dumps(body).decode(), one.received_at)


Ended = tuple[bytes, bytes, dict[str, object]]


def end_of(store: Store, rng: random.Random | None) -> Ended:
    """The profiles, the links, and the visitor of every email event, after the stream in some order."""
    with store.writing() as tx:
        for table in metadata.tables.values():
            tx.execute(sa.delete(table))
    for request, limit, expires in _arrivals(rng):
        with store.writing() as tx:
            inbox.store(tx, request)
        with store.writing() as tx:
            pipeline.process(tx, inbox.take(tx, limit), HOUSE, streams.NOW)
            if expires:
                held.expire(tx, HOUSE, streams.NOW + 80 * HOUR)
    with store.writing() as tx:
        pipeline.process(tx, inbox.take(tx, 10_000), HOUSE, streams.NOW)
    with store.reading() as tx:
        profiles = b"\n".join(orjson.dumps(line) for line in answers.export_profiles(tx, HOUSE))
        links = b"\n".join(orjson.dumps(line) for line in answers.export_links(tx, HOUSE))
        return profiles, links, {name: _visitor(tx, name) for name in _email_events()}


@cache
def _email_events() -> tuple[str, ...]:
    return tuple(one.message_id for one in streams.understood(stream(), HOUSE) if one.email)


def _visitor(tx: sa.Connection, message_id: str) -> object:
    told = answers.message(tx, HOUSE, message_id)
    assert told is not None
    return told["visitor"]


def _arrivals(rng: random.Random | None) -> Iterator[tuple[list[Received], int, bool]]:
    """Requests with the size of the batch that is stitched after each, and whether held events expire then."""
    everything = list(stream())
    if rng is None:
        yield everything, 10_000, False
        return
    everything += rng.sample(everything, 60)  # sent again
    rng.shuffle(everything)
    size = rng.choice([7, 40, 150])
    while everything:
        many = rng.randint(1, size)
        request, everything = everything[:many], everything[many:]
        yield request, rng.choice([3, many, 1_000]), rng.random() < 0.1


def test_the_stream_is_as_realistic_as_it_claims() -> None:
    evidence = streams.oracle(stream(), HOUSE)
    visitors = [evidence.visitor(one) for one in evidence.messages if one.email]
    assert 270 <= len(stream()) <= 400
    assert len(evidence.refused) >= 2  # accounts made again
    assert sum(one.known for one in visitors) >= 60
    assert sum(one.user_id is not None and one.anonymous_id is not None for one in visitors) >= 20
    assert any(not one.known for one in visitors)


@pytest.mark.slow
def test_every_order_ends_in_the_same_bytes_and_the_same_visitors(store: Store) -> None:
    first = end_of(store, None)
    assert first[0].count(b"\n") >= 16
    for seed in range(5):
        profiles, links, visitors = end_of(store, random.Random(seed))
        assert visitors == first[2], f"seed {seed}"
        assert profiles == first[0], f"seed {seed}"
        assert links == first[1], f"seed {seed}"


@pytest.mark.slow
def test_both_databases_end_in_the_same_bytes_as_the_oracle_says(sqlite_store: Store, postgres_store: Store) -> None:
    ends = [end_of(one, random.Random(99)) for one in (sqlite_store, postgres_store)]
    assert ends[0] == ends[1]
    wanted = streams.expected(streams.oracle(stream(), HOUSE), HOUSE)
    for store in (sqlite_store, postgres_store):
        with store.reading() as tx:
            assert streams.known(tx, HOUSE) == wanted


@pytest.mark.long
def test_a_hundred_orders_end_in_the_same_bytes(store: Store) -> None:
    first = end_of(store, None)
    for seed in range(1_000, 1_100):
        assert end_of(store, random.Random(seed)) == first, f"seed {seed}"
