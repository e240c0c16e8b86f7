"""Calls for Klaviyo in the outbox, and a deliverer that hands them to the stand-in, for tests of sending."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from connector import config
from connector.deliver import Deliverer, Limits
from connector.demo.klaviyo_standin import KEY
from connector.destinations.klaviyo import Klaviyo
from connector.exchange import Timeouts
from connector.gate import Gate
from connector.klaviyo.wire import LIMITS
from connector.messages import HOUR, iso
from connector.queue import Delivery
from connector.store import Store
from connector.tables import outbox
from tests.outbox_rows import NOW, put

QUICK = Limits(
    first_wait_seconds=0.001,
    longest_wait_seconds=1.0,
    idle_seconds=0.01,
    timeouts=Timeouts(connect_seconds=1.0, read_seconds=0.5, rest_seconds=0.5),
)
ONE_TRY = replace(QUICK, tries=1)
FAST = dict.fromkeys(LIMITS, ((100000, 1.0),))
ADA = {"email": "ada@example.com", "external_id": "u_ada"}

Make = Callable[..., Deliverer]


def profile(**attributes: Any) -> dict[str, Any]:
    return {"call": "profile", "data": {"type": "profile", "attributes": attributes}}


def event(unique_id: str = "m", who: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    attributes = {
        "metric": {"data": {"type": "metric", "attributes": {"name": "Viewed"}}},
        "profile": {"data": {"type": "profile", "attributes": ADA if who is None else who}},
        "properties": {"sku": "D4"},
        "time": iso(NOW - HOUR),
        "unique_id": unique_id,
        **more,
    }
    return {"call": "event", "data": {"type": "event", "attributes": attributes}}


def deletion(profile_id: str | None = None, **attributes: Any) -> dict[str, Any]:
    named = {"type": "profile", **({"id": profile_id} if profile_id else {}), "attributes": attributes}
    return {
        "call": "deletion",
        "data": {"type": "data-privacy-deletion-job", "attributes": {"profile": {"data": named}}},
    }


def queued(store: Store, name: str, body: dict[str, Any], **columns: Any) -> int:
    """One pending row for Klaviyo; its id."""
    return put(store, name, body, destination="klaviyo", **columns)


def queued_all(store: Store, bodies: Mapping[str, dict[str, Any]]) -> None:
    """Many pending rows, by their outgoing ids."""
    row = {"inbox_id": 1, "destination": "klaviyo", "status": "pending", "at": NOW - HOUR, "due_at": NOW}
    rows = [
        {**row, "created_at": NOW, "pending_at": NOW, "message_id": name, "body": orjson.dumps(body).decode()}
        for name, body in bodies.items()
    ]
    with store.writing() as tx:
        tx.execute(sa.insert(outbox), rows)


def delivery(number: int, body: dict[str, Any], subject_id: int | None = None) -> Delivery:
    return Delivery(number, 1, f"m{number}", orjson.dumps(body).decode(), 0, NOW, None, subject_id)


def configuration(url: str, key: str = KEY) -> config.Config:
    """Klaviyo is written to."""
    variables = {"CONNECTOR_SECRET": "x" * 32, "KLAVIYO_API_URL": url, "KLAVIYO_API_KEY": key}
    settings = config.read(variables, env_file=Path("/nonexistent"))
    return replace(settings, destinations=("segment", "klaviyo"))


@contextmanager
def deliverers(store: Store, url: str) -> Iterator[Make]:
    """Makes deliverers, without limits unless a gate is given, and closes their connections at the end."""
    made: list[Deliverer] = []

    def maker(limits: Limits = ONE_TRY, *, gate: Gate | None = None, key: str = KEY, merge: bool = False) -> Deliverer:
        destination = Klaviyo("merge" if merge else "drop")
        gate = gate or Gate(FAST)
        settings = configuration(url, key)
        made.append(Deliverer(store, settings, destination, limits=limits, gate=gate, rng=random.Random(1)))
        return made[-1]

    yield maker
    for one in made:
        one.close()
