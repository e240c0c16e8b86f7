"""Which identifiers hang together, and which name nobody: degrees, hubs, and the labels of connected components.

A component is what standing links of people's identifiers connect, refused ones included, hubs and browsers left out:
all that ``resolve`` has to look at together. It is a cache; ``derive`` makes it anew from the links.

    1. Add what pairs gained and lost to the degrees of their weaker ends. Who passes the limit is a hub, who falls
       back under it is none any more; the links of a hub are set aside.
    2. Where links only came, unite the components at both ends. Where one went, or a hub turned, group what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from connector import bulk, counters
from connector.graph import NODE_COLUMNS, Graph, node
from connector.resolve import Node
from connector.rules import Rules
from connector.standing import Pair
from connector.tables import PEOPLE, identifiers, links, sightings

JOINING: Final = "kind in ('manual', 'declared', 'vendor', 'implied')"
JOINS: Final = f"{PEOPLE} and {JOINING}"
"""The links that make people, as SQL."""


class Tally:
    """Keeps the numbers of people and refused links, across a change to some identifiers' components."""

    def __init__(self, tx: sa.Connection, rules: Rules, ids: Iterable[int]) -> None:
        """Args: ids are identifiers whose people may change; those that are not stored yet are nobody."""
        self._tx, self._rules = tx, rules
        self._before, self._members = self._count(set(ids))

    def close(self, further: Iterable[int] = ()) -> None:
        """Count again, after the change. Args: further are identifiers that are new: nobody else may be counted now."""
        after, _ = self._count(self._members | set(further))
        counters.add(self._tx, "profiles", after[0] - self._before[0])
        counters.add(self._tx, "refused_links", after[1] - self._before[1])

    def _count(self, ids: set[int]) -> tuple[tuple[int, int], set[int]]:
        graph = Graph(self._tx, self._rules)
        labels = bulk.select_by(self._tx, identifiers, ("component_id",), "id", ids, "component_id is not null")
        graph.load_components({label for (label,) in labels})
        found = [graph.people(component) for component in graph.links]
        members = {one for people in found for one in people.cluster}
        return (sum(len(one.members) for one in found), sum(len(one.refused) for one in found)), ids | members


def neighbours(tx: sa.Connection, ids: Iterable[int]) -> set[int]:
    """People's identifiers that these are linked with, set aside or not."""
    wanted = set(ids)
    found = bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", wanted, f"not browser and {JOINING}")
    found += bulk.select_by(tx, links, ("a_id", "b_id"), "b_id", wanted, JOINING)
    return {end for pair in found for end in pair} - wanted


def nodes_of(tx: sa.Connection, ids: Iterable[int]) -> dict[int, Node]:
    """These identifiers as they are stored."""
    return {row[0]: node(row) for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "id", set(ids))}


def turning(
    nodes: Mapping[int, Node], gained: Iterable[Pair], lost: Iterable[Pair], rules: Rules
) -> tuple[dict[int, int], set[int]]:
    """The new degrees of the weaker ends of these pairs, and who turns into a hub or back."""
    delta = Counter(b for _, b in gained)
    delta.subtract(b for _, b in lost)
    degrees = {one: nodes[one].degree + n for one, n in delta.items() if n}
    turned = {one for one, degree in degrees.items() if names_nobody(nodes[one], degree, rules) != nodes[one].apart}
    return degrees, turned


def names_nobody(one: Node, degree: int, rules: Rules) -> bool:
    return rules.is_hub(one.identifier.type, degree) or rules.is_blocked(*one.identifier)


def turn(
    tx: sa.Connection, rules: Rules, gained: Iterable[Pair], lost: Iterable[Pair], joined: Iterable[Pair] = ()
) -> set[int]:
    """Follow what pairs came to stand or ceased to; the identifiers that became hubs or are none any more.

    Args: joined are pairs that stood before and join people from now on (a browser that turned out to be a hash).
    """
    gained, lost, joined = set(gained), set(lost), set(joined)
    nodes = nodes_of(tx, {end for pair in gained | lost | joined for end in pair})
    degrees, turned = turning(nodes, gained, lost, rules)
    bulk.update_rows(tx, identifiers, ("id",), ("degree",), list(degrees.items()))
    for one in sorted(turned):
        nodes[one].degree = degrees[one]
        set_apart(tx, rules, nodes[one], not nodes[one].apart)
    people = {one for one in turned if not nodes[one].browser}
    ended = {end for pair in lost for end in pair if not nodes[end].browser}
    if people or ended:
        regroup(tx, people | ended | neighbours(tx, people) | _people_of(gained | joined, nodes))
    else:
        _unite(tx, gained | joined, nodes)
    return turned


def _people_of(pairs: Iterable[Pair], nodes: Mapping[int, Node]) -> set[int]:
    return {end for pair in pairs for end in pair if not nodes[end].browser}


def set_apart(tx: sa.Connection, rules: Rules, one: Node, apart: bool) -> None:
    """Make an identifier name nobody, or somebody again; its links are set aside, or count again."""
    one.apart = apart
    one.component = None if apart or one.browser or rules.is_device(one.identifier.type) else one.id
    bulk.update_rows(tx, identifiers, ("id",), ("apart", "component_id"), [(one.id, apart, one.component)])
    for table in (links, sightings):
        for mine, other in (("a_id", "b_id"), ("b_id", "a_id")):
            rows = f"{mine} = {one.id:d}"
            if table is sightings and mine == "b_id":  # its index holds only what counts; the links know the pairs
                rows += f" and a_id in (select l.a_id from links l where l.b_id = {one.id:d})"  # noqa: S608 - a number
            if apart:
                tx.exec_driver_sql(f"update {table.name} set apart = true where {rows} and not apart")  # noqa: S608 - names of ours
            else:
                lives = f"not exists (select 1 from identifiers i where i.id = {table.name}.{other} and i.apart)"  # noqa: S608 - names of ours
                lives += f" and not {joins_device(rules, table.name)}" if rules.devices else ""
                tx.exec_driver_sql(f"update {table.name} set apart = false where {rows} and apart and {lives}")  # noqa: S608 - names of ours


def joins_device(rules: Rules, table: str) -> str:
    """SQL: would a link join a device to somebody? Those from before its type was a device's are set aside."""
    named = ", ".join(f"'{name}'" for name in rules.devices)
    ends = f"select 1 from identifiers d where d.id in ({table}.a_id, {table}.b_id) and d.type in ({named})"  # noqa: S608 - names of ours
    return f"({table}.{JOINING} and exists ({ends}))"


def _unite(tx: sa.Connection, pairs: Iterable[Pair], nodes: Mapping[int, Node]) -> None:
    """Components that links came between become one, under the smaller label."""
    roots: dict[int, int] = {}
    for a, b in pairs:
        left, right = nodes[a].component, nodes[b].component
        if left is not None and right is not None:
            left, right = root(roots, left), root(roots, right)
            roots[max(left, right)] = min(left, right)
    moved = [(root(roots, old), old) for old in roots if root(roots, old) != old]
    if moved:
        mark = "?" if tx.dialect.name == "sqlite" else "%s"
        tx.exec_driver_sql(f"update identifiers set component_id = {mark} where component_id = {mark}", moved)  # noqa: S608 - marks


def regroup(tx: sa.Connection, ids: Iterable[int]) -> None:
    """Label the components of these identifiers anew, by the links that stand."""
    known = nodes_of(tx, ids)
    labels = {one.component for one in known.values() if one.component is not None}
    for row in bulk.select_by(tx, identifiers, NODE_COLUMNS, "component_id", labels):
        known.setdefault(row[0], node(row))
    members = {one.id for one in known.values() if one.component is not None}
    roots = {one: one for one in members}
    for a, b in bulk.select_by(tx, links, ("a_id", "b_id"), "a_id", members, JOINS):
        if b in members:
            left, right = root(roots, a), root(roots, b)
            roots[max(left, right)] = min(left, right)
    moved = [(one, root(roots, one)) for one in sorted(members) if known[one].component != root(roots, one)]
    bulk.update_rows(tx, identifiers, ("id",), ("component_id",), moved)


def root(roots: dict[int, int], one: int) -> int:
    """The representative of a set in a union-find, paths shortened on the way."""
    while roots.get(one, one) != one:
        roots[one] = roots.get(roots[one], roots[one])
        one = roots[one]
    return one
