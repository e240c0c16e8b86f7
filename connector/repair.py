"""An operator repairs identity: links by hand, takes evidence back, undoes that; and what it changes follows.

    1. Note whom the email events around the act belong to.
    2. Do it: a manual link is a sighting like any other, a revocation is read whenever links are settled.
    3. See whom they belong to now. What has not left is addressed anew; what has is *reattributed*: listed, and sent
       once more under the new identity if the operator asks for it, under an id that names what it corrects.

A preview is the same in a transaction that never ends. Called by ``operate``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, device_links, identity, log, outbox, remember, standing, stitch, tombstones
from connector.addressing import ids_of
from connector.effect import Effect, Moved, Profile
from connector.graph import Graph
from connector.house import House
from connector.messages import MINUTE, Identifier, Json, Kind, Message, Milliseconds, Outcome, Stored, iso
from connector.outbox import Ids
from connector.standing import Pair
from connector.stitch import Case, Placement
from connector.tables import identifiers, links, mentions, messages, revocations
from connector.tables import outbox as deliveries

MOST: Final = 10_000
"""Email events around an act that are looked at, the newest."""

FOREVER: Final = 1 << 62


UPSERT_REVOCATION: Final = """on conflict (id) do update set at = excluded.at, left_hash = excluded.left_hash,
    right_hash = excluded.right_hash, message = excluded.message, until = excluded.until"""


def repair(
    tx: sa.Connection, stored: Stored, order: Mapping[str, Json], at: Milliseconds, house: House, now: Milliseconds
) -> Effect:
    """Do a ``link``, ``unlink`` or ``restore``; the store has changed when this returns."""
    identity.take_lease(tx)
    pairs, ends = _concerned(tx, order, house)
    buried = tombstones.buried(tx, [_identifier(one) for one in _named_in(order)], house.keys)
    if order["type"] == "link" and any(at <= until for until in buried.values()):
        return Effect(said="not linked: one of the two was forgotten on request, and stays so")
    if order["type"] == "link" and {_identifier(order[end]).type for end in ("left", "right")} == {"anonymous_id"}:
        return Effect(said="not linked: two browsers are never one")
    if order["type"] == "link" and any(house.rules.is_device(order[end][0]) for end in ("left", "right")):
        return Effect(said="not linked: a device names a browser, and never joins anybody")
    watch = _Watch(tx, house, ends | {end for pair in pairs for end in pair})
    taught: list[tuple[int, int, str]] = []
    if order["type"] == "link":
        left, right = _identifier(order["left"]), _identifier(order["right"])
        message = _manual(stored, left, right, at, house)
        recorded = identity.record(tx, [message], house.rules, house.keys)
        taught = [(recorded.ids[a], recorded.ids[b], kind) for a, b, kind in message.links]
        changed, said = recorded.changed, f"linked {_type(left)} and {_type(right)} by hand"
    else:
        said = _note(tx, stored, order, at, house)
        changed = identity.reconsider(tx, pairs, house.rules)
    _mention(tx, order, stored, at, ends)
    effect = watch.close(changed, correct=bool(order.get("correct")), now=now)
    effect.taught = taught
    known = "" if pairs or order["type"] != "unlink" else " (no such link is known yet)"
    effect.said = f"{said}{known}: {_summary(effect)}"
    return effect


def _summary(effect: Effect) -> str:
    if effect.before == effect.after and not effect.moved:
        return "no profile and no event changed"
    merged = f"profiles {len(effect.before)} before, {len(effect.after)} after"
    counts = Counter(one.what.replace("_", " ") for one in effect.moved)
    events = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    return merged + (f"; events: {events}" if events else "; no event changed")


# -- the act itself -----------------------------------------------------------------------------------------------


def _identifier(pair: Sequence[str]) -> Identifier:
    return Identifier(*pair)


def _type(one: Identifier) -> str:
    """An identifier for the log, which never quotes an address."""
    return one.type if one.type in ("email", "phone") else f"{one.type} {one.value}"


def _manual(stored: Stored, left: Identifier, right: Identifier, at: Milliseconds, house: House) -> Message:
    strong, weak = sorted((left, right), key=house.rules.strength)
    return Message(
        inbox_id=stored.id,
        source=stored.source,
        message_id=stored.message_id,
        type="link",
        at=at,
        received_at=stored.received_at,
        identifiers=(strong, weak),
        links=((strong, weak, Kind.MANUAL),),
    )


def _concerned(tx: sa.Connection, order: Mapping[str, Json], house: House) -> tuple[set[Pair], set[int]]:
    """The pairs an act is about, as far as they are known, and the identifiers it names."""
    if order["type"] == "restore":
        found = tx.execute(sa.select(revocations).where(revocations.c.id == order["revocation"])).first()
        return _pairs_of(tx, found.left_hash, found.right_hash, found.message) if found else (set(), set())
    left, right = _hashes(order, house)
    return _pairs_of(tx, left, right, order.get("message"))


def _named_in(order: Mapping[str, Json]) -> list[Sequence[str]]:
    return [order[name] for name in ("left", "right", "identifier") if order.get(name)]


def _hashes(order: Mapping[str, Json], house: House) -> tuple[str | None, str | None]:
    """By what an act names its identifiers: they may be unknown yet, and forgotten later."""
    hashes = [house.keys.profile_id(_identifier(one)) for one in _named_in(order)]
    return (hashes[0] if hashes else None), (hashes[1] if len(hashes) > 1 else None)


def _pairs_of(
    tx: sa.Connection, left: str | None, right: str | None, message: str | None
) -> tuple[set[Pair], set[int]]:
    if message is not None:
        taught = _taught(tx, message)
        pairs = {(a, b) for a, b, _, _ in taught}
        return pairs, {end for pair in pairs for end in pair}
    named = [one for one in (left, right) if one]
    ends = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "profile_hash", named)}
    if right is None:
        return standing.pairs_of(tx, ends), ends
    rows = bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", ends)
    return {(a, b) for a, b in rows if {a, b} == ends}, ends


def _taught(tx: sa.Connection, message: str) -> list[standing.Minute]:
    """The minutes of links that a message was a sighting of."""
    source, _, message_id = message.partition("/")
    row = tx.execute(
        sa.select(messages.c.taught, messages.c.at).where(
            messages.c.source == source, messages.c.message_id == message_id
        )
    ).first()
    if row is None or not row.taught:
        return []
    return [(a, b, kind, row.at // MINUTE) for a, b, kind in orjson.loads(row.taught)]


def _note(tx: sa.Connection, stored: Stored, order: Mapping[str, Json], at: Milliseconds, house: House) -> str:
    """Write down what was taken back, or that this was undone. Either may come first."""
    if order["type"] == "restore":
        undone = "on conflict (id) do update set undone_at = excluded.undone_at"
        bulk.insert_rows(tx, revocations, ("id", "undone_at"), [(order["revocation"], at)], undone)
        return "restored what was taken back"
    named = [_identifier(one) for one in _named_in(order)]
    left, right = _hashes(order, house)
    message = order.get("message")
    row = (stored.message_id, at, left, right, message, order.get("until"))
    columns = ("id", "at", "left_hash", "right_hash", "message", "until")
    bulk.insert_rows(tx, revocations, columns, [row], UPSERT_REVOCATION)
    if message is not None:
        standing.note_messages(tx, {message: _taught(tx, message)})
        return f"took back what message {message} proved" + (
            "" if _taught(tx, message) else ", of which nothing is known"
        )
    what = " and ".join(_type(one) for one in named)
    until = f" until {iso(order['until'])}" if order.get("until") is not None else ""
    return f"took back the link of {what}{until}" if right else f"took back all that {what} proved{until}"


def _mention(
    tx: sa.Connection, order: Mapping[str, Json], stored: Stored, at: Milliseconds, ends: Iterable[int]
) -> None:
    """The act belongs to the timeline of those it names, and forgetting them has to find it."""
    if order["type"] != "link":
        remember.mention(tx, [(one, at, stored.id, remember.OPERATOR) for one in set(ends)])


# -- what follows -------------------------------------------------------------------------------------------------


class _Watch:
    """The email events around some identifiers, and whose they were before an act."""

    def __init__(self, tx: sa.Connection, house: House, ids: set[int]) -> None:
        self._tx, self._house = tx, house
        self._ids = self._around(ids)
        self._events = self._email_events()
        self._before = self._ids_now()
        self._profiles = self._people()

    def close(self, changed: set[int], *, correct: bool, now: Milliseconds) -> Effect:
        after = self._ids_now()
        moved = [
            one
            for event, (case, placement, ids) in after.items()
            if _differs(ids, self._before[event][2])
            for one in self._follow(case, placement, ids, correct=correct, now=now)
        ]
        return Effect(changed=changed, before=self._profiles, after=self._people(), moved=moved)

    def _around(self, ids: set[int]) -> set[int]:
        """These, all others of their components, and of a browser or a device those who were identified on it."""
        graph = Graph(self._tx, self._house.rules)
        ids = ids | device_links.around(self._tx, self._house.rules, ids)
        graph.load(ids)
        browsers = [one for one in ids if one in graph.nodes and graph.nodes[one].browser]
        owners = {a for (a,) in bulk.select_by(self._tx, links, ("a_id",), "b_id", browsers)}
        return graph.members_around(ids | owners)

    def _email_events(self) -> list[int]:
        spoken = {row[0] for row in bulk.select_by(self._tx, mentions, ("message",), "identifier_id", self._ids)}
        counted = ", ".join(f"'{outcome}'" for outcome in Outcome.COUNTED)
        events = bulk.select_by(
            self._tx, messages, ("id",), "id", spoken, f"arrived_usable is not null and outcome in ({counted})"
        )
        return sorted((one for (one,) in events), reverse=True)[:MOST]

    def _ids_now(self) -> dict[int, tuple[Case, Placement, Ids]]:
        graph = Graph(self._tx, self._house.rules)
        cases = log.cases(self._tx, self._events)
        listed = [cases[one] for one in self._events]
        placements = stitch.place(listed, graph)
        told = ids_of(self._tx, placements, graph)
        return {case.inbox_id: (case, one, ids) for case, one, ids in zip(listed, placements, told, strict=True)}

    def _people(self) -> list[Profile]:
        """Who there is around the act, each with those of the browsers concerned that are theirs."""
        graph = Graph(self._tx, self._house.rules)
        graph.load(self._ids)
        theirs: dict[int, list[str]] = {}
        for one in sorted(self._ids):
            owner = self._owner(graph, one) if one in graph.nodes and graph.nodes[one].browser else None
            if owner is not None:
                theirs.setdefault(owner, []).append(graph.nodes[one].identifier.value)
        clusters = ({graph.cluster(one) for one in self._ids if one in graph.nodes} | set(theirs)) - {None}
        return sorted(
            (
                Profile(
                    graph.profile_id(one, self._house.keys) or "",
                    tuple(sorted((graph.nodes[m].identifier for m in graph.members(one)), key=graph.rules.strength)),
                    tuple(sorted(theirs.get(one, ()))),
                )
                for one in clusters
                if one is not None
            ),
            key=lambda profile: profile.id,
        )

    @staticmethod
    def _owner(graph: Graph, browser: int) -> int | None:
        """Whose a browser is now."""
        sighting = graph.owning_sighting(browser, FOREVER)
        graph.load([sighting.a] if sighting else [])
        return graph.browser_owner(browser, FOREVER)

    def _follow(
        self, case: Case, placement: Placement, ids: Ids, *, correct: bool, now: Milliseconds
    ) -> Iterable[Moved]:
        """Address anew what has not left, and correct what has, if that is asked for."""
        rows = self._tx.execute(
            sa.select(deliveries, messages.c.source, messages.c.message_id.label("incoming"), messages.c.event)
            .join(messages, messages.c.id == deliveries.c.inbox_id)
            .where(deliveries.c.inbox_id == case.inbox_id, deliveries.c.status.in_(("pending", "delivered", "dead")))
            .order_by(deliveries.c.id.desc())  # what left last is what is believed downstream
            .with_for_update(of=deliveries)  # nobody begins to send it meanwhile
        ).all()
        for row in rows:
            body = orjson.loads(row.body) if row.body else None
            if body is None or body.get("type") != "track":
                continue
            sent = _sent(body)
            if not _differs(sent, ids):
                return
            if _nowhere(row) and "corrects" in body["context"].get("connector", {}):
                outbox.withhold(self._tx, row)  # a copy that nobody needs any more; what it corrected counts again
                continue
            what = self._anew(row, body, case, placement, ids, now) if _nowhere(row) else "reattributed"
            if what == "reattributed" and correct and placement.usable:
                outbox.correct(self._tx, row, body, ids, self._house.keys, now)
                what = "corrected"
            yield Moved(f"{row.source}/{row.incoming}", row.event, row.at, sent, ids, what)
            return

    def _anew(
        self,
        row: sa.Row[tuple[object, ...]],
        body: dict[str, Json],
        case: Case,
        placement: Placement,
        ids: Ids,
        now: Milliseconds,
    ) -> str:
        outcome = Outcome.STITCHED if placement.usable else Outcome.HELD
        change = log.Change(case.inbox_id, outcome, placement.reason, ids, placement.evidence)
        log.change(self._tx, [change])
        if placement.usable:
            outbox.rewrite(self._tx, row.id, outbox.address(outbox.bare(body), ids, late=False))
            return "addressed_anew"
        bare = orjson.dumps(outbox.bare(body)).decode()
        outbox.hold_again(self._tx, row, bare, case.ids, now + self._house.hold_ms)
        return "held_again"


def _nowhere(row: sa.Row[tuple[object, ...]]) -> bool:
    """Has surely nothing of it arrived? What was tried is frozen, but for dead letters that were refused."""
    if row.status == "dead":
        return row.maybe_sent_at is None
    return row.status == "pending" and row.attempts == 0 and row.claimed_by is None and row.maybe_sent_at is None


def _sent(body: Mapping[str, Json]) -> Ids:
    return Ids(body.get("userId"), body.get("anonymousId"))


def _differs(left: Ids, right: Ids) -> bool:
    return (left.user_id, left.anonymous_id) != (right.user_id, right.anonymous_id)
