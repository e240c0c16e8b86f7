"""Who is one person: a pure function of the links between identifiers. No clock, no store, no order of arrival.

    1. Sort the links: the pair's ranks (strongest pair first), kind, first time, identifiers.
    2. Walk them once. Join the clusters of both ends unless a limit would break; then the link is refused.
    3. Clusters are people. The weaker end of a refused link is contested: it belongs to people in turns.

Browsers are not in here: they attach to people in time and never join them (``graph``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from connector.messages import Identifier, Kind, Milliseconds
from connector.rules import Rules

KIND_ORDER = {kind: place for place, kind in enumerate(Kind.ORDER)}


@dataclass(slots=True)
class Node:
    """An identifier that is known.

    component: None for browsers and devices, and for who names nobody (apart). email: of an anonymous_id, the email it
    is the hash of. degree: how many stronger identifiers it is linked to.
    """

    id: int
    identifier: Identifier
    first_at: Milliseconds
    first_message: str
    last_at: Milliseconds
    carried_at: Milliseconds | None
    component: int | None
    email: int | None = None
    degree: int = 0
    apart: bool = False

    @property
    def browser(self) -> bool:
        """Does it name a browser, and not the email it might be the hash of?"""
        return self.identifier.type == "anonymous_id" and self.email is None


@dataclass(frozen=True, slots=True)
class Link:
    """Two identifiers seen together; a is the stronger end."""

    a: int
    b: int
    kind: str
    first_at: Milliseconds
    first_message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A link that would have broken a limit: which type's, how many it allows, and the two identities it kept apart."""

    link: Link
    type: str
    limit: int
    left: int
    right: int


@dataclass(slots=True)
class People:
    """The answer: the cluster of each identifier, the members of each cluster, and the links refused."""

    cluster: dict[int, int] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def contested(self) -> set[int]:
        return {refusal.link.b for refusal in self.refused}


def resolve(nodes: Mapping[int, Node], links: Iterable[Link], rules: Rules) -> People:
    """The people among these identifiers. Links must lie between them."""
    people = People({one: one for one in nodes}, {one: [one] for one in nodes})
    for link in sorted((_timed(link, nodes) for link in links), key=lambda link: _order(link, nodes, rules)):
        left, right = people.cluster[link.a], people.cluster[link.b]
        if left == right:
            continue
        refusal = _broken_limit(link, people, nodes, rules)
        if refusal:
            people.refused.append(refusal)
        else:
            _join(people, left, right)
    return people


def _timed(link: Link, nodes: Mapping[int, Node]) -> Link:
    """An implied link has no sightings of its own: its time is its weaker end's."""
    if link.kind != Kind.IMPLIED:
        return link
    weaker = nodes[link.b]
    return Link(link.a, link.b, link.kind, weaker.first_at, weaker.first_message)


def _order(link: Link, nodes: Mapping[int, Node], rules: Rules) -> tuple[object, ...]:
    a, b = nodes[link.a].identifier, nodes[link.b].identifier
    return (rules.rank(a.type), rules.rank(b.type), KIND_ORDER[link.kind], link.first_at, link.first_message, *a, *b)


def _join(people: People, left: int, right: int) -> None:
    if len(people.members[left]) < len(people.members[right]):
        left, right = right, left
    for member in people.members[right]:
        people.cluster[member] = left
    people.members[left] += people.members.pop(right)


def _broken_limit(link: Link, people: People, nodes: Mapping[int, Node], rules: Rules) -> Refusal | None:
    left = _by_type(people.members[people.cluster[link.a]], nodes)
    right = _by_type(people.members[people.cluster[link.b]], nodes)
    for type_name in sorted(left.keys() & right.keys(), key=lambda name: (rules.rank(name), name)):  # strongest first
        mine, theirs, limit = left[type_name], right[type_name], rules.type_of(type_name).limit
        if limit is not None and len(mine) + len(theirs) > limit:
            return Refusal(link, type_name, limit, _earliest(mine, nodes), _earliest(theirs, nodes))
    return None


def _by_type(members: Iterable[int], nodes: Mapping[int, Node]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for member in members:
        found[nodes[member].identifier.type].append(member)
    return found


def _earliest(members: Iterable[int], nodes: Mapping[int, Node]) -> int:
    return min(members, key=lambda one: (nodes[one].first_at, nodes[one].first_message, nodes[one].identifier))


def earliest_identifier(members: Iterable[int], nodes: Mapping[int, Node], rules: Rules) -> Identifier:
    """The earliest-seen identifier of a person, from which the profile id is made. Ties: message, rank, value."""

    def age(one: int) -> tuple[object, ...]:
        node = nodes[one]
        return (node.first_at, node.first_message, *rules.strength(node.identifier))

    return nodes[min(members, key=age)].identifier
