"""What names somebody in URLs, cookies and calls: read, taken out, hidden."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import landings, urls
from connector.klaviyo import cookie
from connector.klaviyo.cookie import Visitor
from connector.masking import without_tokens
from tests import streams

NAMES = frozenset({"_kx", "utm_email"})
HOUSE = streams.default()
RULES, KEYS = HOUSE.rules, HOUSE.keys
TOKEN = "c2VjcmV0LXRva2Vu==.AbC123"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://x.test/?_kx=t", "https://x.test/"),
        ("https://x.test/?_kx=t&a=1", "https://x.test/?a=1"),
        ("https://x.test/?a=1&_kx=t", "https://x.test/?a=1"),
        ("https://x.test/?a=1&_kx=t&b=2", "https://x.test/?a=1&b=2"),
        ("https://x.test/?a=1&_kx=t&utm_email=q%40x&b=2#top", "https://x.test/?a=1&b=2#top"),
        ("https://x.test/?_kx=t#top", "https://x.test/#top"),
        ("https://x.test/?_kx=t%3D%3D.AbC#/r?_kx=u&c=1", "https://x.test/#/r?c=1"),
        ("https://x.test/#_kx=t", "https://x.test/"),
        ("?_kx=t", ""),
        ("_kx=t&a=1", "a=1"),
        ("a=1;_kx=t;b=2", "a=1;b=2"),
        ("?a=1&amp;_kx=t&amp;b=2", "?a=1&amp;b=2"),
        ("?%5Fkx=t&a=%41", "?a=%41"),
        ("?_kx=a?b&c=1", "?b&c=1"),
        ("?next=%2Fcart%3F_kx%3Dt%253D%26b%3D1&c=2", "?next=%2Fcart%3Fb%3D1&c=2"),
        ("?next=%2Fcart%3Fa%3D1%26_kx%3Dt&c=2", "?next=%2Fcart%3Fa%3D1&c=2"),
        ("?next=%252Fcart%253F_kx%253Dt%2526b", "?next=%252Fcart%253Fb"),
        ("?_kx=a%26b%23c&d=1", "?d=1"),
        ("see https://x.test/?_kx=t or call", "see https://x.test/ or call"),
        ('<a href="https://x.test/?_kx=t&a=1">', '<a href="https://x.test/?a=1">'),
        ("say _kx=t now", "say  now"),
        ("?a_kx=t&x=_kx", "?a_kx=t&x=_kx"),
        ("?_kxy=t&_k=1", "?_kxy=t&_k=1"),
        ("?a=1&&b=%ZZ&_kx=&c", "?a=1&&b=%ZZ&c"),
        ("", ""),
    ],
)
def test_a_parameter_is_taken_out_and_nothing_else_is_touched(text: str, left: str) -> None:
    assert urls.stripped(text, NAMES) == left
    assert urls.stripped(left, NAMES) == left


def test_a_value_is_hidden_where_it_stands() -> None:
    assert urls.masked("https://x.test/?a=1&_kx=t%3D&b=2", NAMES) == "https://x.test/?a=1&_kx=•••&b=2"
    assert urls.masked("?next=%2F%3F_kx%3Dt%26b%3D1", NAMES) == "?next=%2F%3F_kx%3D•••%26b%3D1"


PIECES = st.sampled_from(
    ["?", "&", "#", ";", "=", "&amp;", "%3F", "%26", "%3D", "%253D", "%2526", "_kx", "_kx=", "%5Fkx=", "utm_email=",
     "a", "/", "%", " ", '"', "é", "+", "%2B", "s3cr3t"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join))
def test_what_is_read_can_be_taken_out(text: str) -> None:
    left = urls.stripped(text, NAMES)
    assert not {name for name, _ in urls.parameters(left)} & NAMES
    assert urls.stripped(left, NAMES) == left
    if "_kx" not in text and "utm_email" not in text and "%5Fkx" not in text:
        assert left == text


@given(st.text(max_size=60), st.dictionaries(st.sampled_from(["a", "_kx", "b"]), st.text(max_size=20), max_size=3))
def test_a_query_that_a_browser_made_is_read_back(host: str, told: dict[str, str]) -> None:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items())
    filled = {name: value for name, value in told.items() if value and not urls._ENDS.search(quote(value, safe=""))}
    assert dict(urls.parameters(f"https://{quote(host, safe='')}/?{query}")) == filled
    without = "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items() if name != "_kx")
    assert urls.stripped(f"?{query}", {"_kx"}) == (f"?{without}" if without or not told else "")


# -- a whole call -----------------------------------------------------------------------------------------------------


def call(**more: Any) -> dict[str, Any]:
    return {"type": "page", "anonymousId": "B", "messageId": "m", **more}


def test_a_call_is_passed_on_without_what_names_somebody_by_url_cookie_or_token() -> None:
    told = call(
        context={
            "ip": "192.0.2.1",
            "page": {"url": f"https://x.test/?_kx={TOKEN}&a=1", "search": "?utm_email=j%40x.test", "title": "_kx"},
            "klaviyo": {"__kla_id": "abc", "other": 1},
            "externalIds": [{"id": TOKEN, "type": "_kx"}, {"id": "7", "type": "crm"}],
        },
        properties={"__kla_id": "abc", "links": [{"href": f"/p?_kx={TOKEN}"}], "n": 1},
        traits={"first": "https://x.test/?_ke=amFuZQ&kl_pid=01ABC", "plan": "pro"},
    )
    before = orjson.dumps(told)
    assert urls.stripped_call(told, RULES) == call(
        context={
            "ip": "192.0.2.1",
            "page": {"url": "https://x.test/?a=1", "search": "", "title": "_kx"},
            "klaviyo": {"other": 1},
            "externalIds": [{"id": "7", "type": "crm"}],
        },
        properties={"links": [{"href": "/p"}], "n": 1},
        traits={"first": "https://x.test/", "plan": "pro"},
    )
    assert orjson.dumps(told) == before, "the call itself is as it was"


def test_a_call_with_nothing_of_the_kind_is_the_same() -> None:
    told = call(context={"page": {"url": "https://x.test/?a=1"}, "externalIds": []}, properties={"a": ["b"]})
    stripped = urls.stripped_call(told, RULES)
    assert stripped == told
    assert stripped["properties"] is told["properties"]
    assert stripped["context"]["page"] is told["context"]["page"]


def test_a_body_is_shown_without_its_tokens() -> None:
    told = {
        "context": {"page": {"url": f"https://x.test/?a=1&_kx={TOKEN}"}, "externalIds": [{"id": TOKEN, "type": "_kx"}]},
        "properties": {"__kla_id": "abc", "$exchange_id": TOKEN, "_ke": "kept", "u": "?_ke=amFuZQ&kl_pid=01ABC"},
    }
    assert orjson.loads(without_tokens(json.dumps(told), RULES)) == {
        "context": {"page": {"url": "https://x.test/?a=1&_kx=•••"}, "externalIds": [{"id": "•••", "type": "_kx"}]},
        "properties": {"__kla_id": "•••", "$exchange_id": "•••", "_ke": "kept", "u": "?_ke=•••&kl_pid=01ABC"},
    }
    plain = '{ "a":  [1.0, "_kx"] }'
    assert without_tokens(plain, RULES) == plain, "byte for byte"
    assert without_tokens(f'{{"broken": "?_kx={TOKEN}', RULES) == '{"broken": "?_kx=•••'


# -- the cookie -------------------------------------------------------------------------------------------------------


def wrapped(told: object) -> str:
    return base64.b64encode(json.dumps(told).encode()).decode()


IDENTIFIED = {
    "cid": "NGM0ZTY5NjItNzk1Ny00NWY2LWFlMmUtYjA1ZjA4ZTY5ZTk1",
    "$exchange_id": "dG9rZW4.AbC123",
    "$email": "jane@x.test",
    "$referrer": {"ts": 1700000000, "value": "", "first_page": "https://x.test/"},
    "$last_referrer": {"ts": 1700000001, "value": "", "first_page": "https://x.test/?q=ü"},
}


@pytest.mark.parametrize(
    ("raw", "visitor"),
    [
        (wrapped({"cid": "NGM0ZTY5NjItNzk1Ny00NWY2LWFlMmUtYjA1ZjA4ZTY5ZTk1"}), Visitor()),
        (wrapped(IDENTIFIED), Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (wrapped(IDENTIFIED).rstrip("="), Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (quote(wrapped(IDENTIFIED), safe=""), Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (f'"{wrapped(IDENTIFIED)}"', Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (base64.urlsafe_b64encode(json.dumps(IDENTIFIED).encode()).decode(), Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (json.dumps(IDENTIFIED), Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (IDENTIFIED, Visitor("dG9rZW4.AbC123", "jane@x.test")),
        (wrapped({"$email": " ", "$exchange_id": 7}), Visitor()),
        (wrapped({"$email": "?>~ü"}).replace("+", " "), Visitor(None, "?>~ü")),
        (wrapped(["$email"]), None),
        ("not base64!", None),
        ("AAAA", None),
        ("{", None),
        ("", None),
        ("A" * 20_000, None),
        (None, None),
        (7, None),
    ],
)
def test_the_cookie_is_read_in_any_of_its_shapes_and_garbage_is_none(raw: Any, visitor: Visitor | None) -> None:
    assert cookie.read(raw) == visitor


@given(st.one_of(st.text(max_size=80), st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())))
def test_no_cookie_is_an_error(raw: str) -> None:
    assert isinstance(cookie.read(raw), Visitor | None)
    notes: list[str] = []
    landings.landed(call(properties={"__kla_id": raw}), RULES, KEYS, notes)
    assert len(notes) <= 1


def test_a_name_that_is_escaped_without_end_is_none() -> None:
    hostile = "https://s.test/?_kx=1&%" + "25" * 200_000 + "41=1"
    assert urls.stripped(hostile, {"_kx"}) == hostile.replace("_kx=1&", "")


def test_of_one_call_only_so_many_are_named() -> None:
    search = "?" + "&".join(f"_kx=tOkEn{n:04}.AbCd12" for n in range(500))
    told = call(context={"page": {"url": f"https://s.test/{search}", "search": search}})
    assert len(landings.landed(told, RULES, KEYS, [])) == landings.MOST


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=30), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    )
)
def test_no_call_is_an_error(value: Any) -> None:
    told = call(
        context={"page": {"url": value, "search": value}, "externalIds": value, "klaviyo": value}, properties=value
    )
    landings.landed(told, RULES, KEYS, [])
    urls.stripped_call(told, RULES)


@pytest.mark.parametrize(
    "body", ['{"type":{"a":1},"id":"x"}', '{"type":["a"],"id":"x"}', '{"a":' * 900 + "1" + "}" * 900]
)
def test_what_is_shown_of_a_strange_body_is_that_body(body: str) -> None:
    assert without_tokens(body, RULES) == body


def test_a_token_in_a_name_is_taken_out_like_any_other() -> None:
    told = call(name="https://s.test/?_kx=TOK&a=1", event="Saw ?_kx=TOK&a=1", context={"referrer": {"url": "?_kx=TOK"}})
    stripped = urls.stripped_call(told, RULES)
    assert (stripped["name"], stripped["event"]) == ("https://s.test/?a=1", "Saw ?a=1")
    assert "TOK" not in str(stripped)
