"""Random histories in which people are forgotten: nothing drifts, and nothing that was kept as a cache goes stale."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from connector import counters, derive, operate
from connector.messages import Identifier, Received
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import identifiers, links, metadata, sightings
from tests import streams
from tests.scenes import browser, email, klaviyo_profile, user
from tests.streams import NOW, at, call, identify, klaviyo, md5, page, sourced

SHIPPED = (shipped_mappings() / "identity.toml").read_text()
TIGHT = SHIPPED.replace("hub_limit = 20\n", "hub_limit = 2\n").replace("limit = 5", "limit = 2")
HOUSE = streams.house((), (), (("identity.toml", TIGHT.replace("required = []", 'required = ["ads"]')),))
EMAILS, USERS = ["a@x.test", "b@x.test"], ["u1", "u2", "u3"]
BROWSERS, PROFILES = ["b1", "b2", md5("a@x.test")], ["p1", "p2"]
MINUTES = [0, 1, 2, 5, 10, 20]


def somebody(rng: random.Random) -> Identifier:
    makers = [(email, EMAILS), (user, USERS), (browser, BROWSERS), (klaviyo_profile, PROFILES)]
    make, names = rng.choice(makers)
    return make(rng.choice(names))


def told(rng: random.Random) -> Received:
    """A message of the site or of an email platform."""
    minute, maybe = rng.choice(MINUTES), rng.choice([*USERS, None])
    choice = {"context": {"consent": {"categoryPreferences": {"ads": rng.random() < 0.5}}}}
    match rng.randrange(4):
        case 0:
            more = choice if rng.random() < 0.3 else {}
            return identify(minute, rng.choice([*BROWSERS, None]), maybe, rng.choice([*EMAILS, None]), **more)
        case 1:
            url = {"context": {"page": {"url": f"https://shop.test/?kl_pid={rng.choice(PROFILES)}"}}}
            return page(minute, rng.choice(BROWSERS), maybe, **(url if rng.random() < 0.5 else {}))
        case 2:
            return sourced(minute, rng.choice([*EMAILS, md5("a@x.test"), None]), maybe, rng.choice([*EMAILS, None]))
        case _:
            return klaviyo(minute, rng.choice(EMAILS), rng.choice(PROFILES))


def history(rng: random.Random) -> Iterator[Received]:
    acts: list[Received] = []
    for _ in range(25):
        dice = rng.random()
        if dice < 0.7:
            yield told(rng)
        elif dice < 0.78:
            acts.append(operate.unlink(at(rng.choice([1, 5, 30])), left=somebody(rng), right=somebody(rng)))
            yield acts[-1]
        elif dice < 0.82 and acts:
            yield operate.restore(at(31), rng.choice(acts).message_id)
        elif dice < 0.9:
            yield operate.link(at(rng.choice([1, 5, 15])), somebody(rng), user(rng.choice(USERS)))
        elif dice < 0.95:
            yield operate.forget(NOW, somebody(rng), at=at(rng.choice([0, 1, 5, 15])))
        else:
            yield dataclasses.replace(call(rng.choice(MINUTES), type="delete", userId=rng.choice(USERS)))


def kept(tx: sa.Connection) -> dict[str, object]:
    """Every row and number that a rebuild derives."""
    tables = (identifiers, links, sightings)
    rows = {table.name: sorted(map(tuple, tx.execute(sa.select(table))), key=str) for table in tables}
    numbers = counters.read(tx)
    return {**rows, "numbers": {name: numbers.get(name, 0) for name in ("profiles", "links", "refused_links")}}


def check(store: Store, seed: int) -> None:
    with store.writing() as tx:
        for table in metadata.sorted_tables:
            tx.execute(sa.delete(table))
    for one in history(random.Random(seed)):
        streams.feed(store, one, house=HOUSE)
        with store.writing() as tx:
            assert all(n >= 0 for n in counters.read(tx).values()), f"seed {seed}"
            before = kept(tx)
            derive.rebuild(tx, HOUSE.rules, HOUSE.keys)
            assert kept(tx) == before, f"seed {seed}, after {one.body}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_whoever_is_forgotten_a_rebuild_changes_nothing(sqlite_store: Store, seed: int) -> None:
    check(sqlite_store, seed)


@pytest.mark.slow
def test_whoever_is_forgotten_a_rebuild_changes_nothing_on_postgresql(postgres_store: Store) -> None:
    for seed in range(100, 104):
        check(postgres_store, seed)


@pytest.mark.long
def test_whoever_is_forgotten_in_a_thousand_histories_a_rebuild_changes_nothing(sqlite_store: Store) -> None:
    for seed in range(1_000, 2_000):
        check(sqlite_store, seed)
