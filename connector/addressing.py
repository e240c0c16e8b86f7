"""From a placement to what an outgoing event carries: the values of its ids, the address, the person's consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from connector import bulk
from connector.graph import Graph
from connector.outbox import Ids
from connector.stitch import Placement
from connector.tables import consents

Consents = Mapping[int, Mapping[str, bool]]


def ids_of(tx: sa.Connection, placements: Sequence[Placement], graph: Graph) -> list[Ids]:
    """What each placement lets leave. The consents of all are read at once."""
    known = _consents(tx, placements, graph)

    def value(one: int | None) -> str | None:
        return None if one is None else graph.nodes[one].identifier.value

    return [
        Ids(value(one.user), value(one.browser), value(one.email), _strictest(one, graph, known)) for one in placements
    ]


def _consents(tx: sa.Connection, placements: Sequence[Placement], graph: Graph) -> Consents:
    wanted = {one for placement in placements if placement.usable for one in _concerned(placement, graph)}
    found: dict[int, dict[str, bool]] = {}
    rows = bulk.select_by(tx, consents, ("identifier_id", "category", "granted"), "identifier_id", wanted)
    for one, category, granted in rows:
        found.setdefault(one, {})[category] = bool(granted)
    return found


def _concerned(placement: Placement, graph: Graph) -> list[int]:
    members = graph.members(placement.person) if placement.person is not None else []
    return members if placement.browser is None else [*members, placement.browser]


def _strictest(placement: Placement, graph: Graph, known: Consents) -> dict[str, bool] | None:
    """Per category the strictest of the last consents of the person's identifiers; None if nothing is known.

    An empty object would mean "everything refused" to Segment.
    """
    found: dict[str, bool] = {}
    for one in _concerned(placement, graph) if known else ():
        for category, granted in known.get(one, {}).items():
            found[category] = found.get(category, True) and granted
    return dict(sorted(found.items())) or None
