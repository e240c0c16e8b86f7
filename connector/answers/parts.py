"""The small shapes that all answers share: identifiers, times, links with who said them and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.graph import NODE_COLUMNS, node
from connector.keys import Keys
from connector.messages import Identifier, Json, Kind, Milliseconds, iso
from connector.resolve import Node
from connector.tables import identifiers

LinkKey = tuple[int, int, str]
"""The numbers of the stronger and the weaker end, and the kind."""

LINKS: Final = """
    select l.a_id, l.b_id, l.kind, l.first_at, l.first_message,
           (select s.last_at from sightings s where s.a_id = l.a_id and s.b_id = l.b_id and s.kind = l.kind
            and s.stands order by s.minute desc limit 1)
    from {asked} q join links l on l.a_id = q.a_id and l.b_id = q.b_id and l.kind = q.kind where l.stands"""

SAID: Final = {
    Kind.MANUAL: "an operator said so",
    Kind.DECLARED: "a call of the site or server carried both",
    Kind.VENDOR: "the email platform named both",
    Kind.IMPLIED: "the one follows from the other",
    Kind.CLICKED: "the browser landed with the platform's link token",
    Kind.EXTENDED: "a call carried this first-party id of the browser too",
    Kind.ALIASED: "an alias call named both (shown only, never joined)",
    Kind.HINTED: "a hint named both (shown only, never joined)",
}


def pair(identifier: Identifier) -> dict[str, Json]:
    return {"type": identifier.type, "value": identifier.value}


def moment(at: Milliseconds | None) -> str | None:
    return None if at is None else iso(at)


def nodes(tx: sa.Connection, ids: Iterable[int]) -> dict[int, Node]:
    """The identifiers of these numbers, without their components."""
    found = map(node, bulk.select_by(tx, identifiers, NODE_COLUMNS, "id", set(ids)))
    return {one.id: one for one in found}


def described(tx: sa.Connection, keys: Keys, wanted: Iterable[LinkKey]) -> dict[LinkKey, dict[str, Json]]:
    """Each link that stands as ``{"link_id","kind","left","right","first_at","last_at","message_id","proved_by"}``.

    message_id is the message that showed it first, proved_by the same with its source. An implied link has no
    sightings: its times are its weaker end's.
    """
    asked = (("a_id", "bigint"), ("b_id", "bigint"), ("kind", "text"))
    rows = bulk.select_joined(tx, LINKS, asked, sorted(set(wanted)))
    ends = nodes(tx, {end for row in rows for end in row[:2]})
    return {(a, b, kind): _link(keys, ends[a], ends[b], kind, *rest) for a, b, kind, *rest in rows}


def _link(
    keys: Keys, a: Node, b: Node, kind: str, first_at: Milliseconds, first_message: str, last_at: Milliseconds | None
) -> dict[str, Json]:
    if last_at is None:  # implied
        first_at, first_message, last_at = b.first_at, b.first_message, b.last_at
    return {
        "link_id": keys.link_id(a.identifier, b.identifier, kind),
        "kind": kind,
        "left": pair(a.identifier),
        "right": pair(b.identifier),
        "first_at": iso(first_at),
        "last_at": iso(last_at),
        "message_id": first_message.partition("/")[2],
        "proved_by": first_message,
    }


def in_order(links: Iterable[dict[str, Json]]) -> list[dict[str, Json]]:
    """Oldest first; the same for the same evidence."""
    return sorted(links, key=lambda one: (one["first_at"], one["link_id"]))


def link_in_words(link: dict[str, Json]) -> str:
    """One sentence: who belongs together, who said so, when."""
    left, right = (f"{link[end]['type']} {link[end]['value']}" for end in ("left", "right"))
    when = f"at {link['first_at']}"
    if link["first_at"] != link["last_at"]:
        when = f"first at {link['first_at']}, last at {link['last_at']}"
    return f"{left} and {right}: {SAID.get(link['kind'], link['kind'])}, {when} (message {link['proved_by']})."
