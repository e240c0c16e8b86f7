"""What Klaviyo would refuse or lose, seen before it is sent: one field that it does not know costs a whole request.

Source: https://developers.klaviyo.com/en/reference/events_api_overview (Limitations),
https://developers.klaviyo.com/en/reference/create_or_update_profile and, for the fields of our revision,
https://github.com/klaviyo/klaviyo-api-python
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Final

import orjson

from connector.klaviyo.limits import DEEPEST, LONGEST_LIST, LONGEST_TEXT, MOST_PROPERTIES
from connector.messages import DAY, Json, Milliseconds, parse_time

MAX_PROFILE_BYTES: Final = 100_000
MAX_EVENT_BYTES: Final = 4_500_000
"""Klaviyo takes 5 MB, alone or in a bulk request: the same for both, with room for what stands around it."""
LONGEST_EXTERNAL_ID: Final = 255
LONGEST_UNIQUE_ID: Final = 255
LONGEST_METRIC: Final = 127

YEAR_2000: Final = 946_684_800_000
YEAR: Final = 365 * DAY

E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
TELLABLE: Final = re.compile(r"[A-Za-z_][A-Za-z_.$ -]{0,60}")
"""Names that may stand in a reason: an address may be a name too."""

IDENTIFIERS: Final = frozenset({"email", "phone_number", "external_id"})
PROFILE: Final = IDENTIFIERS | {
    *("_kx", "first_name", "last_name", "organization", "locale", "title", "image", "location", "properties")
}
LOCATION: Final = frozenset(
    {"address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip"}
)
EVENT: Final = frozenset(
    {"properties", "time", "value", "value_currency", "unique_id", "backfill", "metric", "profile"}
)


def problems(body: str, now: Milliseconds) -> list[str]:
    """Every reason why Klaviyo would refuse this call, in plain words and without its values; empty if none."""
    if not body:
        return ["there is nothing to send: its body was erased"]
    try:
        call = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["it is not JSON"]
    data = call.get("data") if isinstance(call, dict) else None
    attributes = data.get("attributes") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(attributes, dict):
        return ["it is no call with data and attributes"]
    match call.get("call"), data.get("type"):
        case "profile", "profile":
            return _strangers(data, {"type", "attributes", "meta"}, "a profile call") + _profile_call(attributes, body)
        case "event", "event":
            return _strangers(data, {"type", "attributes"}, "an event") + _event(attributes, body, now)
        case "deletion", "data-privacy-deletion-job":
            return _deletion(attributes)
    return ["it is no call of profile, event or deletion"]


def _profile_call(attributes: dict[str, Json], body: str) -> list[str]:
    found = _profile(attributes, PROFILE, "a profile")
    if not (attributes.get("email") or attributes.get("phone_number")):
        found.append("a profile needs an email or a phone_number: one without is nobody Klaviyo could write to")
    size = len(body.encode())
    if size > MAX_PROFILE_BYTES:
        found.append(f"it has {size:,} bytes, Klaviyo takes {MAX_PROFILE_BYTES:,} of a profile")
    return found


def _profile(attributes: Mapping[str, Json], known: Collection[str], what: str) -> list[str]:
    found = _strangers(attributes, known, what)
    for name in ("email", "external_id", "anonymous_id", "_kx"):
        if name in attributes and name in known and not _text(attributes[name]):
            found.append(f"{name} must be a non-empty string")
    external_id = attributes.get("external_id")
    if isinstance(external_id, str) and len(external_id) > LONGEST_EXTERNAL_ID:
        found.append(f"external_id has {len(external_id)} characters, Klaviyo takes {LONGEST_EXTERNAL_ID}")
    if "phone_number" in attributes:
        phone = attributes["phone_number"]
        if not (isinstance(phone, str) and E164.fullmatch(phone)):
            found.append("phone_number must be a number in E.164: + and the country's code first")
    for name, inner in (("location", LOCATION), ("properties", None)):
        value = attributes.get(name)
        if value is not None and not isinstance(value, dict):
            found.append(f"{name} of {what} must be an object")
        elif value is not None and inner:
            found += _strangers(value, inner, name)
    return found


def _event(attributes: dict[str, Json], body: str, now: Milliseconds) -> list[str]:
    found = _strangers(attributes, EVENT, "an event")
    found += _metric(attributes.get("metric")) + _event_profile(attributes.get("profile"))
    properties = attributes.get("properties")
    if not isinstance(properties, dict):
        found.append("properties must be an object")
    else:
        found += _shape(properties)
    unique_id = attributes.get("unique_id")
    if not isinstance(unique_id, str) or not 0 < len(unique_id) <= LONGEST_UNIQUE_ID:
        found.append(f"unique_id must be a string of 1 to {LONGEST_UNIQUE_ID} characters")
    at = parse_time(attributes.get("time"))
    if at is None or not YEAR_2000 <= at <= now + YEAR:
        found.append("time must be a time in ISO 8601, after 2000 and at most a year ahead")
    value = attributes.get("value")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    ):
        found.append("value must be a number")
    if attributes.get("value_currency") is not None and not _text(attributes["value_currency"]):
        found.append("value_currency must be a non-empty string")
    if not isinstance(attributes.get("backfill", False), bool):
        found.append("backfill must be true or false")
    size = len(body.encode())
    if size > MAX_EVENT_BYTES:
        found.append(f"it has {size:,} bytes, Klaviyo takes {MAX_EVENT_BYTES:,} of an event")
    return found


def _metric(metric: Json) -> list[str]:
    data = metric.get("data") if isinstance(metric, dict) else None
    inner = data.get("attributes") if isinstance(data, dict) and data.get("type") == "metric" else None
    if not isinstance(data, dict) or not isinstance(inner, dict):
        return ["metric must be a resource of type metric"]
    name = inner.get("name")
    wrong = not isinstance(name, str) or not name.strip() or len(name) > LONGEST_METRIC
    found = [f"the metric's name must be a string of 1 to {LONGEST_METRIC} characters"] if wrong else []
    return found + _strangers(data, {"type", "attributes"}, "metric") + _strangers(inner, {"name"}, "metric")


def _event_profile(profile: Json) -> list[str]:
    data = profile.get("data") if isinstance(profile, dict) else None
    inner = data.get("attributes") if isinstance(data, dict) and data.get("type") == "profile" else None
    if not isinstance(data, dict) or not isinstance(inner, dict):
        return ["profile must be a resource of type profile"]
    found = _strangers(data, {"type", "id", "attributes", "meta"}, "the event's profile")
    found += _profile(inner, PROFILE | {"anonymous_id"}, "the event's profile")
    if not (data.get("id") or any(inner.get(name) for name in (*IDENTIFIERS, "anonymous_id", "_kx"))):
        found.append("the event's profile has no identifier")
    return found


def _deletion(attributes: dict[str, Json]) -> list[str]:
    profile = attributes.get("profile")
    data = profile.get("data") if isinstance(profile, dict) else None
    if not isinstance(data, dict) or data.get("type") != "profile":
        return ["profile must be a resource of type profile"]
    inner = data.get("attributes")
    inner = inner if isinstance(inner, dict) else {}
    found = _strangers(attributes, {"profile"}, "a deletion") + _strangers(inner, IDENTIFIERS, "a deletion's profile")
    given = [one for one in (data.get("id"), *inner.values()) if one is not None]
    if len(given) != 1 or not _text(given[0]):
        found.append("a deletion names a person by exactly one of id, email, phone_number and external_id")
    return found


def _shape(properties: Mapping[str, Json]) -> list[str]:
    """A work list, because depth comes from outside. The properties themselves are the first level."""
    found = set()
    if len(properties) > MOST_PROPERTIES:
        found.add(f"it has more than {MOST_PROPERTIES} properties")
    todo: list[tuple[Json, int]] = [(properties, 1)]
    while todo:
        one, level = todo.pop()
        if isinstance(one, str):
            if len(one) * 4 > LONGEST_TEXT and len(one.encode()) > LONGEST_TEXT:
                found.add(f"a text in it has more than {LONGEST_TEXT:,} bytes")
            continue
        if not isinstance(one, dict | list):
            continue
        if level > DEEPEST:
            found.add(f"it is nested deeper than {DEEPEST} levels")
            continue
        if isinstance(one, list) and len(one) > LONGEST_LIST:
            found.add(f"a list in it has more than {LONGEST_LIST:,} elements")
        todo += [(inner, level + 1) for inner in (one.values() if isinstance(one, dict) else one)]
    return sorted(found)


def _strangers(given: Mapping[str, Json], known: Collection[str], what: str) -> list[str]:
    strange = sorted(name for name in given if name not in known)
    shown = [f"'{name}'" if TELLABLE.fullmatch(name) else "a field" for name in strange[:5]]
    return [f"{', '.join(shown)}: Klaviyo knows no such field of {what}"] if shown else []


def _text(value: Json) -> bool:
    return isinstance(value, str) and bool(value.strip())
