"""``Number(value)`` of JavaScript, for the comparisons that need it."""

from __future__ import annotations

import re
from math import inf, nan
from typing import Final

from connector.language.javascript import WHITESPACE

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WITH_BASE: Final = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_INFINITY: Final = {"Infinity": inf, "+Infinity": inf, "-Infinity": -inf}


def to_number(value: str | float | bool | None) -> float:
    """The number that a value is to JavaScript: NaN of a text that is none and of None, 0 of an empty text."""
    if value is None:
        return nan
    if not isinstance(value, str):
        return as_float(value)
    text = value.strip(WHITESPACE)
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(text):
        return float(text)
    return as_float(int(text, 0)) if _WITH_BASE.fullmatch(text) else _INFINITY.get(text, nan)


def as_float(number: float) -> float:
    """A number in the precision that JavaScript has; infinity where it is too large."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf
