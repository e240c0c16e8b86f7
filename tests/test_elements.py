"""Cutting a request into its elements, against the standard library's own parser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connector.elements import Element, dumps, first_slice, split, split_member, storable
from connector.errors import PayloadError

NAMES = some.text(some.characters(), max_size=8)
LEAVES = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | NAMES
VALUES = some.recursive(LEAVES, lambda inner: some.lists(inner) | some.dictionaries(NAMES, inner), max_leaves=12)
LAYOUTS = some.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}])


@given(some.lists(VALUES, max_size=6), LAYOUTS)
def test_the_slices_of_an_array_are_its_elements(values: list[Any], layout: dict[str, Any]) -> None:
    text = "\n " + json.dumps(values, **layout) + "\t"
    found = split(text)
    assert [element.value for element in found] == values
    assert [json.loads(element.text) for element in found] == values
    assert [element.rotten for element in found] == [None] * len(values)
    assert first_slice(text) == (found[0].text if found else None)
    assert [split(element.text)[0].text for element in found if element.text[0] != "["] == [
        element.text for element in found if element.text[0] != "["
    ]


@given(VALUES, some.dictionaries(NAMES, VALUES, max_size=3), LAYOUTS)
def test_what_is_too_deep_to_read_is_cut_out_as_exactly(
    value: Any, last: dict[str, Any], layout: dict[str, Any]
) -> None:
    """The scanner that counts brackets ends where the parser would have ended."""
    deep = '{"d":' + "[" * 20_000 + json.dumps(value, **layout) + "]" * 20_000 + "}"
    after = json.dumps(last, **layout)
    found = split(f"[{deep} , {after}]")
    assert [element.text for element in found] == [deep, after]
    assert found[0].rotten is not None
    assert found[1] == Element(after, last)


@given(some.dictionaries(NAMES, VALUES, max_size=4), some.lists(VALUES, max_size=4), LAYOUTS)
def test_an_object_is_its_members_and_the_elements_of_one(
    members: dict[str, Any], values: list[Any], layout: dict[str, Any]
) -> None:
    whole = {**members, "batch": values}
    told, found = split_member(json.dumps(whole, **layout), "batch")
    members.pop("batch", None)
    assert {name: member.value for name, member in told.items()} == members
    assert found is not None
    assert [json.loads(element.text) for element in found] == values


@given(some.binary() | some.text('[]{}",:\\ 0n', max_size=30).map(str.encode))
def test_what_the_standard_parser_refuses_is_refused_and_nothing_else(body: bytes) -> None:
    try:
        text = body.decode()
        json.loads(text)
        good = "\x00" not in text
    except ValueError:
        good = False
    if good:
        split(body.decode())
        return
    with pytest.raises((PayloadError, UnicodeDecodeError)):
        split(body.decode())


@given(some.dictionaries(NAMES, VALUES, max_size=4))
def test_only_the_write_key_is_taken_away(value: dict[str, Any]) -> None:
    (plain,) = split(dumps(value))
    assert storable(plain) is plain
    (keyed,) = split(dumps({**value, "writeKey": "secret-7f3a"}))
    clean = storable(keyed)
    assert (clean.value, clean.rotten) == (value, None)
    assert "secret-7f3a" not in clean.text


@pytest.mark.parametrize("levels", [100, 900, 1_000, 1_015, 1_020, 3_000])
def test_a_deep_element_loses_its_write_key_too(levels: int) -> None:
    (element,) = split('{"writeKey":"wk-secret","d":' + "[" * levels + "]" * levels + "}")
    assert "wk-secret" not in storable(element).text
