"""What another ``identity.toml`` would make of the history there is: profiles merged or split, email events moved.

Everything happens in a scratch store that vanishes. By other limits, hubs, ranks and blocked values the record itself
is resolved again. Where the new file would *read* messages otherwise (paths, types, landings), their bodies are read
again, as far back as they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from connector import bulk, counters, derive, inbox, log, pipeline, scratch, stitch
from connector.derive import Progress
from connector.graph import Graph
from connector.house import House
from connector.messages import Identifier, Json, Outcome, Stored
from connector.operate import SOURCE as OPERATOR
from connector.rules import Rules
from connector.tables import identifiers, messages
from connector.tables import inbox as inbox_rows

PAGE: Final = 500
EXAMPLES: Final = 50
"""Profiles and events of each kind that are named; the others are counted."""

REREAD: Final = (
    "the new file reads messages otherwise, so all of them were read again by it; once it is in use it reads new"
    " messages so, and what was read before stays"
)
REREAD_PARTLY: Final = (
    "the new file reads messages otherwise: those whose bodies are still kept were read again; of the others, what they"
    " said counts as it was read then. Once the file is in use it reads new messages so"
)
RESOLVED: Final = "the new file reads messages as the old one did, so the record was resolved again as it is"


UNNAMED: Final = """
    delete from identifiers where id not in (select identifier_id from mentions)
    and id not in (select a_id from sightings) and id not in (select b_id from sightings)"""
"""What no message names by the new file."""


@dataclass(slots=True)
class Difference:
    """What would change. events: by ``gained``, ``lost`` and ``moved``, how many and some of them."""

    merged: int = 0
    split: int = 0
    merges: list[dict[str, Json]] = field(default_factory=list)
    splits: list[dict[str, Json]] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=lambda: {"gained": 0, "lost": 0, "moved": 0})
    examples: list[dict[str, Json]] = field(default_factory=list)


def what_if(tx: sa.Connection, house: House, other: House, progress: Progress = derive.nothing) -> dict[str, Json]:
    """``{"how","profiles":{"before","after","merged","split","merges","splits"},"email_events":{…,"examples"}}``.

    Nothing is changed. Args: other is the house with the other file.
    """
    with scratch.opened() as then:
        how = _imagine(tx, then, house, other, progress)
        found = Difference()
        _profiles(tx, then, house, other, found, progress)
        _events(tx, then, house, other, found, progress)
        counts = [_count(one) for one in (tx, then)]
    return {
        "how": how,
        "profiles": {
            "before": counts[0],
            "after": counts[1],
            "merged": found.merged,
            "split": found.split,
            "merges": found.merges,
            "splits": found.splits,
        },
        "email_events": {**found.events, "examples": found.examples},
    }


def _imagine(tx: sa.Connection, then: sa.Connection, house: House, other: House, progress: Progress) -> str:
    """Fill the scratch store; how it was done."""
    rereads = reads(house.rules) != reads(other.rules)
    whole = rereads and not _any_body_gone(tx)
    copy = scratch.Copy(tx, then, other.rules)
    copy.record(progress, evidence=not whole)
    for page in _events_of(tx):
        copy.events(page)
    if rereads:
        derive.rebuild(then, other.rules, other.keys)
        for batch in _bodies(tx):
            pipeline.learn(then, batch, other)
            progress("reading messages again", len(batch))
    if whole:
        then.exec_driver_sql(UNNAMED)
    derive.rebuild(then, other.rules, other.keys, progress)
    return RESOLVED if not rereads else REREAD if whole else REREAD_PARTLY


def reads(rules: Rules) -> object:
    """How these rules read a message: everything that decides what it carries."""
    types = sorted(
        (one.name, one.paths, one.external_ids, one.rank, one.normalise, one.token, one.device)
        for one in rules.types.values()
    )
    return types, rules.landings, rules.cookies, rules.opt_out, sorted(rules.required), sorted(rules.role_addresses)


def _any_body_gone(tx: sa.Connection) -> bool:
    gone = sa.select(inbox_rows.c.id).join(messages, messages.c.id == inbox_rows.c.id).where(inbox_rows.c.body == "")
    kept_out = (Outcome.FORGOTTEN, Outcome.IGNORED)
    return tx.execute(gone.where(messages.c.outcome.not_in(kept_out)).limit(1)).first() is not None


def _bodies(tx: sa.Connection) -> Iterator[list[Stored]]:
    last = 0
    while batch := inbox.read(tx, last, PAGE):
        last = batch[-1].id
        yield [one for one in batch if one.source != OPERATOR and one.body]


# -- profiles -------------------------------------------------------------------------------------------------------


def _profiles(
    tx: sa.Connection, then: sa.Connection, house: House, other: House, found: Difference, progress: Progress
) -> None:
    for members, targets in _mapped(tx, then, house, other):
        if len(targets) > 1:
            found.split += 1
            if len(found.splits) < EXAMPLES:
                found.splits.append(_example(members, targets))
        progress("comparing profiles", len(members))
    for members, sources in _mapped(then, tx, other, house):
        if len(sources) > 1:
            found.merged += 1
            if len(found.merges) < EXAMPLES:
                found.merges.append(_example(members, sources))


def _example(members: Iterable[Identifier], profiles: Iterable[str]) -> dict[str, Json]:
    return {"identifiers": [{"type": one.type, "value": one.value} for one in members], "profiles": sorted(profiles)}


def _mapped(
    here: sa.Connection, there: sa.Connection, mine: House, theirs: House
) -> Iterator[tuple[list[Identifier], set[str]]]:
    """Each person here, with the profiles that their identifiers belong to there."""
    for page in _labels(here):
        graph = Graph(here, mine.rules)
        graph.load_components(page)
        people = [members for component in graph.links for members in graph.people(component).members.values()]
        named = [[graph.nodes[one].identifier for one in members] for members in people]
        known = _profiles_of(there, theirs, {one for group in named for one in group})
        for group in named:
            yield sorted(group, key=mine.rules.strength), {known[one] for one in group if one in known}


def _labels(tx: sa.Connection) -> Iterator[list[int]]:
    last = 0
    query = sa.select(identifiers.c.id).where(identifiers.c.component_id == identifiers.c.id).order_by(identifiers.c.id)
    while page := list(tx.scalars(query.where(identifiers.c.id > last).limit(PAGE))):
        yield page
        last = page[-1]


def _profiles_of(tx: sa.Connection, house: House, wanted: set[Identifier]) -> Mapping[Identifier, str]:
    graph = Graph(tx, house.rules)
    by_rule = {house.rules.identify(*one) or one: one for one in wanted}
    found = graph.find(by_rule)
    graph.load([one.id for one in found.values()])
    told = {by_rule[name]: graph.profile_id(graph.cluster(one.id), house.keys) for name, one in found.items()}
    return {name: profile for name, profile in told.items() if profile is not None}


def _count(tx: sa.Connection) -> int:
    return counters.read(tx).get("profiles", 0)


# -- email events ---------------------------------------------------------------------------------------------------


def _events_of(tx: sa.Connection) -> Iterator[list[int]]:
    last = 0
    counted = sa.select(messages.c.id).where(messages.c.arrived_usable.is_not(None)).order_by(messages.c.id)
    while page := list(tx.scalars(counted.where(messages.c.id > last).limit(PAGE))):
        yield page
        last = page[-1]


def _events(
    tx: sa.Connection, then: sa.Connection, house: House, other: House, found: Difference, progress: Progress
) -> None:
    for page in _events_of(tx):
        before, after = _visitors(tx, page, house), _visitors(then, page, other)
        for number in page:
            was, becomes = before[number], after.get(number, (None, None))
            if was == becomes:
                continue
            what = "gained" if was == (None, None) else "lost" if becomes == (None, None) else "moved"
            found.events[what] += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append({"what": what, "message": _name(tx, number), **_told(was, becomes)})
        progress("comparing events", len(page))


Visitor = tuple[str | None, str | None]


def _visitors(tx: sa.Connection, page: list[int], house: House) -> dict[int, Visitor]:
    graph = Graph(tx, house.rules)
    cases = log.cases(tx, page)
    known = {one: _existing(tx, case) for one, case in cases.items()}
    placements = stitch.place(list(known.values()), graph)

    def value(one: int | None) -> str | None:
        return None if one is None else graph.nodes[one].identifier.value

    return {number: (value(one.user), value(one.browser)) for number, one in zip(known, placements, strict=True)}


def _existing(tx: sa.Connection, case: stitch.Case) -> stitch.Case:
    """A case without the identifiers that this store does not know."""
    known = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "id", {*case.ids, *case.carried})}

    def kept(one: int | None) -> int | None:
        return one if one in known else None

    return stitch.Case(
        case.inbox_id,
        case.at,
        kept(case.recipient),
        kept(case.vendor_profile),
        kept(case.vendor_user),
        kept(case.browser),
        tuple(one for one in case.carried if one in known),
    )


def _name(tx: sa.Connection, number: int) -> str:
    row = tx.execute(sa.select(messages.c.source, messages.c.message_id).where(messages.c.id == number)).one()
    return f"{row.source}/{row.message_id}"


def _told(was: Visitor, becomes: Visitor) -> dict[str, Json]:
    return {
        "before": dict(zip(("user_id", "anonymous_id"), was, strict=True)),
        "after": dict(zip(("user_id", "anonymous_id"), becomes, strict=True)),
    }
