"""Random small worlds of a site whose calls go to Klaviyo: in any order, in any batches, whatever is repeated.

Two things must hold of all that would ever leave. It names only what one call of the site named together, never a
browser, never nobody; and it is complete: whatever has somebody to be sent to in the end was sent, and once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from connector import inbox, migrate, mirror, pipeline, whose
from connector.graph import Graph
from connector.house import House
from connector.messages import Received, parse_time
from connector.store import Store, open_store
from connector.tables import identifiers, outbox
from tests import klaviyo_rows
from tests.klaviyo_rows import names
from tests.told import NOW, call
from tests.worlds import undone

BROWSERS = ("B1", "B2", "B3")
USERS = ("u1", "u2", "u3")
EMAILS = ("a@x.test", "b@x.test", "c@x.test")
PHONES = ("+15005550006", "+15005550007")

Said = dict[str, Any]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One SQLite store for all worlds of this module; each is rolled back."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('worlds') / 'connector.db'}")
    migrate.upgrade(store)
    yield store
    store.dispose()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("mappings")
    (folder / "destinations").mkdir()
    (folder / "destinations" / "klaviyo.toml").write_text("[backfill]\nenabled = true\n")
    return klaviyo_rows.house(str(folder))


def maybe(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(values)


@st.composite
def calls(draw: st.DrawFn) -> list[Said]:
    """What a site says, in no order: who is who, and what they do."""
    said = []
    for number in range(draw(st.integers(2, 12))):
        identifies = draw(st.booleans())
        minute = draw(st.integers(0, 30))
        browser = draw(maybe(BROWSERS))
        user = draw(maybe(USERS)) if browser else draw(st.sampled_from(USERS))
        traits = (
            {"email": draw(maybe(EMAILS)), "phone": draw(maybe(PHONES))} if identifies or draw(st.booleans()) else {}
        )
        said.append(
            {
                "id": f"m{number}",
                "type": "identify" if identifies else "track",
                "at": f"2026-09-01T10:{minute:02}:{number:02}Z",
                "anonymousId": browser,
                "userId": user,
                "traits": {name: value for name, value in traits.items() if value},
            }
        )
    return said


def element(said: Said) -> Received:
    ids = {name: said[name] for name in ("anonymousId", "userId") if said[name]}
    if said["type"] == "identify":
        return call(said["id"], said["at"], type="identify", traits=said["traits"], **ids)
    return call(said["id"], said["at"], type="track", event="Played", context={"traits": said["traits"]}, **ids)


def play(tx: sa.Connection, house: House, order: list[Said], size: int) -> None:
    for start in range(0, len(order), size):
        inbox.store(tx, [element(one) for one in order[start : start + size]])
        pipeline.process(tx, inbox.take(tx, 1_000), house, NOW)


def sent(tx: sa.Connection) -> dict[str, dict[str, str]]:
    """By unique_id, the names under which each event leaves."""
    bodies = tx.scalars(sa.select(outbox.c.body).where(outbox.c.destination == "klaviyo", outbox.c.status == "pending"))
    events = [body for body in map(orjson.loads, bodies) if body["call"] == "event"]
    found = {body["data"]["attributes"]["unique_id"]: names(body) for body in events}
    assert len(found) == len(events), "no event is sent twice"
    return found


def placed(tx: sa.Connection, house: House, order: list[Said]) -> set[str]:
    """The events that have somebody to be sent to, by everything that is known in the end."""
    rows = tx.execute(sa.select(identifiers.c.id, identifiers.c.value))
    numbers = {row.value: row.id for row in rows}
    graph = Graph(tx, house.rules)
    found = set()
    for one in order:
        if one["type"] == "track":
            at = _time(one["at"])
            named = [one["userId"], one["traits"].get("email"), one["traits"].get("phone")]
            visit = whose.Visit(
                at, tuple(numbers[name] for name in named if name), numbers.get(one["anonymousId"] or "")
            )
            if mirror.who(whose.find([visit], graph)[0], graph) is not None:
                found.add(one["id"])
    return found


def _time(text: str) -> int:
    at = parse_time(text)
    assert at is not None
    return at


def check_names(order: list[Said], named: Mapping[str, str]) -> None:
    together = [{one["userId"], *one["traits"].values()} for one in order]
    assert set(named) <= {"email", "phone_number", "external_id"}
    assert named.get("email") or named.get("phone_number"), "nobody without an address"
    assert named.get("external_id") in (*USERS, None)
    if "external_id" in named:
        address = named.get("email") or named["phone_number"]
        assert any({named["external_id"], address} <= one for one in together), "one call of the site named both"


@given(said=calls(), data=st.data())
def test_whatever_the_order_names_were_named_together_and_nothing_placeable_is_lost(
    scratch: Store, house: House, said: list[Said], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(said)) + data.draw(st.lists(st.sampled_from(said), max_size=3))
    size = data.draw(st.integers(1, len(order)))
    with undone(scratch) as tx:
        play(tx, house, order, size)
        events = sent(tx)
        for named in events.values():
            check_names(said, named)
        assert placed(tx, house, said) <= set(events)
        bodies = json.dumps(list(tx.scalars(sa.select(outbox.c.body).where(outbox.c.status == "pending"))))
        assert not any(browser in bodies for browser in BROWSERS), "no browser's id leaves"
