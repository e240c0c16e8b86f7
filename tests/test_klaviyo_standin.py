"""The stand-in keeps Klaviyo's contract: here what every request meets, whatever it asks for."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator

import orjson
import pytest
import requests

from connector.demo import klaviyo_standin as standin
from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn
from connector.messages import DAY, SECOND
from tests.klaviyo_calls import NOW, Clock, ask, event, profile, put, refusal, respond

ANN = {"email": "ann@example.com"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def klaviyo(clock: Clock) -> Iterator[KlaviyoStandIn]:
    with KlaviyoStandIn(clock=clock) as running:
        yield running


# -- who is let in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", KEY, "Klaviyo-API-Key", "Klaviyo-API-Key pk_other", f"Bearer {KEY}"])
def test_a_request_without_a_known_key_is_a_401_without_the_limits_headers(
    klaviyo: KlaviyoStandIn, key: str | None
) -> None:
    response = respond(klaviyo, "GET /api/metrics", headers={"Authorization": key})
    status, [(code, pointer, _)] = refusal((response.status_code, response.json()))

    assert (status, code, pointer) == (401, "authentication_failed", "/data")
    assert [name for name in response.headers if name.startswith("RateLimit")] == []


@pytest.mark.parametrize("revision", [None, "", "latest", "2026-13-15", "2026-10", "20261015"])
def test_a_revision_is_required_and_is_a_date(klaviyo: KlaviyoStandIn, revision: str | None) -> None:
    status, [(code, parameter, _)] = refusal(ask(klaviyo, "GET /api/metrics", headers={"revision": revision}))

    assert (status, code, parameter) == (400, "invalid", "revision")


def test_a_revision_is_served_for_two_years(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    old = {"revision": "2024-11-20"}

    assert ask(klaviyo, "GET /api/metrics", headers=old)[0] == 200
    assert ask(klaviyo, "GET /api/metrics", headers={"revision": "2026-07-15.pre"})[0] == 200
    clock.now += DAY  # there may be a leap day in two years
    assert ask(klaviyo, "GET /api/metrics", headers=old)[0] == 200
    clock.now += DAY
    assert refusal(ask(klaviyo, "GET /api/metrics", headers=old)) == (
        400,
        [("invalid", "revision", "The revision 2024-11-20 is no longer supported.")],
    )


def test_a_key_may_only_what_its_scopes_say(klaviyo: KlaviyoStandIn) -> None:
    klaviyo.scopes[KEY] = {"profiles:read"}

    assert ask(klaviyo, "GET /api/profiles")[0] == 200
    assert refusal(ask(klaviyo, "POST /api/profile-import", profile(ANN))) == (
        403,
        [("permission_denied", "/data", "The API key is missing the required scopes: profiles:write.")],
    )


def test_webhooks_need_advanced_kdp_whatever_the_key_may(klaviyo: KlaviyoStandIn) -> None:
    for line in ("GET /api/webhooks", "GET /api/webhook-topics", "POST /api/webhooks", "DELETE /api/webhooks/w"):
        klaviyo.account.clock.now += SECOND  # type: ignore[attr-defined] # the fixture's
        status, [(code, _, detail)] = refusal(ask(klaviyo, line))

        assert (status, code) == (403, "permission_denied")
        assert detail.startswith("You must have Advanced KDP enabled")


def test_what_is_not_there_is_a_404_and_a_method_that_is_not_a_405(klaviyo: KlaviyoStandIn) -> None:
    nowhere = "There is no such endpoint."

    assert refusal(ask(klaviyo, "GET /api/nothing")) == (404, [("not_found", None, nowhere)])
    assert refusal(ask(klaviyo, "DELETE /api/events")) == (405, [("method_not_allowed", None, nowhere)])


# -- bodies -------------------------------------------------------------------------------------------------------


def test_a_body_has_a_json_type(klaviyo: KlaviyoStandIn) -> None:
    for kind, status in (("application/json", 201), ("application/vnd.api+json; charset=utf-8", 200)):
        answer = ask(klaviyo, "POST /api/profile-import", profile(ANN), headers={"Content-Type": kind})
        assert answer[0] == status
    assert refusal(ask(klaviyo, "POST /api/events", event(ANN), headers={"Content-Type": "text/plain"})) == (
        415,
        [("unsupported_media_type", None, "Unsupported media type 'text/plain'.")],
    )


def test_a_body_may_be_packed_and_has_to_be_json(klaviyo: KlaviyoStandIn) -> None:
    packed = {"Content-Encoding": "gzip"}
    document = orjson.dumps(event(ANN))

    assert ask(klaviyo, "POST /api/events", gzip.compress(document), headers=packed) == (202, None)
    for body, headers, detail in (
        (document, packed, "The body cannot be unpacked."),
        (b"{", {}, "The body is not valid JSON."),
    ):
        assert refusal(ask(klaviyo, "POST /api/events", body, headers=headers)) == (400, [("invalid", "", detail)])


@pytest.mark.parametrize("document", [[], {}, {"data": []}, {"data": {"type": "event"}, "more": 1}])
def test_a_document_is_an_object_with_data_and_nothing_else(klaviyo: KlaviyoStandIn, document: object) -> None:
    assert refusal(ask(klaviyo, "POST /api/profile-import", document))[0] == 400
    assert klaviyo.profiles == []


def test_every_mistake_of_a_body_has_its_pointer(klaviyo: KlaviyoStandIn) -> None:
    body = profile({"email": "a@x", "anonymous_id": "a", "a/b": 1, "location": {"planet": "Mars"}}, relationships={})

    assert refusal(ask(klaviyo, "POST /api/profile-import", body)) == (
        400,
        [
            ("invalid", "/data/attributes/email", "Invalid email address"),
            *(
                ("invalid", f"/data/{place}", f"'{name}' is not a valid field for the resource '{resource}'.")
                for place, name, resource in (
                    ("attributes/anonymous_id", "anonymous_id", "profile"),
                    ("attributes/a~1b", "a/b", "profile"),
                    ("attributes/location/planet", "planet", "location"),
                    ("relationships", "relationships", "profile"),
                )
            ),
        ],
    )
    assert klaviyo.profiles == []


# -- limits -------------------------------------------------------------------------------------------------------


def test_an_answer_says_what_is_left_of_the_second(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    def left(line: str) -> dict[str, str]:
        headers = respond(klaviyo, line).headers
        return {name: value for name, value in headers.items() if name.startswith("RateLimit")}

    limit = "75, 75;w=1, 750;w=60"
    first = {"RateLimit-Limit": limit, "RateLimit-Remaining": "74", "RateLimit-Reset": "0"}

    assert left("GET /api/profiles") == first
    assert left("GET /api/profiles/nobody") == first  # a 404, counted as another endpoint
    assert left("GET /api/profiles") == {**first, "RateLimit-Remaining": "73"}
    clock.now += SECOND
    assert left("GET /api/profiles") == first


@pytest.mark.parametrize(
    ("line", "burst"),
    [
        ("GET /api/accounts", 1),
        ("POST /api/data-privacy-deletion-jobs", 3),
        ("GET /api/metrics", 10),
        ("GET /api/events/e", 10),
        ("POST /api/event-bulk-create-jobs", 10),
        ("POST /api/profile-merge", 10),
        ("GET /api/tracking-settings", 10),
        ("GET /api/profiles", 75),
        ("POST /api/profile-import", 75),
        ("GET /api/events/e/profile", 350),
        ("GET /api/events", 350),
        ("POST /api/events", 350),
    ],
)
def test_a_second_lets_as_many_requests_in_as_its_tier_says(klaviyo: KlaviyoStandIn, line: str, burst: int) -> None:
    steady = {1: 15, 3: 60, 10: 150, 75: 750, 350: 3500}[burst]
    given = respond(klaviyo, line).headers

    assert given["RateLimit-Limit"] == f"{burst}, {burst};w=1, {steady};w=60"
    assert given["RateLimit-Remaining"] == str(burst - 1)


def test_more_in_a_second_is_a_429_with_whole_seconds_and_without_the_headers(
    klaviyo: KlaviyoStandIn, clock: Clock
) -> None:
    assert ask(klaviyo, "GET /api/accounts")[0] == 200
    response = respond(klaviyo, "GET /api/accounts")

    assert refusal((response.status_code, response.json())) == (
        429,
        [("throttled", "/data", "Request was throttled. Expected available in 1 second.")],
    )
    assert response.headers["Retry-After"] == "1"
    assert [name for name in response.headers if name.startswith("RateLimit")] == []
    clock.now += SECOND // 2  # the window is fixed: it ends with the second, not a second after the request
    assert ask(klaviyo, "GET /api/accounts")[0] == 200


def test_more_in_a_minute_waits_for_the_next_minute(klaviyo: KlaviyoStandIn, clock: Clock) -> None:
    clock.now = NOW // 60_000 * 60_000
    for _ in range(15):
        assert ask(klaviyo, "GET /api/accounts")[0] == 200
        clock.now += SECOND
    response = respond(klaviyo, "GET /api/accounts")

    assert (response.status_code, response.headers["Retry-After"]) == (429, "45")
    clock.now += 44 * SECOND + 999
    assert respond(klaviyo, "GET /api/accounts").headers["Retry-After"] == "1"
    clock.now += 1
    assert ask(klaviyo, "GET /api/accounts")[0] == 200


def test_all_keys_of_an_account_share_its_limits() -> None:
    with KlaviyoStandIn("pk_1", "pk_2", clock=Clock()) as klaviyo:
        statuses = [
            ask(klaviyo, "GET /api/accounts", headers={"Authorization": f"Klaviyo-API-Key {key}"})[0]
            for key in ("pk_1", "pk_2")
        ]

    assert statuses == [200, 429]


def test_predictive_analytics_have_limits_of_their_own(klaviyo: KlaviyoStandIn) -> None:
    asked = {"additional-fields[profile]": "subscriptions,predictive_analytics"}

    assert respond(klaviyo, "GET /api/profiles", query=asked).headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60"


def test_without_limits_nothing_is_throttled_but_the_headers_are_there() -> None:
    with KlaviyoStandIn(limits=False, clock=Clock()) as klaviyo:
        answers = [respond(klaviyo, "GET /api/accounts") for _ in range(20)]

    assert {one.status_code for one in answers} == {200}
    assert {one.headers["RateLimit-Limit"] for one in answers} == {"1, 1;w=1, 15;w=60"}


# -- faults and what is remembered --------------------------------------------------------------------------------


def test_a_script_mistreats_one_request_each_of_the_path_it_names(klaviyo: KlaviyoStandIn) -> None:
    klaviyo.script(standin.answer(503), standin.answer(429, retry_after=7), path="/api/events")

    assert ask(klaviyo, "GET /api/metrics")[0] == 200
    assert refusal(ask(klaviyo, "POST /api/events", event(ANN))) == (503, [("error", None, "scripted 503")])
    throttled = respond(klaviyo, "POST /api/events", event(ANN))
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "7")
    assert klaviyo.events == []
    assert ask(klaviyo, "POST /api/events", event(ANN)) == (202, None)
    assert len(klaviyo.events) == 1


def test_a_request_can_be_taken_in_and_its_answer_lost(klaviyo: KlaviyoStandIn) -> None:
    klaviyo.script(standin.reset(stored=True), standin.answer(504, stored=True), standin.reset())
    for given in ("a", "b", "c"):
        document = event(ANN, unique_id=given)
        if given == "b":
            assert ask(klaviyo, "POST /api/events", document)[0] == 504
        else:
            with pytest.raises(requests.ConnectionError):
                ask(klaviyo, "POST /api/events", document)

    assert [one.unique_id for one in klaviyo.events] == ["a", "b"]


def test_a_hanging_request_ends_when_it_is_released(klaviyo: KlaviyoStandIn) -> None:
    klaviyo.script(standin.hang())
    ended: list[type[BaseException]] = []

    def call() -> None:
        try:
            ask(klaviyo, "GET /api/metrics")
        except requests.ConnectionError as error:
            ended.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    assert klaviyo.wait_until(lambda one: len(one.requests) == 1)
    while thread.is_alive():
        klaviyo.release()
        thread.join(0.02)

    assert ended == [requests.ConnectionError]


def test_every_request_is_remembered_with_what_it_said(klaviyo: KlaviyoStandIn) -> None:
    put(klaviyo, **ANN)
    ask(klaviyo, "GET /api/profiles", query={"page[size]": "3"})

    assert klaviyo.asked("POST /api/profile-import") == [profile(ANN)]
    assert klaviyo.asked("GET /api/profiles") == [None]
    assert [one.path for one in klaviyo.requests] == ["/api/profile-import", "/api/profiles?page%5Bsize%5D=3"]
