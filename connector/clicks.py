"""Which browsers landed from a mail, and may be taken for its addressee's: the guards of ``clicked`` links.

A click proves who was mailed, not who reads: mails are forwarded, and scanners open every link. So a landing counts
only if no machine clicked at that moment (one that its platform flagged, or one of a sweep: ``sweeps``), no other
browser had carried the token shortly before, and nobody else was ever identified on the browser.

What a link carries is an id of the platform's, or a token that stands for one as soon as the platform was asked; which
of the two came first does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from connector import bulk, sightings
from connector.graph import Graph
from connector.messages import Kind, Milliseconds
from connector.resolve import Node
from connector.rules import Rules
from connector.sightings import Seen
from connector.tables import COUNTS, links

MOST: Final = 1_000
"""Ids of one person at one platform that are looked at, those used last."""

LANDINGS: Final = """
    select l.profile_id, l.browser_id, min(l.at) from {{asked}} q
    join links k on k.a_id = q.id and k.kind = 'clicked' and k.browser and k.stands and not k.apart
    join landings l on l.browser_id = k.b_id and l.profile_id = k.a_id
    where not exists (select 1 from landings e where e.token = l.token and e.browser_id = l.browser_id and e.at < l.at)
    and not exists (select 1 from machine_clicks m where m.identifier_id in ({machines})
                    and m.at between l.at - {machine_ms} and l.at + {machine_ms})
    and not exists (select 1 from clicks c where c.profile_id in ({machines}) and c.swept
                    and c.at between l.at - {machine_ms} and l.at + {machine_ms})
    and not exists (select 1 from landings o where o.token = l.token and o.browser_id <> l.browser_id
                    and o.at >= l.at - {alone_ms} and o.at < l.at)
    group by l.profile_id, l.browser_id order by min(l.at) desc limit 200"""

Pair = tuple[int, int]
"""(id or token of the platform's, browser) by number."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """Whose a browser is by a click: the person, the platform's profile and the address it had then, as far as known.

    seen is the landing that says so.
    """

    person: int
    profile: int | None
    address: int | None
    seen: Seen


def browser_of(graph: Graph, named: Iterable[int], person: int, at: Milliseconds) -> Seen | None:
    """The browser that landed from a mail and may be taken for a person's: the one with the latest landing at or before
    a time, else the first after.

    Args: named are ids that the person has at the platform which mailed them.
    """
    suited = _suited(graph, _ids_at(graph, named, person), person)
    return _nearest(sightings.of_kind(graph.tx, list(suited), Kind.CLICKED, at), graph)


def browsers_of(graph: Graph, person: int) -> dict[int, Milliseconds]:
    """The browsers that landed from mails to a person and that nothing speaks against, with when."""
    found: dict[int, Milliseconds] = {}
    for ids in _alone(graph, person).values():
        for (_, browser), at in _suited(graph, ids, person).items():
            found[browser] = min(found.get(browser, at), at)
    return found


def owners(graph: Graph, asked: Sequence[tuple[int, Milliseconds]]) -> list[Addressee | None]:
    """Whose each browser is at a time if only clicks are asked: the addressee of its latest landing at or before it,
    else of its first after. Under the same guards; what a site or server call says of a browser goes before this.
    """
    counts = f"kind = 'clicked' and browser and {COUNTS}"
    rows = bulk.select_by(graph.tx, links, ("a_id", "b_id"), "b_id", {one for one, _ in asked}, counts)
    landed: dict[int, set[int]] = {}
    for a, browser in rows:
        landed.setdefault(browser, set()).add(a)
    graph.load({a for a, _ in rows})
    suited: dict[int, dict[Pair, Milliseconds]] = {}
    return [_owner(graph, browser, landed.get(browser, set()), at, suited) for browser, at in asked]


def _owner(
    graph: Graph, browser: int, landed: Collection[int], at: Milliseconds, suited: dict[int, dict[Pair, Milliseconds]]
) -> Addressee | None:
    """Args: suited is what is known already, by person."""
    persons = {graph.cluster(one) for one in landed if not graph.is_contested(one)} - {None}
    pairs: dict[Pair, int] = {}
    for person in persons:
        assert person is not None  # noqa: S101 - just left out
        if person not in suited:
            ids = _alone(graph, person).values()
            suited[person] = {pair: when for some in ids for pair, when in _suited(graph, some, person).items()}
        pairs |= {pair: person for pair in suited[person] if pair[1] == browser}
    seen = _nearest(sightings.of_kind(graph.tx, list(pairs), Kind.CLICKED, at), graph)
    if seen is None:
        return None
    person = pairs[seen.a, seen.b]
    profile = _profile(graph, seen.a, person)
    return Addressee(person, profile, _address(graph, profile, at), seen)


def _ids_at(graph: Graph, named: Iterable[int], person: int) -> set[int]:
    """These ids, and all that the person has alone at the same platforms."""
    named = set(named)
    alone = _alone(graph, person)
    return named.union(*(alone.get(_platform(graph.nodes[one]), set()) for one in named))


def _alone(graph: Graph, person: int) -> dict[str, set[int]]:
    """By platform, its ids and tokens that are this person's and were never told to be another's."""
    found: dict[str, set[int]] = {}
    for one in graph.members(person):
        if _is_platforms(graph.nodes[one], graph.rules) and not graph.is_contested(one):
            found.setdefault(_platform(graph.nodes[one]), set()).add(one)
    return found


def _is_platforms(one: Node, rules: Rules) -> bool:
    name = one.identifier.type
    return name.endswith(("_profile_id", "_user_id")) or rules.is_token(name)


def _platform(one: Node) -> str:
    return one.identifier.type.rsplit("_", 2)[0]


def _suited(graph: Graph, ids: Collection[int], person: int) -> dict[Pair, Milliseconds]:
    """Which browsers landed with which of these ids, nothing speaking against it, and the first time of each."""
    newest = sorted(ids, key=lambda one: (-graph.nodes[one].last_at, graph.nodes[one].identifier))[:MOST]
    machines = [one for one in newest if graph.nodes[one].identifier.type.endswith("_profile_id")]
    query = LANDINGS.format(
        machines=", ".join(map(str, machines)) or "-1",
        machine_ms=graph.rules.machine_ms,
        alone_ms=graph.rules.alone_ms,
    )
    rows = bulk.select_joined(graph.tx, query, (("id", "bigint"),), [(one,) for one in newest])
    others = {browser: graph.seen_with_others(browser, person) for browser in {row[1] for row in rows}}
    return {(one, browser): at for one, browser, at in rows if not others[browser]}


def _nearest(found: Iterable[sightings.Around], graph: Graph) -> Seen | None:
    """The latest at or before the time, else the first after; of one message's, the one with the strongest id."""
    found = list(found)
    seen = [one for around in found for one in around.before]
    moment = max(((one.at, one.message) for one in seen), default=None)
    if moment is None:
        seen = [one for around in found for one in around.after]
        moment = min(((one.at, one.message) for one in seen), default=None)
    same = (one for one in seen if (one.at, one.message) == moment)
    return min(same, key=lambda one: graph.rules.strength(graph.nodes[one.a].identifier), default=None)


def _profile(graph: Graph, landed: int, person: int) -> int | None:
    """The profile that an id or token stands for; of several that became one, the one used last."""
    if graph.nodes[landed].identifier.type.endswith("_profile_id"):
        return landed
    name = f"{_platform(graph.nodes[landed])}_profile_id"
    known = [one for one in graph.members(person) if graph.nodes[one].identifier.type == name]
    linked = [one for one in known if graph.links_between(one, landed)]
    return max(
        linked or known, key=lambda one: (graph.nodes[one].last_at, graph.nodes[one].identifier.value), default=None
    )


def _address(graph: Graph, profile: int | None, at: Milliseconds) -> int | None:
    """The address that a profile had at a time."""
    seen = graph.seen_with_stronger(profile, at) if profile is not None else []
    mails = [one for one in seen if graph.nodes[one.a].identifier.type == "email"]
    before = [one for one in mails if one.at <= at]
    found = max(before) if before else min(mails, default=None)
    return found.a if found else None
