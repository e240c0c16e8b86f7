"""A tree as a function that says of an event whether it fits, built once.

What a payload holds is compared as Segment does: ``=`` and ``!=`` with a text (a number 5 is not "5", and ``!=`` holds
for a missing field), ``<`` and its like with numbers only, ``contains`` and ``match`` with texts only, their ``!``
forms included: those fail on a missing field. A path through an empty text, 0 or false ends there with that value.
What objects inherit in JavaScript (``toString``) is not seen.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/destination-subscriptions/src/validate.ts
"""

from __future__ import annotations

import operator as comparing
import re
from collections.abc import Callable, Mapping
from math import nan
from typing import Any, Final

from connector.language.fql.lexer import units
from connector.language.fql.tree import TEXT_FIELDS, Condition, Group, Node
from connector.language.javascript import UNDEFINED, to_number, to_string
from connector.language.paths import step_into
from connector.messages import Json

Predicate = Callable[[Mapping[str, Any]], bool]
"""Does an event fit?"""

Test = Callable[[Json], bool]
"""Does the value of a field fit?"""

_STEP: Final = re.compile(r"[^\[.\]]+")
_ORDER: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": comparing.lt,
    "<=": comparing.le,
    ">": comparing.gt,
    ">=": comparing.ge,
    "number_equals": comparing.eq,
    "number_not_equals": comparing.ne,
}
_PARTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
_CONSTANT: Final[Mapping[str, Test]] = {
    "exists": lambda actual: actual is not UNDEFINED and actual is not None,
    "not_exists": lambda actual: actual is UNDEFINED or actual is None,
    "is_true": lambda actual: actual is True,
    "is_false": lambda actual: actual is False,
}


class _Failed(Exception):
    """Segment's own check fails on this event, and the event is not delivered."""


def compile_tree(tree: Group) -> Predicate:
    """The function of a tree. It never raises."""
    holds = _node(tree)

    def fits(event: Mapping[str, Any]) -> bool:
        try:
            return holds(event)
        except _Failed:
            return False

    return fits


def _node(node: Node) -> Predicate:
    if isinstance(node, Condition):
        return _condition(node)
    if node is None:
        return _fail
    return (
        _every([_node(child) for child in node.children])
        if node.operator == "and"
        else _some([_node(child) for child in node.children])
    )


def _every(children: list[Predicate]) -> Predicate:
    return children[0] if len(children) == 1 else lambda event: all(child(event) for child in children)


def _some(children: list[Predicate]) -> Predicate:
    return children[0] if len(children) == 1 else lambda event: any(child(event) for child in children)


def _fail(_event: Mapping[str, Any]) -> bool:
    raise _Failed


def _condition(condition: Condition) -> Predicate:
    test = _test(condition.operator, condition.value)
    field = condition.field
    if field in TEXT_FIELDS:
        return lambda event: test(event.get(field, UNDEFINED))
    steps = _STEP.findall(condition.path)
    if not steps:  # an escaped dot and nothing else
        return _fail
    if len(steps) == 1:
        return _one_step(field, steps[0], test)

    def deep(event: Mapping[str, Any]) -> bool:
        value = event.get(field, UNDEFINED)
        for step in steps:
            value = step_into(value, step)
        return test(value)

    return deep


def _one_step(field: str, key: str, test: Test) -> Predicate:
    def shallow(event: Mapping[str, Any]) -> bool:
        return test(step_into(event.get(field, UNDEFINED), key))

    return shallow


def _test(operator: str, expected: str | float | bool | None) -> Test:
    if operator in _CONSTANT:
        return _CONSTANT[operator]
    if operator in ("=", "!="):
        text = to_string(expected)
        return (lambda actual: bool(actual == text)) if operator == "=" else (lambda actual: bool(actual != text))
    if operator in _ORDER:
        return _numeric(_ORDER[operator], nan if expected is None else to_number(expected))
    part = _PARTS.get(operator.removeprefix("not_"))
    if part is None:
        return lambda _actual: False
    return _textual(part, to_string(expected), wanted=not operator.startswith("not_"))


def _numeric(compare: Callable[[float, float], bool], expected: float) -> Test:
    def test(actual: Json) -> bool:
        if not isinstance(actual, int | float) or isinstance(actual, bool):
            return False
        return compare(to_number(actual), expected)

    return test


def _textual(holds: Callable[[str, str], bool], expected: str, *, wanted: bool) -> Test:
    if any("\ud800" <= character <= "\udfff" for character in expected):
        # A pattern that began with an emoji has lost half of it, and fits what ends with the other half.
        return lambda actual: isinstance(actual, str) and holds(units(actual), units(expected)) is wanted
    return lambda actual: isinstance(actual, str) and holds(actual, expected) is wanted
