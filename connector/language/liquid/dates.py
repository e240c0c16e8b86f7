"""The ``date`` filter of Liquid templates, in UTC unless an offset or a zone is given.

Source: https://liquidjs.com/filters/date.html
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connector.errors import MappingError
from connector.language.javascript import UNDEFINED
from connector.language.liquid.values import written
from connector.messages import Json

DEFAULT_FORMAT: Final = "%A, %B %-e, %Y at %-l:%M %P %z"
DIRECTIVE: Final = re.compile(r"%([-_0^#:]*)([0-9]*)[EO]?(.)", re.DOTALL)
WIDEST: Final = 100
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
OTHERWISE: Final = ("%Y-%m", "%Y/%m/%d", "%m/%d/%Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y")
WIDTHS: Final = {"L": 3, "j": 3} | dict.fromkeys("CdeHIklmMSUWy", 2)
SPACED: Final = frozenset("aAbBceklpP")


def date(value: Json, form: Json = UNDEFINED, zone: Json = UNDEFINED) -> Json:
    """A time written by a strftime format; the value itself if it is no time.

    Raises: MappingError for a time, a zone or a format that we cannot tell.
    """
    at = _time(value)
    if at is None:
        return value
    try:
        return strftime(at.astimezone(_zone(zone)), DEFAULT_FORMAT if form in (None, UNDEFINED) else written(form))
    except OverflowError:
        return value


def strftime(at: dt.datetime, form: str) -> str:
    return DIRECTIVE.sub(lambda found: _one(at, found), form)


def _time(value: Json) -> dt.datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not isfinite(value) or abs(value) > 8.64e12:
            return None
        try:
            return EPOCH + dt.timedelta(milliseconds=int(value * 1000))
        except OverflowError:
            raise MappingError("is a time beyond the year 9999") from None
    if value in ("now", "today"):
        return dt.datetime.now(dt.UTC)
    return _read(value.strip()) if isinstance(value, str) else None


def _read(text: str) -> dt.datetime | None:
    """The time in a text: ISO 8601, as mail writes it, or a date in one of the common ways; UTC if it does not say."""
    if ISO.fullmatch(text):
        try:
            return _known(dt.datetime.fromisoformat(text))
        except ValueError:
            return None
    for form in OTHERWISE:
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    try:
        return _known(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError):
        pass
    if any(char.isdecimal() for char in text):  # a browser's engine guesses; a wrong guess would be worse than none
        raise MappingError("is given a time that cannot be read; write it as 2026-01-31T10:00:00Z")
    return None


def _known(at: dt.datetime) -> dt.datetime:
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def _zone(zone: Json) -> dt.tzinfo:
    """Minutes that UTC is ahead, as JavaScript counts them, or the name of a zone."""
    if zone is None or zone is UNDEFINED:
        return dt.UTC
    try:
        if isinstance(zone, int | float):
            return dt.timezone(dt.timedelta(minutes=-float(zone)))
        return ZoneInfo(written(zone))
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        raise MappingError("is given a time zone that is unknown here") from None


def _hour(at: dt.datetime) -> int:
    return at.hour % 12 or 12


def _week(at: dt.datetime, first_day: int) -> int:
    return (at.timetuple().tm_yday + 6 - (at.isoweekday() - first_day) % 7) // 7


CODES: Final[Mapping[str, Callable[[dt.datetime], str | int]]] = {
    "a": lambda at: f"{at:%a}",
    "A": lambda at: f"{at:%A}",
    "b": lambda at: f"{at:%b}",
    "h": lambda at: f"{at:%b}",
    "B": lambda at: f"{at:%B}",
    "c": lambda at: f"{at.month}/{at.day}/{at.year}, {_hour(at)}:{at:%M:%S} {at:%p}",
    "C": lambda at: at.year // 100,
    "d": lambda at: at.day,
    "e": lambda at: at.day,
    "H": lambda at: at.hour,
    "I": _hour,
    "j": lambda at: at.timetuple().tm_yday,
    "k": lambda at: at.hour,
    "l": _hour,
    "L": lambda at: at.microsecond // 1000,
    "m": lambda at: at.month,
    "M": lambda at: at.minute,
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "P": lambda at: "am" if at.hour < 12 else "pm",
    "s": lambda at: int((at - EPOCH).total_seconds() // 1),
    "S": lambda at: at.second,
    "u": lambda at: at.isoweekday(),
    "U": lambda at: _week(at, 0),
    "w": lambda at: at.isoweekday() % 7,
    "W": lambda at: _week(at, 1),
    "x": lambda at: f"{at.month}/{at.day}/{at.year}",
    "X": lambda at: f"{_hour(at)}:{at:%M:%S} {at:%p}",
    "y": lambda at: at.year % 100,
    "Y": lambda at: at.year,
    "t": lambda _at: "\t",
    "n": lambda _at: "\n",
    "%": lambda _at: "%",
}


def _one(at: dt.datetime, found: re.Match[str]) -> str:
    flags, width, code = found.groups()
    if len(width) > 3 or int(width or 0) > WIDEST:
        raise MappingError(f"is given a date format wider than {WIDEST} characters")
    if code in ("q", "Z"):
        raise MappingError(f"is given a date format with %{code}, which is not known here")
    wide = int(width or 0) or WIDTHS.get(code, 0)
    if code == "N":
        wide = int(width or 0) or 9
        text = f"{at.microsecond // 1000:03d}"[:wide].ljust(wide, "0")
    elif code == "z":
        text = f"{at:%z}"[:3] + ":" * (":" in flags) + f"{at:%z}"[3:5]
    elif code in CODES:
        text = str(CODES[code](at))
    else:
        return found[0]
    if "^" in flags or "#" in flags:
        text = text.lower() if "#" in flags and "^" not in flags and text.isupper() else text.upper()
    pad = " " if "_" in flags or (code in SPACED and "0" not in flags) else "0"
    return text.rjust(0 if "-" in flags else wide, pad)
