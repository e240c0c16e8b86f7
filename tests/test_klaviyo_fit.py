"""What Klaviyo would refuse is seen before it is sent; what it takes passes, and the stand-in agrees."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.destinations.klaviyo import MAX_BULK_BYTES, MAX_BULK_EVENTS, Klaviyo
from connector.klaviyo import fit
from connector.klaviyo.wire import Tier, headers
from connector.messages import iso
from connector.queue import Delivery
from tests.klaviyo_models import in_bulk, strays
from tests.klaviyo_sending import ADA, configuration, deletion, delivery, event, profile
from tests.outbox_rows import NOW


def problems(body: Any) -> list[str]:
    return fit.problems(body if isinstance(body, str) else orjson.dumps(body).decode(), NOW)


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "there is nothing to send: its body was erased"),
        ("{", "it is not JSON"),
        ([], "it is no call with data and attributes"),
        ({"call": "profile", "data": {"type": "profile"}}, "it is no call with data and attributes"),
        (profile(**ADA) | {"call": "event"}, "it is no call of profile, event or deletion"),
        (
            profile(external_id="u"),
            "a profile needs an email or a phone_number: one without is nobody Klaviyo could write to",
        ),
        (profile(**ADA, anonymous_id="a"), "'anonymous_id': Klaviyo knows no such field of a profile"),
        (profile(**ADA, favourite="x"), "'favourite': Klaviyo knows no such field of a profile"),
        (profile(**ADA, **{"eve@example.com": "x"}), "a field: Klaviyo knows no such field of a profile"),
        (profile(**ADA, location={"planet": "Mars"}), "'planet': Klaviyo knows no such field of location"),
        (profile(**ADA, location=[]), "location of a profile must be an object"),
        (profile(**ADA, properties="x"), "properties of a profile must be an object"),
        (profile(email=""), "email must be a non-empty string"),
        (profile(email="a@example.com", external_id=7), "external_id must be a non-empty string"),
        (profile(email="a@example.com", external_id="x" * 256), "external_id has 256 characters, Klaviyo takes 255"),
        (
            profile(phone_number="0170 1234567"),
            "phone_number must be a number in E.164: + and the country's code first",
        ),
        (
            profile(**ADA, properties={"a": "x" * 99_900}),
            "it has 100,029 bytes, Klaviyo takes 100,000 of a profile",
        ),
        (event(metric=None), "metric must be a resource of type metric"),
        (
            event(metric={"data": {"type": "metric", "attributes": {"name": "x" * 128}}}),
            "the metric's name must be a string of 1 to 127 characters",
        ),
        (
            event(metric={"data": {"type": "metric", "attributes": {"name": "x", "id": 1}}}),
            "'id': Klaviyo knows no such field of metric",
        ),
        (event(profile=[]), "profile must be a resource of type profile"),
        (event(who={}), "the event's profile has no identifier"),
        (event(who={**ADA, "plan": 1}), "'plan': Klaviyo knows no such field of the event's profile"),
        (event(who={"external_id": "x" * 256}), "external_id has 256 characters, Klaviyo takes 255"),
        (event(properties=None), "properties must be an object"),
        (event(properties={str(n): n for n in range(401)}), "it has more than 400 properties"),
        (event(properties=nested(11)), "it is nested deeper than 10 levels"),
        (event(properties={"a": [0] * 4_001}), "a list in it has more than 4,000 elements"),
        (event(properties={"a": ["ü" * 50_001]}), "a text in it has more than 100,000 bytes"),
        (
            event(properties={str(n): "x" * 99_000 for n in range(46)}),
            "it has 4,554,646 bytes, Klaviyo takes 4,500,000 of an event",
        ),
        (event(unique_id=""), "unique_id must be a string of 1 to 255 characters"),
        (event(unique_id="x" * 256), "unique_id must be a string of 1 to 255 characters"),
        (event(time="1999-12-31T23:59:59Z"), "time must be a time in ISO 8601, after 2000 and at most a year ahead"),
        (
            event(time=iso(NOW + 366 * 86_400_000)),
            "time must be a time in ISO 8601, after 2000 and at most a year ahead",
        ),
        (event(time=None), "time must be a time in ISO 8601, after 2000 and at most a year ahead"),
        (event(value="9"), "value must be a number"),
        (event(value=True), "value must be a number"),
        (event(value_currency=""), "value_currency must be a non-empty string"),
        (event(backfill="yes"), "backfill must be true or false"),
        (event(service="x"), "'service': Klaviyo knows no such field of an event"),
        (deletion(), "a deletion names a person by exactly one of id, email, phone_number and external_id"),
        (
            deletion("01K", email="a@example.com"),
            "a deletion names a person by exactly one of id, email, phone_number and external_id",
        ),
        (deletion(name="Ada"), "'name': Klaviyo knows no such field of a deletion's profile"),
    ],
)
def test_what_klaviyo_would_refuse_is_seen_before_sending(body: Any, problem: str) -> None:
    assert problem in problems(body)


FINE = [
    profile(email="a@example.com"),
    profile(phone_number="+15005550006", first_name=None, location={"city": "Turin", "latitude": 1.5}),
    profile(**ADA, properties={"a": {"b": [1, None]}}, title="x", image="https://x.test/i.png", locale="en-US"),
    event(),
    event("x" * 255, {"phone_number": "+15005550006"}, value=0, value_currency="EUR", backfill=True),
    event("e1", properties={str(n): n for n in range(400)}),
    event("e2", properties=nested(10)),
    event("e3", properties={"a": [0] * 4_000, "b": "x" * 100_000}),
    event("e4", metric={"data": {"type": "metric", "attributes": {"name": "x" * 127}}}),
    event("e5", {"external_id": "x" * 255}),
    event("e6", time=iso(NOW - 20 * 365 * 86_400_000)),
    deletion("01K8AAAAAAAAAAAAAAAAAAAAAA"),
    deletion(email="a@example.com"),
]


@pytest.mark.parametrize("body", FINE)
def test_what_klaviyo_takes_passes_and_the_stand_in_agrees(body: dict[str, Any]) -> None:
    assert problems(body) == []
    with KlaviyoStandIn() as api:
        request = Klaviyo().build_request([delivery(1, body)], configuration(api.url), NOW)
        answered = requests.request(request.method, request.url, data=request.body, headers=request.headers, timeout=5)
        assert answered.status_code in (201, 202), answered.text


def test_a_lookup_of_whom_to_delete_is_no_deletion_yet() -> None:
    destination, by_id, by_name = Klaviyo(), deletion("01K"), deletion(external_id='u"&1')
    assert problems(by_name) == []
    request = destination.build_request([delivery(1, by_name)], configuration("https://a.klaviyo.com"), NOW)
    assert (request.method, request.body, request.tier) == ("GET", b"", Tier.PROFILES)
    assert request.url == (
        "https://a.klaviyo.com/api/profiles?filter=equals%28external_id%2C%22u%5C%22%261%22%29"
        "&fields[profile]=external_id"
    )
    assert repr(request) == "Request(url='https://a.klaviyo.com/api/profiles')", "a query may name people"
    assert destination.tier([delivery(1, by_name)]) == Tier.PROFILES
    assert destination.tier([delivery(1, by_id)]) == Tier.PRIVACY
    assert destination.tier([delivery(1, event())]) == Tier.EVENTS
    assert destination.tier([delivery(1, event()), delivery(2, event())]) == Tier.BULK
    assert destination.tier([delivery(1, profile(**ADA))]) == Tier.PROFILES


def test_the_bulk_body_is_the_one_of_klaviyos_own_library() -> None:
    ones = [delivery(number, event(f"m{number}", value=1.5, backfill=True)) for number in range(2)]
    request = Klaviyo().build_request(ones, configuration("https://a.klaviyo.com"), NOW)
    assert request.url == "https://a.klaviyo.com/api/event-bulk-create-jobs"
    assert request.headers == headers(KEY)
    document = orjson.loads(request.body)
    assert document == {"data": in_bulk([orjson.loads(one.body)["data"] for one in ones])}
    assert strays("events", document["data"]) == []


CALLS = st.one_of(
    st.builds(event, st.sampled_from("abcdefgh")),
    st.builds(lambda number: event(f"m{number}"), st.integers()),
    st.just(profile(**ADA)),
    st.just(deletion("01K")),
)
LARGE = orjson.dumps(event("large", properties={str(n): "x" * 99_000 for n in range(18)})).decode()


@settings(max_examples=150, deadline=None)
@given(
    calls=st.lists(st.tuples(CALLS, st.none() | st.integers(0, 3), st.integers(1, 150), st.booleans()), max_size=12),
)
def test_batches_lose_nothing_stay_within_the_limits_and_keep_what_has_an_order(
    calls: list[tuple[dict[str, Any], int | None, int, bool]],
) -> None:
    claimed: list[Delivery] = []
    for body, subject_id, times, large in calls:
        for _ in range(times):
            claimed.append(delivery(len(claimed), body, subject_id))
        if large:
            claimed.append(Delivery(len(claimed), 1, "m", LARGE, 0, NOW, None, subject_id))
    destination, config = Klaviyo(), configuration("https://a.klaviyo.com")
    cut = destination.batches(claimed)

    flat = [one for batch in cut for one in batch]
    assert sorted(one.id for one in flat) == list(range(len(claimed)))
    for subject_id in range(4):
        ids = [one.id for one in flat if one.subject_id == subject_id]
        assert ids == sorted(ids)
    for batch in cut:
        if len(batch) == 1:
            continue
        assert len(batch) <= MAX_BULK_EVENTS
        assert len(destination.build_request(batch, config, NOW).body) <= 5_000_000
        assert [one.id for one in batch] == sorted(one.id for one in batch) or any(one.subject_id for one in batch)
        bodies = [one.body for one in batch]
        assert {orjson.loads(body)["call"] for body in bodies} == {"event"}
        keys = [orjson.loads(body)["data"]["attributes"]["unique_id"] for body in bodies]
        assert len(set(keys)) == len(keys)


def test_large_events_are_cut_into_requests_klaviyo_takes() -> None:
    filler = {str(number): "x" * 99_000 for number in range(9)}
    claimed = [delivery(number, event(f"m{number}", properties=filler)) for number in range(12)]
    cut = Klaviyo().batches(claimed)
    assert [[one.id for one in batch] for batch in cut] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    sizes = [len(Klaviyo().build_request(batch, configuration("https://a.klaviyo.com"), NOW).body) for batch in cut]
    assert 4_000_000 < max(sizes) < MAX_BULK_BYTES


def test_a_thousand_events_among_profiles_of_others_make_one_request() -> None:
    claimed = []
    for number in range(1_000):
        claimed.append(delivery(2 * number, event(f"m{number}"), number))
        claimed.append(delivery(2 * number + 1, profile(**ADA), 5_000 + number))
    sizes = [len(batch) for batch in Klaviyo().batches(claimed)]
    assert sizes == [1] * 1_000 + [1_000]


def test_of_one_person_events_and_profile_calls_leave_in_turn() -> None:
    claimed = [
        delivery(number, profile(**ADA) if number % 13 == 12 else event(f"m{number}"), 1) for number in range(30)
    ]
    assert [[one.id for one in batch] for batch in Klaviyo().batches(claimed)] == [
        [*range(12)],
        [12],
        [*range(13, 25)],
        [25],
        [26],
        [27],
        [28],
        [29],
    ]
