"""What is said about a mapping that cannot be used: Segment's words, all mistakes at once, each with its place."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import compile_mapping, compile_value


def mistakes(mapping: Any) -> list[str]:
    with pytest.raises(MappingError) as caught:
        compile_mapping(mapping)
    return list(caught.value.mistakes)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"foo": {"@path": 1}}, ["/foo/@path should be a string or a mapping directive but it is a number"]),
        ({"foo": {"@path": ["a"]}}, ["/foo/@path should be a string or a mapping directive but it is an array"]),
        ({"@template": True}, ["/@template should be a string or a mapping directive but it is a boolean"]),
        ({"foo": {"@liquid": 5}}, ["/foo/@liquid should be a string but it is a number"]),
        ({"foo": {"@if": None}}, ["/foo/@if should be an object but it is a null"]),
        ({"foo": {"@if": {"@path": "x"}}}, ["/foo/@if should be an object but it is a directive"]),
        (
            {"foo": {"@if": {"exists": {"@path": 1}, "then": {"bar": {"@path": None}}, "other": {"@path": {}}}}},
            [
                "/foo/@if/exists/@path should be a string or a mapping directive but it is a number",
                "/foo/@if/then/bar/@path should be a string or a mapping directive but it is a null",
                "/foo/@if/other/@path should be a string or a mapping directive but it is an object",
            ],
        ),
        (
            {"foo": {"@case": {"operator": 1, "value": []}}},
            [
                "/foo/@case/operator should be a string but it is a number",
                "/foo/@case/value should be a string or a mapping directive but it is an array",
            ],
        ),
        (
            {"foo": {"@replace": {}}},
            [
                '/foo/@replace should have field "pattern" but it doesn\'t',
                '/foo/@replace should have field "value" but it doesn\'t',
            ],
        ),
        (
            {"foo": {"@replace": {"pattern": "", "value": "x", "global": "yes", "ignorecase": None}}},
            [
                "/foo/@replace/pattern should be a string of length 1 or greater",
                "/foo/@replace/global should be a boolean but it is a string",
                "/foo/@replace/ignorecase should be a boolean but it is a null",
            ],
        ),
        (
            {"foo": {"@replace": {"pattern": "12345678901", "replacement": "12345678901", "value": "x"}}},
            [
                "/foo/@replace/pattern should be a string of length 10 or less",
                "/foo/@replace/replacement should be a string of length 10 or less",
            ],
        ),
        (
            {"foo": {"@replace": {"pattern": "😀" * 6, "value": "x"}}},
            ["/foo/@replace/pattern should be a string of length 10 or less"],
        ),
        ({"foo": {"@merge": {}}}, ['/foo/@merge should have field "objects" but it doesn\'t']),
        (
            {"foo": {"@merge": {"objects": ["x", {"@path": 1}, {"a": {"@path": 1}}], "direction": "up"}}},
            [
                "/foo/@merge/objects/0 should be a object or a mapping directive but it is a string",
                "/foo/@merge/objects/1/@path should be a string or a mapping directive but it is a number",
                "/foo/@merge/objects/2/a/@path should be a string or a mapping directive but it is a number",
                '/foo/@merge/direction should be one of left, right but it is "up"',
            ],
        ),
        ({"foo": {"@arrayPath": "x"}}, ["/foo/@arrayPath should be an array but it is a string"]),
        (
            {"foo": {"@arrayPath": []}},
            ["/foo/@arrayPath/0 should be a string or a mapping directive but it is an undefined"],
        ),
        (
            {"foo": {"@arrayPath": ["x", {"a": {"@path": 1}}]}},
            ["/foo/@arrayPath/1/a/@path should be a string or a mapping directive but it is a number"],
        ),
        (
            {"foo": {"@flatten": {"separator": 1}}},
            [
                '/foo/@flatten should have field "value" but it doesn\'t',
                "/foo/@flatten/separator should be a string but it is a number",
            ],
        ),
        (
            {"foo": {"@json": {"mode": "zip", "value": 1}}},
            ['/foo/@json/mode should be one of encode, decode but it is "zip"'],
        ),
        (
            {"foo": {"@transform": {"apply": 1, "mapping": "x"}}},
            [
                "/foo/@transform/apply should be a object or a mapping directive but it is a number",
                "/foo/@transform/mapping should be a object or a mapping directive but it is a string",
            ],
        ),
        (
            {"foo": {"@transform": {"apply": {"__segment_internal_directive": {}}, "mapping": {}}}},
            ["/foo/@transform/apply __segment_internal_directive: the root directive must be an object"],
        ),
        (
            {"foo": {"@excludeWhenNull": {"@path": 1}}},
            ["/foo/@excludeWhenNull/@path should be a string or a mapping directive but it is a number"],
        ),
        (
            {"foo": {"@path": "x", "bar": 1}},
            ["/foo should only have one @-prefixed key but it has 2 keys (@path, bar)"],
        ),
        (
            {"foo": {"@path": "x", "@template": "y", "_metadata": {}}},
            ["/foo should only have one @-prefixed key but it has 2 keys (@path, @template, _metadata)"],
        ),
        (
            {"a": {"@path": 1}, "b": {"@template": 1}},
            [
                "/a/@path should be a string or a mapping directive but it is a number",
                "/b/@template should be a string or a mapping directive but it is a number",
            ],
        ),
        (
            {"__segment_internal_directive": {"@path": "x"}},
            ["/ __segment_internal_directive: the root directive must be an object"],
        ),
        (
            {"__segment_internal_directive": {"@merge": {}, "@flatten": {}}},
            ["/ __segment_internal_directive: the root mapping must only have a single directive object"],
        ),
        ("x", ["/ should be an object but it is a string"]),
        (
            {"foo": dt.date(2026, 1, 1)},
            ["/foo should be a mapping directive or a JSON value but it is a date"],
        ),
    ],
)
def test_mistakes(mapping: Any, said: list[str]) -> None:
    assert mistakes(mapping) == said


def test_what_fails_for_every_event_is_told_where_segments_validation_does_not_look() -> None:
    mapping = {
        "a": [{"@path": 1}, {"@template": []}, {"@if": 1}, {"@case": 1}, {"@replace": 1}, {"@replace": {"value": "x"}}],
        "b": {"@literal": {"c": [{"@path": 1}]}},
        "d": {"@excludeWhenNull": {"e": {"@flatten": 1}, "f": {"@json": 1}, "g": {"@merge": 1}}},
        "h": [{"@merge": {"direction": "left", "objects": 1}}, {"@arrayPath": 1}, {"@liquid": 1}, {"@transform": 1}],
        "i": [{"@transform": {"mapping": 1}}, {"@transform": {"mapping": 1, "apply": {"a": {"@path": 1}}}}],
        "j": [{"@transform": {"mapping": 1, "apply": [1]}}, [{"@x-text": 1}], dt.date(2026, 1, 1)],
    }
    assert mistakes(mapping) == [
        "/a/0/@path should be a string or a mapping directive but it is a number",
        "/a/1/@template should be a string or a mapping directive but it is an array",
        "/a/2/@if should be an object but it is a number",
        "/a/3/@case should be an object but it is a number",
        "/a/4/@replace should be an object but it is a number",
        '/a/5/@replace requires a "pattern" key',
        "/b/@literal/c/0/@path should be a string or a mapping directive but it is a number",
        "/d/@excludeWhenNull/e/@flatten should be an object but it is a number",
        "/d/@excludeWhenNull/f/@json should be an object but it is a number",
        "/d/@excludeWhenNull/g/@merge should be an object but it is a number",
        "/h/0/@merge/objects should be an array",
        "/h/1/@arrayPath should be an array but it is a number",
        "/h/2/@liquid should be a string but it is a number",
        "/h/3/@transform should be an object but it is a number",
        '/i/0/@transform requires a "apply" key',
        "/i/1/@transform/apply/a/@path should be a string or a mapping directive but it is a number",
        "/j/0/@transform/apply should be an object but it is an array",
        "/j/1/0/@x-text: @x-text: expected paths or a directive, found 1",
        "/j/2 should be a mapping directive or a JSON value but it is a date",
    ]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"@literal": {"n": {"@type": "P", "name": "x"}}}, {"n": {"@type": "P", "name": "x"}}),
        ([{"@type": "P", "name": "x"}], [{"@type": "P", "name": "x"}]),
        ([{"@path": "$.x", "raw": {"@path": "$.x"}}], [{"@path": "$.x", "raw": 1}]),
        ([{"@path": "$.x", "@case": 5, "_metadata": 1}], [1]),
        ({"@merge": {"direction": "right", "objects": [{"a": [{"@id": 1, "b": 2}]}]}}, {"a": [{"@id": 1, "b": 2}]}),
        ({"@if": {"exists": {"@path": "$.no"}, "then": [{"@bogus": 1}, {"@path": 1}], "else": "ok"}}, "ok"),
        ({"@arrayPath": ["$.none", {"a": [{"@path": 1}]}]}, []),
        ([{"@arrayPath": []}, {"@arrayPath": [["x"]]}], [None, ["x"]]),
        ([{"@replace": {"pattern": 5, "value": "x"}}, {"@replace": {"pattern": "x", "value": ["x"]}}], ["", ""]),
        (
            [{"@replace": {"pattern": "x", "value": "xx", "global": None, "ignorecase": None, "replacement": None}}],
            [""],
        ),
        ([{"@replace": {"pattern": "x", "value": "xx", "global": 1}}], [""]),
        ([{"@case": {"operator": "lower", "value": ["A"]}}, {"@case": {"operator": [1], "value": 2}}], [["A"], 2]),
        ([{"@flatten": {"value": {"a": {"b": 1}}, "separator": {"@path": "$.dash"}}}], [{"a-b": 1}]),
        ([{"@merge": {"direction": {"@path": "$.left"}, "objects": [{"a": 1}, {"a": 2}]}}], [{"a": 1}]),
        ([{"@merge": {"direction": "up", "objects": ["hi"]}}], [{"0": "h", "1": "i"}]),
        ([{"@json": {"mode": "zip", "value": 1}}, {"@json": {"mode": [1], "value": 1}}], [None, None]),
        ([{"@transform": {"apply": {"a": 1}, "mapping": "text"}}], ["text"]),
    ],
)
def test_where_segments_validation_does_not_look_its_evaluation_decides(spec: Any, value: Any) -> None:
    data = {"x": 1, "dash": "-", "left": "left", "none": []}
    assert compile_mapping({"a": spec})(data) == {"a": value}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"@path": 1}, "/@path should be a string or a mapping directive but it is a number"),
        ({"@path": {"@path": "$.x"}}, "/@path @path: expected string, got number"),
        ({"@transform": {"mapping": 1, "apply": 5}}, '/@transform cannot use "apply": '),
        ({"@flatten": {"value": 1, "separator": 5}}, "/@flatten requires a string separator"),
        ({"@flatten": {"value": 1, "separator": {"@path": "$.x"}}}, "/@flatten requires a string separator"),
    ],
)
def test_what_only_some_events_reach_raises_for_those(part: Any, said: str) -> None:
    run = compile_mapping({"a": {"@if": {"exists": {"@path": "$.x"}, "then": [part], "else": "ok"}}})
    assert run({}) == {"a": "ok"}
    with pytest.raises(MappingError) as caught:
        run({"x": 1})
    (sentence,) = caught.value.mistakes
    assert sentence.startswith(f"/a/@if/then/0{said}")


def test_an_unknown_directive_is_told_the_known_ones() -> None:
    (said,) = mistakes({"foo": [{"@uppercase": "x"}]})
    assert said.startswith(
        "/foo/0 has an invalid directive: @uppercase is unknown; this version knows @path, @template"
    )
    assert "@liquid, @x-time" in said


def test_mistakes_of_a_field_begin_with_where_it_is() -> None:
    with pytest.raises(MappingError) as caught:
        compile_value({"@if": {"exists": {"@path": 1}, "then": {"@x-time": 1}}}, 'a.toml: [fields] "x"')
    assert caught.value.mistakes[0] == (
        'a.toml: [fields] "x": /@if/exists/@path should be a string or a mapping directive but it is a number'
    )
    assert caught.value.mistakes[1].startswith('a.toml: [fields] "x": /@if/then/@x-time: @x-time')
    assert len(caught.value.mistakes) == 2


def test_metadata_is_not_looked_into() -> None:
    assert compile_mapping({"foo": {"@path": "x", "_metadata": {"@what": 1}}})({"x": 1}) == {"foo": 1}
