"""Numbers that would otherwise be counted: added to in the transaction that changes them, so they are exact.

A number has a row per shard, because many processes would wait for each other on one row; their sum is the value.
"""

from __future__ import annotations

import os
import zlib
from functools import cache
from socket import gethostname

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from connector.tables import counters


def add(tx: sa.Connection, name: str, n: int) -> None:
    """Add n to the number called name, from 0 if it is new."""
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    shard = 0 if tx.dialect.name == "sqlite" else _shard(os.getpid())
    insert = dialect.insert(counters)
    added = insert.on_conflict_do_update(
        index_elements=[counters.c.name, counters.c.shard], set_={"value": counters.c.value + insert.excluded.value}
    )
    tx.execute(added, {"name": name, "shard": shard, "value": n})


def read(tx: sa.Connection) -> dict[str, int]:
    """Every number by its name."""
    total = sa.select(counters.c.name, sa.func.sum(counters.c.value)).group_by(counters.c.name)
    return {name: int(value) for name, value in tx.execute(total.order_by(counters.c.name))}


@cache
def _shard(pid: int) -> int:
    """One of sixteen, fixed for this process and scattered over processes and machines."""
    return zlib.crc32(f"{gethostname()}:{pid}".encode()) % 16
