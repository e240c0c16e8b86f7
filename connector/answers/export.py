"""Everything, line by line, sorted and the same for the same evidence whatever the order of its arrival.

Rows stream from an index, so memory is bounded by one person, not by their number. No row number leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import orjson
import sqlalchemy as sa

from connector import bulk, scratch
from connector.answers import listing, parts
from connector.answers.profile import describe
from connector.graph import Graph
from connector.house import House
from connector.messages import Json, Milliseconds
from connector.tables import identifiers, links, messages

PAGE: Final = 500


def export_profiles(tx: sa.Connection, house: House, as_of: Milliseconds | None = None) -> Iterator[dict[str, Json]]:
    """Every person as ``profile`` tells it, without a timeline, sorted by ``profile_id``.

    The hash of each identifier is stored and indexed; a person comes up when that of their earliest identifier does.
    Args: as_of asks what was known up to the end of the minute of an event time.
    """
    if as_of is not None:
        with scratch.as_of(tx, house, as_of) as then:
            yield from export_profiles(then, house)
        return
    page = sa.select(identifiers.c.profile_hash, identifiers.c.id).where(identifiers.c.component_id.is_not(None))
    page = page.order_by(identifiers.c.profile_hash).limit(PAGE)
    last = ""
    while rows := tx.execute(page.where(identifiers.c.profile_hash > last)).all():
        graph = Graph(tx, house.rules)
        graph.load([row.id for row in rows])
        for row in rows:
            cluster = graph.cluster(row.id)
            if cluster is not None and graph.profile_id(cluster, house.keys) == row.profile_hash:
                yield describe(graph, house, cluster, bounded=False)[0]
        last = rows[-1].profile_hash


def export_links(tx: sa.Connection, house: House, as_of: Milliseconds | None = None) -> Iterator[dict[str, Json]]:
    """Every link that stands, also those refused, set aside or shown only.

    Sorted by the stronger end's value and type, then the weaker's. Args: as_of as for profiles.
    """
    if as_of is not None:
        with scratch.as_of(tx, house, as_of) as then:
            yield from export_links(then, house)
        return
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


def digest(tx: sa.Connection, house: House) -> str:
    """One number for all profiles and links: the SHA-256 of both exports, the same for the same evidence."""
    total = hashlib.sha256()
    for told in (export_profiles(tx, house), export_links(tx, house)):
        for line in told:
            total.update(orjson.dumps(line, option=orjson.OPT_SORT_KEYS))
    return total.hexdigest()


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
