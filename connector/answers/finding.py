"""The two ends of a link of which somebody has the id only."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from connector.answers import parts
from connector.errors import ConnectorError
from connector.house import House
from connector.messages import Identifier
from connector.tables import links

PAGE: Final = 1_000
SECONDS: Final = 5.0
"""How long one search may take: a link's id is a keyed hash, which no index knows."""


class TooMany(ConnectorError):
    """The link was not found in time."""


def ends_of(
    tx: sa.Connection, house: House, link_id: str, seconds: float = SECONDS
) -> tuple[Identifier, Identifier] | None:
    """The stronger and the weaker end of a link, by looking through them, the newest identifiers' first.

    Raises: TooMany if there are more than can be looked through in time.
    """
    deadline = time.monotonic() + seconds
    order = (links.c.a_id, links.c.b_id, links.c.kind)
    page = sa.select(*order).order_by(*(column.desc() for column in order)).limit(PAGE)
    rows = tx.execute(page).all()
    while rows:
        nodes = parts.nodes(tx, {end for row in rows for end in row[:2]})
        for a, b, kind in rows:
            left, right = nodes[a].identifier, nodes[b].identifier
            if house.keys.link_id(left, right, kind) == link_id:
                return left, right
        if time.monotonic() > deadline:
            raise TooMany("there are too many links to look through: give its two ends as left and right")
        rows = tx.execute(page.where(sa.tuple_(*order) < sa.tuple_(*rows[-1]))).all()
    return None
