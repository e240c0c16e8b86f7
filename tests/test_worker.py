"""The loop around the stages: what it does with a message they cannot stand, and that its numbers stay exact."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from connector import counters, identity, inbox, lessons, operate, pipeline, worker
from connector.errors import StoreUnavailable
from connector.house import House
from connector.messages import Identifier, Message, Received
from connector.store import Store
from connector.tables import messages
from tests import streams
from tests.streams import NOW, identify, left, page
from tests.told import configured

POISON = "poison"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in a stage that one message brings out."""
    fold = lessons.fold

    def broken(batch: list[Message]) -> object:
        if any(message.message_id == POISON for message in batch):
            raise ZeroDivisionError("jane@x.test")
        return fold(batch)

    monkeypatch.setattr(identity, "fold", broken)


def stored(store: Store, *received: Received) -> None:
    with store.writing() as tx:
        inbox.store(tx, received)


def stitch_all(store: Store, house: House) -> None:
    while worker.stitch_once(store, house, NOW):
        pass


def outcomes(store: Store) -> dict[str, str]:
    with store.reading() as tx:
        return {row.message_id: row.outcome for row in tx.execute(sa.select(messages)) if row.source != "operator"}


@pytest.mark.usefixtures("defect")
def test_a_message_the_stages_cannot_stand_is_set_aside_and_no_other(store: Store, house: House) -> None:
    stored(store, *(page(n, f"B{n}", messageId=f"m{n}") for n in range(7)), page(8, "B8", messageId=POISON))
    stored(store, page(9, "B9", messageId="last"))
    stitch_all(store, house)
    found = outcomes(store)
    assert {name for name, outcome in found.items() if outcome == "quarantined"} == {POISON}
    assert len(found) == 9
    with store.reading() as tx:
        (reason,) = tx.scalars(sa.select(messages.c.reason).where(messages.c.message_id == POISON))
    assert reason == "a defect of the connector (ZeroDivisionError); please report it, then retry"


@pytest.mark.usefixtures("defect")
def test_the_numbers_stay_exact_through_retries_that_fail_again(store: Store, house: House) -> None:
    stored(store, page(0, "B", messageId=POISON))
    stitch_all(store, house)
    for _ in range(2):
        stored(store, operate.retry_quarantined(NOW))
        stitch_all(store, house)
    with store.reading() as tx:
        told = counters.read(tx)
    assert (told["processed"], told["quarantined"]) == (1, 1)


def test_a_message_that_another_worker_has_is_not_set_aside(postgres_store: Store, house: House) -> None:
    stored(postgres_store, page(0, "B", messageId="m1"), page(1, "B", messageId="m2"))
    with postgres_store.engine.begin() as mine:
        batch = inbox.take(mine, 1)
    with postgres_store.writing() as tx:
        pipeline.set_aside(tx, batch, ZeroDivisionError())
    assert outcomes(postgres_store) == {}
    assert worker.stitch_once(postgres_store, house, NOW) == 1


def test_a_stalled_worker_does_not_stop_the_others_for_ever(postgres_store: Store) -> None:
    with postgres_store.reading() as tx:
        settings = {name: tx.exec_driver_sql(f"show {name}").scalar() for name in ("lock_timeout", "jit")}
        idle = tx.exec_driver_sql("show idle_in_transaction_session_timeout").scalar()
    assert (settings, idle) == ({"lock_timeout": "30s", "jit": "off"}, "1min")
    with postgres_store.writing() as stalled:
        identity.take_lease(stalled)
        with pytest.raises(StoreUnavailable), postgres_store.writing() as waiting:
            waiting.exec_driver_sql("set local lock_timeout = '50ms'")
            identity.take_lease(waiting)


def test_mere_repetition_does_not_read_what_waits_for_news(store: Store, house: House) -> None:
    def event(message_id: str) -> Received:
        who = page(0, "jane@x.test", "known to the vendor only", event="Email Opened", messageId=message_id)
        return Received("segment", message_id, who.body.replace('"page"', '"track"'), NOW)

    stored(store, *(event(f"e{n}") for n in range(5)))
    stitch_all(store, house)
    seen: list[str] = []
    sa.event.listen(store.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    stored(store, event("again"))
    stitch_all(store, house)
    assert [statement for statement in seen if statement.startswith("select id, inbox_id, at from outbox")] == []
    assert outcomes(store)["again"] == "held"


def test_a_worker_derives_everything_again_by_a_changed_file_before_it_begins(
    store: Store, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    stored(store, identify(0, "B1", "U1", email="jane@x.test"))
    stitch_all(store, house)
    with caplog.at_level(logging.INFO, "connector"):
        for _ in range(2):
            running = worker.Worker(configured(), store, house.mappings)
            running.start()
            running.stop()
    assert [one.getMessage() for one in caplog.records] == [worker.ADOPTED], "the first derives, the second knows"
    changed = replace(house, mappings=replace(house.mappings, rules=replace(house.rules, fingerprint="another")))
    assert not worker.knows_rules(store, changed)
    assert worker.adopt_rules(store, changed)
    assert not worker.adopt_rules(store, changed)


def test_what_waited_for_a_hub_leaves_when_the_limit_is_raised(store: Store) -> None:
    limited, raised = (streams.house(lines=(("identity.toml", f"hub_limit = {limit}"),)) for limit in (1, 2))
    worker.adopt_rules(store, limited)
    shared = (identify(0, None, "u1", "test@x.test"), identify(1, None, "u2", "test@x.test"))
    event = streams.sourced(2, "test@x.test")
    streams.feed(store, *shared, event, house=limited)
    assert outcomes(store)[event.message_id] == "held"
    assert worker.adopt_rules(store, raised)
    assert outcomes(store)[event.message_id] == "stitched_late"
    assert left(store)[event.message_id]["userId"] == "u2"
    assert not worker.adopt_rules(store, raised)


def test_of_who_is_forgotten_nothing_is_left_in_the_files(sqlite_store: Store) -> None:
    """SQLite's log and its free pages keep what was deleted, unless they are told not to."""
    her = "gone.for.good@x.test"
    rules = streams.default()
    stored(sqlite_store, identify(0, "B1", "u1", her), streams.sourced(1, her))
    worker.stitch_once(sqlite_store, rules, NOW)
    stored(sqlite_store, operate.forget(NOW, Identifier("email", her), reason="she asked"))
    worker.stitch_once(sqlite_store, rules, NOW)
    file = Path(str(sqlite_store.engine.url.database))
    assert her.encode() not in b"".join(one.read_bytes() for one in file.parent.glob(f"{file.name}*"))
