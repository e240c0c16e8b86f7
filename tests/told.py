"""Feeds messages through the inbox and the stages, as the doors and the worker do, and reads answers back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connector import bootstrap, config, held, inbox, pipeline
from connector.house import House
from connector.messages import Milliseconds, Received, parse_time
from connector.store import Store

NOW: Milliseconds = parse_time("2026-09-10T00:00:00Z") or 0
SETTINGS = {
    "CONNECTOR_SECRET": "a secret of the tests, long enough",
    "SEGMENT_SHARED_SECRETS": "shared",
    "SEGMENT_WRITE_KEY": "key",
    "INSPECTOR_TOKENS": "the-token, an-older-token",
}


def configured(database_url: str = "sqlite:///unused.db", **more: str) -> config.Config:
    """A configuration that reads neither this machine's environment nor its ``.env``."""
    return config.read({**SETTINGS, "DATABASE_URL": database_url, **more}, Path("there-is-none.env"))


def house(**more: str) -> House:
    return bootstrap.open_house(configured(**more))


def call(message_id: str, at: str, *, source: str = "segment", authenticated: bool = True, **parts: Any) -> Received:
    """A Segment call as its webhook delivers it. Args: at is the time of day of 2026-09-01, or a whole timestamp."""
    timestamp = at if "T" in at else f"2026-09-01T{at}Z"
    body = json.dumps({"messageId": message_id, "timestamp": timestamp, **parts})
    return Received(source, message_id, body, NOW, authenticated)


def identify(message_id: str, at: str, anonymous_id: str | None = None, **parts: Any) -> Received:
    """An identify call. Args: user_id, email and phone as they are."""
    ids = {"anonymousId": anonymous_id, "userId": parts.pop("user_id", None)}
    return call(
        message_id,
        at,
        type="identify",
        traits=parts,
        **{name: value for name, value in ids.items() if value is not None},
    )


def opened(message_id: str, at: str, email: str, **parts: Any) -> Received:
    """An Email Opened as Segment's Klaviyo source sends it: the address in anonymousId."""
    given = {"event": "Email Opened", "anonymousId": email, "context": {"integration": {"name": "Klaviyo"}}}
    return call(message_id, at, type="track", **{**given, **parts})


def page(message_id: str, at: str, anonymous_id: str) -> Received:
    return call(message_id, at, type="page", anonymousId=anonymous_id)


def feed(store: Store, house: House, received: Sequence[Received], now: Milliseconds = NOW) -> None:
    """Store and stitch these messages, one transaction each."""
    with store.writing() as tx:
        inbox.store(tx, received)
    stitch(store, house, now)


def stitch(store: Store, house: House, now: Milliseconds = NOW) -> None:
    with store.writing() as tx:
        pipeline.process(tx, inbox.take(tx, 10_000), house, now)


def expire(store: Store, house: House, now: Milliseconds) -> None:
    with store.writing() as tx:
        held.expire(tx, house, now)
