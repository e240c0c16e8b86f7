"""The stand-in's events on their way in: taken all or not at all, once each, and readable only later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.demo.klaviyo_standin import KlaviyoStandIn
from connector.messages import MINUTE
from tests.klaviyo_calls import NOW, Clock, ask, event, put, refusal, respond, shown

ANN, BOB = "ann@example.com", "bob@example.com"
ONE = "POST /api/events"
SECOND_NOW = NOW // 1000
LONG = "A string is at most 102400 bytes long."


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock, limits=False) as running:
        yield running


def mistake(answer: tuple[int, Any]) -> tuple[str | None, str]:
    """The one mistake of a 400: where and what."""
    status, [(code, pointer, detail)] = refusal(answer)
    assert (status, code) == (400, "invalid")
    return pointer, detail


# -- one event ----------------------------------------------------------------------------------------------------


def test_an_event_is_202_without_a_body_and_readable_only_later(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    response = respond(klaviyo, ONE, event({"email": ANN}, unique_id="m1"))

    assert (response.status_code, response.content) == (202, b"")
    assert [ask(klaviyo, f"GET /api/{one}")[1]["data"] for one in ("events", "profiles")] == [[], []]
    made = klaviyo.profile("email", ANN)
    assert made is not None
    assert ask(klaviyo, f"GET /api/profiles/{made.id}")[0] == 404
    clock.now += MINUTE - 1
    assert ask(klaviyo, "GET /api/events")[1]["data"] == []
    clock.now += 1
    assert [len(ask(klaviyo, f"GET /api/{one}")[1]["data"]) for one in ("events", "profiles", "metrics")] == [1, 1, 1]
    assert ask(klaviyo, f"GET /api/profiles/{made.id}")[0] == 200


def test_settle_makes_it_readable_at_once(klaviyo: KlaviyoStandIn) -> None:
    ask(klaviyo, ONE, event({"email": ANN}, unique_id="m1"))
    klaviyo.settle()

    [found] = ask(klaviyo, "GET /api/events")[1]["data"]
    assert found["attributes"]["event_properties"] == {"$event_id": "m1"}
    assert len(ask(klaviyo, "GET /api/profiles")[1]["data"]) == 1


def test_an_event_keeps_its_value_its_unique_id_and_what_it_was_said_of(klaviyo: KlaviyoStandIn) -> None:
    who = {"external_id": "u1", "anonymous_id": "a1", "first_name": "Ann"}
    more = {"properties": {"sku": "D4"}, "value": 9.9, "value_currency": "USD", "backfill": True}
    ask(klaviyo, ONE, event(who, "Placed Order", unique_id="m1", time="2026-11-19T08:00:00.999+01:00", **more))

    [kept] = klaviyo.events
    assert kept.profile is klaviyo.profile("external_id", "u1")
    assert kept.profile is not None
    assert kept.profile.traits == {"first_name": "Ann"}
    assert kept.metric is not None
    assert (kept.metric.name, kept.metric.integration["name"]) == ("Placed Order", "API")
    assert kept.properties == {"sku": "D4", "$value": 9.9, "$value_currency": "USD", "$event_id": "m1"}
    assert (kept.backfill, kept.given) == (True, {"external_id": "u1", "anonymous_id": "a1"})
    assert kept.datetime() == "2026-11-19T07:00:00+00:00"


def test_an_event_without_a_time_happened_when_it_came(klaviyo: KlaviyoStandIn) -> None:
    ask(klaviyo, ONE, event({"email": ANN}))

    assert [(one.second, one.unique_id, one.backfill) for one in klaviyo.events] == [
        (SECOND_NOW, str(SECOND_NOW), False)
    ]


@pytest.mark.parametrize(
    ("time", "detail"),
    [
        ("yesterday", "Not a valid ISO 8601 datetime."),
        ("1989-12-31T23:59:59Z", "The time has to be after 1990."),
        ("2027-11-20T10:00:01Z", "The time has to be within a year from now."),
    ],
)
def test_a_time_is_iso_8601_after_1990_and_within_a_year(klaviyo: KlaviyoStandIn, time: str, detail: str) -> None:
    assert mistake(ask(klaviyo, ONE, event({"email": ANN}, time=time))) == ("/data/attributes/time", detail)
    for good in ("1990-01-01T00:00:00Z", "2027-11-20T10:00:00Z", "2026-11-20 10:00:00"):
        assert ask(klaviyo, ONE, event({"email": ANN}, time=good)) == (202, None)


def test_the_first_with_a_unique_id_wins_in_silence(klaviyo: KlaviyoStandIn) -> None:
    for who, metric, unique_id, number in (
        (ANN, "A", "m1", 1),
        (ANN, "A", "m1", 2),  # dropped
        (ANN, "B", "m1", 3),
        (BOB, "A", "m1", 4),
        (ANN, "A", "m2", 5),
    ):
        answer = ask(klaviyo, ONE, event({"email": who}, metric, unique_id=unique_id, properties={"n": number}))
        assert answer == (202, None)

    assert [one.properties["n"] for one in klaviyo.events] == [1, 3, 4, 5]
    [dropped] = klaviyo.silent
    assert (dropped.reason, dropped.what["properties"]) == ("a repeated event", {"n": 2})


def test_without_a_unique_id_there_is_one_event_a_second(klaviyo: KlaviyoStandIn) -> None:
    for number, time in enumerate(("10:00:00.1", "10:00:00.9", "10:00:01.0")):
        ask(klaviyo, ONE, event({"email": ANN}, time=f"2026-11-20T{time}Z", properties={"n": number}))

    assert [one.properties["n"] for one in klaviyo.events] == [0, 2]


def test_a_unique_id_has_1_to_255_characters_and_a_metric_name_fewer_than_128(klaviyo: KlaviyoStandIn) -> None:
    for given, pointer, detail in (
        ({"unique_id": ""}, "unique_id", "Shorter than minimum length 1."),
        ({"unique_id": "m" * 256}, "unique_id", "Longer than maximum length 255."),
        ({"metric": "m" * 128}, "metric/data/attributes/name", "Longer than maximum length 127."),
        ({"metric": ""}, "metric/data/attributes/name", "Shorter than minimum length 1."),
        ({"value": True}, "value", "Not a valid number."),
        ({"backfill": 1}, "backfill", "Not a valid boolean."),
        ({"timestamp": 1}, "timestamp", "'timestamp' is not a valid field for the resource 'event'."),
    ):
        answer = ask(klaviyo, ONE, event({"email": ANN}, **given))
        assert mistake(answer) == (f"/data/attributes/{pointer}", detail)
    assert ask(klaviyo, ONE, event({"email": ANN}, "m" * 127, unique_id="m" * 255)) == (202, None)


def test_properties_metric_and_profile_are_required(klaviyo: KlaviyoStandIn) -> None:
    for name in ("properties", "metric", "profile"):
        document = event({"email": ANN})
        del document["data"]["attributes"][name]
        detail = f"'{name}' is a required field for the resource 'event'."
        assert mistake(ask(klaviyo, ONE, document)) == ("/data/attributes", detail)
    assert mistake(ask(klaviyo, ONE, event({"first_name": "Ann"})))[0] == "/data/attributes/profile/data/attributes"


def nested(depth: int) -> dict[str, Any]:
    """Objects in one another, so many with the outermost."""
    made: dict[str, Any] = {}
    for _ in range(depth - 1):
        made = {"a": made}
    return made


@pytest.mark.parametrize(
    ("good", "bad", "place", "detail"),
    [
        (
            {str(n): n for n in range(400)},
            {str(n): n for n in range(401)},
            "",
            "An event has at most 400 properties.",
        ),
        ({"a": "x" * 102_400}, {"a": "é" * 51_201}, "/a", LONG),
        ({"a": [0] * 4_000}, {"a": [0] * 4_001}, "/a", "An array has at most 4000 items."),
        (nested(10), nested(11), "/a" * 10, "Properties are nested at most 10 deep."),
        ({"a": [{"b/c": "é" * 51_200}]}, {"a": [{"b/c": "é" * 51_201}]}, "/a/0/b~1c", LONG),
        ({}, [], "", "Not a valid object."),
    ],
)  # fmt: skip
def test_properties_have_limits(klaviyo: KlaviyoStandIn, good: Any, bad: Any, place: str, detail: str) -> None:
    def sent(properties: Any) -> tuple[int, Any]:
        document = event({"email": ANN})
        document["data"]["attributes"]["properties"] = properties
        return ask(klaviyo, ONE, document)

    assert sent(good) == (202, None)
    assert mistake(sent(bad)) == (f"/data/attributes/properties{place}", detail)


# -- whose it is --------------------------------------------------------------------------------------------------


def test_identifiers_in_conflict_stay_and_the_event_goes_to_the_stronger(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, external_id="u1", first_name="Ann")
    bob = put(klaviyo, external_id="u2", email=BOB)

    assert ask(klaviyo, ONE, event({"external_id": "u1", "email": BOB, "last_name": "Lee"})) == (202, None)
    assert shown(klaviyo) == [{"external_id": "u1"}, {"external_id": "u2", "email": BOB}]
    found = klaviyo.profile("external_id", "u1")
    assert found is not None
    assert (len(found.events), found.traits) == (1, {"first_name": "Ann", "last_name": "Lee"})
    assert [(one.reason, one.what) for one in klaviyo.silent] == [
        ("the email of an event stays on another profile", bob)
    ]
    assert klaviyo.duplicates() == [{found.id, bob}]


def test_an_anonymous_visitor_becomes_part_of_whom_he_turns_out_to_be(klaviyo: KlaviyoStandIn) -> None:
    ask(klaviyo, ONE, event({"anonymous_id": "a1"}, unique_id="before"))
    put(klaviyo, email=ANN)
    assert shown(klaviyo) == [{}, {"email": ANN}]
    ask(klaviyo, ONE, event({"anonymous_id": "a1", "email": ANN}, unique_id="after"))

    [ann] = klaviyo.profiles
    assert [one.metric and one.metric.name for one in ann.events] == [
        "Viewed Product",
        "Merged Profile",
        "Viewed Product",
    ]
    ask(klaviyo, ONE, event({"anonymous_id": "a1", "email": BOB}))  # the device is Ann's, and nobody is merged
    assert shown(klaviyo) == [{"email": ANN}, {"email": BOB}]


def test_an_id_or_a_token_that_leads_nowhere_is_dropped_in_silence(klaviyo: KlaviyoStandIn) -> None:
    document = event({})
    document["data"]["attributes"]["profile"]["data"]["id"] = "nobody"

    assert ask(klaviyo, ONE, document) == (202, None)
    assert ask(klaviyo, ONE, event({"_kx": "made-up"})) == (202, None)
    assert ask(klaviyo, ONE, event({"_kx": "made-up", "email": ANN})) == (202, None)
    assert [one.reason for one in klaviyo.silent] == ["an unknown id", "an unknown _kx", "an unknown _kx"]
    assert (len(klaviyo.events), shown(klaviyo)) == (1, [{"email": ANN}])


def test_a_token_is_enough_to_say_whose_an_event_is(klaviyo: KlaviyoStandIn) -> None:
    token = klaviyo.token(put(klaviyo, email=ANN))
    ask(klaviyo, ONE, event({"_kx": token}))

    assert [one.profile and one.profile.email for one in klaviyo.events] == [ANN]
