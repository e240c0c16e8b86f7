"""The second third of the second opinion: hubs, people, whose is what at a time, and what a person's traits are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from connector.messages import Identifier
from tests.oracle_evidence import JOINING, MINUTE, OWNING, Evidence, Link, When

Person = frozenset[Identifier]
Sightings = Mapping[Link, Iterable[When]]


class Refusal(NamedTuple):
    """A link that would have broken a limit, with the type whose limit it was and who the two would have been."""

    link: Link
    limit: str
    persons: frozenset[Person]


class People(Evidence):
    """Who is who."""

    # -- hubs -----------------------------------------------------------------------------------------------------

    @cached_property
    def hubs(self) -> frozenset[Identifier]:
        """Those linked to more stronger ones than their type may be, whatever became of the links; and the blocked."""
        stronger: dict[Identifier, set[Identifier]] = {one: set() for one in self.seen}
        for link in self.links:
            if link.kind in JOINING:
                stronger[link.weaker].add(link.stronger)
        general = self.table.get("hub_limit", 20)
        return frozenset(
            one
            for one, others in stronger.items()
            if len(others) > self.type_of(one).get("hub_limit", general) or self.is_blocked(one)
        )

    def is_set_aside(self, link: Link) -> bool:
        """A link of a hub joins nothing and owns nothing."""
        return link.stronger in self.hubs or link.weaker in self.hubs

    @cached_property
    def sightings(self) -> dict[Link, set[When]]:
        """The links that count, with the earliest and the latest sighting of each of their minutes."""
        return {
            link: {when for both in minutes.values() for when in both}
            for link, minutes in self.standing.items()
            if not self.is_set_aside(link)
        }

    @cached_property
    def joining(self) -> set[Link]:
        """The links that make people."""
        return {
            link
            for link in self.links
            if link.kind in JOINING
            and not self.is_set_aside(link)
            and not self.is_browser(link.stronger)
            and not self.is_browser(link.weaker)
        }

    def directly(self, one: Identifier, other: Identifier, kinds: Iterable[str]) -> bool:
        """Is there a link of one of these kinds between them that counts, refused or not?"""
        return any(
            {link.stronger, link.weaker} == {one, other} and link.kind in kinds
            for link in self.links
            if not self.is_set_aside(link)
        )

    # -- people ---------------------------------------------------------------------------------------------------

    @cached_property
    def _resolved(self) -> tuple[frozenset[Person], tuple[Refusal, ...]]:
        persons = [one for one in self.seen if not self.is_browser(one) and one not in self.hubs]
        clusters: set[Person] = {frozenset({one}) for one in persons}
        refused: list[tuple[Link, str]] = []
        for link in sorted(self.joining, key=self._order):
            (first,) = (cluster for cluster in clusters if link.stronger in cluster)
            (second,) = (cluster for cluster in clusters if link.weaker in cluster)
            if first == second:
                continue
            both = first | second
            broken = [name for name, limit in self.limits.items() if sum(one.type == name for one in both) > limit]
            if broken:
                refused.append((link, broken[0]))
            else:
                clusters = clusters - {first, second} | {both}
        whose = {one: cluster for cluster in clusters for one in cluster}
        refusals = (
            Refusal(link, limit, frozenset({whose[link.stronger], whose[link.weaker]})) for link, limit in refused
        )
        return frozenset(clusters), tuple(refusals)

    def _order(self, link: Link) -> tuple[object, ...]:
        return (
            self.rank(link.stronger),
            self.rank(link.weaker),
            JOINING.index(link.kind),
            self.first_time(link),
            self.strength(link.stronger),
            self.strength(link.weaker),
        )

    @property
    def people(self) -> frozenset[Person]:
        return self._resolved[0]

    @property
    def refused(self) -> tuple[Refusal, ...]:
        return self._resolved[1]

    def set_aside_of(self, person: Person) -> set[Link]:
        """The links that would join somebody to a hub, or a browser of theirs that is one."""
        return {
            link
            for link in self.links
            if self.is_set_aside(link) and link.kind in JOINING and {link.stronger, link.weaker} & person
        }

    def person(self, one: Identifier) -> Person:
        (found,) = (person for person in self.people if one in person)
        return found

    def earliest(self, person: Person) -> Identifier:
        """The identifier that names the profile."""
        return min(person, key=lambda one: (self.seen[one], self.strength(one)))

    def user(self, person: Person | None) -> Identifier | None:
        """Their userId, if it may be emitted: an operator's word alone does not vouch for one."""
        users = [one for one in person or () if one.type == "user_id"]
        assert len(users) <= 1
        return users[0] if users and users[0] in self.carried else None

    # -- owners at a time -----------------------------------------------------------------------------------------

    def is_contested(self, one: Identifier) -> bool:
        return any(refusal.link.weaker == one for refusal in self.refused)

    def owner(self, one: Identifier, t: int, without: Identifier | None = None) -> Person | None:
        """Whose an identifier is at t; with ``without``, as if its links with that one did not exist.

        The person of a stronger end that is contested itself is its owner at t. A hub is nobody's.
        """
        if one in self.hubs:
            return None
        if self.is_browser(one):
            return self._browser_owner(one, t)
        if not self.is_contested(one):
            return self.person(one)
        upward = [link for link in self.joining if link.weaker == one and link.stronger != without]
        for link in upward:
            if link.kind == "implied":
                return self.owner(link.stronger, t)
        found = self.latest({link: self.sightings[link] for link in upward}, t)
        return self.owner(found[0].stronger, t) if found else None

    def _browser_owner(self, browser: Identifier, t: int) -> Person | None:
        mine = {link: times for link, times in self.sightings.items() if link.weaker == browser and link.kind in OWNING}
        found = self.latest(mine, t)
        return self.owner(found[0].stronger, found[1][0]) if found else None

    @staticmethod
    def latest(sightings: Sightings, t: int) -> tuple[Link, When] | None:
        """The latest sighting at or before t, else the first after it."""
        flat = [(when, link) for link, times in sightings.items() for when in times]
        before = [one for one in flat if one[0][0] <= t]
        if not flat:
            return None
        when, link = max(before) if before else min(flat)
        return link, when

    # -- traits ---------------------------------------------------------------------------------------------------

    @cached_property
    def _traits(self) -> dict[tuple[Identifier, str, int], tuple[int, str, Any]]:
        """Of each identifier, key and minute the last value, with its time and message."""
        found: dict[tuple[Identifier, str, int], tuple[int, str, Any]] = {}
        for message in sorted(self.messages, key=lambda message: (message.at, message.key)):
            for key, value in message.traits.items() if message.trait_owner else ():
                assert message.trait_owner is not None
                found[message.trait_owner, key, message.at // MINUTE] = (message.at, message.key, value)
        return found

    def traits(self, person: Person) -> dict[str, Any]:
        """Last write by event time, per key, among what was said of the person's identifiers while theirs."""
        last: dict[str, tuple[int, str, Any]] = {}
        for (one, key, minute), entry in self._traits.items():
            if entry[1] in self.withheld or self.opted_out(one, minute) or self.owner(one, entry[0]) != person:
                continue
            if key not in last or entry[:2] > last[key][:2]:
                last[key] = entry
        return {key: value for key, (_, _, value) in last.items()}
