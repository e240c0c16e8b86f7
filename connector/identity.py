"""Stage 2 of T2: what a batch of messages teaches. ``Message``s in; identifiers, links and sightings written.

    1. Fold the batch: distinct identifiers with their earliest and latest time, sightings per link and minute.
    2. Look all identifiers up at once; give the new ones numbers; note what is earlier or later than known.
    3. Recognise hash-shaped anonymousIds that are the hash of a known email: they join people, as that email would.
    4. Write sightings (a set union) and links; a link between two components makes them one.

Everything is a minimum, a maximum or a union, so order, repetition and batch size cannot matter. Who is one person
is not stored: ``resolve`` answers it from the links of a component whenever it is asked. Next stage: ``stitch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from connector import bulk, counters, remember
from connector.graph import NODE_COLUMNS, Graph, node
from connector.identifiers import Rules, digests, is_hash_shaped
from connector.keys import Keys
from connector.lessons import Key, Lesson, Moment, Sighting, fold
from connector.messages import Identifier, Kind, Message
from connector.resolve import Node
from connector.tables import email_hashes, identifiers, links, sightings

IDENTITY_LEASE: Final = 0x636F6E6E
"""The advisory lock under which one worker at a time writes identity on PostgreSQL."""

UPSERT_SIGHTING: Final = """on conflict (a_id, b_id, kind, minute) do update set
    first_message = case when (excluded.first_at, excluded.first_message)
                         < (sightings.first_at, sightings.first_message)
                    then excluded.first_message else sightings.first_message end,
    first_at = case when excluded.first_at < sightings.first_at then excluded.first_at else sightings.first_at end,
    last_message = case when (excluded.last_at, excluded.last_message)
                        > (sightings.last_at, sightings.last_message)
                   then excluded.last_message else sightings.last_message end,
    last_at = case when excluded.last_at > sightings.last_at then excluded.last_at else sightings.last_at end"""

KNOWN_LINKS: Final = """
    select l.a_id, l.b_id, l.kind, l.first_at, l.first_message from {asked} q
    join links l on l.a_id = q.a_id and l.b_id = q.b_id and l.kind = q.kind"""


@dataclass(slots=True)
class Recorded:
    """The numbers of a batch's identifiers, those about which something new is known, and those seen again."""

    ids: dict[Identifier, int]
    changed: set[int]
    seen: set[int]


LinkKey = tuple[int, int, str]


@dataclass(slots=True)
class Plan:
    """A batch against the store, read and not yet written.

    nodes: every identifier concerned, as it will be; same_value: those that share a value; new and changed: which of
    them must be written; hashes: (email, hash) pairs recognised; new_links, earlier_links: with their first moments.
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    ids: dict[Identifier, int] = field(default_factory=dict)
    same_value: dict[str, list[Node]] = field(default_factory=dict)
    new: list[Node] = field(default_factory=list)
    changed: list[Node] = field(default_factory=list)
    moved_back: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    hashes: list[tuple[int, int]] = field(default_factory=list)
    new_links: dict[LinkKey, Moment] = field(default_factory=dict)
    earlier_links: dict[LinkKey, Moment] = field(default_factory=dict)
    hash_links: list[tuple[int, int]] = field(default_factory=list)

    def add(self, one: Node) -> Node:
        self.ids[one.identifier] = one.id
        return self.nodes.setdefault(one.id, one)


def record(tx: sa.Connection, batch: Sequence[Message], rules: Rules, keys: Keys) -> Recorded:
    """Write what these messages teach. Exactly one worker at a time does this."""
    take_lease(tx)
    lessons, seen = fold(batch)
    plan = Plan()
    _look_up_identifiers(tx, plan, lessons, rules)
    _recognise_hashes(tx, plan)
    _look_up_links(tx, plan, seen, _implied(plan))
    joined, dirty = _joined_components(plan)
    before = _census(tx, dirty, rules)
    _relabel(tx, plan, joined)
    _write(tx, plan, seen, keys)
    after = _census(tx, {joined.get(one, one) for one in dirty}, rules)
    counters.add(tx, "profiles", after[0] - before[0])
    counters.add(tx, "refused_links", after[1] - before[1])
    counters.add(tx, "links", len(plan.new_links))
    ids = {identifier: plan.ids[identifier] for identifier in lessons}
    remember.write_mentions(tx, batch, ids)
    remember.write_consents(tx, batch, ids)
    return Recorded(ids, plan.touched, {ids[end] for a, b, _, _ in seen for end in (a, b)})


def take_lease(tx: sa.Connection) -> None:
    """Wait for our turn: identity is written by one worker at a time, which is faster than fighting over rows."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"select pg_advisory_xact_lock({IDENTITY_LEASE})")


# -- 2. identifiers -----------------------------------------------------------------------------------------------


def _look_up_identifiers(tx: sa.Connection, plan: Plan, lessons: Mapping[Identifier, Lesson], rules: Rules) -> None:
    for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "value", {one.value for one in lessons}):
        one = plan.add(node(row))
        plan.same_value.setdefault(one.identifier.value, []).append(one)
    next_id = tx.exec_driver_sql("select coalesce(max(id), 0) from identifiers").scalar_one()
    for identifier in sorted(lessons, key=rules.strength):
        lesson = lessons[identifier]
        if identifier in plan.ids:
            _learn(plan, plan.nodes[plan.ids[identifier]], lesson)
            continue
        next_id += 1
        component = None if identifier.type == "anonymous_id" else next_id
        one = Node(next_id, identifier, *lesson.first, lesson.last_at, lesson.carried_at, component)
        plan.new.append(plan.add(one))
        plan.same_value.setdefault(identifier.value, []).append(one)
        plan.touched.add(one.id)


def _learn(plan: Plan, one: Node, lesson: Lesson) -> None:
    """Note what is earlier, later or carried for the first time."""
    earlier = lesson.first < (one.first_at, one.first_message)
    later = lesson.last_at > one.last_at
    carried = lesson.carried_at is not None and (one.carried_at is None or lesson.carried_at < one.carried_at)
    if earlier:
        one.first_at, one.first_message = lesson.first
        plan.moved_back.add(one.id)
    if later:
        one.last_at = lesson.last_at
    if carried:
        if one.carried_at is None:
            plan.touched.add(one.id)
        one.carried_at = lesson.carried_at
    if earlier or later or carried:
        plan.changed.append(one)


# -- 3. what is not what it says -----------------------------------------------------------------------------------


def _recognise_hashes(tx: sa.Connection, plan: Plan) -> None:
    """Find the hash-shaped anonymousIds that turn out to be a known email's hash, whichever of the two came first.

    Such a hash stops being a browser: it gets a component, and all its links join people.
    """
    pairs = []
    emails = {
        digest: one.id for one in plan.new if one.identifier.type == "email" for digest in digests(one.identifier.value)
    }
    unowned = "type = 'anonymous_id' and component_id is null"
    for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "value", emails, unowned):
        one = plan.add(node(row))
        pairs.append((emails[one.identifier.value], one))
    shaped = {
        one.identifier.value: one
        for one in plan.new
        if one.identifier.type == "anonymous_id" and is_hash_shaped(one.identifier.value)
    }
    known = dict(bulk.select_by(tx, email_hashes, ("digest", "identifier_id"), "digest", shaped)) | emails
    pairs += [(known[digest], one) for digest, one in shaped.items() if digest in known]
    for email_id, one in pairs:
        one.component = one.id
        plan.hashes.append((email_id, one.id))
        plan.touched |= {email_id, one.id}
    recognised = [one for _, one in plan.hashes]
    plan.hash_links = [
        (a, b)
        for a, b in bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", recognised, f"kind in {_sql(Kind.JOINING)}")
    ]
    _add_nodes(tx, plan, {email_id for email_id, _ in plan.hashes} | {a for a, _ in plan.hash_links})


def _sql(words: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"


def _add_nodes(tx: sa.Connection, plan: Plan, wanted: set[int]) -> None:
    for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "id", wanted - plan.nodes.keys()):
        plan.add(node(row))


def _implied(plan: Plan) -> list[LinkKey]:
    """Links that need no sighting: an email and its hash; a vendor's user id and the userId of the same value."""
    found = [(email_id, hash_id, Kind.IMPLIED) for email_id, hash_id in plan.hashes]
    for same in plan.same_value.values():
        user = next((one for one in same if one.identifier.type == "user_id" and one.carried_at is not None), None)
        if user is not None:
            found += [(user.id, one.id, Kind.IMPLIED) for one in same if one.identifier.type.endswith("_user_id")]
    return found


# -- 4. sightings, links, components -------------------------------------------------------------------------------


def _look_up_links(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting], implied: Iterable[LinkKey]) -> None:
    """Which links are new, and which were first seen earlier than was known."""
    first: dict[LinkKey, Moment] = dict.fromkeys(implied, (0, ""))
    for (stronger, weaker, kind, _), sighting in seen.items():
        key = (plan.ids[stronger], plan.ids[weaker], kind)
        first[key] = min(first.get(key, sighting.first), sighting.first)
    asked = (("a_id", "bigint"), ("b_id", "bigint"), ("kind", "text"))
    stored = {row[:3]: row[3:] for row in bulk.select_joined(tx, KNOWN_LINKS, asked, list(first))}
    for key, moment in first.items():
        if key not in stored:
            plan.new_links[key] = moment
        elif key[2] != Kind.IMPLIED and moment < stored[key]:
            plan.earlier_links[key] = moment
    plan.touched |= {end for a, b, _ in plan.new_links for end in (a, b)}


def _joined_components(plan: Plan) -> tuple[dict[int, int], set[int]]:
    """Where each component that a new link joins goes to, and the components whose people may have changed."""
    pairs = [(a, b) for a, b, kind in plan.new_links if kind in Kind.JOINING] + plan.hash_links
    roots: dict[int, int] = {}
    dirty = {one.component for one in plan.new} | {plan.nodes[one].component for one in plan.moved_back}
    dirty |= {plan.nodes[end].component for a, b, _ in plan.earlier_links for end in (a, b)}
    for a, b in pairs:
        left, right = plan.nodes[a].component, plan.nodes[b].component
        if left is not None and right is not None:
            dirty |= {left, right}
            left, right = _root(roots, left), _root(roots, right)
            roots[max(left, right)] = min(left, right)
    return {one: _root(roots, one) for one in roots}, {one for one in dirty if one is not None}


def _relabel(tx: sa.Connection, plan: Plan, joined: Mapping[int, int]) -> None:
    """Move the identifiers of components that became one; those of this batch are moved before they are written."""
    for one in plan.nodes.values():
        if one.component is not None:
            one.component = joined.get(one.component, one.component)
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    moved = [(new, old) for old, new in joined.items() if old != new]
    if moved:
        tx.exec_driver_sql(f"update identifiers set component_id = {mark} where component_id = {mark}", moved)  # noqa: S608 - marks


def _root(roots: Mapping[int, int], one: int) -> int:
    while roots.get(one, one) != one:
        one = roots[one]
    return one


def _census(tx: sa.Connection, components: set[int], rules: Rules) -> tuple[int, int]:
    """How many people and refused links there are in these components, by the store as it is now."""
    graph = Graph(tx, rules)
    graph.load_components(components)
    found = [graph.people(component) for component in components]
    return sum(len(people.members) for people in found), sum(len(people.refused) for people in found)


def _write(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting], keys: Keys) -> None:
    bulk.insert_rows(
        tx,
        identifiers,
        (*NODE_COLUMNS, "profile_hash"),
        [
            (
                *(one.id, *one.identifier, one.first_at, one.first_message, one.last_at, one.carried_at, one.component),
                keys.profile_id(one.identifier),
            )
            for one in plan.new
        ],
    )
    new_emails = [one for one in plan.new if one.identifier.type == "email"]
    bulk.insert_rows(
        tx,
        email_hashes,
        ("digest", "identifier_id"),
        [(digest, one.id) for one in new_emails for digest in digests(one.identifier.value)],
    )
    bulk.update_rows(
        tx,
        identifiers,
        ("id",),
        ("first_at", "first_message", "last_at", "carried_at"),
        [(one.id, one.first_at, one.first_message, one.last_at, one.carried_at) for one in plan.changed],
    )
    recognised = [one for _, one in plan.hashes]
    bulk.update_rows(
        tx, identifiers, ("id",), ("component_id",), [(one, plan.nodes[one].component) for one in recognised]
    )
    for table in (links, sightings):
        bulk.update_rows(tx, table, ("b_id",), ("browser",), [(one, False) for one in recognised])
    _write_links(tx, plan)
    _write_sightings(tx, plan, seen)


def _write_links(tx: sa.Connection, plan: Plan) -> None:
    bulk.insert_rows(
        tx,
        links,
        ("a_id", "b_id", "kind", "browser", "first_at", "first_message"),
        [(*key, plan.nodes[key[1]].component is None, *moment) for key, moment in sorted(plan.new_links.items())],
    )
    bulk.update_rows(
        tx,
        links,
        ("a_id", "b_id", "kind"),
        ("first_at", "first_message"),
        [(*key, *moment) for key, moment in plan.earlier_links.items()],
    )


def _write_sightings(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting]) -> None:
    columns = ("a_id", "b_id", "kind", "minute", "browser", "first_at", "first_message", "last_at", "last_message")
    rows = []
    for (stronger, weaker, kind, minute), sighting in seen.items():
        a, b = plan.ids[stronger], plan.ids[weaker]
        rows.append((a, b, kind, minute, plan.nodes[b].component is None, *sighting.first, *sighting.last))
    bulk.insert_rows(tx, sightings, columns, sorted(rows), UPSERT_SIGHTING)
