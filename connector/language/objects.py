"""The directives that make or read whole objects: ``@flatten``, ``@json``, ``@merge`` and ``@excludeWhenNull``.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/mapping-kit/index.ts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import orjson

from connector.language.javascript import UNDEFINED, Value, entries, is_truthy, stringify
from connector.language.nodes import (
    IN_OBJECTS,
    LONGEST_RESULT,
    Node,
    Scope,
    deep,
    failing,
    finished,
    folded,
    mistaken,
    no_object,
)
from connector.messages import Json

LONGEST_INTEGER: Final = 19
"""Digits of a number that surely fits 64 bits; a longer one is read as JavaScript reads it."""


def flatten(operand: Json, scope: Scope) -> Node:
    """An object without objects inside, its keys joined; arrays count as objects unless ``omitArrays``."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    if not is_truthy(operand.get("separator")):
        return failing(scope.place, 'requires a "separator" key')
    separator_of, constant_separator = _words(operand["separator"], scope, "separator", "requires a string separator")
    value, whole_arrays = scope.member(operand, "value"), is_truthy(operand.get("omitArrays"))

    def run(payload: Json) -> Json:
        flat = _Flat(separator_of(payload), whole_arrays)
        deep(flat.add, value.exact(payload), "")
        if flat.room < 0:
            raise scope.place.error(f"makes keys of more than {LONGEST_RESULT:,} characters together")
        return flat.members

    return folded(finished(run, max(value.holds, IN_OBJECTS), value.constant and constant_separator))


def _words(operand: Json, scope: Scope, key: str, otherwise: str) -> tuple[Callable[[Json], str], bool]:
    """An operand that has to become a text, and whether it is always the same one."""
    if isinstance(operand, str):
        return (lambda _payload: operand), True
    value = scope.part(operand, key)

    def read(payload: Json) -> str:
        found = value.exact(payload)
        if not isinstance(found, str):
            raise scope.place.error(otherwise)
        return found

    return read, value.constant


class _Flat:
    """What becomes of an object while it is made flat. room: characters that its keys may still take."""

    def __init__(self, separator: str, whole_arrays: bool) -> None:
        self.separator, self.whole_arrays = separator, whole_arrays
        self.members: dict[str, Json] = {}
        self.room = LONGEST_RESULT

    def add(self, value: Json, prefix: str) -> None:
        if not (isinstance(value, dict) or (isinstance(value, list) and not self.whole_arrays)):
            self.members[prefix] = value
            return
        for key, one in entries(value):
            name = f"{prefix}{self.separator}{key}" if prefix else key
            if prefix:  # each level writes the keys above it once more for every key below
                self.room -= len(name)
                if self.room < 0:
                    return
            self.add(one, name)


def in_json(operand: Json, scope: Scope) -> Node:
    """A value as JSON text, or the value in a JSON text; a text that is no JSON stays as it is."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    for key in ("mode", "value"):
        if not is_truthy(operand.get(key)):
            return failing(scope.place, f'requires a "{key}" key')
    value, mode = scope.part(operand["value"], "value"), operand["mode"]
    if mode == "encode":
        encode: Value = lambda payload: deep(stringify, value.exact(payload))  # noqa: E731 two names for one function
        return folded(Node(encode, encode, constant=value.constant))
    if mode != "decode":  # "ENCODE" is allowed and does nothing
        return folded(_nothing_after(value))
    return folded(Node(_decoding(value.exact), _decoding(value.clean), value.holds, value.constant))


def _nothing_after(value: Node) -> Node:
    def run(payload: Json) -> Json:
        value.exact(payload)  # which may raise
        return UNDEFINED

    return Node(run, run, constant=value.constant)


def _decoding(value_of: Value) -> Value:
    def run(payload: Json) -> Json:
        value = value_of(payload)
        return deep(parsed, value) if isinstance(value, str) else value

    return run


def parsed(source: str) -> Json:
    """``JSON.parse(source)``, or the text itself if it is no JSON; numbers that are too large are infinite.

    Raises: RecursionError for what is nested too deeply.
    """
    try:
        return orjson.loads(source)
    except (orjson.JSONDecodeError, UnicodeEncodeError):  # stricter: neither 1e400 nor half a surrogate pair
        pass
    try:
        return json.loads(source, parse_constant=_no_constant, parse_int=_integer)
    except ValueError:
        return source


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def merge(operand: Json, scope: Scope) -> Node:
    """One object of all, later ones winning (earlier ones for ``left``); undefined members win too."""
    if not isinstance(operand, Mapping):
        return no_object(operand, scope)
    for key in ("direction", "objects"):
        if not is_truthy(operand.get(key)):
            return failing(scope.place, f'requires a "{key}" key')
    if not isinstance(operand["objects"], list):
        return mistaken(scope.inside("objects"), "should be an array")
    direction = scope.part(operand["direction"], "direction")
    parts = [scope.part(one, "objects", str(at)) for at, one in enumerate(operand["objects"])]
    values = [one.exact for one in parts]

    def run(payload: Json) -> Json:
        merged: dict[str, Json] = {}
        to_the_left = direction.exact(payload) == "left"
        objects = [value_of(payload) for value_of in values]
        for one in reversed(objects) if to_the_left else objects:
            merged.update(one if isinstance(one, dict) else entries(one))
        return merged

    holds = max([IN_OBJECTS, *(one.holds for one in parts)])
    return folded(finished(run, holds, direction.constant and all(one.constant for one in parts)))


def exclude_when_null(operand: Json, scope: Scope) -> Node:
    """The value without null; null members of objects become undefined, which @merge sees. Arrays keep theirs."""
    value = scope.part(operand)

    def exact(payload: Json) -> Json:
        found = value.exact(payload)
        return UNDEFINED if found is None else deep(_nulls_undefined, found)

    def clean(payload: Json) -> Json:
        found = value.clean(payload)
        return UNDEFINED if found is None else deep(_without_nulls, found)

    return folded(Node(exact, clean, max(value.holds, IN_OBJECTS), value.constant))


def _nulls_undefined(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    return {key: UNDEFINED if one is None else _nulls_undefined(one) for key, one in value.items()}


def _without_nulls(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(one) for key, one in value.items() if one is not None}
