"""What Klaviyo's limits leave of a call's own properties: whatever can be shortened harmlessly is, and told.

The same properties are shortened in the same way always. What is too large as a whole is not looked at here.

Source: https://developers.klaviyo.com/en/reference/events_api_overview (Limitations)
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

import orjson

from connector.messages import Json

LONGEST_TEXT: Final = 100_000
"""Bytes of a text. Klaviyo says 100 KB, and not which."""

MOST_PROPERTIES: Final = 400
LONGEST_LIST: Final = 4_000
DEEPEST: Final = 10
"""Levels of objects and lists, the properties themselves being the first."""

TELLABLE: Final = re.compile(r"[A-Za-z0-9_.$ -]{1,60}")
"""Names that may stand in a note: an address may be a name too."""


@lru_cache(maxsize=4_096)
def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def folded(name: str) -> str:
    """A name as names are compared here: ``first_name``, ``firstName`` and ``First Name`` are one."""
    return _folded(name) if len(name) <= 100 else name


def told(name: str) -> str:
    """A name as a note may say it."""
    return f"'{name}'" if TELLABLE.fullmatch(name) else "a property"


def text(value: str) -> str:
    """The text without what UTF-8 or a database cannot hold: halves of characters, and NUL."""
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def number(value: float) -> float | None:
    """The number, as far as JSON has one: neither infinite nor, as an integer, beyond 64 bits."""
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        value = float(value) if abs(value) < 10**308 else math.inf
    return value if math.isfinite(value) else None


def fitting(properties: Mapping[str, Json], never: Collection[str], notes: list[str]) -> dict[str, Json]:
    """A copy that Klaviyo takes.

    Args: never are names, folded, that leave at no depth below the first, which the mapping has chosen.
    """
    names = [name for name in properties if name]
    if len(names) > MOST_PROPERTIES:
        notes.append(f"only the first {MOST_PROPERTIES} of {len(names)} properties leave")
    fit = _Fitting(frozenset(never))
    made = {text(name): fit.value(properties[name], 2, name) for name in names[:MOST_PROPERTIES]}
    notes += fit.notes
    return made


class _Fitting:
    """One pass over the properties of a call. notes: each once."""

    def __init__(self, never: frozenset[str]) -> None:
        self.never = never
        self.notes: dict[str, None] = {}

    def value(self, value: Json, level: int, name: str) -> Json:
        """Args: level is the one that value would be if it is an object or a list; name the property it is in."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.shortened(value, name)
        if isinstance(value, int | float):
            return number(value)
        if not isinstance(value, dict | list):
            return None
        if level > DEEPEST:
            self.note(f"{told(name)} is nested deeper than {DEEPEST} levels: what is below them leaves as JSON text")
            return self.as_text(value, name)
        if isinstance(value, dict):
            return {
                text(key): self.value(one, level + 1, name)
                for key, one in value.items()
                if key and folded(key) not in self.never
            }
        return self.elements(value, level, name)

    def elements(self, value: Sequence[Json], level: int, name: str) -> list[Json]:
        if len(value) > LONGEST_LIST:
            self.note(f"only the first {LONGEST_LIST:,} of {len(value):,} elements of {told(name)} leave")
        return [self.value(one, level + 1, name) for one in value[:LONGEST_LIST]]

    def shortened(self, value: str, name: str) -> str:
        value = text(value)
        if len(value) * 4 <= LONGEST_TEXT:
            return value
        octets = value.encode()
        if len(octets) <= LONGEST_TEXT:
            return value
        self.note(f"{told(name)} has more than {LONGEST_TEXT:,} bytes of text: the rest does not leave")
        return octets[:LONGEST_TEXT].decode(errors="ignore")

    def as_text(self, value: Json, name: str) -> str | None:
        try:
            return self.shortened(orjson.dumps(self.plain(value)).decode(), name)
        except (orjson.JSONEncodeError, RecursionError):  # deeper than any JSON that we let in
            return None

    def plain(self, value: Json) -> Json:
        """The value at any depth, without what must never leave and what JSON has no form for."""
        if isinstance(value, dict):
            return {text(key): self.plain(one) for key, one in value.items() if folded(key) not in self.never}
        if isinstance(value, list):
            return [self.plain(one) for one in value]
        if isinstance(value, str):
            return text(value)
        return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None
