"""Whom we were told to forget: keyed hashes that say of an identifier up to when whatever carries it is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.identifiers import digests
from connector.keys import Keys
from connector.messages import Identifier, Milliseconds
from connector.tables import tombstones

FOREVER: Final = 1 << 62

UPSERT: Final = """on conflict (hash) do update set message = excluded.message,
    until = case when excluded.until is null or tombstones.until is null then null
            when excluded.until > tombstones.until then excluded.until else tombstones.until end"""


def bury(tx: sa.Connection, names: set[Identifier], until: Milliseconds | None, message_id: str, keys: Keys) -> None:
    """Leave a tombstone for each identifier, and for the hashes that some sources send instead of an email.

    Args: until is None for ever.
    """
    rows = {keys.tombstone(one) for one in names | hashes_of(names)}
    columns = ("hash", "until", "message")
    bulk.insert_rows(tx, tombstones, columns, [(one, until, message_id) for one in sorted(rows)], UPSERT)


def hashes_of(names: set[Identifier]) -> set[Identifier]:
    """What some sources send in anonymousId instead of these emails."""
    emails = [one.value for one in names if one.type == "email"]
    return {Identifier("anonymous_id", digest) for email in emails for digest in digests(email)}


def buried(tx: sa.Connection, wanted: Iterable[Identifier], keys: Keys) -> dict[Identifier, Milliseconds]:
    """Those of these identifiers that were forgotten, and up to when. A vendor's user id stands for the userId too."""
    if tx.execute(sa.select(tombstones.c.hash).limit(1)).first() is None:
        return {}
    hashes: dict[str, set[Identifier]] = {}
    for one in wanted:
        hashes.setdefault(keys.tombstone(one), set()).add(one)
        if one.type.endswith("_user_id"):
            hashes.setdefault(keys.tombstone(Identifier("user_id", one.value)), set()).add(one)
    found: dict[Identifier, Milliseconds] = {}
    for hashed, until in bulk.select_by(tx, tombstones, ("hash", "until"), "hash", hashes):
        for one in hashes[hashed]:
            found[one] = max(found.get(one, 0), FOREVER if until is None else until)
    return found
