"""The same answers told in sentences, for whatever a person may paste: a messageId, an address, an id."""

from __future__ import annotations

import sqlalchemy as sa

from connector import scratch
from connector.answers import browsers, parts
from connector.answers.message import message
from connector.answers.profile import profile, profile_by_id
from connector.answers.words import message_in_words, profile_in_words
from connector.graph import NODE_COLUMNS, Graph, node
from connector.house import House
from connector.identifiers import NORMALISERS
from connector.messages import Json, Milliseconds, iso
from connector.resolve import Node
from connector.tables import identifiers


def explain(tx: sa.Connection, house: House, text: str, as_of: Milliseconds | None = None) -> dict[str, Json]:
    """``{"what":"message"|"profile"|"unknown", "in_words":[…], …}``: a message or a profile, and sentences about it.

    Args: text is a messageId (incoming or outgoing), a profile id, or the value of any identifier. as_of asks what
    was known up to the end of the minute of an event time.
    """
    text = text.strip()
    known = message(tx, house, text, as_of)
    if known is not None:
        return {"what": "message", **known, "in_words": message_in_words(known)}
    person = _profile(tx, house, text) if as_of is None else _profile_then(tx, house, text, as_of)
    if person is not None:
        return {"what": "profile", **person, "in_words": profile_in_words(person)}
    return {"what": "unknown", "in_words": _unknown(house, text, as_of)}


def _profile_then(tx: sa.Connection, house: House, text: str, as_of: Milliseconds) -> dict[str, Json] | None:
    named = sa.or_(identifiers.c.value.in_(_values(text)), identifiers.c.profile_hash == text)
    ids = list(tx.scalars(sa.select(identifiers.c.id).where(named)))
    if not ids:
        return None
    with scratch.as_of(tx, house, as_of, ids) as then:
        person = _profile(then, house, text)
    return person and {**person, "as_of": iso(scratch.end_of_minute(as_of))}


def _values(text: str) -> list[str]:
    """A value as it may be stored."""
    return sorted({text, NORMALISERS["email"](text), NORMALISERS["phone"](text)} - {""})


def _profile(tx: sa.Connection, house: House, text: str) -> dict[str, Json] | None:
    """The profile of the strongest identifier with this value; of a browser, with those it belonged to before."""
    rows = tx.execute(
        sa.select(*(identifiers.c[name] for name in NODE_COLUMNS)).where(identifiers.c.value.in_(_values(text)))
    )
    for one in sorted(map(node, rows), key=lambda one: house.rules.strength(one.identifier)):
        person = profile(tx, house, *one.identifier)
        if person is not None:
            earlier = _earlier_owners(tx, house, one) if one.browser else []
            return {**person, "earlier_owners": earlier} if earlier else person
    return profile_by_id(tx, house, text)


def _earlier_owners(tx: sa.Connection, house: House, browser: Node) -> list[dict[str, Json]]:
    graph = Graph(tx, house.rules)
    found = []
    for person, until in browsers.earlier_owners(graph, browser.id):
        known_as = min((graph.nodes[one].identifier for one in graph.members(person)), key=house.rules.strength)
        found.append(
            {
                "profile_id": graph.profile_id(person, house.keys),
                "known_as": parts.pair(known_as),
                "until": parts.moment(until),
            }
        )
    return found


def _unknown(house: House, text: str, as_of: Milliseconds | None) -> list[str]:
    if as_of is not None:
        then = iso(scratch.end_of_minute(as_of))
        return [f"As of {then}: nothing was known under this value, no message, no identifier, no profile."]
    if text.startswith(house.keys.prefix):
        return [
            "This id was made by this connector, but no message is known under it.",
            "If it is an anonymousId, it stands for an addressee whom nobody had identified in time: look for the"
            " event's messageId, or for the outcome 'expired' in the log.",
        ]
    return [
        "Nothing is known under this value: no message, no identifier, no profile.",
        "If it was sent a moment ago it may still be on its way; if a value such as null or guest, it names nobody.",
    ]
