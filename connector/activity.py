"""What people do on the site, on its way to Klaviyo: sent if it is known whose it is, else kept if that is wanted.

    1. Which calls does the mapping want, and what does it make of them (``klaviyo.calls``)?
    2. Whose are they (``whose``), and do these agree to it?
    3. Events leave under the names that evidence joined; profiles follow the person (``mirror``).
    4. What visitors did before anybody knew them is held, and leaves with its own time when they are known.

Never does anything leave that would make a profile without an address. Called by ``pipeline``; next: ``deliver``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from connector import backfill, mirror, outbox, permission, revise, whose
from connector.graph import Graph
from connector.house import House
from connector.klaviyo import calls, wanted
from connector.klaviyo.calls import Draft, Who
from connector.messages import Identifier, Json, Message, Milliseconds
from connector.mirror import Occasion
from connector.outbox import PENDING
from connector.permission import REFUSED
from connector.whose import Customer, Visit

NAME: Final = "klaviyo"
REFUSED_THERE: Final = "not for Klaviyo: it refused their profile, as the dead letters say; tried again after a day"
BEFORE: Final = "not for Klaviyo: it was before they were known ([backfill] keeps such events)"


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that the mapping wants, what it makes of it, and whose it is."""

    message: Message
    call: Mapping[str, Json]
    drafts: Sequence[Draft]
    visit: Visit
    customer: Customer
    who: Who | None

    @property
    def events(self) -> list[Draft]:
        return [draft for draft in self.drafts if draft.kind == "event"]


def forward(
    tx: sa.Connection,
    batch: Sequence[Message],
    ids: Mapping[Identifier, int],
    graph: Graph,
    house: House,
    now: Milliseconds,
) -> dict[int, str]:
    """Send, or keep, what Klaviyo is to know of these messages; in plain words, by message, what became of it."""
    if house.klaviyo is None:
        return {}
    asked = []
    for message in batch:
        if wanted.refusal(message, house.klaviyo) is not None:
            continue
        call = calls.call_of(message)
        drafts = calls.compose(call, message.at, message.message_id, house.klaviyo)
        if drafts:
            asked.append((message, call, drafts, whose.visit(message, ids, graph)))
    customers = whose.find([visit for *_, visit in asked], graph, clicked=house.klaviyo.clicked)
    found = [_Call(*one, each, mirror.who(each, graph)) for one, each in zip(asked, customers, strict=True)]
    told: dict[int, str] = {}
    allowed = permission.given(tx, [(one.visit, one.customer) for one in found], graph, house, now)
    told |= {one.message.inbox_id: REFUSED for one, may in zip(found, allowed, strict=True) if not may}
    found = [one for one, may in zip(found, allowed, strict=True) if may]
    if not house.klaviyo.backfill.enabled:
        told |= {one.message.inbox_id: BEFORE for one in found if one.customer.before}
        found = [one for one in found if not one.customer.before]
    unknown = [one for one in found if one.who is None]
    told |= _send(tx, [(one, one.who) for one in found if one.who is not None], graph, house, now)
    told |= backfill.keep(tx, [(one.message, one.visit, one.customer, one.events) for one in unknown], house, now)
    return {**{one.message.inbox_id: f"not for Klaviyo: {one.customer.why}" for one in unknown}, **told}


# -- what leaves -----------------------------------------------------------------------------------------------


def _send(
    tx: sa.Connection, found: Sequence[tuple[_Call, Who]], graph: Graph, house: House, now: Milliseconds
) -> dict[int, str]:
    assert house.klaviyo is not None  # noqa: S101 - the caller asked
    occasions = [
        Occasion(one.message, one.call, one.customer, who, one.visit.browser)
        for one, who in found
        if not one.customer.guessed  # that is no reason to change a profile
    ]
    news = mirror.profiles(tx, occasions, graph, house, now)
    refused = mirror.refused(tx, [one.customer for one, _ in found], now)
    parcels = []
    for one, who in found:
        late = one.customer.before and house.klaviyo.backfill.flag
        for draft in one.events if one.customer.turn not in refused else ():
            body = calls.address(draft.body, mirror.of_event(who), backfill=late)
            parcels.append(backfill.parcel(one.message, draft, PENDING, now, body, subject=one.customer.turn))
    outbox.add(tx, NAME, [*news.parcels, *parcels], now)
    if news.renamed:
        revise.revise(tx, news.renamed, house, now)
    told = {parcel.inbox_id for parcel in news.parcels}
    return {
        one.message.inbox_id: REFUSED_THERE
        if one.customer.turn in refused and one.events
        else _said(one, one.message.inbox_id in told)
        for one, _ in found
    }


def _said(one: _Call, news: bool) -> str:
    if one.message.type == "identify":
        return f"for Klaviyo: {'their profile' if news else 'nothing new'} ({one.customer.why})"
    return f"for Klaviyo: an event{' and their profile' if news else ''} ({one.customer.why})"
