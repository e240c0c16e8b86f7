"""What is remembered beside identity: which identifiers a message carried, and the consents they were seen with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from connector import bulk
from connector.messages import Identifier, Message, Milliseconds
from connector.tables import consents, mentions

UPSERT_CONSENT: Final = """on conflict (identifier_id, category) do update set
    granted = excluded.granted, at = excluded.at, message = excluded.message
    where (excluded.at, excluded.message) > (consents.at, consents.message)"""


def write_mentions(tx: sa.Connection, batch: Iterable[Message], ids: Mapping[Identifier, int]) -> None:
    """Which identifiers a message carried. A retried message writes the same rows again."""
    rows = {(ids[one], message.at, message.inbox_id) for message in batch for one in message.identifiers}
    bulk.insert_rows(
        tx,
        mentions,
        ("identifier_id", "at", "message"),
        sorted(rows),
        "on conflict (identifier_id, at, message) do nothing",
    )


def write_consents(tx: sa.Connection, batch: Iterable[Message], ids: Mapping[Identifier, int]) -> None:
    """The last ``context.consent.categoryPreferences`` of each identifier, per category, by event time."""
    last: dict[tuple[int, str], tuple[Milliseconds, str, bool]] = {}
    for message in batch:
        consent = message.context.get("consent")
        preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
        if message.email is not None or not isinstance(preferences, dict):
            continue
        for category, granted in preferences.items():
            for identifier in message.identifiers if isinstance(granted, bool) else ():
                key, value = (ids[identifier], str(category)[:200]), (message.at, message.key, granted)
                last[key] = max(last.get(key, value), value)
    bulk.insert_rows(
        tx,
        consents,
        ("identifier_id", "category", "granted", "at", "message"),
        [(*key, granted, at, message) for key, (at, message, granted) in sorted(last.items())],
        UPSERT_CONSENT,
    )
