"""What is said about a mapping that works and does something else than it looks like."""

from __future__ import annotations

from typing import Any

import pytest

from connector.language import compile_value
from connector.language.oddities import warnings

X = {"@path": "$.x"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"@if": {"blank": X, "then": 1}},
            'here: /@if "blank" is inverted: "then" is taken for a value that is NOT blank',
        ),
        ({"@if": {"exists": X, "then": 1, "else": 0}}, 'here: /@if "else" = 0 is ignored; write { "@literal" = 0 }'),
        ({"@if": {"exists": X, "else": False}}, 'here: /@if "else" = false is ignored'),
        ({"@if": {"exists": False, "then": 1}}, 'here: /@if fails for every event: neither "exists" nor "blank"'),
        (
            {"@if": {"exists": "x", "then": 1}},
            "here: /@if \"exists\" asks about the literal 'x', which always exists",
        ),
        ({"@if": {"exists": X, "blank": X, "then": 1}}, 'here: /@if "blank" is not looked at beside "exists"'),
        ({"@json": {"mode": "ENCODE", "value": X}}, 'here: /@json the mode "ENCODE" yields nothing; write "encode"'),
        (
            {"@json": {"mode": "encode", "value": 0}},
            "here: /@json fails for every event: the value 0 counts as missing",
        ),
        ({"@merge": {"objects": [X], "direction": "LEFT"}}, 'here: /@merge the direction "LEFT" acts as "right"'),
        ({"@merge": {"objects": [X]}}, 'here: /@merge fails for every event without "direction"'),
        (
            {"@merge": {"objects": [{"a": X}], "direction": "left"}},
            "here: /@merge a member that is undefined in one object removes that of the objects it wins over",
        ),
        ({"@replace": {"pattern": "a", "value": X}}, "here: /@replace gives '' for a value that is null, missing"),
        (
            {"@replace": {"pattern": "a", "replacement": "$&$&", "value": "b"}},
            'here: /@replace "replacement": $& (what was found)',
        ),
        (
            {"@replace": {"pattern": "a", "value": "b", "pattern2": "12345678901"}},
            'here: /@replace "pattern2" is longer than 10 characters: it fails for every text',
        ),
        (
            {"@case": {"operator": "UPPER", "value": X}},
            'here: /@case the operator "UPPER" changes nothing and fails for every text; write "upper"',
        ),
        ({"@case": {"operator": "upper"}}, 'here: /@case gives nothing without a "value"'),
        ({"@path": "$.a['b.c']"}, "here: /@path \"$.a['b.c']\" is read as a → b → c: a key that holds a dot"),
        ({"@path": "$a.b"}, 'here: /@path "$a.b" looks for a key that is called "$a"'),
        ({"@path": "a.b$.c"}, 'here: /@path "a.b$.c" loses its first "$."'),
        ({"@path": "$.a[*].b"}, 'here: /@path "$.a[*].b" knows no [*]; write { "@arrayPath"'),
        (["a['b.c']"], "here: \"a['b.c']\" is read as a → b → c"),
        ({"@arrayPath": ["$.a['b.c']", {"n": X}]}, "here: /@arrayPath \"$.a['b.c']\" is read as a → b → c"),
        ({"@arrayPath": ["$.a", {}]}, "here: /@arrayPath an empty shape is not used"),
        ({"@template": "{{x}}"}, "here: /@template always gives a text"),
        ({"@template": "a {{$.x}}"}, 'here: /@template {{$.x}} finds nothing: inside @template a path has no "$."'),
        ({"@template": "a {{ $.x }}"}, "here: /@template {{$.x}} finds nothing: inside @template a path has no"),
        ({"@template": "a {{x | upcase}}"}, "here: /@template filters with | are not known to @template"),
        ({"@template": "a {{{x}}}"}, "here: /@template what {{{…}}} brings in is searched for {{…}} again"),
        (
            {"@x-time": {"value": ["at", "$.a['b.c']"], "unit": "seconds"}},
            "here: /@x-time/value \"$.a['b.c']\" is read as a → b → c",
        ),
        ({"@x-digest": [["a", "$a.b"]]}, 'here: /@x-digest "$a.b" looks for a key that is called "$a"'),
        ({"@x-flag": ["$.a[*].b"]}, 'here: /@x-flag "$.a[*].b" knows no [*]'),
        (
            {"@x-text": {"@if": {"blank": X, "then": X}}},
            'here: /@x-text/@if "blank" is inverted: "then" is taken',
        ),
        (
            {"@x-json": {"value": X, "read": ["a['b.c']"]}},
            "here: /@x-json/read \"a['b.c']\" is read as a → b → c",
        ),
        (
            {"a": [{"@x-digest": ["id", {"@template": "{{x}}"}]}]},
            "here: /a/0/@x-digest/@template always gives a text",
        ),
        ({"@flatten": {"value": X}}, 'here: /@flatten fails for every event without "separator"'),
        (
            "$.x",
            'here: the text "$.x" stays a text; write { "@path" = "$.x" }, or a list of paths, for the value there',
        ),
        ({"a": ["$.x"]}, 'here: /a/0 the text "$.x" stays a text; write { "@path" = "$.x" } for the value there'),
        ({"a": "Hi {{x}}"}, 'here: /a a text with {{…}} is only filled in inside { "@template" = "…" }'),
        (
            {"@if": {"exists": X, "then": {"a": {"@template": "{{x}}"}}}},
            "here: /@if/then/a/@template always gives a text",
        ),
    ],
)
def test_a_surprise_is_told_with_its_place_and_the_way_out(spec: Any, said: str) -> None:
    compile_value(spec, "here")  # it is no mistake
    assert [one[: len(said)] for one in warnings(spec, "here")] == [said]


def test_the_way_out_of_a_template_that_is_one_path_is_that_path() -> None:
    said = warnings({"@template": "{{ $.x }}"}, "here")
    assert [one.rpartition("; ")[2] for one in said] == [
        'here: /@template {{$.x}} finds nothing: inside @template a path has no "$."',
        'write { "@path" = "$.x" } to keep its type',
    ]


@pytest.mark.parametrize(
    "spec",
    [
        X,
        ["a", "b.c", "$.d"],
        ["a", X],
        {"@template": "{{a}}/{{b}}"},
        {"@template": X},
        {"@if": {"exists": X, "then": 1, "else": "2"}},
        {"@case": {"operator": "upper", "value": X}},
        {"@replace": {"pattern": "a", "replacement": "$", "value": "b"}},
        {"@merge": {"objects": [X, {"a": 1}], "direction": "left"}},
        {"@flatten": {"value": X, "separator": "."}},
        {"@arrayPath": ["$.a", {"b": X}]},
        {"@json": {"mode": "decode", "value": X}},
        {"@x-time": {"value": ["$.t"], "unit": "seconds"}},
        {"@liquid": "{{ x }}"},
        {"@x-flag": {"value": ["bot"], "true": ["$.yes", "{{no}}"]}},
        {"@x-header": "$.x"},
        {"a": [1, None, "text", {"b": X}]},
        "text",
        5,
        None,
    ],
)
def test_what_does_what_it_looks_like_is_not_spoken_of(spec: Any) -> None:
    compile_value(spec, "here")
    assert warnings(spec, "here") == []
