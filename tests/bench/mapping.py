"""What a mapping of Segment's kit costs, beside a function written by hand that makes the same of the same event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from connector.language import compile_mapping

Run = Callable[[dict[str, Any]], Any]


def _path(path: str) -> dict[str, Any]:
    return {"@path": path}


def _either(first: str, second: str) -> dict[str, Any]:
    return {"@if": {"exists": _path(first), "then": _path(first), "else": _path(second)}}


MAPPING: Final[dict[str, Any]] = {
    "profile": {
        "email": _either("$.context.traits.email", "$.properties.email"),
        "phone_number": _either("$.context.traits.phone", "$.properties.phone"),
        "external_id": _path("$.userId"),
        "anonymous_id": _path("$.anonymousId"),
        "first_name": _either("$.context.traits.firstName", "$.properties.first_name"),
        "last_name": _either("$.context.traits.lastName", "$.properties.last_name"),
        "location": {"country": _path("$.context.location.country"), "timezone": _path("$.context.timezone")},
    },
    "metric_name": _path("$.event"),
    "properties": _path("$.properties"),
    "time": _path("$.timestamp"),
    "value": _either("$.properties.value", "$.properties.revenue"),
    "unique_id": _path("$.messageId"),
    "source": {"@template": "{{context.library.name}} {{context.library.version}}"},
    "currency": {"@case": {"operator": "upper", "value": _path("$.properties.currency")}},
    "enable_batching": True,
    "batch_size": 1000,
}
"""Segment's defaults for Klaviyo's track event, with what people add to the profile."""

EVENT: Final[dict[str, Any]] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "api-2b1d0f6e-8d0c",
    "userId": "u-1",
    "anonymousId": "a-1",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "properties": {"revenue": 99.5, "currency": "eur", **{f"property_{number}": number for number in range(18)}},
    "context": {
        "traits": {"email": "ada@example.com", "firstName": "Ada"},
        "library": {"name": "analytics.js", "version": "2.11.1"},
        "timezone": "Europe/Berlin",
    },
}


def by_hand(event: dict[str, Any]) -> dict[str, Any]:
    """The floor: the same without a mapping."""
    context, properties = event.get("context") or {}, event.get("properties") or {}
    traits, library = context.get("traits") or {}, context.get("library") or {}
    profile = {
        "email": traits.get("email", properties.get("email")),
        "phone_number": traits.get("phone", properties.get("phone")),
        "external_id": event.get("userId"),
        "anonymous_id": event.get("anonymousId"),
        "first_name": traits.get("firstName", properties.get("first_name")),
        "last_name": traits.get("lastName", properties.get("last_name")),
    }
    place = {"country": (context.get("location") or {}).get("country"), "timezone": context.get("timezone")}
    made = {
        "profile": {key: value for key, value in profile.items() if value is not None}
        | {"location": {key: value for key, value in place.items() if value is not None}},
        "metric_name": event.get("event"),
        "properties": properties,
        "time": event.get("timestamp"),
        "value": properties.get("value", properties.get("revenue")),
        "unique_id": event.get("messageId"),
        "source": f"{library.get('name', '')} {library.get('version', '')}",
        "currency": str(properties.get("currency", "")).upper(),
        "enable_batching": True,
        "batch_size": 1000,
    }
    return {key: value for key, value in made.items() if value is not None}


def speeds(rounds: int, events: int = 50_000) -> tuple[float, float]:
    """Events a second, on one core: the compiled mapping, and the function written by hand."""
    compiled = compile_mapping(MAPPING)
    if compiled(EVENT) != by_hand(EVENT):
        raise RuntimeError("the mapping and the function written by hand do not make the same")
    turns = [(_speed(compiled, events), _speed(by_hand, events)) for _ in range(rounds)]
    return max(turn[0] for turn in turns), max(turn[1] for turn in turns)


def _speed(run: Run, events: int) -> float:
    began = time.process_time()
    for _ in range(events):
        run(EVENT)
    return events / (time.process_time() - began)
