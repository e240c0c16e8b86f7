"""T2, the heart: a batch of stored elements becomes evidence, decisions and deliveries, in one transaction.

    validate    what does each element mean? what cannot be read is quarantined, with reasons
    identity    what do they teach? identifiers, sightings and links, for the whole batch at once
    stitch      whose visitor is each email event, and each held one that something new is known about?
    outbox      what leaves, what is held
    log         what was decided about every message, and why

Called by ``worker``; what it writes, ``deliver`` sends.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import sqlalchemy as sa

from connector import bulk, identity, inbox, log, operate, outbox, stitch, validate
from connector.errors import InvalidMessage
from connector.graph import Graph
from connector.house import House
from connector.messages import Email, Identifier, Message, Milliseconds, Outcome, Stored
from connector.outbox import HELD, PENDING, HeldRow, Ids, Parcel
from connector.stitch import Case, Placement
from connector.tables import consents, opaque_ids


def process(tx: sa.Connection, batch: Sequence[Stored], house: House, now: Milliseconds) -> None:
    """Everything that follows from these elements. They were taken from the inbox in this transaction."""
    identity.take_lease(tx)
    batch = log.unprocessed(tx, batch)
    entries: list[log.Entry] = []
    operate.act(tx, [one for one in batch if one.source == operate.SOURCE], entries, now)
    messages = _read([one for one in batch if one.source != operate.SOURCE], house, entries)
    recorded = identity.record(tx, messages, house.rules, house.keys)
    graph = Graph(tx, house.rules)
    graph.load(recorded.changed)
    _place_new(tx, [one for one in messages if one.email], recorded, graph, house, entries, now)
    log.write(tx, entries + _learned(messages))
    _release(tx, graph.members_around(recorded.changed) | recorded.seen, graph, house, now)


def expire(tx: sa.Connection, house: House, now: Milliseconds, limit: int = 500) -> int:
    """End the waiting of held events whose time is up, and return how many there were."""
    identity.take_lease(tx)
    if house.destination.on_expiry == "hold":
        return 0
    rows = outbox.expiring(tx, house.destination.name, _horizon(tx, now), limit)
    graph = Graph(tx, house.rules)
    late = _try_release(tx, rows, graph, house, now)
    rows = [row for row in rows if row.id not in late]
    if house.destination.on_expiry == "drop":
        outbox.settle_held(tx, house.destination.name, [(row.id, row.body) for row in rows], outbox.DROPPED, now)
        log.change(
            tx,
            [
                log.Change(row.inbox_id, Outcome.EXPIRED, "nobody was known in time; dropped (on_expiry)")
                for row in rows
            ],
        )
    else:
        _send_opaque(tx, rows, graph, house, now)
    return len(rows) + len(late)


def anything_expires(tx: sa.Connection, house: House, now: Milliseconds) -> bool:
    """Is there anything for ``expire`` to do?"""
    return house.destination.on_expiry != "hold" and outbox.any_expiring(tx, house.destination.name, _horizon(tx, now))


def _horizon(tx: sa.Connection, now: Milliseconds) -> Milliseconds:
    """Until when time is up: what still waits in the inbox may name the visitor, so it is heard first."""
    oldest = inbox.oldest_waiting(tx)
    return now if oldest is None else min(now, oldest)


def quarantine(tx: sa.Connection, stored: Stored, reason: str) -> None:
    """Set one element aside that the stages themselves could not stand: a defect of ours must not stop the rest."""
    log.write(tx, [log.quarantined(stored, [reason])])


# -- validate -----------------------------------------------------------------------------------------------------


def _read(batch: Sequence[Stored], house: House, entries: list[log.Entry]) -> list[Message]:
    """The messages that are valid and not our own coming back; the others go to the log at once."""
    messages = []
    for stored in batch:
        try:
            message = validate.read(stored, house.reader)
        except InvalidMessage as error:
            entries.append(log.quarantined(stored, error.reasons))
            continue
        if validate.is_echo(message, house.reader):
            entries.append(
                log.entry(message, Outcome.ECHO, "an event of ours that came back: nothing to learn, nothing to send")
            )
        else:
            messages.append(message)
    return messages


# -- stitch -------------------------------------------------------------------------------------------------------


def _place_new(
    tx: sa.Connection,
    messages: Sequence[Message],
    recorded: identity.Recorded,
    graph: Graph,
    house: House,
    entries: list[log.Entry],
    now: Milliseconds,
) -> None:
    cases = [_case(message, recorded) for message in messages]
    placements = stitch.place(cases, graph)
    consent = _consents(tx, placements, graph)
    parcels: list[Parcel] = []
    for message, case, placement in zip(messages, cases, placements, strict=True):
        assert message.email is not None  # noqa: S101 - the caller chose them so
        outcome, reason = _outcome(message.email, placement, house)
        ids = _ids(placement, graph, consent)
        entries.append(log.entry(message, outcome, reason, case=case, placement=placement, ids=ids))
        if outcome != Outcome.IGNORED and not (outcome == Outcome.PASSED and message.email.forward == "repaired"):
            parcels.append(_parcel(message, message.email, placement, ids, case, house, now))
    outbox.add(tx, house.destination.name, parcels, now)


def _case(message: Message, recorded: identity.Recorded) -> Case:
    email = message.email
    assert email is not None  # noqa: S101 - the caller chose them so
    return Case(
        inbox_id=message.inbox_id,
        at=message.at,
        recipient=recorded.ids[email.recipient] if email.recipient else None,
        vendor_profile=recorded.ids[email.vendor_profile] if email.vendor_profile else None,
        vendor_user=recorded.ids[email.vendor_user] if email.vendor_user else None,
        browser=recorded.ids.get(Identifier("anonymous_id", message.anonymous_id)) if message.anonymous_id else None,
    )


def _outcome(email: Email, placement: Placement, house: House) -> tuple[str, str]:
    if email.ignored:
        return Outcome.IGNORED, email.ignored
    if placement.ambiguous:
        return Outcome.AMBIGUOUS, placement.reason
    if placement.arrived_usable:
        return Outcome.PASSED, f"it arrived with a usable id; {placement.reason}"
    if placement.usable:
        return Outcome.STITCHED, placement.reason
    return Outcome.HELD, placement.reason


def _parcel(
    message: Message, email: Email, placement: Placement, ids: Ids, case: Case, house: House, now: Milliseconds
) -> Parcel:
    body = outbox.compose(message, email, house.mappings, house.destination, house.keys)
    message_id: str = body["messageId"]
    if placement.usable:
        return Parcel(message.inbox_id, message_id, PENDING, message.at, now, outbox.address(body, ids, late=False))
    compliance = message.event in house.destination.compliance
    hold_ms = min(house.hold_ms, house.destination.compliance_hold_ms) if compliance else house.hold_ms
    return Parcel(
        message.inbox_id,
        message_id,
        HELD,
        message.at,
        message.received_at + hold_ms,
        orjson.dumps(body).decode(),
        waits_for=case.ids,
    )


def _ids(placement: Placement, graph: Graph, consent: dict[int, dict[str, bool]]) -> Ids:
    def value(one: int | None) -> str | None:
        return None if one is None else graph.nodes[one].identifier.value

    return Ids(
        user_id=value(placement.user),
        anonymous_id=value(placement.browser),
        email=value(placement.email),
        consent=_strictest(placement, graph, consent),
    )


# -- release and expiry -------------------------------------------------------------------------------------------


def _release(tx: sa.Connection, touched: set[int], graph: Graph, house: House, now: Milliseconds) -> None:
    """Send what waited for identifiers about which something is known now, and join opaque ids to their userIds."""
    _try_release(tx, outbox.waiting_for(tx, touched), graph, house, now)
    _join_opaque(tx, touched, graph, house, now)


def _try_release(tx: sa.Connection, rows: Sequence[HeldRow], graph: Graph, house: House, now: Milliseconds) -> set[int]:
    """Release the held events that have a visitor now, in event-time order; returns their outbox ids."""
    if not rows:
        return set()
    cases = log.cases(tx, [row.inbox_id for row in rows])
    placements = stitch.place([cases[row.inbox_id] for row in rows], graph)
    consent = _consents(tx, placements, graph)
    ready: list[tuple[int, str]] = []
    changes: list[log.Change] = []
    for row, placement in zip(rows, placements, strict=True):
        if not placement.usable:
            continue
        ids = _ids(placement, graph, consent)
        ready.append((row.id, outbox.address(orjson.loads(row.body), ids, late=True)))
        reason = f"held until the identity was known: {placement.reason}"
        changes.append(log.Change(row.inbox_id, Outcome.STITCHED_LATE, reason, ids, placement.evidence))
    outbox.settle_held(tx, house.destination.name, ready, PENDING, now)
    log.change(tx, changes)
    return {one for one, _ in ready}


def _send_opaque(tx: sa.Connection, rows: Sequence[HeldRow], graph: Graph, house: House, now: Milliseconds) -> None:
    """Let events leave under the opaque id of their addressee: an orphan still, but one that can be joined later."""
    if not rows:
        return
    cases = log.cases(tx, [row.inbox_id for row in rows])
    ready: list[tuple[int, str]] = []
    changes: list[log.Change] = []
    opaque: dict[int, tuple[str, Milliseconds, int]] = {}
    for row in rows:
        case = cases[row.inbox_id]
        addressee = case.recipient or case.vendor_profile or case.vendor_user or case.browser
        assert addressee is not None, "an event without addressee is quarantined"  # noqa: S101
        identifier = graph.nodes[addressee].identifier
        anonymous_id = house.keys.opaque_id(identifier)
        ids = Ids(anonymous_id=anonymous_id, email=identifier.value if identifier.type == "email" else None)
        ready.append((row.id, outbox.address(orjson.loads(row.body), ids, late=False)))
        reason = (
            "nobody was known in time: it left under an opaque id of its addressee, which is joined when they identify"
        )
        changes.append(log.Change(row.inbox_id, Outcome.EXPIRED, reason, Ids(anonymous_id=anonymous_id)))
        opaque[addressee] = max(opaque.get(addressee, ("", 0, 0)), (anonymous_id, row.at, row.inbox_id))
    outbox.settle_held(tx, house.destination.name, ready, PENDING, now)
    log.change(tx, changes)
    bulk.insert_rows(
        tx,
        opaque_ids,
        ("identifier_id", "anonymous_id", "last_at", "inbox_id"),
        [(one, *entry) for one, entry in opaque.items()],
        "on conflict (identifier_id) do update set last_at = excluded.last_at, inbox_id = excluded.inbox_id"
        " where excluded.last_at > opaque_ids.last_at",
    )


def _join_opaque(tx: sa.Connection, touched: set[int], graph: Graph, house: House, now: Milliseconds) -> None:
    """One identify for each addressee that left under an opaque id and whose userId is known now."""
    columns = ("identifier_id", "anonymous_id", "last_at", "inbox_id")
    parcels, joined = [], []
    for one, anonymous_id, last_at, inbox_id in bulk.select_by(
        tx, opaque_ids, columns, "identifier_id", touched, "joined_user_id is null"
    ):
        graph.load([one])
        user = graph.user(graph.owner(one, last_at))
        if user is None or not graph.joined_directly(one, user.id, last_at):
            continue
        body = outbox.joining_identify(user.identifier.value, anonymous_id, now, house.destination, house.keys)
        parcels.append(Parcel(inbox_id, body["messageId"], PENDING, now, now, orjson.dumps(body).decode()))
        joined.append((one, user.identifier.value))
    outbox.add(tx, house.destination.name, parcels, now)
    bulk.update_rows(tx, opaque_ids, ("identifier_id",), ("joined_user_id",), joined)


# -- consent and log ----------------------------------------------------------------------------------------------


def _consents(tx: sa.Connection, placements: Sequence[Placement], graph: Graph) -> dict[int, dict[str, bool]]:
    wanted = {one for placement in placements for one in _concerned(placement, graph)}
    found: dict[int, dict[str, bool]] = {}
    rows = bulk.select_by(tx, consents, ("identifier_id", "category", "granted"), "identifier_id", wanted)
    for one, category, granted in rows:
        found.setdefault(one, {})[category] = bool(granted)
    return found


def _concerned(placement: Placement, graph: Graph) -> list[int]:
    members = graph.members(placement.person) if placement.person is not None else []
    return members if placement.browser is None else [*members, placement.browser]


def _strictest(placement: Placement, graph: Graph, consent: dict[int, dict[str, bool]]) -> dict[str, bool] | None:
    """Per category the strictest of the last consents of the person's identifiers; None if nothing is known."""
    if not consent:
        return None
    found: dict[str, bool] = {}
    for one in _concerned(placement, graph):
        for category, granted in consent.get(one, {}).items():
            found[category] = found.get(category, True) and granted
    return dict(sorted(found.items())) or None


def _learned(messages: Sequence[Message]) -> list[log.Entry]:
    return [log.entry(one, Outcome.LEARNED, _lesson(one)) for one in messages if one.email is None]


def _lesson(message: Message) -> str:
    if not message.links:
        return "nothing to link"
    links = "1 link" if len(message.links) == 1 else f"{len(message.links)} links"
    return f"{links} seen between its {len(message.identifiers)} identifiers"
