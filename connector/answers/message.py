"""What became of one message, why, what left, and what the same evidence says of its visitor now."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import orjson
import sqlalchemy as sa

from connector import bulk, log, scratch, stitch
from connector.answers import listing, parts
from connector.answers.profile import describe, person_of
from connector.graph import Graph
from connector.house import House
from connector.masking import without_tokens
from connector.messages import Identifier, Json, Milliseconds, Outcome, Stored, iso
from connector.stitch import Case
from connector.tables import inbox, messages, outbox

LEFT = (Outcome.PASSED, Outcome.STITCHED, Outcome.STITCHED_LATE, Outcome.AMBIGUOUS, Outcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who an event is about by the evidence of today."""

    person: int | None
    user_id: str | None
    anonymous_id: str | None
    reason: str


def message(
    tx: sa.Connection, house: House, message_id: str, as_of: Milliseconds | None = None
) -> dict[str, Json] | None:
    """One message by its own messageId, by the one it left under, or by ``source/messageId``; None if it is unknown.

    Args: as_of asks what the evidence up to the end of the minute of an event time says of it; what was decided and
    what left stay as they are. A message of a later time is unknown then.

    Beside what design §2 lists: ``considered`` (the browsers among which one was chosen, and what spoke for or against
    each), ``refused`` (links around its person that were not honoured, and why), ``taught`` (the links it showed),
    ``visitor`` (of an email event: whom the same evidence names now, a pure function
    of it), ``since_then`` (null, ``enriched`` or ``reattributed``: how that differs from what left), ``held`` (what a
    held one waits for and until when), ``same_id_from`` (other sources with a message of this id).
    """
    ids = _find(tx, message_id)
    if not ids:
        return _unread(tx, house, message_id)
    row = tx.execute(sa.select(messages).where(messages.c.id == ids[0])).one()
    if as_of is not None:
        return _as_of(tx, house, row, as_of)
    told = _answer(tx, house, row)
    others = bulk.select_by(tx, messages, ("source",), "id", ids[1:])
    return {**told, "same_id_from": sorted(source for (source,) in others)} if others else told


def _as_of(tx: sa.Connection, house: House, row: Any, as_of: Milliseconds) -> dict[str, Json] | None:
    until = scratch.end_of_minute(as_of)
    if row.at > until:
        return None
    spoken = [
        *orjson.loads(row.identifiers or "[]"),
        *(end for a, b, _ in orjson.loads(row.taught or "[]") for end in (a, b)),
    ]
    with scratch.as_of(tx, house, as_of, {*spoken, *_case(row).ids}) as then:
        scratch.Copy(tx, then, house.rules).message(row.id)
        return {**_answer(then, house, row), "as_of": iso(until)}


def _answer(tx: sa.Connection, house: House, row: Any) -> dict[str, Json]:
    graph = Graph(tx, house.rules)
    visitor = _visitor(row, graph)
    told: dict[str, Json] = {
        "message": _message(tx, house, row),
        "decision": _decision(tx, house, row, graph, visitor),
        "considered": _considered(row, graph),
        "refused": _refused(graph, house, visitor.person if visitor else _spoken_of(row, graph)),
        "taught": _taught(tx, house, row),
        "deliveries": _deliveries(tx, row.id),
        "visitor": visitor and _told(visitor, graph, house),
        "since_then": _since_then(row, visitor),
    }
    if row.outcome == Outcome.HELD or any(one["status"] == "held" for one in told["deliveries"]):
        told["held"] = _held(tx, row.id)
    return told


def name_of(tx: sa.Connection, inbox_id: int) -> str | None:
    """``source/messageId`` of the message with this number, which ``message`` finds; None if there is none."""
    row = tx.execute(sa.select(messages.c.source, messages.c.message_id).where(messages.c.id == inbox_id)).one_or_none()
    return f"{row.source}/{row.message_id}" if row else None


def _find(tx: sa.Connection, message_id: str) -> list[int]:
    """The numbers of the messages of this id, first by source; they are the same in any order of arrival."""
    source, _, rest = message_id.partition("/")
    named = messages.c.message_id.in_(listing.stored_ids(message_id))
    keyed = sa.and_(messages.c.message_id.in_(listing.stored_ids(rest)), messages.c.source == source)
    rows = tx.execute(sa.select(messages.c.source, messages.c.id).where(sa.or_(named, keyed) if rest else named))
    found = [row.id for row in sorted(rows)]
    return found or sorted(set(tx.scalars(sa.select(outbox.c.inbox_id).where(outbox.c.message_id == message_id))))


def _unread(tx: sa.Connection, house: House, message_id: str) -> dict[str, Json] | None:
    """A message that is stored and that nobody has read yet."""
    sources = {"segment", "tracking_api", "import", "operator", *house.mappings.sources}
    query = sa.select(inbox).where(
        inbox.c.source.in_(sorted(sources)), inbox.c.message_id.in_(listing.stored_ids(message_id))
    )
    row = tx.execute(query.order_by(inbox.c.source)).first()
    if row is None:
        return None
    return {
        "message": {
            "message_id": row.message_id, "source": row.source, "type": None, "event": None, "vendor": None,
            "at": None, "received_at": iso(row.received_at), "authenticated": bool(row.authenticated),
            "identifiers": [], "notes": [], "raw": without_tokens(row.body, house.rules),
        },
        "decision": {
            "outcome": "waiting", "profile_id": None, "user_id": None, "anonymous_id": None,
            "reason": "it is stored and waits to be read", "evidence": [],
        },
        "considered": [],
        "refused": [],
        "taught": [],
        "deliveries": [],
        "visitor": None,
        "since_then": None,
    }  # fmt: skip


# -- the message --------------------------------------------------------------------------------------------------


def _message(tx: sa.Connection, house: House, row: Any) -> dict[str, Json]:
    columns = [inbox.c[field.name] for field in fields(Stored)]
    stored = tx.execute(sa.select(*columns).where(inbox.c.id == row.id)).one_or_none()
    known = parts.nodes(tx, orjson.loads(row.identifiers or "[]"))
    carried = sorted((one.identifier for one in known.values()), key=house.rules.strength)
    return {
        "message_id": row.message_id,
        "source": row.source,
        "type": row.type,
        "event": row.event,
        "vendor": row.vendor,
        "at": iso(row.at),
        "received_at": iso(row.received_at),
        "authenticated": bool(row.authenticated),
        "identifiers": [parts.pair(one) for one in carried],
        "notes": listing.notes(row.notes),
        "raw": without_tokens(stored.body, house.rules) if stored and stored.body else None,
    }


# -- the decision -------------------------------------------------------------------------------------------------


def _decision(tx: sa.Connection, house: House, row: Any, graph: Graph, visitor: Visitor | None) -> dict[str, Json]:
    keys: list[parts.LinkKey] = [(a, b, kind) for a, b, kind in orjson.loads(row.evidence or "[]")]
    links = parts.described(tx, house.keys, keys)
    return {
        "outcome": row.outcome,
        "profile_id": graph.profile_id(_decided_person(row, graph, visitor), house.keys),
        "user_id": row.user_id,
        "anonymous_id": row.anonymous_id,
        "reason": row.reason,
        "evidence": [links[key] for key in keys if key in links],
    }


def _considered(row: Any, graph: Graph) -> list[dict[str, Json]]:
    case = _case(row)
    return [
        {
            "anonymous_id": graph.nodes[one.seen.b].identifier.value,
            "seen_with": parts.pair(graph.nodes[one.seen.a].identifier),
            "seen_at": iso(one.seen.at),
            "chosen": one.chosen,
            "why": one.why,
        }
        for one in (stitch.considered(case, graph) if case.ids else ())
    ]


def _refused(graph: Graph, house: House, person: int | None) -> list[dict[str, Json]]:
    if person is None:
        return []
    told: list[dict[str, Json]] = describe(graph, house, person)[0]["refused"]
    return told


def _spoken_of(row: Any, graph: Graph) -> int | None:
    """Of whom a message speaks that is no email event: the person of the strongest identifier that names one."""
    known = parts.nodes(graph.tx, orjson.loads(row.identifiers or "[]"))
    named = [one for one in known.values() if not one.browser]
    strongest = min(named, key=lambda one: graph.rules.strength(one.identifier), default=None)
    return person_of(graph, strongest.id) if strongest else None


def _taught(tx: sa.Connection, house: House, row: Any) -> list[dict[str, Json]]:
    keys: list[parts.LinkKey] = [(a, b, kind) for a, b, kind in orjson.loads(row.taught or "[]")]
    return parts.in_order(parts.described(tx, house.keys, keys).values())


def _decided_person(row: Any, graph: Graph, visitor: Visitor | None) -> int | None:
    """The person, as resolved now, of the ids that were decided; where none were, of whom the event is about."""
    for type_name, value in (("user_id", row.user_id), ("anonymous_id", row.anonymous_id)):
        one = graph.find([Identifier(type_name, value)]).get(Identifier(type_name, value)) if value else None
        if one is not None:
            person = person_of(graph, one.id) if type_name == "user_id" else _owner_then(graph, one.id, row.at)
            if person is not None:
                return person
    return visitor.person if visitor else None


def _owner_then(graph: Graph, browser: int, at: int) -> int | None:
    """Whose a browser was at a time; of a recognised hash, its email's person."""
    graph.load([browser])
    if not graph.nodes[browser].browser:
        return graph.owner(browser, at)
    sighting = graph.owning_sighting(browser, at)
    graph.load([sighting.a] if sighting else [])
    return graph.browser_owner(browser, at)


def _deliveries(tx: sa.Connection, inbox_id: int) -> list[dict[str, Json]]:
    rows = tx.execute(sa.select(outbox).where(outbox.c.inbox_id == inbox_id).order_by(outbox.c.id)).all()
    tried = listing.attempts_of(tx, [row.id for row in rows])
    return [
        {
            "destination": row.destination,
            "status": row.status,
            "message_id": row.message_id,
            "body": orjson.loads(row.body) if row.body else None,
            "attempts": tried.get(row.id, []),
        }
        for row in rows
    ]


def _held(tx: sa.Connection, inbox_id: int) -> dict[str, Json] | None:
    query = sa.select(outbox.c.id, outbox.c.due_at).where(outbox.c.inbox_id == inbox_id, outbox.c.status == "held")
    row = tx.execute(query).first()
    if row is None:
        return None
    waits_for = listing.waits_for(tx, [row.id]).get(row.id, [])
    return {"expires_at": iso(row.due_at), "waits_for": waits_for, "released_by": listing.RELEASED_BY}


# -- the visitor now ----------------------------------------------------------------------------------------------


def _visitor(row: Any, graph: Graph) -> Visitor | None:
    case = _case(row)
    if not case.ids:
        return None
    placement = stitch.place([case], graph)[0]
    chosen = (placement.user, placement.browser)
    user, browser = (None if one is None else graph.nodes[one].identifier.value for one in chosen)
    return Visitor(placement.person, user, browser, placement.reason)


def _case(row: Any) -> Case:
    return log.case([getattr(row, name) for name in log.CASE])


def _told(visitor: Visitor, graph: Graph, house: House) -> dict[str, Json]:
    return {
        "profile_id": graph.profile_id(visitor.person, house.keys),
        "user_id": visitor.user_id,
        "anonymous_id": visitor.anonymous_id,
        "reason": visitor.reason,
    }


def _since_then(row: Any, visitor: Visitor | None) -> str | None:
    """How what left differs from what is known: it says less (``enriched``), or somebody else (``reattributed``)."""
    if visitor is None or row.outcome not in LEFT:
        return None
    anonymous_id = None if row.outcome == Outcome.EXPIRED else row.anonymous_id  # an opaque id names nobody
    if (row.user_id and row.user_id != visitor.user_id) or (anonymous_id and anonymous_id != visitor.anonymous_id):
        return "reattributed"
    if visitor.user_id and not row.user_id:
        return "enriched"
    return "enriched" if visitor.anonymous_id and not (row.user_id or anonymous_id) else None
