"""Stage 3 of T2: whose visitor is this email event? A ``Case`` in, a ``Placement`` out, decided from a ``Graph``.

The addressee of an email is certain, the actor who clicked is not: events are attributed to the addressee.
Emitting is asserting: ids put together in one call are merged downstream, so a call carries only pairs of ids that
evidence joined directly, and a path through a browser never puts a userId on an event. Next stage: ``outbox``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.graph import Graph
from connector.identifiers import is_hash_shaped
from connector.messages import Kind, Milliseconds, iso
from connector.resolve import Node
from connector.sightings import Seen

Evidence = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Case:
    """An email event to be placed, from the message alone. The ids are numbers of identifiers."""

    inbox_id: int
    at: Milliseconds
    recipient: int | None = None
    vendor_profile: int | None = None
    vendor_user: int | None = None
    browser: int | None = None  # the anonymousId it arrived with

    @property
    def ids(self) -> tuple[int, ...]:
        named = (self.recipient, self.vendor_profile, self.vendor_user, self.browser)
        return tuple(one for one in named if one is not None)


@dataclass(frozen=True, slots=True)
class Placement:
    """Who the event is about, as far as is known, and what may leave.

    user and browser are numbers of identifiers, addressee of the one through which the person was found, email of
    the address that may go into ``context.traits``. usable: an id may leave.
    """

    user: int | None = None
    browser: int | None = None
    email: int | None = None
    addressee: int | None = None
    person: int | None = None  # a cluster of the graph that placed it
    ambiguous: bool = False
    arrived_usable: bool = False
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def usable(self) -> bool:
        return self.user is not None or self.browser is not None


def place(cases: Sequence[Case], graph: Graph) -> list[Placement]:
    """The placement of each case. What is needed of the store is read for all of them together."""
    graph.load({one for case in cases for one in case.ids})
    contested = [(one, case.at) for case in cases for one in case.ids if graph.is_contested(one)]
    graph.know_sightings((stronger, one, at) for one, at in contested for stronger in graph.stronger(one))
    drafts = [_addressee(case, graph) for case in cases]
    graph.around(
        "browsers", [(anchor, case.at) for case, draft in zip(cases, drafts, strict=True) for anchor in draft.anchors]
    )
    likely = [
        (draft, seen, case.at)
        for case, draft in zip(cases, drafts, strict=True)
        for anchor in draft.anchors
        for around in graph.around("browsers", [(anchor, case.at)])
        for seen in (*around.before, *around.after)
    ]
    graph.around("owners", [(seen.b, at) for _, seen, at in likely])
    graph.know_pairs(
        {(one, seen.b) for draft, seen, _ in likely for one in (draft.address, draft.user) if one is not None}
    )
    placements = [_placement(case, draft, graph) for case, draft in zip(cases, drafts, strict=True)]
    graph.load({one.browser for one in placements if one.browser is not None})
    return placements


@dataclass(slots=True)
class Draft:
    """The first half of a decision: the addressee, before a browser is chosen."""

    address: int | None
    addressee: int | None
    person: int | None
    user: int | None
    rival: int | None  # another userId, named by the vendor's ids
    anchors: tuple[int, ...]


def _addressee(case: Case, graph: Graph) -> Draft:
    """(1) the owner of the recipient address at the event's time; (2) else the person of the vendor's profile id;
    (3) else of the vendor's user id."""
    address = address_of(case, graph)
    addressee = next((one for one in (address, case.vendor_profile, case.vendor_user) if one is not None), None)
    person = graph.owner(addressee, case.at) if addressee is not None else None
    user = graph.user(person)
    if address is None and case.vendor_profile is not None:
        address = _profile_address(case.vendor_profile, case.at, graph)
    rival = None
    for other in (case.vendor_profile, case.vendor_user):
        if user is not None and addressee == address and address is not None and other is not None:
            named = graph.reached_user(other, case.at, without=address)
            if named is not None and named.id != user.id:
                rival = named.id
                break
    user_id = user.id if user else None
    anchors = tuple(dict.fromkeys(one for one in (address, user_id, case.vendor_profile) if one is not None))
    return Draft(address, addressee, person, user_id, rival, anchors)


def address_of(case: Case, graph: Graph) -> int | None:
    """The recipient's address; a hash stands for the email that hashes to it, once that is known."""
    if case.recipient is None or case.recipient not in graph.nodes:
        return None
    return case.recipient if _is_email(case.recipient, graph) else _email_of_hash(case.recipient, graph)


def _email_of_hash(one: int, graph: Graph) -> int | None:
    return next((link.a for link in graph.links_of(one) if link.b == one and link.kind == Kind.IMPLIED), None)


def joinable_user(addressee: int, at: Milliseconds, graph: Graph, *, declared: bool) -> Node | None:
    """The userId that an addressee's opaque id may be joined to: that of the person they are, if evidence joins it
    directly to the address they stand for.

    Args: declared asks for a site's or an operator's word, where two people were named.
    """
    address = addressee if _is_email(addressee, graph) else _email_of_hash(addressee, graph)
    if address is None and graph.nodes[addressee].identifier.type.endswith("_profile_id"):
        address = _profile_address(addressee, at, graph)
    stands_for = addressee if address is None else address
    user = graph.user(graph.owner(stands_for, at))
    if user is None or not graph.joined_directly(stands_for, user.id, at):
        return None
    return user if not declared or _is_declared(stands_for, user.id, graph) else None


def _profile_address(profile: int, at: Milliseconds, graph: Graph) -> int | None:
    """The address a vendor's profile had at a time, for events that name the profile only."""
    seen = [one for one in graph.seen_with_stronger(profile, at) if _is_email(one.a, graph)]
    before = [one for one in seen if one.at <= at]
    if before:
        return max(before).a
    return min(seen).a if seen else None


def _is_email(one: int, graph: Graph) -> bool:
    return one in graph.nodes and graph.nodes[one].identifier.type == "email"


def _placement(case: Case, draft: Draft, graph: Graph) -> Placement:
    arrived = _arrived_browser(case, graph)
    arrived_user = _arrived_user(case, graph)
    arrived_usable = arrived is not None or arrived_user is not None
    if draft.rival is not None and not _is_declared(draft.address, draft.user, graph):
        return Placement(
            addressee=draft.addressee,
            person=draft.person,
            ambiguous=True,
            arrived_usable=arrived_usable,
            reason="the address belongs to one userId and the vendor's profile to another, and no call of the site"
            " joined the address to its userId: held until evidence decides",
        )
    seen, shared = _browser(case, draft, graph)
    browser, user, why = (seen.b if seen else None), draft.user, _why(draft, seen, shared, graph)
    if browser is None and user is None and arrived is None and _is_told(draft.address, case, graph):
        user, why = arrived_user, "the address itself names nobody; it arrived with this userId, which is kept"
    if arrived is not None and browser != arrived:
        browser, seen, why = arrived, None, "it arrived with a visitor's anonymousId, which is kept"
        if user is not None and not graph.has_browser(user, arrived):
            user = None
    email = (
        draft.address if _email_may_leave(draft.address, user, browser, browser == arrived, case.at, graph) else None
    )
    if draft.rival is not None:
        why += "; the vendor's own profile names another userId, but the site joined this address to this one"
    return Placement(
        user=user,
        browser=browser,
        email=email,
        addressee=draft.addressee,
        person=draft.person,
        ambiguous=draft.rival is not None,
        arrived_usable=arrived_usable,
        reason=why,
        evidence=_evidence(case, draft, user, seen, graph),
    )


def _arrived_browser(case: Case, graph: Graph) -> int | None:
    """The anonymousId the event came with, if it names a browser: neither an email's hash, nor hash-shaped and
    never carried by a site or server call."""
    if case.browser is None or case.browser not in graph.nodes:
        return None
    one = graph.nodes[case.browser]
    if one.component is not None or (is_hash_shaped(one.identifier.value) and one.carried_at is None):
        return None
    return one.id


def _arrived_user(case: Case, graph: Graph) -> int | None:
    """The userId it came with, if a site or server call has carried that too, or the mapping vouches for it."""
    if case.vendor_user is None or case.vendor_user not in graph.nodes:
        return None
    return next((link.a for link in graph.links_of(case.vendor_user) if link.kind == Kind.IMPLIED), None)


def _is_told(address: int | None, case: Case, graph: Graph) -> bool:
    """Does the vendor say that its user id and the address mailed are one? Mail for somebody else it does not."""
    return address is not None and case.vendor_user is not None and bool(graph.links_between(address, case.vendor_user))


def _is_declared(address: int | None, user: int | None, graph: Graph) -> bool:
    if address is None or user is None:
        return False
    return any(link.kind in Kind.OWNING for link in graph.links_between(address, user))


def _browser(case: Case, draft: Draft, graph: Graph) -> tuple[Seen | None, bool]:
    """The sighting that chooses the browser, and whether the browser is also used by another.

    Of the browsers the addressee owns at the event's time: the one whose direct link has the latest sighting at or
    before it, else the earliest after. If there is none and no userId leaves: the one seen with the address itself.
    """
    best: Seen | None = None
    for anchor in draft.anchors:
        for seen in graph.browsers(anchor, case.at):
            if graph.browser_owner(seen.b, case.at) != draft.person:
                continue
            if draft.user is not None and not graph.has_browser(draft.user, seen.b):
                continue
            best = seen if best is None else _better(best, seen, case.at)
            break
    if best is None and draft.user is None and draft.address is not None:
        return next(graph.browsers(draft.address, case.at), None), True
    return best, False


def _better(left: Seen, right: Seen, at: Milliseconds) -> Seen:
    """The later of two sightings at or before a time, else the earlier of two after; ties by message, then browser."""
    before = [one for one in (left, right) if one.at <= at]
    if before:
        return max(before, key=lambda one: (one.at, one.message, -one.b))
    return min((left, right), key=lambda one: (one.at, one.message, one.b))


def _email_may_leave(
    address: int | None, user: int | None, browser: int | None, arrived: bool, at: Milliseconds, graph: Graph
) -> bool:
    """May the address go into ``context.traits`` beside these ids?"""
    if address is None:
        return False
    with_user = user is None or graph.joined_directly(address, user, at)
    with_browser = (
        browser is None
        or arrived  # the sender asserted the pair itself
        or graph.has_browser(address, browser)
        or (user is not None and graph.has_browser(user, browser) and graph.is_linked(address, user))
    )
    return with_user and with_browser


def _why(draft: Draft, seen: Seen | None, shared: bool, graph: Graph) -> str:
    if seen is None and draft.user is None:
        return "nothing known joins the addressee to a visitor of the site or to a userId yet"
    if draft.user is None and seen is not None:
        said = f"the address was seen with this browser at {iso(seen.at)}"
        return said + ("; browser also used by another" if shared else "")
    if seen is None:
        return "the addressee's userId is known; no browser that was theirs then was seen with that userId"
    named = graph.nodes[seen.a].identifier.type
    return f"the addressee's userId is known; of their browsers this one was seen with the {named} at {iso(seen.at)}"


def _evidence(case: Case, draft: Draft, user: int | None, seen: Seen | None, graph: Graph) -> tuple[Evidence, ...]:
    """The links a placement stands on: from the event's identifiers to the userId, and to the browser."""
    found: list[Evidence] = []
    if seen is not None:
        found.append((seen.a, seen.b, seen.kind))
    if user is not None and draft.addressee is not None:
        found += graph.path(draft.addressee, user)
        if seen is not None and seen.a != user:
            found.append((user, seen.b, Kind.DECLARED))
    return tuple(dict.fromkeys(found))
