"""Whose activity is a call of the site? A ``Visit`` in, a ``Customer`` out: what an email platform would merge on.

An email platform keeps one profile for whoever an event names, and puts all names of one event together for good. So an
event names only what evidence joined: the userId and an address that were seen with each other, directly. Of several
addresses it is the one seen last, whatever the time of the event: an event of last week must not turn an address back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connector import clicks
from connector.devices import Devices, Recognised
from connector.graph import Graph
from connector.messages import LATEST, Identifier, Message, Milliseconds
from connector.sightings import Seen

UNKNOWN: Final = "nobody is known yet whose activity this is"
NO_ADDRESS: Final = "the person has neither an address nor a phone number yet"


@dataclass(frozen=True, slots=True)
class Visit:
    """A call of the site, from the message alone. All are numbers of identifiers.

    named are those of people that it carried, the strongest first; browser the anonymousId.
    """

    at: Milliseconds
    named: tuple[int, ...] = ()
    browser: int | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        return self.named if self.browser is None else (*self.named, self.browser)


@dataclass(frozen=True, slots=True)
class Customer:
    """Who a visitor is to an email platform, as far as is known: numbers of identifiers, joined with each other.

    person is a cluster of the graph that found them; anchor the identifier through which. guessed: known only by a
    click in a mail, or by a first-party id of their browser. unsettled: who it is may change by mere repetition of what
    is known, for a name of theirs is another person's at other times, or only their browser names them. before: their
    browser was identified only afterwards. why says what is missing, or how they are known.
    """

    why: str
    user: int | None = None
    email: int | None = None
    phone: int | None = None
    person: int | None = None
    anchor: int | None = None
    guessed: bool = False
    unsettled: bool = False
    before: bool = False

    @property
    def subject(self) -> int | None:
        """The identifier that stands for their profile at an email platform."""
        return next((one for one in (self.user, self.email, self.phone) if one is not None), None)

    @property
    def turn(self) -> int | None:
        """The subject whose calls their events follow: none may arrive before the profile that they belong to."""
        return None if self.guessed else self.subject


def visit(message: Message, ids: Mapping[Identifier, int], graph: Graph) -> Visit:
    """The visit that a call of the site is. Only what the call itself vouches for counts, not what its URL names."""
    browser = next((ids[one] for one in message.carried if one.type == "anonymous_id"), None)
    named = sorted((one for one in message.carried if one.type != "anonymous_id"), key=graph.rules.strength)
    return Visit(message.at, tuple(ids[one] for one in named), browser)


def find(visits: Sequence[Visit], graph: Graph, *, clicked: bool = True) -> list[Customer]:
    """The customer of each visit. Args: clicked also takes a browser for the addressee's from whose mail it came."""
    graph.load({one for each in visits for one in each.ids})
    alone = [(each.browser, each.at) for each in visits if not each.named and each.browser is not None]
    owners = {one: around.nearest for one, around in zip(alone, graph.around("owners", alone), strict=True)}
    graph.load({seen.a for seen in owners.values() if seen is not None})
    anchors = [_anchor(each, owners, graph) for each in visits]
    _know_sightings([anchor for anchor in anchors if anchor is not None], graph)
    unknown = [each for each, anchor in zip(visits, anchors, strict=True) if anchor is None]
    recognised = _recognised(unknown, graph, clicked)
    return [
        _by_browser(_customer(anchor, graph), each, anchor)
        if anchor is not None
        else recognised.get((each.browser or 0, each.at), Customer(UNKNOWN))
        for each, anchor in zip(visits, anchors, strict=True)
    ]


Moment = tuple[int, Milliseconds]
"""A browser and a time."""

Anchor = tuple[int, Milliseconds]
"""The identifier through which somebody is known, and the time at which it named them."""


def _anchor(each: Visit, owners: Mapping[tuple[int, Milliseconds], Seen | None], graph: Graph) -> Anchor | None:
    """The strongest identifier of the call itself, else the one its browser was last identified by."""
    for one in each.named:
        if one in graph.nodes and graph.cluster(one) is not None:
            return one, each.at
    if each.named or each.browser is None or each.browser not in graph.nodes:
        return None
    if not graph.nodes[each.browser].browser:  # it is an email's hash, and as good as that email
        email = graph.nodes[each.browser].email
        return None if email is None else (email, each.at)
    seen = owners[each.browser, each.at]
    if seen is None or graph.browser_owner(each.browser, each.at) is None:
        return None
    return seen.a, seen.at


def _customer(anchor: Anchor, graph: Graph) -> Customer:
    one, at = anchor
    person = graph.owner(one, at)
    user = graph.user(person)
    if user is not None and one != user.id and not graph.joined_directly(one, user.id, at):
        user = None
    base = one if user is None else user.id
    email = base if graph.nodes[base].identifier.type == "email" else _latest("email", base, person, graph)
    phone = base if graph.nodes[base].identifier.type == "phone" else _latest("phone", base, person, graph)
    named = graph.nodes[one].identifier.type
    why = f"known by their {named}" if email is not None or phone is not None else NO_ADDRESS
    contested = any(graph.is_contested(each) for each in _around(base, person, graph))
    return Customer(why, user.id if user else None, email, phone, person, one, unsettled=contested)


def _by_browser(customer: Customer, each: Visit, anchor: Anchor) -> Customer:
    return customer if each.named else replace(customer, unsettled=True, before=anchor[1] > each.at)


def _recognised(visits: Iterable[Visit], graph: Graph, wanted: bool) -> dict[Moment, Customer]:
    """Who came from whose mail, or back under a new anonymousId, where nothing speaks against it."""
    asked = list(dict.fromkeys((one.browser, one.at) for one in visits if not one.named and one.browser is not None))
    if not asked:
        return {}
    landed = clicks.owners(graph, asked) if wanted else [None] * len(asked)
    found = {one: _addressee(each, graph) for one, each in zip(asked, landed, strict=True) if each is not None}
    rest = [one for one in asked if one not in found] if graph.rules.devices else []
    devices = Devices(graph).owners(rest) if rest else []
    return found | {one: _returned(each, graph) for one, each in zip(rest, devices, strict=True) if each is not None}


def _addressee(found: clicks.Addressee, graph: Graph) -> Customer:
    """Who is known by a click alone leaves alone, with no other name than the address they have now: the one that was
    mailed may be an old one, of which the platform would make another profile."""
    if found.address is None:
        return Customer(UNKNOWN)
    known = _customer((found.address, LATEST), graph)
    return _alone(known, "this browser landed from a mail to them", found.seen.a)


def _returned(found: Recognised, graph: Graph) -> Customer:
    """As who came from a mail: a device proves no more than that."""
    known = _customer((found.anchor, LATEST), graph)
    return _alone(known, "a first-party id of this browser was seen with them", found.anchor)


def _alone(known: Customer, why: str, anchor: int) -> Customer:
    email, phone = known.email, known.phone if known.email is None else None
    return Customer(why, email=email, phone=phone, person=known.person, anchor=anchor, guessed=True)


def _latest(type_name: str, base: int, person: int | None, graph: Graph) -> int | None:
    """Of a person's identifiers of a type that evidence joins to one of theirs, the one seen with it last."""
    found = [
        (_last_seen(one, base, graph), graph.nodes[one].identifier.value, one)
        for one in _around(base, person, graph)
        if graph.nodes[one].identifier.type == type_name and graph.joined_directly(one, base, LATEST)
    ]
    return max(found)[2] if found else None


def _around(base: int, person: int | None, graph: Graph) -> set[int]:
    """A person's identifiers, and those that are theirs in turns with somebody else."""
    members = graph.members(person) if person is not None else []
    return {*members, *(end for link in graph.links_of(base) for end in (link.a, link.b))}


def _last_seen(one: int, other: int, graph: Graph) -> tuple[Milliseconds, str]:
    """When two identifiers were last seen with each other; those joined by a third never were."""
    stronger, weaker = _pair(one, other, graph)
    return max(
        ((seen.at, seen.message) for seen in graph.seen_with_stronger(weaker, LATEST) if seen.a == stronger),
        default=(0, ""),
    )


def _pair(one: int, other: int, graph: Graph) -> tuple[int, int]:
    first, second = sorted((one, other), key=lambda each: graph.rules.strength(graph.nodes[each].identifier))
    return first, second


def _know_sightings(anchors: Iterable[Anchor], graph: Graph) -> None:
    """Read for all of them at once what ``_last_seen`` will ask."""
    wanted: set[int] = set()
    for one, at in anchors:
        around = _around(one, graph.owner(one, at), graph)
        wanted |= {each for each in around if graph.nodes[each].identifier.type in ("email", "phone")}
        wanted.add(one)
    graph.know_sightings((stronger, one, LATEST) for one in wanted for stronger in graph.stronger(one))
