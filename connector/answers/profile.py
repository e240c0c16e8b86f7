"""Everything known about a person: identifiers, browsers in time, the links it stands on, what was refused, a timeline.

A person is a cluster of the graph, found anew from the links each time somebody asks; nothing here is stored.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from connector import components, scratch
from connector.answers import apart, browsers, listing, parts, traits
from connector.devices import Devices
from connector.graph import Graph
from connector.house import House
from connector.messages import Json, Milliseconds
from connector.resolve import Node, Refusal
from connector.tables import identifiers, mentions

BROWSERS: Final = 100
LINKS: Final = 1_000
TIMELINE: Final = 100


def profile(
    tx: sa.Connection, house: House, type_name: str, value: str, as_of: Milliseconds | None = None
) -> dict[str, Json] | None:
    """The person of an identifier as it may be typed; of a browser, its owner's; None if it was never seen.

    A browser nobody owns, or a hub, is answered in the same shape with ``profile_id`` null. Args: as_of asks what was
    known up to the end of the minute of an event time.
    """
    identifier = house.rules.identify(type_name, value)
    found = Graph(tx, house.rules).find([identifier]) if identifier else {}
    return _answer(tx, house, found[identifier].id, as_of) if identifier in found else None


def profile_by_id(
    tx: sa.Connection, house: House, profile_id: str, as_of: Milliseconds | None = None
) -> dict[str, Json] | None:
    """The person of a profile id, of an earlier one of theirs as well; None if there is none."""
    row = tx.execute(sa.select(identifiers.c.id).where(identifiers.c.profile_hash == profile_id).limit(1)).scalar()
    return None if row is None else _answer(tx, house, row, as_of)


def person_of(graph: Graph, one: int) -> int | None:
    """The cluster of an identifier, of a browser that of its present owner, of a device whose alone it is; loads what
    it needs.
    """
    graph.load([one])
    if graph.rules.is_device(graph.nodes[one].identifier.type):
        return Devices(graph).person(one)
    if not graph.nodes[one].browser:
        return graph.cluster(one)
    sighting = graph.owning_sighting(one, browsers.FOREVER)
    if sighting is None:
        return None
    graph.load([sighting.a])
    return graph.browser_owner(one, browsers.FOREVER)


def describe(
    graph: Graph, house: House, cluster: int, *, bounded: bool = True
) -> tuple[dict[str, Json], list[browsers.Span]]:
    """A person without their timeline, and their browsers' spans. Args: bounded leaves out the oldest of very many."""
    members = sorted(graph.members(cluster), key=lambda one: graph.rules.strength(graph.nodes[one].identifier))
    spans, truncated = browsers.of_person(graph, cluster, BROWSERS if bounded else None)
    devices = sorted(
        Devices(graph).of_person(cluster), key=lambda one: graph.rules.strength(graph.nodes[one].identifier)
    )
    links, refused, cut = _links(graph, house, cluster, members, devices, bounded)
    told = {
        "profile_id": graph.profile_id(cluster, house.keys),
        "identifiers": [_identifier(graph.nodes[one]) for one in (*members, *devices)],
        "traits": traits.of_person(graph, cluster, spans),
        "browsers": [span.told() for span in spans],
        "links": links,
        "refused": refused,
    }
    if truncated or cut:
        told["truncated"] = f"very many browsers: only the newest {BROWSERS} and some of the links are listed"
    return told, spans


def _answer(tx: sa.Connection, house: House, one: int, as_of: Milliseconds | None = None) -> dict[str, Json] | None:
    if as_of is not None:
        with scratch.as_of(tx, house, as_of, [one]) as then:
            told = _answer(then, house, one)
            return told and {**told, "as_of": parts.moment(scratch.end_of_minute(as_of))}
    graph = Graph(tx, house.rules)
    graph.load([one])
    if one not in graph.nodes:
        return None
    cluster = person_of(graph, one)
    if cluster is None:
        return _nobody(graph, house, graph.nodes[one])
    told, spans = describe(graph, house, cluster)
    return {**told, "timeline": _timeline(graph.tx, graph.members(cluster), spans)}


def _nobody(graph: Graph, house: House, browser: Node) -> dict[str, Json]:
    """A browser that belongs to nobody yet, or what names nobody."""
    found = graph.tx.execute(
        sa.text("select a_id, b_id, kind from links where b_id = :one and stands limit :most"),
        {"one": browser.id, "most": LINKS},
    )
    is_device = house.rules.is_device(browser.identifier.type)
    keys = [(a, b, kind) for a, b, kind in found] + (browsers.of_devices(graph, [browser.id]) if is_device else [])
    links = parts.described(graph.tx, house.keys, keys)
    told: dict[str, Json] = {
        "profile_id": None,
        "identifiers": [_identifier(browser)],
        "traits": {},
        "browsers": [],
        "links": [] if browser.apart else parts.in_order(links.values()),
        "refused": parts.in_order(links.values()) if browser.apart else [],
        "timeline": _timeline(graph.tx, [browser.id], []),
    }
    if browser.apart:
        why = f"{browser.identifier.type} {browser.identifier.value}: {apart.because(browser, house.rules)}"
        told["refused"] = [{**link, "because": why} for link in told["refused"]]
        told["hub"] = apart.told(browser, house.rules)
    elif is_device:
        told["device"] = Devices(graph).why_nobodys(browser.id)
    return told


def _identifier(one: Node) -> dict[str, Json]:
    return {**parts.pair(one.identifier), "first_at": parts.moment(one.first_at), "last_at": parts.moment(one.last_at)}


def _links(
    graph: Graph, house: House, cluster: int, members: Sequence[int], devices: Sequence[int], bounded: bool
) -> tuple[list[dict[str, Json]], list[dict[str, Json]], bool]:
    """The links of a person, those refused, and whether some were left out."""
    component = graph.nodes[cluster].component
    assert component is not None, "a person is a cluster of a component"  # noqa: S101 - an invariant of the store
    refusals = {
        (one.link.a, one.link.b, one.link.kind): one
        for one in graph.people(component).refused
        if cluster in (graph.cluster(one.link.a), graph.cluster(one.link.b))
    }
    joining = {(one.a, one.b, one.kind) for member in members for one in graph.links_of(member)}
    shown, aside = browsers.linked(graph, members, LINKS if bounded else None)
    shown += browsers.of_devices(graph, devices)
    told = parts.described(graph.tx, house.keys, {*joining, *shown, *refusals, *aside})
    refused = [{**told[key], "because": because(refusal, graph)} for key, refusal in refusals.items()]
    nobody = components.nodes_of(graph.tx, aside.values()) if aside else {}
    for key, hub in aside.items():
        one = nobody[hub]
        why = f"{one.identifier.type} {one.identifier.value}: {apart.because(one, graph.rules)}"
        refused.append({**told[key], "because": why})
    links = [link for key, link in told.items() if key not in refusals and key not in aside]
    return parts.in_order(links), parts.in_order(refused), bounded and len(shown) >= LINKS


def because(refusal: Refusal, graph: Graph) -> str:
    """Which limit a refused link would break, and which two identities it kept apart."""
    left, right = (graph.nodes[one].identifier.value for one in (refusal.left, refusal.right))
    return (
        f"a person has at most {refusal.limit} {refusal.type}: this link would make one person of"
        f" {refusal.type} {left} and {refusal.type} {right}"
    )


def _timeline(tx: sa.Connection, members: Sequence[int], spans: Sequence[browsers.Span]) -> list[dict[str, Json]]:
    """The newest entries of the log that speak of this person: by their identifiers, and by their browsers in turn."""
    ranges = [(one, None, None) for one in members] + [(one.browser, one.since, one.until) for one in spans]
    newest: list[tuple[int, int]] = []
    for one, since, until in ranges:
        query = sa.select(mentions.c.at, mentions.c.message).where(mentions.c.identifier_id == one)
        query = query.where(mentions.c.at >= since) if since is not None else query
        query = query.where(mentions.c.at < until) if until is not None else query
        rows = tx.execute(query.order_by(mentions.c.at.desc(), mentions.c.message.desc()).limit(TIMELINE))
        newest = heapq.nlargest(TIMELINE, {*newest, *((row.at, row.message) for row in rows)})
    found = listing.entries(tx, [message for _, message in newest])
    return [found[message] for _, message in newest if message in found]
