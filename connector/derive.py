"""Everything that is derived, made anew from the record: what stands, links, hashes, hubs, components, numbers.

    1. Forget what was derived.       2. Hashes of emails, and the anonymousIds that are one.
    3. Links, from sightings; implied ones, from values.      4. Which of them stand.
    5. Degrees, and who is a hub.     6. Components.          7. Which clicks are a scanner's.
    8. The numbers that are kept instead of counted.

It works in pages, so memory is bounded, and by the same rooms that keep the caches up to date (``standing``,
``components``). ``connector rebuild`` proves that it changes nothing; a scratch copy of the record (``scratch``) comes
to life by it, at another time or under other rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from connector import bulk, components, counters, standing, sweeps
from connector.components import JOINS
from connector.graph import NODE_COLUMNS, Graph, node
from connector.identifiers import digests
from connector.identity import UPSERT_SIGHTING
from connector.keys import Keys
from connector.messages import Kind
from connector.resolve import Node
from connector.rules import Rules
from connector.tables import counters as numbers
from connector.tables import email_hashes, facts, identifiers, links, revocations, sightings

PAGE: Final = 1_000
STEPS: Final = 6
FACT: Final = "identity_rules"
"""The row of ``facts`` that remembers by which rules the store was derived."""

Progress = Callable[[str, int], object]
"""Told what is being done, and how many identifiers were done since the last time."""

FIRST_OF: Final = """
    insert into links (a_id, b_id, kind, browser, first_at, first_message)
    select s.a_id, s.b_id, s.kind, s.browser, s.first_at, s.first_message from sightings s
    where s.minute = (select min(x.minute) from sightings x
                      where x.a_id = s.a_id and x.b_id = s.b_id and x.kind = s.kind)"""

SIGHTING: Final = ("a_id", "b_id", "kind", "minute", "browser", "first_at", "first_message", "last_at", "last_message")

WHOLE: Final = f"""
    select {", ".join(f"s.{name}" for name in SIGHTING)} from {{asked}} q
    join sightings s on s.a_id = q.a_id and s.b_id = q.b_id"""  # noqa: S608 - names of ours

DEGREES: Final = """
    update identifiers set degree = (
        select count(distinct l.a_id) from links l where l.b_id = identifiers.id and l.stands
        and l.kind in ('manual', 'declared', 'vendor', 'implied'))"""

SET_ASIDE: Final = """
    update {table} set apart = true
    where a_id in (select id from identifiers where apart) or b_id in (select id from identifiers where apart)"""


def nothing(_what: str, _n: int) -> None:
    """Progress that nobody watches."""


def adopt(tx: sa.Connection, rules: Rules, keys: Keys, progress: Progress = nothing) -> bool:
    """Derive everything by these rules, if the store was derived by others; whether that was so."""
    known = tx.execute(sa.select(facts.c.value).where(facts.c.name == FACT)).scalar()
    if known == rules.fingerprint:
        return False
    if tx.execute(sa.select(identifiers.c.id).limit(1)).first() is not None:
        rebuild(tx, rules, keys, progress)
    bulk.insert_rows(
        tx,
        facts,
        ("name", "value"),
        [(FACT, rules.fingerprint)],
        "on conflict (name) do update set value = excluded.value",
    )
    return True


def rebuild(tx: sa.Connection, rules: Rules, keys: Keys, progress: Progress = nothing) -> None:
    """Derive everything anew. The caller holds the identity lease, or the store is its own."""
    _reset(tx)
    for page in _pages(tx):
        _names(tx, page, keys)
        progress("reading names", len(page))
    for page in _pages(tx):
        _turn_round(tx, page, rules)
    _browsers(tx)
    tx.exec_driver_sql(FIRST_OF)
    for page in _pages(tx):
        _imply(tx, page)
        progress("linking", len(page))
    _settle(tx, rules)
    tx.exec_driver_sql(DEGREES)
    for page in _pages(tx):
        _set_apart(tx, page, rules)
        progress("looking for hubs", len(page))
    for table in ("links", "sightings"):
        tx.exec_driver_sql(SET_ASIDE.format(table=table))
        if rules.devices:
            tx.exec_driver_sql(f"update {table} set apart = true where {components.joins_device(rules, table)}")  # noqa: S608 - names of ours
    for page in _pages(tx):
        _group(tx, page, rules)
        progress("grouping", len(page))
    sweeps.settle_all(tx, rules)
    _recount(tx, rules, progress)


def _pages(tx: sa.Connection) -> Iterator[list[Node]]:
    """All identifiers, as they are when their page comes."""
    last = 0
    query = sa.select(*(identifiers.c[name] for name in NODE_COLUMNS)).order_by(identifiers.c.id).limit(PAGE)
    while rows := tx.execute(query.where(identifiers.c.id > last)).all():
        yield [node(tuple(row)) for row in rows]
        last = rows[-1][0]


def _reset(tx: sa.Connection) -> None:
    tx.execute(sa.delete(links))
    tx.execute(sa.delete(email_hashes))
    tx.execute(sa.update(identifiers).values(component_id=None, email_id=None, degree=0, apart=False))
    tx.execute(sa.update(sightings).values(stands=True, apart=False, browser=False))


def _names(tx: sa.Connection, page: Sequence[Node], keys: Keys) -> None:
    """Profile hashes, and the digests of emails."""
    bulk.update_rows(
        tx, identifiers, ("id",), ("profile_hash",), [(one.id, keys.profile_id(one.identifier)) for one in page]
    )
    rows = [
        (digest, one.id) for one in page if one.identifier.type == "email" for digest in digests(one.identifier.value)
    ]
    bulk.insert_rows(tx, email_hashes, ("digest", "identifier_id"), rows, "on conflict (digest) do nothing")


def _turn_round(tx: sa.Connection, page: Sequence[Node], rules: Rules) -> None:
    """Sightings whose ends have changed places, because the ranks of their types did: the stronger end comes first."""
    mine = {one.id: one.identifier for one in page}
    pairs = {(a, b) for a, b in bulk.select_by(tx, sightings, ("a_id", "b_id"), "a_id", mine)}
    others = components.nodes_of(tx, {b for _, b in pairs} - mine.keys())
    names = mine | {number: one.identifier for number, one in others.items()}
    wrong = sorted((a, b) for a, b in pairs if rules.strength(names[a]) > rules.strength(names[b]))
    for a, b in wrong:
        rows = bulk.select_joined(tx, WHOLE, standing.PAIR, [(a, b)])
        tx.execute(sa.delete(sightings).where(sightings.c.a_id == a, sightings.c.b_id == b))
        bulk.insert_rows(tx, sightings, SIGHTING, [(b, a, *row[2:]) for row in rows], UPSERT_SIGHTING)


def _browsers(tx: sa.Connection) -> None:
    """Tell browsers from the hashes of emails."""
    tx.exec_driver_sql(
        """update identifiers set email_id = (select h.identifier_id from email_hashes h where h.digest = value)
           where type = 'anonymous_id'"""
    )
    browsers = "select id from identifiers where type = 'anonymous_id' and email_id is null"
    tx.exec_driver_sql(f"update sightings set browser = true where b_id in ({browsers})")  # noqa: S608 - names of ours


def _settle(tx: sa.Connection, rules: Rules) -> None:
    """Which sightings and links stand: all, but where an operator or a visitor had a word."""
    minutes = {(a, b) for a, b in tx.exec_driver_sql("select distinct a_id, b_id from revoked_buckets")}
    standing.settle(tx, minutes, rules)
    named = tx.execute(sa.select(revocations.c.left_hash, revocations.c.right_hash))
    hashes = {one for row in named for one in row if one}
    concerned = {one for (one,) in bulk.select_by(tx, identifiers, ("id",), "profile_hash", hashes)}
    if rules.required or rules.opt_out:
        refused = tx.exec_driver_sql("select distinct identifier_id from choices where denied")
        concerned |= {one for (one,) in refused}
    for one in sorted(concerned):
        standing.settle(tx, standing.pairs_of(tx, [one]), rules)


def _imply(tx: sa.Connection, page: Sequence[Node]) -> None:
    """The implied links of these as weaker ends: of a hash to its email, of a vendor's user id to a userId."""
    rows = [(one.email, one.id, Kind.IMPLIED, False, 0, "") for one in page if one.email is not None]
    told = {one.identifier.value: one.id for one in page if one.identifier.type.endswith("_user_id")}
    vouched = "type = 'user_id' and carried_at is not null"
    users: dict[str, int] = dict(bulk.select_by(tx, identifiers, ("value", "id"), "value", told, vouched))
    rows += [
        (users[one.identifier.value], one.id, Kind.IMPLIED, False, 0, "")
        for one in page
        if one.identifier.type.endswith("_user_id") and one.identifier.value in users
    ]
    columns = ("a_id", "b_id", "kind", "browser", "first_at", "first_message")
    bulk.insert_rows(tx, links, columns, rows)


def _set_apart(tx: sa.Connection, page: Sequence[Node], rules: Rules) -> None:
    nobody = [one for one in page if components.names_nobody(one, one.degree, rules)]
    bulk.update_rows(tx, identifiers, ("id",), ("apart",), [(one.id, True) for one in nobody])


def _group(tx: sa.Connection, page: Sequence[Node], rules: Rules) -> None:
    """Label the components of these identifiers that have no label yet, following links to their ends."""
    people = [one for one in page if not one.browser and not one.apart and not rules.is_device(one.identifier.type)]
    seeds = [one.id for one in people if one.component is None]
    roots = {one: one for one in seeds}
    frontier = set(seeds)
    while frontier:
        found = bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", frontier, JOINS)
        found += bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", frontier, JOINS)
        reached = {end for pair in found for end in pair} - roots.keys()
        roots |= {one: one for one in reached}
        for a, b in found:
            left, right = components.root(roots, a), components.root(roots, b)
            roots[max(left, right)] = min(left, right)
        frontier = reached
    bulk.update_rows(
        tx, identifiers, ("id",), ("component_id",), [(one, components.root(roots, one)) for one in sorted(roots)]
    )


def _recount(tx: sa.Connection, rules: Rules, progress: Progress) -> None:
    """Profiles, refused links and links: kept as numbers, so counted here only."""
    profiles = refused = 0
    for page in _pages(tx):
        graph = Graph(tx, rules)
        graph.load_components({one.id for one in page if one.component == one.id})  # each in the page of its label
        for component in graph.links:
            profiles += len(graph.people(component).members)
            refused += len(graph.people(component).refused)
        progress("counting", len(page))
    standing_links = tx.exec_driver_sql("select count(*) from links where stands").scalar_one()
    kept = {"profiles": profiles, "refused_links": refused, "links": int(standing_links)}
    tx.execute(sa.delete(numbers).where(numbers.c.name.in_(kept)))
    for name, n in kept.items():
        counters.add(tx, name, n)
