"""What Segment's filters say of events: how values are compared, and what JavaScript makes of them."""

from __future__ import annotations

from typing import Any

from connector.language.fql import compile_filter


def said(text: str, *events: dict[str, Any]) -> list[bool]:
    """What Segment says of each event."""
    fits = compile_filter(text, "filter", exact=True)
    return [fits(event) for event in events]


def properties(*values: Any) -> list[dict[str, Any]]:
    return [{"properties": {"a": value}} for value in values]


def test_equality_with_a_text_is_of_texts_only() -> None:
    assert said('properties.a = "5"', *properties("5", 5, 5.0, None, ["5"])) == [True, False, False, False, False]


def test_inequality_with_a_text_holds_for_all_else_and_for_nothing() -> None:
    assert said('properties.a != "5"', *properties("5", 5, None), {}) == [False, True, True, True]


def test_a_bare_number_wants_a_number_even_to_be_unlike() -> None:
    values = properties(5, 5.0, 6, "5", True, None)
    assert said("properties.a = 5", *values, {}) == [True, True, False, False, False, False, False]
    assert said("properties.a != 5", *values, {}) == [False, False, True, False, False, False, False]


def test_numbers_have_the_precision_of_javascript() -> None:
    assert said("properties.a = 9007199254740993", *properties(9007199254740992, 9007199254740993)) == [True, True]
    assert said("properties.a > 5", *properties(10**400, -(10**400))) == [True, False]


def test_order_is_of_numbers_and_of_texts_that_are_numbers_to_javascript_on_the_right() -> None:
    assert said("properties.a >= 5", *properties(4, 5, 6, "6", True, None)) == [False, True, True, False, False, False]
    assert said('properties.a > "0x10"', *properties(16, 17)) == [False, True]
    assert said('properties.a > ""', *properties(0, 1)) == [False, True]
    assert said('properties.a > " 1e1 "', *properties(10, 11)) == [False, True]
    assert said('properties.a < "Infinity"', *properties(10**9)) == [True]
    assert said('properties.a > "abc"', *properties(10**9)) == [False]


def test_parts_are_sought_in_texts_only_and_their_absence_too() -> None:
    values = properties("axb", "ab", 5, None)
    assert said('contains(properties.a, "x")', *values, {}) == [True, False, False, False, False]
    assert said('!contains(properties.a, "x")', *values, {}) == [False, True, False, False, False]
    assert said('!match(properties.a, "a*")', *values, *properties("b"), {}) == [
        False,
        False,
        False,
        False,
        True,
        False,
    ]


def test_existence_is_neither_undefined_nor_null() -> None:
    assert said("properties.a != null", *properties("", 0, False, None), {}) == [True, True, True, False, False]
    assert said("properties.a = null", *properties("", 0, False, None), {}) == [False, False, False, True, True]


def test_truth_is_of_booleans_only() -> None:
    assert said("properties.a = true", *properties(True, "true", 1, False)) == [True, False, False, False]
    assert said("properties.a = false", *properties(False, "false", 0, None)) == [True, False, False, False]
    assert said("properties.a != true", *properties(True, False, "true"), {}) == [True, True, False, True]


def test_a_path_through_something_empty_ends_there() -> None:
    assert said("properties.a.b != null", *properties("", 0, False, None, {}, 5)) == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_path_knows_indexes_and_lengths_as_javascript_does() -> None:
    values = properties([{"x": 1}, 2], "ab", "a😀", [])
    assert said("properties.a.length = 2", *values) == [True, True, False, False]
    assert said("properties.a.length = 3", *values) == [False, False, True, False]
    assert said("properties.a.\\0.x = 1", *values) == [True, False, False, False]
    assert said("properties.a\\[0\\].x = 1", *values) == [True, False, False, False]
    assert said('properties.a.\\0 = "a"', *values) == [False, True, True, False]


def test_a_pattern_that_begins_with_an_emoji_loses_half_of_it() -> None:
    assert said('match(event, "😀x")', {"event": "a😀x"}, {"event": "ax"}, {"event": "😁x"}) == [True, False, False]


def test_a_filter_on_which_segment_fails_matches_nothing() -> None:
    track, page = {"type": "track"}, {"type": "page"}
    assert said('type = "track" or ()', track, page) == [True, False]
    assert said('() or type = "track"', track, page) == [False, False]
    assert said("type = track or properties.\\. = null", track, page) == [True, False]


def test_every_child_or_any_child_of_a_group_decides() -> None:
    fits = compile_filter('type = "track" and (event = "A" or name = "x")', "filter")
    events: list[dict[str, Any]] = [
        {"type": "track", "event": "A"},
        {"type": "track", "name": "x"},
        {"type": "track"},
        {"type": "page", "event": "A"},
    ]
    assert [fits(event) for event in events] == [True, True, False, False]
