"""From a pending row to Segment's answer, over real HTTP to the stand-in on loopback."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector import config, queue
from connector.deliver import Deliverer, Limits
from connector.demo import segment as standin
from connector.demo.segment import Fault, SegmentStandIn
from connector.destinations import segment
from connector.exchange import Timeouts
from connector.gate import FAILURES, REFUSED_ONES, Gate
from connector.messages import DAY, HOUR, MINUTE, SECOND, parse_time
from connector.queue import Delivery
from connector.store import Store, open_store
from tests.outbox_rows import NOW, counted, event, put, rows, told

QUICK = Limits(
    first_wait_seconds=0.001,
    longest_wait_seconds=1.0,
    idle_seconds=0.01,
    timeouts=Timeouts(connect_seconds=1.0, read_seconds=0.2, rest_seconds=0.2),
)
ONE_TRY = Limits(tries=1, timeouts=QUICK.timeouts)
FAST = {"": ((10_000, 1.0),)}
SPACED = {"": ((1, 0.02),)}


class Time:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Iterator[SegmentStandIn]:
    with SegmentStandIn() as running:
        yield running


def configuration(url: str, key: str = "write-key") -> config.Config:
    variables = {"CONNECTOR_SECRET": "x" * 32, "SEGMENT_API_URL": url, "SEGMENT_WRITE_KEY": key}
    return config.read(variables, env_file=Path("/nonexistent"))


Make = Callable[..., Deliverer]


@pytest.fixture
def make(store: Store, api: SegmentStandIn) -> Iterator[Make]:
    """Makes deliverers to the stand-in and closes their connections at the end."""
    made: list[Deliverer] = []

    def maker(
        limits: Limits = ONE_TRY, *, url: str = "", key: str = "write-key", gate: Gate | None = None
    ) -> Deliverer:
        settings = configuration(url or api.url, key)
        made.append(Deliverer(store, settings, segment, limits=limits, gate=gate or Gate(FAST), rng=random.Random(1)))
        return made[-1]

    yield maker
    for one in made:
        one.close()


# What leaves


def test_a_pending_delivery_leaves_as_it_was_frozen_with_a_fresh_sent_at(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    put(store, "cdp-1")
    assert make().deliver_once(NOW) == 1

    (asked,) = api.requests
    sent = orjson.loads(asked.body)
    assert (asked.method, asked.path) == ("POST", "/v1/batch")
    assert asked.headers["authorization"] == "Basic d3JpdGUta2V5Og=="
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"].startswith("connector-cdp/")
    assert "x-retry-count" not in asked.headers
    assert NOW <= (parse_time(sent["sentAt"]) or 0) < NOW + MINUTE
    assert sent == {"batch": [{**event("cdp-1"), "sentAt": sent["sentAt"]}], "sentAt": sent["sentAt"]}

    assert api.message_ids() == ["cdp-1"]
    assert rows(store, "status", "attempts", "claimed_by") == [("delivered", 1, None)]
    assert told(store) == [("delivered", "HTTP 200")]
    assert counted(store) == {"outbox.segment.delivered": 1, "outbox.segment.pending": -1}


def test_the_events_time_survives_hours_in_the_outbox(store: Store, make: Make) -> None:
    with SegmentStandIn(clock=lambda: NOW + 9 * HOUR) as later:
        put(store, due_at=NOW + 9 * HOUR)
        make(url=later.url).deliver_once(NOW + 9 * HOUR)
        (kept,) = later.accepted
    moved = (parse_time(kept["timestamp"]) or 0) - (NOW - HOUR)
    assert -MINUTE < moved <= 0  # as long as the request took, and not nine hours


def test_without_a_write_key_deliveries_wait(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store)
    assert make(key="").deliver_once(NOW) == 0
    assert rows(store, "status", "claimed_by", "attempts", "maybe_sent_at") == [("pending", None, 0, None)]
    assert api.requests == []


def test_a_hundred_go_in_one_request_and_the_rest_in_the_next_round(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    names = [f"m{number:03}" for number in range(130)]
    for name in names:
        put(store, name)
    deliverer = make()
    assert [deliverer.deliver_once(NOW), deliverer.deliver_once(NOW), deliverer.deliver_once(NOW)] == [100, 30, 0]
    assert [len(orjson.loads(asked.body)["batch"]) for asked in api.requests] == [100, 30]
    assert api.message_ids() == names


def test_large_events_are_cut_into_requests_segment_takes(store: Store, api: SegmentStandIn, make: Make) -> None:
    for number in range(40):
        put(store, f"m{number}", event(f"m{number}", properties={"filler": "ü" * 15_000}))
    assert make().deliver_once(NOW) == 40
    assert [len(orjson.loads(asked.body)["batch"]) for asked in api.requests] == [15, 15, 10]
    assert max(len(asked.body) for asked in api.requests) < 500_000
    assert len(api.accepted) == 40


def batch_of(*bodies: str) -> list[Delivery]:
    return [Delivery(number, 1, f"m{number}", body, 0, NOW, None) for number, body in enumerate(bodies)]


def test_batches_keep_the_order_and_stay_below_both_limits() -> None:
    small, large = '{"a":1}', '{"a":"' + "x" * 32_000 + '"}'
    cut = segment.batches(batch_of(*[small] * 250, *[large] * 20))
    assert [len(batch) for batch in cut] == [100, 100, 64, 6]
    assert [one.id for batch in cut for one in batch] == list(range(270))
    settings = configuration("https://api.segment.io/v1")
    assert all(len(segment.build_request(batch, settings, NOW).body) <= segment.MAX_BATCH_BYTES + 100 for batch in cut)
    assert segment.batches([]) == []


def test_a_request_does_not_print_its_key_or_its_events() -> None:
    request = segment.build_request(
        batch_of('{"email":"ada@example.com"}'), configuration("https://api.segment.io/v1"), NOW
    )
    assert repr(request) == "Request(url='https://api.segment.io/v1/batch')"


# What Segment would drop in silence


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"messageId": ""}, "messageId must be a string of 1 to 100 characters"),
        ({"messageId": "x" * 101}, "messageId must be a string of 1 to 100 characters"),
        ({"messageId": None}, "messageId must be a string of 1 to 100 characters"),
        ({"anonymousId": None}, "it has neither userId nor anonymousId"),
        ({"anonymousId": ""}, "anonymousId must be a non-empty string"),
        ({"userId": 7}, "userId must be a non-empty string"),
        ({"event": ""}, "event must be a non-empty string"),
        ({"event": 7}, "event must be a non-empty string"),
        ({"event": None}, "event must be a non-empty string"),
        ({"type": "delete"}, "type must be one of identify, track, page, screen, group, alias"),
        ({"type": None}, "type must be one of identify, track, page, screen, group, alias"),
        ({"type": "group"}, "groupId must be a non-empty string"),
        ({"type": "page", "name": ""}, "name must be a non-empty string"),
        ({"type": "screen", "category": 3}, "category must be a non-empty string"),
        ({"type": "alias", "userId": "u"}, "alias needs userId and previousId"),
        ({"properties": []}, "properties must be an object"),
        ({"properties": None}, "properties must be an object"),
        ({"traits": "x"}, "traits must be an object"),
        ({"context": []}, "context must be an object"),
        ({"integrations": True}, "integrations must be an object"),
        ({"properties": {"n": [{str(n): 0} for n in range(10_000)]}}, "it has more than 10,000 properties"),
        ({"timestamp": "yesterday"}, "timestamp must be a time in ISO 8601, not before 1970"),
        ({"timestamp": 1}, "timestamp must be a time in ISO 8601, not before 1970"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "timestamp must be a time in ISO 8601, not before 1970"),
        (
            {"context": {"consent": {"categoryPreferences": {}}}},
            "context.consent.categoryPreferences must be an object with at least one category",
        ),
        (
            {"context": {"consent": []}},
            "context.consent.categoryPreferences must be an object with at least one category",
        ),
        (
            {"context": {"consent": {"categoryPreferences": {"ads": "yes"}}}},
            "context.consent.categoryPreferences must say true or false for each category",
        ),
    ],
)
def test_a_silent_limit_is_seen_before_sending(change: dict[str, Any], problem: str) -> None:
    assert problem in segment.problems(orjson.dumps({**event(), **change}).decode())


@pytest.mark.parametrize(
    "fine",
    [
        event(),
        event(userId="u", anonymousId=None),
        event(messageId="x" * 100, timestamp="1970-01-01T00:00:00Z"),
        event(context={"consent": {"categoryPreferences": {"ads": False}}}),
        {"type": "identify", "messageId": "m", "userId": "u", "traits": {}},
        {"type": "alias", "messageId": "m", "userId": "u", "previousId": "p"},
        {"type": "group", "messageId": "m", "userId": "u", "groupId": "g"},
        {"type": "page", "messageId": "m", "anonymousId": "a"},
    ],
)
def test_what_segment_keeps_passes_the_check_and_the_stand_in_agrees(
    api: SegmentStandIn, store: Store, make: Make, fine: dict[str, Any]
) -> None:
    assert segment.problems(orjson.dumps(fine).decode()) == []
    put(store, "m", fine)
    make().deliver_once(NOW)
    assert [one["messageId"] for one in api.accepted] == [fine["messageId"]]


def test_the_size_limit_counts_bytes_and_the_sent_at() -> None:
    def sized(total: int) -> str:
        empty = orjson.dumps(event(properties={"filler": ""})).decode()
        return empty.replace('"filler":""', f'"filler":"{"x" * (total - len(empty))}"')

    room = 32 * 1024 - segment.SENT_AT_BYTES
    assert segment.problems(sized(room)) == []
    assert segment.problems(sized(room + 1)) == ["it has 32,769 bytes, Segment takes 32,768"]
    (sent,) = orjson.loads(
        segment.build_request(batch_of(sized(room)), configuration("https://api.segment.io/v1"), NOW).body
    )["batch"]
    assert len(orjson.dumps(sent)) == 32 * 1024


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "there is nothing to send: its body was erased"),
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "it is not a JSON object"),
    ],
)
def test_a_body_that_is_no_event_is_seen_before_sending(body: str, problem: str) -> None:
    assert segment.problems(body) == [problem]


def test_an_unfit_event_dies_with_its_reason_and_its_neighbours_leave(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    put(store, "good-1")
    bad = put(store, "bad", event("bad", properties=[], anonymousId=""))
    put(store, "good-2")
    assert make().deliver_once(NOW) == 3

    assert api.message_ids() == ["good-1", "good-2"]
    assert api.dropped == []
    assert rows(store, "status", "maybe_sent_at") == [("delivered", NOW), ("dead", None), ("delivered", NOW)]
    assert told(store, bad) == [
        ("refused", "not sent: anonymousId must be a non-empty string; properties must be an object")
    ]
    assert counted(store) == {
        "outbox.segment.dead": 1,
        "outbox.segment.delivered": 2,
        "outbox.segment.pending": -3,
    }


# What the answers mean


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 599])
def test_a_refusal_worth_repeating_is_repeated_later(
    store: Store, api: SegmentStandIn, make: Make, status: int
) -> None:
    put(store)
    api.script(standin.answer(status))
    assert make().deliver_once(NOW) == 1

    ((state, attempts, maybe_sent_at, due_at),) = rows(store, "status", "attempts", "maybe_sent_at", "due_at")
    assert (state, attempts, maybe_sent_at) == ("pending", 1, None)
    assert NOW < due_at <= NOW + 30 * SECOND + MINUTE
    assert told(store) == [("refused", f"HTTP {status}")]

    assert make().deliver_once(due_at) == 1
    assert rows(store, "status", "attempts") == [("delivered", 2)]
    assert api.requests[1].headers["x-retry-count"] == "1"
    assert api.message_ids() == ["cdp-1"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (standin.answer(400), "HTTP 400 Bad Request: Segment does not accept this event"),
        (standin.answer(422), "HTTP 422 Unprocessable Entity: Segment does not accept this event"),
        (
            standin.answer(401),
            "HTTP 401: Segment does not accept the write key; correct SEGMENT_WRITE_KEY, then retry",
        ),
        (
            standin.answer(403),
            "HTTP 403: Segment does not accept the write key; correct SEGMENT_WRITE_KEY, then retry",
        ),
        (standin.answer(404), "HTTP 404 Not Found: is SEGMENT_API_URL right? Correct it, then retry"),
        (standin.answer(501), "HTTP 501 Not Implemented: is SEGMENT_API_URL right? Correct it, then retry"),
        (standin.redirect("/v1/batch"), "HTTP 302 Found: is SEGMENT_API_URL right? Correct it, then retry"),
    ],
)
def test_a_refusal_that_would_come_again_is_a_dead_letter(
    store: Store, api: SegmentStandIn, make: Make, fault: Fault, reason: str
) -> None:
    put(store)
    api.script(fault)
    make().deliver_once(NOW)

    assert rows(store, "status", "maybe_sent_at") == [("dead", None)]
    assert told(store) == [("refused", reason)]
    assert len(api.requests) == 1, "not repeated, and a redirect not followed"


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (standin.hang(), "no answer in 0.2 s: may have arrived"),
        (standin.hang(stored=True), "no answer in 0.2 s: may have arrived"),
        (standin.reset(stored=True), "the connection broke (ConnectionError): may have arrived"),
        (standin.answer(504), "HTTP 504 from a gateway: may have arrived"),
        (
            standin.answer(200, body=b"<html>please log in</html>"),
            "HTTP 200, but not in Segment's form (a proxy?): may have arrived",
        ),
        (
            Fault(200, {"Content-Encoding": "gzip"}, b"not gzip", stored=True),
            "HTTP 200, but it broke off: may have arrived",
        ),
    ],
)
def test_without_segments_answer_it_may_have_arrived(
    store: Store, api: SegmentStandIn, make: Make, fault: Fault, detail: str
) -> None:
    put(store)
    api.script(fault)
    make().deliver_once(NOW)
    assert rows(store, "status", "maybe_sent_at") == [("pending", NOW)]
    assert told(store) == [("unknown", detail)]

    make().deliver_once(NOW + MINUTE)
    assert rows(store, "status") == [("delivered",)]
    assert api.message_ids() == ["cdp-1"], "Segment has it once, whether the first arrived or not"


def test_a_200_that_says_it_failed_is_no_success(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store)
    api.script(standin.answer(200, body=b'{"success": false}'))
    make().deliver_once(NOW)
    assert rows(store, "status", "maybe_sent_at") == [("pending", None)]


def test_a_2xx_without_a_body_is_a_success(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store)
    api.script(standin.answer(202, body=b""))
    make().deliver_once(NOW)
    assert rows(store, "status") == [("delivered",)]


def test_without_a_connection_it_has_surely_not_arrived(store: Store, make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connecting is refused
        put(store)
        make(url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1").deliver_once(NOW)
    assert rows(store, "status", "maybe_sent_at") == [("pending", None)]
    assert told(store) == [("refused", "no connection (ConnectionError)")]


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(store: Store, make: Make, tmp_path: Path) -> None:
    with tls_listener(tmp_path) as port:
        put(store)
        make(url=f"https://localhost:{port}/v1").deliver_once(NOW)
    assert rows(store, "status", "maybe_sent_at") == [("pending", None)]
    assert told(store) == [("refused", "no connection: the server's certificate is not trusted")]


# Bad events in good batches


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_batch_is_halved_until_the_bad_event_is_alone(
    store: Store, api: SegmentStandIn, make: Make, status: int
) -> None:
    names = [f"m{number}" for number in range(20)]
    for name in names:
        put(store, name)
    api.refused |= {"m3", "m11"}
    if status == 413:
        api.script(standin.answer(413))
    assert make().deliver_once(NOW) == 20

    assert sorted(api.message_ids()) == sorted(set(names) - {"m3", "m11"})
    dead = [name for name, state in rows(store, "message_id", "status") if state == "dead"]
    assert dead == ["m3", "m11"]
    assert len(api.requests) < 20
    assert {detail for status, detail in told(store) if status == "refused"} == {
        "HTTP 400 Bad Request: Segment does not accept this event"
    }


def test_when_every_event_is_refused_the_backlog_is_not_burned(store: Store, api: SegmentStandIn, make: Make) -> None:
    names = [f"m{number}" for number in range(50)]
    for name in names:
        put(store, name)
    api.refused |= set(names)
    assert make().deliver_once(NOW) == REFUSED_ONES
    assert [state for (state,) in rows(store, "status")].count("dead") == REFUSED_ONES
    assert rows(store, "attempts", "claimed_by", "maybe_sent_at")[-1] == (0, None, None), "the rest is as it was"


def test_a_dozen_refused_events_do_not_hold_up_the_good_ones(store: Store, api: SegmentStandIn, make: Make) -> None:
    bad, good = [f"b{number}" for number in range(12)], [f"g{number}" for number in range(30)]
    for name in bad + good:
        put(store, name)
    api.refused |= set(bad)
    assert make().deliver_once(NOW) == 42
    states = [state for (state,) in rows(store, "status")]
    assert (states.count("dead"), states.count("delivered")) == (12, 30)


# Patience within an attempt


def test_a_short_trouble_is_sat_out_within_the_attempt(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store)
    api.script(standin.answer(503), standin.reset())
    make(QUICK).deliver_once(NOW)
    assert rows(store, "status", "attempts") == [("delivered", 1)]
    assert [asked.headers.get("x-retry-count") for asked in api.requests] == [None, "1", "2"]
    sent = [parse_time(orjson.loads(asked.body)["sentAt"]) or 0 for asked in api.requests]
    assert sent == sorted(sent)


def test_a_short_retry_after_is_kept_within_the_attempt_and_a_long_one_in_the_outbox(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    put(store)
    api.script(standin.answer(429, retry_after=1))
    make(QUICK).deliver_once(NOW)
    assert rows(store, "status") == [("delivered",)]

    put(store, "cdp-2")
    api.script(standin.answer(429, retry_after=120))
    make(QUICK).deliver_once(NOW)
    ((_, _), (state, due_at)) = rows(store, "status", "due_at")
    assert state == "pending"
    assert NOW + 120 * SECOND <= due_at < NOW + 121 * SECOND
    assert told(store)[-1] == ("refused", "HTTP 429, Retry-After 120 s")
    assert len(api.requests) == 3


def test_a_refusal_after_a_try_without_an_answer_is_still_unknown(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    put(store)
    api.script(standin.reset(stored=True), standin.answer(503), standin.answer(503))
    make(QUICK).deliver_once(NOW)
    assert rows(store, "status", "attempts", "maybe_sent_at") == [("pending", 1, NOW)]
    assert told(store) == [("unknown", "HTTP 503, after a try without an answer: may have arrived")]


def test_after_twenty_hours_without_an_answer_it_is_left_to_a_person(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    waits = put(store, "waits", maybe_sent_at=NOW - 20 * HOUR)
    fails = put(store, "fails", maybe_sent_at=NOW - 20 * HOUR + MINUTE // 2)
    api.script(standin.answer(503))
    make().deliver_once(NOW)

    assert rows(store, "status") == [("dead",), ("dead",)]
    assert told(store, waits) == [("unknown", "may have arrived, too long ago to be repeated safely; retry by hand")]
    assert told(store, fails) == [("refused", "given up: HTTP 503")]
    with store.writing() as tx:
        queue.retry(tx, None, now=NOW)
    make().deliver_once(NOW)
    assert rows(store, "status") == [("delivered",), ("delivered",)]


def test_after_seven_days_of_refusals_it_is_a_dead_letter(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store, "old", pending_at=NOW - 7 * DAY, attempts=40)
    put(store, "waited for its key", pending_at=NOW - 30 * DAY)
    api.script(standin.answer(503))
    make().deliver_once(NOW)
    assert rows(store, "status", "attempts") == [("dead", 41), ("pending", 1)]
    assert told(store, 1) == [("refused", "given up: HTTP 503")]


# Crashes and stops


SENDER = """
import sys
from pathlib import Path
from connector import config, deliver, store
from connector.destinations import segment

environ = {"CONNECTOR_SECRET": "x" * 32, "SEGMENT_API_URL": sys.argv[2], "SEGMENT_WRITE_KEY": "write-key"}
settings = config.read(environ, Path("/nonexistent"))
deliver.Deliverer(store.open_store(sys.argv[1]), settings, segment).deliver_once(int(sys.argv[3]))
"""


def test_a_sender_killed_before_the_answer_sends_the_same_again_and_segment_has_it_once(
    store: Store, store_url: str, api: SegmentStandIn, make: Make
) -> None:
    put(store)
    api.script(standin.hang(stored=True))
    with subprocess.Popen([sys.executable, "-c", SENDER, store_url, api.url, str(NOW)]) as sender:
        assert api.wait_until(lambda one: len(one.requests) == 1)
        sender.kill()
    api.release()
    assert rows(store, "status", "attempts", "maybe_sent_at") == [("pending", 0, NOW)]

    assert make().deliver_once(NOW + 5 * MINUTE - 1) == 0, "still claimed"
    assert make().deliver_once(NOW + 5 * MINUTE) == 1

    first, second = (orjson.loads(asked.body)["batch"][0] for asked in api.requests)
    assert {**first, "sentAt": ""} == {**second, "sentAt": ""}
    assert api.message_ids() == ["cdp-1"]
    assert [one.code for one in api.dropped] == ["duplicate"]
    assert told(store) == [("unknown", queue.LOST), ("delivered", "HTTP 200")]


def test_a_stop_ends_the_current_try_and_hands_back_the_rest(store: Store, api: SegmentStandIn, make: Make) -> None:
    for number in range(40):
        put(store, f"m{number}", event(f"m{number}", properties={"filler": "x" * 30_000}))
    stop = threading.Event()
    api.script(standin.hang())
    deliverer = make(Limits(tries=3, timeouts=Timeouts(1.0, 30.0, 1.0)))
    running = threading.Thread(target=deliverer.deliver_once, args=(NOW, stop))
    running.start()
    assert api.wait_until(lambda one: len(one.requests) == 1)
    stop.set()
    api.release()
    running.join()

    states = rows(store, "attempts", "claimed_by", "maybe_sent_at")
    assert states == [(1, None, NOW)] * 15 + [(0, None, None)] * 25
    assert len(api.requests) == 1


def test_a_round_that_lasts_too_long_hands_back_what_it_has_not_begun(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    put(store)
    assert make(Limits(sending_ms=0)).deliver_once(NOW) == 0
    assert rows(store, "attempts", "claimed_by", "maybe_sent_at") == [(0, None, None)]
    assert api.requests == []


def test_threads_deliver_a_backlog_once_each_and_stop_when_told(store: Store, api: SegmentStandIn, make: Make) -> None:
    for number in range(150):
        put(store, f"m{number}")
    stop = threading.Event()
    deliverer = make(Limits(batch=20, idle_seconds=0.01))
    threads = [threading.Thread(target=deliverer.run, args=(stop,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert api.wait_until(lambda one: len(one.accepted) == 150)
    stop.set()
    for thread in threads:
        thread.join()

    assert sorted(api.message_ids()) == sorted(f"m{number}" for number in range(150))
    assert api.dropped == []
    assert {state for (state,) in rows(store, "status")} == {"delivered"}


class Broken:
    """A destination with a bug, whose error quotes an event."""

    NAME = segment.NAME
    CLAIM = segment.CLAIM
    TERMS = segment.TERMS
    TIERS = segment.TIERS
    ready = staticmethod(segment.ready)
    batches = staticmethod(segment.batches)
    build_request = staticmethod(segment.build_request)
    read_response = staticmethod(segment.read_response)
    tier = staticmethod(segment.tier)

    def problems(self, body: str, now: int) -> list[str]:
        raise RuntimeError(body)


class StopAtFirstRecord(logging.Handler):
    """Sets ``stop`` as soon as anything is logged."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def emit(self, record: logging.LogRecord) -> None:
        self.stop.set()


@pytest.fixture
def stop_at_first_record(caplog: pytest.LogCaptureFixture) -> Iterator[threading.Event]:
    caplog.set_level(logging.DEBUG, "connector")
    stop = threading.Event()
    handler = StopAtFirstRecord(stop)
    logging.getLogger("connector").addHandler(handler)
    yield stop
    logging.getLogger("connector").removeHandler(handler)


def test_a_worker_survives_a_bug_and_does_not_quote_events_in_the_log(
    store: Store, api: SegmentStandIn, stop_at_first_record: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    put(store)
    Deliverer(store, configuration(api.url), Broken(), limits=ONE_TRY).run(stop_at_first_record)

    (message,) = caplog.messages
    assert message.startswith("action=deliver segment error=RuntimeError")
    assert "ada@" not in caplog.text
    assert rows(store, "status") == [("pending",)]


def test_a_worker_outlives_a_store_that_does_not_answer(
    tmp_path: Path, stop_at_first_record: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    Deliverer(empty, configuration("http://127.0.0.1:9/v1"), segment, limits=ONE_TRY).run(stop_at_first_record)
    empty.dispose()
    assert caplog.messages == ["deliver segment: the store did not answer; trying again"]


def test_the_log_names_neither_the_key_nor_an_address(
    store: Store, make: Make, stop_at_first_record: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    put(store)
    make().run(stop_at_first_record)
    assert caplog.messages == ["deliver segment: {'delivered': 1}"]


# The gate


def test_five_failures_in_a_row_shut_the_gate_and_a_single_probe_opens_it(
    store: Store, api: SegmentStandIn, make: Make
) -> None:
    for number in range(8):
        put(store, f"m{number}")
    clock = Time()
    deliverer = make(Limits(batch=1, tries=1), gate=Gate(FAST, clock))
    api.script(*[standin.answer(503)] * 6)
    assert [deliverer.deliver_once(NOW) for _ in range(6)] == [1, 1, 1, 1, 1, 0]

    clock.now += 1.0  # the first pause is over: a probe goes out and fails, so the next pause is two seconds
    assert [deliverer.deliver_once(NOW) for _ in range(2)] == [1, 0]
    clock.now += 1.9
    assert deliverer.deliver_once(NOW) == 0
    clock.now += 0.1
    assert [deliverer.deliver_once(NOW) for _ in range(2)] == [1, 1]
    assert len(api.accepted) == 2


def test_a_wrong_key_costs_one_batch_not_the_backlog(store: Store, api: SegmentStandIn, make: Make) -> None:
    for number in range(120):
        put(store, f"m{number}")
    clock = Time()
    deliverer = make(gate=Gate(FAST, clock))
    api.script(standin.answer(401), standin.answer(401))
    assert [deliverer.deliver_once(NOW) for _ in range(3)] == [100, 0, 0]
    clock.now += 1.0
    assert deliverer.deliver_once(NOW) == 1, "a probe risks one"
    assert [state for (state,) in rows(store, "status")].count("pending") == 19


def test_what_is_asked_of_one_thread_holds_for_all(store: Store, api: SegmentStandIn, make: Make) -> None:
    put(store, "m1")
    put(store, "m2")
    clock = Time()
    deliverer = make(Limits(batch=1), gate=Gate(FAST, clock))
    api.script(standin.answer(429, retry_after=30))
    assert [deliverer.deliver_once(NOW), deliverer.deliver_once(NOW)] == [1, 0]
    clock.now += 30
    assert deliverer.deliver_once(NOW) == 1


def test_the_gates_pauses_double_up_to_a_minute_and_a_success_forgets_them() -> None:
    clock = Time()
    gate, stop = Gate(FAST, clock), threading.Event()
    for _ in range(FAILURES):
        assert gate.enter(stop)
        gate.failed()
    pauses = []
    for _ in range(8):
        shut_at = clock.now
        while not gate.size(100):
            clock.now += 0.5
        pauses.append(clock.now - shut_at)
        assert gate.size(100) == 1
        assert gate.enter(stop)
        assert not gate.enter(stop), "one probe at a time"
        assert gate.size(100) == 0
        gate.failed()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    clock.now += 60
    assert gate.enter(stop)
    gate.succeeded()
    assert (gate.size(100), gate.enter(stop)) == (100, True)


def test_failures_already_under_way_when_the_gate_shuts_do_not_lengthen_the_pause() -> None:
    clock = Time()
    gate, stop = Gate(FAST, clock), threading.Event()
    for _ in range(20):
        assert gate.enter(stop)
    for _ in range(20):
        gate.failed()
    clock.now += 1.0
    assert gate.size(100) == 1


def test_requests_are_spaced() -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    gate, stop = Gate(SPACED, Time()), Stop()
    assert all(gate.enter(stop) for _ in range(4))
    assert waits == pytest.approx([0.0, 0.02, 0.04, 0.06])


def test_a_probe_that_is_stopped_while_it_waits_leaves_the_gate_usable() -> None:
    clock = Time()
    gate, stop = Gate(SPACED, clock), threading.Event()
    gate.failed(at_once=True)
    clock.now += 1.0
    stop.set()
    assert not gate.enter(stop)
    assert gate.size(100) == 1
    assert gate.enter(threading.Event())


# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 36500
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQJZmWWxOgos/j4R5
VcwrpN/eGgKN3aijIpx3QWRusXehRANCAATnmkc1mEwnyBPeBsBuAcWeFGCjEq4Z
rZCwt+CmLa9ORVvPOIkOyaS5Blm8fyW74oShj30Y8HgKMxZeW+XaTbCo
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUH5hU+rKCDxexax1o83ESUWNN5t4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTIyMDQyOVoYDzIxMjYxMDI4
MjIwNDI5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATnmkc1mEwnyBPeBsBuAcWeFGCjEq4ZrZCwt+CmLa9ORVvPOIkOyaS5
Blm8fyW74oShj30Y8HgKMxZeW+XaTbCoo1MwUTAdBgNVHQ4EFgQU8bf5+9Xz8VW0
OVwkS466F1OZ0M0wHwYDVR0jBBgwFoAU8bf5+9Xz8VW0OVwkS466F1OZ0M0wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA7kw6IFXv4ftTMULTItt0
Wzso359smRZY1QZiEpIdVWECIQCBm+1eTH1VIQizklDbkoRceQ48uncNvPTXYI5Y
Ub2+gQ==
-----END CERTIFICATE-----
"""


@contextmanager
def tls_listener(folder: Path) -> Iterator[int]:
    """A TLS server whose certificate nobody signed; gives its port."""
    file = folder / "localhost.pem"
    file.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def shake_hands() -> None:
        with listener.accept()[0] as connection, suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        shaking = threading.Thread(target=shake_hands)
        shaking.start()
        yield listener.getsockname()[1]
        shaking.join()
