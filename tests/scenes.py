"""A scene: what happens on one store, seen in two orders of arrival, beside the oracle, and made anew from the record.

Every ``happens`` lets its messages arrive one by one, and then asks three things at once: does the store say what the
oracle says; would it say the same had everything come backwards; is a rebuild the same again?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import orjson
import sqlalchemy as sa

from connector import answers, derive, inbox, operate, pipeline, queue
from connector.house import House
from connector.messages import DAY, MINUTE, Identifier, Received
from connector.resources import shipped_mappings
from connector.store import Store
from connector.tables import metadata, outbox
from tests import streams
from tests.oracle import Oracle
from tests.streams import (
    NOW,
    Person,
    Visitor,
    at,
    call,
    customerio,
    identify,
    klaviyo,
    known,
    md5,
    page,
    sha256,
    sourced,
)  # fmt: skip

JANE, JOE = "jane@x.test", "joe@x.test"


def email(value: str) -> Identifier:
    return Identifier("email", value)


def user(value: str) -> Identifier:
    return Identifier("user_id", value)


def browser(value: str) -> Identifier:
    return Identifier("anonymous_id", value)


def klaviyo_profile(value: str) -> Identifier:
    return Identifier("klaviyo_profile_id", value)


def values(person: Iterable[Identifier] | None) -> set[str]:
    return {one.value for one in person or ()}


@dataclass
class Scene:
    """One history on one store, under one set of mappings. received: everything that came, in its order."""

    store: Store
    house: House = field(default_factory=streams.default)
    received: list[Received] = field(default_factory=list)

    def happens(self, *received: Received, now: int = NOW) -> None:
        """These arrive one by one; what is known then must not depend on that."""
        self.arrives(*received, now=now)
        oracle = self.oracle()
        times = _times_of(oracle)
        with self.store.reading() as tx:
            seen = known(tx, self.house, times)
            told = _told(tx, self.house, oracle)
        assert seen == streams.expected(oracle, self.house, times)
        with _undone(self.store) as tx:
            numbers = _numbers(tx)
            derive.rebuild(tx, self.house.rules, self.house.keys)
            assert (_told(tx, self.house, oracle), _numbers(tx)) == (told, numbers), "a rebuild changes nothing"
        with _undone(self.store) as tx:
            for table in metadata.sorted_tables:
                tx.execute(sa.delete(table))
            for one in reversed(self.received):
                streams.take_in(tx, [one], self.house, now)
            assert known(tx, self.house, times) == seen, "the order of arrival does not matter"
            assert _told(tx, self.house, oracle) == told, "the order of arrival does not matter"

    def arrives(self, *received: Received, now: int = NOW) -> None:
        """These arrive one by one, and nothing is asked: for what depends on when it comes, such as forgetting."""
        for one in received:
            with self.store.writing() as tx:
                streams.take_in(tx, [one], self.house, now)
        self.received += received

    def again(self, one: Received, now: int = NOW) -> None:
        """An element that is stored is processed once more, as a retry of quarantined ones does."""
        with self.store.writing() as tx:
            number = tx.exec_driver_sql(f"select id from inbox where message_id = '{one.message_id}'").scalar_one()
            inbox.put_back(tx, [number])
            pipeline.process(tx, inbox.take(tx, 10), self.house, now)

    def oracle(self) -> Oracle:
        return streams.oracle(self.received, self.house)

    # -- what is known ------------------------------------------------------------------------------------------------

    def people(self) -> set[frozenset[str]]:
        with self.store.reading() as tx:
            return {frozenset(values(person)) for person in known(tx, self.house).people}

    def refused(self) -> set[tuple[str, str, str, str]]:
        with self.store.reading() as tx:
            return {(a.value, b.value, kind, limit) for a, b, kind, limit in known(tx, self.house).refused}

    def owner(self, one: Identifier, minutes: float) -> set[str]:
        """Whose an identifier or a browser was at a time."""
        with self.store.reading() as tx:
            owners: dict[tuple[Identifier, int], Person | None] = known(tx, self.house, [at(minutes)]).owners
            return values(owners[one, at(minutes)])

    def visitor(self, one: Received) -> Visitor:
        """userId, anonymousId, email and whether it is ambiguous, by everything that is known now."""
        with self.store.reading() as tx:
            return streams.visitors(tx, self.house)[f"{one.source}/{one.message_id}"]

    def profile(self, one: Identifier) -> dict[str, Any] | None:
        with self.store.reading() as tx:
            return answers.profile(tx, self.house, *one)

    def traits(self, one: Identifier) -> dict[str, Any]:
        found = self.profile(one)
        assert found is not None
        traits: dict[str, Any] = found["traits"]
        return traits

    def apart(self, left: str, right: str) -> dict[str, Any]:
        """What joins two, or keeps them apart."""
        with self.store.reading() as tx:
            return answers.explain_pair(tx, self.house, left, right)

    def hubs(self) -> list[tuple[str, int, int]]:
        """(value, degree, limit) of what names nobody."""
        with self.store.reading() as tx:
            entries = answers.hubs(tx, self.house)["entries"]
        return [(one["value"], one["degree"], one["hub_limit"]) for one in entries]

    def message(self, one: Received) -> dict[str, Any]:
        with self.store.reading() as tx:
            found = answers.message(tx, self.house, f"{one.source}/{one.message_id}")
        assert found is not None
        return found

    def outcome(self, one: Received) -> str:
        return str(self.message(one)["decision"]["outcome"])

    def reason(self, one: Received) -> str:
        return str(self.message(one)["decision"]["reason"])

    # -- what leaves --------------------------------------------------------------------------------------------------

    def deliveries(self) -> list[tuple[str, dict[str, Any] | None]]:
        """(status, body) of everything in the outbox, in the order of its making; a body that was erased is None."""
        with self.store.reading() as tx:
            rows = tx.execute(sa.select(outbox.c.status, outbox.c.body).order_by(outbox.c.id)).all()
        return [(row.status, orjson.loads(row.body) if row.body else None) for row in rows]

    def leaves(self) -> list[tuple[str, str | None, str | None, str | None]]:
        """(status, userId, anonymousId, email) of everything in the outbox."""
        return [(status, *(streams.said(body) if body else (None, None, None))) for status, body in self.deliveries()]

    def settle(self, status: str, *, maybe_there: bool = False) -> None:
        """What is pending was sent by the deliverer, with this result. Args: maybe_there, no answer was seen."""
        with self.store.writing() as tx:
            claimed = queue.claim(tx, "segment", limit=100, now=NOW + 5 * DAY, claimer="a test", for_ms=MINUTE)
            if status == "delivered":
                settlement = queue.delivered(claimed, "200")
            else:
                settlement = queue.dead(claimed, "unknown" if maybe_there else "refused", "as a test says")
            queue.settle(tx, "segment", [settlement], claimer="a test", now=NOW + 5 * DAY)

    def text(self) -> str:
        """Every value in every row of every table: what somebody finds who takes the whole store."""
        with self.store.reading() as tx:
            rows = [tuple(row) for table in metadata.sorted_tables for row in tx.execute(sa.select(table))]
        return "\n".join(" ".join(map(str, row)) for row in rows).lower()


def _told(tx: sa.Connection, house: House, oracle: Oracle) -> tuple[list[dict[str, Any]], ...]:
    """Both exports; the traits of every person in them are the oracle's too."""
    profiles = list(answers.export_profiles(tx, house))
    people = {house.keys.profile_id(oracle.earliest(person)): person for person in oracle.people}
    assert {one["profile_id"]: one["traits"] for one in profiles} == {
        profile_id: oracle.traits(person) for profile_id, person in people.items()
    }
    return profiles, list(answers.export_links(tx, house))


def _numbers(tx: sa.Connection) -> dict[str, int]:
    """The counters that are kept of profiles and links."""
    found = streams.counted(tx)
    return {name: found.get(name, 0) for name in ("profiles", "links", "refused_links")}


def _times_of(oracle: Oracle) -> list[int]:
    happened = {one.at for one in oracle.messages} | {one.at for one in oracle.acts}
    return sorted(happened | {one - 1 for one in happened} | {one + MINUTE for one in happened})


class _Undone(Exception):
    pass


@contextmanager
def _undone(store: Store) -> Iterator[sa.Connection]:
    """A transaction that never happened."""
    try:
        with store.writing() as tx:
            yield tx
            raise _Undone
    except _Undone:
        pass


# -- somebody who is forgotten ----------------------------------------------------------------------------------------

GONE = "gone@jane.test"
NAMES = (GONE, "jane-user-77", "jane-browser", "jane-profile", "+4799887766", md5(GONE), sha256(GONE))
CONSENTING = streams.house(
    (),
    (),
    (
        (
            "identity.toml",
            (shipped_mappings() / "identity.toml").read_text().replace("required = []", 'required = ["ads"]'),
        ),
    ),
)
T = at(1_000)
"""When she is forgotten."""


@cache
def janes(_copy: int = 0) -> tuple[Received, ...]:
    """All that can be known of somebody: site calls, mails, clicks, consents, traits, and what operators did.

    Args: another copy says the same in messages of its own, as a replay with new ids does.
    """
    choice = {"consent": {"categoryPreferences": {"ads": True, "email": False}}}
    url = {"page": {"url": "https://shop.test/?kl_pid=jane-profile&utm_email=gone%40jane.test"}}
    return (
        page(0, "jane-browser"),
        identify(1, "jane-browser", email=GONE, context=choice),
        call(2, type="identify", anonymousId="jane-browser", userId="jane-user-77", traits=_portrait()),
        page(3, "jane-browser", context=url),
        klaviyo(4, GONE, "jane-profile"),
        klaviyo(5, None, "jane-profile", "clicked_email", properties={"Bot Click": True}),
        customerio(6, GONE, GONE, "cio-jane", "jane-user-77"),
        sourced(7, md5(GONE)),
        sourced(8, sha256(GONE)),
        sourced(9, GONE, GONE, event="Email Unsubscribed"),
        operate.unlink(at(20), left=email(GONE), right=browser("jane-browser"), until=at(0)),
    )


def _portrait() -> dict[str, str]:
    return {"email": GONE, "phone": "+47 99 88 77 66", "name": "Jane Gone", "city": "Gone-upon-Sea"}


@cache
def joes() -> tuple[Received, ...]:
    """Somebody else, with a browser of his own."""
    return identify(1, "joe-browser", "joe", JOE), klaviyo(4, JOE, "joe-profile"), sourced(7, JOE)


def forget(one: Identifier, *, suppress: bool = False) -> Received:
    return operate.forget(NOW, one, at=T, reason="asked by letter", suppress=suppress)


def traces(scene: Scene, *further: str) -> set[str]:
    text = scene.text()
    return {one for one in (*NAMES, "jane gone", "gone-upon-sea", *further) if one.lower() in text}


def remains(scene: Scene, *received: Received) -> None:
    """What is known is exactly what these alone would have taught, and a rebuild says and counts the same."""
    oracle = streams.oracle(received, scene.house)
    times = [at(5), at(500), NOW]
    expected = streams.expected(oracle, scene.house, times)
    with _undone(scene.store) as tx:
        found = streams.known(tx, scene.house, times)
        told, numbers = _told(tx, scene.house, oracle), _numbers(tx)
        derive.rebuild(tx, scene.house.rules, scene.house.keys)
        assert (_told(tx, scene.house, oracle), _numbers(tx)) == (told, numbers), "a rebuild changes nothing"
    # Of what was forgotten the log still says that it came, and it has nobody.
    gone = {key: whose for key, whose in found.visitors.items() if key not in expected.visitors}
    assert replace(found, visitors={key: found.visitors[key] for key in expected.visitors}) == expected
    assert set(gone.values()) <= {(None, None, None, False)}
