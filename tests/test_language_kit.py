"""Segment's directives one by one: every row was answered by Segment's own mapping-kit (3.170) first."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import compile_mapping
from tests.kit_mappings import transform

GONE = "nothing there"


def path(of: str) -> dict[str, Any]:
    return {"@path": of}


def said(spec: Any, data: dict[str, Any]) -> Any:
    """What a field with that spec becomes."""
    return transform({"field": spec}, data).get("field", GONE)


@pytest.mark.parametrize(
    ("of", "data", "value"),
    [
        ("$.a", {"a": 1}, 1),
        ("a", {"a": 1}, 1),
        ("$.a.b.c", {"a": {"b": {"c": [1]}}}, [1]),
        ("$.a[1].b", {"a": [{}, {"b": 3}]}, 3),
        ("$.a.1.b", {"a": [{}, {"b": 3}]}, 3),
        ("$.a['b c']", {"a": {"b c": 4}}, 4),
        ('$["a"]', {"a": 4}, GONE),  # no dot: "$" is a key
        ("", {"a": 1}, {"a": 1}),
        (".", {"a": 1}, {"a": 1}),
        ("$.", {"a": 1}, {"a": 1}),
        ("$", {"a": 1}, GONE),
        ("$.a['b.c']", {"a": {"b.c": 5}}, GONE),
        ("$.a['b.c']", {"a": {"b": {"c": 6}}}, 6),
        ("$.a.$.b", {"a": {"$": {"b": 1}}, "$": {"a": 1}}, 1),
        ("a$.b", {"ab": 7}, 7),  # the first "$." goes, wherever it stands
        ("$.a.b", {"a": None}, None),
        ("$.a.b", {"a": 0}, 0),
        ("$.a.b", {"a": False}, False),
        ("$.a.b.c", {"a": ""}, ""),
        ("$.a.b", {"a": {}}, GONE),
        ("$.a.b", {"a": []}, GONE),
        ("$.a.b", {"a": 5}, GONE),
        ("$.a.-1", {"a": [1]}, GONE),
        ("$.a.01", {"a": [1, 2]}, GONE),
        ("$.a.length", {"a": [1, 2]}, 2),
        ("$.a.length", {"a": "x😀"}, 3),
        ("$.a[1]", {"a": "xyz"}, "y"),
        ("$.a.toString", {"a": "x"}, GONE),
        ("$.a['']", {"a": {"": 8}}, 8),
    ],
)
def test_paths(of: str, data: dict[str, Any], value: Any) -> None:
    assert said(path(of), data) == value


@pytest.mark.parametrize(
    ("template", "data", "text"),
    [
        ("{{a}} {{ b.c }}!", {"a": "x", "b": {"c": 1}}, "x 1!"),
        ("{{a}}", {"a": 1.0}, "1"),
        ("{{a}}", {"a": 1e21}, "1e+21"),
        ("{{a}}", {"a": 1e-7}, "1e-7"),
        ("{{a}}", {"a": 0.000001}, "0.000001"),
        ("{{a}}", {"a": True}, "true"),
        ("{{a}}{{nope}}", {"a": None}, ""),
        ("{{a}}", {"a": {"x": 1}}, "[object Object]"),
        ("{{a}}", {"a": [1, None, ["x", 2.5]]}, "1,,x,2.5"),
        ("{{{a}}}", {"a": "<b>"}, "<b>"),
        ("{{a}}", {"a": "<b>"}, "<b>"),
        ("{{$.a}}", {"a": 1}, ""),
        ("{{a}", {"a": 1}, "{{a}"),
        ("{{}}", {"a": 1}, "{{}}"),
        ("{{\ufeff a\u2029}}", {"a": 1}, "1"),
        ("{{\x1fa}}", {"a": 1}, ""),
        ("{{ }}", {"a": 1}, "[object Object]"),
        ("{{{{a}}}}", {"a": 1}, "}"),
        ("plain", {}, "plain"),
    ],
)
def test_templates_are_always_text(template: str, data: dict[str, Any], text: str) -> None:
    assert said({"@template": template}, data) == text


def test_what_three_braces_bring_in_is_searched_for_two() -> None:
    assert said({"@template": "{{{a}}} {{b}}"}, {"a": "{{b}}", "b": "{{c}}", "c": 1}) == "{{c}} {{c}}"


def test_a_path_and_a_template_may_come_from_a_directive() -> None:
    data = {"which": "b", "b": 2, "form": "<{{b}}>"}
    assert said({"@path": {"@template": "$.{{which}}"}}, data) == 2
    assert said({"@template": path("$.form")}, data) == "<2>"
    for name in ("@path", "@template"):
        with pytest.raises(MappingError, match=f"^/field/{name} {name}: expected string, got undefined$"):
            said({name: path("$.nope")}, data)


@pytest.mark.parametrize("value", [1, "x", None, [1, {"a": 2}], {"a": [1]}])
def test_literals_stay(value: Any) -> None:
    assert said({"@literal": value}, {}) == value
    assert said(value, {}) == value


def test_a_literal_resolves_the_directives_in_it() -> None:
    assert said({"@literal": {"a": [path("x")]}}, {"x": 1}) == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "exists", "not_blank"),
    [
        (1, True, True),
        (0, True, False),
        (False, True, False),
        ("", True, False),
        ([], True, False),
        ([[], None], True, True),
        ([[]], True, False),
        (" ", True, True),
        ({}, True, True),
        (True, True, True),
        (None, False, False),
        (GONE, False, False),
    ],
)
def test_exists_and_the_inverted_blank(value: Any, exists: bool, not_blank: bool) -> None:
    data = {} if value is GONE else {"x": value}
    for test, expected in (("exists", exists), ("blank", not_blank)):
        assert said({"@if": {test: path("x"), "then": "then", "else": "else"}}, data) == (
            "then" if expected else "else"
        )


@pytest.mark.parametrize("ignored", [0, False, "", None])
def test_a_falsy_else_is_ignored_and_a_falsy_then_is_not(ignored: Any) -> None:
    spec = {"@if": {"exists": path("x"), "then": ignored, "else": ignored}}
    assert said(spec, {}) == GONE
    assert said(spec, {"x": 1}) == ignored


def test_a_branch_that_is_not_there_gives_nothing() -> None:
    assert said({"@if": {"exists": path("x"), "else": 2}}, {"x": 1}) == GONE
    assert said({"@if": {"exists": path("x"), "then": path("x")}}, {"x": None}) == GONE


def test_exists_wins_over_blank() -> None:
    assert said({"@if": {"exists": path("no"), "blank": path("x"), "then": 1, "else": 2}}, {"x": 1}) == 2
    assert said({"@if": {"exists": None, "blank": path("x"), "then": 1, "else": 2}}, {"x": 1}) == 2


@pytest.mark.parametrize("operand", [{"exists": False}, {"exists": ""}, {"blank": 0}, {"then": 1}])
def test_a_falsy_literal_to_ask_about_raises(operand: dict[str, Any]) -> None:
    with pytest.raises(MappingError, match=r'^/field/@if requires an "exists" key or a "blank" key$'):
        said({"@if": operand}, {})


@pytest.mark.parametrize(
    ("operand", "value"),
    [
        ({"operator": "lower", "value": path("x")}, "straße ad"),
        ({"operator": "upper", "value": path("x")}, "STRASSE AD"),
        ({"operator": "upper", "value": path("n")}, 5),
        ({"operator": "LOWER", "value": path("n")}, 5),
        ({"operator": "upper", "value": path("nope")}, GONE),
        ({"operator": "upper"}, GONE),
        ({"operator": "upper", "value": ""}, GONE),
    ],
)
def test_case(operand: dict[str, Any], value: Any) -> None:
    assert said({"@case": operand}, {"x": "Straße AD", "n": 5}) == value


def test_an_operator_in_the_wrong_case_raises_for_texts() -> None:
    with pytest.raises(MappingError, match=r'operator key should have a value of "lower" or "upper"$'):
        said({"@case": {"operator": "UPPER", "value": path("x")}}, {"x": "a"})
    with pytest.raises(MappingError, match=r'^/field/@case requires a "operator" key$'):
        said({"@case": {"value": path("x")}}, {"x": "a"})


@pytest.mark.parametrize(
    ("operand", "value", "text"),
    [
        ({"pattern": "-"}, "a-b-c", "abc"),
        ({"pattern": "-", "replacement": "+"}, "a-b-c", "a+b+c"),
        ({"pattern": "-", "replacement": "+", "global": False}, "a-b-c", "a+b-c"),
        ({"pattern": "A"}, "aAa", "aa"),
        ({"pattern": "A", "ignorecase": True}, "aAa", ""),
        ({"pattern": "A", "ignorecase": True, "global": False}, "baAa", "bAa"),
        ({"pattern": "b", "replacement": "$&$&", "global": False}, "abb", "abbb"),
        ({"pattern": "s", "ignorecase": True}, "\u017fS", "\u017f"),
        ({"pattern": "ß", "ignorecase": True}, "SSß", "SS"),
        ({"pattern": ".*"}, "a.*b", "ab"),
        ({"pattern": "a", "replacement": "b", "pattern2": "b", "replacement2": "c"}, "ab", "cc"),
        ({"pattern": "a", "pattern2": "b", "replacement2": 5}, "ab", "b"),
        ({"pattern": "5", "replacement": "6"}, 1.5, "1.6"),
        ({"pattern": "t"}, True, "rue"),
        ({"pattern": "b", "replacement": "[$&]"}, "abc", "a[b]c"),
        ({"pattern": "b", "replacement": "$$"}, "abc", "a$c"),
        ({"pattern": "b", "replacement": "$`|$'"}, "abc", "aa|cc"),
        ({"pattern": "b", "replacement": "$1"}, "abc", "a$1c"),
        ({"pattern": "a"}, None, ""),
        ({"pattern": "a"}, GONE, ""),
        ({"pattern": "a"}, ["a"], ""),
        ({"pattern": "a"}, {"a": 1}, ""),
    ],
)
def test_replace(operand: dict[str, Any], value: Any, text: str) -> None:
    data = {} if value is GONE else {"x": value}
    assert said({"@replace": {**operand, "value": path("x")}}, data) == text


def test_a_second_pattern_that_is_too_long_raises_when_it_is_used() -> None:
    run = compile_mapping({"a": {"@replace": {"pattern": "a", "pattern2": "12345678901", "value": path("x")}}})
    assert run({"x": None}) == {"a": ""}
    with pytest.raises(MappingError, match=r'^/a/@replace @replace requires a "pattern" less than 10 characters$'):
        run({"x": "a"})


def test_a_replacement_cannot_make_a_text_of_any_length() -> None:
    with pytest.raises(MappingError, match="makes a text longer than 1,000,000 characters"):
        said({"@replace": {"pattern": "a", "replacement": "$'$'$'$'$'", "value": path("x")}}, {"x": "a" * 10_000})
