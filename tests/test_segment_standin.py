"""The stand-in keeps Segment's contract: else every other test that leans on it proves nothing."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
import segment.analytics

from connector.demo import segment as standin
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.demo.segment import SegmentStandIn, post_webhook
from connector.demo.segment_rules import signature, stringify
from connector.messages import DAY, HOUR, SECOND, iso
from tests.outbox_rows import NOW, event

KEY = ("write-key", "")


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def segment_api(clock: Clock) -> Iterator[SegmentStandIn]:
    with SegmentStandIn(clock=clock) as running:
        yield running


def post(segment_api: SegmentStandIn, path: str, body: Any, **options: Any) -> tuple[int, Any]:
    options.setdefault("auth", KEY)
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    with requests.post(segment_api.url + path, data=data, timeout=5, **options) as response:
        return response.status_code, orjson.loads(response.content)


def test_a_call_is_kept_with_its_four_timestamps(segment_api: SegmentStandIn) -> None:
    sent_at = iso(NOW - 10 * SECOND)  # the sender's clock is ten seconds slow
    answer = post(segment_api, "/batch", {"batch": [event("m1", timestamp=iso(NOW - HOUR))], "sentAt": sent_at})

    assert answer == (200, {"success": True})
    assert segment_api.accepted == [
        {
            **event("m1"),
            "channel": "server",
            "version": 2,
            "originalTimestamp": iso(NOW - HOUR),
            "sentAt": sent_at,
            "receivedAt": iso(NOW),
            "timestamp": iso(NOW - HOUR + 10 * SECOND),
        }
    ]


@pytest.mark.parametrize("path", ["/track", "/t"])
def test_single_calls_get_their_type_from_the_path_and_their_key_from_the_body(
    segment_api: SegmentStandIn, path: str
) -> None:
    body = {"event": "Seen", "anonymousId": "a", "writeKey": "write-key"}
    assert post(segment_api, path, body, auth=None)[0] == 200
    (kept,) = segment_api.accepted
    assert (kept["type"], kept["event"], "writeKey" in kept) == ("track", "Seen", False)
    assert kept["messageId"].startswith("api-")
    assert kept["timestamp"] == iso(NOW)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"anonymousId": None}, "no_user_anon_id"),
        ({"anonymousId": ""}, "id_not_string"),
        ({"userId": 7}, "id_not_string"),
        ({"event": None}, "event_not_defined"),
        ({"event": ""}, "event_not_defined"),
        ({"event": 7}, "event_not_string"),
        ({"properties": []}, "properties_not_object"),
        ({"properties": {str(number): 0 for number in range(2)}, "traits": "x"}, "traits_not_object"),
        ({"type": "page", "name": ""}, "name_not_string"),
        ({"type": "screen", "category": 1}, "category_not_string"),
        ({"type": "alias", "userId": "u"}, "id_required"),
        ({"type": "delete"}, "invalid_type"),
        ({"messageId": "x" * 101}, "message_id_too_long"),
        ({"userId": "forgotten"}, "suppressed_user"),
        ({"event": "Segment Consent Preference Updated"}, "consent_categorypreferences_should_exist"),
    ],
)
def test_what_segment_drops_in_silence_is_answered_200(
    segment_api: SegmentStandIn, change: dict[str, Any], code: str
) -> None:
    segment_api.suppressed.add("forgotten")
    bad = {**event("bad"), **change}
    assert post(segment_api, "/batch", {"batch": [bad, event("good")]}) == (200, {"success": True})
    assert segment_api.dropped == [standin.Dropped(code, bad)]
    assert segment_api.message_ids() == ["good"]


def test_more_properties_than_ten_thousand_are_dropped(segment_api: SegmentStandIn) -> None:
    many = {"properties": {f"{number:x}": 0 for number in range(10_001)}}
    fits = orjson.dumps({**event(), **many})
    assert len(fits) > 32 * 1024, "such an event is too large anyway: 400 comes first"
    assert post(segment_api, "/batch", {"batch": [{**event(), **many}]})[0] == 400


@pytest.mark.parametrize("auth", [pytest.param(("wrong", ""), id="unknown key"), pytest.param(None, id="no key")])
def test_a_wrong_write_key_is_not_told(segment_api: SegmentStandIn, auth: tuple[str, str] | None) -> None:
    assert post(segment_api, "/batch", {"batch": [event()]}, auth=auth)[0] == 200
    assert [(one.code, segment_api.accepted) for one in segment_api.dropped] == [("project_not_found", [])]


def test_basic_auth_needs_its_colon(segment_api: SegmentStandIn) -> None:
    headers = {"Authorization": "Basic d3JpdGUta2V5"}
    assert post(segment_api, "/batch", {"batch": [event()]}, auth=None, headers=headers)[0] == 200
    assert segment_api.accepted == []


def test_a_disabled_source_drops_everything(segment_api: SegmentStandIn) -> None:
    segment_api.disabled = True
    assert post(segment_api, "/batch", {"batch": [event()]})[0] == 200
    assert [one.code for one in segment_api.dropped] == ["source_disabled"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="broken JSON"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(
            {"batch": [event("big", properties={"x": "y" * 33_000}), event("good")]}, id="an event over 32 KB"
        ),
        pytest.param({"batch": [event(str(n), properties={"x": "y" * 5_000}) for n in range(100)]}, id="over 500 KB"),
    ],
)
def test_what_segment_answers_400(segment_api: SegmentStandIn, body: Any) -> None:
    status, told = post(segment_api, "/batch", body)
    assert (status, set(told)) == (400, {"code", "message"})
    assert (segment_api.accepted, segment_api.dropped) == ([], [])


def test_more_than_2500_events_vanish_behind_a_200(segment_api: SegmentStandIn) -> None:
    batch = [{"type": "identify", "userId": str(number)} for number in range(2_501)]
    assert post(segment_api, "/batch", {"batch": batch}) == (200, {"success": True})
    assert (segment_api.accepted, len(segment_api.dropped)) == ([], 2_501)


def test_an_empty_batch_and_an_unknown_route(segment_api: SegmentStandIn) -> None:
    assert post(segment_api, "/batch", {"batch": []})[0] == 200
    assert post(segment_api, "/charge", {})[0] == 404


def test_gzip_is_taken(segment_api: SegmentStandIn) -> None:
    body = gzip.compress(orjson.dumps({"batch": [event("m1")]}))
    assert post(segment_api, "/batch", body, headers={"Content-Encoding": "gzip"})[0] == 200
    assert segment_api.message_ids() == ["m1"]


def test_repeats_are_collapsed_for_a_day_and_no_longer(segment_api: SegmentStandIn, clock: Clock) -> None:
    for later, expected in ((0, 1), (DAY - 1, 1), (DAY, 2)):
        clock.now = NOW + later
        post(segment_api, "/batch", {"batch": [event("m1")]})
        assert len(segment_api.accepted) == expected
    assert [one.code for one in segment_api.dropped] == ["duplicate"]


def test_the_envelope_of_a_batch_is_merged_into_its_calls(segment_api: SegmentStandIn) -> None:
    batch = [event("m1", context={"ip": "1.1.1.1", "locale": "de"})]
    envelope = {"context": {"locale": "en", "timezone": "UTC"}, "integrations": {"Klaviyo": False}}
    post(segment_api, "/batch", {"batch": batch, **envelope})
    (kept,) = segment_api.accepted
    assert kept["context"] == {"ip": "1.1.1.1", "locale": "de", "timezone": "UTC"}
    assert kept["integrations"] == {"Klaviyo": False}


def test_faults_come_one_request_each_and_then_it_behaves(segment_api: SegmentStandIn) -> None:
    segment_api.script(standin.answer(429, retry_after=3), standin.answer(200, body=b"<html>"))
    with requests.post(segment_api.url + "/batch", data=b"{}", timeout=5) as limited:
        assert (limited.status_code, limited.headers["Retry-After"], limited.headers["X-RateLimit-Reset"]) == (
            429,
            "3",
            "3",
        )
    with requests.post(segment_api.url + "/batch", data=b"{}", timeout=5) as garbage:
        assert (garbage.status_code, garbage.content) == (200, b"<html>")
    assert post(segment_api, "/batch", {"batch": [event("m1")]})[0] == 200
    assert [asked.path for asked in segment_api.requests] == ["/v1/batch"] * 3


@pytest.mark.parametrize("stored", [True, False])
def test_a_reset_may_come_after_the_calls_were_stored(segment_api: SegmentStandIn, stored: bool) -> None:
    segment_api.script(standin.reset(stored=stored))
    with pytest.raises(requests.ConnectionError):
        post(segment_api, "/batch", {"batch": [event("m1")]})
    assert segment_api.message_ids() == (["m1"] if stored else [])


def test_a_hanging_request_gets_no_answer_until_it_is_released(segment_api: SegmentStandIn) -> None:
    segment_api.script(standin.hang())
    errors: list[Exception] = []

    def ask() -> None:
        try:
            post(segment_api, "/batch", {"batch": [event("m1")]})
        except requests.RequestException as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert segment_api.wait_until(lambda one: len(one.requests) == 1)
    assert asking.is_alive()
    segment_api.release()
    asking.join()
    assert [type(error) for error in errors] == [requests.ConnectionError]
    assert segment_api.accepted == []


@pytest.mark.parametrize("compressed", [False, True])
def test_segments_own_python_library_can_send_to_it(compressed: bool) -> None:
    with SegmentStandIn("site-key") as running:
        client = segment.analytics.Client("site-key", host=running.host, gzip=compressed, upload_interval=0.05)
        client.identify("user-1", {"email": "ada@example.com"})
        client.track(anonymous_id="browser-1", event="Product Viewed", properties={"sku": "1"})
        client.shutdown()

        assert [(one["type"], one.get("userId"), one.get("anonymousId")) for one in running.accepted] == [
            ("identify", "user-1", None),
            ("track", None, "browser-1"),
        ]
        assert running.dropped == []
        assert [asked.path for asked in running.requests] == ["/v1/batch"]


# Its other half: webhooks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, True, None, "x"]}, '{"a":[1,true,null,"x"]}'),
        ({"é": "ü😀\u2028\x7f"}, '{"é":"ü😀\u2028\x7f"}'),
        ('"\\/\b\f\n\r\t\x00\x1f', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f"'),
        ("\ud800x\udfff", '"\\ud800x\\udfff"'),
        (
            [1.0, -0.5, 1e21, 1e20, 1.5e-7, 1e-6, 0.000123, -1e-5, 1.5e300],
            "[1,-0.5,1e+21,100000000000000000000,1.5e-7,0.000001,0.000123,-0.00001,1.5e+300]",
        ),
        ([float("nan"), float("inf")], "[null,null]"),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_json_is_written_as_javascript_writes_it(value: object, text: str) -> None:
    """Expected texts are what node's JSON.stringify prints for the same values."""
    assert stringify(value) == text


def test_a_webhook_is_signed_over_its_body_and_a_batch_over_its_first_element() -> None:
    received: list[Asked] = []

    def respond(asked: Asked) -> Answer:
        received.append(asked)
        return Answer(200, {}, b"ok")

    server = LoopbackServer(respond)
    server.start()
    try:
        assert post_webhook(f"{server.url}/hook?x=1", {"a": 1.0}, "secret") == (200, b"ok")
        assert post_webhook(f"{server.url}/hook", [{"a": 1}, {"b": 2}], "secret", method="PUT") == (200, b"ok")
        assert post_webhook(f"{server.url}/hook", {"a": 1}, None, headers={"X-Mine": "1"}) == (200, b"ok")
    finally:
        server.stop()

    assert [(asked.method, asked.path, asked.body) for asked in received] == [
        ("POST", "/hook?x=1", b'{"a":1}'),
        ("PUT", "/hook", b'[{"a":1},{"b":2}]'),
        ("POST", "/hook", b'{"a":1}'),
    ]
    # hmac.new(b"secret", b'{"a":1}', "sha1").hexdigest()
    assert [asked.headers.get("x-signature") for asked in received] == [
        "f8446672f033e4b2beafc5ca3a71eafcd2cafb6e"
    ] * 2 + [None]
    assert received[2].headers["x-mine"] == "1"
    assert received[0].headers["user-agent"] == "Segment (Actions)"
    assert signature({"a": 1}, "secret") == "f8446672f033e4b2beafc5ca3a71eafcd2cafb6e"
