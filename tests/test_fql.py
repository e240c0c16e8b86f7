"""Segment's filters: what Segment makes of each text, and what we refuse because a person means something else."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import MappingError
from connector.language.fql import LONGEST, compile_filter, exact, problem, strict
from connector.language.fql.tree import Condition, Group

TRACK = Condition("type", "", "=", "track")
EVENT = Condition("event", "", "=", "A")
NAMED = Condition("event", "", "contains", "A")

READ_ALIKE: dict[str, Group] = {
    'type = "track"': Group("and", (TRACK,)),
    'type="track"': Group("and", (TRACK,)),
    '(type = "track")': Group("and", (TRACK,)),
    'type = "track" or event = "A"': Group("or", (TRACK, EVENT)),
    'type = "track" and (event = "A" or event != "B")': Group(
        "and", (TRACK, Group("or", (EVENT, Condition("event", "", "!=", "B"))))
    ),
    '(type = "track" and event = "A") or (name = "x" and userId != "")': Group(
        "or",
        (
            Group("and", (TRACK, EVENT)),
            Group("and", (Condition("name", "", "=", "x"), Condition("userId", "", "!=", ""))),
        ),
    ),
    "properties.price >= 100": Group("and", (Condition("properties", "price", ">=", 100.0),)),
    "traits.logins < -1.5": Group("and", (Condition("traits", "logins", "<", -1.5),)),
    "context.page.depth = 5": Group("and", (Condition("context", "page.depth", "number_equals", 5.0),)),
    "properties.n != 5": Group("and", (Condition("properties", "n", "number_not_equals", 5.0),)),
    'properties.n = "5"': Group("and", (Condition("properties", "n", "=", "5"),)),
    "properties.paid = true": Group("and", (Condition("properties", "paid", "is_true"),)),
    "traits.paid = false": Group("and", (Condition("traits", "paid", "is_false"),)),
    "properties.a = null": Group("and", (Condition("properties", "a", "not_exists"),)),
    "userId != null": Group("and", (Condition("userId", "", "exists"),)),
    "name = null": Group("and", (Condition("name", "", "not_exists"),)),
    'contains(event, "A")': Group("and", (NAMED,)),
    '!contains(traits.a, "x")': Group("and", (Condition("traits", "a", "not_contains", "x"),)),
    'match(event, "X*")': Group("and", (Condition("event", "", "starts_with", "X"),)),
    '!match(properties.a, "X*")': Group("and", (Condition("properties", "a", "not_starts_with", "X"),)),
    'match(context.ip, "*X")': Group("and", (Condition("context", "ip", "ends_with", "X"),)),
    '!match(userId, "*X")': Group("and", (Condition("userId", "", "not_ends_with", "X"),)),
    "properties.my\\ key != null": Group("and", (Condition("properties", "my key", "exists"),)),
    'properties.items.\\0.\\and = "x"': Group("and", (Condition("properties", "items.0.and", "=", "x"),)),
    'event = "Größe 😀"': Group("and", (Condition("event", "", "=", "Größe 😀"),)),
}

READ_ODDLY: dict[str, tuple[str, Group]] = {
    "the last or rules the whole level": (
        'type = "track" and event = "A" or event = "A"',
        Group("or", (TRACK, EVENT, EVENT)),
    ),
    "the last and rules the whole level": (
        'type = "track" or event = "A" and event = "A"',
        Group("and", (TRACK, EVENT, EVENT)),
    ),
    "an or at the end rules too": ('type = "track" event = "A" or', Group("or", (TRACK, EVENT))),
    "conditions side by side are joined by and": ('type = "track" event = "A"', Group("and", (TRACK, EVENT))),
    "a function's parenthesis closes the group": (
        'event = "A" and (contains(event, "A") or type = "track")',
        Group("or", (EVENT, NAMED, TRACK)),
    ),
    "an or glued to a parenthesis is not seen": ('type = "track" or(event = "A")', Group("and", (TRACK, EVENT))),
    "capitals are passed over": ('type = "track" OR event = "A"', Group("and", (TRACK, EVENT))),
    "not is passed over": ('not(type = "track")', Group("and", (TRACK,))),
    "an exclamation mark before a group is passed over": ('!(type = "track")', Group("and", (TRACK,))),
    "unknown fields are passed over": ('anonymousId = "x" and type = "track"', Group("and", (TRACK,))),
    "what objects inherit eats two words": ("constructor event = type = track", Group("and", (TRACK,))),
    "contains of type is dropped": ('type = "track" and contains(type, "x")', Group("and", (TRACK,))),
    "null is a text to event": ("event != null", Group("and", (Condition("event", "", "!=", "null"),))),
    "null is a text to type": ("type = null", Group("and", (Condition("type", "", "=", "null"),))),
    "single quotes stay": ("type = 'track'", Group("and", (Condition("type", "", "=", "'track'"),))),
    "the end of the filter is a value": ("type =", Group("and", (Condition("type", "", "=", "eos"),))),
    "a bare word is a text": ("type = track", Group("and", (TRACK,))),
    "a bare word at the end loses its tail": ("type = an", Group("and", (Condition("type", "", "=", "a"),))),
    "numbers are written anew for text fields": ("type = 007", Group("and", (Condition("type", "", "=", "7"),))),
    "large numbers too": (f"userId = 1{'0' * 21}", Group("and", (Condition("userId", "", "=", "1e+21"),))),
    "two equal signs compare with one": ("type == 1", Group("and", (Condition("type", "", "=", "="),))),
    "a glued <= compares with a sign": ("properties.a <=5", Group("and", (Condition("properties", "a", "<", "="),))),
    "any word is an operator": ('event in "A"', Group("and", (Condition("event", "", "in", "A"),))),
    "the names of the inner operators are operators": ('event contains "A"', Group("and", (NAMED,))),
    "!= true compares with a text": ("properties.a != true", Group("and", (Condition("properties", "a", "!=", True),))),
    "a number breaks a path": ("properties.0 = 5", Group("and", (Condition("properties", "properties", ".", 0.0),))),
    "and breaks a path": ("properties.and = 5", Group("and", (Condition("properties", "properties", ".", "and"),))),
    "a bracket breaks a path": ("properties.a [0] = 5", Group("and", (Condition("properties", "a", "[", 0.0),))),
    "an object is looked for in itself": (
        "properties = null",
        Group("and", (Condition("properties", "properties", "not_exists"),)),
    ),
    "an escaped dot is a step": ('properties.a\\.b = "x"', Group("and", (Condition("properties", "a.b", "=", "x"),))),
    "a pattern without a star loses a character": (
        'match(event, "Order")',
        Group("and", (Condition("event", "", "ends_with", "rder"),)),
    ),
    "the first of two stars stays": (
        'match(event, "*A*")',
        Group("and", (Condition("event", "", "starts_with", "*A"),)),
    ),
    "a name that begins like an object is looked for in it": (
        'contains(propertiesX, "x")',
        Group("and", (Condition("properties", "propertiesX", "contains", "x"),)),
    ),
    "true is a text to name": ("name = true", Group("and", (Condition("name", "", "=", "true"),))),
    "a carriage return is no space behind a quote": ('type = "track"\r\nand event = "A"', Group("and", (TRACK,))),
    "a glued closing quote opens the next text": ('type="track"and event="A"', Group("and", (TRACK,))),
    "an empty group is a child that fails": ('type = "track" or ()', Group("or", (TRACK, None))),
}

UNREADABLE = {
    "": "character 1: there is no condition in it",
    "typo": "character 1: there is no condition in it",
    "type": "character 5: a value is missing",
    "contains(": "character 10: contains() has no 2nd argument",
    "contains": "character 9: contains() has no 1st argument",
    'type * "x"': "character 6: a filter cannot have the character '*' outside of quotes",
    'type = "track" && event = "A"': "character 16: a filter cannot have the character '&' outside of quotes",
    '((type = "track"))': "character 2: a parenthesis is never closed, or stands inside of another one",
    '😀 = "x"': "character 1: a filter cannot have the character '\\ud83d' outside of quotes",
    '"😀" (type = "track"': "character 5: a parenthesis is never closed, or stands inside of another one",
    'type = "track': "character 8: a text begins with a quote that is never closed",
    'type !="track"': "character 6: after ! there has to be = and a space, or contains( or match(",
    "properties.a[0] = 5": "character 13: after a name there has to be a space, a dot, =, ! or a parenthesis",
    "properties.a<5": "character 13: after a name there has to be a space, a dot, =, ! or a parenthesis",
    "properties.a = 1.2.3": "character 16: a number has at most one decimal point, with digits behind it",
    "properties.a = 5.": "character 16: a number has at most one decimal point, with digits behind it",
    "properties.a = 5 \r": "character 18: a filter cannot have the character '\\r' outside of quotes",
    "properties.b\\": "character 13: a backslash stands at the end of the filter",
}

REFUSED = {
    'type = "track" and event = "A" or event = "B"': 'character 32: "and" and "or" are mixed on one level',
    '((type = "track"))': "character 2: a group stands inside of a group",
    '(type = "track"': "character 1: this parenthesis is never closed",
    'type = "track")': "character 15: this parenthesis closes nothing",
    '(contains(event, "A"))': "character 2: a function stands inside of a group",
    '(!match(event, "A*"))': "character 3: a function stands inside of a group",
    "type = 'track'": "character 8: a text is in single quotes",
    "contains(event, 'A')": "character 17: a text is in single quotes",
    "event != null": "character 10: event is compared with null",
    "type = null": "character 8: type is compared with null",
    'not(type = "track")': 'character 1: "not" is no word of a filter',
    '!(type = "track")': "character 1: ! stands only before contains( and match(",
    '!event = "A"': "character 1: ! stands only before contains( and match(",
    'event in ["A"]': 'character 7: "in" is no operator',
    'anonymousId = "x"': "character 1: there is no such field",
    'messageId != "x"': "character 1: there is no such field",
    'type.x = "track"': "character 1: there is no such field",
    'length(event) = "x"': "character 1: there are no functions but contains() and match()",
    'type = "track" or(event = "A")': 'character 16: something stands right behind "or"',
    'type = "track" AND event = "A"': 'character 16: "AND" is in capitals',
    'type = "track" event = "A"': 'character 16: two conditions have to be joined by "and" or "or"',
    'type = "track" and': "character 19: a condition is missing here",
    'or type = "track"': "character 1: a condition is missing here",
    "()": "character 2: a condition is missing here",
    "": "character 1: a condition is missing here",
    '"track" = type': "character 1: a condition begins with a field",
    'type "track"': "character 6: one of = != < <= > >= is missing behind the field",
    'event contains "A"': "character 7: contains stands behind the field",
    'type == "track"': "character 7: two operators follow each other",
    "properties.a <=5": "character 15: two operators follow each other",
    "type = track": "character 8: a value is missing",
    "type =": "character 7: a value is missing",
    "properties.a = -": "character 16: this is no number to compare with",
    "userId = 007": "character 10: userId is a text, and is compared with something else",
    "name = true": "character 8: name is a text, and is compared with something else",
    'properties.a > "5"': "character 16: a text is compared by size",
    "properties.a > null": "character 14: null, true and false have no size",
    "properties.a <= true": "character 14: null, true and false have no size",
    "properties.a != true": "character 14: != before true or false",
    "properties.0 = 5": "character 1: a path goes on with something that Segment does not take for a name",
    "properties.a [0] = 5": "character 14: a path goes on with something that Segment does not take for a name",
    "properties = null": "character 1: properties stands alone",
    "properties.a\\.b = null": "character 1: a name has a dot or a bracket behind a backslash",
    "properties.a\\[0\\] = null": "character 1: a name has a dot or a bracket behind a backslash",
    'contains(type, "x")': "character 10: a function looks at type",
    "contains(event, A)": 'character 17: expected contains(field, "text")',
    'contains(event "A")': 'character 16: expected contains(field, "text")',
    'match event, "A*"': 'character 7: expected match(field, "text")',
    'match(event, "Order")': "character 14: a pattern has one star, at its beginning or its end",
    'match(event, "*A*")': "character 14: a pattern has one star, at its beginning or its end",
    'match(event, "A*B")': "character 14: a pattern has one star, at its beginning or its end",
    'type = "track"and event = "A"': "character 8: something stands right behind a closing quote",
    'type = "track" && event = "A"': "character 16: a filter cannot have the character '&' outside of quotes",
    'type !="track"': "character 6: after ! there has to be = and a space",
}


def refusal(text: str) -> str:
    with pytest.raises(MappingError) as error:
        compile_filter(text, "filter")
    return str(error.value)


def said(text: str, *events: dict[str, Any]) -> list[bool]:
    """What Segment says of each event."""
    fits = compile_filter(text, "filter", exact=True)
    return [fits(event) for event in events]


@pytest.mark.parametrize("text", READ_ALIKE)
def test_a_plain_filter_is_read_by_us_as_by_segment(text: str) -> None:
    assert (strict.read(text), exact.read(text)) == (READ_ALIKE[text], READ_ALIKE[text])
    assert problem(text) is None


@pytest.mark.parametrize("oddity", READ_ODDLY)
def test_an_oddity_of_segment_is_read_exactly_and_refused_otherwise(oddity: str) -> None:
    text, tree = READ_ODDLY[oddity]
    assert exact.read(text) == tree
    assert problem(text) is None
    assert "Segment" in refusal(text)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_segment_cannot_parse_matches_nothing_and_tells_why(text: str) -> None:
    assert problem(text) == UNREADABLE[text]
    assert said(text, {"type": "track", "event": "A"}, {}) == [False, False]
    assert "Segment" in refusal(text)


@pytest.mark.parametrize("text", REFUSED)
def test_a_refusal_says_where_what_segment_does_and_what_to_write(text: str) -> None:
    message = refusal(text)
    assert message.startswith(f"filter: {REFUSED[text]}")
    assert " Segment " in message
    other = "Segment cannot read the filter either"
    if problem(text) is None:
        other = 'fql = "segment" takes the filter as Segment would'
    assert message.endswith(f"; {other}")


def test_a_refusal_in_full() -> None:
    assert refusal('type = "track" and event = "A" or event = "B"') == (
        'filter: character 32: "and" and "or" are mixed on one level. Segment knows no precedence: the last one would'
        " rule the whole level. Put parentheses around the conditions that belong together;"
        ' fql = "segment" takes the filter as Segment would'
    )


def test_a_refusal_does_not_quote_the_texts_of_a_filter() -> None:
    for text in ('traits.email = "zoe@example.com" or type = x', "traits.email = 'zoe@example.com'", "zoe@example.com"):
        assert "zoe" not in refusal(text)


def test_a_filter_of_more_than_five_thousand_characters_is_refused() -> None:
    longest = f'type = "{"x" * (LONGEST - 9)}"'
    assert problem(longest) is None
    assert compile_filter(longest, "filter")({"type": "x" * (LONGEST - 9)}) is True
    too_long = "the filter has 5,001 characters, more than 5,000; split it into several mappings"
    assert (problem(longest + " "), refusal(longest + " ")) == (too_long, f"filter: {too_long}")
    assert said(longest + " ", {"type": "x" * (LONGEST - 9)}) == [False]
