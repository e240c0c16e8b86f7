"""Random small worlds: whatever is received, in whatever order, the stages say what the oracle says."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector import answers, held, migrate, schema
from connector.house import House
from connector.messages import HOUR, Identifier, Json, Kind, Outcome, Received
from connector.store import Store, open_store
from connector.tables import messages, outbox
from tests import streams
from tests.oracle import Oracle
from tests.streams import (
    call,
    counted,
    customerio,
    expected,
    house,
    identify,
    klaviyo,
    known,
    md5,
    page,
    sha256,
    sourced,
)

HOUSES = (
    house(),
    house(("klaviyo", "customerio")),
    house(("customerio",), tuple((f"sources/{one}.toml", 'user_id = "segment"') for one in ("klaviyo", "customerio"))),
)

ROLE = "info@x.test"
JUNK = ["null", '"undefined"', "00000000-0000-0000-0000-000000000000", "guest"]
SITE = ["segment", "tracking_api"]
NAMES = ["Email Opened", "Email Opened", "Email Unsubscribed", "Email Machine Opened"]
INTEGRATIONS = ["Klaviyo", "Klaviyo", "Customer.io (Actions)", "Iterable", None]

Elements = st.SearchStrategy[Received]
Maybe = st.SearchStrategy[str | None]

MINUTES = st.one_of(
    st.integers(0, 6).map(float),
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.2, 0.5, 0.999])).map(sum),
    st.just(1e6),  # the future: the receipt counts
)
RECEIVED = st.sampled_from([streams.at(5), streams.NOW])


@dataclass(frozen=True)
class Cast:
    """Who and what appears in a world. The smaller it is, the more of it collides."""

    emails: list[str]
    users: list[str]
    browsers: list[str]
    hashes: list[str]
    profiles: list[str]
    noise: list[str]

    def some(self, *pools: list[str]) -> Maybe:
        everything = [one for pool in pools for one in pool]
        return st.one_of(st.sampled_from(everything), st.none(), *([st.sampled_from(self.noise)] if self.noise else []))


WIDE = Cast(
    emails=[f"{name}@x.test" for name in "abcdefg"],
    users=["u1", "u2", "u3", "a@x.test"],
    browsers=["B1", "B2", "B3", uuid.UUID(int=0xC0FFEE).hex, uuid.UUID(int=1 << 120).hex],
    hashes=[md5("a@x.test"), sha256("b@x.test"), sha256("a@x.test").upper(), md5("c@x.test")],
    profiles=["P1", "P2"],
    noise=[*JUNK, ROLE],
)
NARROW = Cast(["a@x.test", "b@x.test"], ["u1", "u2"], ["B1", "B2"], [md5("a@x.test")], ["P1"], [])
PHONES = [None, "+1 555 123 0001", "+15551230001", "+15551230002"]


def site_calls(cast: Cast) -> Elements:
    names, emails = cast.some(cast.browsers, cast.hashes, cast.emails), cast.some(cast.emails)
    browsers, users = cast.some(cast.browsers), cast.some(cast.users)
    return st.one_of(
        st.builds(identify, MINUTES, browsers, users, emails, source=st.sampled_from(SITE)),
        st.builds(identify, MINUTES, browsers, users, emails, received_at=RECEIVED),
        st.builds(identify, MINUTES, names, users, emails),
        st.builds(page, MINUTES, cast.some(cast.browsers, cast.hashes), users),
        st.builds(_group, MINUTES, browsers, users, emails),
        st.builds(_alias, MINUTES, names, users),
        st.builds(_with_phone, MINUTES, browsers, users, emails, st.sampled_from(PHONES)),
    )


def email_events(cast: Cast) -> Elements:
    emails, users = cast.some(cast.emails), cast.some(cast.users, cast.emails)
    names, profiles = cast.some(cast.emails, cast.hashes, cast.browsers), cast.some(cast.profiles)
    words = st.sampled_from(NAMES), st.sampled_from(INTEGRATIONS)
    return st.one_of(
        st.builds(sourced, MINUTES, names, users, emails, *words, received_at=RECEIVED),
        st.builds(klaviyo, MINUTES, emails, profiles, st.sampled_from(["opened_email", "bounced_email", "sms"])),
        st.builds(klaviyo, MINUTES, emails, profiles),
        st.builds(customerio, MINUTES, st.none(), emails, profiles, users),
        st.builds(customerio, MINUTES, emails, emails, profiles, users),
    )


def _group(minutes: float, anonymous: str | None, user: str | None, email: str | None) -> Received:
    return call(minutes, type="group", groupId="G", anonymousId=anonymous, userId=user, traits={"email": email})


def _with_phone(
    minutes: float, anonymous: str | None, user: str | None, email: str | None, phone: str | None
) -> Received:
    return call(minutes, type="identify", anonymousId=anonymous, userId=user, traits={"email": email, "phone": phone})


def _alias(minutes: float, previous: str | None, user: str | None) -> Received:
    return call(minutes, type="alias", previousId=previous, userId=user)


@dataclass(frozen=True)
class World:
    """What is received, in the order and the batches of its arrival; after some of them, held events expire."""

    number: int
    batches: tuple[tuple[Received, ...], ...]
    expiries: tuple[bool, ...]

    def __repr__(self) -> str:
        lines = [f"\nworld in house {self.number}"]
        for batch, expires in zip(self.batches, self.expiries, strict=True):
            lines += [f"  {one.source} {one.received_at - streams.NOW} {one.body}" for one in batch]
            lines.append("  - held events expire -" if expires else "  -")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))  # what hypothesis asks before it spells a dataclass out

    @property
    def house(self) -> House:
        return HOUSES[self.number]

    @property
    def everything(self) -> list[Received]:
        return [one for batch in self.batches for one in batch]


A, B = "a@x.test", "b@x.test"
US: Maybe = st.sampled_from(["u1", "u2", None])
NEAR = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0])


def crowds() -> Elements:
    """More addresses and phones than a person may have."""
    emails: Maybe = st.sampled_from(WIDE.emails)
    return st.one_of(
        st.builds(identify, MINUTES, st.none(), st.just("u1"), emails),
        st.builds(identify, MINUTES, st.just("B1"), st.just("u1"), emails),
        st.builds(klaviyo, MINUTES, emails, st.just("P1")),
        st.builds(sourced, MINUTES, emails),
    )


def turns() -> Elements:
    """Two people who share their browsers within a few minutes."""
    browsers, emails = st.sampled_from(["B1", "B1", "B2"]), st.sampled_from([A, B, None])
    return st.one_of(
        st.builds(identify, NEAR, browsers, US, emails),
        st.builds(page, NEAR, browsers, US),
        st.builds(identify, NEAR, st.none(), US, emails),
        st.builds(sourced, NEAR, st.sampled_from([A, B, "B1", None]), US, emails),
    )


def handovers() -> Elements:
    """Two users, their addresses and one vendor profile, each told to belong to the other at times."""
    emails, profiles = st.sampled_from([A, B, "c@x.test"]), st.sampled_from(["P1", "P1", "P2", None])
    return st.one_of(
        st.builds(identify, NEAR, st.sampled_from(["B1", "B2", None]), US, emails),
        st.builds(klaviyo, NEAR, st.one_of(emails, emails, st.none()), profiles),
        st.builds(customerio, NEAR, st.none(), st.one_of(emails, st.none()), profiles, US),
        st.builds(sourced, NEAR, emails, US, emails),
    )


def digested() -> Elements:
    """Hashes of two addresses where browsers should be, told by the site and by vendors."""
    names: Maybe = st.sampled_from([md5(A), md5(A), sha256(B), "B1", A])
    emails: Maybe = st.sampled_from([A, B, None])
    return st.one_of(
        st.builds(identify, NEAR, names, US, emails),
        st.builds(identify, NEAR, st.none(), US, emails),
        st.builds(page, NEAR, names),
        st.builds(sourced, NEAR, names, US, emails),
    )


ELEMENTS = [st.one_of(site_calls(cast), email_events(cast)) for cast in (WIDE, NARROW)]
ELEMENTS += [crowds(), turns(), turns(), handovers(), handovers(), digested(), digested()]


@st.composite
def worlds(draw: st.DrawFn, size: int = 20) -> World:
    elements = ELEMENTS[draw(st.integers(0, len(ELEMENTS) - 1))]
    drawn = draw(st.lists(elements, min_size=draw(st.integers(1, size // 2)), max_size=size))
    # named in the order of drawing: the same example is the same world again
    received = [_named(one, f"m{number}") for number, one in enumerate(drawn)]
    repeats = draw(st.lists(st.sampled_from(received), max_size=3))
    batches = _batched(draw, draw(st.permutations(received + repeats)))
    return World(draw(st.integers(0, len(HOUSES) - 1)), *batches)


def _batched(
    draw: Callable[[st.SearchStrategy[Any]], Any], order: list[Received]
) -> tuple[tuple[tuple[Received, ...], ...], tuple[bool, ...]]:
    cuts = draw(st.sets(st.integers(1, len(order) - 1), max_size=4)) if len(order) > 1 else set()
    bounds = [0, *sorted(cuts), len(order)]
    batches = tuple(tuple(order[a:b]) for a, b in pairwise(bounds))
    rarely = st.sampled_from([False, False, False, True])
    return batches, tuple(draw(st.lists(rarely, min_size=len(batches), max_size=len(batches))))


def _named(one: Received, name: str) -> Received:
    body = orjson.loads(one.body)
    body["messageId" if one.source in SITE else {"klaviyo": "external_id", "customerio": "event_id"}[one.source]] = name
    return Received(one.source, name, orjson.dumps(body).decode(), one.received_at)


class _Undone(Exception):
    pass


@contextmanager
def undone(store: Store) -> Iterator[sa.Connection]:
    """A transaction that never happened, so that thousands of worlds share one store."""
    try:
        with store.writing() as tx:
            yield tx
            raise _Undone
    except _Undone:
        pass


def play(tx: sa.Connection, world: World) -> Oracle:
    """Let a world happen, as the worker would; the oracle's view of it."""
    for batch, expires in zip(world.batches, world.expiries, strict=True):
        streams.take_in(tx, batch, world.house)
        if expires:
            held.expire(tx, world.house, streams.NOW + 80 * HOUR)
    return streams.oracle(world.everything, world.house)


def times_of(oracle: Oracle) -> list[int]:
    return sorted({at for one in oracle.messages for at in (one.at - 1, one.at)})


def compare(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    """People, refused links, profile ids, owners of everything at any time, and every visitor are the oracle's."""
    times = times_of(oracle)
    found, wanted = known(tx, world.house, times), expected(oracle, world.house, times)
    assert found.people == wanted.people
    assert found.refused == wanted.refused
    assert found.profile_ids == wanted.profile_ids
    assert found.owners == wanted.owners
    assert found.visitors == wanted.visitors


def invariants(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    assert_counters_equal_a_recount(tx, oracle)
    assert_each_event_leaves_once(tx, world, oracle)
    assert_nothing_is_asserted_that_nobody_said(tx, oracle)


def assert_counters_equal_a_recount(tx: sa.Connection, oracle: Oracle) -> None:
    told = counted(tx)
    recount = Counter(
        {"profiles": len(oracle.people), "links": len(oracle.links), "refused_links": len(oracle.refused)}
    )
    for row in tx.execute(
        sa.select(messages).where(messages.c.type == "track", messages.c.arrived_usable.is_not(None))
    ):
        recount[f"email.{row.outcome}"] += 1
        recount["email.arrived_unusable"] += row.outcome in Outcome.COUNTED and not row.arrived_usable
    for status in tx.scalars(sa.select(outbox.c.status)):
        recount[f"outbox.segment.{status}"] += 1
    names = ("profiles", "links", "refused_links", "outbox.", "email.")
    left_usable = {"email.left_usable", "email.echo"}  # told apart below: what left is in the outbox
    found = {name: n for name, n in told.items() if name.startswith(names) and name not in left_usable}
    assert found == {name: n for name, n in recount.items() if n}


def assert_each_event_leaves_once(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    """One row of the outbox per counted email event, under the one messageId it can have, held only if it must be."""
    destination = world.house.destination.name
    rows = tx.execute(sa.select(outbox)).all()
    events = {row.message_id: row for row in rows if orjson.loads(row.body)["type"] == "track"}
    counted_events = {
        world.house.keys.outgoing_id(one.key, destination): one
        for one in oracle.messages
        if one.email and not one.email.ignored
    }
    assert len({row.message_id for row in rows}) == len(rows)
    assert events.keys() == counted_events.keys()
    for message_id, row in events.items():
        assert row.at == counted_events[message_id].at
        if row.status == "held":
            assert not oracle.visitor(counted_events[message_id]).known
    joins = [orjson.loads(row.body) for row in rows if orjson.loads(row.body)["type"] == "identify"]
    assert len({one["anonymousId"] for one in joins}) == len(joins)


def assert_nothing_is_asserted_that_nobody_said(tx: sa.Connection, oracle: Oracle) -> None:
    """Ids that are together in one outgoing call were together in a message (or are a vendor's name for the userId)."""
    arrived_with = {one.message_id: one.anonymous_id for one in oracle.messages if one.email}
    for body in map(orjson.loads, tx.scalars(sa.select(outbox.c.body).where(outbox.c.status == "pending"))):
        if body["type"] != "track":
            continue
        user_id, anonymous_id, address = streams.said(body)
        assert user_id or anonymous_id
        opaque = anonymous_id is not None and anonymous_id.startswith(body["messageId"][:14] + "anon-")
        user, browser = Identifier("user_id", user_id or ""), Identifier("anonymous_id", anonymous_id or "")
        email = Identifier("email", address or "")
        if user_id:
            assert user in oracle.carried
        if user_id and anonymous_id:
            assert oracle.directly(user, browser, Kind.OWNING)
        if user_id and address:
            same = [user, *(one for one in oracle.seen if one.type.endswith("_user_id") and one.value == user_id)]
            assert any(oracle.directly(one, email, Kind.JOINING) for one in same)
        if anonymous_id and address and not user_id and not opaque:
            arrived = arrived_with[body["context"]["connector"]["messageId"]] == anonymous_id
            assert arrived or oracle.directly(browser, email, Kind.OWNING)


# -- the properties -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One SQLite store for all worlds of this module; each is rolled back."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('worlds') / 'connector.db'}")
    migrate.upgrade(store)
    yield store
    store.dispose()


WORLDS = settings(suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


def check_world(store: Store, world: World) -> None:
    with undone(store) as tx:
        oracle = play(tx, world)
        compare(tx, world, oracle)
        invariants(tx, world, oracle)


@pytest.mark.slow
@settings(WORLDS, max_examples=700)
@given(world=worlds())
def test_every_small_world_ends_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.slow
@settings(WORLDS, max_examples=60)
@given(world=worlds())
def test_every_small_world_ends_as_the_oracle_says_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@pytest.mark.long
@settings(WORLDS, max_examples=10_000)
@given(world=worlds(size=26))
def test_thousands_of_worlds_end_as_the_oracle_says(scratch: Store, world: World) -> None:
    check_world(scratch, world)


@pytest.mark.long
@settings(WORLDS, max_examples=2_000)
@given(world=worlds(size=26))
def test_thousands_of_worlds_end_as_the_oracle_says_on_postgresql(postgres_store: Store, world: World) -> None:
    check_world(postgres_store, world)


@settings(WORLDS, max_examples=60)
@given(world=worlds(), data=st.data())
def test_another_order_in_other_batches_ends_in_the_same_state(
    scratch: Store, world: World, data: st.DataObject
) -> None:
    everything = world.everything
    other = World(world.number, *_batched(data.draw, data.draw(st.permutations(everything))))
    ends = []
    for one in (world, other):
        with undone(scratch) as tx:
            oracle = play(tx, one)
            ends.append(
                (
                    known(tx, one.house, times_of(oracle)),
                    [orjson.dumps(line) for line in answers.export_profiles(tx, one.house)],
                    [orjson.dumps(line) for line in answers.export_links(tx, one.house)],
                )
            )
    assert ends[0] == ends[1]


@settings(WORLDS, max_examples=60)
@given(world=worlds())
def test_two_known_people_are_never_one_and_no_limit_is_exceeded(scratch: Store, world: World) -> None:
    with undone(scratch) as tx:
        play(tx, world)
        for person in known(tx, world.house).people:
            for type_name, limit in world.house.rules.limits.items():
                assert sum(one.type == type_name for one in person) <= limit


# -- validity ---------------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3),
    st.sampled_from(["", "track", "identify", "page", "alias", "delete", "U1"]),
    st.lists(st.integers(), max_size=1), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [
    "type", "event", "userId", "anonymousId", "previousId", "groupId", "properties", "traits", "context",
    "integrations", "messageId", "timestamp", "unheardOf",
]  # fmt: skip
CALLS = st.builds(
    lambda kind, loose: {"type": kind, **loose} if kind else loose,
    st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "delete", None]),
    st.dictionaries(st.sampled_from(KEYS[1:]), VALUES, max_size=6),
)


@settings(max_examples=1_500)
@given(CALLS)
def test_what_the_cheap_check_admits_the_schema_admits_and_leaves_as_it_is(body: dict[str, Json]) -> None:
    if schema._is_ordinary(body):
        assert {**body, **cast(Json, schema.CALL.load(dict(body)))} == body


@settings(max_examples=50)
@given(CALLS)
def test_the_cheap_check_is_worth_having(body: dict[str, Json]) -> None:
    """It admits every ordinary event, or it would check nothing."""
    everyday = {"type": "track", "event": "Order Completed", "anonymousId": "B1", "properties": {}, "context": body}
    assert schema._is_ordinary(everyday)
