"""Stage 2 of T2: what a batch of messages teaches. ``Message``s in; identifiers, links and sightings written.

    1. Fold the batch: distinct identifiers with their earliest and latest time, sightings per link and minute.
    2. Look all identifiers up at once; give the new ones numbers; note what is earlier or later than known.
    3. Recognise hash-shaped anonymousIds that are the hash of a known email: they join people, as that email would.
    4. Write sightings (a set union) and links, and what else was told (``remember``).
    5. Find out which of them stand where operators or visitors had a word (``standing``), and follow what came to be
       joined, or ceased to be (``components``).

Everything is a minimum, a maximum or a union, so order, repetition and batch size cannot matter. Who is one person
is not stored: ``resolve`` answers it from the links of a component whenever it is asked. Next stage: ``stitch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from connector import bulk, components, consent, counters, device_links, remember, standing
from connector.components import JOINING, Tally
from connector.graph import NODE_COLUMNS, node
from connector.identifiers import digests, is_hash_shaped
from connector.keys import Keys
from connector.lessons import Key, Lesson, Moment, Sighting, fold
from connector.messages import MINUTE, Identifier, Kind, Message, Milliseconds
from connector.resolve import Node
from connector.rules import Rules
from connector.standing import Pair
from connector.tables import COUNTS, email_hashes, facts, identifiers, links, sightings

IDENTITY_LEASE: Final = 0x636F6E6E
"""The advisory lock under which one worker at a time writes identity on PostgreSQL."""

LAST_NUMBER: Final = "last_identifier"
"""The row of ``facts`` that remembers the highest number of an identifier."""

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
    select l.a_id, l.b_id, l.kind, l.first_at, l.first_message, l.stands from {asked} q
    join links l on l.a_id = q.a_id and l.b_id = q.b_id"""


@dataclass(slots=True)
class Recorded:
    """The numbers of a batch's identifiers, those about which something new is known, and those seen again.

    altered: those whose own choice turned what counts of them.
    """

    ids: dict[Identifier, int]
    changed: set[int]
    seen: set[int]
    altered: set[int]


LinkKey = tuple[int, int, str]


@dataclass(slots=True)
class Plan:
    """A batch against the store, read and not yet written.

    nodes: every identifier concerned, as it will be; same_value: those that share a value; new and changed: which of
    them must be written; hashes: (email, hash) pairs recognised; new_links, earlier_links: with their first moments;
    seen: every link of the batch; stood: the pairs that were joined before it; fallen: those of which a link stood no
    more.
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
    hash_links: list[Pair] = field(default_factory=list)
    seen: set[LinkKey] = field(default_factory=set)
    stood: set[Pair] = field(default_factory=set)
    fallen: set[Pair] = field(default_factory=set)

    def add(self, one: Node) -> Node:
        self.ids[one.identifier] = one.id
        return self.nodes.setdefault(one.id, one)

    def is_apart(self, a: int, b: int) -> bool:
        """Does an end of a link name nobody?"""
        return self.nodes[a].apart or self.nodes[b].apart


def record(tx: sa.Connection, batch: Sequence[Message], rules: Rules, keys: Keys) -> Recorded:
    """Write what these messages teach. Exactly one worker at a time does this."""
    take_lease(tx)
    lessons, seen = fold(batch)
    plan = Plan()
    _look_up_identifiers(tx, plan, lessons, rules)
    _recognise_hashes(tx, plan)
    _look_up_links(tx, plan, seen, _implied(plan))
    ids = {identifier: plan.ids[identifier] for identifier in lessons}
    chosen = {(ids[one], message.at) for message in batch if message.choices for one in message.own}
    before = consent.read(tx, {one for one, _ in chosen}, rules)
    remember.write(tx, batch, ids, keys)
    altered, refused = _choices(tx, plan, batch, ids, chosen, before, rules)
    unsettled = _unsettled(tx, plan, batch, ids, keys) | refused
    tally = Tally(tx, rules, _concerned(tx, plan, unsettled))
    _write(tx, plan, seen, keys)
    turned = standing.settle(tx, unsettled, rules)
    gained, lost = _turned(plan, turned)
    hubs = components.turn(tx, rules, gained, lost, plan.hash_links)
    tally.close(one.id for one in plan.new)
    counters.add(tx, "links", len(plan.new_links) + turned.links)
    plan.touched |= hubs | {end for pair in turned.changed for end in pair} | altered
    plan.touched |= {ids[profile] for message in batch for _, profile, _ in message.landings}
    plan.touched |= device_links.around(tx, rules, plan.touched)
    return Recorded(ids, plan.touched, {ids[end] for a, b, _, _ in seen for end in (a, b)}, altered)


def reconsider(tx: sa.Connection, pairs: Iterable[Pair], rules: Rules) -> set[int]:
    """Find out anew which of these pairs stand, after an operator's act, and follow it; the identifiers concerned."""
    pairs = set(pairs)
    ends = {end for pair in pairs for end in pair}
    nodes = components.nodes_of(tx, ends)
    ends |= components.neighbours(tx, {one for one in ends if nodes[one].apart})
    tally = Tally(tx, rules, ends)
    turned = standing.settle(tx, pairs, rules)
    hubs = components.turn(tx, rules, turned.gained, turned.lost)
    tally.close()
    counters.add(tx, "links", turned.links)
    changed = hubs | {end for pair in turned.changed for end in pair}
    return changed | device_links.around(tx, rules, changed)


def take_lease(tx: sa.Connection) -> None:
    """Wait for our turn: identity is written by one worker at a time, which is faster than fighting over rows."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"select pg_advisory_xact_lock({IDENTITY_LEASE})")


# -- 2. identifiers -----------------------------------------------------------------------------------------------


def _look_up_identifiers(tx: sa.Connection, plan: Plan, lessons: Mapping[Identifier, Lesson], rules: Rules) -> None:
    for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "value", {one.value for one in lessons}):
        one = plan.add(node(row))
        plan.same_value.setdefault(one.identifier.value, []).append(one)
    next_id = _last_number(tx)
    for identifier in sorted(lessons, key=rules.strength):
        lesson = lessons[identifier]
        if identifier in plan.ids:
            _learn(plan, plan.nodes[plan.ids[identifier]], lesson)
            continue
        next_id += 1
        component = None if identifier.type == "anonymous_id" or rules.is_device(identifier.type) else next_id
        one = Node(next_id, identifier, *lesson.first, lesson.last_at, lesson.carried_at, component)
        plan.new.append(plan.add(one))
        plan.same_value.setdefault(identifier.value, []).append(one)
        plan.touched.add(one.id)


def _last_number(tx: sa.Connection) -> int:
    """The highest number that an identifier ever had: one that was forgotten is not given to somebody else."""
    highest = tx.exec_driver_sql("select coalesce(max(id), 0) from identifiers").scalar_one()
    noted = tx.execute(sa.select(facts.c.value).where(facts.c.name == LAST_NUMBER)).scalar()
    return max(int(highest), int(noted or 0))


def remember_last_number(tx: sa.Connection) -> None:
    """Note the highest number, before identifiers are erased."""
    bulk.insert_rows(
        tx,
        facts,
        ("name", "value"),
        [(LAST_NUMBER, str(_last_number(tx)))],
        "on conflict (name) do update set value = excluded.value",
    )


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
    unowned = "type = 'anonymous_id' and email_id is null"
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
        one.email = email_id
        one.component = None if one.apart else one.id
        plan.hashes.append((email_id, one.id))
        plan.touched |= {email_id, one.id}
    recognised = [one for _, one in plan.hashes]
    plan.hash_links = [
        (a, b) for a, b in bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", recognised, f"{COUNTS} and {JOINING}")
    ]
    _add_nodes(tx, plan, {email_id for email_id, _ in plan.hashes} | {a for a, _ in plan.hash_links})


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


# -- 4. sightings and links -----------------------------------------------------------------------------------------


def _look_up_links(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting], implied: Iterable[LinkKey]) -> None:
    """Which links are new, which were first seen earlier than was known, and which pairs were joined before."""
    first: dict[LinkKey, Moment] = dict.fromkeys(implied, (0, ""))
    for (stronger, weaker, kind, _), sighting in seen.items():
        key = (plan.ids[stronger], plan.ids[weaker], kind)
        first[key] = min(first.get(key, sighting.first), sighting.first)
    rows = bulk.select_joined(tx, KNOWN_LINKS, standing.PAIR, sorted({key[:2] for key in first}))
    stored = {(a, b, kind): (at, message) for a, b, kind, at, message, _ in rows}
    plan.stood = {(a, b) for a, b, kind, _, _, stands in rows if stands and kind in Kind.JOINING}
    plan.fallen = {(a, b) for a, b, _, _, _, stands in rows if not stands}
    plan.seen = set(first)
    for key, moment in first.items():
        if key not in stored:
            plan.new_links[key] = moment
        elif key[2] != Kind.IMPLIED and moment < stored[key]:
            plan.earlier_links[key] = moment
    plan.touched |= {end for a, b, _ in plan.new_links for end in (a, b)}


def _unsettled(
    tx: sa.Connection, plan: Plan, batch: Sequence[Message], ids: Mapping[Identifier, int], keys: Keys
) -> set[Pair]:
    """The pairs of this batch of which an operator took something back; one cheap look where none ever did."""
    if not standing.any_revoked(tx):
        return set()
    taken_back = standing.note_messages(
        tx,
        {
            message.key: [(ids[a], ids[b], kind, message.at // MINUTE) for a, b, kind in message.links]
            for message in batch
            if message.links
        },
    )
    guarded = standing.named(tx, {keys.profile_id(one): number for one, number in plan.ids.items()})
    earlier = {(a, b) for a, b, _ in plan.earlier_links}  # by a minute, perhaps, that was taken back
    return taken_back | plan.fallen | earlier | {(a, b) for a, b, _ in plan.seen if a in guarded or b in guarded}


def _choices(
    tx: sa.Connection,
    plan: Plan,
    batch: Sequence[Message],
    ids: Mapping[Identifier, int],
    chosen: set[tuple[int, Milliseconds]],
    before: consent.Choices,
    rules: Rules,
) -> tuple[set[int], set[Pair]]:
    """For whom a choice of this batch changed anything; and the pairs that have to be settled for it.

    These are all pairs of those, those of this batch with somebody who refused, and what the messages of who refused
    had shown.
    """
    if not rules.required and not rules.opt_out:
        return set(), set()
    after = consent.read(tx, plan.nodes, rules)
    refusing = {one for one in plan.nodes if after.has_refused(one)}
    altered = {
        one
        for one, at in chosen
        for then in (at, at + MINUTE)
        # each category by itself: what one hides now, it may not hide until the other's next choice
        if before.all_refused(one, then) != after.all_refused(one, then)
    }
    pairs = {(a, b) for a, b, _ in plan.seen if a in refusing or b in refusing} | plan.fallen
    earlier = consent.of_messages(tx, altered, rules)
    taught = {number: one.taught for number, one in earlier.items()}
    withheld = {number for number, one in earlier.items() if one.refused}
    for message in batch:
        if after.any_refused((ids[one] for one in (message.identifiers if message.email else message.own)), message.at):
            taught[message.inbox_id] = [(ids[a], ids[b], kind, message.at // MINUTE) for a, b, kind in message.links]
            withheld.add(message.inbox_id)
    pairs |= standing.withhold(tx, taught, withheld)
    return altered, pairs | standing.pairs_of(tx, altered)


def _concerned(tx: sa.Connection, plan: Plan, unsettled: set[Pair]) -> set[int]:
    """The identifiers whose people, or whose refused links, this batch may change."""
    ends = {end for a, b, _ in (*plan.new_links, *plan.earlier_links) for end in (a, b)}
    ends |= plan.moved_back | {end for pair in (*plan.hash_links, *unsettled) for end in pair}
    apart = components.nodes_of(tx, {end for pair in unsettled for end in pair})
    return ends | components.neighbours(tx, {one for one, node in apart.items() if node.apart})


def _turned(plan: Plan, turned: standing.Turned) -> tuple[set[Pair], set[Pair]]:
    """The pairs that are joined by this batch, and those that are no more."""
    fresh = {key[:2] for key in plan.new_links if key[2] in Kind.JOINING} - plan.stood
    return fresh - turned.lost | turned.gained, turned.lost - fresh


# -- 5. writing -----------------------------------------------------------------------------------------------------


def _write(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting], keys: Keys) -> None:
    bulk.insert_rows(
        tx,
        identifiers,
        (*NODE_COLUMNS, "profile_hash"),
        [
            (
                *(one.id, *one.identifier, one.first_at, one.first_message, one.last_at, one.carried_at, one.component),
                *(one.email, one.degree, one.apart, keys.profile_id(one.identifier)),
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
        tx,
        identifiers,
        ("id",),
        ("component_id", "email_id"),
        [(one, plan.nodes[one].component, plan.nodes[one].email) for one in recognised],
    )
    for table in (links, sightings):
        bulk.update_rows(tx, table, ("b_id",), ("browser",), [(one, False) for one in recognised])
    _write_links(tx, plan)
    _write_sightings(tx, plan, seen)


def _write_links(tx: sa.Connection, plan: Plan) -> None:
    bulk.insert_rows(
        tx,
        links,
        ("a_id", "b_id", "kind", "browser", "first_at", "first_message", "apart"),
        [
            (*key, plan.nodes[key[1]].browser, *moment, plan.is_apart(*key[:2]))
            for key, moment in sorted(plan.new_links.items())
        ],
    )
    bulk.update_rows(
        tx,
        links,
        ("a_id", "b_id", "kind"),
        ("first_at", "first_message"),
        [(*key, *moment) for key, moment in plan.earlier_links.items()],
    )


def _write_sightings(tx: sa.Connection, plan: Plan, seen: Mapping[Key, Sighting]) -> None:
    columns = (
        "a_id", "b_id", "kind", "minute", "browser", "first_at", "first_message", "last_at", "last_message", "apart",
    )  # fmt: skip
    rows = []
    for (stronger, weaker, kind, minute), sighting in seen.items():
        a, b = plan.ids[stronger], plan.ids[weaker]
        place = (a, b, kind, minute, plan.nodes[b].browser)
        rows.append((*place, *sighting.first, *sighting.last, plan.is_apart(a, b)))
    bulk.insert_rows(tx, sightings, columns, sorted(rows), UPSERT_SIGHTING)
