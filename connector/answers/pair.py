"""What joins two identifiers, or what exactly keeps them apart, and what would have to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa

from connector import bulk, components, scratch
from connector.answers import apart, browsers, parts
from connector.answers.profile import because, person_of
from connector.answers.words import dated
from connector.devices import Devices
from connector.graph import NODE_COLUMNS, Graph, node
from connector.house import House
from connector.identifiers import NORMALISERS
from connector.messages import Identifier, Json, Kind, Milliseconds, iso
from connector.resolve import Node, Refusal
from connector.tables import identifiers, links

CARRIED: Final = "a call of the site that carries both"
EVIDENCE: Final = "a call of the site or server that carries both, or `connector link` by hand"


def explain_pair(
    tx: sa.Connection, house: House, left: str, right: str, as_of: Milliseconds | None = None
) -> dict[str, Json]:
    """``{"what":"pair","joined","left","right","path":[…],"kept_apart_by":[…],"would_change":[…],"in_words":[…]}``.

    Args: left and right are values as they may be typed, each optionally with its type, ``email:jane@example.com``.
    path is the chain of links between them. kept_apart_by: refused links with limit and the two identities, hubs, links
    that were taken back, or browsers that belong to others.
    """
    found = [find(tx, house, text) for text in (left, right)]
    missing = [text for text, one in zip((left, right), found, strict=True) if one is None]
    if missing:
        return _told(found, in_words=[f"Nothing is known under {text}." for text in missing], would_change=[EVIDENCE])
    one, other = (node for node in found if node is not None)
    if as_of is not None:
        with scratch.as_of(tx, house, as_of, [one.id, other.id]) as then:
            told = {
                **_between(Graph(then, house.rules), house, one.id, other.id),
                "as_of": iso(scratch.end_of_minute(as_of)),
            }
        return {**told, "in_words": dated(told, told["in_words"])}
    return _between(Graph(tx, house.rules), house, one.id, other.id)


def find(tx: sa.Connection, house: House, text: str) -> Node | None:
    """The identifier somebody means by ``value`` or ``type:value``; of several with that value the strongest."""
    name, colon, rest = text.strip().partition(":")
    typed = house.rules.identify(name, rest) if colon and _is_type(name, house) else None
    if typed is not None:
        return Graph(tx, house.rules).find([typed]).get(typed)
    values = {text.strip(), NORMALISERS["email"](text), NORMALISERS["phone"](text)} - {""}
    rows = bulk.select_by(tx, identifiers, NODE_COLUMNS, "value", values)
    return min(map(node, rows), key=lambda one: house.rules.strength(one.identifier), default=None)


def _is_type(name: str, house: House) -> bool:
    return name in house.rules.types or name.endswith(("_profile_id", "_user_id"))


def _told(
    pair: Sequence[Node | None],
    *,
    joined: bool = False,
    path: Sequence[Json] = (),
    kept_apart: Sequence[Json] = (),
    would_change: Sequence[str] = (),
    in_words: Sequence[str],
) -> dict[str, Json]:
    ends = [None if one is None else parts.pair(one.identifier) for one in pair]
    change = [] if joined else [f"What would change it: {one}." for one in would_change]
    return {
        "what": "pair",
        "joined": joined,
        "left": ends[0],
        "right": ends[1],
        "path": list(path),
        "kept_apart_by": list(kept_apart),
        "would_change": [] if joined else list(would_change),
        "in_words": [*in_words, *change],
    }


def _between(graph: Graph, house: House, left: int, right: int) -> dict[str, Json]:
    graph.load([left, right])
    pair = [graph.nodes.get(left), graph.nodes.get(right)]
    one, other = pair
    if one is None or other is None:
        return _told(pair, in_words=["One of them was not known at that time."], would_change=[EVIDENCE])
    if one.apart or other.apart:
        return _hub(pair, [end for end in (one, other) if end.apart], house)
    people = [person_of(graph, left), person_of(graph, right)]
    if people[0] is not None and people[0] == people[1]:
        return _joined(graph, house, one, other)
    if any(house.rules.is_device(end.identifier.type) for end in (one, other)):
        return _devices(graph, house, one, other)
    if one.browser or other.browser:
        return _browsers(graph, house, one, other)
    return _strangers(graph, house, one, other)


def _name(one: Node) -> str:
    return f"{one.identifier.type} {one.identifier.value}"


def _described(graph: Graph, house: House, keys: Sequence[parts.LinkKey]) -> list[dict[str, Json]]:
    told = parts.described(graph.tx, house.keys, keys)
    return [told[key] for key in keys if key in told]


def _path(graph: Graph, one: Node, other: Node) -> list[parts.LinkKey]:
    """The chain of links between two of one person, or of one component; a browser's begins with its own sighting."""
    (start, first), (goal, last) = _beginning(graph, one), _beginning(graph, other)
    between = graph.path(start, goal) if start != goal else []
    return [*first, *between, *(key for key in last if key not in first)]


def _beginning(graph: Graph, one: Node) -> tuple[int, list[parts.LinkKey]]:
    """A person's identifier through which one is known to be theirs, and the link that says so if it is another."""
    if graph.rules.is_device(one.identifier.type):
        named = Devices(graph).named_with(one.id)
        return (named[0], [(named[0], one.id, Kind.EXTENDED)]) if named else (one.id, [])
    seen = graph.owning_sighting(one.id, browsers.FOREVER) if one.browser else None
    return (one.id, []) if seen is None else (seen.a, [(seen.a, one.id, seen.kind)])


def _joined(graph: Graph, house: House, one: Node, other: Node) -> dict[str, Json]:
    path = _described(graph, house, _path(graph, one, other))
    words = [f"{_name(one)} and {_name(other)} are one person's."]
    words += [f"{number}. {parts.link_in_words(link)}" for number, link in enumerate(path, start=1)]
    return _told([one, other], joined=True, path=path, in_words=words)


def _hub(pair: Sequence[Node | None], nobody: Sequence[Node], house: House) -> dict[str, Json]:
    words = [f"{_name(one)} names nobody: {apart.because(one, house.rules)}." for one in nobody]
    told = [{"hub": apart.told(one, house.rules)} for one in nobody]
    change = [apart.released_by(one, house.rules) for one in nobody]
    return _told(pair, kept_apart=told, would_change=change, in_words=words)


def _devices(graph: Graph, house: House, one: Node, other: Node) -> dict[str, Json]:
    """A device is one person's or nobody's, and never joins two."""
    words = [f"{_name(one)} and {_name(other)} are not one person's."]
    for device in (end for end in (one, other) if house.rules.is_device(end.identifier.type)):
        owner = person_of(graph, device.id)
        if owner is None:
            words.append(f"{_name(device)} names nobody: {Devices(graph).why_nobodys(device.id)}.")
        else:
            profile_id = graph.profile_id(owner, house.keys)
            words.append(f"{_name(device)} was seen with profile {profile_id} and nobody else.")
    return _told([one, other], would_change=[CARRIED], in_words=words)


def _browsers(graph: Graph, house: House, one: Node, other: Node) -> dict[str, Json]:
    """A browser belongs to one person at a time, and never joins two."""
    words = [f"{_name(one)} and {_name(other)} are not one person's now, and a browser never joins people."]
    keeping: list[dict[str, Json]] = []
    for browser in (end for end in (one, other) if end.browser):
        owner = person_of(graph, browser.id)
        if owner is None:
            words.append(f"{_name(browser)} belongs to nobody: no call of the site or server identified anybody on it.")
            words += _recognised(graph, house, browser)
            continue
        profile_id = graph.profile_id(owner, house.keys)
        turns = browsers.earlier_owners(graph, browser.id)
        earlier = [{"profile_id": graph.profile_id(who, house.keys), "until": parts.moment(at)} for who, at in turns]
        keeping.append({"browser": parts.pair(browser.identifier), "owner": profile_id, "earlier_owners": earlier})
        words.append(
            f"{_name(browser)} belongs to profile {profile_id} now, by the latest sighting that identified it."
        )
        words += [f"Before that it belonged to profile {was['profile_id']}, until {was['until']}." for was in earlier]
    return _told([one, other], kept_apart=keeping, would_change=[EVIDENCE], in_words=words)


def _recognised(graph: Graph, house: House, browser: Node) -> list[str]:
    """Of whom a browser reminds by its first-party ids, if of one."""
    known = Devices(graph).owner(browser.id, browsers.FOREVER)
    if known is None:
        return []
    graph.load([known.seen.a])
    profile_id = graph.profile_id(known.person, house.keys)
    return [f"By its first-party id ({_name(graph.nodes[known.seen.a])}) it is recognised as profile {profile_id}'s."]


def _strangers(graph: Graph, house: House, one: Node, other: Node) -> dict[str, Json]:
    refusals = _refusals_between(graph, one, other)
    words = [f"{_name(one)} and {_name(other)} are two people."]
    keeping: list[dict[str, Json]] = []
    change: list[str] = []
    for refusal in refusals:
        key = (refusal.link.a, refusal.link.b, refusal.link.kind)
        link = parts.described(graph.tx, house.keys, [key])[key]
        why = because(refusal, graph)
        identities = [parts.pair(graph.nodes[end].identifier) for end in (refusal.left, refusal.right)]
        keeping.append(
            {"link": link, "type": refusal.type, "limit": refusal.limit, "identities": identities, "because": why}
        )
        words.append(f"Refused: {parts.link_in_words(link)[:-1]}; {why}.")
        change.append(_instead(refusal))
    aside = _common_hubs(graph, one, other)
    keeping += [{"hub": apart.told(hub, house.rules)} for hub in aside]
    words += [f"Both are linked to {_name(hub)}, but {apart.because(hub, house.rules)}." for hub in aside]
    change += [apart.released_by(hub, house.rules) for hub in aside]
    taken_back = _taken_back(graph, one, other)
    keeping += [
        {"taken_back": {"left": parts.pair(a), "right": parts.pair(b), "kind": kind}} for a, b, kind in taken_back
    ]
    words += [
        f"{a.type} {a.value} and {b.type} {b.value} were linked ({kind}), which does not count any more: an operator"
        " took it back, or consent was withdrawn."
        for a, b, kind in taken_back
    ]
    change += ["`connector unlink --undo` of the act that took the link back"] if taken_back else []
    if not keeping and one.identifier.type == other.identifier.type == "user_id":
        words.append("Two userIds are never one person, whatever evidence there is.")
    elif not keeping:
        words.append("No evidence joins them.")
        change.append(EVIDENCE)
    return _told([one, other], kept_apart=keeping, would_change=change, in_words=words)


def _instead(refusal: Refusal) -> str:
    repair = "taking back the wrong link with `connector unlink`"
    if refusal.type == "user_id":
        return f"{repair}; two userIds are never one person, and this limit is fixed"
    return f"a higher limit in [types.{refusal.type}] of identity.toml, or {repair}"


def _refusals_between(graph: Graph, one: Node, other: Node) -> list[Refusal]:
    """The refused links on the shortest way between two of one component."""
    if one.component is None or one.component != other.component:
        return []
    refused = {(r.link.a, r.link.b, r.link.kind): r for r in graph.people(one.component).refused}
    ends = {(a, b): r for (a, b, _), r in refused.items()}
    found = []
    for a, b, kind in graph.path(one.id, other.id):
        refusal = refused.get((a, b, kind)) or ends.get((a, b))
        if refusal is not None and graph.cluster(a) != graph.cluster(b):
            found.append(refusal)
    return found


def _common_hubs(graph: Graph, one: Node, other: Node) -> list[Node]:
    """Hubs to which both people are linked."""
    sides = []
    for end in (one, other):
        cluster = graph.cluster(end.id)
        members = graph.members(cluster) if cluster is not None else [end.id]
        sides.append(set(browsers.linked(graph, members, 1_000)[1].values()))
    nodes = components.nodes_of(graph.tx, sides[0] & sides[1])
    return sorted(nodes.values(), key=lambda hub: graph.rules.strength(hub.identifier))[:10]


def _taken_back(graph: Graph, one: Node, other: Node) -> list[tuple[Identifier, Identifier, str]]:
    """Links between the two people that do not stand."""
    left, right = (_members(graph, end) for end in (one, other))
    kinds = ", ".join(f"'{kind}'" for kind in Kind.JOINING)
    rows = bulk.select_by(
        graph.tx, links, ("a_id", "b_id", "kind"), "a_id", left | right, f"not stands and kind in ({kinds})"
    )
    found = [(a, b, kind) for a, b, kind in rows if (a in left and b in right) or (a in right and b in left)]
    names = {number: end.identifier for number, end in components.nodes_of(graph.tx, _ends(found)).items()}
    return sorted((names[a], names[b], kind) for a, b, kind in found)


def _members(graph: Graph, end: Node) -> set[int]:
    cluster = graph.cluster(end.id)
    return set(graph.members(cluster)) if cluster is not None else {end.id}


def _ends(rows: Iterable[tuple[int, int, str]]) -> set[int]:
    return {end for a, b, _ in rows for end in (a, b)}
