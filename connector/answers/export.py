"""Everything, line by line, sorted and the same for the same evidence whatever the order of its arrival.

Rows stream from an index, so memory is bounded by one person, not by their number. No row number leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.answers import listing, parts
from connector.answers.profile import describe
from connector.graph import Graph
from connector.house import House
from connector.messages import Json
from connector.tables import identifiers, links, messages

PAGE: Final = 500


def export_profiles(tx: sa.Connection, house: House) -> Iterator[dict[str, Json]]:
    """Every person as ``profile`` tells it, without a timeline, sorted by ``profile_id``.

    The hash of each identifier is stored and indexed; a person comes up when that of their earliest identifier does.
    """
    page = sa.select(identifiers.c.profile_hash, identifiers.c.id).where(identifiers.c.component_id.is_not(None))
    page = page.order_by(identifiers.c.profile_hash).limit(PAGE)
    last = ""
    while rows := tx.execute(page.where(identifiers.c.profile_hash > last)).all():
        graph = Graph(tx, house.rules)
        graph.load([row.id for row in rows])
        for row in rows:
            cluster = graph.cluster(row.id)
            if cluster is not None and parts.profile_id(graph, house.keys, cluster) == row.profile_hash:
                yield describe(graph, house, cluster, bounded=False)[0]
        last = rows[-1].profile_hash


def export_links(tx: sa.Connection, house: House) -> Iterator[dict[str, Json]]:
    """Every link, also those refused or shown only, sorted by the stronger end's value and type, then the weaker's."""
    for owners in tx.execute(_by_value(tx)).partitions():
        keys = bulk.select_by(tx, links, ("a_id", "b_id", "kind"), "a_id", [row.id for row in owners])
        told = parts.described(tx, house.keys, [(a, b, kind) for a, b, kind in keys])
        yield from sorted(told.values(), key=_by_ends)


def _by_value(tx: sa.Connection) -> sa.Select[tuple[int]]:
    """Identifiers in the order of bytes, as Python sorts them too; on SQLite that is the order of an index."""
    order: list[sa.ColumnElement[str]] = [identifiers.c.value, identifiers.c.type]
    if tx.dialect.name == "postgresql":
        order = [sa.collate(column, "C") for column in order]
    return sa.select(identifiers.c.id).order_by(*order).execution_options(yield_per=PAGE)


def _by_ends(link: dict[str, Json]) -> tuple[str, ...]:
    left, right = link["left"], link["right"]
    return (left["value"], left["type"], right["value"], right["type"], link["kind"])


def export_log(tx: sa.Connection) -> Iterator[dict[str, Json]]:
    """Every entry of the log, oldest first, without its number."""
    last = 0
    page = sa.select(messages.c.id).order_by(messages.c.id).limit(PAGE)
    while ids := list(tx.scalars(page.where(messages.c.id > last))):
        found = listing.entries(tx, ids)
        for one in ids:
            entry = found[one]
            del entry["id"]
            yield entry
        last = ids[-1]
