"""What of a page is new to the inbox; and what a known event gives away when it comes again. In the caller's
transaction.

Every reading begins a little before the newest event known, so most of what comes is known: that is no duplicate that
anybody sent, and is not counted as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson
import sqlalchemy as sa

from connector import bulk, inbox, tables
from connector.keys import Keys
from connector.klaviyo import pages, records
from connector.klaviyo.pages import Page
from connector.messages import Milliseconds, Received


def keep(tx: sa.Connection, page: Page, keys: Keys, now: Milliseconds) -> int:
    """Put what is new of a page into the inbox, and say how much that was."""
    fresh = _fresh(tx, page.received)
    moved = _moved(tx, page, {one.message_id for one in fresh}, keys, now)
    return inbox.store(tx, [*_fresh(tx, moved), *fresh]).stored


def _fresh(tx: sa.Connection, received: Iterable[Received]) -> list[Received]:
    """Those that the inbox does not have, each once."""
    distinct = {one.message_id: one for one in received}
    for message_id, _ in _known(tx, distinct):
        del distinct[message_id]
    return list(distinct.values())


def _moved(tx: sa.Connection, page: Page, fresh: set[str], keys: Keys, now: Milliseconds) -> Iterator[Received]:
    """Records of profiles that were merged into others: a known event names another profile than when it was stored.

    Klaviyo gives the events of a merged profile to the one that is left, and says nowhere else, in a form that is
    documented, which two these were.
    """
    for message_id, body in _known(tx, page.profiles.keys() - fresh):
        was = _profile_of(body)
        now_named = page.profiles[message_id]
        if was is not None and was != now_named and records.is_profile_id(was):
            record = records.of_profile(now_named, {}, keys, now, formerly=was)
            if record is not None:
                yield record


def _profile_of(body: str) -> str | None:
    """Whose a stored event was; None if that cannot be read, or was to be forgotten."""
    try:
        element = orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None
    return pages.profile_of(element) if isinstance(element, dict) else None


def _known(tx: sa.Connection, message_ids: Iterable[str]) -> list[tuple[str, str]]:
    """(message id, body) of those that the inbox has."""
    columns = ("message_id", "body")
    found = bulk.select_by(tx, tables.inbox, columns, "message_id", message_ids, f"source = '{records.SOURCE}'")
    return [(message_id, body) for message_id, body in found]
