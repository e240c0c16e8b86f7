"""T2, the heart: a batch of stored elements becomes evidence, decisions and deliveries, in one transaction.

    validate    what does each element mean? what cannot be read is quarantined, with reasons
    identity    what do they teach? identifiers, sightings and links, for the whole batch at once
    sweeps      which clicks are a scanner's, who follows all links of a mail at once?
    stitch      whose visitor is each email event?
    outbox      what leaves, what is held
    activity    what Klaviyo is to know of the site's own calls, where it is a destination
    log         what was decided about every message, and why
    withdraw    what was stored without consent goes; forget: and what is held of whom we were told to forget
    held        what waited and has a visitor now

Called by ``worker``; what it writes, ``deliver`` sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson
import sqlalchemy as sa

from connector import (
    activity,
    backfill,
    consent,
    forget,
    held,
    identity,
    inbox,
    log,
    operate,
    outbox,
    permission,
    revise,
    stitch,
    sweeps,
    validate,
    withdraw,
)
from connector.addressing import ids_of
from connector.errors import InvalidMessage
from connector.graph import Graph
from connector.house import House
from connector.klaviyo import lookups, readings
from connector.messages import Email, Identifier, Json, Message, Milliseconds, Outcome, Stored
from connector.outbox import HELD, PENDING, Ids, Parcel
from connector.stitch import Case, Placement

UNWANTED: Final = "the filter subscribe in destinations/segment.toml leaves it out"


def take(tx: sa.Connection, limit: int) -> list[Stored]:
    """The next elements, once it is our turn: a worker that took rows and then waited could be waited for itself."""
    identity.take_lease(tx)
    return inbox.take(tx, limit)


def process(tx: sa.Connection, batch: Sequence[Stored], house: House, now: Milliseconds) -> bool:
    """Everything that follows from these elements. They were taken from the inbox in this transaction.

    Returns whether somebody was forgotten: what the store keeps beside its tables should be emptied then.
    """
    identity.take_lease(tx)
    batch = log.unprocessed(tx, batch)
    entries: list[log.Entry] = []
    acts = operate.act(tx, [one for one in batch if one.source == operate.SOURCE], house, now)
    valid = _read(tx, [one for one in batch if one.source != operate.SOURCE], house, entries)
    deletes = [one for one in valid if one[1].type == "delete"]
    messages, forgotten = forget.drop(tx, [one for one in valid if one[1].type != "delete"], house.keys)
    recorded = identity.record(tx, messages, house.rules, house.keys)
    if house.klaviyo_asks:
        lookups.want(tx, messages, recorded.ids, house.rules, now)
    messages, late = sweeps.flag(tx, messages, recorded.ids, house.rules, house.keys)
    _leave_out(tx, late, house)
    graph = Graph(tx, house.rules)
    graph.load(recorded.changed)
    _place(tx, [one for one in messages if one.email], recorded, graph, house, entries, now)
    told = activity.forward(tx, messages, recorded.ids, graph, house, now)
    log.write(tx, entries + forgotten + _learned(messages, recorded, told))
    _withdraw(tx, messages, recorded, house)
    refusing = withdraw.waiting(tx, recorded.changed, house)
    if deletes:
        entries, freed = forget.delete(tx, deletes, house)
        log.write(tx, entries)
        recorded.changed |= freed
    recorded.changed |= acts.changed
    refusing |= permission.withdrawn(messages, recorded.ids, house)
    revise.revise(tx, acts.changed | recorded.altered | refusing, house, now)
    known = Graph(tx, house.rules) if deletes else graph
    held.release(tx, recorded, known, house, now)
    backfill.release(tx, recorded.changed, recorded.seen, known, house, now)
    return bool(deletes or acts.names)


def learn(tx: sa.Connection, batch: Sequence[Stored], house: House) -> None:
    """Only what these elements teach: nothing is decided and nothing leaves. For histories that are read again."""
    messages, _ = forget.drop(tx, [one for one in _read(tx, batch, house, []) if one[1].type != "delete"], house.keys)
    recorded = identity.record(tx, messages, house.rules, house.keys)
    sweeps.record(tx, messages, recorded.ids, house.rules, house.keys)


def set_aside(tx: sa.Connection, batch: Sequence[Stored], error: Exception) -> None:
    """Quarantine what the stages themselves could not stand: a defect of ours must not stop the rest."""
    reason = f"a defect of the connector ({type(error).__name__}); please report it, then retry"
    gone = [one for one in batch if inbox.drop(tx, one.id)]
    log.write(tx, [log.quarantined(one, [reason]) for one in log.unprocessed(tx, gone)])


# -- validate -----------------------------------------------------------------------------------------------------


def _read(
    tx: sa.Connection, batch: Sequence[Stored], house: House, entries: list[log.Entry]
) -> list[tuple[Stored, Message]]:
    """The messages that are valid and not our own coming back; the others go to the log at once."""
    messages = []
    reader = replace(house.reader, since=readings.began(tx, house.polled)) if house.polled else house.reader
    for stored in batch:
        try:
            message = validate.read(stored, reader)
        except InvalidMessage as error:
            entries.append(log.quarantined(stored, error.reasons))
            continue
        if validate.is_echo(message, house.reader):
            inbox.empty(tx, [stored.id])  # it says nothing that we did not say, and forgetting would not find it
            entries.append(
                log.entry(message, Outcome.ECHO, "an event of ours that came back: nothing to learn, nothing to send")
            )
            continue
        messages.append((stored, message))
    return messages


# -- stitch -------------------------------------------------------------------------------------------------------


def _place(
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
    addressed = ids_of(tx, placements, graph)
    parcels: list[Parcel] = []
    for message, case, placement, ids in zip(messages, cases, placements, addressed, strict=True):
        assert message.email is not None  # noqa: S101 - the caller chose them so
        body = outbox.compose(message, message.email, house.mappings, house.destination, house.keys)
        outcome, reason = _outcome(message.email, placement, wanted=house.destination.subscribes(body))
        entries.append(log.entry(message, outcome, reason, case, placement, ids, recorded.ids))
        if outcome != Outcome.IGNORED and not (outcome == Outcome.PASSED and message.email.forward == "repaired"):
            parcels.append(_parcel(message, body, placement, ids, case, house, now))
    inbox.empty(tx, [one.inbox_id for one, placed in zip(messages, placements, strict=True) if placed.withdrawn])
    outbox.add(tx, house.destination.name, parcels, now)


def _leave_out(tx: sa.Connection, late: Mapping[int, dict[str, Json]], house: House) -> None:
    """What still waited and turned out to be a scanner's does not leave if the destination wants none of those."""
    unwanted = [number for number, body in late.items() if not house.destination.subscribes(body)]
    outbox.erase(tx, unwanted)
    log.change(tx, [log.Change(number, Outcome.IGNORED, UNWANTED) for number in unwanted])


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
        carried=tuple(recorded.ids[one] for one in message.identifiers),
    )


def _outcome(email: Email, placement: Placement, *, wanted: bool) -> tuple[str, str]:
    if email.ignored:
        return Outcome.IGNORED, email.ignored
    if not wanted:
        return Outcome.IGNORED, UNWANTED
    if placement.withdrawn:
        return Outcome.IGNORED, placement.reason
    if placement.ambiguous:
        return Outcome.AMBIGUOUS, placement.reason
    if placement.arrived_usable and placement.usable:
        return Outcome.PASSED, f"it arrived with a usable id; {placement.reason}"
    if placement.usable:
        return Outcome.STITCHED, placement.reason
    return Outcome.HELD, placement.reason


def _parcel(
    message: Message,
    body: dict[str, Json],
    placement: Placement,
    ids: Ids,
    case: Case,
    house: House,
    now: Milliseconds,
) -> Parcel:
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
        ambiguous=placement.ambiguous,
    )


def _learned(messages: Sequence[Message], recorded: identity.Recorded, told: Mapping[int, str]) -> list[log.Entry]:
    """Args: told is what else became of a message, if anything."""
    return [
        log.entry(
            one, Outcome.LEARNED, "; ".join(filter(None, (_lesson(one), told.get(one.inbox_id)))), numbers=recorded.ids
        )
        for one in messages
        if one.email is None
    ]


def _lesson(message: Message) -> str:
    if not message.links:
        return "nothing to link"
    links = "1 link" if len(message.links) == 1 else f"{len(message.links)} links"
    return f"{links} seen between its {len(message.identifiers)} identifiers"


# -- consent ------------------------------------------------------------------------------------------------------


def _withdraw(tx: sa.Connection, messages: Sequence[Message], recorded: identity.Recorded, house: House) -> None:
    """Remove what was stored without consent: of this batch, and of what was there before a late refusal."""
    choices = consent.read(tx, recorded.ids.values(), house.rules)
    if not choices.categories:
        return
    spoken = {
        one.inbox_id: (one.at, {recorded.ids[who] for who in (one.identifiers if one.email else one.own)})
        for one in messages
    }
    refused = {number: choices.any_refused(ids, at) for number, (at, ids) in spoken.items()}
    earlier = consent.of_messages(tx, recorded.altered, house.rules)
    withdraw.remove(tx, refused | {number: one.refused for number, one in earlier.items()})
    withdraw.forget_traits(tx, recorded.ids.values())
