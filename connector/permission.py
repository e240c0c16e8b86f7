"""May an email platform know of what somebody did? What the rules require, and what its mapping asks for besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from connector import bulk, consent
from connector.graph import Graph
from connector.house import House
from connector.messages import Identifier, Message, Milliseconds
from connector.tables import consents
from connector.whose import Customer, Visit

REFUSED: Final = "not for Klaviyo: consent was withdrawn, or not given"


def given(
    tx: sa.Connection,
    asked: Sequence[tuple[Visit, Customer]],
    graph: Graph,
    house: House,
    now: Milliseconds | None = None,
) -> list[bool]:
    """Did nobody concerned refuse by the time of each call, and everybody give the consents that are asked for?

    Args: now, if the call is sent later than it came: a refusal until then counts as well.
    """
    wanted = house.klaviyo.consent if house.klaviyo is not None else ()
    concerned = [{*visit.ids, *_members(customer, graph)} for visit, customer in asked]
    everybody = {one for group in concerned for one in group}
    choices = consent.read(tx, everybody, house.rules)
    granted = _granted(tx, everybody) if wanted else {}
    return [
        choices.any_refused(group, visit.at) is None
        and (now is None or choices.any_refused(group, now) is None)
        and all(_strictest(group, category, granted) for category in wanted)
        for (visit, _), group in zip(asked, concerned, strict=True)
    ]


def withdrawn(batch: Iterable[Message], ids: Mapping[Identifier, int], house: House) -> set[int]:
    """The identifiers of who says in these messages that Klaviyo is to know nothing."""
    wanted = house.klaviyo.consent if house.klaviyo is not None else ()
    found: set[int] = set()
    for message in batch if wanted else ():
        told = message.context.get("consent")
        preferences = told.get("categoryPreferences") if isinstance(told, dict) else None
        if isinstance(preferences, dict) and any(preferences.get(category) is False for category in wanted):
            found |= {ids[one] for one in message.own}
    return found


def _members(customer: Customer, graph: Graph) -> list[int]:
    return graph.members(customer.person) if customer.person is not None else []


def _granted(tx: sa.Connection, ids: Iterable[int]) -> dict[tuple[int, str], bool]:
    rows = bulk.select_by(tx, consents, ("identifier_id", "category", "granted"), "identifier_id", ids)
    return {(one, category): bool(granted) for one, category, granted in rows}


def _strictest(group: Iterable[int], category: str, granted: Mapping[tuple[int, str], bool]) -> bool:
    """Consent that nobody told of is none."""
    said = [granted[one, category] for one in group if (one, category) in granted]
    return bool(said) and all(said)
