"""What visitors did before anybody knew them: held, and sent to Klaviyo with its own time when they are known.

Klaviyo's own feature of that name, without the browser's limits. Off by default, as it is there
(https://help.klaviyo.com/hc/en-us/articles/17928628922395). Held is a state of the outbox row: while it waits, an event
remembers whose it is to be, beside what the mapping made of it. Called by ``activity``, ``pipeline`` and ``worker``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, device_links, identity, mirror, outbox, permission, whose
from connector.graph import Graph
from connector.house import House
from connector.klaviyo import calls
from connector.klaviyo.calls import Draft
from connector.messages import Json, Kind, Message, Milliseconds
from connector.outbox import DROPPED, HELD, PENDING, HeldRow, Parcel
from connector.tables import links, waiting
from connector.whose import Customer, Visit

NAME: Final = "klaviyo"
PAGE: Final = 500

FULL: Final = "not kept for Klaviyo: so many events of this visitor wait already ([backfill] events)"
KEPT: Final = "kept for Klaviyo until it is known whose it is"


def keep(
    tx: sa.Connection,
    unknown: Sequence[tuple[Message, Visit, Customer, Sequence[Draft]]],
    house: House,
    now: Milliseconds,
) -> dict[int, str]:
    """Hold the events of visitors nobody knows yet, so many of each, if that is wanted; by message, what became of it.

    Profiles need no keeping: traits are kept.
    """
    if house.klaviyo is None or not house.klaviyo.backfill.enabled:
        return {}
    settings = house.klaviyo.backfill
    room = _room(tx, {one for _, visit, _, events in unknown if events for one in visit.ids}, settings.events)
    told: dict[int, str] = {}
    parcels = []
    for message, visit, customer, events in unknown:
        if not events:
            continue
        if any(room[one] < len(events) for one in visit.ids):
            told[message.inbox_id] = FULL
            continue
        for one in visit.ids:
            room[one] -= len(events)
        told[message.inbox_id] = KEPT
        until = message.received_at + settings.span_ms
        names = names_of(visit, customer)
        for draft in events:
            body = held_body(visit, draft.body)
            parcels.append(parcel(message, draft, HELD, until, body, names, ambiguous=customer.unsettled))
    outbox.add(tx, NAME, parcels, now)
    return told


def parcel(
    message: Message,
    draft: Draft,
    status: str,
    due_at: Milliseconds,
    body: str,
    waits_for: tuple[int, ...] = (),
    *,
    ambiguous: bool = False,
    subject: int | None = None,
) -> Parcel:
    """An event for Klaviyo. It is named by the message's own id, which becomes its unique_id there."""
    message_id = f"{message.message_id}{draft.key}"
    return Parcel(message.inbox_id, message_id, status, message.at, due_at, body, waits_for, ambiguous, subject)


def _room(tx: sa.Connection, ids: set[int], most: int) -> dict[int, int]:
    """How many more events may wait for each identifier. There are never many more to count than may wait."""
    found = dict.fromkeys(ids, most)
    columns = ("identifier_id", "count(*)")
    for one, n in bulk.select_by(tx, waiting, columns, "identifier_id", ids, "true group by identifier_id"):
        found[one] -= n
    return found


def names_of(visit: Visit, customer: Customer) -> tuple[int, ...]:
    """For which identifiers an event waits: its own, and who is known by another name already, without an address."""
    anchor = customer.anchor
    return visit.ids if anchor is None or anchor in visit.ids else (*visit.ids, anchor)


def held_body(visit: Visit, draft: Mapping[str, Json]) -> str:
    """What is stored of an event that waits."""
    return orjson.dumps({"named": visit.named, "browser": visit.browser, "draft": draft}).decode()


def release(
    tx: sa.Connection,
    changed: Iterable[int],
    seen: Iterable[int],
    graph: Graph,
    house: House,
    now: Milliseconds,
) -> int:
    """Send what waited for identifiers about which something is known now; how much of it.

    Args: of identifiers only seen again, what waits between two people is tried once more: the latest sighting decides.
    """
    if house.klaviyo is None:
        return 0
    changed = graph.members_around(changed)
    landed = {b for (b,) in bulk.select_by(tx, links, ("b_id",), "a_id", changed, f"kind = '{Kind.CLICKED}'")}
    returned = device_links.browsers_of(tx, house.rules, changed)
    rows = outbox.waiting_for(tx, NAME, changed | landed | returned, set(seen) - changed)
    return sum(_release(tx, rows[at : at + PAGE], graph, house, now) for at in range(0, len(rows), PAGE))


def release_all(tx: sa.Connection, house: House, now: Milliseconds) -> int:
    """Look at everything that waits for Klaviyo once more, after the rules have changed; how much of it was sent."""
    released = last = 0
    while house.klaviyo is not None and (rows := outbox.held_after(tx, NAME, last, PAGE)):
        last = max(row.id for row in rows)
        released += _release(tx, rows, Graph(tx, house.rules), house, now)
    return released


def _release(tx: sa.Connection, rows: Sequence[HeldRow], graph: Graph, house: House, now: Milliseconds) -> int:
    if house.klaviyo is None:
        return 0
    bodies = {one: orjson.loads(body) for one, body in outbox.bodies(tx, [row.id for row in rows])}
    visits = [Visit(row.at, tuple(bodies[row.id]["named"]), bodies[row.id]["browser"]) for row in rows]
    customers = whose.find(visits, graph, clicked=house.klaviyo.clicked)
    allowed = permission.given(tx, list(zip(visits, customers, strict=True)), graph, house, now)
    refused = mirror.refused(tx, customers, now)
    sent, turns, dropped, further, left = [], [], [], [], []
    for row, customer, may in zip(rows, customers, allowed, strict=True):
        who = mirror.who(customer, graph)
        if who is not None and may and customer.turn not in refused:
            flag = house.klaviyo.backfill.flag
            sent.append((row.id, calls.address(bodies[row.id]["draft"], mirror.of_event(who), backfill=flag)))
            turns.append((customer.turn, row.id))
        elif who is not None and not may:
            dropped.append((row.id, ""))
        else:
            left.append((row.id, customer.unsettled))
            if customer.anchor is not None:
                further.append((customer.anchor, row.id, customer.unsettled))
    outbox.take_turns(tx, turns)
    outbox.settle_held(tx, NAME, sent, PENDING, now)
    outbox.settle_held(tx, NAME, dropped, DROPPED, now)
    outbox.wait_also(tx, further)
    outbox.mark_ambiguous(tx, left)
    return len(sent)


def anything_expires(tx: sa.Connection, house: House, now: Milliseconds) -> bool:
    """Is there anything for ``expire`` to do?"""
    return house.klaviyo is not None and outbox.any_expiring(tx, NAME, now)


def expire(tx: sa.Connection, house: House, now: Milliseconds, limit: int = PAGE) -> int:
    """Give up what nobody was known for in time, and return how much of it there was."""
    if house.klaviyo is None:
        return 0
    identity.take_lease(tx)
    rows = outbox.expiring(tx, NAME, now, limit)
    outbox.settle_held(tx, NAME, [(row.id, "") for row in rows], DROPPED, now)
    return len(rows)
