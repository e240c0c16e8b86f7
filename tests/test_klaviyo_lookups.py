"""Tokens and profiles that only Klaviyo can resolve: noted, asked in the background, answered by the inbox."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import sqlalchemy as sa

from connector import config, inbox, leases, pipeline
from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn, answer, reset
from connector.house import House
from connector.klaviyo import lookups
from connector.klaviyo.api import Client, Patience, Refused, Unanswered
from connector.klaviyo.resolver import FORBIDDEN, LEASE, Resolver
from connector.messages import DAY, HOUR, MINUTE, Identifier, Received
from connector.store import Store
from connector.tables import facts, inbox_todo
from connector.tables import lookups as rows
from tests import streams
from tests.scenes import CONSENTING, JANE, Scene, email, forget
from tests.streams import NOW, at, identify, klaviyo, page

NEVER = threading.Event()
ENVIRON = {"CONNECTOR_SECRET": streams.SECRET, "KLAVIYO_API_KEY": KEY}
PLAIN = replace(streams.default(), klaviyo_asks=True)


@pytest.fixture
def shop() -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(limits=False) as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> int:
        return self.at


def resolver(store: Store, shop: KlaviyoStandIn, clock: Clock | None = None, holder: str = "a") -> Resolver:
    read = config.read({**ENVIRON, "KLAVIYO_API_URL": shop.url}, Path("/nonexistent/.env"))
    patient = Patience(tries=2, first_wait_seconds=0.001, longest_wait_seconds=0.002)
    return Resolver(read, store, Client(read, patience=patient), clock or Clock(), holder)


def scene(store: Store, house: House = PLAIN) -> Scene:
    return Scene(store, house)


def landing(minutes: float, anonymous: str, token: str, **more: Any) -> Received:
    return page(minutes, anonymous, context={"page": {"search": f"?_kx={token.replace('=', '%3D')}"}}, **more)


def wanted(store: Store) -> list[tuple[str, str, str | None, str, int]]:
    """(type, value, token, status, attempts) of every row."""
    query = sa.select(rows.c.type, rows.c.value, rows.c.token, rows.c.status, rows.c.attempts)
    with store.reading() as tx:
        return [tuple(row) for row in tx.execute(query.order_by(rows.c.type, rows.c.value))]


def stitch(scene: Scene) -> None:
    """The worker's turn: whatever waits in the inbox is processed."""
    with scene.store.writing() as tx:
        pipeline.process(tx, inbox.take(tx, 100), scene.house, NOW)


def hashed(token: str) -> str:
    return PLAIN.keys.token(token)


def filters(shop: KlaviyoStandIn) -> list[str]:
    return [parse_qs(urlsplit(one.path).query)["filter"][0] for one in shop.requests]


# -- end to end -------------------------------------------------------------------------------------------------------


def test_pages_from_before_the_answer_are_recognised_by_it(store: Store, shop: KlaviyoStandIn) -> None:
    shop.mail(JANE, "Received Email", NOW)
    profile = shop.profile("email", JANE)
    assert profile is not None
    token = shop.token(profile)
    world, event = scene(store), klaviyo(50, JANE, profile.id)
    world.arrives(landing(10, "hers", token), event)
    assert world.outcome(event) == "held"
    assert wanted(store) == [("klaviyo_exchange_id", hashed(token), token, "wanted", 0)]
    assert resolver(store, shop).resolve_once(NEVER) == 1
    assert filters(shop) == [f'equals(_kx,"{token}")']
    assert wanted(store) == [("klaviyo_exchange_id", hashed(token), None, "known", 0)], "the token is gone"
    stitch(world)
    assert world.outcome(event) == "stitched_late"
    assert world.leaves() == [("pending", None, "hers", None)]
    assert token not in world.text().replace(str(orjson.loads(world.received[0].body)["context"]), "")


def test_a_profile_that_came_without_an_address_is_asked_for_together_with_others(
    sqlite_store: Store, shop: KlaviyoStandIn
) -> None:
    ids = []
    for name in "abc":
        shop.mail(f"{name}@x.test", "Received Email", NOW)
        found = shop.profile("email", f"{name}@x.test")
        assert found is not None
        ids.append(found.id)
    world = scene(sqlite_store)
    world.arrives(*(klaviyo(n, None, one) for n, one in enumerate(ids)), klaviyo(5, "d@x.test", "01PROFILED"))
    assert resolver(sqlite_store, shop).resolve_once(NEVER) == 3
    assert filters(shop) == [f"any(id,[{','.join(sorted(f'{chr(34)}{one}{chr(34)}' for one in ids))}])"]
    stitch(world)
    with sqlite_store.reading() as tx:
        assert {one for one in streams.known(tx, world.house).people if len(one) > 1} == {
            frozenset({("email", f"{name}@x.test"), ("klaviyo_profile_id", one)})
            for name, one in [*zip("abc", ids, strict=True), ("d", "01PROFILED")]
        }
    world.arrives(klaviyo(60, None, ids[0]))
    assert resolver(sqlite_store, shop).resolve_once(NEVER) == 0, "it is known"


def test_an_id_from_a_link_is_asked_for_as_well(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    world = scene(sqlite_store)
    world.arrives(page(1, "B", context={"page": {"search": "?kl_pid=01PROFILEA"}}))
    assert wanted(sqlite_store) == [("klaviyo_profile_id", "01PROFILEA", None, "wanted", 0)]


# -- what Klaviyo does not know, and what goes wrong ------------------------------------------------------------------


def test_what_klaviyo_does_not_know_is_asked_three_times_in_two_days(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    world, clock = scene(sqlite_store), Clock()
    world.arrives(landing(10, "hers", "dW5rbm93bg.AbC123"))
    asking = resolver(sqlite_store, shop, clock)
    told = []
    for after in (0, DAY - 1, 1, DAY, DAY):
        clock.at += after
        asking.resolve_once(NEVER)
        told.append((len(shop.requests), *wanted(sqlite_store)[0][2:]))
    token = "dW5rbm93bg.AbC123"
    assert told == [
        (1, token, "wanted", 1),
        (1, token, "wanted", 1),
        (2, token, "wanted", 2),
        (3, None, "unknown", 2),
        (3, None, "unknown", 2),
    ]


def test_an_id_that_klaviyo_cannot_stand_spoils_the_question_of_no_other(
    sqlite_store: Store, shop: KlaviyoStandIn
) -> None:
    shop.mail(JANE, "Received Email", NOW)
    hers = shop.profile("email", JANE)
    assert hers is not None
    scene(sqlite_store).arrives(klaviyo(1, None, hers.id), klaviyo(2, None, "bad"), klaviyo(3, None, "worse"))
    body = orjson.dumps({"data": [{"type": "profile", "id": hers.id, "attributes": {"email": JANE}}]})
    shop.script(answer(400), answer(200, body=body), answer(400), answer(400), answer(404))
    assert resolver(sqlite_store, shop).resolve_once(NEVER) == 3
    assert filters(shop) == [
        f'any(id,["{hers.id}","bad","worse"])',
        f'equals(id,"{hers.id}")',
        'any(id,["bad","worse"])',
        'equals(id,"bad")',
        'equals(id,"worse")',
    ]
    assert {row[1]: row[3:] for row in wanted(sqlite_store)} == {
        hers.id: ("known", 0),
        "bad": ("wanted", 1),
        "worse": ("wanted", 1),
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_read_is_tried_again_after_an_hour_by_whoever(
    sqlite_store: Store, shop: KlaviyoStandIn, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    world, clock, stop = scene(sqlite_store), Clock(), threading.Event()
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"))
    shop.script(answer(status))
    with pytest.raises(Refused):
        resolver(sqlite_store, shop, clock).resolve_once(NEVER)
    assert len(shop.requests) == 1
    shop.script(answer(status))
    with caplog.at_level(logging.WARNING):
        resolver(sqlite_store, shop, clock)._round(stop)
    assert "c2VjcmV0" not in caplog.text
    with sqlite_store.reading() as tx:
        noted = orjson.loads(tx.scalar(sa.select(facts.c.value).where(facts.c.name == "klaviyo.lookups")) or "{}")
    assert (noted["at"], noted["ok"], noted["until"]) == (NOW, False, NOW + HOUR)
    assert (noted["said"] == FORBIDDEN) == (status == 403)
    clock.at += HOUR - 1
    assert resolver(sqlite_store, shop, clock, "another").resolve_once(NEVER) == 0
    assert len(shop.requests) == 2
    clock.at += MINUTE * 10
    assert resolver(sqlite_store, shop, clock, "another").resolve_once(NEVER) == 1


def test_a_new_key_is_tried_at_once(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    world, clock = scene(sqlite_store), Clock()
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"))
    shop.script(answer(403))
    old = resolver(sqlite_store, shop, clock)
    old._round(threading.Event())
    assert resolver(sqlite_store, shop, clock).resolve_once(NEVER) == 0
    newer = resolver(sqlite_store, shop, clock)
    newer._key = old._keys.record("another key")
    assert newer.resolve_once(NEVER) == 1


def test_a_network_that_fails_loses_nothing_and_tells_no_token(
    sqlite_store: Store, shop: KlaviyoStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    world, clock = scene(sqlite_store), Clock()
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"), landing(11, "his", "b3RoZXJz.AbC123"))
    shop.script(*[reset()] * 4, answer(503))
    with caplog.at_level(logging.DEBUG), pytest.raises(Unanswered) as caught:
        resolver(sqlite_store, shop, clock).resolve_once(NEVER)
    resolver(sqlite_store, shop, clock)._round(NEVER)
    said = caplog.text + str(caught.value)
    assert not {one for one in ("c2VjcmV0", "b3RoZXJz", KEY) if one in said}
    assert [row[3] for row in wanted(sqlite_store)] == ["wanted", "wanted"]
    assert [row.token for row in due(sqlite_store, NOW)] == [], "others would come first now"
    clock.at += 10 * MINUTE
    shop.script()
    assert resolver(sqlite_store, shop, clock).resolve_once(NEVER) == 2


def due(store: Store, now: int) -> list[lookups.Row]:
    with store.reading() as tx:
        return lookups.due(tx, lookups.TOKEN_TYPE, now, 10)


def test_one_process_at_a_time_asks_and_a_killed_ones_lease_runs_out(store: Store, shop: KlaviyoStandIn) -> None:
    world, clock = scene(store), Clock()
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"))
    with store.writing() as tx:
        assert leases.take(tx, LEASE, "killed", NOW, 2 * MINUTE)
    assert resolver(store, shop, clock, "b").resolve_once(NEVER) == 0
    assert shop.requests == []
    clock.at += 2 * MINUTE
    assert resolver(store, shop, clock, "b").resolve_once(NEVER) == 1


def test_who_lost_the_lease_while_asking_writes_nothing(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    world, clock = scene(sqlite_store), Clock()
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"))

    class Stolen(Client):
        def get(self, *given: Any, **more: Any) -> dict[str, Any]:
            found = super().get(*given, **more)
            clock.at += 3 * MINUTE
            with sqlite_store.writing() as tx:
                assert leases.take(tx, LEASE, "thief", clock.at, 2 * MINUTE)
            return found

    asking = resolver(sqlite_store, shop, clock)
    asking.client = Stolen(config.read({**ENVIRON, "KLAVIYO_API_URL": shop.url}, Path("/nonexistent/.env")))
    assert asking.resolve_once(NEVER) == 0
    assert wanted(sqlite_store)[0][3:] == ("wanted", 0)


def test_tokens_of_no_shape_are_not_asked_and_the_list_is_bounded(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene(sqlite_store)
    monkeypatch.setattr(lookups, "MOST", 2)
    world.arrives(
        landing(1, "B", 'x")or(1'), landing(2, "B", "null"), page(3, "B", context={"page": {"search": "?kl_pid=a b"}})
    )
    assert wanted(sqlite_store) == []
    world.arrives(*(landing(n, "B", f"dG9r{n}.AbC123") for n in range(3)))
    assert len(wanted(sqlite_store)) == 2


def test_a_token_seen_a_hundred_times_is_asked_once(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    world = scene(sqlite_store)
    world.arrives(*(landing(n, f"B{n % 7}", "c2VjcmV0.AbC123") for n in range(100)))
    resolver(sqlite_store, shop).resolve_once(NEVER)
    world.arrives(landing(200, "B", "c2VjcmV0.AbC123"))
    resolver(sqlite_store, shop).resolve_once(NEVER)
    assert len(shop.requests) == 1


def test_a_third_of_the_limits_is_used(sqlite_store: Store, shop: KlaviyoStandIn) -> None:
    stop = threading.Event()
    asking = resolver(sqlite_store, shop)
    assert all(asking._windows.reserve() == 0.0 for _ in range(25))
    assert asking._windows.reserve() > 0.0
    stop.set()
    scene(sqlite_store).arrives(landing(10, "hers", "c2VjcmV0.AbC123"))
    assert asking.resolve_once(stop) == 0, "stopped while it waited for its turn"
    assert (shop.requests, wanted(sqlite_store)[0][3:]) == ([], ("wanted", 0))


# -- consent, and being forgotten -------------------------------------------------------------------------------------


def test_whoever_refused_is_not_asked_about_neither_before_nor_after(sqlite_store: Store) -> None:
    world = scene(sqlite_store, replace(CONSENTING, klaviyo_asks=True))
    no = {"consent": {"categoryPreferences": {"ads": False}}}
    search = {"page": {"search": "?_kx=c2VjcmV0.AbC123"}}
    world.arrives(page(10, "hers", context={**no, **search}))
    assert wanted(sqlite_store) == []
    world.arrives(page(9, "his", context={"page": {"search": "?_kx=b3RoZXJz.AbC123"}}))
    assert [row[2] for row in wanted(sqlite_store)] == ["b3RoZXJz.AbC123"]
    world.arrives(page(20, "his", context=no))
    assert wanted(sqlite_store) == []
    yes = {"consent": {"categoryPreferences": {"ads": True}}}
    world.arrives(
        page(30, "his", context={**yes, "page": {"search": "?_kx=dGhpcmQ.AbC123"}}), page(31, "his", context=yes)
    )
    assert [row[2] for row in wanted(sqlite_store)] == ["dGhpcmQ.AbC123"], "who agreed again is asked about"


def test_forgetting_somebody_forgets_what_was_to_be_asked_of_them(store: Store, shop: KlaviyoStandIn) -> None:
    shop.mail(JANE, "Received Email", NOW)
    hers = shop.profile("email", JANE)
    assert hers is not None
    token = shop.token(hers)
    world = scene(store)
    world.arrives(identify(1, "hers", "u1", JANE), landing(10, "hers", token), landing(11, "else", "b3RoZXJz.AbC123"))
    world.arrives(forget(email(JANE)))
    assert [row[2] for row in wanted(store)] == ["b3RoZXJz.AbC123"]
    assert token not in world.text()


def test_an_answer_about_somebody_who_was_forgotten_meanwhile_is_dropped(
    sqlite_store: Store, shop: KlaviyoStandIn
) -> None:
    world = scene(sqlite_store)
    world.arrives(landing(10, "hers", "c2VjcmV0.AbC123"))
    row = due(sqlite_store, NOW)[0]
    with sqlite_store.writing() as tx:
        lookups.erase(tx, [Identifier(*row.key)])
        assert lookups.settle(tx, row, "01PROFILEA", {"email": JANE}, PLAIN.keys, NOW) is None
        assert tx.execute(sa.select(inbox_todo)).all() == []


def test_who_was_forgotten_and_comes_again_is_asked_and_answered_again(
    sqlite_store: Store, shop: KlaviyoStandIn
) -> None:
    shop.mail(JANE, "Received Email", NOW)
    hers = shop.profile("email", JANE)
    assert hers is not None
    token, clock = shop.token(hers), Clock()
    world = scene(sqlite_store)
    world.arrives(landing(10, "hers", token), now=at(10))
    clock.at = at(11)
    assert resolver(sqlite_store, shop, clock).resolve_once(NEVER) == 1
    stitch(world)
    world.arrives(forget(email(JANE)))
    assert wanted(sqlite_store) == []
    event = klaviyo(2_050, JANE, hers.id)
    world.arrives(landing(2_000, "hers", token), event)
    assert world.visitor(event)[1] is None
    clock.at = NOW
    resolver(sqlite_store, shop, clock).resolve_once(NEVER)
    stitch(world)
    assert world.visitor(event) == (None, "hers", None, False)
