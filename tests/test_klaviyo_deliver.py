"""From a pending row to Klaviyo's answer, over real HTTP to the stand-in on loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import orjson
import pytest

from connector import queue
from connector.demo import klaviyo_standin as standin
from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.destinations.klaviyo import Klaviyo
from connector.gate import REFUSED_ONES, Gate
from connector.klaviyo.wire import LIMITS, REVISION
from connector.messages import DAY, MINUTE, SECOND
from connector.store import Store
from tests.klaviyo_sending import (
    ADA,
    FAST,
    ONE_TRY,
    QUICK,
    Make,
    configuration,
    deletion,
    deliverers,
    event,
    profile,
    queued,
    queued_all,
)
from tests.outbox_rows import NOW, counted, rows, told


@pytest.fixture
def api() -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(limits=False) as running:
        yield running


@pytest.fixture
def make(store: Store, api: KlaviyoStandIn) -> Iterator[Make]:
    with deliverers(store, api.url) as maker:
        yield maker


def kept(api: KlaviyoStandIn) -> list[str]:
    """The unique ids of all events that Klaviyo has, in the order of arrival."""
    return [one.unique_id for one in api.events]


def states(store: Store) -> list[str]:
    return [state for (state,) in rows(store, "status")]


def refusal(*pointers: str) -> bytes:
    errors = [{"status": 400, "code": "invalid", "detail": "It is.", "source": {"pointer": one}} for one in pointers]
    return orjson.dumps({"errors": errors})


def item(place: int) -> str:
    return f"/data/attributes/events-bulk-create/data/{place}/attributes/profile/data/attributes/email"


# What leaves


def test_a_profile_an_event_and_a_deletion_leave_as_documented(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    queued(store, "p", profile(**ADA, first_name="Ada"))
    queued(store, "e", event("e", value=9.5, value_currency="EUR"))
    queued(store, "d", deletion(email="bob@example.com"))
    assert make().deliver_once(NOW) == 3

    assert [(one.method, one.path) for one in api.requests] == [
        ("POST", "/api/profile-import"),
        ("POST", "/api/data-privacy-deletion-jobs"),
        ("POST", "/api/events"),
    ]
    assert {one.headers["authorization"] for one in api.requests} == {f"Klaviyo-API-Key {KEY}"}
    assert {one.headers["revision"] for one in api.requests} == {REVISION}
    assert {one.headers["content-type"] for one in api.requests} == {"application/vnd.api+json"}
    assert [orjson.loads(one.body) for one in api.requests] == [
        {"data": profile(**ADA, first_name="Ada")["data"]},
        {"data": deletion(email="bob@example.com")["data"]},
        {"data": event("e", value=9.5, value_currency="EUR")["data"]},
    ]
    assert told(store) == [("delivered", "HTTP 201"), ("delivered", "HTTP 202"), ("delivered", "HTTP 202")]
    assert counted(store) == {"outbox.klaviyo.delivered": 3, "outbox.klaviyo.pending": -3}


def test_without_a_key_or_where_klaviyo_only_reads_deliveries_wait(store: Store, api: KlaviyoStandIn) -> None:
    settings = configuration(api.url)
    ready = Klaviyo().ready
    assert ready(settings)
    assert not ready(replace(settings, klaviyo_api_key=""))
    assert not ready(replace(settings, destinations=("segment",)))
    assert not ready(replace(settings, destinations=("segment",), klaviyo_delete=True))


def test_few_events_leave_one_by_one_and_many_in_bulk(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    for number in range(10):
        queued(store, f"a{number}", event(f"a{number}"))
    make().deliver_once(NOW)
    assert len(api.asked("POST /api/events")) == 10
    queued_all(store, {name: event(name, backfill=True) for name in (f"b{number:04}" for number in range(1_100))})
    deliverer = make()
    assert [deliverer.deliver_once(NOW), deliverer.deliver_once(NOW)] == [1_000, 100]

    sizes = [
        len(one["data"]["attributes"]["events-bulk-create"]["data"])
        for one in api.asked("POST /api/event-bulk-create-jobs")
    ]
    assert sizes == [1_000, 100]
    assert kept(api) == [f"a{number}" for number in range(10)] + [f"b{number:04}" for number in range(1_100)]
    assert [one.backfill for one in api.events].count(True) == 1_100


def test_large_bodies_are_not_all_claimed_at_once(
    store: Store, api: KlaviyoStandIn, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_BYTES", 10_000)
    for number in range(4):
        queued(store, f"m{number}", event(f"m{number}", properties={"filler": "x" * 4_500}))
    deliverer = make()
    assert [deliverer.deliver_once(NOW) for _ in range(3)] == [2, 2, 0]
    assert kept(api) == ["m0", "m1", "m2", "m3"]


# What the answers mean


def test_what_is_pointed_at_dies_with_its_reason_and_the_rest_is_sent_once_more(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    for number in range(20):
        who = {"email": "nonsense"} if number in (3, 11) else ADA
        queued(store, f"m{number}", event(f"m{number}", who))
    assert make().deliver_once(NOW) == 20

    assert kept(api) == [f"m{number}" for number in range(20) if number not in (3, 11)]
    assert [number for number, state in enumerate(states(store)) if state == "dead"] == [3, 11]
    assert len(api.requests) == 2
    (reason,) = {detail for status, detail in told(store) if status == "refused"}
    assert reason.startswith("HTTP 400 invalid: ")
    assert reason.endswith(" (/attributes/profile/data/attributes/email)")
    assert "nonsense" not in reason


def test_what_is_refused_again_with_pointers_is_halved(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    for number in range(16):
        queued(store, f"m{number}", event(f"m{number}"))
    api.script(standin.answer(400, body=refusal(item(2))), standin.answer(400, body=refusal(item(0))))
    assert make().deliver_once(NOW) == 16
    assert [number for number, state in enumerate(states(store)) if state == "dead"] == [2], (
        "the second was not believed"
    )
    sizes = [len(one["data"]["attributes"]["events-bulk-create"]["data"]) for one in bulk_requests(api)]
    assert sizes == [16, 15, 7, 8]
    assert sorted(kept(api)) == sorted(f"m{number}" for number in range(16) if number != 2)


def bulk_requests(api: KlaviyoStandIn) -> list[Any]:
    return api.asked("POST /api/event-bulk-create-jobs")


@pytest.mark.parametrize("status", [400, 413, 409])
def test_a_refusal_without_pointers_is_halved_until_it_is_alone(
    store: Store, api: KlaviyoStandIn, make: Make, status: int
) -> None:
    for number in range(12):
        queued(store, f"m{number}", event(f"m{number}"))
    api.script(*[standin.answer(status)] * 5)
    make().deliver_once(NOW)
    assert [number for number, state in enumerate(states(store)) if state == "dead"] == [0]
    assert sorted(kept(api)) == sorted(f"m{number}" for number in range(1, 12))


def test_when_everything_is_pointed_at_the_backlog_is_not_burned(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    for number in range(60):
        queued(store, f"m{number}", event(f"m{number}", {"email": "nonsense"}))
    deliverer = make()
    assert [deliverer.deliver_once(NOW), deliverer.deliver_once(NOW)] == [REFUSED_ONES, 0]
    assert states(store) == ["dead"] * REFUSED_ONES + ["pending"] * (60 - REFUSED_ONES)
    assert rows(store, "attempts", "claimed_by", "maybe_sent_at")[-1] == (0, None, None)


def test_of_too_many_requests_only_that_kind_rests_and_for_as_long_as_was_asked(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    queued(store, "p1", profile(**ADA))
    queued(store, "p2", profile(email="bob@example.com"))
    queued(store, "e", event("e"))
    api.script(standin.answer(429, retry_after=700), path="/api/profile-import")
    deliverer = make()
    assert deliverer.deliver_once(NOW) == 2
    first, second, third = rows(store, "status", "attempts", "due_at")
    assert first[:2] == ("pending", 1)
    assert 700 * SECOND <= first[2] - NOW < 701 * SECOND
    assert second[:2] == ("pending", 0), "it was not its turn"
    assert 690 * SECOND <= second[2] - NOW < 710 * SECOND
    assert third[:2] == ("delivered", 1)
    assert told(store, 1) == [("refused", "HTTP 429, Retry-After 700 s")]
    assert len(api.asked("POST /api/profile-import")) == 1


def test_however_often_there_were_too_many_requests_the_wait_does_not_grow_and_nothing_dies_of_it(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    queued(store, "e", event("e"), attempts=40, pending_at=NOW - 8 * DAY)
    api.script(standin.answer(429, retry_after=2))
    make().deliver_once(NOW)
    ((state, attempts, due_at),) = rows(store, "status", "attempts", "due_at")
    assert (state, attempts) == ("pending", 41)
    assert NOW + 2 * SECOND <= due_at <= NOW + 31 * SECOND


def test_a_short_wish_to_wait_is_kept_within_the_attempt(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    queued(store, "e", event("e"))
    api.script(standin.answer(429, retry_after=1))
    make(QUICK).deliver_once(NOW)
    assert told(store) == [("delivered", "HTTP 202")]


def test_the_limits_of_an_account_that_has_lower_ones_are_kept(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    for number in range(4):
        queued(store, f"p{number}", profile(email=f"p{number}@example.com"))
    lower = {"RateLimit-Limit": "2, 2;w=1, 3;w=60"}
    api.script(standin.answer(201, headers=lower, body=b"{}"))
    assert make(gate=Gate(LIMITS)).deliver_once(NOW) == 3
    assert len(api.requests) == 3, "the fourth waits for its minute"
    ((due_at,),) = [row for row in rows(store, "due_at") if row[0] > NOW]
    assert 50 * SECOND <= due_at - NOW <= 70 * SECOND


def test_a_missing_scope_stops_its_own_kind_and_loses_nothing(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    api.scopes[KEY].discard("profiles:write")
    queued(store, "p", profile(**ADA))
    queued(store, "e", event("e"))
    make().deliver_once(NOW)
    assert states(store) == ["pending", "delivered"]
    ((status, detail),) = told(store, 1)
    assert status == "refused"
    assert detail.startswith("HTTP 403 permission_denied: ")
    assert detail.endswith(": give KLAVIYO_API_KEY the scope that this call needs")
    api.scopes[KEY].add("profiles:write")
    make().deliver_once(NOW + 2 * MINUTE)
    assert states(store) == ["delivered", "delivered"]


@pytest.mark.parametrize("fault", [standin.answer(401), standin.answer(403, body=b"<html>blocked</html>")])
def test_a_key_that_is_not_accepted_costs_one_request_and_no_delivery(
    store: Store, api: KlaviyoStandIn, make: Make, fault: standin.Fault
) -> None:
    for number in range(3):
        queued(store, f"m{number}", event(f"m{number}"))
    api.script(fault)
    deliverer = make()
    assert [deliverer.deliver_once(NOW), deliverer.deliver_once(NOW)] == [1, 0]
    assert rows(store, "status", "attempts") == [("pending", 1), ("pending", 0), ("pending", 0)]
    assert told(store)[0][1].endswith(": Klaviyo does not accept the key; correct KLAVIYO_API_KEY")


@pytest.mark.parametrize(
    ("fault", "status", "detail"),
    [
        (standin.answer(503, retry_after=3), "refused", "HTTP 503, Retry-After 3 s"),
        (standin.answer(408), "refused", "HTTP 408"),
        (standin.answer(500), "unknown", "HTTP 500: may have arrived"),
        (standin.answer(504, stored=True), "unknown", "HTTP 504: may have arrived"),
        (standin.answer(524), "unknown", "HTTP 524: may have arrived"),
        (standin.hang(stored=True), "unknown", "no answer in 0.5 s: may have arrived"),
        (standin.reset(stored=True), "unknown", "the connection broke (ConnectionError): may have arrived"),
        (
            standin.answer(200, body=b"<html>log in</html>"),
            "unknown",
            "HTTP 200, but not in Klaviyo's form (a proxy?): may have arrived",
        ),
    ],
)
def test_what_may_be_repeated_is_and_klaviyo_has_it_once(
    store: Store, api: KlaviyoStandIn, make: Make, fault: standin.Fault, status: str, detail: str
) -> None:
    queued(store, "e", event("e"), pending_at=NOW - 5 * DAY, maybe_sent_at=NOW - 5 * DAY)
    api.script(fault)
    make().deliver_once(NOW)
    assert rows(store, "status") == [("pending",)]
    assert told(store) == [(status, detail)]
    make().deliver_once(NOW + MINUTE)
    assert rows(store, "status", "attempts") == [("delivered", 2)]
    assert kept(api) == ["e"]


def test_after_seven_days_it_is_a_dead_letter(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    queued(store, "e", event("e"), pending_at=NOW - 7 * DAY, maybe_sent_at=NOW - 7 * DAY, attempts=40)
    api.script(standin.reset())
    make().deliver_once(NOW)
    assert told(store) == [
        ("unknown", "given up: the connection broke (ConnectionError): may have arrived"),
    ]
    assert states(store) == ["dead"]


def test_a_wrong_address_of_the_api_and_a_retired_revision_say_so(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    queued(store, "e", event("e"))
    queued(store, "f", event("f"))
    api.script(standin.answer(404, body=b""), standin.answer(410, body=b""))
    make().deliver_once(NOW)
    make().deliver_once(NOW + 1)
    assert told(store) == [
        ("refused", "HTTP 404 Not Found: is KLAVIYO_API_URL right?"),
        ("refused", f"HTTP 410: Klaviyo has retired revision {REVISION} of its API; install a newer version"),
    ]
    assert states(store) == ["pending", "pending"]


def test_a_storm_of_failures_ends_with_every_event_once(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    names = [f"m{number:02}" for number in range(30)]
    for name in names:
        queued(store, name, event(name))
    faults = [standin.answer(503), standin.reset(stored=True), standin.answer(502, stored=True), standin.answer(500)]
    api.script(*faults)
    now = NOW
    while "pending" in states(store):
        make().deliver_once(now)
        now += 10 * MINUTE
    assert kept(api) == names
    assert set(states(store)) == {"delivered"}


SENDER = """
import sys
from connector import deliver, store
from connector.destinations.klaviyo import Klaviyo
from tests.klaviyo_sending import configuration

deliver.Deliverer(store.open_store(sys.argv[1]), configuration(sys.argv[2]), Klaviyo()).deliver_once(int(sys.argv[3]))
"""


def test_a_sender_killed_before_the_answer_sends_the_same_again_and_klaviyo_has_it_once(
    store: Store, store_url: str, api: KlaviyoStandIn, make: Make
) -> None:
    for number in range(12):
        queued(store, f"m{number}", event(f"m{number}"), subject_id=number % 5)
    api.script(standin.hang(stored=True))
    with subprocess.Popen([sys.executable, "-c", SENDER, store_url, api.url, str(NOW)]) as sender:
        assert api.wait_until(lambda one: len(one.requests) == 1)
        sender.kill()
    api.release()
    assert make().deliver_once(NOW + 5 * MINUTE - 1) == 0, "still claimed"
    assert make().deliver_once(NOW + 5 * MINUTE) == 12
    first, second = bulk_requests(api)
    places = {id_of(one): one for one in first["data"]["attributes"]["events-bulk-create"]["data"]}
    assert {id_of(one): one for one in second["data"]["attributes"]["events-bulk-create"]["data"]} == places
    assert sorted(kept(api)) == sorted(f"m{number}" for number in range(12))


def id_of(one: dict[str, Any]) -> str:
    unique_id: str = one["attributes"]["events"]["data"][0]["attributes"]["unique_id"]
    return unique_id


# One subject after the other


def test_what_concerns_one_person_leaves_in_its_order_whoever_sends_it(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    for number in range(120):
        subject = number % 6
        email = f"s{subject}@example.com"
        body = profile(email=email, title=str(number)) if number % 4 == 0 else event(f"m{number:03}", {"email": email})
        queued(store, f"m{number:03}", body, subject_id=subject, due_at=NOW - number % 7)
    faults = [standin.answer(503), standin.answer(500, stored=True), standin.answer(429, retry_after=0)]
    api.script(*faults * 3)
    stop = threading.Event()
    seconds, ticks = count(), count(NOW, SECOND)  # both clocks run as fast as somebody looks at them
    deliverer = make(replace(ONE_TRY, batch=9, claim_ms=DAY), gate=Gate(FAST, lambda: float(next(seconds))))

    def rounds() -> None:
        while not stop.is_set():
            deliverer.deliver_once(next(ticks), stop)
        deliverer.close()

    threads = [threading.Thread(target=rounds) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert api.wait_until(lambda one: len(one.events) == 90 and {title(p) for p in one.profiles} == FINAL, 30)
    stop.set()
    for thread in threads:
        thread.join()
    for subject in range(6):
        of_subject = [one for one in kept(api) if int(one[1:]) % 6 == subject]
        assert of_subject == sorted(of_subject)


FINAL = {"108", "112", "116", None}
"""The last titles of subjects 0, 4 and 2; the other three have events only."""


def title(one: standin.Profile) -> str | None:
    found: str | None = one.traits.get("title")
    return found


def test_what_has_to_wait_is_waited_for_and_a_dead_one_is_not(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    queued(store, "p", profile(email="ada@example.com"), subject_id=1)
    queued(store, "e", event("e", {"email": "ada@example.com"}), subject_id=1)
    queued(store, "other", event("other", {"email": "bob@example.com"}), subject_id=2)
    api.script(standin.answer(429, retry_after=100), path="/api/profile-import")
    make().deliver_once(NOW)
    assert kept(api) == ["other"]
    (first, second, _) = rows(store, "status", "attempts", "due_at")
    assert (first[:2], second[:2]) == (("pending", 1), ("pending", 0))
    assert first[2] == second[2], "what waits is not looked at before its turn"

    api.script(standin.answer(400), path="/api/profile-import")
    make().deliver_once(first[2])
    assert states(store) == ["dead", "delivered", "delivered"]
    assert kept(api) == ["other", "e"]


# Deleting


def test_a_deletion_is_erased_when_klaviyo_has_it(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    for number, named in enumerate(({"email": "a@example.com"}, {"phone_number": "+15005550006"})):
        queued(store, f"d{number}", deletion(**named))
    queued(store, "e", event("e"))
    queued(store, "refused", deletion(email="nonsense"))
    make().deliver_once(NOW)
    bodies = rows(store, "status", "body")
    assert bodies[:2] == [("delivered", ""), ("delivered", "")]
    assert bodies[2] == ("delivered", orjson.dumps(event("e")).decode())
    assert bodies[3] == ("dead", orjson.dumps(deletion(email="nonsense")).decode()), "a person may retry it"


def test_an_external_id_is_looked_up_and_its_profile_deleted(store: Store, api: KlaviyoStandIn, make: Make) -> None:
    queued(store, "p", profile(**ADA))
    make().deliver_once(NOW)
    (ada,) = api.profiles
    queued(store, "d", deletion(external_id="u_ada"))
    queued(store, "nobody", deletion(external_id='u_"nobody'))
    make().deliver_once(NOW)
    api.settle()
    assert api.profiles == []
    assert api.asked("POST /api/data-privacy-deletion-jobs") == [{"data": deletion(ada.id)["data"]}]
    assert rows(store, "body")[1:] == [("",), ("",)]
    assert told(store)[1:] == [
        ("delivered", "its profile was found; then HTTP 202"),
        ("delivered", "Klaviyo has no profile with this external id: there is nothing to delete"),
    ]


def test_the_log_names_neither_the_key_nor_an_address(
    store: Store, api: KlaviyoStandIn, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    queued(store, "d", deletion(external_id="u_ada"))
    queued(store, "p", profile(**ADA))
    queued(store, "e", event("e", {"email": "nonsense@"}))
    make(gate=Gate(FAST)).deliver_once(NOW)
    ours = " ".join(record.getMessage() for record in caplog.records if record.name == "connector")
    assert "delivered" in ours
    for secret in (KEY, "ada@", "u_ada", "nonsense"):
        assert secret not in ours + str(told(store))


# Whom Klaviyo will not have


def test_what_follows_a_profile_that_is_somebody_elses_does_not_leave(
    store: Store, api: KlaviyoStandIn, make: Make
) -> None:
    queued(store, "hers", profile(**ADA))
    assert make().deliver_once(NOW) == 1
    bob = {"email": ADA["email"], "external_id": "u_bob"}
    queued(store, "his", profile(**bob), subject_id=7)
    queued(store, "claimed with it", event("e1", bob), subject_id=7)
    queued(store, "later", event("e2", bob), subject_id=7, due_at=NOW + MINUTE)
    queued(store, "another's", event("e3"), subject_id=8)
    with store.writing() as tx:
        tx.exec_driver_sql("insert into mirrored (identifier_id, at, told) values (7, 1, '{}'), (8, 1, '{}')")
    assert make().deliver_once(NOW) == 4

    assert states(store) == ["delivered", "dead", "dead", "dead", "delivered"]
    assert [detail for _, detail in told(store)].count(queue.FOLLOWS) == 2
    assert (kept(api), api.emailless()) == (["e3"], [])
    with store.reading() as tx:
        marks = [tuple(map(int, row)) for row in tx.exec_driver_sql("select identifier_id, refused from mirrored")]
    assert sorted(marks) == [(7, 1), (8, 0)]
    assert counted(store)["outbox.klaviyo.dead"] == 3
    with store.writing() as tx:
        assert queue.retry(tx, None, now=NOW) == 3
    with store.reading() as tx:
        assert not any(tx.exec_driver_sql("select refused from mirrored").scalars()), "somebody saw to it"
