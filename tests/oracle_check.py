"""Is what a store says after a world what the oracle says of it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import sqlalchemy as sa

from connector import answers
from connector.house import House
from connector.messages import Identifier, Kind, Outcome, iso
from connector.tables import messages, outbox
from tests import streams
from tests.oracle import Oracle
from tests.streams import counted, expected, known
from tests.worlds import World, times_of


def exports(tx: sa.Connection, house: House, as_of: int | None = None) -> list[bytes]:
    """Both exports, line by line."""
    lines = [*answers.export_profiles(tx, house, as_of=as_of), *answers.export_links(tx, house, as_of=as_of)]
    return [orjson.dumps(line) for line in lines]


def compare(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    """People, refused links, profile ids, owners of everything at any time, and every visitor are the oracle's."""
    times = times_of(oracle)
    found, wanted = known(tx, world.house, times), expected(oracle, world.house, times)
    assert found.people == wanted.people
    assert found.refused == wanted.refused
    assert found.profile_ids == wanted.profile_ids
    assert found.owners == wanted.owners
    assert found.visitors == wanted.visitors
    assert found.swept == wanted.swept
    compare_exports(exports(tx, world.house), world.house, oracle, times)


def compare_exports(lines: Iterable[bytes], house: House, oracle: Oracle, times: Sequence[int]) -> None:
    """What everybody can read: each person with identifiers, traits and browsers in turn, and the links that stand."""
    told = [orjson.loads(line) for line in lines]
    profiles = {line["profile_id"]: line for line in told if "profile_id" in line}
    people = {house.keys.profile_id(oracle.earliest(person)): person for person in oracle.people}
    assert profiles.keys() == people.keys()
    for name, person in people.items():
        line = profiles[name]
        assert line["identifiers"] == [_identifier(one, oracle) for one in sorted(person, key=oracle.strength)]
        assert line["traits"] == oracle.traits(person)
        assert _refused(line) == {_named(*one.link) for one in oracle.refused if person in one.persons} | {
            _named(*link) for link in oracle.set_aside_of(person)
        }
    turns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, line in profiles.items():
        clicks = {turn["anonymous_id"]: turn["from"] for turn in line["browsers"] if turn.get("clicked")}
        assert clicks == {one.value: iso(at) for one, at in oracle.clicks(people[name]).items()}
        for turn in line["browsers"]:
            if not turn.get("clicked"):
                spans = turns.setdefault((turn["anonymous_id"], name), [])
                spans.append((turn["from"] or "", turn["until"] or "9"))
    for browser in filter(oracle.is_browser, oracle.seen):
        for t in times:
            owners = [who for (one, who), spans in turns.items() if one == browser.value and _within(t, spans)]
            owner = oracle.owner(browser, t)
            assert owners == ([house.keys.profile_id(oracle.earliest(owner))] if owner else [])
    links = {
        (*_named_in(line), line["first_at"], line["last_at"], line["message_id"]) for line in told if "kind" in line
    }
    assert links == {_link(link, oracle) for link in oracle.links}


def _within(t: int, spans: Iterable[tuple[str, str]]) -> bool:
    return any(since <= iso(t) < until for since, until in spans)


def _identifier(one: Identifier, oracle: Oracle) -> dict[str, Any]:
    first, last = min(oracle.moments[one])[0], max(oracle.moments[one])[0]
    return {"type": one.type, "value": one.value, "first_at": iso(first), "last_at": iso(last)}


def _refused(line: dict[str, Any]) -> set[tuple[str, ...]]:
    assert all(one["because"] for one in line["refused"])
    return {_named_in(one) for one in line["refused"]}


def _named_in(link: dict[str, Any]) -> tuple[str, ...]:
    left, right = link["left"], link["right"]
    return (left["type"], left["value"], right["type"], right["value"], link["kind"])


def _named(left: Identifier, right: Identifier, kind: str) -> tuple[str, ...]:
    return (*left, *right, kind)


def _link(link: Any, oracle: Oracle) -> tuple[str, ...]:
    (first, key), (last, _) = oracle.first_time(link), oracle.last_time(link)
    return (*_named(*link), iso(first), iso(last), key.partition("/")[2])


def invariants(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    assert_counters_equal_a_recount(tx, oracle)
    assert_each_event_leaves_once(tx, world, oracle)
    assert_nothing_is_asserted_that_nobody_said(tx, _unrestrained(oracle))


def _unrestrained(oracle: Oracle) -> Oracle:
    """What was ever said, taken back later or not: what left stays as it was sent."""
    return replace(
        oracle,
        messages=tuple(replace(one, choices=()) for one in oracle.messages),
        acts=tuple(act for act in oracle.acts if act.type == "link"),
        table={**oracle.table, "hub_limit": 1_000, "types": {**oracle.table["types"], "vendor": {}}},
    )


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
    for status in tx.scalars(sa.select(outbox.c.status).where(outbox.c.status != "dropped")):
        recount[f"outbox.segment.{status}"] += 1
    names = ("profiles", "links", "refused_links", "outbox.", "email.")
    left_usable = {"email.left_usable", "email.echo"}  # told apart below: what left is in the outbox
    found = {name: n for name, n in told.items() if name.startswith(names) and name not in left_usable}
    assert found == {name: n for name, n in recount.items() if n}


def assert_each_event_leaves_once(tx: sa.Connection, world: World, oracle: Oracle) -> None:
    """One row of the outbox per counted email event, under the one messageId it can have, held only if it must be."""
    destination = world.house.destination.name
    rows = tx.execute(sa.select(outbox)).all()
    events = {row.message_id: row for row in rows if row.body and orjson.loads(row.body)["type"] == "track"}
    counted_events = {
        world.house.keys.outgoing_id(one.key, destination): one
        for one in oracle.messages
        if one.email and not one.email.ignored
    }
    assert len({row.message_id for row in rows}) == len(rows)
    assert events.keys() <= counted_events.keys()
    ignored = set(tx.scalars(sa.select(messages.c.message_id).where(messages.c.outcome == "ignored")))
    assert {counted_events[one].message_id for one in counted_events.keys() - events.keys()} <= ignored
    for message_id, row in events.items():
        assert row.at == counted_events[message_id].at
        if row.status == "held":
            assert not oracle.visitor(counted_events[message_id]).known
    joins = [orjson.loads(row.body) for row in rows if row.body and orjson.loads(row.body)["type"] == "identify"]
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
            profiles = [one for one in oracle.seen if one.type.endswith("_profile_id")]
            shared = (all(oracle.directly(one, end, Kind.JOINING) for end in (user, email)) for one in profiles)
            assert any(oracle.directly(one, email, Kind.JOINING) for one in same) or any(shared)
        if anonymous_id and address and not user_id and not opaque:
            arrived = arrived_with[body["context"]["connector"]["messageId"]] == anonymous_id
            assert arrived or oracle.directly(browser, email, Kind.OWNING)
