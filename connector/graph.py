"""What is known around some identifiers, read from the store once and then asked in memory.

A ``Graph`` holds whole components (identifiers other than browsers, with their links) and answers the questions
of design §4 and §5: whose is this identifier at time t, whose is this browser, which browsers were seen with this
identifier, may these two ids leave in one call. Everything is read by index; nothing is scanned, nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from connector import bulk, sightings
from connector.keys import Keys
from connector.messages import Identifier, Kind, Milliseconds
from connector.resolve import Link, Node, People, earliest_identifier, resolve
from connector.rules import Rules
from connector.sightings import Around, Seen
from connector.tables import PEOPLE, identifiers, links

LOOK_BACK: Final = 256
"""Browsers examined per identifier: a person with more of them, none suitable, is not a person."""

NODE_COLUMNS: Final = (
    "id", "type", "value", "first_at", "first_message", "last_at", "carried_at", "component_id", "email_id", "degree",
    "apart",
)  # fmt: skip
LINK_COLUMNS: Final = ("a_id", "b_id", "kind", "first_at", "first_message")


def node(row: Sequence[object]) -> Node:
    """A row of NODE_COLUMNS."""
    return Node(row[0], Identifier(row[1], row[2]), *row[3:10], bool(row[10]))  # type: ignore[call-arg, arg-type]  # rows are untyped


class Graph:
    """Components in memory, and sightings on demand."""

    def __init__(self, tx: sa.Connection, rules: Rules) -> None:
        self.tx = tx
        self.rules = rules
        self.nodes: dict[int, Node] = {}
        self.links: dict[int, list[Link]] = {}  # component → its links between people's identifiers
        self._members: dict[int, list[int]] = {}
        self._people: dict[int, People] = {}
        self._neighbours: dict[int, dict[int, list[Link]]] = {}
        self._around: dict[tuple[str, int, Milliseconds], Around] = {}
        self._pairs: dict[tuple[int, int], bool] = {}
        self._seen: dict[tuple[int, int, Milliseconds], Around] = {}

    # -- loading ---------------------------------------------------------------------------------------------

    def find(self, wanted: Iterable[Identifier]) -> dict[Identifier, Node]:
        """The nodes of these identifiers, as far as they are known."""
        wanted = set(wanted)
        values = {one.value for one in wanted}
        rows = bulk.select_by(self.tx, identifiers, NODE_COLUMNS, "value", values)
        found = {one.identifier: one for one in map(node, rows)}
        self.nodes.update({one.id: one for identifier, one in found.items() if identifier in wanted})
        return {identifier: found[identifier] for identifier in wanted if identifier in found}

    def load(self, ids: Iterable[int]) -> None:
        """Read the nodes of these ids and their whole components."""
        missing = {one for one in ids if one not in self.nodes}
        for row in bulk.select_by(self.tx, identifiers, NODE_COLUMNS, "id", missing):
            one = node(row)
            self.nodes[one.id] = one
        components = {self.nodes[one].component for one in ids if one in self.nodes} - {None}
        self.load_components({one for one in components if one is not None})

    def load_components(self, components: Iterable[int]) -> None:
        wanted = {one for one in components if one not in self.links}
        if not wanted:
            return
        for component in wanted:
            self.links[component] = []
            self._members[component] = []
        for row in bulk.select_by(self.tx, identifiers, NODE_COLUMNS, "component_id", wanted):
            one = self.nodes.setdefault(row[0], node(row))
            self._members[self._component(one.id)].append(one.id)
        members = [one for component in wanted for one in self._members[component]]
        for row in bulk.select_by(self.tx, links, LINK_COLUMNS, "a_id", members, PEOPLE):
            link = Link(*row)
            if link.kind in Kind.JOINING:
                self.links[self._component(link.a)].append(link)

    def members_around(self, ids: Iterable[int]) -> set[int]:
        """These identifiers and all others of their components."""
        ids = set(ids)
        self.load(ids)
        components = {self.nodes[one].component for one in ids if one in self.nodes}
        return ids | {one for component in components if component is not None for one in self._members[component]}

    def _component(self, one: int) -> int:
        component = self.nodes[one].component
        assert component is not None, "a browser has no component"  # noqa: S101 - an invariant of the store
        return component

    # -- people ----------------------------------------------------------------------------------------------

    def people(self, component: int) -> People:
        """The people of a loaded component."""
        if component not in self._people:
            members = {one: self.nodes[one] for one in self._members[component]}
            self._people[component] = resolve(members, self.links[component], self.rules)
        return self._people[component]

    def cluster(self, one: int) -> int | None:
        """The person of an identifier, whatever the time; None for a browser, a hub, or what is not loaded."""
        component = self.nodes[one].component if one in self.nodes else None
        if component is None or component not in self.links:
            return None
        return self.people(component).cluster.get(one, one)

    def members(self, cluster: int) -> list[int]:
        return self.people(self._component(cluster)).members.get(cluster, [cluster])

    def profile_id(self, cluster: int | None, keys: Keys) -> str | None:
        """The id of a person of a loaded component, None for nobody."""
        if cluster is None:
            return None
        return keys.profile_id(earliest_identifier(self.members(cluster), self.nodes, self.rules))

    def is_contested(self, one: int) -> bool:
        component = self.nodes[one].component
        return component is not None and component in self.links and one in self.people(component).contested

    def owner(self, one: int, at: Milliseconds, without: int | None = None) -> int | None:
        """The person of an identifier at a time: its cluster, or, if it is contested, that of its latest sighting.

        Args: without is an identifier whose links do not count (for "reached otherwise than through this address").
        """
        if not self.is_contested(one):
            return self.cluster(one)
        implied = [link.a for link in self.links_of(one) if link.b == one and link.kind == Kind.IMPLIED]
        for stronger in implied:
            if stronger != without:
                return self.owner(stronger, at)
        nearest = _nearest(self.seen_with_stronger(one, at, without), at, self)
        return self.owner(nearest.a, at) if nearest else self.cluster(one)

    def seen_with_stronger(self, one: int, at: Milliseconds, without: int | None = None) -> list[Seen]:
        """The sightings of an identifier with each stronger one, next to a time."""
        pairs = [(stronger, one, at) for stronger in self.stronger(one) if stronger != without]
        self.know_sightings(pairs)
        arounds = [self._seen[pair] for pair in pairs]
        return [seen for around in arounds for side in (around.before, around.after) for seen in side]

    def stronger(self, one: int) -> list[int]:
        """The stronger identifiers that an identifier was seen with."""
        return sorted({link.a for link in self.links_of(one) if link.b == one and link.kind != Kind.IMPLIED})

    def know_sightings(self, pairs: Iterable[tuple[int, int, Milliseconds]]) -> None:
        """Read the sightings of these (stronger, weaker) pairs next to a time."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._seen]
        self._seen.update(sightings.of_pairs(self.tx, missing, browsers=False))

    def user(self, cluster: int | None) -> Node | None:
        """The userId of a person that may be emitted: a site or server call carried it, or a mapping vouches for it."""
        if cluster is None:
            return None
        for one in self.members(cluster):
            candidate = self.nodes[one]
            if candidate.identifier.type == "user_id" and candidate.carried_at is not None:
                return candidate
        return None

    def reached_user(self, start: int, at: Milliseconds, without: int) -> Node | None:
        """The userId one comes to from an identifier without passing a certain other one."""
        if self.is_contested(start):
            return self.user(self.owner(start, at, without))
        cluster = self.cluster(start)
        seen, frontier = {start, without}, [start]
        while frontier:
            one = frontier.pop()
            candidate = self.nodes[one]
            if candidate.identifier.type == "user_id" and candidate.carried_at is not None:
                return candidate
            for link in self.links_of(one):
                other = link.a if link.b == one else link.b
                if other not in seen and self.cluster(other) == cluster:
                    seen.add(other)
                    frontier.append(other)
        return None

    def links_of(self, one: int) -> list[Link]:
        """The joining links of an identifier; none for a browser."""
        component = self.nodes[one].component
        if component is None:
            return []
        if component not in self._neighbours:
            table: dict[int, list[Link]] = {}
            for link in self.links[component]:
                table.setdefault(link.a, []).append(link)
                table.setdefault(link.b, []).append(link)
            self._neighbours[component] = table
        return self._neighbours[component].get(one, [])

    def links_between(self, one: int, other: int) -> list[Link]:
        """The joining links of a pair of people's identifiers."""
        return [link for link in self.links_of(one) if other in (link.a, link.b)]

    def path(self, start: int, goal: int) -> list[tuple[int, int, str]]:
        """The shortest chain of joining links between two identifiers, refused ones only where there is no other."""
        for allowed in (self.cluster(start), None):
            came_from: dict[int, Link] = {}
            frontier = [start]
            while frontier and goal not in came_from:
                step: list[int] = []
                for one in frontier:
                    for link in sorted(self.links_of(one), key=self._age):
                        other = link.a if link.b == one else link.b
                        if other in came_from or other == start:
                            continue
                        if allowed is None or self.cluster(other) == allowed:
                            came_from[other] = link
                            step.append(other)
                frontier = step
            if goal in came_from:
                return self._trace(start, goal, came_from)
        return []

    def _age(self, link: Link) -> tuple[object, ...]:
        """Sorts the oldest first, and never by a row's number, which depends on arrival."""
        ends = self.nodes[link.a].identifier, self.nodes[link.b].identifier
        return (link.first_at, link.first_message, *ends, link.kind)

    @staticmethod
    def _trace(start: int, goal: int, came_from: dict[int, Link]) -> list[tuple[int, int, str]]:
        found = []
        while goal != start:
            link = came_from[goal]
            found.append((link.a, link.b, link.kind))
            goal = link.a if link.b == goal else link.b
        return found[::-1]

    # -- browsers and times ----------------------------------------------------------------------------------

    def browser_owner(self, browser: int, at: Milliseconds) -> int | None:
        """The person a browser belongs to at a time; None for nobody, or for somebody whose component is not loaded."""
        sighting = self.owning_sighting(browser, at)
        if sighting is None or sighting.a not in self.nodes or self.cluster(sighting.a) is None:
            return None
        return self.owner(sighting.a, sighting.at)

    def owning_sighting(self, browser: int, at: Milliseconds) -> Seen | None:
        """The latest declared or manual sighting of a browser at or before a time, else its first."""
        return self.around("owners", [(browser, at)])[0].nearest

    def browsers(self, anchor: int, at: Milliseconds) -> Iterator[Seen]:
        """The browsers seen with an identifier: latest at or before t first, then those after, earliest first."""
        around = self.around("browsers", [(anchor, at)])[0]
        nearest = sorted(around.before, reverse=True) or sorted(around.after)
        yield from nearest
        met = {seen.b for seen in nearest}
        if met:  # else it was never seen with one
            yield from (seen for seen in sightings.browsers(self.tx, anchor, at, LOOK_BACK) if seen.b not in met)

    def seen_with_others(self, browser: int, person: int) -> bool:
        """Did a site or server call, at any time, carry this browser together with anybody else?"""
        seen = sightings.owners(self.tx, browser)
        self.load({one.a for one in seen})
        return any(self.owner(one.a, one.at) != person for one in seen)

    def around(self, side: str, asked: Sequence[tuple[int, Milliseconds]]) -> list[Around]:
        """``sightings.around``, remembered."""
        missing = list(dict.fromkeys((one, at) for one, at in asked if (side, one, at) not in self._around))
        for (one, at), found in sightings.around(self.tx, side, missing).items():
            self._around[side, one, at] = found
        return [self._around[side, one, at] for one, at in asked]

    # -- what may leave together -------------------------------------------------------------------------------

    def know_pairs(self, asked: Iterable[tuple[int, int]]) -> None:
        """Read whether identifiers and browsers are linked directly (declared or manual)."""
        missing = [pair for pair in set(asked) if pair not in self._pairs]
        known = sightings.linked_directly(self.tx, missing)
        self._pairs.update({pair: pair in known for pair in missing})

    def has_browser(self, one: int, browser: int) -> bool:
        """Did a site or server call, or an operator, carry both?"""
        self.know_pairs([(one, browser)])
        return self._pairs[one, browser]

    def joined_directly(self, one: int, other: int, at: Milliseconds) -> bool:
        """May these two of people's identifiers leave in one call: linked directly, and not refused at this time?"""
        if self.is_linked(one, other):
            return self.owner(one, at) == self.owner(other, at)
        return any(
            self._hangs_on(one, middle) and self._hangs_on(other, middle) and self.cluster(one) == self.cluster(other)
            for middle in self._middles(one)
        )

    def is_linked(self, one: int, other: int) -> bool:
        """Were the two seen together? A vendor's user id that is the userId of the same value counts as that userId."""
        return any(self.links_between(x, y) for x in self._same(one) for y in self._same(other))

    def _same(self, one: int) -> list[int]:
        """The identifier, and the userId that a vendor's user id is, or the other way round; never a hash's email."""
        implied = [link for link in self.links_of(one) if link.kind == Kind.IMPLIED]
        others = [link.a if link.b == one else link.b for link in implied if self._is_user_id(link.b)]
        return [one, *others]

    def _is_user_id(self, one: int) -> bool:
        return self.nodes[one].identifier.type.endswith("user_id")

    def _hangs_on(self, one: int, middle: int) -> bool:
        return bool(self.links_between(one, middle))

    def _middles(self, one: int) -> list[int]:
        ends = [link.a if link.b == one else link.b for link in self.links_of(one)]
        return [
            end
            for end in ends
            if self.nodes[end].identifier.type == "user_id" or self.nodes[end].identifier.type.endswith("_profile_id")
        ]


def _nearest(seen: Iterable[Seen], at: Milliseconds, graph: Graph) -> Seen | None:
    """The latest at or before t, else the first after; of one message's, the one with the strongest identifier."""

    def strength(one: Seen) -> tuple[int, str, str]:
        return graph.rules.strength(graph.nodes[one.a].identifier)

    seen = list(seen)
    before = [one for one in seen if one.at <= at]
    if before:
        latest = max((one.at, one.message) for one in before)
        return min((one for one in before if (one.at, one.message) == latest), key=strength)
    if not seen:
        return None
    first = min((one.at, one.message) for one in seen)
    return min((one for one in seen if (one.at, one.message) == first), key=strength)
