"""What JavaScript does and Python does not, as far as Segment's mappings let it be seen.

Objects are ``dict``, arrays ``list``; ``None`` is null. Functions that descend are given JSON, which may also hold
UNDEFINED; they raise RecursionError on what is nested too deeply.

Source: https://tc39.es/ecma262/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from json.encoder import encode_basestring
from math import inf, isfinite, nan
from typing import Final, Literal

from connector.messages import Json


class _Nothing(Enum):
    UNDEFINED = "undefined"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = _Nothing.UNDEFINED
"""There is no value; ``None`` is JSON's null, which is one."""

Value = Callable[[Json], Json]
"""A compiled value: payload in, value out, UNDEFINED for nothing there."""

WHITESPACE: Final = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What ``trim`` takes off."""

EXACT_INTEGERS: Final = 1 << 64
LONGEST_INDEX: Final = 4_294_967_294  # 2³²-2: a larger number is an ordinary key
DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BASED: Final = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")
REPLACEMENT: Final = "\ufffd"  # half a surrogate pair cannot be written as UTF-8


def is_truthy(value: Json) -> bool:
    """False for undefined, null, false, 0, NaN and ''; empty objects and arrays are true."""
    if isinstance(value, dict | list):
        return True
    return bool(value) and value == value  # NaN alone is unlike itself


def is_blank(value: Json) -> bool:
    """``value == ''`` or nothing at all, by JavaScript's loose comparison: 0, false and [] are, ' ' and {} are not."""
    if isinstance(value, list):
        return to_string(value) == ""
    return not isinstance(value, dict) and not value


def type_of(value: object) -> str:
    """object, array, string, number, boolean, null, undefined; a date of TOML is a date, anything else its class."""
    if value is None:
        return "null"
    if value is UNDEFINED:
        return "undefined"
    for kind, name in (((bool,), "boolean"), ((int, float), "number"), ((str,), "string"), ((list,), "array")):
        if isinstance(value, kind):
            return name
    if isinstance(value, Mapping):
        return "object"
    return {"datetime": "date"}.get(type(value).__name__, type(value).__name__.lower())


def to_string(value: Json) -> str:
    """``String(value)``: true, 1, 1e+21, null, undefined, [object Object]; arrays joined by commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list):
        return ",".join("" if one is None or one is UNDEFINED else to_string(one) for one in value)
    if value is None:
        return "null"
    return "undefined" if value is UNDEFINED else "[object Object]"


def number_text(number: float) -> str:
    """A number as JavaScript writes it. Whole numbers keep the digits they came with, up to 64 bits."""
    if isinstance(number, int) and abs(number) < EXACT_INTEGERS:
        return str(number)
    try:
        number = float(number)
    except OverflowError:
        number = float("inf") if number > 0 else float("-inf")
    if number != number:
        return "NaN"
    if not isfinite(number):
        return "Infinity" if number > 0 else "-Infinity"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)  # where the decimal point stands among the digits
    digits = digits.rstrip("0")
    return sign + _placed(digits, point) if digits else "0"


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    return f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{point - 1:+d}"


def to_number(value: Json) -> float:
    """``Number(value)``: 0 of null and '', NaN of what is no number."""
    if value is None:
        return 0.0
    if isinstance(value, int | float):
        return _as_float(value)
    text = to_string(value).strip(WHITESPACE) if isinstance(value, str | list) else "NaN"
    if DECIMAL.fullmatch(text):
        return float(text)
    if BASED.fullmatch(text):
        return _as_float(int(text, 0))
    return {"": 0.0, "Infinity": inf, "+Infinity": inf, "-Infinity": -inf}.get(text, nan)


def _as_float(number: float) -> float:
    """A number in the precision that JavaScript has; infinity where it is too large."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def code_units(text: str) -> str:
    """The members that a text has in JavaScript: UTF-16 units, an emoji two of them, each unwritable."""
    return text if text.isascii() else "".join(char if char <= "\uffff" else 2 * REPLACEMENT for char in text)


def length(value: str | list[Json]) -> int:
    """``value.length``."""
    return len(value) if isinstance(value, list) or value.isascii() else sum(1 + (char > "\uffff") for char in value)


def as_index(key: str) -> int | None:
    """The index that a key is: ``"0"``, ``"12"``; not ``"01"``."""
    if not (key.isascii() and key.isdecimal()) or (key[0] == "0" and key != "0") or len(key) > 10:
        return None
    return number if (number := int(key)) <= LONGEST_INDEX else None


def entries(value: Json) -> Iterable[tuple[str, Json]]:
    """``Object.entries``: indexes first and in order, then the other keys as they were added."""
    if isinstance(value, list | str):
        units = value if isinstance(value, list) else code_units(value)
        return ((str(at), one) for at, one in enumerate(units))
    if not isinstance(value, dict):
        return ()
    indexes = sorted((at, key) for key in value if (at := as_index(key)) is not None)
    if not indexes:
        return value.items()
    keys = [key for _, key in indexes]
    return ((key, value[key]) for key in (*keys, *(key for key in value if as_index(key) is None)))


def stringify(value: Json) -> Json:
    """``JSON.stringify(value)``: UNDEFINED of UNDEFINED; in arrays it is null, in objects not there."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return f"[{','.join('null' if one is UNDEFINED else stringify(one) for one in value)}]"
    if isinstance(value, dict):
        members = (f"{encode_basestring(key)}:{stringify(one)}" for key, one in entries(value) if one is not UNDEFINED)
        return f"{{{','.join(members)}}}"
    if isinstance(value, float) and not isfinite(value):
        return "null"
    return UNDEFINED if value is UNDEFINED else to_string(value)
