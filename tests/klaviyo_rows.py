"""What waits for Klaviyo, and what is about to leave for it, read back for tests."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa

from connector import backfill, inbox, pipeline
from connector.house import House
from connector.messages import Milliseconds, Received
from connector.store import Store
from connector.tables import outbox
from tests import told

SETTINGS = {"DESTINATIONS": "segment,klaviyo", "KLAVIYO_API_KEY": "pk_test"}


def house(mappings: str = "", **more: str) -> House:
    """A house that writes to Klaviyo. Args: mappings is a folder that overrides some of the shipped ones."""
    return told.house(**SETTINGS, **({"MAPPINGS": mappings} if mappings else {}), **more)


def bodies(store: Store, status: str = "pending") -> list[dict[str, Any]]:
    """The bodies for Klaviyo in this state, in the order in which they were made."""
    with store.reading() as tx:
        query = sa.select(outbox.c.body).where(outbox.c.destination == "klaviyo", outbox.c.status == status)
        return [orjson.loads(body) if body else {} for body in tx.scalars(query.order_by(outbox.c.id))]


def profiles(store: Store) -> list[dict[str, Any]]:
    """The attributes of the profile calls that are about to leave."""
    return [body["data"]["attributes"] for body in bodies(store) if body["call"] == "profile"]


def events(store: Store) -> list[tuple[str, dict[str, str]]]:
    """(metric, identifiers) of the events that are about to leave."""
    return [(metric(body), names(body)) for body in bodies(store) if body["call"] == "event"]


def metric(body: dict[str, Any]) -> str:
    name: str = body["data"]["attributes"]["metric"]["data"]["attributes"]["name"]
    return name


def names(body: dict[str, Any]) -> dict[str, str]:
    named: dict[str, str] = body["data"]["attributes"]["profile"]["data"]["attributes"]
    return named


def states(store: Store) -> list[tuple[str, str]]:
    """(outgoing id, state) of everything for Klaviyo."""
    with store.reading() as tx:
        query = sa.select(outbox.c.message_id, outbox.c.status).where(outbox.c.destination == "klaviyo")
        return [(row.message_id, row.status) for row in tx.execute(query.order_by(outbox.c.message_id))]


def arrive(store: Store, house: House, *received: Received, now: Milliseconds = told.NOW) -> None:
    """These arrive one by one."""
    for one in received:
        with store.writing() as tx:
            inbox.store(tx, [one])
            pipeline.process(tx, inbox.take(tx, 10), house, now)


def expire(store: Store, house: House, now: Milliseconds) -> int:
    with store.writing() as tx:
        return backfill.expire(tx, house, now)
