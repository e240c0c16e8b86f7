"""Stage 3 of T2: whose visitor is this email event? A ``Case`` in, a ``Placement`` out, decided from a ``Graph``.

The addressee of an email is certain, the actor who clicked is not: events are attributed to the addressee.
Emitting is asserting: ids put together in one call are merged downstream, so a call carries only pairs of ids that
evidence joined directly, and a path through a browser never puts a userId on an event. Next stage: ``outbox``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from connector import clicks, consent
from connector.devices import Devices, Recognised
from connector.graph import Graph
from connector.identifiers import is_hash_shaped
from connector.messages import Kind, Milliseconds, iso
from connector.resolve import Node
from connector.sightings import Seen

Evidence = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Case:
    """An email event to be placed, from the message alone. The ids are numbers of identifiers.

    carried are all that the message named: their consent counts, even where they do not name the addressee.
    """

    inbox_id: int
    at: Milliseconds
    recipient: int | None = None
    vendor_profile: int | None = None
    vendor_user: int | None = None
    browser: int | None = None  # the anonymousId it arrived with
    carried: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        named = (self.recipient, self.vendor_profile, self.vendor_user, self.browser)
        return tuple(one for one in named if one is not None)


@dataclass(frozen=True, slots=True)
class Placement:
    """Who the event is about, as far as is known, and what may leave.

    user and browser are numbers of identifiers, addressee of the one through which the person was found, email of
    the address that may go into ``context.traits``. usable: an id may leave. withdrawn: it must not, by their choice.
    """

    user: int | None = None
    browser: int | None = None
    email: int | None = None
    addressee: int | None = None
    person: int | None = None  # a cluster of the graph that placed it
    ambiguous: bool = False
    arrived_usable: bool = False
    withdrawn: bool = False
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
    devices = Devices(graph)
    seen_with = devices.of(anchor for draft in drafts if draft.user is None for anchor in draft.anchors)
    devices.know({one for some in seen_with.values() for one in some})
    placements = [_placement(case, draft, graph, devices) for case, draft in zip(cases, drafts, strict=True)]
    graph.load({one.browser for one in placements if one.browser is not None})
    return _with_consent(cases, placements, graph)


def _with_consent(cases: Sequence[Case], placements: list[Placement], graph: Graph) -> list[Placement]:
    """The placements, without a visitor where somebody concerned had withdrawn a consent that the rules require."""
    concerned = [
        {
            *case.ids,
            *case.carried,
            *([one.browser] if one.browser is not None else []),
            *(graph.members(one.person) if one.person is not None else []),
            *(end for a, b, kind in one.evidence if kind == Kind.EXTENDED for end in (a, b)),
        }
        for case, one in zip(cases, placements, strict=True)
    ]
    choices = consent.read(graph.tx, {one for group in concerned for one in group}, graph.rules)
    if not choices.categories:
        return placements
    found = []
    for case, one, group in zip(cases, placements, concerned, strict=True):
        refused = min((category for who in group if (category := choices.refused(who, case.at))), default=None)
        found.append(one if refused is None else _withdrawn(one, refused))
    return found


def _withdrawn(one: Placement, category: str) -> Placement:
    return Placement(
        addressee=one.addressee,
        person=one.person,
        arrived_usable=one.arrived_usable,
        withdrawn=True,
        reason=f"{consent.WITHDRAWN} (category '{category}') before this event: it is neither stitched nor sent",
    )


@dataclass(slots=True)
class Draft:
    """The first half of a decision: the addressee, before a browser is chosen."""

    address: int | None
    addressee: int | None
    person: int | None
    user: int | None
    rival: int | None  # another userId, named by the vendor's ids
    anchors: tuple[int, ...]
    named: tuple[int, ...] = ()  # the vendor's ids that name somebody


def _addressee(case: Case, graph: Graph) -> Draft:
    """(1) the owner of the recipient address at the event's time; (2) else the person of the vendor's profile id;
    (3) else of the vendor's user id."""
    address, profile, vendor_user = (
        one if one is None or not graph.nodes[one].apart else None  # a hub names nobody
        for one in (address_of(case, graph), case.vendor_profile, case.vendor_user)
    )
    addressee = next((one for one in (address, profile, vendor_user) if one is not None), None)
    person = graph.owner(addressee, case.at) if addressee is not None else None
    user = graph.user(person)
    if address is None and profile is not None:
        address = _profile_address(profile, case.at, graph)
    rival = None
    for other in (profile, vendor_user):
        if user is not None and addressee == address and address is not None and other is not None:
            named = graph.reached_user(other, case.at, without=address)
            if named is not None and named.id != user.id:
                rival = named.id
                break
    user_id = user.id if user else None
    anchors = tuple(dict.fromkeys(one for one in (address, user_id, profile) if one is not None))
    ids = tuple(one for one in (profile, vendor_user) if one is not None)
    return Draft(address, addressee, person, user_id, rival, anchors, ids)


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


def _placement(case: Case, draft: Draft, graph: Graph, devices: Devices) -> Placement:
    arrived = _arrived_browser(case, graph)
    arrived_user = _arrived_user(case, graph)
    arrived_usable = arrived is not None or arrived_user is not None
    if draft.rival is not None and not _is_declared(draft.address, draft.user, graph):
        return _ambiguous(draft, arrived_usable)
    seen, shared = _browser(case, draft, graph)
    browser, user, why = (seen.b if seen else None), draft.user, _why(draft, seen, shared, graph, case)
    told = arrived_user is not None and _is_told(draft.address, case, graph)
    if browser is None and user is None and arrived is None and told:
        user, why = arrived_user, "the address itself names nobody; it arrived with this userId, which is kept"
    known = None
    if browser is None and user is None and arrived is None and draft.person is not None:
        known = devices.recognised(draft.anchors, draft.person, case.at)
        if known is not None:
            browser, seen, why = known.seen.b, known.seen, _recognised(known, graph)
    if arrived is not None and browser != arrived:
        browser, seen, why = arrived, None, "it arrived with a visitor's anonymousId, which is kept"
        if user is not None and not graph.has_browser(user, arrived):
            user = None
    alone = seen is not None and seen.kind in (Kind.CLICKED, Kind.EXTENDED)
    may_leave = _email_may_leave(draft.address, user, browser, case.at, graph, arrived=browser == arrived, alone=alone)
    email = draft.address if may_leave else None
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
        evidence=_evidence(case, draft, user, seen, graph, known),
    )


def _ambiguous(draft: Draft, arrived_usable: bool) -> Placement:
    return Placement(
        addressee=draft.addressee,
        person=draft.person,
        ambiguous=True,
        arrived_usable=arrived_usable,
        reason="the address belongs to one userId and the vendor's profile to another, and no call of the site"
        " joined the address to its userId: held until evidence decides",
    )


def _arrived_browser(case: Case, graph: Graph) -> int | None:
    """The anonymousId the event came with, if it names a browser: neither an email's hash, nor hash-shaped and
    never carried by a site or server call."""
    if case.browser is None or case.browser not in graph.nodes:
        return None
    one = graph.nodes[case.browser]
    if not one.browser or (is_hash_shaped(one.identifier.value) and one.carried_at is None):
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
    before it, else the earliest after. If there is none and no userId leaves: one that landed from a mail to them,
    else the one seen with the address itself.
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
    if best is None and draft.user is None and draft.named and draft.person is not None:
        best = clicks.browser_of(graph, draft.named, draft.person, case.at)
    if best is None and draft.user is None and draft.address is not None:
        return next(graph.browsers(draft.address, case.at), None), True
    return best, False


@dataclass(frozen=True, slots=True)
class Considered:
    """A browser that might have been an event's visitor, by the sighting nearest to it, and what was said of it."""

    seen: Seen
    chosen: bool
    why: str


def considered(case: Case, graph: Graph, most: int = 10) -> list[Considered]:
    """The browsers among which the one of an event was chosen: those seen with its addressee, the nearest first."""
    placement = place([case], graph)[0]
    draft = _addressee(case, graph)
    found: dict[int, Considered] = {}
    for anchor in draft.anchors:
        for seen in islice(graph.browsers(anchor, case.at), most):
            graph.load({seen.b})
            if seen.b not in found:
                chosen = seen.b == placement.browser
                found[seen.b] = Considered(seen, chosen, _said_of(seen, chosen, case, draft, graph))
    for seen, why in _by_device(case, draft, graph) if draft.user is None else ():
        if seen.b not in found:
            found[seen.b] = Considered(seen, seen.b == placement.browser, why)
    return sorted(found.values(), key=lambda one: (not one.chosen, -one.seen.at))[:most]


def _by_device(case: Case, draft: Draft, graph: Graph) -> Iterator[tuple[Seen, str]]:
    """The browsers seen with a first-party id that was seen with the addressee, and what is said of each."""
    devices = Devices(graph)
    for device in dict.fromkeys(one for some in devices.of(draft.anchors).values() for one in some):
        for browser in devices.know([device])[device].browsers if draft.person is not None else ():
            seen = devices.nearest([(device, browser)], case.at)
            if seen is not None:
                yield seen, devices.said_of(device, browser, draft.person)


def _said_of(seen: Seen, chosen: bool, case: Case, draft: Draft, graph: Graph) -> str:
    sighting = graph.owning_sighting(seen.b, case.at)
    graph.load({sighting.a} if sighting else set())
    if graph.browser_owner(seen.b, case.at) != draft.person:
        return "used by another person at that time"
    if draft.user is not None and not graph.has_browser(draft.user, seen.b):
        return "never seen together with the addressee's userId: they may not leave in one call"
    if chosen:
        return "the addressee's, and seen with them last before the event, or first after it"
    return "the addressee's, but seen with them longer before the event, or later after it"


def _better(left: Seen, right: Seen, at: Milliseconds) -> Seen:
    """The later of two sightings at or before a time, else the earlier of two after; ties by message, then browser."""
    before = [one for one in (left, right) if one.at <= at]
    if before:
        return max(before, key=lambda one: (one.at, one.message, -one.b))
    return min((left, right), key=lambda one: (one.at, one.message, one.b))


def _email_may_leave(
    address: int | None,
    user: int | None,
    browser: int | None,
    at: Milliseconds,
    graph: Graph,
    *,
    arrived: bool,
    alone: bool,
) -> bool:
    """May the address go into ``context.traits`` beside these ids? Args: alone, the browser is known by a guess."""
    if address is None or alone:
        return False
    with_user = user is None or graph.joined_directly(address, user, at)
    with_browser = (
        browser is None
        or arrived  # the sender asserted the pair itself
        or graph.has_browser(address, browser)
        or (user is not None and graph.has_browser(user, browser) and graph.is_linked(address, user))
    )
    return with_user and with_browser


def _why(draft: Draft, seen: Seen | None, shared: bool, graph: Graph, case: Case) -> str:
    if seen is None and draft.user is None and draft.addressee is None and _names_hub(case, graph):
        return "the addressee is a hub: linked to so many people that it names nobody (`connector log --hubs`)"
    if seen is None and draft.user is None:
        return "nothing known joins the addressee to a visitor of the site or to a userId yet"
    if seen is not None and seen.kind == Kind.CLICKED:
        return f"this browser landed from a mail to the addressee's profile at {iso(seen.at)}; it leaves alone"
    if draft.user is None and seen is not None:
        said = f"the address was seen with this browser at {iso(seen.at)}"
        return said + ("; browser also used by another" if shared else "")
    if seen is None:
        return "the addressee's userId is known; no browser that was theirs then was seen with that userId"
    named = graph.nodes[seen.a].identifier.type
    return f"the addressee's userId is known; of their browsers this one was seen with the {named} at {iso(seen.at)}"


def _recognised(known: Recognised, graph: Graph) -> str:
    device = graph.nodes[known.seen.a].identifier.type
    return (
        f"the same browser under a new anonymousId: its first-party id ({device}) was seen with the addressee, and with"
        f" this browser at {iso(known.seen.at)}; it leaves alone"
    )


def _pair(one: int, device: int, graph: Graph) -> tuple[int, int]:
    """The stronger end first: of an email's hash and a device that is the device."""
    ends = sorted((one, device), key=lambda end: graph.rules.strength(graph.nodes[end].identifier))
    return ends[0], ends[1]


def _names_hub(case: Case, graph: Graph) -> bool:
    return any(graph.nodes[one].apart for one in case.ids if one in graph.nodes)


def _evidence(
    case: Case, draft: Draft, user: int | None, seen: Seen | None, graph: Graph, known: Recognised | None
) -> tuple[Evidence, ...]:
    """The links a placement stands on: from the event's identifiers to the userId, and to the browser."""
    found: list[Evidence] = []
    if known is not None:  # by the device, which is the sighting's stronger end
        found.append((*_pair(known.anchor, known.seen.a, graph), Kind.EXTENDED))
    if seen is not None:
        found.append((seen.a, seen.b, seen.kind))
        if seen.kind == Kind.CLICKED and draft.addressee is not None and draft.addressee != seen.a:
            found += graph.path(draft.addressee, seen.a)
    if user is not None and draft.addressee is not None:
        found += graph.path(draft.addressee, user)
        if seen is not None and seen.a != user:
            found.append((user, seen.b, Kind.DECLARED))
    return tuple(dict.fromkeys(found))
