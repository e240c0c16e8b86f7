"""``$.a.b[0]``: how Segment's ``get`` finds a value in a payload.

A step into a falsy value returns that value; keys that hold a dot, and keys with quotes, cannot be reached. What
objects inherit in JavaScript (``toString``) is UNDEFINED here; ``length`` of texts and arrays is there.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/get.ts
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from connector.language.javascript import UNDEFINED, Value, as_index, code_units, is_truthy, length
from connector.messages import Json

SPLIT: Final = re.compile(r"""\[(?=["'0-9])|\.|(?<=["'0-9])\]+""")
QUOTES: Final = str.maketrans("", "", "'\"")
CACHED: Final = 200  # characters of a path from a payload that is worth remembering


def steps_of(path: str) -> tuple[str, ...]:
    """The keys one after the other; none of them for '' and '.', the whole payload."""
    return tuple(step.translate(QUOTES) for step in SPLIT.split(path) if step)


def step_into(value: Json, key: str) -> Json:
    """``value && value[key]``."""
    if isinstance(value, dict):
        return value.get(key, UNDEFINED)
    if not is_truthy(value):
        return value
    if not isinstance(value, list | str):
        return UNDEFINED
    if key == "length":
        return length(value)
    at = as_index(key)
    if at is None or at >= length(value):
        return UNDEFINED
    return value[at] if isinstance(value, list) or value.isascii() else list(code_units(value))[at]


def getter(path: str) -> Value:
    """The function that finds a path, which has no ``$.`` any more (``@path`` takes it off, ``@template`` does not)."""
    steps = steps_of(path)
    if not steps:
        return lambda payload: payload
    if len(steps) == 1:
        return _one_step(steps[0])
    return _two_steps(*steps) if len(steps) == 2 else _many_steps(steps)


def _one_step(key: str) -> Value:
    def get(payload: Json) -> Json:
        return payload.get(key, UNDEFINED) if type(payload) is dict else step_into(payload, key)

    return get


def _two_steps(first: str, second: str) -> Value:
    def get(payload: Json) -> Json:
        inner = payload.get(first, UNDEFINED) if type(payload) is dict else step_into(payload, first)
        return inner.get(second, UNDEFINED) if type(inner) is dict else step_into(inner, second)

    return get


def _many_steps(steps: tuple[str, ...]) -> Value:
    def get(payload: Json) -> Json:
        for key in steps:
            payload = payload.get(key, UNDEFINED) if type(payload) is dict else step_into(payload, key)
        return payload

    return get


def without_prefix(path: str) -> str:
    """The first ``$.`` taken off, wherever it stands: Segment replaces it anywhere."""
    return path.replace("$.", "", 1)


def find(payload: Json, path: str) -> Json:
    """The value at a path that is known only now."""
    return (_remembered(path) if len(path) <= CACHED else getter(path))(payload)


_remembered: Final = lru_cache(maxsize=1_024)(getter)
