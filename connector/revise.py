"""What has not left for Klaviyo is addressed anew, when an operator or a visitor changed whose it is, or their address.

An event with an address that its customer no longer has would turn that back. What left stays as it left: Klaviyo
cannot take an event back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from connector import bulk, consent, mirror, outbox, permission, whose
from connector.backfill import NAME, PAGE, held_body, names_of
from connector.graph import Graph
from connector.house import House
from connector.klaviyo import calls
from connector.klaviyo.calls import Who
from connector.messages import Milliseconds
from connector.tables import mentions, messages
from connector.tables import outbox as deliveries
from connector.whose import Visit

UNCLAIMED = "status = 'pending' and claimed_by is null"
"""Of these nobody is about to send any."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    destination: str
    inbox_id: int
    status: str
    body: str
    created_at: Milliseconds
    subject_id: int | None
    maybe_sent_at: Milliseconds | None


COLUMNS = ("id", "destination", "inbox_id", "status", "body", "created_at", "subject_id", "maybe_sent_at")


def revise(tx: sa.Connection, changed: Iterable[int], house: House, now: Milliseconds) -> None:
    """Look once more at what is pending for Klaviyo and concerns these identifiers.

    What nobody may have any more waits again, or is dropped.
    """
    if house.klaviyo is None:
        return
    graph = Graph(tx, house.rules)
    around = graph.members_around(changed)
    spoken = {one for (one,) in bulk.select_by(tx, mentions, ("message",), "identifier_id", around)}
    rows = [_Row(*row) for row in bulk.select_locked(tx, deliveries, COLUMNS, "inbox_id", spoken, UNCLAIMED)]
    rows = [row for row in rows if row.destination == NAME]
    for at in range(0, len(rows), PAGE):
        _revise(tx, rows[at : at + PAGE], graph, house, now)


def _revise(tx: sa.Connection, rows: Sequence[_Row], graph: Graph, house: House, now: Milliseconds) -> None:
    assert house.klaviyo is not None  # noqa: S101 - the caller asked
    spoken = _visits(tx, {row.inbox_id for row in rows}, graph)
    rows = [row for row in rows if row.inbox_id in spoken]
    visits = [spoken[row.inbox_id] for row in rows]
    customers = whose.find(visits, graph, clicked=house.klaviyo.clicked)
    allowed = permission.given(tx, list(zip(visits, customers, strict=True)), graph, house, now)
    for row, visit, customer, may in zip(rows, visits, customers, allowed, strict=True):
        body = orjson.loads(row.body)
        draft = calls.unaddressed(body)
        who = mirror.who(customer, graph)
        if row.maybe_sent_at is not None and not _same_person(body, who):
            continue  # it may have arrived, and Klaviyo knows a repeat by whose it is
        if who is not None and may:
            known = who if draft["call"] == "profile" else mirror.of_event(who)
            late = bool(body["data"]["attributes"].get("backfill"))
            outbox.rewrite(tx, row.id, calls.address(draft, known, backfill=late))
            outbox.take_turns(tx, [(customer.turn, row.id)])
        elif may and house.klaviyo.backfill.enabled and draft["call"] == "event":
            until = row.created_at + house.klaviyo.backfill.span_ms
            outbox.hold_again(tx, row, held_body(visit, draft), names_of(visit, customer), until)
        else:
            outbox.withhold(tx, row)


def _same_person(body: Mapping[str, Any], who: Who | None) -> bool:
    """Does an event keep the name by which Klaviyo finds its profile first?"""
    profile = body["data"]["attributes"].get("profile", {}).get("data", {}).get("attributes", {})
    return who is not None and who.external_id is not None and profile.get("external_id") == who.external_id


def _visits(tx: sa.Connection, numbers: set[int], graph: Graph) -> dict[int, Visit]:
    """The visits that these messages of the log are."""
    columns = ("id", "at", "identifiers", "taught")
    rows = bulk.select_by(tx, messages, columns, "id", numbers, "identifiers is not null")
    told = {number: (at, orjson.loads(ids), orjson.loads(taught or "[]")) for number, at, ids, taught in rows}
    graph.load({one for _, ids, _ in told.values() for one in ids})
    found = {}
    for number, (at, ids, taught) in told.items():
        own = [one for one in consent.own_of(ids, taught, email=False) if one in graph.nodes]
        browser = next((one for one in own if graph.nodes[one].identifier.type == "anonymous_id"), None)
        named = [one for one in own if one != browser]
        named.sort(key=lambda one: graph.rules.strength(graph.nodes[one].identifier))
        found[number] = Visit(at, tuple(named), browser)
    return found
