from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from connector import queue, retry
from connector.destinations.segment import TERMS
from connector.messages import DAY, HOUR, MINUTE, SECOND
from connector.queue import Delivery
from connector.store import Store
from connector.tables import outbox
from tests.outbox_rows import NOW, counted, put, rows, told

LEASE = 5 * MINUTE


def claim(store: Store, claimer: str = "one", *, limit: int = 100, now: int = NOW) -> list[Delivery]:
    with store.writing() as tx:
        return queue.claim(tx, "segment", limit=limit, now=now, claimer=claimer, for_ms=LEASE)


def settle(store: Store, *settlements: queue.Settlement, claimer: str = "one", now: int = NOW) -> dict[queue.Fate, int]:
    with store.writing() as tx:
        return queue.settle(tx, "segment", settlements, claimer=claimer, now=now)


def test_a_claim_takes_what_is_due_in_the_order_of_due_time_event_time_and_making(store: Store) -> None:
    late = put(store, "late", due_at=NOW, at=5)
    second = put(store, "second", due_at=NOW - 2, at=9)
    first = put(store, "first", due_at=NOW - 2, at=8)
    twin = put(store, "twin", due_at=NOW, at=5)
    put(store, "not yet", due_at=NOW + 1)
    put(store, "held", status="held", due_at=NOW - 5, body=None)
    put(store, "elsewhere", destination="klaviyo")

    assert [one.id for one in claim(store)] == [first, second, late, twin]
    assert claim(store, "two") == []


def test_a_claimed_delivery_says_what_it_was_before_the_claim(store: Store) -> None:
    put(store, "new", body={"a": 1})
    put(store, "again", body={"b": 2}, attempts=3, pending_at=NOW - DAY, maybe_sent_at=NOW - HOUR, inbox_id=7, at=NOW)

    assert claim(store) == [
        Delivery(1, 1, "new", '{"a":1}', 0, NOW, None),
        Delivery(2, 7, "again", '{"b":2}', 3, NOW - DAY, NOW - HOUR),
    ]
    assert rows(store, "claimed_by", "claimed_until", "maybe_sent_at") == [
        ("one", NOW + LEASE, NOW),
        ("one", NOW + LEASE, NOW - HOUR),
    ]


def test_due_sees_exactly_what_a_claim_would_take(store: Store) -> None:
    put(store, due_at=NOW + 1)
    with store.reading() as tx:
        assert not queue.due(tx, "segment", now=NOW)
        assert queue.due(tx, "segment", now=NOW + 1)
        assert not queue.due(tx, "klaviyo", now=NOW + 1)
    claim(store, now=NOW + 1)
    with store.reading() as tx:
        assert not queue.due(tx, "segment", now=NOW + LEASE)
        assert queue.due(tx, "segment", now=NOW + 1 + LEASE)


def test_an_expired_claim_passes_to_the_next_and_is_told_as_an_unseen_answer(store: Store) -> None:
    put(store)
    claim(store, "killed")
    assert claim(store, "heir", now=NOW + LEASE - 1) == []

    (inherited,) = claim(store, "heir", now=NOW + LEASE)

    assert inherited.maybe_sent_at == NOW
    assert told(store) == [("unknown", queue.LOST)]
    assert rows(store, "attempts", "maybe_sent_at", "claimed_by") == [(1, NOW, "heir")]


def test_delivered_rows_are_closed_counted_and_told(store: Store) -> None:
    put(store, "a")
    put(store, "b")
    fates = settle(store, queue.delivered(claim(store), "HTTP 200"), now=NOW + SECOND)

    assert fates == {"delivered": 2, "postponed": 0, "dead": 0, "handed back": 0}
    assert rows(store, "status", "attempts", "claimed_by", "claimed_until") == [("delivered", 1, None, None)] * 2
    assert told(store) == [("delivered", "HTTP 200")] * 2
    assert counted(store) == {"outbox.segment.delivered": 2, "outbox.segment.pending": -2}


@pytest.mark.parametrize(
    ("answer", "before", "after"),
    [
        pytest.param("refused", None, None, id="a sure refusal takes the mark of its own claim back"),
        pytest.param("refused", NOW - HOUR, NOW - HOUR, id="but not the mark of an earlier attempt"),
        pytest.param("unknown", None, NOW, id="an unknown answer leaves it"),
        pytest.param("unknown", NOW - HOUR, NOW - HOUR, id="and the first of several counts"),
    ],
)
def test_the_maybe_sent_mark(store: Store, answer: queue.Answer, before: int | None, after: int | None) -> None:
    put(store, maybe_sent_at=before)
    settle(store, queue.postponed(claim(store), answer, "HTTP 503", NOW + MINUTE))

    assert rows(store, "status", "maybe_sent_at", "due_at", "attempts", "claimed_by") == [
        ("pending", after, NOW + MINUTE, 1, None)
    ]
    assert told(store) == [(answer, "HTTP 503")]
    assert counted(store) == {}


def test_handing_back_leaves_no_trace(store: Store) -> None:
    put(store, "a")
    put(store, "b", maybe_sent_at=NOW - HOUR, attempts=2)
    everything = [column.name for column in outbox.c]
    before = rows(store, *everything)

    settle(store, queue.handed_back(claim(store)))

    assert rows(store, *everything) == before
    assert told(store) == []
    assert counted(store) == {}


def test_who_lost_the_claim_can_only_report_an_arrival(store: Store) -> None:
    put(store)
    slow = claim(store, "slow")
    claim(store, "heir", now=NOW + LEASE)

    nothing = settle(store, queue.postponed(slow, "refused", "HTTP 503", NOW), claimer="slow", now=NOW + LEASE)
    assert nothing["postponed"] == 0
    assert settle(store, queue.dead(slow, "refused", "HTTP 400"), claimer="slow", now=NOW + LEASE)["dead"] == 0
    assert settle(store, queue.handed_back(slow), claimer="slow", now=NOW + LEASE)["handed back"] == 0
    assert rows(store, "status", "claimed_by") == [("pending", "heir")]

    assert settle(store, queue.delivered(slow, "HTTP 200"), claimer="slow", now=NOW + LEASE)["delivered"] == 1
    assert settle(store, queue.delivered(slow, "HTTP 200"), claimer="heir", now=NOW + LEASE)["delivered"] == 0
    assert counted(store) == {"outbox.segment.delivered": 1, "outbox.segment.pending": -1}


def test_dead_letters_can_be_retried_any_number_of_times(store: Store) -> None:
    first, second = put(store, "a"), put(store, "b")
    settle(store, queue.dead(claim(store), "unknown", "may have arrived"))
    assert counted(store) == {"outbox.segment.dead": 2, "outbox.segment.pending": -2}

    for time in range(1, 4):
        with store.writing() as tx:
            assert queue.retry(tx, [first], now=NOW + time) == 1
            assert queue.retry(tx, [first], now=NOW + time) == 0
        assert rows(store, "status", "due_at", "pending_at", "attempts", "maybe_sent_at") == [
            ("pending", NOW + time, NOW + time, 0, None),
            ("dead", NOW, NOW, 1, NOW),
        ]
        assert counted(store) == {"outbox.segment.dead": 1, "outbox.segment.pending": -1}
        settle(store, queue.dead(claim(store, now=NOW + time), "refused", "HTTP 400"))
    assert told(store, first) == [
        ("unknown", "may have arrived"),
        *[("retry", "by an operator"), ("refused", "HTTP 400")] * 3,
    ]
    assert told(store, second) == [("unknown", "may have arrived")]


def test_retrying_all_leaves_erased_letters_and_the_living_alone(store: Store) -> None:
    put(store, "a", status="dead")
    put(store, "b", status="dead", destination="klaviyo")
    erased = put(store, "erased", status="dead")
    put(store, "sent", status="delivered")
    with store.writing() as tx:
        tx.execute(sa.update(outbox).where(outbox.c.id == erased).values(body=""))
        assert queue.retry(tx, None, now=NOW, detail="after the outage") == 2

    assert rows(store, "message_id", "status") == [
        ("a", "pending"),
        ("b", "pending"),
        ("erased", "dead"),
        ("sent", "delivered"),
    ]
    assert told(store) == [("retry", "after the outage")] * 2
    assert counted(store) == {
        "outbox.klaviyo.dead": -1,
        "outbox.klaviyo.pending": 1,
        "outbox.segment.dead": -1,
        "outbox.segment.pending": 1,
    }


def test_release_stale_frees_the_claims_of_a_dead_process_but_keeps_what_may_have_been_sent(store: Store) -> None:
    put(store, "claimed")
    claim(store, "killed")
    put(store, "free")
    with store.writing() as tx:
        assert queue.release_stale(tx, now=NOW + SECOND) == 1
        assert queue.release_stale(tx, now=NOW + SECOND) == 0

    assert [(one.message_id, one.maybe_sent_at) for one in claim(store, now=NOW + SECOND)] == [
        ("claimed", NOW),
        ("free", None),
    ]
    assert told(store) == [("unknown", queue.LOST)]


def test_many_workers_take_every_delivery_exactly_once(store: Store) -> None:
    for number in range(60):
        put(store, f"m{number}")
    taken: list[int] = []

    def work(name: str) -> None:
        while mine := claim(store, name, limit=7):
            taken.extend(one.id for one in mine)

    workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(taken) == list(range(1, 61))


def test_a_claim_in_progress_is_passed_over_not_waited_for(postgres_store: Store) -> None:
    put(postgres_store, "a")
    put(postgres_store, "b")
    with postgres_store.writing() as slow:
        queue.claim(slow, "segment", limit=1, now=NOW, claimer="slow", for_ms=LEASE)
        with postgres_store.writing() as quick:
            quick.exec_driver_sql("set local lock_timeout = '1s'")
            taken = queue.claim(quick, "segment", limit=2, now=NOW, claimer="quick", for_ms=LEASE)
    assert [one.message_id for one in taken] == ["b"]


def test_sqlite_finds_due_deliveries_in_the_index_and_already_sorted(sqlite_store: Store) -> None:
    with watched(sqlite_store) as statements:
        claim(sqlite_store)
    query = next(text for text in statements if text.startswith("SELECT"))
    with sqlite_store.reading() as tx:
        values = ("segment", NOW, NOW, 100, 0)[: query.count("?")]
        plan = [row[3] for row in tx.exec_driver_sql(f"explain query plan {query}", values)]
    assert plan == [
        "SEARCH outbox USING INDEX outbox_due (destination=? AND due_at<?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH older USING INDEX outbox_subject (subject_id=? AND id<?)",
    ]


def test_a_batch_of_a_hundred_costs_as_many_statements_as_one(store: Store) -> None:
    put(store, "alone")
    with watched(store) as one:
        settle(store, queue.delivered(claim(store), "HTTP 200"))
    for number in range(100):
        put(store, f"m{number}")
    with watched(store) as hundred:
        settle(store, queue.delivered(claim(store), "HTTP 200"))

    assert len(hundred) == len(one) <= 11  # two transactions of SQLite, their begin and commit included
    assert rows(store, "status") == [("delivered",)] * 101


def test_a_hundred_requests_that_end_alike_are_settled_like_one(store: Store) -> None:
    for number in range(101):
        put(store, f"m{number}")
    first, *rest = claim(store, limit=101)
    with watched(store) as one:
        settle(store, queue.handed_back([first], NOW + DAY))
    with watched(store) as hundred:
        settle(store, *(queue.handed_back([each], NOW + DAY) for each in rest))
    assert len(hundred) == len(one)
    assert rows(store, "due_at", "claimed_by") == [(NOW + DAY, None)] * 101


@contextmanager
def watched(store: Store) -> Iterator[list[str]]:
    """The statements that reach the driver meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(store.engine, "before_cursor_execute", note)


# When to try again


@pytest.mark.parametrize(
    ("attempts", "ceiling"),
    [(1, 30), (2, 60), (3, 120), (10, 15_360), (11, 6 * 3600), (12, 6 * 3600), (10_000, 6 * 3600)],
)
def test_waits_double_from_half_a_minute_to_six_hours(attempts: int, ceiling: int) -> None:
    assert retry.longest_wait_seconds(attempts) == ceiling


def again(**given: Any) -> int | None:
    """Milliseconds from now until the next attempt."""
    facts: dict[str, Any] = {"attempts": 1, "pending_at": NOW, "maybe_sent_at": None, "now": NOW, "jitter": 0.5}
    facts["terms"] = TERMS
    due_at = retry.next_attempt(**{**facts, **given})
    return None if due_at is None else due_at - facts["now"]


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        pytest.param({}, 15 * SECOND, id="half of thirty seconds"),
        pytest.param({"jitter": 0.0}, 1, id="full jitter may mean at once, but never the same moment"),
        pytest.param({"retry_after_seconds": 20}, 20 * SECOND, id="the destination asks for longer"),
        pytest.param({"retry_after_seconds": 5}, 15 * SECOND, id="or for less than we wait anyway"),
        pytest.param({"retry_after_seconds": 86_400}, 300 * SECOND, id="absurd wishes are capped"),
        pytest.param({"attempts": 40, "pending_at": NOW - 6 * DAY}, 3 * HOUR, id="half of six hours"),
        pytest.param(
            {"attempts": 40, "pending_at": NOW - 7 * DAY + HOUR},
            HOUR - MINUTE,
            id="the last try is cut to fit in 7 days",
        ),
        pytest.param({"attempts": 40, "pending_at": NOW - 7 * DAY}, None, id="after seven days it is dead"),
        pytest.param({"attempts": 1, "pending_at": NOW - 30 * DAY}, 15 * SECOND, id="unless it was hardly tried"),
        pytest.param(
            {"attempts": 40, "maybe_sent_at": NOW - 19 * HOUR},
            HOUR - MINUTE,
            id="the last try is cut to fit in 20 hours",
        ),
        pytest.param({"maybe_sent_at": NOW - 20 * HOUR}, None, id="an unknown one is dead after 20 hours"),
    ],
)
def test_when_to_try_again(given: dict[str, Any], wait: int | None) -> None:
    assert again(**given) == wait


@given(
    attempts=st.integers(1, 1000),
    age=st.integers(0, 8 * DAY),
    unknown_for=st.none() | st.integers(0, 8 * DAY),
    jitter=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 1e6),
)
def test_a_next_attempt_is_always_ahead_and_never_beyond_what_is_promised(
    attempts: int, age: int, unknown_for: int | None, jitter: float, asked: float | None
) -> None:
    maybe_sent_at = None if unknown_for is None else NOW - unknown_for
    due_at = retry.next_attempt(
        attempts=attempts,
        pending_at=NOW - age,
        maybe_sent_at=maybe_sent_at,
        now=NOW,
        jitter=jitter,
        terms=TERMS,
        retry_after_seconds=asked,
    )
    if due_at is None:
        assert age > 7 * DAY - 2 * MINUTE or (unknown_for is not None and unknown_for > 20 * HOUR - 2 * MINUTE)
    else:
        assert NOW < due_at <= NOW + 6 * HOUR
        assert not retry.too_late_to_repeat(maybe_sent_at, due_at, TERMS)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "86400"}, 300.0),
        ({"retry-after": "Fri, 21 Nov 2025 21:20:45 GMT"}, 45.0),
        ({"retry-after": "Fri, 21 Nov 2025 21:20:45 -0000"}, 45.0),
        ({"retry-after": "Fri, 21 Nov 2025 21:19:00 GMT"}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 21:20:00 GMT"}, 300.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"x-ratelimit-reset": "12"}, 12.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "12"}, 12.0),
    ],
)
def test_how_long_the_destination_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry.retry_after(headers, NOW) == seconds
