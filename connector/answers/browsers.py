"""Which browsers are whose, and from when until when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from connector import bulk, clicks
from connector.answers import parts
from connector.graph import Graph
from connector.messages import Json, Kind, Milliseconds
from connector.tables import COUNTS, links, sightings

CLOSEST: Final = 5_000
"""Links to browsers that one page looks at; an export looks at all."""

DEVICE: Final = 1_000
"""Browsers of one device that are told of: as many as may make it somebody's."""

TURNS: Final = 10
"""Earlier owners of a browser that are told of."""

POINTS: Final = 1_000
"""Sightings of a browser that are looked at for them, the newest."""

FOREVER: Final = 1 << 62

OWNING: Final = f"{COUNTS} and kind in ('manual', 'declared')"

LATEST: Final = """
    select seen.b_id, max(seen.last_at) from (
        select l.b_id, (select s.last_at from sightings s where s.a_id = l.a_id and s.b_id = l.b_id and s.kind = l.kind
                        and s.stands order by s.minute desc limit 1) as last_at
        from {asked} q join links l on l.a_id = q.id
        where l.browser and l.stands and not l.apart and l.kind in ('manual', 'declared') %s) seen
    group by seen.b_id"""


@dataclass(frozen=True, slots=True)
class Span:
    """A browser that is a person's from a time (None: from its beginning) until a time (None: still).

    clicked: only a click in a mail says so.
    """

    browser: int
    anonymous_id: str
    since: Milliseconds | None
    until: Milliseconds | None
    clicked: bool = False

    def told(self) -> dict[str, Json]:
        told = {"anonymous_id": self.anonymous_id, "from": parts.moment(self.since), "until": parts.moment(self.until)}
        return {**told, "clicked": True} if self.clicked else told


def of_person(graph: Graph, cluster: int, most: int | None = None) -> tuple[list[Span], bool]:
    """The browsers of a person of a loaded component, the one seen last first, and whether older ones were left out.

    Args: most is how many browsers to tell of, None for all.
    """
    bound = "" if most is None else f"order by l.b_id desc limit {CLOSEST:d}"
    asked = [(one,) for one in sorted({*graph.members(cluster), *contested(graph, cluster)})]
    latest: dict[int, Milliseconds | None] = dict(
        bulk.select_joined(graph.tx, LATEST % bound, (("id", "bigint"),), asked)
    )
    names = parts.nodes(graph.tx, latest)
    newest = sorted(latest, key=lambda one: (-(latest[one] or 0), names[one].identifier.value))
    chosen = newest if most is None else newest[:most]
    shared = _shared(graph, cluster, chosen)
    spans: list[Span] = []
    for browser in chosen:
        times = _times(graph, cluster, browser) if browser in shared else [(None, None)]
        spans += [Span(browser, names[browser].identifier.value, *time) for time in times]
    spans += _clicked(graph, cluster, set(latest))
    return spans, len(chosen) < len(newest) or (most is not None and len(latest) >= CLOSEST)


def contested(graph: Graph, cluster: int) -> set[int]:
    """The identifiers that may be this person's in turns."""
    component = graph.nodes[cluster].component
    return set() if component is None else graph.people(component).contested


def _clicked(graph: Graph, cluster: int, known: set[int]) -> list[Span]:
    """The browsers that landed from a mail to a person, and on which nobody was identified."""
    found = {browser: at for browser, at in clicks.browsers_of(graph, cluster).items() if browser not in known}
    names = parts.nodes(graph.tx, found)
    newest = sorted(found, key=lambda one: (-found[one], names[one].identifier.value))
    return [Span(one, names[one].identifier.value, found[one], None, clicked=True) for one in newest]


def _shared(graph: Graph, cluster: int, browsers: Iterable[int]) -> set[int]:
    """Those of these browsers that anybody else was seen with, or whose owner's identifier is contested."""
    found = set()
    for a, b in bulk.select_by(graph.tx, links, ("a_id", "b_id"), "b_id", browsers, OWNING):
        if graph.cluster(a) != cluster or graph.is_contested(a):
            found.add(b)
    return found


def _times(graph: Graph, cluster: int, browser: int) -> list[tuple[Milliseconds | None, Milliseconds | None]]:
    """When the latest owning sighting of a browser is this person's; before the first it belongs to the first's."""
    points = sorted(_points(graph, browser))
    mine = [_is_mine(graph, cluster, a, at) for at, _, a in points]
    turns: list[tuple[Milliseconds | None, bool]] = [(None, mine[0])] if mine else []
    turns += [(points[n][0], mine[n]) for n in range(1, len(points)) if mine[n] != mine[n - 1]]
    ends_of = [*turns, (None, False)]
    return [(start, end) for (start, is_mine), (end, _) in pairwise(ends_of) if is_mine]


def _points(graph: Graph, browser: int) -> set[tuple[Milliseconds, str, int]]:
    """When, in which message and with what a browser was seen so that it could become somebody's."""
    ends = ("first_at", "first_message", "last_at", "last_message")
    rows = bulk.select_by(graph.tx, sightings, ("a_id", *ends), "b_id", [browser], f"browser and {OWNING}")
    return {point for a, *both in rows for point in ((*both[:2], a), (*both[2:], a))}


def _is_mine(graph: Graph, cluster: int, a: int, at: Milliseconds) -> bool:
    """Somebody of a component that is not loaded is certainly somebody else."""
    return graph.cluster(a) is not None and graph.owner(a, at) == cluster


def earlier_owners(graph: Graph, browser: int) -> list[tuple[int, Milliseconds]]:
    """Whose a browser was before its present owner and until when, the last one first; loads what it needs."""
    points = sorted(_points(graph, browser))[-POINTS:]
    graph.load({a for _, _, a in points})
    owners = [(at, graph.owner(a, at)) for at, _, a in points]
    turns = [(then, at) for (_, then), (at, now) in pairwise(owners) if then != now and then is not None]
    return turns[: -TURNS - 1 : -1]


def of_devices(graph: Graph, devices: Iterable[int]) -> list[parts.LinkKey]:
    """The links of devices with the browsers they were seen on, of each some hundred."""
    found: list[parts.LinkKey] = []
    for device in devices:
        where = f"browser and {COUNTS} and kind = '{Kind.EXTENDED}' order by first_at, first_message limit {DEVICE:d}"
        found += [
            (a, b, kind)
            for a, b, kind in bulk.select_by(graph.tx, links, ("a_id", "b_id", "kind"), "a_id", [device], where)
        ]
    return found


def linked(
    graph: Graph, members: Sequence[int], most: int | None = None
) -> tuple[list[parts.LinkKey], dict[parts.LinkKey, int]]:
    """The links of these identifiers with browsers and those that are shown only; and those set aside, each with who
    names nobody.
    """
    bound = "" if most is None else f"order by b_id desc limit {most:d}"
    shown_only = ", ".join(f"'{kind}'" for kind in Kind.ORDER if kind not in Kind.JOINING)
    columns = ("a_id", "b_id", "kind", "apart")
    shown = f"(browser or apart or kind in ({shown_only})) and stands {bound}"
    found = bulk.select_by(graph.tx, links, columns, "a_id", members, shown)
    found += bulk.select_by(
        graph.tx, links, columns, "b_id", members, f"(apart or kind in ({shown_only})) and stands {bound}"
    )
    mine = set(members)
    aside = {(a, b, kind): b if a in mine else a for a, b, kind, apart in found if apart and kind in Kind.JOINING}
    return [(a, b, kind) for a, b, kind, apart in found if not apart], aside
