"""What was stored of visitors who had refused is removed: bodies at once, and what they taught does not count.

Their sightings stay, uncounted: whether a refusal or a later grant arrives first must not matter. ``forget`` erases
them too. Events that still waited for such a visitor are ended by ``held``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from connector import bulk, consent, inbox, log, outbox, stitch
from connector.graph import Graph
from connector.house import House
from connector.messages import Outcome
from connector.tables import choices, links, mentions, messages
from connector.tables import outbox as deliveries


def remove(tx: sa.Connection, spoken: Mapping[int, str | None]) -> None:
    """Empty the messages of who had refused, and say so in the log.

    Args: spoken is, by message, the category that was refused, if any.
    """
    refused = {number: category for number, category in spoken.items() if category is not None}
    inbox.empty(tx, [one.id for one in inbox.by_ids(tx, refused) if one.body])
    unsent = set(outbox.erase(tx, refused))
    rows = bulk.select_by(tx, messages, ("id", "outcome"), "id", refused)
    log.change(
        tx, [_ignored(one, refused[one]) for one, outcome in rows if one in unsent and outcome in Outcome.COUNTED]
    )
    learned = [(one, Outcome.IGNORED, said(refused[one])) for one, outcome in rows if outcome == Outcome.LEARNED]
    bulk.update_rows(tx, messages, ("id",), ("outcome", "reason"), learned)


def waiting(tx: sa.Connection, changed: Iterable[int], house: House) -> set[int]:
    """End what has not left yet of people one of whose identifiers refused: a refusal may come late, or by a merge.

    Returns the identifiers around, if anybody among them ever refused.
    """
    if not house.rules.required and not house.rules.opt_out:
        return set()
    graph = Graph(tx, house.rules)
    changed = set(changed)
    owners = {a for (a,) in bulk.select_by(tx, links, ("a_id",), "b_id", changed, "browser")}
    around = graph.members_around(changed | owners)
    if not any(map(consent.read(tx, around, house.rules).has_refused, around)):
        return set()
    spoken = {one for (one,) in bulk.select_by(tx, mentions, ("message",), "identifier_id", around)}
    unsent = {one for (one,) in bulk.select_by(tx, deliveries, ("inbox_id",), "inbox_id", spoken, "status = 'pending'")}
    events = {one for (one,) in bulk.select_by(tx, messages, ("id",), "id", unsent, "arrived_usable is not null")}
    cases = list(log.cases(tx, events).values())
    placed = zip(cases, stitch.place(cases, graph), strict=True)
    silence(tx, [(case.inbox_id, placement.reason) for case, placement in placed if placement.withdrawn])
    return around


def silence(tx: sa.Connection, placed: Iterable[tuple[int, str]]) -> None:
    """Empty email events whose visitor had refused by what another of their identifiers says: (message, reason)."""
    reasons = dict(placed)
    inbox.empty(tx, reasons)
    unsent = set(outbox.erase(tx, reasons))
    log.change(tx, [log.Change(one, Outcome.IGNORED, reasons[one]) for one in reasons if one in unsent])


def _ignored(inbox_id: int, category: str) -> log.Change:
    return log.Change(inbox_id, Outcome.IGNORED, said(category))


def forget_traits(tx: sa.Connection, ids: Iterable[int]) -> None:
    """Traits told in a minute with a refusal never count, whatever arrives later: they need not be kept."""
    minutes = bulk.select_by(tx, choices, ("identifier_id", "minute"), "identifier_id", ids, "denied")
    mark = "?" if tx.dialect.name == "sqlite" else "%s"
    if minutes:
        tx.exec_driver_sql(f"delete from traits where identifier_id = {mark} and minute = {mark}", minutes)  # noqa: S608 - marks


def said(category: str) -> str:
    return f"{consent.WITHDRAWN} (category '{category}'): nothing of it is kept or used"
