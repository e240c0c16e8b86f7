"""What waits, and how its waiting ends: released when its visitor is known, or sent under an opaque id in the end.

Held is a state of the outbox row. Called by ``pipeline`` with what a batch changed, and by ``worker`` as time goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, consent, identity, inbox, log, outbox, stitch, withdraw
from connector.addressing import ids_of
from connector.graph import Graph
from connector.house import House
from connector.messages import Milliseconds, Outcome
from connector.outbox import PENDING, HeldRow, Ids, Parcel
from connector.stitch import Case, Placement
from connector.tables import opaque_ids

OPAQUE: Final = (
    "nobody was known in time: it left under an opaque id of its addressee, which is joined when they identify"
)
DROPPED: Final = "nobody was known in time; dropped, as on_expiry in mappings/destinations/segment.toml says"


def release(tx: sa.Connection, recorded: identity.Recorded, graph: Graph, house: House, now: Milliseconds) -> None:
    """Send what waited for identifiers about which something is known now, and join opaque ids to their userIds."""
    changed = graph.members_around(recorded.changed)
    rows = outbox.waiting_for(tx, house.destination.name, changed, recorded.seen - changed)
    _release(tx, rows, graph, house, now)
    _join_opaque(tx, changed, graph, house, now)


def release_all(tx: sa.Connection, house: House, now: Milliseconds) -> int:
    """Look at everything that waits once more, after the rules have changed; how much of it is released."""
    identity.take_lease(tx)
    before = after = 0
    last = 0
    while rows := outbox.held_after(tx, house.destination.name, last, 500):
        last = max(row.id for row in rows)
        before += len(rows)
        after += len(_release(tx, rows, Graph(tx, house.rules), house, now))
    return before - after


def _refused(tx: sa.Connection, ids: Sequence[int], now: Milliseconds, house: House) -> bool:
    choices = consent.read(tx, ids, house.rules)
    return any(choices.refused(one, now) for one in ids)


def anything_expires(tx: sa.Connection, house: House, now: Milliseconds) -> bool:
    """Is there anything for ``expire`` to do?"""
    return house.destination.on_expiry != "hold" and outbox.any_expiring(tx, house.destination.name, _horizon(tx, now))


def expire(tx: sa.Connection, house: House, now: Milliseconds, limit: int = 500) -> int:
    """End the waiting of held events whose time is up, and return how many there were."""
    identity.take_lease(tx)
    if house.destination.on_expiry == "hold":
        return 0
    rows = outbox.expiring(tx, house.destination.name, _horizon(tx, now), limit)
    graph = Graph(tx, house.rules)
    left = _release(tx, rows, graph, house, now)
    if house.destination.on_expiry == "drop":
        name = house.destination.name
        outbox.settle_held(tx, name, outbox.bodies(tx, [row.id for row, _, _ in left]), outbox.DROPPED, now)
        log.change(tx, [log.Change(row.inbox_id, Outcome.EXPIRED, DROPPED) for row, _, _ in left])
    else:
        _send_opaque(tx, left, graph, house, now)
    return len(rows)


def _horizon(tx: sa.Connection, now: Milliseconds) -> Milliseconds:
    """Until when time is up: what still waits in the inbox may name the visitor, so it is heard first."""
    oldest = inbox.oldest_waiting(tx)
    return now if oldest is None else min(now, oldest)


Unplaced = tuple[HeldRow, Case, Placement]


def _release(
    tx: sa.Connection, rows: Sequence[HeldRow], graph: Graph, house: House, now: Milliseconds
) -> list[Unplaced]:
    """Release the held events that have a visitor now, in event-time order, and return the others."""
    if not rows:
        return []
    cases = log.cases(tx, [row.inbox_id for row in rows])
    placed = [cases[row.inbox_id] for row in rows]
    placements = stitch.place(placed, graph)
    all_of = list(zip(rows, placed, placements, ids_of(tx, placements, graph), strict=True))
    ready = [(row, placement, ids) for row, _, placement, ids in all_of if placement.usable]
    bodies = dict(outbox.bodies(tx, [row.id for row, _, _ in ready]))
    sent = [(row.id, outbox.address(orjson.loads(bodies[row.id]), ids, late=True)) for row, _, ids in ready]
    outbox.settle_held(tx, house.destination.name, sent, PENDING, now)
    log.change(tx, [_late(row, placement, ids) for row, placement, ids in ready])
    refused = [(row, placement) for row, _, placement, _ in all_of if placement.withdrawn]
    withdraw.silence(tx, [(row.inbox_id, placement.reason) for row, placement in refused])
    left = [(row, case, one) for row, case, one, _ in all_of if not one.usable and not one.withdrawn]
    outbox.mark_ambiguous(tx, [(row.id, placement.ambiguous) for row, _, placement in left])
    return left


def _late(row: HeldRow, placement: Placement, ids: Ids) -> log.Change:
    reason = f"held until the identity was known: {placement.reason}"
    return log.Change(row.inbox_id, Outcome.STITCHED_LATE, reason, ids, placement.evidence)


def _send_opaque(tx: sa.Connection, rows: Sequence[Unplaced], graph: Graph, house: House, now: Milliseconds) -> None:
    """Let events leave under the opaque id of their addressee: an orphan still, but one that can be joined later."""
    bodies = dict(outbox.bodies(tx, [row.id for row, _, _ in rows]))
    sent: list[tuple[int, str]] = []
    changes: list[log.Change] = []
    opaque: dict[int, tuple[Milliseconds, int, bool]] = {}
    for row, case, placement in rows:
        addressee = stitch.address_of(case, graph) or next(iter(case.ids))
        identifier = graph.nodes[addressee].identifier
        anonymous_id = house.keys.opaque_id(identifier)
        ids = Ids(anonymous_id=anonymous_id, email=identifier.value if identifier.type == "email" else None)
        sent.append((row.id, outbox.address(orjson.loads(bodies[row.id]), ids, late=False)))
        changes.append(log.Change(row.inbox_id, Outcome.EXPIRED, OPAQUE, Ids(anonymous_id=anonymous_id)))
        at, inbox_id, ambiguous = opaque.get(addressee, (0, 0, False))
        opaque[addressee] = (*max((at, inbox_id), (row.at, row.inbox_id)), ambiguous or placement.ambiguous)
    outbox.settle_held(tx, house.destination.name, sent, PENDING, now)
    log.change(tx, changes)
    bulk.insert_rows(
        tx,
        opaque_ids,
        ("identifier_id", "anonymous_id", "last_at", "inbox_id", "ambiguous"),
        [(one, house.keys.opaque_id(graph.nodes[one].identifier), *entry) for one, entry in opaque.items()],
        """on conflict (identifier_id) do update set ambiguous = opaque_ids.ambiguous or excluded.ambiguous,
            inbox_id = case when excluded.last_at > opaque_ids.last_at then excluded.inbox_id
                       else opaque_ids.inbox_id end,
            last_at = case when excluded.last_at > opaque_ids.last_at then excluded.last_at
                      else opaque_ids.last_at end""",
    )


def _join_opaque(tx: sa.Connection, touched: set[int], graph: Graph, house: House, now: Milliseconds) -> None:
    """One identify for each addressee that left under an opaque id and whose userId is known now."""
    columns = ("identifier_id", "anonymous_id", "last_at", "inbox_id", "ambiguous")
    parcels, joined = [], []
    for one, anonymous_id, last_at, inbox_id, ambiguous in bulk.select_by(
        tx, opaque_ids, columns, "identifier_id", touched, "joined_user_id is null"
    ):
        graph.load([one])
        user = stitch.joinable_user(one, last_at, graph, declared=bool(ambiguous))
        if user is None or _refused(tx, [one, user.id], now, house):
            continue
        body = outbox.joining_identify(user.identifier.value, anonymous_id, now, house.destination, house.keys)
        parcels.append(Parcel(inbox_id, body["messageId"], PENDING, now, now, orjson.dumps(body).decode()))
        joined.append((one, user.identifier.value))
    outbox.add(tx, house.destination.name, parcels, now)
    bulk.update_rows(tx, opaque_ids, ("identifier_id",), ("joined_user_id",), joined)
