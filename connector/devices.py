"""First-party ids that name a browser, such as ``_ga`` or ``_shopify_y``: whose a device is, and whom it recognises.

A visitor who returns under a new anonymousId often still has another site's or shop's cookie. Such a device outlives a
logout, so it proves little, never joins people and is never sent on:

    1. It is the person's with whom alone it was ever seen, by a call that carried both. One that was seen with two
       people, or on a browser of somebody else, is a shared computer's and names nobody; nor does one seen on very many
       browsers, which is a kiosk's or a broken client's.
    2. A browser on which no other person and no other person's device was ever seen is recognised as theirs.

Everything is asked of the whole record, whatever the time, so that neither order nor arrival can matter. What is read
is bounded: more than some of anything is as good as too many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from connector import sightings
from connector.device_links import BROWSERS, DEVICES, EXTENDED, NAMES, OWNING, few
from connector.graph import Graph
from connector.messages import Kind, Milliseconds
from connector.sightings import Seen
from connector.tables import COUNTS, OWNED, PEOPLE


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a device. browsers: on which it was seen. people: everybody ever seen with it or on these.

    known: some call carried it together with a person. many: it was seen with so many that it names nobody, and people
    is empty.
    """

    browsers: tuple[int, ...] = ()
    people: frozenset[int] = frozenset()
    known: bool = False
    many: bool = False

    @property
    def person(self) -> int | None:
        """Whose alone it is: a cluster of the graph."""
        return next(iter(self.people)) if self.known and len(self.people) == 1 else None


@dataclass(frozen=True, slots=True)
class Recognised:
    """A browser that a device tells us is a person's. seen: the sighting of both, the device being its stronger end.

    anchor is the person's identifier with which the device was seen.
    """

    person: int
    anchor: int
    seen: Seen


class Devices:
    """Asks one graph about devices, and remembers the answers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._of: dict[int, tuple[int, ...]] = {}  # identifier or browser → devices; none if they are too many
        self._crowded: set[int] = set()
        self._known: dict[int, Device] = {}

    # -- asking -----------------------------------------------------------------------------------------------------

    def recognised(self, anchors: Sequence[int], person: int, at: Milliseconds) -> Recognised | None:
        """The browser that a device seen with one of a person's identifiers tells us is theirs: the one seen with it
        last at or before a time, else the first after.
        """
        suited: dict[tuple[int, int], int] = {}
        for anchor in anchors:
            for device in self.of([anchor])[anchor]:
                for browser in self.browsers_of(device, person):
                    suited.setdefault((device, browser), anchor)
        seen = self.nearest(list(suited), at)
        return None if seen is None else Recognised(person, suited[seen.a, seen.b], seen)

    def owners(self, asked: Sequence[tuple[int, Milliseconds]]) -> list[Recognised | None]:
        """``owner`` of each (browser, time), what is needed of the store being read for all of them together."""
        found = self.of(browser for browser, _ in asked)
        self.know({one for some in found.values() for one in some})
        return [self.owner(browser, at) for browser, at in asked]

    def owner(self, browser: int, at: Milliseconds) -> Recognised | None:
        """Whose a browser is that nobody was ever identified on, by the devices seen on it."""
        devices = self.of([browser])[browser]
        people = {one for device in devices for one in self.know([device])[device].people}
        person = next(iter(people)) if len(people) == 1 else None
        mine = [one for one in devices if person is not None and browser in self.browsers_of(one, person)]
        seen = self.nearest([(one, browser) for one in mine], at)
        if person is None or seen is None:
            return None
        named = self.named_with(seen.a)
        anchor = next((one for one in named if self.graph.cluster(one) == person), named[0])  # else theirs in turns
        return Recognised(person, anchor, seen)

    def browsers_of(self, device: int, person: int) -> list[int]:
        """The browsers that a device tells us are a person's."""
        known = self.know([device])[device]
        if known.person != person:
            return []
        self.know({one for some in self.of(known.browsers).values() for one in some})
        return [one for one in known.browsers if self._is_alone(one, person)]

    def of_person(self, cluster: int) -> list[int]:
        """The devices that are a person's alone."""
        found = self.of(self.graph.members(cluster))
        devices = dict.fromkeys(one for some in found.values() for one in some)
        return [one for one, known in self.know(devices).items() if known.person == cluster]

    def of_nobody_else(self, browsers: Collection[int], cluster: int | None) -> set[int]:
        """The devices seen on some browsers with which nobody but a person was ever seen; without a person, those seen
        nowhere else.
        """
        found = {one for some in self.of(browsers).values() for one in some}
        theirs = {cluster} - {None}
        known = {number: one for number, one in self.know(found).items() if not one.many and one.people <= theirs}
        return {number for number, one in known.items() if cluster is not None or {*one.browsers} <= {*browsers}}

    def person(self, device: int) -> int | None:
        """Whose a device is."""
        return self.know([device])[device].person

    def named_with(self, device: int) -> list[int]:
        """The identifiers of people that a call carried together with a device, the strongest first."""
        tx, strength = self.graph.tx, self.graph.rules.strength
        found = few(tx, [device], "b_id", "a_id", PEOPLE, EXTENDED, NAMES).get(device, [])
        hashes = few(tx, [device], "a_id", "b_id", PEOPLE, EXTENDED, NAMES).get(device, [])
        self.graph.load({*found, *hashes})
        return sorted({*found, *hashes}, key=lambda one: strength(self.graph.nodes[one].identifier))

    def why_nobodys(self, device: int) -> str:
        """Why a device is nobody's, as a sentence."""
        known = self.know([device])[device]
        if known.many:
            return "it was seen with so many browsers or people that it names nobody"
        if len(known.people) > 1:
            return "it was seen with two people: a computer that is shared names nobody"
        return "no call of the site carried it together with somebody's name"

    def said_of(self, device: int, browser: int, person: int | None) -> str:
        """Why a browser seen with a device is a person's by that, or is not."""
        known = self.know([device])[device]
        if known.many:
            return "its first-party id was seen with so many browsers or people that it names nobody"
        if person is None or known.person != person:
            return "its first-party id was seen with two people: a computer that is shared names nobody"
        if not self._is_alone(browser, person):
            return "another person's first-party id was seen on it too"
        return "the addressee's by its first-party id, which was seen with nobody else"

    def _is_alone(self, browser: int, person: int) -> bool:
        """Was neither anybody else nor anybody else's device seen on it?"""
        devices = self.of([browser])[browser]
        known = self.know(devices)
        return browser not in self._crowded and not any(one.many or one.people - {person} for one in known.values())

    def nearest(self, pairs: Sequence[tuple[int, int]], at: Milliseconds) -> Seen | None:
        """The sighting of one of these latest at or before a time, else the first after; ties by message, then name."""
        found = sightings.of_kind(self.graph.tx, pairs, Kind.EXTENDED, at)
        before = [seen for one in found for seen in one.before]
        seen = before or [seen for one in found for seen in one.after]
        if not seen:
            return None
        self.graph.load({end for one in seen for end in (one.a, one.b)})
        best = (max if before else min)((one.at, one.message) for one in seen)
        strength, nodes = self.graph.rules.strength, self.graph.nodes
        tied = [one for one in seen if (one.at, one.message) == best]
        return min(tied, key=lambda one: (strength(nodes[one.a].identifier), strength(nodes[one.b].identifier)))

    # -- reading ----------------------------------------------------------------------------------------------------

    def of(self, ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """The devices seen with each of these identifiers of people or browsers."""
        ids = set(ids)
        missing = ids - self._of.keys() if self.graph.rules.devices else set()
        tx = self.graph.tx
        found = few(tx, missing, "a_id", "b_id", PEOPLE, EXTENDED, DEVICES)
        found |= few(tx, missing - found.keys(), "b_id", "a_id", COUNTS, EXTENDED, DEVICES)
        self.graph.load({one for some in found.values() for one in some})
        for one in missing:
            devices = [each for each in found.get(one, ()) if self._is_device(each)]
            self._of[one] = tuple(devices) if len(devices) <= DEVICES else ()
            self._crowded |= {one} if len(devices) > DEVICES else set()
        return {one: self._of.get(one, ()) for one in ids}

    def know(self, devices: Iterable[int]) -> dict[int, Device]:
        """What is known of these devices, all read at once."""
        wanted = list(devices)
        missing = [one for one in dict.fromkeys(wanted) if one not in self._known]
        if missing:
            self._read(missing)
        return {one: self._known[one] for one in wanted}

    def _read(self, devices: Sequence[int]) -> None:
        graph, tx = self.graph, self.graph.tx
        named = few(tx, devices, "b_id", "a_id", PEOPLE, EXTENDED, NAMES)
        hashes = few(tx, devices, "a_id", "b_id", PEOPLE, EXTENDED, NAMES)
        browsers = few(tx, devices, "a_id", "b_id", OWNED, EXTENDED, BROWSERS)
        graph.load(devices)
        limits = {one: graph.rules.type_of(graph.nodes[one].identifier.type).hub_limit for one in devices}
        bounded = {one for device in devices for one in browsers.get(device, ())[: limits[device] + 1]}
        owners = few(tx, bounded, "b_id", "a_id", OWNED, OWNING, NAMES)
        graph.load({one for some in (named, hashes, owners) for ids in some.values() for one in ids})
        for device in devices:
            on = browsers.get(device, [])
            pairs = [(one, device) for one in named.get(device, ())] + [(device, one) for one in hashes.get(device, ())]
            through = [(one, browser) for browser in on for one in owners.get(browser, ())]
            many = len(on) > limits[device] or len(pairs) > NAMES or any(len(owners.get(one, ())) > NAMES for one in on)
            people = set() if many else self._people(pairs, [Kind.EXTENDED]) | self._people(through, Kind.OWNING)
            self._known[device] = Device(tuple(on[: limits[device]]), frozenset(people), bool(pairs), many)

    def _people(self, pairs: Iterable[tuple[int, int]], kinds: Sequence[str]) -> set[int]:
        """Who was seen in these pairs of a person's identifier and a device or a browser, at the time of each."""
        graph = self.graph
        found: set[int | None] = set()
        for a, b in pairs:
            one = a if graph.cluster(a) is not None else b  # of a device and an email's hash the hash is the person's
            if not graph.is_contested(one):
                found.add(graph.cluster(one))
                continue
            found |= {graph.owner(one, seen.at) for seen in sightings.of_link(graph.tx, (a, b), kinds)}
        return {one for one in found if one is not None}

    def _is_device(self, one: int) -> bool:
        return self.graph.rules.is_device(self.graph.nodes[one].identifier.type)
