"""What ``[door]`` of a mapping makes of a request: elements, what stands beside them, what is never stored, answers."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import tracemalloc
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import forms, source_mapping
from connector.elements import dedupe_key
from connector.errors import MappingError, PayloadError, VerificationError
from connector.messages import Received
from connector.receive import Answer, Reception, ingest
from connector.sources import Incoming, declared

NOW = 1_732_180_000_000


def taken(door: dict[str, Any], body: bytes | str, **headers: str) -> list[Received]:
    source = source_mapping.read("sources/acme.toml", {"secrets": "ACME", "door": {"signature": "secret", **door}})
    body = body.encode() if isinstance(body, str) else body
    return declared.taken(source, Incoming("POST", "/webhooks/acme", headers, body), NOW)


def test_the_body_is_the_event_or_the_array_of_them() -> None:
    assert [one.body for one in taken({}, ' {"a": 1} ')] == ['{"a": 1}']
    assert [one.body for one in taken({}, '[{"a": 1}, {"b":2.0}]')] == ['{"a": 1}', '{"b":2.0}']


@pytest.mark.parametrize("body", ['{"n": 7, "events": [{"a": 1}], "m": 8}', '[{"events": [{"a": 1}], "n": 7}]'])
def test_the_events_are_in_a_member_and_others_are_kept_beside_them(body: str) -> None:
    (one,) = taken({"elements": "events", "beside": ["n", "none"]}, body)
    assert (one.body, one.envelope) == ('{"a": 1}', '{"n":7}')


def test_a_delivery_without_its_member_is_kept_and_says_so() -> None:
    (one,) = taken({"elements": "events"}, '{"event": {}}')
    assert (one.body, one.rotten) == ('{"event": {}}', 'the delivery has no array "events"')


def test_a_form_is_an_object_and_json_at_the_same_door_is_read_too() -> None:
    form = "type=open&contact%5Bemail%5D=jane%40x.test&contact[fields][plan]=pro&tags[]=a&tags[]=b&n=&x=\xff"
    (one,) = taken({"form": True}, form.encode("latin-1"))
    assert json.loads(one.body) == {
        "type": "open",
        "contact": {"email": "jane@x.test", "fields": {"plan": "pro"}},
        "tags": ["a", "b"],
        "n": "",
        "x": "\ufffd",
    }
    assert [one.body for one in taken({"form": True}, '{"type": "open"}')] == ['{"type": "open"}']


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("a=1&a[b]=2", {"a": "1", "a[b]": "2"}),
        ("a[b]=1&a=2", {"a": [{"b": "1"}, "2"]}),
        ("a[=1&]b=2&a]c[=3", {"a[": "1", "]b": "2", "a]c[": "3"}),
        ("[a]=1", {"[a]": "1"}),
        ("a[][b]=1", {"a": {"0": {"b": "1"}}}),
        ("a" + "[b]" * 20 + "=1", {"a" + "[b]" * 20: "1"}),
        ("", {}),
        ("=1", {"": "1"}),
    ],
)
def test_odd_forms_lose_nothing(form: str, value: dict[str, Any]) -> None:
    assert forms.parse(form) == value


def test_a_form_of_more_fields_than_any_is_refused() -> None:
    with pytest.raises(PayloadError, match="more than 1000 fields"):
        forms.parse("&".join(["a=1"] * 1001))


def test_what_is_never_stored_is_not() -> None:
    door = {"strip": ["data.content", "data.headers", "raw"]}
    kept, whole = taken(door, '[{"data": {"content": "Dear Jane", "n": 1}, "raw": [1]}, {"data": "x",  "n": 1.0}]')
    assert (kept.body, whole.body) == ('{"data":{"n":1}}', '{"data": "x",  "n": 1.0}')
    assert kept.message_id == dedupe_key(None, kept.body)


def test_what_cannot_be_read_and_may_hold_what_is_never_stored_is_not_kept() -> None:
    long = "9" * 5_000
    found = taken(
        {"strip": ["data.content"]}, f'[{{"data": {{"content": "Dear Jane"}}, "n": {long}}}, {{"n": {long}}}]'
    )
    assert [(one.body[:4], bool(one.rotten)) for one in found] == [("", True), ('{"n"', True)]
    assert found[0].message_id != found[1].message_id


@given(st.text(st.sampled_from("a=&%+é4D1fF[]; \t.\\_-2\ud800"), max_size=40))
def test_a_form_is_read_as_the_standard_library_reads_it(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert forms.pairs(text) == parse_qsl(text, keep_blank_values=True, errors="replace")


def test_a_form_of_escapes_costs_little_more_than_its_size() -> None:
    """It is read before its sender is known."""
    text = "a=" + "%41" * 1_000_000
    tracemalloc.start()
    try:
        ((name, value),) = forms.pairs(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (name, len(value)) == ("a", 1_000_000)
    assert peak < 8 * len(text)


def test_broken_escapes_are_few() -> None:
    assert forms.pairs("a=100%&b=%zz%41") == [("a", "100%"), ("b", "%zzA")]
    with pytest.raises(PayloadError, match="broken escapes"):
        forms.pairs("a=" + "%4" * 10_001)


@pytest.mark.parametrize(
    ("dedupe", "key"),
    [
        (["id"], "7"),
        (["none", "name"], "evt"),
        ({"@x-header": "X-Id"}, "h1"),
        ({"@template": "{{name}}/{{id}}"}, "evt/7"),
        (["n"], "beside"),
        (["none"], None),
        (["data"], None),
        ({"@if": {"exists": False}}, None),  # it fails for every event: the digest stands in
    ],
)
def test_repeats_are_told_by_what_the_mapping_says_else_by_a_digest(dedupe: Any, key: str | None) -> None:
    door = {"elements": "events", "beside": ["n"], "headers": ["x-id", "x-none"], "dedupe": dedupe}
    body = '{"n": "beside", "events": [{"id": 7, "name": "evt", "data": {}}]}'
    (one,) = taken(door, body, **{"x-id": "h1", "x-other": "h2"})
    assert json.loads(one.envelope or "") == {"n": "beside", "_headers": {"x-id": "h1"}}
    assert one.message_id == (dedupe_key(None, one.body) if key is None else key)


def test_a_key_of_several_values_tells_them_apart_by_their_places() -> None:
    door = {"dedupe": {"@x-digest": ["a", "b"]}}
    keys = [one.message_id for one in taken(door, '[{"a":"x"},{"b":"x"},{"a":"x","b":null},{"c":1},{"a":"x","b":""}]')]
    assert keys[0] == keys[2] == keys[4]
    assert len(set(keys)) == 3


def answered(
    body: bytes,
    method: str = "POST",
    path: str = "/webhooks/acme/s",
    *,
    encoding: str = "",
    length: str = "",
    **door: Any,
) -> Answer:
    table = {"secrets": "ACME", "settings": ["ACME_MORE"], "door": {"signature": "secret", **door}}
    source = source_mapping.read("sources/acme.toml", table)
    variables = {"ACME": ("s", "s/l/a"), "ACME_MORE": ("m",)}
    reception = Reception(
        lambda name: variables.get(name, ()),
        lambda _: pytest.fail("nothing of it may be stored"),
        lambda *_: None,
        lambda: NOW,
        declared.doors({"acme": source}),
    )
    headers = {"content-encoding": encoding, "content-length": length}
    return ingest(Incoming(method, path, headers, body), reception)


def test_a_platform_that_reads_statuses_otherwise_hears_its_own() -> None:
    assert [answered(b"{", answers=answers).status for answers in ({}, {"400": 406})] == [400, 406]
    assert answered(b"{", path="/webhooks/acme", answers={"400": 406}).status == 401


def test_a_request_without_events_may_be_a_platform_s_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered whoever sends it: at that time the platform may not have a secret yet."""
    door: dict[str, Any] = {"elements": "events", "probes": ["empty"]}
    bodies = (b"", b" ", b'{"events": []}', b'{"events": [{}]}', b'{"events":' + b" " * 300 + b"[]}")
    assert [answered(body, path="/webhooks/acme", **door).status for body in bodies] == [200, 200, 200, 401, 401]
    assert answered(b'{"events": []}', path="/webhooks/acme", elements="events").status == 401


def test_a_platform_that_tries_its_secret_with_an_empty_body_is_told_that_it_is_right() -> None:
    assert [answered(b"", path=path).status for path in ("/webhooks/acme/s", "/webhooks/acme/t")] == [200, 401]


def test_a_door_may_take_small_bodies_only() -> None:
    assert answered(b" " * 101, max_bytes=100).status == 413
    assert answered(gzip.compress(b" " * 101), encoding="gzip", max_bytes=100).status == 413
    assert answered(b"{" + b" " * 99, max_bytes=100).status == 400


def test_a_body_that_broke_off_may_come_again_whatever_the_platform_makes_of_400() -> None:
    assert answered(b"{", length="9", answers={"400": 406}).status == 400


def test_a_door_with_a_password_asks_for_it() -> None:
    assert answered(b"{", path="/webhooks/acme").headers["WWW-Authenticate"] == 'Basic realm="connector"'


def test_a_secret_in_the_path_may_hold_slashes() -> None:
    assert answered(b"{", path="/webhooks/acme/s/l/a").status == 400
    assert answered(b"{", path="/webhooks/acme/s/l").status == 401


def test_a_platform_may_try_whether_somebody_is_there() -> None:
    assert [answered(b"", method, probes=["HEAD"]).status for method in ("HEAD", "GET", "PUT")] == [200, 405, 405]
    assert answered(b"", "GET", probes=["HEAD"]).headers["Allow"] == "POST, HEAD"


@pytest.mark.parametrize(
    ("said", "prefix"),
    [({}, ""), ({"hash": "sha512", "encoding": "base64", "prefix": "v1,"}, "v1,"), ({"hash": "sha1"}, "")],
)
def test_a_signature_that_is_a_hash_of_the_body_needs_no_module(said: dict[str, str], prefix: str) -> None:
    table = {"secrets": "ACME", "door": {"signature": "hmac", "hmac": {"header": "X-Sig", **said}}}
    read = declared.reader(source_mapping.read("sources/acme.toml", table))
    body, hash_ = b'{"a": 1}', said.get("hash", "sha256")
    digest = hmac.new(b"new", body, hash_).digest()
    made = base64.b64encode(digest).decode() if said.get("encoding") else digest.hex()

    def let_in(signature: str | None, sent: bytes = body) -> bool:
        headers = {} if signature is None else {"x-sig": signature}
        try:
            found = read(Incoming("POST", "/webhooks/acme", headers, sent), lambda _: ("old", "new"), NOW)
        except VerificationError:
            return False
        return [one.body for one in found] == ['{"a": 1}']

    assert let_in(prefix + made)
    wrong = [None, "", made[::-1], "v0," + made, prefix, prefix + made[:-2], prefix + made + "é"]
    assert [let_in(one) for one in wrong] == [False] * len(wrong)
    assert not let_in(prefix + made, body + b" ")


@pytest.mark.parametrize(
    ("hmac_", "said"),
    [
        ({}, "[door.hmac] header: expected the name of the header"),
        ({"header": "X", "hash": "md5"}, "[door.hmac] hash: expected one of sha256, sha1, sha512"),
        ({"header": "X", "encoding": "url"}, "[door.hmac] encoding: expected one of hex, base64"),
        ({"header": "X", "of": "body"}, "[door.hmac] has the unknown key 'of'"),
    ],
)
def test_a_mistake_in_it_is_told(hmac_: dict[str, str], said: str) -> None:
    with pytest.raises(MappingError) as caught:
        source_mapping.read("sources/acme.toml", {"secrets": "A", "door": {"signature": "hmac", "hmac": hmac_}})
    assert said in str(caught.value)
