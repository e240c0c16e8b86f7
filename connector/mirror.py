"""What an email platform knows of a customer, kept as we know it: their ids, their address, their traits.

A profile call says the state of a person, not what one ``identify`` said: per trait the latest by event time, whatever
arrived last. What the platform was told before is not told again within a day, so that a site that identifies on every
page does not use up the platform's limits. Called by ``activity``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, outbox, traits
from connector.graph import Graph
from connector.house import House
from connector.keys import Keys
from connector.klaviyo import calls, wanted
from connector.klaviyo.calls import Who
from connector.messages import DAY, HOUR, Json, Message, Milliseconds
from connector.outbox import PENDING, Parcel
from connector.tables import mirrored
from connector.whose import Customer

AGAIN_MS: Final = DAY
RENAMED_AGAIN_MS: Final = HOUR
"""An event that was on its way with the old address may still turn it back: so a new one is told once more soon."""

NAMES: Final = "*"
NESTED: Final = ("properties", "location")
"""Attributes that are told field by field."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """A message by which a customer's profile may have become news."""

    message: Message
    call: Mapping[str, Json]
    customer: Customer
    who: Who
    browser: int | None


@dataclass(frozen=True, slots=True)
class News:
    """The profile calls that leave; and whose names are others than the platform was told before."""

    parcels: Sequence[Parcel]
    renamed: Set[int]


def profiles(tx: sa.Connection, occasions: Sequence[Occasion], graph: Graph, house: House, now: Milliseconds) -> News:
    """The profile calls that are news to the platform, at most one a customer. What they tell is noted."""
    told = _told(tx, [one.customer.subject for one in occasions if one.customer.subject is not None], now)
    last = _last(occasions, told, house)
    current = _traits(graph, last, house)
    parcels, noted, joined, renamed = [], [], [], set()
    for subject, one in last.items():
        state = _state(one, current[subject], house)
        if state is None:
            continue
        since, before = told.get(subject, (now, {}))
        digests = _digests(state["data"]["attributes"], one.who, house.keys)
        if digests.items() <= before.items():
            continue
        if NAMES in before and before[NAMES] != digests[NAMES]:
            renamed.add(subject)
            since = min(since, now - AGAIN_MS + RENAMED_AGAIN_MS)
        body = calls.address(_news(state, digests, before), one.who, backfill=False)
        parcels.append(_parcel(one, subject, body, now))
        noted.append((subject, since, orjson.dumps({**before, **digests}).decode(), False))
        joined += [(subject, each) for each in (one.customer.email, one.customer.phone) if each not in (None, subject)]
    outbox.follow(tx, joined)  # what was said of the address alone must not overtake what is said of the person
    bulk.insert_rows(
        tx,
        mirrored,
        ("identifier_id", "at", "told", "refused"),
        noted,
        "on conflict (identifier_id) do update set at = excluded.at, told = excluded.told, refused = excluded.refused",
    )
    return News(parcels, renamed)


def _last(
    occasions: Sequence[Occasion], told: Mapping[int, tuple[Milliseconds, Mapping[str, str]]], house: House
) -> dict[int, Occasion]:
    """By customer, the last occasion to tell something: an ``identify`` that says what was not told, or such names.

    Most of them say what was told before, and of these nobody's history need be read.
    """
    last: dict[int, Occasion] = {}
    for one in sorted(occasions, key=lambda one: (one.message.at, one.message.key)):
        subject = one.customer.subject
        if subject is None:
            continue
        before = told[subject][1] if subject in told else {}
        says = _state(one, one.message.traits, house) if one.message.type == "identify" else None
        attributes = says["data"]["attributes"] if says is not None else {}
        if not _digests(attributes, one.who, house.keys).items() <= before.items():
            last[subject] = one
    return last


def refused(tx: sa.Connection, customers: Iterable[Customer], now: Milliseconds) -> set[int]:
    """Those of these customers whose profile the platform would not have lately: an event of theirs would make one
    without an address."""
    subjects = {one.subject for one in customers if one.subject is not None and not one.guessed}
    lately = f"refused and at > {now - AGAIN_MS:d}"
    return {one for (one,) in bulk.select_by(tx, mirrored, ("identifier_id",), "identifier_id", subjects, lately)}


def who(customer: Customer, graph: Graph) -> Who | None:
    """The names of a customer that Klaviyo accepts; None if that would be a profile without an address."""

    def value(one: int | None) -> str | None:
        return None if one is None else graph.nodes[one].identifier.value

    known = calls.accepted(Who(value(customer.email), value(customer.phone), value(customer.user)))
    return known if known.email or known.phone else None


def of_event(known: Who) -> Who:
    """The names that an event carries: a number only where there is no address, for two that Klaviyo knows apart would
    be refused together."""
    return known if known.email is None else Who(known.email, None, known.external_id)


def _told(
    tx: sa.Connection, subjects: Sequence[int], now: Milliseconds
) -> dict[int, tuple[Milliseconds, dict[str, str]]]:
    rows = bulk.select_by(tx, mirrored, ("identifier_id", "at", "told"), "identifier_id", subjects)
    return {one: (at, orjson.loads(told)) for one, at, told in rows if at > now - AGAIN_MS}


def _traits(graph: Graph, last: Mapping[int, Occasion], house: House) -> dict[int, dict[str, Json]]:
    """Per customer, what is told of the person; of a browser while it was theirs. Not what was kept from Klaviyo."""
    assert house.klaviyo is not None  # noqa: S101 - the caller asked
    names = house.klaviyo.integrations
    asked = {}
    for subject, one in last.items():
        person = one.customer.person
        theirs: dict[int, traits.When] = {}
        for member in graph.members(person) if person is not None else ():
            theirs[member] = partial(_owned, graph, person, member) if graph.is_contested(member) else traits.always
        if one.browser is not None and not one.customer.guessed:
            theirs[one.browser] = partial(_used, graph, person, one.browser)
        asked[subject] = theirs
    return traits.of_people(graph, asked, lambda said: not wanted.is_switched_off(said, names))


def _owned(graph: Graph, person: int | None, one: int, at: Milliseconds) -> bool:
    return graph.owner(one, at) == person


def _used(graph: Graph, person: int | None, browser: int, at: Milliseconds) -> bool:
    seen = graph.owning_sighting(browser, at)
    graph.load({seen.a} if seen else set())
    return graph.browser_owner(browser, at) == person


def _state(one: Occasion, current: Mapping[str, Json], house: House) -> dict[str, Json] | None:
    """The whole profile, as the mapping makes it of an identify call with all traits; None if it wants none."""
    assert house.klaviyo is not None  # noqa: S101 - the caller asked
    identify = {**one.call, "type": "identify", "traits": dict(current)}
    identify.pop("properties", None)
    drafts = calls.compose(identify, one.message.at, one.message.message_id, house.klaviyo)
    return next((draft.body for draft in drafts if draft.kind == "profile"), None)


def _digests(attributes: Mapping[str, Json], known: Who, keys: Keys) -> dict[str, str]:
    """A keyed digest of each attribute, and of who it is about."""
    found = {f"{name}.{key}": one for name in NESTED for key, one in (attributes.get(name) or {}).items()}
    found |= {name: value for name, value in attributes.items() if name not in NESTED}
    found[NAMES] = _names(known)
    return {name: _digest(value, keys) for name, value in found.items()}


def _names(known: Who) -> list[str | None]:
    return [known.external_id, known.email, known.phone]


def _digest(value: Json, keys: Keys) -> str:
    return keys.digest(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def _news(state: Mapping[str, Json], digests: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Json]:
    """The profile without what the platform was told before."""
    attributes: dict[str, Json] = {}
    for name, value in state["data"]["attributes"].items():
        if name in NESTED and isinstance(value, dict):
            fresh = {key: one for key, one in value.items() if digests[f"{name}.{key}"] != before.get(f"{name}.{key}")}
            if fresh:
                attributes[name] = fresh
        elif digests[name] != before.get(name):
            attributes[name] = value
    return {**state, "data": {**state["data"], "attributes": attributes}}


def _parcel(one: Occasion, subject: int, body: str, now: Milliseconds) -> Parcel:
    key = "" if one.message.type == "identify" else "/profile"  # beside the event that the message is as well
    message_id = f"{one.message.message_id}{key}"
    return Parcel(one.message.inbox_id, message_id, PENDING, one.message.at, now, body, subject=subject)
