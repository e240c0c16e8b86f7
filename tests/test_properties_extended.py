"""Random small worlds in which calls hand over first-party ids of browsers, and an oracle that reads them naively."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from connector import answers, counters, derive, operate
from connector.devices import Devices
from connector.graph import Graph
from connector.house import House
from connector.messages import MINUTE, Identifier, Received, parse_time
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import identifiers
from tests import streams
from tests.oracle_devices import Extended
from tests.scenes import browser, email, user
from tests.streams import call, identify, klaviyo, md5, page, sourced
from tests.test_properties_identity import derived
from tests.worlds import act, undone

SECTIONS = """
[types.ga_client_id]
device = true
hub_limit = {most}
paths = ["properties.ga_client_id"]

[types.shopify_y]
device = true

[types.anonymous_id]
"""
SHIPPED = (shipped_mappings() / "identity.toml").read_text()


def under(most: int = 100, *changes: tuple[str, str]) -> House:
    """The shipped rules and two types of devices. Args: most browsers of a ga_client_id."""
    text = SHIPPED.replace("[types.anonymous_id]\n", SECTIONS.format(most=most).lstrip())
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return streams.house((), (), (("identity.toml", text),))


HOUSES = (under(), under(2), under(100, ("hub_limit = 20", "hub_limit = 2")), under(100, ("limit = 5", "limit = 1")))
EMAILS = ["a@x.test", "a@x.test", "b@x.test", "info@x.test"]
USERS = ["u1", "u2"]
BROWSERS = ["B1", "B2", "B3", "B4", md5("a@x.test")]
NOBODY = ["undefined"] * 12
"""What a broken client sends as anonymousId. The call is read, and no browser is seen with its address."""

GA, SHOPIFY = ["g1", "g2", "g3"], ["s1", "s2"]
MINUTES = [0, 0.2, 0.5, 1, 2, 3, 5, 8]


def handed_over(rng: random.Random) -> dict[str, Any]:
    """Some devices, in context.externalIds or in the properties."""
    ids = [("ga_client_id", rng.choice(GA))] if rng.random() < 0.7 else []
    ids += [("shopify_y", rng.choice(SHOPIFY))] if rng.random() < 0.4 else []
    if len(ids) == 1 and ids[0][0] == "ga_client_id" and rng.random() < 0.5:
        return {"properties": {"ga_client_id": ids[0][1]}}
    listed = [{"type": name, "id": value, "collection": "users", "encoding": "none"} for name, value in ids]
    return {"context": {"externalIds": listed}}


def told(rng: random.Random) -> Received:
    minute = rng.choice(MINUTES)
    dice = rng.random()
    address, person = rng.choice([*EMAILS, None]), rng.choice([*USERS, *[None] * 8])
    if dice < 0.3:
        return identify(minute, rng.choice([*BROWSERS, *NOBODY]), person, address, **handed_over(rng))
    if dice < 0.65:
        return page(minute, rng.choice(BROWSERS), person if rng.random() < 0.2 else None, **handed_over(rng))
    if dice < 0.7:
        return call(minute, type="group", groupId="G", anonymousId="B1", traits={"email": address}, **handed_over(rng))
    if dice < 0.85:
        return klaviyo(minute, rng.choice([*EMAILS, None]), rng.choice(["P1", "P2"]))
    return sourced(minute, rng.choice(EMAILS))


def somebody(rng: random.Random) -> Identifier:
    named = [email(one) for one in EMAILS] + [user(one) for one in USERS] + [browser(one) for one in BROWSERS]
    return rng.choice(named + [Identifier("ga_client_id", one) for one in GA] * 2)


def acts(rng: random.Random, received: Sequence[Received]) -> Iterator[Received]:
    for number in range(rng.choice([0, 0, 1, 3])):
        until = rng.choice([None, None, streams.at(1), streams.at(2)])
        match rng.randrange(4):
            case 0:
                one = rng.choice(received)
                yield act(number, "unlink", 9, message=f"{one.source}/{one.message_id}")
            case 1:
                yield act(number, "unlink", 9, identifier=somebody(rng), until=until)
            case 2:
                yield act(number, "restore", 10, revocation=f"act{number - 1}")
            case _:
                left, right = somebody(rng), somebody(rng)
                if left != right:
                    yield act(number, "unlink", 9, left=left, right=right, until=until)


def world(seed: int) -> tuple[House, list[Received]]:
    rng = random.Random(seed)
    received = [_named(told(rng), f"{number:02}") for number in range(rng.randint(3, 14))]
    return HOUSES[seed % len(HOUSES)], [*received, *acts(rng, received)]


def _named(one: Received, name: str) -> Received:
    """Ties are broken by the messages' ids, so that these are the same every time."""
    body = orjson.loads(one.body) | {"external_id" if one.source == "klaviyo" else "messageId": name}
    return Received(one.source, name, orjson.dumps(body).decode(), one.received_at)


def play(tx: sa.Connection, house: House, received: Sequence[Received], rng: random.Random) -> None:
    """In some batches, some of it twice."""
    waiting = [*received, *rng.sample(received, min(3, len(received)))]
    while waiting:
        n = rng.randint(1, len(waiting))
        streams.take_in(tx, waiting[:n], house)
        waiting = waiting[n:]


def known(tx: sa.Connection, house: House) -> tuple[object, ...]:
    exported = (list(answers.export_profiles(tx, house)), list(answers.export_links(tx, house)))
    return streams.known(tx, house, [streams.at(minute) for minute in MINUTES]), *exported


def recognised(tx: sa.Connection, house: House) -> dict[str, frozenset[Identifier]]:
    """Whose a browser is by its devices, where they say so."""
    graph = Graph(tx, house.rules)
    graph.load(tx.scalars(sa.select(identifiers.c.id)))
    devices = Devices(graph)
    found = {}
    for one in filter(lambda one: one.browser, list(graph.nodes.values())):
        (known,) = devices.owners([(one.id, streams.at(3))])
        if known is not None:
            members = graph.members(known.person)
            assert known.anchor in members or graph.is_contested(known.anchor)
            found[one.identifier.value] = frozenset(graph.nodes[each].identifier for each in members)
    return found


def check(store: Store, seed: int) -> bool:
    """One world, its answers compared; whether a device decided anything in it."""
    house, received = world(seed)
    oracle = Extended(tuple(received), house)
    ends = []
    rng = random.Random(seed)
    for order in (received, rng.sample(received, len(received))):
        with undone(store) as tx:
            play(tx, house, order, rng)
            ends.append(known(tx, house))
            assert streams.visitors(tx, house) == oracle.visitors(), seed
            assert recognised(tx, house) == oracle.recognised(), seed
            found = streams.known(tx, house)
            assert (found.people, found.refused) == (oracle.base.people, frozenset(_refused(oracle))), seed
            derive.rebuild(tx, house.rules, house.keys)
            assert known(tx, house) == ends[-1], f"{seed}: a rebuild changes nothing"
    assert ends[0] == ends[1], f"{seed}: the order of arrival does not matter"
    without = {one.key: oracle.base.visitor(one) for one in oracle.base.messages if one.email}
    return oracle.visitors() != without


def _refused(oracle: Extended) -> Iterator[tuple[Identifier, Identifier, str, str]]:
    return ((*one.link[:2], one.link.kind, one.limit) for one in oracle.base.refused)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One SQLite store for all worlds of this module; each is rolled back."""
    from connector import migrate
    from connector.store import open_store

    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('devices') / 'connector.db'}")
    migrate.upgrade(store)
    yield store
    store.dispose()


@pytest.mark.slow
def test_looking_back_at_an_event_tells_what_devices_said_then(scratch: Store) -> None:
    for seed in range(40):
        house, received = world(seed)
        then = [one for one in received if _minute(one) <= streams.at(2) // MINUTE]
        oracle = Extended(tuple(then), house)
        with undone(scratch) as tx:
            play(tx, house, received, random.Random(seed))
            for key, visitor in oracle.visitors().items():
                told = answers.message(tx, house, key, as_of=streams.at(2))
                assert told is not None
                found = (told["visitor"]["user_id"], told["visitor"]["anonymous_id"])
                assert found == (visitor.user_id, visitor.anonymous_id), (seed, key)


def _minute(one: Received) -> int:
    body = orjson.loads(one.body)
    text = body.get("timestamp") or body.get("payload", {}).get("data", {}).get("attributes", {}).get("datetime")
    return (body["at"] if one.source == "operator" else parse_time(text) or 0) // MINUTE


@pytest.mark.slow
def test_whoever_is_forgotten_a_rebuild_changes_nothing_of_devices(scratch: Store) -> None:
    for seed in range(60):
        house, received = world(seed)
        rng = random.Random(seed)
        forgets = [operate.forget(streams.NOW, somebody(rng), at=streams.at(rng.choice([0, 1, 5]))) for _ in range(3)]
        with undone(scratch) as tx:
            for one in rng.sample([*received, *forgets], len(received) + 3):
                streams.take_in(tx, [one], house)
            before = (known(tx, house), derived(tx), counters.read(tx)["profiles"])
            derive.rebuild(tx, house.rules, house.keys)
            assert (known(tx, house), derived(tx), counters.read(tx)["profiles"]) == before, seed


@pytest.mark.slow
def test_a_rebuild_by_other_rules_ends_as_if_they_had_always_been_these_for_devices_too(scratch: Store) -> None:
    for seed in range(60):
        house, received = world(seed)
        other = HOUSES[(seed + 1) % len(HOUSES)]
        with undone(scratch) as tx:
            play(tx, house, received, random.Random(seed))
            derive.rebuild(tx, other.rules, other.keys)
            rebuilt = known(tx, other)
        with undone(scratch) as tx:
            play(tx, other, received, random.Random(seed))
            assert known(tx, other) == rebuilt, seed


@pytest.mark.slow
def test_every_world_with_devices_ends_as_the_oracle_says(scratch: Store) -> None:
    decided = [check(scratch, seed) for seed in range(240)]
    assert sum(decided) > 20, "devices decide something in many of these worlds"


@pytest.mark.slow
def test_every_world_with_devices_ends_as_the_oracle_says_on_postgresql(postgres_store: Store) -> None:
    decided = [check(postgres_store, seed) for seed in range(1_000, 1_024)]
    assert any(decided)


@pytest.mark.long
def test_thousands_of_worlds_with_devices_end_as_the_oracle_says(scratch: Store) -> None:
    for seed in range(10_000, 14_000):
        check(scratch, seed)
