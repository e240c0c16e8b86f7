"""What is remembered beside identity: who was mentioned, consents and choices, traits, and landings from mails.

All of it is a union, or the last by event time: order, repetition and batch size cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import sqlalchemy as sa

from connector import bulk
from connector.keys import Keys
from connector.messages import MINUTE, Identifier, Message, Milliseconds
from connector.tables import choices, consents, landings, machine_clicks, mentions, traits

VENDOR: Final = 0
SITE: Final = 1
OPERATOR: Final = 2
"""Who mentioned an identifier (``mentions.said_by``): an operator's mention is no sign of life."""

MAX_TRAIT: Final = 4_000
"""Bytes of a trait's value as JSON; a longer one is a document, not a trait."""

MAX_TRAITS: Final = 200
"""Traits of one call."""

Ids = Mapping[Identifier, int]
Moment = tuple[Milliseconds, str]

UPSERT_CONSENT: Final = """on conflict (identifier_id, category) do update set
    granted = excluded.granted, at = excluded.at, message = excluded.message
    where (excluded.at, excluded.message) > (consents.at, consents.message)"""

UPSERT_CHOICE: Final = """on conflict (identifier_id, category, minute) do update set
    denied = choices.denied or excluded.denied,
    granted = case when (excluded.at, excluded.message) > (choices.at, choices.message)
              then excluded.granted else choices.granted end,
    message = case when (excluded.at, excluded.message) > (choices.at, choices.message)
              then excluded.message else choices.message end,
    at = case when excluded.at > choices.at then excluded.at else choices.at end"""

UPSERT_TRAIT: Final = """on conflict (identifier_id, name, minute) do update set
    value = excluded.value, at = excluded.at, message = excluded.message, integrations = excluded.integrations
    where (excluded.at, excluded.message) > (traits.at, traits.message)"""


def write(tx: sa.Connection, batch: Iterable[Message], ids: Ids, keys: Keys) -> None:
    """Everything that a batch tells beside identifiers and links. A retried message writes the same rows again."""
    batch = list(batch)
    write_mentions(tx, batch, ids)
    _write_consents(tx, batch, ids)
    _write_choices(tx, batch, ids)
    _write_traits(tx, batch, ids)
    _write_landings(tx, batch, ids, keys)


def write_mentions(tx: sa.Connection, batch: Iterable[Message], ids: Ids) -> None:
    """Which identifiers a message carried, and whether a site or server vouched for them."""
    rows: dict[tuple[int, Milliseconds, int], int] = {}
    for message in batch:
        for one in (*message.identifiers, *message.carried):
            rows[ids[one], message.at, message.inbox_id] = SITE if one in message.carried else VENDOR
    mention(tx, [(*key, said_by) for key, said_by in rows.items()])


def mention(tx: sa.Connection, rows: Iterable[tuple[int, Milliseconds, int, int]]) -> None:
    """Note (identifier, time, message, who said it)."""
    bulk.insert_rows(
        tx,
        mentions,
        ("identifier_id", "at", "message", "said_by"),
        sorted(rows),
        "on conflict (identifier_id, at, message) do nothing",
    )


def _write_consents(tx: sa.Connection, batch: Iterable[Message], ids: Ids) -> None:
    """The last ``context.consent.categoryPreferences`` of each identifier, per category, by event time."""
    last: dict[tuple[int, str], tuple[Milliseconds, str, bool]] = {}
    for message in batch:
        consent = message.context.get("consent")
        preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
        if message.email is not None or not isinstance(preferences, dict):
            continue
        for category, granted in preferences.items():
            for identifier in message.own if isinstance(granted, bool) else ():
                key, value = (ids[identifier], str(category)[:200]), (message.at, message.key, granted)
                last[key] = max(last.get(key, value), value)
    bulk.insert_rows(
        tx,
        consents,
        ("identifier_id", "category", "granted", "at", "message"),
        [(*key, granted, at, message) for key, (at, message, granted) in sorted(last.items())],
        UPSERT_CONSENT,
    )


def _write_choices(tx: sa.Connection, batch: Iterable[Message], ids: Ids) -> None:
    found: dict[tuple[int, str, int], tuple[Moment, bool, bool]] = {}
    for message in batch:
        for category, granted in message.choices:
            for identifier in message.own:
                key = (ids[identifier], category, message.at // MINUTE)
                moment = (message.at, message.key)
                before = found.get(key)
                if before is None:
                    found[key] = (moment, granted, not granted)
                else:
                    last = max(before[:2], (moment, granted))
                    found[key] = (*last, before[2] or not granted)
    bulk.insert_rows(
        tx,
        choices,
        ("identifier_id", "category", "minute", "denied", "granted", "at", "message"),
        [(*key, denied, granted, *moment) for key, (moment, granted, denied) in sorted(found.items())],
        UPSERT_CHOICE,
    )


def _write_traits(tx: sa.Connection, batch: Iterable[Message], ids: Ids) -> None:
    found: dict[tuple[int, str, int], tuple[Moment, str, str]] = {}
    for message in batch:
        if message.trait_owner is None:
            continue
        owner, minute, moment = ids[message.trait_owner], message.at // MINUTE, (message.at, message.key)
        switched = _switched(message.integrations)
        for name, value in _traits(message.traits):
            key, told = (owner, name, minute), (moment, value, switched)
            found[key] = max(found.get(key, told), told)
    bulk.insert_rows(
        tx,
        traits,
        ("identifier_id", "name", "minute", "at", "message", "value", "integrations"),
        [(*key, *moment, value, switched or None) for key, (moment, value, switched) in sorted(found.items())],
        UPSERT_TRAIT,
    )


def _traits(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and JSON values; what is too long to be a trait is left out."""
    found = []
    for name in sorted(told)[:MAX_TRAITS]:
        value = orjson.dumps(told[name])
        if len(value) <= MAX_TRAIT and len(name) <= 200:
            found.append((name, value.decode()))
    return found


def _switched(integrations: Mapping[str, Any]) -> str:
    """What a call says about who may have it, as JSON; empty if it keeps it from nobody. If it says very much: nobody.

    Source: https://segment.com/docs/guides/filtering-data/#filtering-with-the-integrations-object
    """
    said = {name: value for name, value in integrations.items() if isinstance(value, bool)}
    if all(said.values()):
        return ""
    told = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return told.decode() if len(told) <= MAX_TRAIT else '{"All":false}'


def _write_landings(tx: sa.Connection, batch: Iterable[Message], ids: Ids, keys: Keys) -> None:
    found: set[tuple[str, int, Milliseconds, int]] = set()
    clicks: set[tuple[int, Milliseconds]] = set()
    for message in batch:
        for token, profile, browser in message.landings:
            found.add((keys.token(token), ids[browser], message.at, ids[profile]))
        if message.email and message.email.vendor_profile and message.properties.get("machine_click"):
            clicks.add((ids[message.email.vendor_profile], message.at))
    bulk.insert_rows(
        tx,
        landings,
        ("token", "browser_id", "at", "profile_id"),
        sorted(found),
        "on conflict (token, browser_id, at) do nothing",
    )
    bulk.insert_rows(
        tx, machine_clicks, ("identifier_id", "at"), sorted(clicks), "on conflict (identifier_id, at) do nothing"
    )
