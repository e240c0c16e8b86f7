"""A second opinion: who is who and whose is an email event, read naively from the text of the design.

It shares no code with the stages it judges, keeps nothing between questions and loops over everything, so that it is
short enough to be compared with the rules sentence by sentence. Evidence in: valid ``Message``s, each once. Out:
people, refused links, owners at a time, and the visitor of every email event.

Not told here: hubs, clicked links, revoking, forgetting, traits.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from connector.messages import Identifier, Message
from connector.resources import shipped_mappings

MINUTE = 60_000
JOINING = ("manual", "declared", "vendor", "implied")  # in the order of trust
OWNING = ("manual", "declared")

Person = frozenset[Identifier]
When = tuple[int, str]  # event time, message key: no two sightings of one link are equal


class Link(NamedTuple):
    stronger: Identifier
    weaker: Identifier
    kind: str


class Refusal(NamedTuple):
    """A link that would have broken a limit, with the type whose limit it was and who the two would have been."""

    link: Link
    limit: str
    persons: frozenset[Person]


class Visitor(NamedTuple):
    """What a call about an email event may say. email: the address that may stand in ``context.traits``."""

    user_id: str | None
    anonymous_id: str | None
    email: str | None
    ambiguous: bool

    @property
    def known(self) -> bool:
        return self.user_id is not None or self.anonymous_id is not None


@dataclass(frozen=True)
class Oracle:
    """Answers about one set of messages."""

    messages: tuple[Message, ...]

    # -- identifiers ----------------------------------------------------------------------------------------------

    @cached_property
    def _config(self) -> tuple[dict[str, int], dict[str, int]]:
        table = tomllib.loads((shipped_mappings() / "identity.toml").read_text())["types"]
        ranks = {name: rank for rank, name in enumerate(table)}
        return ranks, {name: entry["limit"] for name, entry in table.items() if "limit" in entry}

    def rank(self, one: Identifier) -> int:
        ranks, _ = self._config
        return ranks.get(one.type, ranks["vendor"])

    def strength(self, one: Identifier) -> tuple[int, str, str]:
        return (self.rank(one), one.type, one.value)

    @cached_property
    def seen(self) -> dict[Identifier, When]:
        """Every identifier, with the first time it was seen."""
        found: dict[Identifier, When] = {}
        for message in self.messages:
            for one in (*message.identifiers, *message.carried):
                found[one] = min(found.get(one, (message.at, message.key)), (message.at, message.key))
        return found

    @cached_property
    def carried(self) -> frozenset[Identifier]:
        """What a site or server call, or a mapping, vouches for."""
        return frozenset(one for message in self.messages for one in message.carried)

    def email_of_hash(self, one: Identifier) -> Identifier | None:
        """The known email whose hash an anonymousId is."""
        if one.type != "anonymous_id":
            return None
        for known in self.seen:
            if known.type == "email" and one.value.lower() in (
                hashlib.sha256(known.value.encode()).hexdigest(),
                hashlib.md5(known.value.encode()).hexdigest(),  # noqa: S324 - what some sources send
            ):
                return known
        return None

    @cached_property
    def hashes(self) -> dict[Identifier, Identifier]:
        pairs = ((one, self.email_of_hash(one)) for one in self.seen)
        return {one: email for one, email in pairs if email is not None}

    def is_browser(self, one: Identifier) -> bool:
        return one.type == "anonymous_id" and one not in self.hashes

    # -- links ----------------------------------------------------------------------------------------------------

    @cached_property
    def all_sightings(self) -> dict[Link, set[When]]:
        """Each link with the times it was seen, the earliest and the latest of every minute only."""
        every: dict[Link, set[When]] = {}
        for message in self.messages:
            for stronger, weaker, kind in message.links:
                every.setdefault(Link(stronger, weaker, kind), set()).add((message.at, message.key))
        kept: dict[Link, set[When]] = {}
        for link, times in every.items():
            for minute in {at // MINUTE for at, _ in times}:
                inside = [when for when in times if when[0] // MINUTE == minute]
                kept.setdefault(link, set()).update((min(inside), max(inside)))
        return kept

    @cached_property
    def implied(self) -> set[Link]:
        """An email and its hash; a vendor's user id and the userId of the same value, if that is vouched for."""
        found = {Link(email, digest, "implied") for digest, email in self.hashes.items()}
        for one in self.seen:
            user = Identifier("user_id", one.value)
            if one.type.endswith("_user_id") and user in self.carried:
                found.add(Link(user, one, "implied"))
        return found

    @cached_property
    def joining(self) -> set[Link]:
        """The links that make people."""
        seen = {
            link
            for link in self.all_sightings
            if link.kind in JOINING and not self.is_browser(link.stronger) and not self.is_browser(link.weaker)
        }
        return seen | self.implied

    @cached_property
    def links(self) -> set[Link]:
        """Everything that was ever seen together or is implied to be."""
        return set(self.all_sightings) | self.implied

    def first_time(self, link: Link) -> When:
        """An implied link has no sightings of its own: its times are those of its weaker end."""
        return self.seen[link.weaker] if link.kind == "implied" else min(self.all_sightings[link])

    def directly(self, one: Identifier, other: Identifier, kinds: Iterable[str]) -> bool:
        """Is there a link of one of these kinds between them, refused or not?"""
        return any({link.stronger, link.weaker} == {one, other} and link.kind in kinds for link in self.links)

    # -- people ---------------------------------------------------------------------------------------------------

    @cached_property
    def _resolved(self) -> tuple[frozenset[Person], tuple[Refusal, ...]]:
        _, limits = self._config
        clusters: set[Person] = {frozenset({one}) for one in self.seen if not self.is_browser(one)}
        refused: list[tuple[Link, str]] = []
        for link in sorted(self.joining, key=self._order):
            (first,) = (cluster for cluster in clusters if link.stronger in cluster)
            (second,) = (cluster for cluster in clusters if link.weaker in cluster)
            if first == second:
                continue
            both = first | second
            broken = [name for name, limit in limits.items() if sum(one.type == name for one in both) > limit]
            if broken:
                refused.append((link, broken[0]))
            else:
                clusters = clusters - {first, second} | {both}
        persons = {one: cluster for cluster in clusters for one in cluster}
        refusals = (
            Refusal(link, limit, frozenset({persons[link.stronger], persons[link.weaker]})) for link, limit in refused
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

    def person(self, one: Identifier) -> Person:
        (found,) = (person for person in self.people if one in person)
        return found

    def earliest(self, person: Person) -> Identifier:
        """The identifier that names the profile."""
        return min(person, key=lambda one: (self.seen[one], self.strength(one)))

    def user(self, person: Person | None) -> Identifier | None:
        users = [one for one in person or () if one.type == "user_id"]
        assert len(users) <= 1
        return users[0] if users else None

    # -- owners at a time -----------------------------------------------------------------------------------------

    def is_contested(self, one: Identifier) -> bool:
        return any(refusal.link.weaker == one for refusal in self.refused)

    def owner(self, one: Identifier, t: int, without: Identifier | None = None) -> Person | None:
        """Whose an identifier is at t; with ``without``, as if its links with that one did not exist.

        The person of a stronger end that is contested itself is its owner at t.
        """
        if not self.is_contested(one):
            return self.person(one)
        upward = [link for link in self.joining if link.weaker == one and link.stronger != without]
        for link in upward:
            if link.kind == "implied":
                return self.owner(link.stronger, t)
        found = self._latest({link: self.all_sightings[link] for link in upward}, t)
        return self.owner(found[0].stronger, t) if found else None

    def browser_owner(self, browser: Identifier, t: int) -> Person | None:
        mine = {
            link: times for link, times in self.all_sightings.items() if link.weaker == browser and link.kind in OWNING
        }
        found = self._latest(mine, t)
        return self.owner(found[0].stronger, found[1][0]) if found else None

    @staticmethod
    def _latest(sightings: dict[Link, set[When]], t: int) -> tuple[Link, When] | None:
        """The latest sighting at or before t, else the first after it."""
        flat = [(when, link) for link, times in sightings.items() for when in times]
        before = [one for one in flat if one[0][0] <= t]
        if not flat:
            return None
        when, link = max(before) if before else min(flat)
        return link, when

    # -- email events ---------------------------------------------------------------------------------------------

    def visitor(self, message: Message) -> Visitor:
        """Whose event it is, by everything that is known."""
        email = message.email
        assert email is not None
        t = message.at
        recipient = self._as_address(email.recipient)
        if recipient:
            addressee = self.owner(recipient, t)
        elif email.vendor_profile:
            addressee = self.owner(email.vendor_profile, t)
        else:
            addressee = self.owner(email.vendor_user, t) if email.vendor_user else None
        user = self.user(addressee)
        ambiguous = recipient is not None and any(
            None not in (user, other) and user != other
            for other in (self._otherwise(one, recipient, t) for one in (email.vendor_profile, email.vendor_user))
        )
        if ambiguous and not (user and recipient and self.directly(user, recipient, OWNING)):
            return Visitor(None, None, None, ambiguous=True)
        address = recipient or self._address_of(email.vendor_profile, t)
        arrived = self._arrived(message)
        if arrived:
            user = user if user and self.directly(user, arrived, OWNING) else None
            browser: Identifier | None = arrived
        else:
            browser = self._browser(address, email.vendor_profile, user, addressee, t)
        told_by_vendor = address and email.vendor_user and self.directly(address, email.vendor_user, JOINING)
        if user is None and browser is None and email.vendor_user and told_by_vendor:
            # The address names nobody; the userId that the vendor told with it is kept if it may be emitted.
            told = Identifier("user_id", email.vendor_user.value)
            user = told if told in self.carried else None
        may_leave = address is not None and self._may_leave(address, user, None if arrived else browser, t)
        return Visitor(
            user_id=user.value if user else None,
            anonymous_id=browser.value if browser else None,
            email=address.value if address and may_leave and (user or browser) else None,
            ambiguous=ambiguous,
        )

    def _as_address(self, recipient: Identifier | None) -> Identifier | None:
        """A hash is the email it is the hash of; if it is none's, the event names no address."""
        if recipient is None or recipient.type == "email":
            return recipient
        return self.hashes.get(recipient)

    def _arrived(self, message: Message) -> Identifier | None:
        """The anonymousId that the event came with, if it names a browser."""
        if message.anonymous_id is None:
            return None
        one = Identifier("anonymous_id", message.anonymous_id)
        if one in self.hashes:
            return None
        hash_shaped = re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", one.value)
        return None if hash_shaped and one not in self.carried else one

    def _address_of(self, profile: Identifier | None, t: int) -> Identifier | None:
        """The email that a vendor's profile had at t."""
        mine = {
            link: times
            for link, times in self.all_sightings.items()
            if link.weaker == profile and link.stronger.type == "email" and link.kind in JOINING
        }
        found = self._latest(mine, t)
        return found[0].stronger if found else None

    def _otherwise(self, one: Identifier | None, address: Identifier, t: int) -> Identifier | None:
        """The userId that another identifier of the event leads to, by any way but through the address."""
        if one is None:
            return None
        if self.is_contested(one):
            return self.user(self.owner(one, t, without=address))
        person = self.person(one)
        reached = {one}
        for _ in person:
            for link in self.joining:
                ends = {link.stronger, link.weaker}
                if ends <= person and address not in ends and ends & reached:
                    reached |= ends
        return self.user(frozenset(reached))

    def _browser(
        self,
        address: Identifier | None,
        profile: Identifier | None,
        user: Identifier | None,
        addressee: Person | None,
        t: int,
    ) -> Identifier | None:
        direct = {
            link: times
            for link, times in self.all_sightings.items()
            if link.kind in OWNING and self.is_browser(link.weaker) and link.stronger in (address, profile, user)
        }
        if user:
            direct = {link: times for link, times in direct.items() if self.directly(user, link.weaker, OWNING)}
        owned = {
            link: times
            for link, times in direct.items()
            if addressee is not None and self.browser_owner(link.weaker, t) == addressee
        }
        found = self._latest(owned, t)
        if found is None and user is None:
            found = self._latest({link: times for link, times in direct.items() if link.stronger == address}, t)
        return found[0].weaker if found else None

    def _may_leave(self, address: Identifier, user: Identifier | None, browser: Identifier | None, t: int) -> bool:
        """May a call that carries these ids carry the address too? browser: one that we chose."""
        hangs = user is not None and self._hangs_on(user, address, t)
        if user and not hangs and not self._share_a_profile(user, address):
            return False
        return browser is None or self.directly(address, browser, OWNING) or hangs

    def _hangs_on(self, user: Identifier, address: Identifier, t: int) -> bool:
        """Linked directly, and the address is this user's at t. A vendor's user id implied to be theirs is theirs."""
        same = {user} | {link.weaker for link in self.implied if link.stronger == user}
        owned = not self.is_contested(address) or self.owner(address, t) == self.person(user)
        return owned and any(self.directly(one, address, JOINING) for one in same)

    def _share_a_profile(self, user: Identifier, address: Identifier) -> bool:
        return any(
            self.directly(profile, address, JOINING) and self.directly(profile, user, JOINING)
            for profile in self.seen
            if profile.type.endswith("_profile_id")
        )
