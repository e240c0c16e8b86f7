"""Segment's directives that make objects and arrays, and what becomes of undefined and null on the way out."""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import UNDEFINED, compile_mapping
from tests.kit_mappings import transform

GONE = "nothing there"


def path(of: str) -> dict[str, Any]:
    return {"@path": of}


def said(spec: Any, data: dict[str, Any]) -> Any:
    return transform({"field": spec}, data).get("field", GONE)


def test_undefined_members_go_null_stays_and_arrays_have_null() -> None:
    mapping = {"a": path("no"), "b": None, "c": {"d": path("no")}, "e": [path("no"), {"f": path("no")}], "g": path("n")}
    assert transform(mapping, {"n": None}) == {"b": None, "c": {}, "e": [None, {}], "g": None}


def test_a_mapping_may_be_one_directive() -> None:
    assert transform(path("$.a"), {"a": 1}) == 1
    assert transform(path("$.nope"), {"a": 1}) is UNDEFINED


def test_metadata_beside_a_directive_says_nothing() -> None:
    assert said({"@path": "$.a", "_metadata": {"label": "A"}}, {"a": 1}) == 1
    assert said({"_metadata": {"label": "A"}}, {}) == {"_metadata": {"label": "A"}}


@pytest.mark.parametrize(
    ("operand", "value"),
    [
        ([path("$.items"), {"id": path("$.sku"), "n": 1}], [{"id": "a", "n": 1}, {"n": 1}]),
        (["$.items", {"id": path("$.sku")}], [{"id": "a"}, {}]),
        (["$.items"], [{"sku": "a"}, {}]),
        (["$.items", {}], [{"sku": "a"}, {}]),
        (["$.one", {"id": path("$.sku")}], [{"id": "b"}]),
        (["$.one", path("$.sku")], ["b"]),
        (["$.mixed", {"id": path("$.sku")}], [{}, {}, {"id": None}, {"id": 0}, {}]),
        (["$.mixed", path("$.sku")], [None, None, None, 0, None]),
        (["$.text", {"id": path("$.sku")}], "text"),
        (["$.nope", {"id": path("$.sku")}], GONE),
        (["$.items", ["not", "an", "object"]], [{"sku": "a"}, {}]),
    ],
)
def test_array_path(operand: list[Any], value: Any) -> None:
    data = {"items": [{"sku": "a"}, {}], "one": {"sku": "b"}, "text": "text", "mixed": [1, "x", None, 0, []]}
    assert said({"@arrayPath": operand}, data) == value


def test_a_template_takes_an_undefined_item_for_an_empty_object() -> None:
    items = {"@literal": [path("no"), {"b": path("no")}, None]}
    assert said({"@arrayPath": [items, {"@template": "{{.}}"}]}, {}) == ["[object Object]", "[object Object]", ""]
    assert said({"@arrayPath": [items, {"c": path("")}]}, {}) == [{}, {"c": {}}, {"c": None}]


@pytest.mark.parametrize(
    ("objects", "direction", "value"),
    [
        ([{"a": 1}, {"a": 2, "b": 3}], "right", {"a": 2, "b": 3}),
        ([{"a": 1}, {"a": 2, "b": 3}], "left", {"a": 1, "b": 3}),
        ([{"a": 1}, {"a": 2}], "LEFT", {"a": 2}),
        ([{"a": 1}, path("nope"), path("null")], "right", {"a": 1}),
        ([{"a": 1}, {"a": path("nope")}], "right", {}),
        ([{"a": 1}, {"a": None}], "right", {"a": None}),
        ([path("text"), path("list"), path("n")], "right", {"0": "x", "1": "é"}),
        ([], "right", {}),
    ],
)
def test_merge(objects: list[Any], direction: str, value: Any) -> None:
    data = {"null": None, "text": "hé", "list": ["x"], "n": 5}
    assert said({"@merge": {"objects": objects, "direction": direction}}, data) == value


@pytest.mark.parametrize(
    ("direction", "objects", "value"),
    [
        ("right", [{"c": 1, "z": 2}, {"@excludeWhenNull": path("b")}], {"z": 2, "d": {"y": 1}}),
        ("left", [{"@excludeWhenNull": path("b")}, {"c": 1, "z": 2}], {"z": 2, "d": {"y": 1}}),
        ("right", [{"c": 1}, {"@excludeWhenNull": {"c": path("b.c")}}], {}),
        ("right", [{"c": 1}, {"@excludeWhenNull": {"@literal": {"c": None, "e": None}}}], {}),
        ("left", [{"c": 1}, {"@excludeWhenNull": path("b")}], {"c": 1, "d": {"y": 1}}),
    ],
)
def test_a_null_that_is_excluded_overwrites_as_undefined_does(direction: str, objects: list[Any], value: Any) -> None:
    data = {"b": {"c": None, "d": {"x": None, "y": 1}}}
    assert said({"@merge": {"direction": direction, "objects": objects}}, data) == value


def test_a_null_that_is_excluded_is_left_out_of_json_and_flat_objects() -> None:
    excluded, data = {"@excludeWhenNull": path("b")}, {"b": {"c": None, "d": {"x": None, "y": 1}}}
    assert said({"@json": {"mode": "encode", "value": excluded}}, data) == '{"d":{"y":1}}'
    assert said({"@flatten": {"separator": ".", "value": excluded}}, data) == {"d.y": 1}
    both = {"@literal": {"a": {"b.c": 1}, "b": {"@excludeWhenNull": path("b")}}}
    assert said({"@flatten": {"separator": ".", "value": both}}, data) == {"a.b.c": 1, "b.d.y": 1}
    hidden = {"@excludeWhenNull": {"@literal": {"a.b": 1, "a": {"b": None}}}}
    assert said({"@flatten": {"separator": ".", "value": hidden}}, {}) == {}


def test_merge_without_a_direction_raises() -> None:
    with pytest.raises(MappingError, match=r'^/field/@merge requires a "direction" key$'):
        said({"@merge": {"objects": []}}, {})


@pytest.mark.parametrize(
    ("value", "more", "flat"),
    [
        ({"a": {"b": 1, "c": {"d": 2}}}, {}, {"a.b": 1, "a.c.d": 2}),
        ({"a": [1, {"b": 2}]}, {}, {"a.0": 1, "a.1.b": 2}),
        ({"a": [1, {"b": 2}]}, {"omitArrays": True}, {"a": [1, {"b": 2}]}),
        ({"a": {}, "b": [], "c": None}, {}, {"c": None}),
        ({"": {"a": 1}}, {}, {"a": 1}),
        ({"1.b": 1, "1": {"b": 2}}, {}, {"1.b": 1}),  # keys that are numbers come first
        ({"4294967295.b": 1, "4294967295": {"b": 2}}, {}, {"4294967295.b": 2}),  # up to 4294967294
        (5, {}, {"": 5}),
        (GONE, {}, {}),
    ],
)
def test_flatten(value: Any, more: dict[str, Any], flat: dict[str, Any]) -> None:
    data = {} if value is GONE else {"x": value}
    assert said({"@flatten": {"value": path("x"), "separator": ".", **more}}, data) == flat


def test_flatten_without_a_separator_raises() -> None:
    with pytest.raises(MappingError, match=r'^/field/@flatten requires a "separator" key$'):
        said({"@flatten": {"value": {}, "separator": ""}}, {})


@pytest.mark.parametrize(
    ("mode", "value", "result"),
    [
        ("encode", {"b": 1.0, "1": "ä\n", "c": [None, True]}, '{"1":"ä\\n","b":1,"c":[null,true]}'),
        ("encode", "x", '"x"'),
        ("encode", GONE, GONE),
        ("decode", '{"a":[1]}', {"a": [1]}),
        ("decode", "no json", "no json"),
        ("decode", "NaN", "NaN"),
        ("decode", "-Infinity", "-Infinity"),
        ("decode", "[1e400,-1e400]", [inf, -inf]),
        ("decode", '["\\ud800"]', ["\ud800"]),
        ("decode", '"\ud800', '"\ud800'),
        ("decode", "[12345678901234567890123, 1e400]", [1.2345678901234568e22, inf]),
        ("decode", "[1234567890123456789, 1e400]", [1234567890123456789, inf]),
        ("decode", "[" + "9" * 5_000 + "]", [inf]),
        ("decode", '\ufeff{"a":1e400}', '\ufeff{"a":1e400}'),
        ("decode", 5, 5),
        ("ENCODE", {"a": 1}, GONE),
        ("Decode", "{}", GONE),
    ],
)
def test_json(mode: str, value: Any, result: Any) -> None:
    data = {} if value is GONE else {"x": value}
    assert said({"@json": {"mode": mode, "value": path("x")}}, data) == result


def test_json_leaves_undefined_out_of_objects_and_makes_it_null_in_arrays() -> None:
    assert said({"@json": {"mode": "encode", "value": {"a": path("no"), "b": [path("no")]}}}, {}) == '{"b":[null]}'


def test_json_of_a_falsy_literal_raises() -> None:
    with pytest.raises(MappingError, match=r'^/field/@json requires a "value" key$'):
        said({"@json": {"mode": "encode", "value": 0}}, {})


def test_transform_has_two_stages_and_the_second_sees_only_the_first() -> None:
    spec = {"@transform": {"apply": {"a": path("x"), "b": [path("no")]}, "mapping": {"c": path("a"), "d": path("x")}}}
    assert said(spec, {"x": 1}) == {"c": 1}
    seen = {"@transform": {"apply": {"b": [path("no"), None]}, "mapping": {"c": path("b.0"), "d": path("b.1")}}}
    assert said(seen, {}) == {"d": None}, "between the stages an undefined item is no null"


def test_transform_of_something_that_is_no_object_raises() -> None:
    run = compile_mapping(
        {"a": {"@arrayPath": ["$.x", {"@transform": {"apply": {"b": 1}, "mapping": {"c": path("b")}}}]}}
    )
    assert run({"x": [{}]}) == {"a": [{"c": 1}]}
    with pytest.raises(MappingError, match=r"^/a/@arrayPath/1/@transform data must be an object, got array$"):
        run({"x": [[]]})


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, GONE),
        (GONE, GONE),
        (0, 0),
        ({"a": None, "b": {"c": None, "d": 1}}, {"b": {"d": 1}}),
        ([None, {"a": None}], [None, {"a": None}]),
        ({"a": [{"b": None}]}, {"a": [{"b": None}]}),
    ],
)
def test_exclude_when_null(value: Any, result: Any) -> None:
    assert said({"@excludeWhenNull": path("x")}, {} if value is GONE else {"x": value}) == result


def test_a_root_directive_takes_the_other_members_as_its_mapping() -> None:
    mapping = {
        "__segment_internal_directive": {"@transform": {"apply": {"a": path("x")}}},
        "b": path("a"),
        "c": path("x"),
    }
    kept = copy.deepcopy(mapping)
    assert transform(mapping, {"x": 1}) == {"b": 1}
    assert mapping == kept


@pytest.mark.parametrize("data", [None, [], "x", 5, UNDEFINED])
def test_data_that_is_no_object_raises(data: Any) -> None:
    with pytest.raises(MappingError, match=r"^here: data must be an object, got \w+$"):
        compile_mapping({"a": 1}, "here")(data)


def test_constants_are_given_anew_each_time() -> None:
    run = compile_mapping({"a": {"b": [1, {}]}, "c": {"@merge": {"objects": [{"d": []}], "direction": "left"}}})
    first = run({})
    first["a"]["b"].append(2)
    first["c"]["d"].append(2)
    assert run({}) == {"a": {"b": [1, {}]}, "c": {"d": []}}
