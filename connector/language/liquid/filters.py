"""The filters of Liquid templates, as liquidjs has them: each a plain function of JSON values.

What is not among them is refused when a template is compiled.

Source: https://liquidjs.com/filters/overview.html, and what liquidjs 10.30 answers
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, Decimal
from math import ceil, floor, fmod, inf, isfinite, nan
from typing import Final
from urllib.parse import quote

from connector.errors import MappingError
from connector.language.javascript import (
    UNDEFINED,
    WHITESPACE,
    is_truthy,
    length,
    number_text,
    stringify,
    to_number,
    to_string,
)
from connector.language.liquid.dates import date
from connector.language.liquid.escapes import base64_decoded, escaped, unescaped, url_decoded, without_tags
from connector.language.liquid.values import LONGEST, TOO_LONG, is_yes, member, same, written
from connector.messages import Json

SPACES: Final = re.compile(f"[{WHITESPACE}]+")
EXACT: Final = 9_007_199_254_740_991


def _number(value: Json) -> float:
    number = to_number(value)
    return 0.0 if number != number else number


def _of_numbers(calculate: Callable[[float, float], float]) -> Callable[[Json, Json], float]:
    def run(value: Json, by: Json = nan) -> float:
        try:
            return calculate(_number(value), nan if by != by else _number(by))
        except (OverflowError, ValueError):
            return nan

    return run


def _of_number(calculate: Callable[[float], float]) -> Callable[[Json], float]:
    def run(value: Json) -> float:
        number = _number(value)
        return calculate(number) if isfinite(number) else number

    return run


def _of_text(convert: Callable[[str], str]) -> Callable[[Json], str]:
    return lambda value: convert(written(value))


def _divided(value: float, by: float) -> float:
    if by == 0:
        return nan if value == 0 or value != value else inf if value > 0 else -inf
    return value / by


def _divided_by(value: Json, by: Json = nan, whole: Json = False) -> float:
    quotient = _of_numbers(_divided)(value, by)
    return floor(quotient) if _number(whole) and isfinite(quotient) else quotient


def _modulo(value: float, by: float) -> float:
    return nan if by == 0 else fmod(fmod(value, by) + by, by)


def _round(value: Json, digits: Json = 0) -> float:
    """Half away from zero, on the digits that are written: 1.005 is 1.01."""
    number, places = _number(value), _number(digits)
    if not isfinite(number) or not abs(places) <= 300:
        return number
    scaled = Decimal(number_text(abs(number))).scaleb(int(places))
    if scaled > EXACT:
        return number
    rounded = (scaled + Decimal("0.5")).to_integral_value(ROUND_FLOOR).scaleb(-int(places))
    return float(-rounded if number < 0 else rounded)


def _array(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    return [] if value is None or value is UNDEFINED else [value]


def _joined(value: Json, by: Json = UNDEFINED) -> str:
    items, separator = _array(value), " " if by is None or by is UNDEFINED else written(by)
    _refuse_growth(len(items), separator)
    return separator.join("" if one is None or one is UNDEFINED else to_string(one) for one in items)


def _refuse_growth(times: int, text: str) -> None:
    """Raises: MappingError before the memory is taken."""
    if times * len(text) > LONGEST:
        raise MappingError(TOO_LONG)


def _parts(text: str, pattern: str) -> list[str]:
    return text.split(pattern) if pattern else list(text)


def _replaced(value: Json, pattern: Json = UNDEFINED, by: Json = UNDEFINED) -> str:
    parts, replacement = _parts(written(value), written(pattern)), written(by)
    _refuse_growth(len(parts), replacement)
    return replacement.join(parts)


def _replaced_first(value: Json, pattern: Json = UNDEFINED, by: Json = UNDEFINED) -> str:
    return written(value).replace(written(pattern), written(by), 1)


def _replaced_last(value: Json, pattern: Json = UNDEFINED, by: Json = UNDEFINED) -> str:
    text, searched = written(value), written(pattern)
    at = text.rfind(searched)
    return text if at < 0 else text[:at] + written(by) + text[at + len(searched) :]


def _split(value: Json, by: Json = UNDEFINED) -> list[str]:
    parts = _parts(written(value), written(by))
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _stripping(strip: Callable[[str, str], str]) -> Callable[[Json, Json], str]:
    def run(value: Json, chars: Json = UNDEFINED) -> str:
        return strip(written(value), written(chars) if is_truthy(chars) else WHITESPACE)

    return run


def _truncated(value: Json, longest: Json = 50, ending: Json = "...") -> Json:
    text, end, room = written(value), written(ending), _number(50 if longest is UNDEFINED else longest)
    return value if len(text) <= room else text[: max(int(room) - len(end), 0)] + end


def _truncated_words(value: Json, longest: Json = 15, ending: Json = "...") -> str:
    words, most = SPACES.split(written(value).lstrip(WHITESPACE)), to_number(15 if longest is UNDEFINED else longest)
    if most != most:
        return ""
    count = max(int(min(most, LONGEST)), 1) if most > 0 else 1
    return " ".join(words[:count]) + (written(ending) if len(words) >= count else "")


def _slice(value: Json, begin: Json = 0, count: Json = 1) -> Json:
    if value is None or value is UNDEFINED:
        return []
    whole = value if isinstance(value, list) else written(value)
    start, size = (max(-LONGEST, min(_number(one), LONGEST)) for one in (begin, 1 if count is UNDEFINED else count))
    start += len(whole) if start < 0 else 0
    if start < 0 or size < 0:
        return whole[:0]
    if isinstance(whole, list):
        return whole[int(start) : int(start + size)]
    return whole[ceil(start) : ceil(start) + ceil(size)]


def _end(name: str) -> Callable[[Json], Json]:
    def run(value: Json) -> Json:
        if not isinstance(value, str):
            return member(value, name) if isinstance(value, list) else ""
        return member(value, 0 if name == "first" else length(value) - 1) if value else ""

    return run


def _size(value: Json) -> Json:
    if isinstance(value, dict):
        return value.get("length") or 0
    return length(value) if isinstance(value, str | list) else 0


def _at(value: Json, path: Json) -> Json:
    for key in written(path).split("."):
        value = member(value, key)
    return value


def _sum(value: Json, path: Json = UNDEFINED) -> float:
    found = (_at(one, path) if is_truthy(path) else one for one in _array(value))
    return sum((_number(one) for one in found), 0.0)


def _where(value: Json, path: Json = UNDEFINED, wanted: Json = UNDEFINED) -> list[Json]:
    found = [(one, _at(one, path)) for one in _array(value)]
    return [one for one, has in found if (is_yes(has) if wanted is UNDEFINED else same(has, wanted))]


def _default(value: Json, otherwise: Json = UNDEFINED, *, allow_false: Json = False) -> Json:
    if isinstance(value, list | str):
        return value or otherwise
    return value if is_yes(value) or (value is False and is_truthy(allow_false)) else otherwise


FILTERS: Final[Mapping[str, Callable[..., Json]]] = {
    "abs": _of_number(abs),
    "append": lambda value, more: written(value) + written(more),
    "at_least": lambda value, *others: max(_number(one) for one in (value, *others)),
    "at_most": lambda value, *others: min(_number(one) for one in (value, *others)),
    "base64_decode": _of_text(base64_decoded),
    "base64_encode": _of_text(lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode()),
    "capitalize": _of_text(lambda text: text[:1].upper() + text[1:].lower()),
    "ceil": _of_number(ceil),
    "cgi_escape": _of_text(lambda text: quote(text, safe="-_.~").replace("%20", "+")),
    "compact": lambda value: [one for one in _array(value) if one is not None and one is not UNDEFINED],
    "date": date,
    "date_to_xmlschema": lambda value: date(value, "%Y-%m-%dT%H:%M:%S%:z"),
    "date_to_long_string": lambda value: date(value, "%d %B %Y"),
    "date_to_string": lambda value: date(value, "%d %b %Y"),
    "date_to_rfc822": lambda value: date(value, "%a, %d %b %Y %H:%M:%S %z"),
    "default": _default,
    "divided_by": _divided_by,
    "downcase": _of_text(str.lower),
    "escape": _of_text(escaped),
    "escape_once": _of_text(lambda text: escaped(unescaped(text))),
    "first": _end("first"),
    "floor": _of_number(floor),
    "inspect": stringify,
    "join": _joined,
    "json": stringify,
    "jsonify": stringify,
    "last": _end("last"),
    "lstrip": _stripping(str.lstrip),
    "minus": _of_numbers(lambda one, other: one - other),
    "modulo": _of_numbers(_modulo),
    "normalize_whitespace": _of_text(lambda text: SPACES.sub(" ", text)),
    "plus": _of_numbers(lambda one, other: one + other),
    "pop": lambda value: _array(value)[:-1],
    "prepend": lambda value, more: written(more) + written(value),
    "push": lambda value, one=UNDEFINED: [*_array(value), one],
    "raw": lambda value: value,
    "remove": lambda value, pattern=UNDEFINED: "".join(_parts(written(value), written(pattern))),
    "remove_first": _replaced_first,
    "remove_last": _replaced_last,
    "replace": _replaced,
    "replace_first": _replaced_first,
    "replace_last": _replaced_last,
    "round": _round,
    "rstrip": _stripping(str.rstrip),
    "sha256": _of_text(lambda text: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()),
    "shift": lambda value: _array(value)[1:],
    "size": _size,
    "slice": _slice,
    "split": _split,
    "squish": _of_text(lambda text: SPACES.sub(" ", text).strip(WHITESPACE)),
    "strip": _stripping(str.strip),
    "strip_html": _of_text(without_tags),
    "strip_newlines": _of_text(lambda text: re.sub("\r?\n", "", text)),
    "sum": _sum,
    "times": _of_numbers(lambda one, other: one * other),
    "to_integer": to_number,
    "truncate": _truncated,
    "truncatewords": _truncated_words,
    "unshift": lambda value, one=UNDEFINED: [one, *_array(value)],
    "upcase": _of_text(str.upper),
    "uri_escape": _of_text(lambda text: quote(text, safe="-_.~!*'();/?:@&=+$,#[]")),
    "url_decode": _of_text(url_decoded),
    "url_encode": _of_text(lambda text: quote(text, safe="-_.~!*'()").replace("%20", "+")),
    "where": _where,
    "xml_escape": _of_text(escaped),
}
