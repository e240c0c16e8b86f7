"""What is told of people: per name the latest value by event time, never by arrival."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from connector import bulk, consent
from connector.graph import Graph
from connector.messages import Json, Milliseconds
from connector.tables import traits

COLUMNS = ("identifier_id", "name", "at", "message", "value", "integrations")

When = Callable[[Milliseconds], bool]
"""Was an identifier a certain person's at a time?"""


def always(_at: Milliseconds) -> bool:
    return True


def anybody(_integrations: Mapping[str, Json]) -> bool:
    return True


def of_people(
    graph: Graph,
    asked: Mapping[int, Mapping[int, When]],
    may_have: Callable[[Mapping[str, Json]], bool] = anybody,
) -> dict[int, dict[str, Json]]:
    """The traits of each person. What was told without consent does not count.

    Args: asked has, by person, the identifiers of which traits were told, and when these were theirs. may_have says of
    the integrations that a call switched on and off whether who asks is one of those that it was for.
    """
    everybody = {one for theirs in asked.values() for one in theirs}
    choices = consent.read(graph.tx, everybody, graph.rules)
    rows: dict[int, list[bulk.Row]] = {}
    for row in bulk.select_by(graph.tx, traits, COLUMNS, "identifier_id", everybody):
        rows.setdefault(row[0], []).append(row)
    said_by = {row[3] for told in rows.values() for row in told}
    withheld = consent.refused_messages(graph.tx, said_by, graph.rules)
    found = {}
    for person, theirs in asked.items():
        latest: dict[str, tuple[Milliseconds, str, str]] = {}
        for one, when in theirs.items():
            for _, name, at, message, value, integrations in rows.get(one, ()):
                if integrations and not may_have(orjson.loads(integrations)):
                    continue
                if when(at) and message not in withheld and choices.refused(one, at) is None:
                    latest[name] = max(latest.get(name, (at, message, value)), (at, message, value))
        found[person] = {name: orjson.loads(value) for name, (_, _, value) in sorted(latest.items())}
    return found
