"""A second opinion: who is who and whose is an email event, read naively from the text of the design.

It shares no code with the stages it judges, keeps nothing between questions and loops over everything, so that it is
short enough to be compared with the rules sentence by sentence. Evidence in: valid ``Message``s, each once, and the
acts of operators. Out: people, refused links, owners at a time, traits (``oracle_people``, on ``oracle_evidence``),
landings and a scanner's clicks (``oracle_clicks``), and here the visitor of every email event.

Not told here: forgetting.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from connector.messages import Identifier, Message
from tests.oracle_clicks import Clicks
from tests.oracle_evidence import JOINING, MINUTE, OWNING, Act, Evidence, Link, When, read_act
from tests.oracle_people import Person, Refusal

__all__ = ["Act", "Evidence", "Link", "Oracle", "Person", "Refusal", "Visitor", "When", "read_act"]

DAY = 24 * 60 * MINUTE


class Visitor(NamedTuple):
    """What a call about an email event may say. email: the address that may stand in ``context.traits``."""

    user_id: str | None
    anonymous_id: str | None
    email: str | None
    ambiguous: bool

    @property
    def known(self) -> bool:
        return self.user_id is not None or self.anonymous_id is not None


class Named(NamedTuple):
    """Whom an email event names: a hub names nobody. address: the recipient's, else the one its profile had."""

    recipient: Identifier | None
    profile: Identifier | None
    vendor_user: Identifier | None
    address: Identifier | None


class Oracle(Clicks):
    """Answers about one set of messages."""

    # -- email events ---------------------------------------------------------------------------------------------

    def visitor(self, message: Message) -> Visitor:
        """Whose event it is, by everything that is known."""
        t = message.at
        named = self._named(message)
        addressee = self.addressee(message)
        user = self.user(addressee)
        ambiguous = self._is_ambiguous(named, user, t)
        if ambiguous and not (user and named.recipient and self.directly(user, named.recipient, OWNING)):
            return Visitor(None, None, None, ambiguous=not self.withdrawn(message, addressee, None))
        arrived = self._arrived(message)
        browser: Identifier | None = arrived
        clicked = False
        if arrived:
            user = user if user and self.directly(user, arrived, OWNING) else None
        else:
            browser, clicked = self._browser(named, user, addressee, t)
        if user is None and browser is None:
            user = self._told(named)
        if self.withdrawn(message, addressee, browser):
            return Visitor(None, None, None, ambiguous=False)
        may_leave = not clicked and self._may_leave(named.address, user, None if arrived else browser, t)
        return Visitor(
            user_id=user.value if user else None,
            anonymous_id=browser.value if browser else None,
            email=named.address.value if named.address and may_leave and (user or browser) else None,
            ambiguous=ambiguous,
        )

    def addressee(self, message: Message) -> Person | None:
        """The owner of the recipient address at that time; else of the vendor's profile; else of its user id."""
        named = self._named(message)
        first = next((one for one in (named.recipient, named.profile, named.vendor_user) if one), None)
        return self.owner(first, message.at) if first else None

    def withdrawn(self, message: Message, addressee: Person | None, browser: Identifier | None) -> bool:
        """Did the person, the event's own identifiers or the chosen browser withhold consent in that minute?"""
        concerned = {*(addressee or ()), *message.identifiers, *([browser] if browser else [])}
        return self.any_opted_out(concerned, message.at // MINUTE)

    def _named(self, message: Message) -> Named:
        email = message.email
        assert email is not None
        recipient = self._as_address(email.recipient)
        profile, vendor_user = (None if one in self.hubs else one for one in (email.vendor_profile, email.vendor_user))
        address = recipient or (self._address_of(profile, message.at) if profile else None)
        return Named(recipient, profile, vendor_user, address)

    def _as_address(self, recipient: Identifier | None) -> Identifier | None:
        """A hash is the email it is the hash of; if it is none's, or a hub, the event names no address."""
        if recipient is None or recipient in self.hubs:
            return None
        if recipient.type == "email":
            return recipient
        return next((link.stronger for link in self.joining if link[1:] == (recipient, "implied")), None)

    def _arrived(self, message: Message) -> Identifier | None:
        """The anonymousId that the event came with, if it names a browser."""
        if message.anonymous_id is None:
            return None
        one = Identifier("anonymous_id", message.anonymous_id)
        if one in self.hashes:
            return None
        hash_shaped = re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", one.value)
        return None if hash_shaped and one not in self.carried else one

    def _address_of(self, profile: Identifier, t: int) -> Identifier | None:
        """The email that a vendor's profile had at t."""
        mine = {
            link: self.sightings[link]
            for link in self.joining
            if link.weaker == profile and link.stronger.type == "email"
        }
        found = self.latest(mine, t)
        return found[0].stronger if found else None

    def _is_ambiguous(self, named: Named, user: Identifier | None, t: int) -> bool:
        """Do the vendor's own ids name another userId than the address does?"""
        if named.recipient is None or user is None:
            return False
        others = (self._otherwise(one, named.recipient, t) for one in (named.profile, named.vendor_user) if one)
        return any(other not in (None, user) for other in others)

    def _otherwise(self, one: Identifier, address: Identifier, t: int) -> Identifier | None:
        """The userId that another identifier of the event leads to, by any way but through the address."""
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

    def _told(self, named: Named) -> Identifier | None:
        """The address names nobody; the userId that the vendor told with it is kept if it may be emitted."""
        if named.address is None or named.vendor_user is None:
            return None
        if not self.directly(named.address, named.vendor_user, JOINING):
            return None
        told = Link(Identifier("user_id", named.vendor_user.value), named.vendor_user, "implied")
        return told.stronger if told in self.joining else None

    # -- browsers -------------------------------------------------------------------------------------------------

    def _browser(
        self, named: Named, user: Identifier | None, addressee: Person | None, t: int
    ) -> tuple[Identifier | None, bool]:
        """The browser that the event is about, and whether it is one that merely clicked."""
        direct = {
            link: times
            for link, times in self.sightings.items()
            if link.kind in OWNING
            and self.is_browser(link.weaker)
            and link.stronger in (named.address, named.profile, user)
        }
        if user:
            direct = {link: times for link, times in direct.items() if self.directly(user, link.weaker, OWNING)}
        owned = {
            link: times
            for link, times in direct.items()
            if addressee is not None and self.owner(link.weaker, t) == addressee
        }
        found = self.latest(owned, t)
        ids = {one for one in (named.profile, named.vendor_user) if one}
        if found is None and user is None and ids and addressee:
            clicked = self._clicked(ids, addressee, t)
            if clicked:
                return clicked, True
        if found is None and user is None:
            found = self.latest({link: times for link, times in direct.items() if link.stronger == named.address}, t)
        return found[0].weaker if found else None, False

    def _clicked(self, ids: set[Identifier], addressee: Person, t: int) -> Identifier | None:
        """The browser that landed with an id or token of the addressee's, if nothing speaks against its being theirs.

        It is one that the event names, or one that is theirs alone at the same platform.
        """
        ids = ids.union(*(self._alone(addressee, one) for one in ids))
        mine = {
            link: times
            for link, times in self.sightings.items()
            if link.kind == "clicked" and link.stronger in ids and self.is_browser(link.weaker)
            if any(
                self._is_good(token, ids, link.weaker, addressee)
                for _, token, whose, browser in self.landings
                if (whose, browser) == (link.stronger, link.weaker)
            )
        }
        found = self.latest(mine, t)
        return found[0].weaker if found else None

    def _alone(self, person: Person, like: Identifier) -> set[Identifier]:
        """The ids and tokens that a person has at a platform and that were never told to be another's."""
        tokens = {name for name, entry in self.table["types"].items() if entry.get("token")}
        vendor = like.type.split("_")[0]
        return {
            one
            for one in person
            if one.type in {f"{vendor}_profile_id", f"{vendor}_user_id", *tokens} and one.type.split("_")[0] == vendor
            if not self.is_contested(one)
        }

    def clicks(self, person: Person) -> dict[Identifier, int]:
        """The browsers that are shown with a person for a click only, with the first time of each."""
        found: dict[Identifier, int] = {}
        for at, token, named, browser in sorted(self.landings):
            ids = self._alone(person, named) if named in person else set()
            if named not in ids or not self.is_browser(browser):
                continue
            counts = Link(named, browser, "clicked") in self.sightings
            said = any(self.directly(one, browser, OWNING) for one in person)
            if counts and not said and self._is_good(token, ids, browser, person):
                found.setdefault(browser, at)
        return found

    def _is_good(self, token: str, ids: set[Identifier], browser: Identifier, addressee: Person) -> bool:
        """No call joined the browser to anybody else, ever; no machine clicked about then; nobody landed before."""
        first = min(at for at, carried, _, who in self.landings if (carried, who) == (token, browser))
        owners = {
            self.owner(link.stronger, at)
            for link, times in self.sightings.items()
            if link.weaker == browser and link.kind in OWNING
            for at, _ in times
        }
        if owners - {None, addressee}:
            return False
        if any(abs(at - first) <= MINUTE for at, whose in self.machine_clicks if whose in ids):
            return False
        return not any(
            carried == token and who != browser and first - 7 * DAY <= at < first
            for at, carried, _, who in self.landings
        )

    # -- what may leave together ------------------------------------------------------------------------------------

    def _may_leave(
        self, address: Identifier | None, user: Identifier | None, browser: Identifier | None, t: int
    ) -> bool:
        """May a call that carries these ids carry the address too, if it is theirs then? browser: one that we chose."""
        if address is None:
            return False
        if user and self.owner(address, t) != self.owner(user, t):
            return False
        hangs = user is not None and self._hangs_on(user, address)
        if user and not hangs and not self._share_a_profile(user, address):
            return False
        return browser is None or self.directly(address, browser, OWNING) or hangs

    def _hangs_on(self, user: Identifier, address: Identifier) -> bool:
        """Linked directly. A vendor's user id implied to be theirs is theirs."""
        same = {user} | {link.weaker for link in self.joining if link.kind == "implied" and link.stronger == user}
        return any(self.directly(one, address, JOINING) for one in same)

    def _share_a_profile(self, user: Identifier, address: Identifier) -> bool:
        return any(
            self.directly(profile, address, JOINING) and self.directly(profile, user, JOINING)
            for profile in self.seen
            if profile.type.endswith("_profile_id")
        )
