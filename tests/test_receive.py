"""The doors through Flask: who may enter, what is stored, and the documented answer to every bad input."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import json
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from connector import config, counters
from connector.app import close, create_app
from connector.bodies import LARGE_BYTES, LARGE_READERS, MAX_BODY_BYTES, READERS, Bodies, Crowded
from connector.elements import MAX_ELEMENTS
from connector.elements import MAX_MEMBERS as MOST_MEMBERS
from connector.inbox import Kept
from connector.messages import Received
from connector.receive import MAX_MEMBERS, Reception, ingest
from connector.resources import shipped_mappings
from connector.sources import Incoming
from connector.store import Store, open_store
from connector.tables import doors as doors_table
from connector.tables import inbox, metadata

NOW = 1_732_180_000_000
SETTINGS = {
    "CONNECTOR_SECRET": "0123456789abcdef",
    "SEGMENT_SHARED_SECRETS": "segment-old, segment-new",
    "KLAVIYO_WEBHOOK_SECRETS": "0123456789abcdef",
    "CUSTOMERIO_SIGNING_KEYS": "test_secret",
    "SOURCE_WRITE_KEYS": "write-key",
}

Rows = list[dict[str, Any]]


def settings(**changes: str) -> config.Config:
    return config.read({**SETTINGS, **changes}, env_file=Path("/nonexistent/.env"))


class Front:
    """An application over a fresh store, and what it stored."""

    def __init__(self, store: Store, **changes: str) -> None:
        self.store = store
        self.app: Flask = create_app(settings(**changes), store, now=lambda: NOW)
        self.client: FlaskClient = self.app.test_client()

    def rows(self) -> Rows:
        with self.store.reading() as tx:
            return [dict(row._mapping) for row in tx.execute(sa.select(inbox).order_by(inbox.c.id))]

    def refused(self) -> dict[str, int]:
        self.app.extensions["connector"].refusals.flush()
        with self.store.reading() as tx:
            return {name: n for name, n in counters.read(tx).items() if name.startswith("rejected.")}

    def segment(self, body: bytes | str, signed: bytes | str | None = None, **more: Any) -> TestResponse:
        body = body.encode() if isinstance(body, str) else body
        headers = {"X-Signature": sha1(body if signed is None else signed), **more.pop("headers", {})}
        return self.client.open("/webhooks/segment", **{"method": "POST", "data": body, "headers": headers, **more})

    def call(self, name: str, body: bytes | str, key: str | None = "write-key", **headers: str) -> TestResponse:
        if key is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        return self.client.post(f"/v1/{name}", data=body, headers=headers)


def sha1(message: bytes | str, secret: str = "segment-new") -> str:
    message = message.encode() if isinstance(message, str) else message
    return hmac.new(secret.encode(), message, hashlib.sha1).hexdigest()


def klaviyo_headers(body: bytes, stamp: str = "Sat, 21 Nov 2026 10:00:00 GMT", **more: str) -> dict[str, str]:
    signature = hmac.new(b"0123456789abcdef", body + stamp.encode(), hashlib.sha256).hexdigest()
    return {"Klaviyo-Signature": signature, "Klaviyo-Timestamp": stamp, **more}


def customerio_headers(body: bytes, stamp: str = "1700000000") -> dict[str, str]:
    signature = hmac.new(b"test_secret", b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-CIO-Signature": signature, "X-CIO-Timestamp": stamp}


def digest(text: str) -> str:
    return "body-" + hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def front(sqlite_store: Store) -> Iterator[Front]:
    front = Front(sqlite_store)
    yield front
    close(front.app)


@pytest.fixture
def fronts(sqlite_store: Store) -> Iterator[Callable[..., Front]]:
    """Makes applications with settings of the test's own."""
    made: list[Front] = []

    def make(**changes: str) -> Front:
        made.append(Front(sqlite_store, **changes))
        return made[-1]

    yield make
    for one in made:
        close(one.app)


class TestSegment:
    def test_an_event_is_stored_as_it_came(self, store: Store) -> None:
        front = Front(store)
        event = '{"type":"track", "messageId":"m1","event":"Café","properties":{"n":1e21,"s":"\\ud800\\u0000"}}'
        answer = front.segment(event)
        close(front.app)
        assert (answer.status_code, answer.json) == (200, {"stored": 1, "duplicates": 0})
        assert front.rows() == [
            {
                "id": 1,
                "source": "segment",
                "message_id": "m1",
                "body": event,
                "envelope": None,
                "received_at": NOW,
                "authenticated": True,
                "rotten": None,
            }
        ]

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_every_method_that_segment_offers(self, front: Front, method: str) -> None:
        assert front.segment('{"messageId":"m1"}', method=method).status_code == 200

    @pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD"])
    def test_no_other_method(self, front: Front, method: str) -> None:
        answer = front.segment("{}", method=method)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, PUT, PATCH")

    def test_of_an_array_signed_by_its_first_element_only_that_one_is_authenticated(self, front: Front) -> None:
        first = '{"messageId": "a", "n": 1e21, "s":"\\ud800é"}'
        answer = front.segment(f' [ {first} , {{"messageId":"b"}},{{"messageId":"c"}} ] \n', signed=first)
        assert (answer.status_code, answer.json) == (200, {"stored": 3, "duplicates": 0})
        assert [(row["message_id"], row["authenticated"], row["body"]) for row in front.rows()] == [
            ("a", True, first),
            ("b", False, '{"messageId":"b"}'),
            ("c", False, '{"messageId":"c"}'),
        ]

    def test_an_array_signed_whole_is_authenticated_whole(self, front: Front) -> None:
        assert front.segment('[{"messageId":"a"},{"messageId":"b"}]').status_code == 200
        assert [row["authenticated"] for row in front.rows()] == [True, True]

    @pytest.mark.parametrize("how", ["bearer", "query"])
    def test_the_second_factor_vouches_for_all(self, fronts: Callable[..., Front], how: str) -> None:
        front = fronts(SEGMENT_WEBHOOK_TOKENS="t1,t2")
        more: dict[str, Any] = (
            {"headers": {"Authorization": "Bearer t2"}} if how == "bearer" else {"query_string": "token=t2"}
        )
        body, first = '[{"messageId":"a"},{"messageId":"b"}]', '{"messageId":"a"}'
        assert front.segment(body, signed=first, **more).status_code == 200
        assert [row["authenticated"] for row in front.rows()] == [True, True]

    @pytest.mark.parametrize(
        "more",
        [{}, {"headers": {"Authorization": "Bearer no"}}, {"query_string": "token="}, {"query_string": "token=no"}],
    )
    def test_the_second_factor_is_a_factor(self, fronts: Callable[..., Front], more: dict[str, Any]) -> None:
        front = fronts(SEGMENT_WEBHOOK_TOKENS="t1,t2")
        assert front.segment('{"messageId":"a"}', **more).status_code == 401
        assert front.segment('{"messageId":"a"}', signed="other", query_string="token=t1").status_code == 401
        assert front.rows() == []

    def test_extensible_batches_are_unwrapped_and_their_slices_kept(self, front: Front) -> None:
        wrapped = '{"json":{"messageId":"a", "n": 1.0}}'
        body = (
            f'[{wrapped}, {{ "json" : {{"messageId":"b"}} }}, {{"\\u006ason":{{"messageId":"c"}}}}, {{"body":"a=b"}}]'
        )
        assert front.segment(body, signed=wrapped).status_code == 200
        assert [(row["message_id"], row["body"], row["rotten"]) for row in front.rows()] == [
            ("a", '{"messageId":"a", "n": 1.0}', None),
            ("b", '{"messageId":"b"}', None),
            ("c", '{"messageId":"c"}', None),
            (
                digest('{"body":"a=b"}'),
                '{"body":"a=b"}',
                "the element is form-encoded: set the header Content-Type of the webhook to application/json",
            ),
        ]

    def test_a_repeat_is_a_duplicate_and_the_first_body_stays(self, front: Front) -> None:
        front.segment('{"messageId":"a","n":1}')
        assert front.segment('{"messageId":"a","n":2}').json == {"stored": 0, "duplicates": 1}
        assert [row["body"] for row in front.rows()] == ['{"messageId":"a","n":1}']

    def test_a_write_key_is_never_stored(self, front: Front) -> None:
        deep = '{"writeKey": "wk-\\"secret", "d":' + "[" * 5_000 + "]" * 5_000 + "}"
        body = (
            '[{"messageId":"a","writeKey":"wk-secret","n":1},{"messageId":"b","\\u0077riteKey":"wk-secret"},'
            '{"messageId":"c","writeKey":"wk-secret","n":NaN},[{"writeKey":"wk-secret"}],'
            f'{{"json":{{"messageId":"d","writeKey":"wk-secret"}}}},{deep}]'
        )
        assert front.segment(body).json == {"stored": 6, "duplicates": 0}
        rows = front.rows()
        assert not any("secret" in row["body"] for row in rows)
        assert rows[0]["body"] == '{"messageId":"a","n":1}'
        assert [row["message_id"] for row in rows[:3]] == ["a", "b", "c"]

    def test_a_delete_comes_in_as_it_is(self, front: Front) -> None:
        body = '{"type":"delete","userId":"u1","timestamp":"2024-11-21T09:00:00Z","context":[],"integrations":[]}'
        assert front.segment(body).status_code == 200
        assert [(row["message_id"], row["rotten"], row["authenticated"]) for row in front.rows()] == [
            (digest(body), None, True)
        ]


class TestKlaviyo:
    EVENT = '{"external_id":"4L3cwQae2TX","topic":"event:klaviyo.opened_email","payload":{"data":{"n":1.50}}}'
    META = '{"klaviyo_webhook_id":"W1","timestamp":"2024-01-04T13:05:25.891446+00:00"}'

    def post(self, front: Front, body: str, **headers: str) -> TestResponse:
        data = body.encode()
        return front.client.post("/webhooks/klaviyo", data=data, headers=klaviyo_headers(data) | headers)

    def test_a_delivery_becomes_its_events(self, front: Front) -> None:
        body = f'{{"data":[{self.EVENT},{{"external_id":"E2"}}, {{"topic":"x"}}],"meta":{self.META}}}'
        answer = self.post(front, body, **{"Klaviyo-Webhook-Id": "W1"})
        assert (answer.status_code, answer.json) == (200, {"stored": 3, "duplicates": 0})
        assert [(row["message_id"], row["body"], row["envelope"]) for row in front.rows()] == [
            ("4L3cwQae2TX", self.EVENT, f'{{"meta":{self.META}}}'),
            ("E2", '{"external_id":"E2"}', f'{{"meta":{self.META}}}'),
            (digest('{"topic":"x"}'), '{"topic":"x"}', f'{{"meta":{self.META}}}'),
        ]
        assert {(row["source"], row["authenticated"], row["rotten"]) for row in front.rows()} == {
            ("klaviyo", True, None)
        }

    def test_the_vector_of_the_reference_is_accepted(self, front: Front) -> None:
        headers = {
            "Klaviyo-Signature": "ba4df2f029428af88380b42954b88db08aebed9b06eb9fcd1a1d0038ffd8998c",
            "Klaviyo-Timestamp": "Sat, 21 Nov 2026 10:00:00 GMT",
        }
        answer = front.client.post(
            "/webhooks/klaviyo", data=b'{"data":[],"meta":{"klaviyo_webhook_id":"W1"}}', headers=headers
        )
        assert (answer.status_code, answer.json, front.rows()) == (200, {"stored": 0, "duplicates": 0}, [])

    def test_another_webhook_id_in_the_header_is_refused(self, front: Front) -> None:
        body = f'{{"data":[{self.EVENT}],"meta":{self.META}}}'
        assert self.post(front, body, **{"Klaviyo-Webhook-Id": "W2"}).status_code == 401
        assert front.rows() == []

    @pytest.mark.parametrize("body", ['{"email":"x"}', '[{"external_id":"E"}]', '{"data":{}}', '"text"', "7"])
    def test_what_is_no_delivery_is_stored_with_the_reason(self, front: Front, body: str) -> None:
        assert self.post(front, body).status_code == 200
        (row,) = front.rows()
        assert row["body"] == body
        assert row["rotten"].startswith("the delivery is not what a Klaviyo system webhook sends")

    def test_a_rotten_meta_costs_the_envelope_only(self, front: Front) -> None:
        assert self.post(front, f'{{"meta":{{"n":NaN}},"data":[{self.EVENT}]}}').status_code == 200
        assert [(row["message_id"], row["envelope"], row["rotten"]) for row in front.rows()] == [
            ("4L3cwQae2TX", None, None)
        ]


class TestCustomerio:
    def test_an_event_is_stored_under_its_event_id(self, front: Front) -> None:
        body = b'{"event_id":"01E2","object_type":"email","metric":"clicked","timestamp":1700000000,"data":{}}'
        answer = front.client.post("/webhooks/customerio", data=body, headers=customerio_headers(body))
        assert answer.status_code == 200
        assert [(row["source"], row["message_id"], row["body"], row["rotten"]) for row in front.rows()] == [
            ("customerio", "01E2", body.decode(), None)
        ]

    def test_the_vector_of_the_reference_is_accepted(self, front: Front) -> None:
        headers = {
            "X-CIO-Signature": "20e8cce11773ba40df0e008fb97bbd3dc4c39a98278404c81383ab54d20188fa",
            "X-CIO-Timestamp": "1700000000",
        }
        answer = front.client.post("/webhooks/customerio", data=b'{"metric":"clicked"}', headers=headers)
        assert answer.json == {"stored": 1, "duplicates": 0}


class TestTrackingApi:
    @pytest.mark.parametrize(
        ("name", "type_"),
        [
            *((name, name) for name in ("track", "identify", "page", "screen", "group", "alias")),
            *zip("tipsga", ("track", "identify", "page", "screen", "group", "alias"), strict=True),
        ],
    )
    def test_the_path_says_the_type_where_the_body_does_not(self, front: Front, name: str, type_: str) -> None:
        answer = front.call(name, '{"messageId":"a"}')
        front.call(name, '{"messageId":"b","type":"page"}')
        assert (answer.status_code, answer.json) == (200, {"success": True})
        assert [(row["source"], row["message_id"], row["envelope"], row["rotten"]) for row in front.rows()] == [
            ("tracking_api", "a", json.dumps({"type": type_}, separators=(",", ":")), None),
            ("tracking_api", "b", None, None),
        ]

    @pytest.mark.parametrize("name", ["batch", "b"])
    def test_a_batch_says_once_what_holds_for_all(self, front: Front, name: str) -> None:
        body = (
            '{"batch":[{"type":"track","messageId":"a", "n":1.0},{"type":"delete","messageId":"b"}, 3],'
            '"sentAt":"2024-11-21T09:06:40.123Z", "context":{"library":{"name":"x"}},"writeKey":"write-key","other":1}'
        )
        answer = front.call(name, body, key=None)
        envelope = '{"sentAt":"2024-11-21T09:06:40.123Z","context":{"library":{"name":"x"}}}'
        assert (answer.status_code, answer.json) == (200, {"success": True})
        assert [(r["message_id"], r["body"], r["envelope"], r["rotten"]) for r in front.rows()] == [
            ("a", '{"type":"track","messageId":"a", "n":1.0}', envelope, None),
            (
                "b",
                '{"type":"delete","messageId":"b"}',
                envelope,
                "delete is not accepted here: only the signed Segment webhook and the operator may forget a person",
            ),
            (digest("3"), "3", envelope, "the element is not a JSON object"),
        ]

    def test_analytics_js_sends_text_with_its_key_inside(self, front: Front) -> None:
        body = '{"messageId":"ajs-next-1","writeKey":"write-key","userId":null}'
        answer = front.call("t", body, key=None, **{"Content-Type": "text/plain", "Origin": "https://shop.example"})
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert [row["body"] for row in front.rows()] == ['{"messageId":"ajs-next-1","userId":null}']

    def test_a_browser_may_ask_first(self, front: Front) -> None:
        answer = front.client.options("/v1/t", headers={"Access-Control-Request-Headers": "authorization"})
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]

    @pytest.mark.parametrize("name", ["track", "batch"])
    @pytest.mark.parametrize(
        ("key", "body"),
        [
            (None, "{}"),
            ("wrong", "{}"),
            ("wrong", '{"writeKey":"wrong"}'),
            (None, '{"writeKey":7}'),
            (None, "not JSON"),
            (None, b"\xff\xfe\xfd"),
            (None, '[{"writeKey":"write-key"},{"writeKey":"wrong"}]'),
        ],
    )
    def test_without_its_key_nobody_is_known(self, front: Front, name: str, key: str | None, body: bytes | str) -> None:
        answer = front.call(name, body, key=key)
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert front.rows() == []

    def test_a_bearer_token_is_no_write_key(self, front: Front) -> None:
        assert front.call("track", "{}", key=None, Authorization="Bearer write-key").status_code == 401

    def test_a_single_delete_is_no_more_welcome(self, front: Front) -> None:
        assert front.call("track", '{"type":" Delete","userId":"u"}').status_code == 200
        assert front.rows()[0]["rotten"].startswith("delete is not accepted here")

    def test_a_batch_without_its_array_is_stored_with_the_reason(self, front: Front) -> None:
        assert front.call("batch", '{"events":[],"writeKey":"write-key"}').status_code == 200
        assert [(r["body"], r["rotten"]) for r in front.rows()] == [
            ('{"events":[],"writeKey":""}', 'the batch has no array "batch"')
        ]

    def test_an_unknown_call_is_404_in_json(self, front: Front) -> None:
        answer = front.call("projects", "{}")
        assert answer.status_code == 404
        assert answer.json is not None
        assert "/v1/ followed by identify" in answer.json["message"]


DEEP = '{"messageId":"deep","a":' + "[" * 100_000 + "]" * 100_000 + "}"
UNREADABLE = "the element is nested too deeply, or holds a number too long, to be read"
NOT_OBJECT = "the element is not a JSON object"
NAN = "the element contains NaN, which JSON does not have: send null or leave the field out"
GOOD = '{"messageId":"good"}'

# A name, the signed body, the status, and of each stored row its id (None: a digest of the body) and why it is rotten.
BAD_INPUT: list[tuple[str, bytes | str, int, list[tuple[str | None, str | None]]]] = [
    ("not JSON", "hello", 400, []),
    ("nothing", "", 400, []),
    ("white space", " \n", 400, []),
    ("form", "a=b&c=d", 400, []),
    ("cut off", '{"messageId":"a"', 400, []),
    ("cut off array", '[{"messageId":"a"},', 400, []),
    ("cut off deep", "[" * 100_000, 400, []),
    ("cut off deep in a string", "[" * 100_000 + '"\\"' * 10_000, 400, []),
    ("two values", '{"messageId":"a"} {"messageId":"b"}', 400, []),
    ("trailing comma", '[{"messageId":"a"},]', 400, []),
    ("raw NUL", b'{"messageId":"a\x00"}', 400, []),
    ("raw NUL, deep", b"[" * 5_000 + b"\x00" + b"]" * 5_000, 400, []),
    ("raw control character", b'{"messageId":"a\x01"}', 400, []),
    ("not UTF-8", b'{"messageId":"\xff"}', 400, []),
    ("surrogate in UTF-8", b'{"messageId":"\xed\xa0\x80"}', 400, []),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), 200, [("good", None)]),
    ("UTF-16", GOOD.encode("utf-16"), 200, [("good", None)]),
    ("UTF-32", GOOD.encode("utf-32-le"), 200, [("good", None)]),
    ("empty array", "[]", 200, []),
    ("NaN", '{"messageId":"n","properties":{"v":NaN}}', 200, [("n", NAN)]),
    (
        "infinite",
        '[{"messageId":"n","v":-Infinity},' + GOOD + "]",
        200,
        [("n", NAN.replace("NaN", "-Infinity")), ("good", None)],
    ),
    ("lone surrogates", '{"messageId":"s","v":"\\ud800 \\udfff"}', 200, [("s", None)]),
    ("1e21", '{"messageId":"e","v":1e21}', 200, [("e", None)]),
    ("1e999", '{"messageId":"e","v":1e999}', 200, [("e", None)]),
    (
        "a number of 5,000 digits",
        '[{"messageId":"e","v":' + "9" * 5_000 + "}," + GOOD + "]",
        200,
        [(None, UNREADABLE), ("good", None)],
    ),
    ("deep nesting", DEEP, 200, [(None, UNREADABLE)]),
    ("deep nesting in an array", f"[{GOOD}, {DEEP} ]", 200, [("good", None), (None, UNREADABLE)]),
    ("deep array alone", "[" * 50_000 + "]" * 50_000, 200, [(None, UNREADABLE)]),
    ("context: []", '{"messageId":"c","context":[],"integrations":[]}', 200, [("c", None)]),
    ("numeric ids", '{"messageId":7,"userId":8}', 200, [(None, None)]),
    ("missing messageId", '{"type":"track"}', 200, [(None, None)]),
    ("empty messageId", '{"messageId":""}', 200, [(None, None)]),
    ("null messageId", '{"messageId":null}', 200, [(None, None)]),
    ("the future", '{"messageId":"f","timestamp":"2999-01-01T00:00:00Z"}', 200, [("f", None)]),
    ("unknown event type", '{"messageId":"u","type":"blubb"}', 200, [("u", None)]),
    (
        "one rotten element",
        f'["x",{GOOD},null,1]',
        200,
        [(None, NOT_OBJECT), ("good", None), (None, NOT_OBJECT), (None, NOT_OBJECT)],
    ),
    ("a string", '"text"', 200, [(None, NOT_OBJECT)]),
    ("null", "null", 200, [(None, NOT_OBJECT)]),
    ("too large", b'{"a":"' + b"x" * 10_000_000 + b'"}', 413, []),
    ("too many elements", "[" + ",".join(["1"] * (MAX_ELEMENTS + 1)) + "]", 413, []),
]


@pytest.mark.parametrize(
    ("body", "status", "stored"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT]
)
def test_bad_input(front: Front, body: bytes | str, status: int, stored: list[tuple[str | None, str | None]]) -> None:
    answer = front.segment(body)
    rows = front.rows()
    assert answer.status_code == status
    assert [(row["message_id"], row["rotten"]) for row in rows] == [
        (digest(row["body"]) if key is None else key, rotten) for (key, rotten), row in zip(stored, rows, strict=True)
    ]
    if status == 200:
        assert answer.json == {"stored": len(stored), "duplicates": 0}
        assert front.refused() == {}
    else:
        reason = {400: "not_json", 413: "too_large"}[status]
        assert answer.content_type == "application/json"
        assert answer.json is not None
        assert set(answer.json) == {"message"}
        assert front.refused() == {f"rejected.segment.{reason}": 1}


@pytest.mark.parametrize("key", ["x" * 201, "a\\u0000b", "a\\nb", "a\\ud800b", "\\u0085"])
def test_an_id_no_store_would_keep_is_replaced_by_its_digest(store: Store, key: str) -> None:
    front = Front(store)
    for _ in range(2):
        assert front.segment(f'{{"messageId":"{key}"}}').status_code == 200
    close(front.app)
    given = json.loads(f'"{key}"')
    expected = "long-" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    assert [row["message_id"] for row in front.rows()] == [expected]


def test_an_id_of_200_characters_is_kept(front: Front) -> None:
    front.segment(f'{{"messageId":"{"x" * 200}"}}')
    assert [row["message_id"] for row in front.rows()] == ["x" * 200]


SIGNED: dict[str, Callable[[bytes], dict[str, str]]] = {
    "/webhooks/segment": lambda body: {"X-Signature": sha1(body)},
    "/webhooks/klaviyo": klaviyo_headers,
    "/webhooks/customerio": customerio_headers,
    "/v1/track": lambda _: {"Authorization": "Basic " + base64.b64encode(b"write-key:").decode()},
}
VARIABLES = {
    "/webhooks/segment": ("segment", "SEGMENT_SHARED_SECRETS"),
    "/webhooks/klaviyo": ("klaviyo", "KLAVIYO_WEBHOOK_SECRETS"),
    "/webhooks/customerio": ("customerio", "CUSTOMERIO_SIGNING_KEYS"),
    "/v1/track": ("tracking_api", "SOURCE_WRITE_KEYS"),
}


@pytest.mark.parametrize("path", SIGNED)
def test_a_wrong_signature_is_401_whatever_the_header_looks_like(front: Front, path: str) -> None:
    body = b'{"data":[{"messageId":"a"}]}'
    right = SIGNED[path](body)
    name, signature = next(iter(right.items()))
    wrong: list[dict[str, str]] = [
        {},
        *({**right, name: value} for value in ("", "x", "\xe9\xff", signature[:-1] + "?")),
    ]
    for headers in wrong:
        answer = front.client.post(path, data=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json is not None
        assert VARIABLES[path][1] in answer.json["message"]
    source = VARIABLES[path][0]
    assert front.rows() == []
    assert front.refused() == {f"rejected.{source}.unauthorized": len(wrong)}


@pytest.mark.parametrize("path", SIGNED)
def test_a_source_without_its_secret_is_closed(fronts: Callable[..., Front], path: str) -> None:
    source, variable = VARIABLES[path]
    front = fronts(**{variable: ""})
    body = b'{"messageId":"a"}'
    answer = front.client.post(path, data=body, headers=SIGNED[path](body))
    assert (answer.status_code, answer.json) == (
        403,
        {"message": f"this source is closed: set {variable} and restart the connector"},
    )
    assert front.refused() == {f"rejected.{source}.closed": 1}


@pytest.mark.parametrize("path", SIGNED)
def test_garbage_from_a_known_sender_is_400_and_from_an_unknown_one_401(front: Front, path: str) -> None:
    for garbage in (b"<xml/>", b"[[[", b'{"data":[{]}', b"\xff", b"{1:2}", b'{"data"', b" "):
        # Of an email platform, a body of nothing is a try of its secret; Segment has no such thing.
        tried = not garbage.strip() and path in ("/webhooks/klaviyo", "/webhooks/customerio")
        expected = 200 if tried else 400
        assert front.client.post(path, data=garbage, headers=SIGNED[path](garbage)).status_code == expected
        assert front.client.post(path, data=garbage).status_code == 401
    assert front.rows() == []


def test_an_unknown_provider_is_told_the_known_ones(front: Front) -> None:
    answer = front.client.post("/webhooks/mailgnu", data=b"{}")
    known = [
        "segment",
        *(path.stem for path in sorted(shipped_mappings().glob("sources/*.toml")) if path.stem != "segment"),
    ]
    assert (answer.status_code, answer.json) == (
        404,
        {"message": f"unknown provider; known are {', '.join(f'/webhooks/{name}' for name in known)}"},
    )
    assert front.refused() == {}


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
        ("gzip", lambda body: gzip.compress(b" ") * (MAX_MEMBERS - 1) + gzip.compress(body)),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
def test_compressed_bodies(front: Front, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    answer = front.call("track", compress(GOOD.encode()), **{"Content-Encoding": encoding})
    assert answer.status_code == 200
    assert [row["body"] for row in front.rows()] == [GOOD]


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b" ") * MAX_MEMBERS + gzip.compress(GOOD.encode()), 400),
        ("gzip", GOOD.encode(), 400),
        ("gzip", gzip.compress(GOOD.encode())[:-9], 400),
        ("gzip", gzip.compress(GOOD.encode()) + b"tail", 400),
        ("deflate", b"x", 400),
        ("deflate", b"", 400),
        ("br", b"x", 400),
        ("gzip, gzip", b"x", 400),
        ("gzip", gzip.compress(b" " * (MAX_BODY_BYTES + 1)), 413),
    ],
)
def test_what_cannot_be_decompressed_within_bounds(front: Front, encoding: str, body: bytes, status: int) -> None:
    assert front.call("track", body, **{"Content-Encoding": encoding}).status_code == status


def test_an_envelope_of_very_many_members_is_413_before_it_is_read(front: Front) -> None:
    """Each costs a step, and the key may be the last one: who is known hears 413, who is not 401."""
    members = [*(['"a":1'] * (MOST_MEMBERS - 1)), f'"batch":[{GOOD}]']
    assert front.call("batch", "{" + ",".join(members) + "}").json == {"success": True}
    many = "{" + ",".join(['"a":1', *members]) + "}"
    assert front.call("batch", many).json == {"message": "the request's object has more than 1000 members"}
    keyed = many.replace('"a":1,', '"writeKey":"write-key",', 1)
    assert [front.call("batch", body, key).status_code for body, key in ((many, "write-key"), (keyed, None))] == [
        413,
        401,
    ]


def test_few_large_bodies_are_read_at_a_time_and_their_places_are_given_back() -> None:
    bodies = Bodies()
    large = b"x" * (LARGE_BYTES + 1)
    with ExitStack() as taken:
        for _ in range(LARGE_READERS):
            taken.enter_context(bodies.place(large=True))
        assert bodies.read(io.BytesIO(large[1:])) == large[1:]
        for _ in range(READERS + 1):
            with pytest.raises(Crowded):
                bodies.read(io.BytesIO(large))
    for _ in range(READERS + 1):
        assert bodies.read(io.BytesIO(large)) == large


def test_a_crowded_door_counts_whom_it_sends_away(front: Front) -> None:
    with ExitStack() as taken:
        for _ in range(READERS):
            taken.enter_context(front.app.extensions["connector"].bodies.place())
        answers = [front.segment(GOOD), front.call("track", GOOD), front.client.get("/healthz")]
    assert [one.status_code for one in answers] == [503, 503, 200]
    assert answers[1].headers["Access-Control-Allow-Origin"] == "*"
    assert front.refused() == {"rejected.segment.crowded": 1, "rejected.tracking_api.crowded": 1}
    assert front.segment(GOOD).status_code == 200


def test_a_bomb_is_never_unpacked(front: Front) -> None:
    bomb = gzip.compress(b"\0" * 200 * 1024 * 1024)
    tracemalloc.start()
    answer = front.call("track", bomb, **{"Content-Encoding": "gzip"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 4 * MAX_BODY_BYTES


def test_a_locked_database_is_503_and_the_retry_is_stored_once(
    fronts: Callable[..., Front], sqlite_store: Store
) -> None:
    """Another process holds the file's write lock for longer than senders wait."""
    front = fronts()
    other = sqlite3.connect(sqlite_store.engine.url.database or "", isolation_level=None)
    other.execute("begin immediate")
    refused = front.segment(GOOD)
    other.execute("rollback")
    other.close()
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert refused.json is not None
    assert set(refused.json) == {"message"}
    again = front.segment(GOOD)
    assert again.status_code == 200
    assert [row["message_id"] for row in front.rows()] == ["good"]
    assert front.refused() == {"rejected.segment.unavailable": 1}


def test_a_store_that_is_gone_is_503(tmp_path: Path) -> None:
    front = Front(open_store("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    answer = front.segment(GOOD)
    ready = front.client.get("/readyz")
    metrics = front.client.get("/metrics")
    alive = front.client.get("/healthz")
    close(front.app)
    front.store.dispose()
    assert [one.status_code for one in (answer, ready, metrics, alive)] == [503, 503, 503, 200]


def test_a_mistake_in_any_view_is_500_without_details(sqlite_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    broken = Blueprint("broken", __name__)
    address = "@".join(("ann", "example.com"))

    @broken.get("/broken")
    def view() -> str:
        raise ZeroDivisionError(address)

    app = create_app(settings(), sqlite_store, blueprints=[broken])
    answer = app.test_client().get("/broken")
    close(app)
    assert (answer.status_code, answer.json) == (500, {"message": "the connector made a mistake; it is in its log"})
    assert "ZeroDivisionError" in caplog.text
    assert address not in caplog.text


def test_an_unexpected_failure_is_500(caplog: pytest.LogCaptureFixture) -> None:
    address = "@".join(("ann", "example.com"))

    def fails(_: object) -> Any:
        raise ZeroDivisionError(address)

    reception = Reception(settings().secrets_of, fails, lambda *_: None, lambda: NOW)
    body = GOOD.encode()
    answer = ingest(Incoming("POST", "/webhooks/segment", {"x-signature": sha1(body)}, body), reception)
    assert (answer.status, answer.body) == (500, b'{"message":"the connector made a mistake; send this again later"}')
    assert "ZeroDivisionError" in caplog.text
    assert address not in caplog.text


def test_ingest_needs_no_web_framework() -> None:
    """A shorter way than Flask gives the same answers."""
    kept: list[Received] = []

    def submit(received: Sequence[Received]) -> Kept:
        kept.extend(received)
        return Kept(len(received))

    reception = Reception(settings().secrets_of, submit, lambda *_: None, lambda: NOW)
    body = GOOD.encode()
    answer = ingest(Incoming("POST", "/webhooks/segment", {"x-signature": sha1(body)}, body), reception)
    assert (answer.status, answer.body) == (200, b'{"stored":1,"duplicates":0}')
    assert kept == [Received("segment", "good", GOOD, NOW)]


class TestRefusals:
    def test_a_flood_is_counted_and_hardly_written(self, front: Front) -> None:
        statements: list[str] = []
        sa.event.listen(front.store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        for _ in range(300):
            front.segment(GOOD, signed="other")
        assert front.refused() == {"rejected.segment.unauthorized": 300}
        assert sum("counters" in one and one.lstrip().lower().startswith("insert") for one in statements) < 30

    def test_the_door_remembers_when_and_why(self, front: Front) -> None:
        front.segment(GOOD)
        front.segment(GOOD, signed="other")
        front.refused()
        with front.store.reading() as tx:
            rows = [tuple(row) for row in tx.execute(sa.select(doors_table))]
        because = "X-Signature does not match: the webhook's shared secret must be one of SEGMENT_SHARED_SECRETS"
        assert rows == [("segment", NOW, NOW, because)]

    def test_what_could_not_be_written_stays_counted(self, tmp_path: Path) -> None:
        store = open_store(f"sqlite:///{tmp_path / 'late.db'}")
        metadata.create_all(store.engine)
        front = Front(store)
        other = sqlite3.connect(tmp_path / "late.db", isolation_level=None)
        other.execute("begin immediate")
        front.segment(GOOD, signed="other")
        front.app.extensions["connector"].refusals.flush()
        other.execute("rollback")
        other.close()
        close(front.app)
        assert front.refused() == {"rejected.segment.unauthorized": 1}
        store.dispose()


class TestObserving:
    def test_ready_needs_a_worker_and_a_short_backlog(self, front: Front) -> None:
        silent = front.client.get("/readyz")
        with front.store.writing() as tx:
            tx.execute(sa.text(f"insert into heartbeats (name, pid, seen_at) values ('worker', 1, {NOW - 29_000})"))
        ready = front.client.get("/readyz")
        with front.store.writing() as tx:
            tx.execute(
                sa.text(
                    "insert into inbox (id, source, message_id, body, received_at, authenticated)"
                    f" values (1, 's', 'm', '{{}}', {NOW - 16 * 60_000}, true)"
                )
            )
            tx.execute(sa.text("insert into inbox_todo (inbox_id) values (1)"))
        behind = front.client.get("/readyz")
        assert (silent.status_code, silent.json) == (
            503,
            {"status": "not ready", "reasons": ["no worker was alive within the last 30 seconds"]},
        )
        assert (ready.status_code, ready.json) == (200, {"status": "ready"})
        assert (behind.status_code, behind.json) == (
            503,
            {"status": "not ready", "reasons": ["the oldest message has waited for stitching longer than 900 seconds"]},
        )

    def test_metrics_are_what_prometheus_reads(self, store: Store) -> None:
        front = Front(store)
        front.segment(GOOD)
        front.segment(GOOD)
        front.segment(GOOD, signed="other")
        front.refused()
        told = {"email.held": 2, "email.passed": 1, "outbox.segment.dead": 1, "outbox.segment.delivered": 3}
        with store.writing() as tx:
            for name, n in {**told, "profiles": 4, "quarantined": 0}.items():
                counters.add(tx, name, n)
        answer = front.client.get("/metrics")
        close(front.app)
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.text.splitlines() == [
            "# TYPE connector_rejected_total counter",
            'connector_rejected_total{source="segment",reason="unauthorized"} 1',
            "# TYPE connector_duplicates_total counter",
            "connector_duplicates_total 1",
            "# TYPE connector_email_held gauge",
            "connector_email_held 2",
            "# TYPE connector_email_passed_total counter",
            "connector_email_passed_total 1",
            "# TYPE connector_outbox_segment_dead gauge",
            "connector_outbox_segment_dead 1",
            "# TYPE connector_outbox_segment_delivered_total counter",
            "connector_outbox_segment_delivered_total 3",
            "# TYPE connector_profiles gauge",
            "connector_profiles 4",
            "# TYPE connector_quarantined gauge",
            "connector_quarantined 0",
            "# TYPE connector_inbox_waiting gauge",
            "connector_inbox_waiting 1",
            "# TYPE connector_inbox_oldest_seconds gauge",
            "connector_inbox_oldest_seconds 0.0",
            "# TYPE connector_heartbeat_age_seconds gauge",
        ]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "/nowhere", 404), ("POST", "/healthz", 405), ("GET", "/v1/track", 405), ("POST", "/webhooks/", 404)],
    )
    def test_what_is_not_there_is_told_in_json(self, front: Front, method: str, path: str, status: int) -> None:
        answer = front.client.open(path, method=method)
        assert answer.status_code == status
        assert answer.json is not None
        assert set(answer.json) == {"message"}
