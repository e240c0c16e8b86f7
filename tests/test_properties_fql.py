"""Random filters on random events: the compiled function says what a plain reading of Segment's rules says.

The evaluator here walks the tree for each event, and shares no code with the product.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import MappingError
from connector.language.fql import compile_filter, exact, problem, strict
from connector.language.fql.lexer import Unreadable
from connector.language.fql.tree import Condition, Group

MISSING: Any = object()

FIELDS = st.sampled_from(
    [
        "type",
        "event",
        "name",
        "userId",
        "properties.a",
        "properties.a.b",
        "traits.a",
        "context.a.length",
        "traits.a.\\0",
    ]
)
VALUES = st.sampled_from(["5", "-1.5", "0", '"x"', '"5"', '""', '"0x5"', '"track"', '"1e400"', "true", "false", "null"])
COMPARISONS = st.builds(
    "{} {} {}".format, FIELDS, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "contains", "number_equals"]), VALUES
)
PLAIN_COMPARISONS = st.builds(
    "{} {} {}".format,
    st.sampled_from(["type", "event", "name", "userId"]),
    st.sampled_from(["=", "!="]),
    st.sampled_from(['"x"', '"track"', '"5"', '""']),
) | st.builds(
    "{} {}".format,
    st.sampled_from(["properties.a", "traits.a.b", "context.a.length", "properties.a.\\0", "traits.\\and"]),
    st.sampled_from(["= true", "= false", "= null", "!= null", '= "x"', '!= "5"', "= 5", "!= 0", "< 5", ">= -1.5"]),
)
PLAIN_FUNCTIONS = st.builds(
    "{}, {})".format,
    st.sampled_from(["contains(event", "!contains(properties.a", "contains(traits.a.b"]),
    st.sampled_from(['"x"', '"*x*"', '""', '"a😀"']),
) | st.builds(
    "{}, {})".format,
    st.sampled_from(["match(event", "!match(properties.a", "match(context.\\and"]),
    st.sampled_from(['"x*"', '"*x"', '"*"', '"*😀"']),
)
PLAIN_GROUPS = st.builds(
    lambda sign, terms: f"({sign.join(terms)})",
    st.sampled_from([" and ", " or "]),
    st.lists(PLAIN_COMPARISONS, min_size=1, max_size=3),
)
PLAIN = st.builds(
    lambda sign, terms: sign.join(terms),
    st.sampled_from([" and ", " or "]),
    st.lists(PLAIN_COMPARISONS | PLAIN_FUNCTIONS | PLAIN_GROUPS, min_size=1, max_size=4),
)
"""Filters of the grammar that we accept."""

FUNCTIONS = st.builds(
    "{}({}, {})".format,
    st.sampled_from(["contains", "!contains", "match", "!match"]),
    FIELDS,
    st.sampled_from(['"x"', '"x*"', '"*x"', '"*"', '"😀x"', '"*😀"', "5"]),
)
TERMS = COMPARISONS | FUNCTIONS
JOINED = st.builds(
    lambda sign, terms: sign.join(terms), st.sampled_from([" and ", " or "]), st.lists(TERMS, min_size=1, max_size=3)
)
FILTERS = st.builds(
    lambda sign, terms: sign.join(terms),
    st.sampled_from([" and ", " or "]),
    st.lists(TERMS | JOINED | st.builds("({})".format, JOINED), min_size=1, max_size=3),
)
WORDS = st.sampled_from(
    ["and", "or", "not", "(", ")", "()", "!", "=", "!=", "==", "<=", ".", ",", "[", "\\", '"', "'", "contains",
     "match(", "null", "true", "type", "event", "properties", "properties.a", "traits.and", "constructor", "an", "5",
     "5.", "-", "é", "😀", "\r", '"x"', 'type = "track"', "properties.\\."]
)  # fmt: skip
WILD = st.builds(
    lambda words: "".join(words), st.lists(st.builds("{}{}".format, WORDS, st.sampled_from([" ", ""])), max_size=12)
)
TEXTS = PLAIN | FILTERS | WILD | st.text(max_size=40)

SCALARS = st.sampled_from(
    [None, True, False, 0, 0.0, 5, 5.0, -1.5, 10**400, "", "x", "5", "track", "axb", "true", "a😀x", "a😀"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "and", "properties"]), JSON) | JSON
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["type", "event", "name", "userId"], SCALARS),
        **dict.fromkeys(["properties", "traits", "context"], OBJECTS),
    },
)


class Thrown(Exception):
    """JavaScript would raise a TypeError."""


def halves(text: str) -> list[str]:
    octets = text.encode("utf-16-le", "surrogatepass")
    return [octets[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(octets), 2)]


def found(value: Any, path: str) -> Any:
    steps = [step for step in re.split(r"[\[.\]]", path) if step]
    if not steps:
        raise Thrown
    for step in steps:
        if value is MISSING or value is None or value is False or value == "" or (value == 0 and value is not True):
            continue
        members = value
        if isinstance(value, str | list):
            listed = halves(value) if isinstance(value, str) else value
            members = {"length": len(listed), **{str(at): one for at, one in enumerate(listed)}}
        value = members.get(step, MISSING) if isinstance(members, Mapping) else MISSING
    return value


def number(value: Any) -> float:
    if isinstance(value, str) and (text := value.strip(" \n\r\t")) != value:
        return number(text)
    if value == "":
        return 0.0
    if isinstance(value, str) and value[:2] == "0x":
        return float(int(value, 16))
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (ValueError, TypeError):
        return math.nan


def judged(actual: Any, operator: str, expected: Any) -> bool:
    numeric = isinstance(actual, int | float) and not isinstance(actual, bool)
    text = str(expected).lower() if isinstance(expected, bool) else expected
    text = f"{text:g}" if isinstance(text, float) else text  # short numbers only; the long ones have their own tests
    match operator:
        case "=":
            return isinstance(actual, str) and actual == text
        case "!=":
            return not (isinstance(actual, str) and actual == text)
        case "<" | "<=" | ">" | ">=" | "number_equals" | "number_not_equals":
            left, right = number(actual) if numeric else 0.0, number(expected)
            return (
                numeric
                and {
                    "<": left < right,
                    "<=": left <= right,
                    ">": left > right,
                    ">=": left >= right,
                    "number_equals": left == right,
                    "number_not_equals": left != right,
                }[operator]
            )
        case "exists" | "not_exists":
            return (actual is None or actual is MISSING) is (operator == "not_exists")
        case "is_true" | "is_false":
            return isinstance(actual, bool) and actual is (operator == "is_true")
    kind = operator.removeprefix("not_")
    if kind not in ("contains", "starts_with", "ends_with") or not isinstance(actual, str):
        return False
    has, wanted = halves(actual), halves(str(text))
    places = [at for at in range(len(has) - len(wanted) + 1) if has[at : at + len(wanted)] == wanted]
    allowed = {"contains": places, "starts_with": [0], "ends_with": [len(has) - len(wanted)]}[kind]
    return bool(set(places) & set(allowed)) is (kind == operator)


def walked(node: Condition | Group | None, event: Mapping[str, Any]) -> bool:
    if node is None:
        raise Thrown
    if isinstance(node, Group):
        for child in node.children:
            if walked(child, event) is (node.operator == "or"):
                return node.operator == "or"
        return node.operator == "and"
    actual = event.get(node.field, MISSING)
    if node.field in ("properties", "traits", "context"):
        actual = found(actual, node.path)
    return judged(actual, node.operator, node.value)


def naively(text: str, event: Mapping[str, Any]) -> bool:
    try:
        return walked(exact.read(text), event)
    except (Unreadable, Thrown):
        return False


@settings(max_examples=500, deadline=None)
@given(text=TEXTS, events=st.lists(EVENTS, min_size=1, max_size=4))
def test_the_compiled_filter_is_what_a_walk_over_segments_tree_says(text: str, events: list[dict[str, Any]]) -> None:
    fits = compile_filter(text, "filter", exact=True)
    assert [fits(event) for event in events] == [naively(text, event) for event in events]


def same_to_segment(text: str, events: list[dict[str, Any]]) -> None:
    ours, theirs = compile_filter(text, "filter"), compile_filter(text, "filter", exact=True)
    assert problem(text) is None
    assert strict.read(text) == exact.read(text)
    assert [ours(event) for event in events] == [theirs(event) for event in events]


@settings(max_examples=400, deadline=None)
@given(text=PLAIN, events=st.lists(EVENTS, min_size=1, max_size=4))
def test_a_filter_of_our_grammar_is_accepted_and_means_the_same_to_segment(
    text: str, events: list[dict[str, Any]]
) -> None:
    same_to_segment(text, events)


@settings(max_examples=600, deadline=None)
@given(text=FILTERS | WILD, events=st.lists(EVENTS, min_size=1, max_size=2))
def test_whatever_is_accepted_means_the_same_to_segment(text: str, events: list[dict[str, Any]]) -> None:
    with suppress(MappingError):
        same_to_segment(text, events)


@settings(max_examples=500, deadline=None)
@given(text=TEXTS, event=EVENTS)
def test_no_text_raises_anything_but_a_refusal(text: str, event: dict[str, Any]) -> None:
    assert isinstance(compile_filter(text, "filter", exact=True)(event), bool)
    if problem(text) is not None:
        assert compile_filter(text, "filter", exact=True)(event) is False
    try:
        fits = compile_filter(text, "filter")
    except MappingError as error:
        assert error.mistakes[0].startswith("filter: character ")
    else:
        assert isinstance(fits(event), bool)


@settings(max_examples=60, deadline=None)
@given(piece=st.text("an(\"'\\!=<.5-[ )", min_size=1, max_size=6))
def test_reading_the_longest_filter_takes_no_noticeable_time(piece: str) -> None:
    text = (piece * 5_000)[:5_000]
    began = time.process_time()
    problem(text)
    assert time.process_time() - began < 1.0
