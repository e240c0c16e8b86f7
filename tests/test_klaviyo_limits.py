"""Whatever a site sends, what leaves for Klaviyo is something that Klaviyo takes, and nobody's browser is in it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.demo.klaviyo_standin.schemas import EVENT_CREATE, PROFILE_IMPORT
from connector.klaviyo.calls import Draft, Who, address, compose, unaddressed
from connector.klaviyo.fit import problems as reasons
from connector.klaviyo.limits import fitting
from tests.klaviyo_models import in_bulk, strays
from tests.streams import house

AT = 1_790_000_000_123
JANE = Who("jane@shop.test", "+15005550006", "jane-1")
READ = {"profile": PROFILE_IMPORT, "event": EVENT_CREATE}
BROWSER = "5f0d4a3e-browser"

TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
"""Halves of characters and NULs among them."""

ECOMMERCE = ["name", "product_id", "price", "quantity", "currency", "total", "revenue", "products", "category", "url"]
TRAITS = ["firstName", "address", "city", "email", "phone", "company", "locale", "avatar", "latitude"]
WORDS = st.sampled_from([*ECOMMERCE, *TRAITS, "token", "$value", "_kx"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | TEXTS, inner, max_size=5),
    max_leaves=25,
)
OBJECTS = st.dictionaries(WORDS | TEXTS, VALUES, max_size=8)
EVENTS = st.sampled_from(
    ["Order Completed", "Product Viewed", "Product Added", "Checkout Started", "Order Refunded", "Products Searched"]
)
CALLS = st.fixed_dictionaries(
    {"type": st.sampled_from(["identify", "track", "track", "page", "screen", "group", "alias", "?"])},
    optional={
        "event": EVENTS | TEXTS | st.none(),
        "name": TEXTS | st.none(),
        "properties": OBJECTS,
        "traits": OBJECTS,
        "context": OBJECTS,
        "integrations": OBJECTS,
    },
)
RANDOM = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def composed(call: dict[str, Any], message_id: str = "m1") -> list[Draft]:
    return compose(call, AT, message_id, house().mappings.klaviyo)


def problems(value: Any, level: int = 1) -> Iterator[str]:
    """What Klaviyo would refuse of an event's properties, asked step by step."""
    if isinstance(value, str):
        if len(value.encode()) > 100_000 or "\x00" in value:
            yield "text"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield "number"
    elif isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**64:
            yield "number"
    elif isinstance(value, dict | list):
        if level > 10:
            yield "depth"
        if isinstance(value, list) and len(value) > 4_000:
            yield "list"
        for one in value.values() if isinstance(value, dict) else value:
            yield from problems(one, level + 1)


@RANDOM
@given(CALLS, st.text(min_size=1, max_size=300))
@example({"type": "track", "event": "Order Completed", "properties": {"products": [{"price": 1e308}] * 3}}, "m1")
@example({"type": "track", "event": "\ud800", "properties": {"\ud800": "\udfff\x00", "n": 2**70}}, "\ud800")
@example({"type": "identify", "traits": {"address": {"city": "\ud800"}, "lastName": 2**90, "latitude": 1e400}}, "m")
@example({"type": "page", "event": None, "properties": [], "traits": "no", "context": None}, "m1")
def test_whatever_leaves_is_taken(call: dict[str, Any], message_id: str) -> None:
    drafts = composed(call, message_id)
    frozen = [address(one.body, JANE, backfill=True) for one in drafts]
    bodies = [json.loads(one) for one in frozen]
    assert [reasons(one, AT) for one in frozen] == [[] for _ in frozen]
    for one in bodies:
        READ[one["call"]].read({"data": one["data"]})  # raises for whatever the stand-in would refuse
    assert [strays(one["call"], one["data"]) for one in bodies] == [[] for _ in bodies]
    events = [one["data"] for one in bodies if one["call"] == "event"]
    if events:
        assert strays("events", in_bulk(events)) == []
    keys = [one["attributes"]["unique_id"] for one in events]
    assert len(set(keys)) == len(keys)
    assert all(0 < len(key) <= 255 for key in keys)
    assert all(0 < len(one["attributes"]["metric"]["data"]["attributes"]["name"]) < 128 for one in events)
    assert [list(problems(one["data"]["attributes"].get("properties", {}))) for one in bodies] == [[] for _ in bodies]
    assert all(len(one["data"]["attributes"].get("properties", {})) <= 400 for one in bodies)


@RANDOM
@given(CALLS)
def test_the_same_call_is_the_same_body_always(call: dict[str, Any]) -> None:
    before = repr(call)
    first, again = composed(call), composed(call)
    assert first == again
    assert repr(call) == before
    frozen = [address(one.body, JANE, backfill=False) for one in first]
    assert [address(unaddressed(json.loads(one)), JANE, backfill=False) for one in frozen] == frozen


@RANDOM
@given(CALLS, st.sampled_from(["anonymousId", "anonymous_id", "Anonymous ID", "AnonymousId"]))
def test_no_browser_is_in_any_body(call: dict[str, Any], name: str) -> None:
    inside = {name: BROWSER, "user": {name: BROWSER}, "products": [{"sku": "s", name: BROWSER}]}
    call = {**call, "anonymousId": BROWSER, "userId": BROWSER, "messageId": BROWSER}
    call |= {part: {**(call.get(part) or {}), **inside} for part in ("properties", "traits", "context")}
    assert [one for one in composed(call) if BROWSER in address(one.body, JANE, backfill=False)] == []


def nested(levels: int, innermost: Any) -> Any:
    for _ in range(levels):
        innermost = {"a": innermost}
    return innermost


TOO_LONG = "'a' has more than 100,000 bytes of text: the rest does not leave"
TOO_MANY = "only the first 4,000 of 4,001 elements of {} leave"
TOO_DEEP = "'a' is nested deeper than 10 levels: what is below them leaves as JSON text"
NUMBERED = {str(one): one for one in range(401)}


@pytest.mark.parametrize(
    ("properties", "fit", "note"),
    [
        ({"a": "x" * 100_000}, {"a": "x" * 100_000}, None),
        ({"a": "é" * 50_001}, {"a": "é" * 50_000}, TOO_LONG),
        ({"a": "x" + "é" * 50_000}, {"a": "x" + "é" * 49_999}, TOO_LONG),
        ({"a": ["x" * 100_001]}, {"a": ["x" * 100_000]}, TOO_LONG),
        ({"a": [1] * 4_000}, {"a": [1] * 4_000}, None),
        ({"a": [1] * 4_001}, {"a": [1] * 4_000}, TOO_MANY.format("'a'")),
        ({"jane@shop.test": [1] * 4_001}, {"jane@shop.test": [1] * 4_000}, TOO_MANY.format("a property")),
        (
            NUMBERED,
            {key: one for key, one in NUMBERED.items() if one < 400},
            "only the first 400 of 401 properties leave",
        ),
        (nested(10, 1), nested(10, 1), None),
        (nested(11, 1), nested(10, '{"a":1}'), TOO_DEEP),
        (nested(10, {"b": math.nan, "c": "\ud800", "token": "t"}), nested(10, '{"b":null,"c":"\ufffd"}'), TOO_DEEP),
        (nested(9, [[2**70, True]]), nested(9, ["[1.1805916207174113e+21,true]"]), TOO_DEEP),
        ({"": 1, "a": {"": 1}}, {"a": {}}, None),
        ({"a": [math.nan, math.inf, 2**64, 10**400]}, {"a": [None, None, float(2**64), None]}, None),
        ({"a": [2**64 - 1, -(2**63), True, 1.5]}, {"a": [2**64 - 1, -(2**63), True, 1.5]}, None),
        ({"a": "\ud83d\ude00 \ud83d \x00"}, {"a": "\U0001f600 \ufffd \ufffd"}, None),
        ({"a": {"Token": "t", "b": [{"to-ken": 1, "tokens": 2}]}}, {"a": {"b": [{"tokens": 2}]}}, None),
    ],
)
def test_what_is_too_much_is_cut_and_told(properties: Any, fit: Any, note: str | None) -> None:
    notes: list[str] = []
    cut = fitting(properties, {"token"}, notes)
    assert (cut, orjson.loads(orjson.dumps(cut))) == (fit, fit)
    assert notes == ([note] if note else [])


def test_what_is_nested_without_end_is_left_out() -> None:
    endless: list[Any] = []
    endless.append(endless)
    notes: list[str] = []
    assert fitting({"a": endless}, (), notes) == {"a": [[[[[[[[[None]]]]]]]]]}
