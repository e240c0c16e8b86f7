"""A person is forgotten: what is held of them up to a time goes, and does not come back.

    1. Who is it? The person as known now; of a name that several people had in turns, only that name, because it does
       not say who of them asks. Theirs alone are their identifiers, and the browsers on which nobody else was
       identified; of what others own too, only this person's links and payloads go.
    2. Erase: sightings and links, payloads, texts of the log, deliveries, traits, consents, landings.
    3. Leave tombstones, keyed hashes of the identifiers: whatever carries one and is not later than the time is
       dropped, whenever it arrives (``drop``). What happens later starts a new profile, without history.

Called by ``operate`` for an operator's order, and by ``pipeline`` for Segment's ``delete``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from connector import bulk, components, erasing, identity, inbox, log, outbox, remember, standing, sweeps, tombstones
from connector.devices import Devices
from connector.effect import Effect
from connector.erasing import Person
from connector.graph import Graph
from connector.house import House
from connector.identifiers import NORMALISERS
from connector.keys import Keys
from connector.klaviyo.deletions import DESTINATION, deletions
from connector.messages import MINUTE, Identifier, Json, Kind, Message, Milliseconds, Outcome, Stored, iso
from connector.resolve import Node
from connector.tables import (
    NAMELESS,
    links,
    mentions,
    messages,
)

HUB: Final = (
    "not forgotten: it names nobody, being linked to {n} stronger identifiers whose messages carry it;"
    " forget each person by a name of their own"
)
CONTESTED: Final = (
    "several people had this name in turns, so only the name itself is erased"
    " (to erase one of them, name their userId): "
)

SHOWN: Final = f"kind in ('{Kind.CLICKED}', '{Kind.ALIASED}', '{Kind.HINTED}')"
"""Links by which nobody is anybody's: anybody can write a URL."""

REASON: Final = "its person was forgotten on request"
PAGE: Final = 1_000
ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")


# -- what arrives later ---------------------------------------------------------------------------------------------


def drop(
    tx: sa.Connection, batch: Sequence[tuple[Stored, Message]], keys: Keys
) -> tuple[list[Message], list[log.Entry]]:
    """Those messages that speak of nobody who was forgotten, and the log's entries of the others, whose bodies go."""
    until = tombstones.buried(tx, {one for _, message in batch for one in _carried(message)}, keys) if batch else {}
    kept, entries, gone = [], [], []
    for stored, message in batch:
        if any(message.at <= until.get(one, -1) for one in _carried(message)):
            entries.append(log.forgotten(stored, REASON))
            gone.append(stored.id)
        else:
            kept.append(message)
    inbox.empty(tx, gone)
    return kept, entries


def _carried(message: Message) -> tuple[Identifier, ...]:
    return (*message.identifiers, *message.carried)


# -- who asks -------------------------------------------------------------------------------------------------------


def obey(tx: sa.Connection, stored: Stored, order: Mapping[str, Json], house: House, now: Milliseconds) -> Effect:
    """Do what an operator's ``forget`` says."""
    identifier = Identifier(*order["identifier"])
    effect = erase(tx, identifier, int(order["until"]), stored, house, suppress=bool(order.get("suppress")))
    inbox.empty(tx, [stored.id])  # it names the person
    return effect


def delete(
    tx: sa.Connection, batch: Sequence[tuple[Stored, Message]], house: House
) -> tuple[list[log.Entry], set[int]]:
    """Do what Segment's ``delete`` calls say, each with its own event time; and the identifiers that this concerns."""
    entries, changed, names = [], set(), []
    for stored, message in batch:
        effects = [erase(tx, one, message.at, stored, house, unread=False) for one in message.identifiers]
        names += [(one, _until(message.at)) for effect in effects for one in effect.names]
        changed |= {one for effect in effects for one in effect.changed}
        entries.append(log.forgotten(stored, "; ".join(effect.said for effect in effects) or "it names nobody"))
    inbox.empty(tx, [stored.id for stored, _ in batch])
    _erase_messages(tx, _unread(tx, names), house)  # one look through the quarantine for all of them
    return entries, changed


def _until(at: Milliseconds) -> Milliseconds:
    """The end of a time's minute, so that no minute of sightings is cut."""
    return (at // MINUTE + 1) * MINUTE - 1


def erase(
    tx: sa.Connection,
    identifier: Identifier,
    at: Milliseconds,
    stored: Stored,
    house: House,
    *,
    suppress: bool = False,
    unread: bool = True,
) -> Effect:
    """Forget the person of an identifier up to the end of a time's minute.

    Args: unread False leaves it to the caller to look through what nobody could read.
    """
    identity.take_lease(tx)
    until = _until(at)
    graph = Graph(tx, house.rules)
    hashes = tombstones.hashes_of({identifier})
    found = graph.find({identifier, *hashes})
    known = found.get(identifier)
    if known is not None and known.apart:
        return Effect(said=HUB.format(n=known.degree))
    person = _person(graph, known, until) if known else Person()
    person.own |= {one.id: one for name, one in found.items() if name in hashes}
    spoken = _messages_of(tx, graph, person, until) - {stored.id}
    person.own |= _only_in(tx, spoken, person)
    names = {identifier, *(one.identifier for one in person.own.values())}
    tombstones.bury(tx, names, None if suppress else until, stored.message_id, house.keys)
    spoken |= (_unread(tx, [(one, until) for one in names]) - {stored.id}) if unread else set()
    gone, changed = erasing.erase_identity(tx, person, until, house.rules)
    deliveries = _erase_messages(tx, spoken, house)
    contested = known is not None and graph.is_contested(known.id)
    passes_on = house.klaviyo_deletes and not contested  # there it would be the whole profile of whoever has it now
    passed_on = deletions(names, stored, house.keys, stored.received_at) if passes_on else []
    outbox.add(tx, DESTINATION, passed_on, stored.received_at)
    said = (CONTESTED if contested else "") + (
        f"forgotten up to {iso(until)}: {_n(len(gone), 'identifier')}, {_n(len(spoken), 'message')},"
        f" {_n(deliveries, 'delivery', 'deliveries')}" + (", and Klaviyo is asked to delete them" if passed_on else "")
    )
    return Effect(
        said=said + (", and nothing of theirs is taken in again" if suppress else ""),
        changed=changed,
        erased={"identifiers": len(gone), "messages": len(spoken), "deliveries": deliveries},
        names=names,
    )


def _only_in(tx: sa.Connection, spoken: set[int], person: Person) -> dict[int, Node]:
    """The identifiers that nothing but these messages named, and whose links to hers do not count: refused, or only in
    a URL of hers, they were never hers by evidence, and yet they are held because of her.
    """
    own = set(person.own)
    fallen = bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", own, f"(not stands or {SHOWN})")
    fallen += bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", own, f"(not stands or {SHOWN})")
    named = {end for pair in fallen for end in pair} - own - set(person.shared)
    for side in ("a_id", "b_id"):
        named -= {one for (one,) in bulk.select_by(tx, links, (side,), side, named, f"stands and not {SHOWN}")}
    elsewhere = {
        one
        for one, message in bulk.select_by(tx, mentions, ("identifier_id", "message"), "identifier_id", named)
        if message not in spoken
    }
    return components.nodes_of(tx, named - elsewhere)


def _n(n: int, one: str, more: str = "") -> str:
    return f"{n} {one if n == 1 else more or one + 's'}"


# -- 1. who is it ---------------------------------------------------------------------------------------------------


def _person(graph: Graph, known: Node, until: Milliseconds) -> Person:
    graph.load([known.id])
    cluster = None if graph.is_contested(known.id) else _cluster_of(graph, known, until)
    members = graph.members(cluster) if cluster is not None else []
    named = set() if known.browser and cluster is not None else {known.id}
    own = {one for one in members if not graph.is_contested(one)} | named
    person = Person(cluster=cluster)
    contested = {one for one in members if one not in own}
    person.doomed = _sightings_of(graph, person, contested, until)
    seen_with = f"browser and kind <> '{Kind.EXTENDED}'"
    attached = {b for (b,) in bulk.select_by(graph.tx, links, ("b_id",), "a_id", own | contested, seen_with)} - own
    alone = _alone(graph, attached, own, person.doomed)
    alone |= _by_devices(graph, cluster, own | alone)
    nodes = components.nodes_of(graph.tx, own | attached | contested | alone)
    person.own = {one: nodes[one] for one in own | alone}
    person.shared = {one: nodes[one] for one in contested | (attached - alone)}
    return person


def _by_devices(graph: Graph, cluster: int | None, own: set[int]) -> set[int]:
    """The devices that nobody else was seen with, and the browsers that they tell us are theirs."""
    known = Devices(graph)
    mine = {*known.of_nobody_else(own, cluster), *(known.of_person(cluster) if cluster is not None else ())}
    browsers = {one for each in mine if cluster is not None for one in known.browsers_of(each, cluster)} - own
    return mine | browsers | known.of_nobody_else(browsers, cluster)


def _sightings_of(graph: Graph, person: Person, contested: set[int], until: Milliseconds) -> set[standing.Minute]:
    """The minutes of links of contested identifiers while these were theirs."""
    found: set[standing.Minute] = set()
    pairs = sorted(standing.pairs_of(graph.tx, contested))
    for a, b, kind, minute, _, _, last_at, _ in bulk.select_joined(graph.tx, standing.BUCKETS, standing.PAIR, pairs):
        if minute > until // MINUTE:
            continue
        one = a if a in contested else b
        if graph.owner(one, last_at) == person.cluster:
            found.add((a, b, kind, minute))
    return found


def _alone(graph: Graph, browsers: set[int], own: set[int], doomed: set[standing.Minute]) -> set[int]:
    """Those browsers on which nobody else was ever identified."""
    pairs = sorted({(a, b) for a, b in bulk.select_by(graph.tx, links, ("a_id", "b_id"), "b_id", browsers)})
    others = {
        b
        for a, b, kind, minute, *_ in bulk.select_joined(graph.tx, standing.BUCKETS, standing.PAIR, pairs)
        if a not in own and kind in Kind.OWNING and (a, b, kind, minute) not in doomed
    }
    return browsers - others


def _cluster_of(graph: Graph, known: Node, until: Milliseconds) -> int | None:
    if graph.rules.is_device(known.identifier.type):
        return Devices(graph).person(known.id)
    if not known.browser:
        return graph.owner(known.id, until)
    sighting = graph.owning_sighting(known.id, until)
    if sighting is None:
        return None
    graph.load([sighting.a])
    return graph.browser_owner(known.id, until)


def _messages_of(tx: sa.Connection, graph: Graph, person: Person, until: Milliseconds) -> set[int]:
    """The messages up to a time that carry an identifier of theirs, or a shared one while it was theirs."""
    by_operators = f"(at <= {until:d} or said_by = {remember.OPERATOR:d})"
    rows = bulk.select_by(tx, mentions, ("message",), "identifier_id", person.own, by_operators)
    found = {message for (message,) in rows}
    if person.cluster is None:
        return found
    columns = ("identifier_id", "at", "message")
    shared = bulk.select_by(tx, mentions, columns, "identifier_id", person.shared, f"at <= {until:d}")
    graph.around("owners", [(one, at) for one, at, _ in shared if person.shared[one].browser])
    for one, at, message in shared:
        owner = graph.browser_owner(one, at) if person.shared[one].browser else graph.owner(one, at)
        if owner == person.cluster:
            found.add(message)
    return found


def _unread(tx: sa.Connection, wanted: Sequence[tuple[Identifier, Milliseconds]]) -> set[int]:
    """Messages in whose text one of these names stands and that no index knows by it: what nobody could read, and what
    names nobody whom it is about.

    Args: wanted are (name, received until).
    """
    found: set[int] = set()
    for condition in (messages.c.outcome == Outcome.QUARANTINED, sa.text(NAMELESS)) if wanted else ():
        asked = sa.select(messages.c.id).where(condition)
        last = 0
        while ids := list(tx.scalars(asked.where(messages.c.id > last).order_by(messages.c.id).limit(PAGE))):
            for one in inbox.by_ids(tx, ids):
                names = {name for name, until in wanted if one.received_at <= until}
                if names and any(_names(text, names) for text in (one.body, one.envelope) if text):
                    found.add(one.id)
            last = ids[-1]
    return found


def _names(body: str, names: set[Identifier]) -> bool:
    """Does a text name one of these, however JSON spells it?"""
    texts = [body.lower(), *(text.lower() for text in _texts(body))]
    emails = {one.value for one in names if one.type == "email"}
    return any(one.value.lower() in text for one in names if len(one.value) > 3 for text in texts) or any(
        NORMALISERS["email"](text) in emails for text in texts if "@" in text
    )


def _texts(body: str) -> Iterator[str]:
    """All texts in a JSON document, as they are meant; of what is no JSON, its escapes undone."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        yield ESCAPED.sub(lambda found: chr(int(found[1], 16)), body)
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


# -- 2. payloads ----------------------------------------------------------------------------------------------------


def _erase_messages(tx: sa.Connection, inbox_ids: set[int], house: House) -> int:
    """Empty these messages and whatever answers them; how many deliveries had not left or can be sent again."""
    sweeps.forget(tx, inbox_ids, house.rules)
    log.forget(tx, inbox_ids, REASON)
    inbox.empty(tx, inbox_ids)
    return len(outbox.erase(tx, inbox_ids))
