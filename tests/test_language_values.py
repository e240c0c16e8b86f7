"""Our rules around Segment's: lists of values to try, our directives within theirs, fields with dotted names."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest

from connector.errors import MappingError
from connector.language import UNDEFINED, Value, alternatives, apply_fields, compile_mapping, compile_value


@pytest.mark.parametrize(
    ("spec", "payload", "value"),
    [
        (["a.b", "c"], {"c": 1}, 1),
        (["a", "b"], {"a": "", "b": "x"}, "x"),
        (["a", "b"], {"a": None, "b": 0}, 0),
        (["a", "b"], {"a": False, "b": 1}, False),
        (["a", "b"], {"a": [], "b": 1}, []),
        (["a"], {"a": ""}, UNDEFINED),
        (["a"], {"a": None}, UNDEFINED),
        (["a", "b"], {}, UNDEFINED),
        (["$.a[0]"], {"a": [5]}, 5),
        (["a", {"@template": "{{b}}"}], {"b": 1}, "1"),
        ([{"@if": {"exists": {"@path": "a"}, "then": "yes"}}, "b"], {"b": 2}, 2),
        ("text", {}, "text"),
        (5, {}, 5),
        (None, {}, None),
        ({"@literal": ["a", "b"]}, {"a": 1}, ["a", "b"]),  # inside Segment's directives a list is a list
        ({"@if": {"exists": {"@path": "a"}, "then": ["a"]}}, {"a": 1}, ["a"]),
        ({"x": {"@path": "a"}, "y": ["a"], "z": {"@path": "no"}}, {"a": 1}, {"x": 1, "y": ["a"]}),
        ({"@x-text": ["a", "b"]}, {"b": 7}, "7"),
        ({"@template": {"@x-text": ["a"]}}, {"a": "<{{b}}>", "b": 1}, "<1>"),
        ({"@case": {"operator": "upper", "value": {"@x-text": ["n", "a"]}}}, {"a": "x"}, "X"),
        ({"x": [{"@x-text": ["a"]}]}, {"a": 1}, {"x": ["1"]}),
        ({"@arrayPath": ["$.l", {"n": {"@x-text": ["n"]}}]}, {"l": [{"n": 1}, {}]}, [{"n": "1"}, {}]),
        (["a"], "no object", UNDEFINED),
        (["a"], [1], UNDEFINED),
        (["0"], [1], 1),
        ({"x": {"@path": "a"}}, None, {"x": None}),
    ],
)
def test_values(spec: Any, payload: Any, value: Any) -> None:
    found = compile_value(spec, "here")(payload)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("spec", [[], [1], [None], ["a", ["b"]]])
def test_a_list_of_something_else_is_a_mistake(spec: Any) -> None:
    with pytest.raises(MappingError) as caught:
        compile_value(spec, "here")
    assert caught.value.mistakes == (f"here: expected a list of paths or directives, found {spec!r}",)


def test_all_members_of_a_list_say_their_mistakes() -> None:
    for compile_it in (compile_value, alternatives):
        with pytest.raises(MappingError) as caught:
            compile_it(["a", {"@path": 1}, {"@template": 2}], "here")
        assert caught.value.mistakes == (
            "here: /@path should be a string or a mapping directive but it is a number",
            "here: /@template should be a string or a mapping directive but it is a number",
        )


def test_alternatives_are_the_members_one_by_one() -> None:
    found = alternatives(["a", {"@path": "b"}, "c"], "here")
    assert [value_of({"a": 1, "b": 2, "c": ""}) for value_of in found] == [1, 2, UNDEFINED]
    assert [value_of({"a": 1}) for value_of in alternatives({"@path": "a"}, "here")] == [1]


def test_a_run_time_error_of_a_field_says_where() -> None:
    value_of = compile_value({"@path": {"@path": "which"}}, 'a.toml: [fields] "x"')
    with pytest.raises(MappingError) as caught:
        value_of({"which": ["ada@example.com"]})
    assert caught.value.mistakes == ('a.toml: [fields] "x": /@path @path: expected string, got array',)


def test_ours_between_the_stages_of_theirs_gives_null_for_undefined_items() -> None:
    stages = {"apply": {"l": [{"@path": "no"}, 1]}, "mapping": {"m": {"@x-text": ["l"]}}}
    assert compile_value({"@transform": stages}, "here")({}) == {"m": [None, 1]}


def test_a_compiled_mapping_takes_what_is_like_a_dictionary() -> None:
    assert compile_mapping({"x": {"@path": "a.b"}})(MappingProxyType({"a": {"b": 1}})) == {"x": 1}


def fields(**specs: Any) -> dict[str, Value]:
    return {name.replace("__", "."): compile_value(spec, name) for name, spec in specs.items()}


def test_fields_make_objects_of_dotted_names_and_leave_out_what_has_no_value() -> None:
    made = apply_fields(
        fields(a__b=["x"], a__c__d=["x"], e=["no"], f={"@path": "null"}, g={"@literal": ""}), {"x": 1, "null": None}
    )
    assert made == {"a": {"b": 1, "c": {"d": 1}}}


def test_a_field_under_an_object_of_the_payload_does_not_change_the_payload() -> None:
    payload = {"props": {"a": {"b": 1}}, "n": 2}
    kept = copy.deepcopy(payload)
    made = apply_fields(fields(p=["props"], p__a__c=["n"], p__d=["n"], p__a__e=["n"]), payload)
    assert made == {"p": {"a": {"b": 1, "c": 2, "e": 2}, "d": 2}}
    assert payload == kept


def test_a_field_under_something_that_is_no_object_takes_its_place() -> None:
    assert apply_fields(fields(p=["n"], p__a=["n"]), {"n": 2}) == {"p": {"a": 2}}
    assert apply_fields(fields(p__a=["n"], p=["n"]), {"n": 2}) == {"p": 2}
