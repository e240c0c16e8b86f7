"""Klaviyo's ``filter``, ``sort``, ``fields`` and ``page`` parameters, read and refused.

Source: https://developers.klaviyo.com/en/docs/filtering_, …/sorting_data, …/pagination, …/sparse_fieldsets
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from connector.demo.klaviyo_standin.account import Call
from connector.demo.klaviyo_standin.history import Place
from connector.demo.klaviyo_standin.problems import Problem, invalid

HEAD: Final = re.compile(r"(?P<operator>[a-z-]+)\((?P<field>[a-z_.]+)(?P<end>[,)])")
QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
BARE: Final = re.compile(r"[^,()\[\]\"]+")
COMPARISONS: Final = ("greater-than", "greater-or-equal", "less-than", "less-or-equal")


@dataclass(frozen=True, slots=True)
class Condition:
    """``operator(field,value)``; value is a list for ``any``, None for ``has``."""

    operator: str
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the last page ended. backwards: the page before is asked for."""

    place: Place
    backwards: bool


def conditions(call: Call, allowed: Mapping[str, Collection[str]]) -> list[Condition]:
    """The conditions of ``filter``, all of which have to be true. allowed: the operators of each field.

    Raises: Problem, for what cannot be read or is not allowed.
    """
    text, at, found = call.query.get("filter", ""), 0, []
    while at < len(text):
        head = HEAD.match(text, at)
        if head is None:
            raise _bad(text, at)
        operator, field, at = head["operator"], head["field"], head.end()
        value = None
        if head["end"] == ",":
            value, at = _value(text, at)
            if text[at : at + 1] != ")":
                raise _bad(text, at)
            at += 1
        if operator not in allowed.get(field, ()):
            raise invalid(f"'{operator}' is not an allowed operator for the field '{field}'.", parameter="filter")
        if (operator == "has") != (value is None) or (operator == "any") != isinstance(value, list):
            raise _bad(text, at)
        found.append(Condition(operator, field, value))
        if at < len(text) and text[at] != ",":
            raise _bad(text, at)
        at += 1
    return found


def holds(condition: Condition, value: float) -> bool:
    """Does the comparison hold for this number?"""
    against: float = condition.value
    return {
        "greater-than": value > against,
        "greater-or-equal": value >= against,
        "less-than": value < against,
        "less-or-equal": value <= against,
    }[condition.operator]


def number_of(condition: Condition) -> Condition:
    """The comparison with its datetime or number as seconds. Raises: Problem, if it is neither."""
    value = condition.value
    try:
        if condition.field == "timestamp":
            number = float(value)
        else:
            time = datetime.fromisoformat(value.replace(" ", "+"))
            number = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, AttributeError):
        raise invalid(f"'{value}' is not a valid {condition.field}.", parameter="filter") from None
    return Condition(condition.operator, condition.field, number)


def page_size(call: Call, default: int, most: int) -> int:
    """``page[size]``. Raises: Problem, if it is no number from 1 to the most."""
    text = call.query.get("page[size]", str(default))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise invalid(f"Page size must be an integer between 1 and {most}.", parameter="page[size]")
    return int(text)


def cursor_of(call: Call) -> Cursor | None:
    """``page[cursor]``, read. Raises: Problem, if it is none of ours."""
    text = call.query.get("page[cursor]")
    if text is None:
        return None
    try:
        second, key, forwards = json.loads(base64.b64decode(text, validate=True))
        if not isinstance(key, str) or not isinstance(forwards, bool):
            raise ValueError
        return Cursor((int(second), key), not forwards)
    except (binascii.Error, ValueError, TypeError):
        raise invalid("Invalid cursor provided.", parameter="page[cursor]") from None


def links(call: Call, before: Place | None, after: Place | None) -> dict[str, str | None]:
    """``self``, ``next`` and ``prev``, absolute; null where there is no such page."""
    return {"self": _url(call, None), "next": _url_from(call, after, True), "prev": _url_from(call, before, False)}


def sparse(call: Call, kind: str, resource: dict[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """The resource with the attributes only that ``fields[kind]`` names, of all if it names none."""
    wanted = call.query.get(f"fields[{kind}]")
    if wanted is None:
        return resource
    names = [name for name in wanted.split(",") if name]
    for name in names:
        if name not in allowed:
            detail = f"'{name}' is not a valid field for the resource '{kind}'."
            raise invalid(detail, parameter=f"fields[{kind}]")
    attributes = {name: value for name, value in resource["attributes"].items() if name in names}
    return {**resource, "attributes": attributes}


def known_parameters(call: Call, *names: str) -> None:
    """Raises: Problem, if the request has a parameter that the endpoint does not know."""
    for name in call.query:
        if name not in names:
            raise invalid(f"'{name}' is not a valid query parameter for this endpoint.", parameter=name)


def _value(text: str, at: int) -> tuple[Any, int]:
    if text[at : at + 1] != "[":
        return _scalar(text, at)
    values, at = [], at + 1
    while True:
        value, at = _scalar(text, at)
        values.append(value)
        if text[at : at + 1] == "]":
            return values, at + 1
        if text[at : at + 1] != ",":
            raise _bad(text, at)
        at += 1


def _scalar(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] == '"':
        quoted = QUOTED.match(text, at)
        if quoted is None:
            raise _bad(text, at)
        try:
            return str(json.loads(quoted[0])), quoted.end()
        except ValueError:
            raise _bad(text, at) from None
    bare = BARE.match(text, at)
    if bare is None:
        raise _bad(text, at)
    return bare[0], bare.end()


def _bad(text: str, at: int) -> Problem:
    return invalid(f"The filter cannot be parsed at character {at} of {len(text)}.", parameter="filter")


def _url_from(call: Call, place: Place | None, forwards: bool) -> str | None:
    if place is None:
        return None
    return _url(call, base64.b64encode(json.dumps([*place, forwards]).encode()).decode())


def _url(call: Call, cursor: str | None) -> str:
    query = {**call.query, **({"page[cursor]": cursor} if cursor is not None else {})}
    return f"{call.base}{call.path}{'?' if query else ''}{urlencode(query)}"
