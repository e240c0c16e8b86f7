"""Who names nobody: hubs, which are linked to too many, and values that the rules block since they were seen."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector import components
from connector.answers import parts
from connector.house import House
from connector.messages import Json
from connector.resolve import Node
from connector.rules import Rules
from connector.tables import identifiers

APART: Final[sa.ColumnClause[bool]] = sa.literal_column("apart", sa.Boolean)


def hubs(tx: sa.Connection, house: House, limit: int = 100, after: int = 0) -> dict[str, Json]:
    """``{"entries":[…],"next":…}``: each with its type, value, degree, limit, and what would release it."""
    chosen = sa.select(identifiers.c.id).where(APART, identifiers.c.id > after).order_by(identifiers.c.id)
    ids = list(tx.scalars(chosen.limit(limit + 1)))
    nodes = components.nodes_of(tx, ids[:limit])
    return {
        "entries": [told(nodes[one], house.rules) for one in ids[:limit]],
        "next": ids[limit - 1] if len(ids) > limit else None,
    }


def told(one: Node, rules: Rules) -> dict[str, Json]:
    """One of them."""
    limit = rules.type_of(one.identifier.type).hub_limit
    return {
        **parts.pair(one.identifier),
        "degree": one.degree,
        "hub_limit": limit,
        "first_at": parts.moment(one.first_at),
        "last_at": parts.moment(one.last_at),
        "because": because(one, rules),
        "released_by": released_by(one, rules),
    }


def because(one: Node, rules: Rules) -> str:
    """Why it names nobody, as the end of a sentence."""
    if _is_device(one, rules):
        return "it names a browser, not a person, and joins nobody (device = true in identity.toml)"
    limit = rules.type_of(one.identifier.type).hub_limit
    if one.degree > limit:
        return (
            f"it is linked to {one.degree} stronger identifiers, and more than {limit} make a hub, which names nobody"
        )
    return "its value is one of those that name nobody (blocked in identity.toml)"


def released_by(one: Node, rules: Rules) -> str:
    """What would make it somebody's again."""
    if _is_device(one, rules):
        return f"taking `device` out of [types.{one.identifier.type}] in identity.toml"
    if one.degree > rules.type_of(one.identifier.type).hub_limit:
        return (
            f"a hub_limit of {one.degree} or more in [types.{section(one.identifier.type, rules)}] of identity.toml, or"
            " `connector unlink` of the links that are wrong"
        )
    return "taking its pattern out of `blocked` in identity.toml"


def _is_device(one: Node, rules: Rules) -> bool:
    """Is it a device, and no blocked value? Links from before its type was a device's are set aside."""
    return rules.is_device(one.identifier.type) and not one.apart


def section(type_name: str, rules: Rules) -> str:
    """The section of identity.toml that speaks of a type."""
    return type_name if type_name in rules.types else "vendor"
