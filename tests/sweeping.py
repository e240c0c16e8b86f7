"""What scenes with scanners share: a sweep, rules that see it otherwise, and what came of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from connector.house import House
from connector.messages import Received
from connector.resources import shipped_mappings
from connector.tables import metadata
from tests import streams
from tests.scenes import JANE, Scene
from tests.streams import clicked, page

A, B, C, D = (f"https://shop.test/{name}" for name in "abcd")
SAID = "one of 3 or more different links of this mail clicked within 1 s: flagged as a scanner's"
LATE = SAID.replace("flagged as a scanner's", "a scanner's, which was not known yet when it was first sent")
SHIPPED = (shipped_mappings() / "identity.toml").read_text()


def ruled(**settings: object) -> House:
    """The shipped rules with other settings for sweeps."""
    text = SHIPPED
    for name, value in settings.items():
        shipped = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(shipped, f"{name} = {value}")
    return streams.house((), (), (("identity.toml", text),))


def swept(scene: Scene) -> set[str]:
    with scene.store.reading() as tx:
        return set(streams.swept(tx))


def keys(*received: Received) -> set[str]:
    return {f"{one.source}/{one.message_id}" for one in received}


def bodies(scene: Scene) -> dict[str, tuple[str, dict[str, Any]]]:
    """(status, properties) of what leaves, by the message it answers."""
    return {
        body["context"]["connector"]["messageId"]: (status, body["properties"])
        for status, body in scene.deliveries()
        if body is not None and body["type"] == "track"
    }


def flags(scene: Scene, *received: Received) -> list[tuple[str, object]]:
    """(status, machine_click) of what answers these."""
    told = bodies(scene)
    return [(told[one.message_id][0], told[one.message_id][1].get("machine_click")) for one in received]


def notes(scene: Scene, one: Received) -> list[str]:
    found: list[str] = scene.message(one)["message"]["notes"]
    return found


def sweep(seconds: float = 0, person: str | None = JANE, profile: str | None = "P", **more: Any) -> list[Received]:
    """Three links of one mail within 0.8 seconds."""
    return [clicked(seconds + 0.4 * n, link, person, profile, **more) for n, link in enumerate((A, B, C))]


def empty(tx: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        tx.execute(sa.delete(table))


def landing(minutes: float, anonymous: str) -> Received:
    return page(minutes, anonymous, context={"page": {"url": "https://shop.test/?kl_pid=P"}})
