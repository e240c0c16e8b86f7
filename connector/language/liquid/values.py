"""How values of a payload behave inside Liquid templates: as text, compared, and with a member looked up.

Source: https://liquidjs.com/tutorials/differences.html, and what liquidjs 10.30 answers
"""

from __future__ import annotations

from typing import Any, Final

from connector.errors import MappingError
from connector.language.javascript import UNDEFINED, WHITESPACE, as_index, code_units, length, to_number, to_string
from connector.messages import Json

LONGEST: Final = 100_000
TOO_LONG: Final = f"would take or make a value of more than {LONGEST:,} characters or items"


def refuse(value: Any) -> None:
    """Raises: MappingError for what is too much to go on with."""
    if isinstance(value, str | list) and len(value) > LONGEST:
        raise MappingError(TOO_LONG)


def is_yes(value: Json) -> bool:
    """Anything but undefined, null and false; '' and 0 are."""
    return value is not None and value is not UNDEFINED and value is not False


def written(value: Json) -> str:
    """What a value is in the output: nothing of null, arrays end to end, numbers as JavaScript has them."""
    if isinstance(value, list):
        refuse(value)
        return "".join(map(written, value))
    return "" if value is None or value is UNDEFINED else to_string(value)


def member(value: Json, key: Json) -> Json:
    """What ``value[key]`` is, ``size``, ``first`` and ``last`` included; of nothing it is nothing."""
    if value is None or value is UNDEFINED:
        return value
    name = to_string(key)
    if isinstance(value, dict):
        return value.get(name, len(value) if name == "size" else UNDEFINED)
    if not isinstance(value, list | str):
        return UNDEFINED
    if name in ("size", "length"):
        return length(value)
    if isinstance(value, list) and (name in ("first", "last") or name.startswith("-")):
        name = {"first": "0", "last": "-1"}.get(name, name)
        name = str(len(value) + int(name)) if name[:1] == "-" and as_index(name[1:]) is not None else name
    at = as_index(name)
    if at is None or at >= length(value):
        return UNDEFINED
    return value[at] if isinstance(value, list) or value.isascii() else code_units(value)[at]


def same(one: Json, other: Json) -> bool:
    """``one == other``: of one type and alike; arrays by their items, objects only with themselves."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, dict | list):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and one == other


def is_empty(value: Json) -> bool:
    """``value == empty``: '', [] and {}."""
    return isinstance(value, str | list | dict) and not value


def is_blank(value: Json) -> bool:
    """``value == blank``: nothing, false, white space, [] and {}."""
    return not is_yes(value) or is_empty(value) or (isinstance(value, str) and not value.strip(WHITESPACE))


def less(one: Json, other: Json, or_same: bool) -> bool:
    """``one < other`` as JavaScript has it: texts by their units, anything else by its number."""
    one, other = (to_string(value) if isinstance(value, list | dict) else value for value in (one, other))
    if isinstance(one, str) and isinstance(other, str):
        left, right = (text.encode("utf-16-be", "surrogatepass") for text in (one, other))
        return left <= right if or_same else left < right
    return to_number(one) <= to_number(other) if or_same else to_number(one) < to_number(other)


def contains(value: Json, item: Json) -> bool:
    if isinstance(value, list):
        return any(same(one, item) for one in value)
    return isinstance(value, str) and to_string(item) in value


def numbers(first: Json, last: Json) -> list[Json]:
    """``(first..last)``.

    Raises: MappingError for more than LONGEST numbers.
    """
    low, high = to_number(first), to_number(last)
    if not low <= high:
        return []
    if high - low >= LONGEST:
        raise MappingError(TOO_LONG)
    start = int(low) if low.is_integer() else low
    return [start + at for at in range(int(high - low) + 1)]
