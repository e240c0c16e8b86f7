"""What is known of a person is erased: sightings, links, what else was remembered, and the identifiers themselves.

What others own too stays, and so does what happened later: of an identifier that was met again only the history goes.
Called by ``forget``, which knows whom; hubs and components follow as they do when evidence is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from connector import bulk, components, counters, identity, remember, standing
from connector.klaviyo import lookups
from connector.messages import MINUTE, Milliseconds
from connector.resolve import Node
from connector.rules import Rules
from connector.tables import (
    choices,
    consents,
    email_hashes,
    identifiers,
    landings,
    links,
    machine_clicks,
    mentions,
    messages,
    mirrored,
    opaque_ids,
    revocations,
    revoked_buckets,
    sightings,
    traits,
)

USER_IMPLIED: Final = "kind = 'implied' and a_id in (select id from identifiers where type = 'user_id')"

STANDING: Final = f"""
    select l.a_id, l.b_id from {{asked}} q join links l on l.a_id = q.a_id and l.b_id = q.b_id
    where l.stands and l.{components.JOINING}"""  # noqa: S608 - names of ours


@dataclass(slots=True)
class Person:
    """Whom to forget: own are the identifiers that are theirs alone, shared those that others own too.

    doomed are minutes of links of shared identifiers while these were theirs.
    """

    own: dict[int, Node] = field(default_factory=dict)
    shared: dict[int, Node] = field(default_factory=dict)
    cluster: int | None = None
    doomed: set[standing.Minute] = field(default_factory=set)


def erase_identity(tx: sa.Connection, person: Person, until: Milliseconds, rules: Rules) -> tuple[set[int], set[int]]:
    """Erase their sightings, links and identifiers; who is gone, and the identifiers of others that this concerns."""
    if not person.own and not person.doomed:
        return set(), set()
    own = set(person.own)
    alive = {one for (one,) in bulk.select_by(tx, mentions, ("identifier_id",), "identifier_id", own, _lives(until))}
    gone = own - alive
    pairs = standing.pairs_of(tx, own) | {(a, b) for a, b, _, _ in person.doomed}
    others = {end for pair in pairs for end in pair} - own
    apart = {number for number, one in components.nodes_of(tx, others | own).items() if one.apart}
    tally = components.Tally(tx, rules, own | others | components.neighbours(tx, apart))
    for side in ("a_id", "b_id"):
        _delete_sightings(tx, pairs, side, own, until)
    _delete_minutes(tx, person.doomed)
    unvouched = _begin_anew(tx, {one: person.own[one] for one in alive}, until)
    lost_links = _drop_implied(tx, gone) | _drop_implied(tx, unvouched, side="a_id")
    _unhash(tx, gone)
    lookups.erase_of(tx, own | others)
    _erase_record(tx, own, gone, until)  # first, for what stands depends on choices and revocations
    turned = standing.settle(tx, pairs, rules)
    joined = {(a, b) for a, b, *_ in bulk.select_joined(tx, STANDING, standing.PAIR, sorted(lost_links))}
    hubs = components.turn(tx, rules, turned.gained, turned.lost | (lost_links - joined))
    counters.add(tx, "links", turned.links - len(lost_links))
    _delete_links(tx, pairs)
    _erase_rows(tx, gone)
    tally.close()
    return gone, (others | hubs | alive) - gone


def _lives(until: Milliseconds) -> str:
    return f"at > {until:d} and said_by <> {remember.OPERATOR:d}"


def _delete_sightings(
    tx: sa.Connection, pairs: set[standing.Pair], side: str, own: set[int], until: Milliseconds
) -> None:
    other = "b_id" if side == "a_id" else "a_id"
    place = 0 if side == "a_id" else 1
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    rows = [(pair[place], pair[1 - place], until // MINUTE) for pair in sorted(pairs) if pair[place] in own]
    if rows:
        tx.exec_driver_sql(
            f"delete from sightings where {side} = {mark} and {other} = {mark} and minute <= {mark}",  # noqa: S608 - marks
            rows,
        )


def _delete_minutes(tx: sa.Connection, minutes: set[standing.Minute]) -> None:
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    if minutes:
        where = f"a_id = {mark} and b_id = {mark} and kind = {mark} and minute = {mark}"
        tx.exec_driver_sql(f"delete from sightings where {where}", sorted(minutes))  # noqa: S608 - marks


def _drop_implied(tx: sa.Connection, ids: set[int], side: str = "") -> set[standing.Pair]:
    """End the implied links of identifiers that go, or (as stronger ends) are vouched for no more; those that stood."""
    lost: set[standing.Pair] = set()
    for end in (side,) if side else ("a_id", "b_id"):
        where = USER_IMPLIED if side else "kind = 'implied'"
        rows = bulk.select_by(tx, links, ("a_id", "b_id"), end, ids, f"{where} and stands")
        lost |= {(a, b) for a, b in rows}
        bulk.delete_rows(tx, links, end, ids, where)
    return lost


def _unhash(tx: sa.Connection, gone: set[int]) -> None:
    """An anonymousId that was an email's hash, and is met again without it, is a browser's like any other."""
    hashes = [one for (one,) in bulk.select_by(tx, identifiers, ("id",), "email_id", gone)]
    bulk.update_rows(tx, identifiers, ("id",), ("email_id", "component_id"), [(one, None, None) for one in hashes])
    for table in (links, sightings):
        for a, b in standing.pairs_of(tx, hashes):
            if b in hashes:
                bulk.update_rows(tx, table, ("a_id", "b_id"), ("browser",), [(a, b, True)])


def _delete_links(tx: sa.Connection, pairs: set[standing.Pair]) -> None:
    """Links of which no sighting is left; implied ones never had any."""
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    shown = "select 1 from sightings s where s.a_id = links.a_id and s.b_id = links.b_id and s.kind = links.kind"
    where = f"a_id = {mark} and b_id = {mark} and not stands and kind <> 'implied' and not exists ({shown})"
    if pairs:
        tx.exec_driver_sql(f"delete from links where {where}", sorted(pairs))  # noqa: S608 - marks


def _erase_record(tx: sa.Connection, own: set[int], gone: set[int], until: Milliseconds) -> None:
    """What else was remembered of them, up to the time; of who is gone also what operators said later."""
    minute = until // MINUTE
    for table, where in (
        (mentions, f"at <= {until:d}"),
        (consents, f"at <= {until:d}"),
        (choices, f"minute <= {minute:d}"),
        (traits, f"minute <= {minute:d}"),
        (machine_clicks, f"at <= {until:d}"),
        (opaque_ids, f"last_at <= {until:d}"),
    ):
        bulk.delete_rows(tx, table, "identifier_id", own, where)
    bulk.delete_rows(tx, mentions, "identifier_id", gone)
    bulk.delete_rows(tx, mirrored, "identifier_id", own)  # what a platform was told may be deleted there too
    for side in ("browser_id", "profile_id"):
        bulk.delete_rows(tx, landings, side, own, f"at <= {until:d}")
    for side in ("a_id", "b_id"):
        bulk.delete_rows(tx, revoked_buckets, side, gone)
    hashes = [one for (one,) in bulk.select_by(tx, identifiers, ("profile_hash",), "id", gone)]
    for side in ("left_hash", "right_hash"):
        ids = [one for (one,) in bulk.select_by(tx, revocations, ("id",), side, hashes)]
        tx.execute(sa.delete(revocations).where(revocations.c.id.in_(ids)))


def _erase_rows(tx: sa.Connection, gone: set[int]) -> None:
    """The identifiers of which nothing later is known. Their numbers are never used again."""
    identity.remember_last_number(tx)
    for side in ("a_id", "b_id"):
        bulk.delete_rows(tx, links, side, gone)
        bulk.delete_rows(tx, sightings, side, gone)
    bulk.delete_rows(tx, email_hashes, "identifier_id", gone)
    bulk.delete_rows(tx, identifiers, "id", gone)


def _begin_anew(tx: sa.Connection, alive: Mapping[int, Node], until: Milliseconds) -> set[int]:
    """The times of identifiers that were met again later: from what is left of them. Those nobody vouches for then."""
    rows = bulk.select_by(
        tx, mentions, ("identifier_id", "at", "message", "said_by"), "identifier_id", alive, _lives(until)
    )
    names = {
        number: f"{source}/{message_id}"
        for number, source, message_id in bulk.select_by(
            tx, messages, ("id", "source", "message_id"), "id", {row[2] for row in rows}
        )
    }
    seen: dict[int, list[tuple[Milliseconds, str, int]]] = {}
    for one, at, message, said_by in rows:
        seen.setdefault(one, []).append((at, names.get(message, ""), said_by))
    changes = []
    for one, moments in seen.items():
        first_at, first_message, _ = min(moments)
        carried = min((at for at, _, said_by in moments if said_by == remember.SITE), default=None)
        changes.append((one, first_at, first_message, max(moments)[0], carried))
    bulk.update_rows(tx, identifiers, ("id",), ("first_at", "first_message", "last_at", "carried_at"), changes)
    return {one for one, *_, carried in changes if carried is None}
