"""A person's traits, as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from connector import traits
from connector.answers import browsers
from connector.answers.browsers import Span
from connector.graph import Graph
from connector.messages import Json, Milliseconds


def of_person(graph: Graph, cluster: int, spans: Sequence[Span]) -> dict[str, Json]:
    """The traits of a person of a loaded component. Args: spans are their browsers in time."""
    theirs: dict[int, traits.When] = dict.fromkeys(graph.members(cluster), traits.always)
    for one in browsers.contested(graph, cluster):
        theirs[one] = partial(_owns, graph, cluster, one)
    for span in spans:
        mine = [other for other in spans if other.browser == span.browser]
        theirs[span.browser] = partial(_within, mine)
    return traits.of_people(graph, {cluster: theirs})[cluster]


def _owns(graph: Graph, cluster: int, one: int, at: Milliseconds) -> bool:
    return graph.owner(one, at) == cluster


def _within(spans: Sequence[Span], at: Milliseconds) -> bool:
    return any((span.since or 0) <= at and (span.until is None or at < span.until) for span in spans)
