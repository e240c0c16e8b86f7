"""A person's traits: per name the latest that was told of them, by event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from connector import bulk, consent
from connector.answers import browsers
from connector.answers.browsers import Span
from connector.graph import Graph
from connector.messages import Json
from connector.tables import traits

COLUMNS = ("identifier_id", "name", "at", "message", "value")


def of_person(graph: Graph, cluster: int, spans: Sequence[Span]) -> dict[str, Json]:
    """The traits of a person of a loaded component. Args: spans are their browsers in time."""
    latest: dict[str, tuple[int, str, str]] = {}
    for name, at, message, value in _told(graph, cluster, spans):
        latest[name] = max(latest.get(name, (at, message, value)), (at, message, value))
    return {name: orjson.loads(value) for name, (_, _, value) in sorted(latest.items())}


def _told(graph: Graph, cluster: int, spans: Sequence[Span]) -> Iterator[tuple[str, int, str, str]]:
    members, contested = set(graph.members(cluster)), browsers.contested(graph, cluster)
    mine: dict[int, list[Span]] = {}
    for span in spans:
        mine.setdefault(span.browser, []).append(span)
    everybody = {*members, *contested, *mine}
    choices = consent.read(graph.tx, everybody, graph.rules)
    rows = bulk.select_by(graph.tx, traits, COLUMNS, "identifier_id", everybody)
    withheld = consent.refused_messages(graph.tx, {row[3] for row in rows}, graph.rules)
    for one, name, at, message, value in rows:
        if one in mine:
            theirs = any((span.since or 0) <= at and (span.until is None or at < span.until) for span in mine[one])
        else:
            theirs = graph.owner(one, at) == cluster if one in contested else one in members
        if theirs and message not in withheld and choices.refused(one, at) is None:
            yield name, at, message, value
