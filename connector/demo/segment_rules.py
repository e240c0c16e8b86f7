"""What Segment does with a call it has received: drop it in silence, or keep it with its four timestamps.

Pure functions for the stand-in, written from Segment's documentation and not from our own checks, so that the two
can disagree in a test. Codes are Segment's discard codes where it has one.

Source: https://segment.com/docs/connections/delivery-overview/ (discard table),
https://segment.com/docs/connections/spec/common/ (timestamps)
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import orjson

from connector.messages import DAY, Milliseconds, iso, parse_time

EVENT_BYTES: Final = 32 * 1024
BATCH_BYTES: Final = 500_000
BATCH_EVENTS: Final = 2_500
DEDUPLICATED_FOR_MS: Final = DAY
"""Segment promises *at least* 24 hours; the stand-in keeps no more than the promise."""

CALLS: Final = {
    "i": "identify",
    "t": "track",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
    "b": "batch",
}
"""The one-letter paths that analytics.js posts to."""

Event = dict[str, Any]


def drop_code(event: object) -> str | None:
    """Why Segment would drop this call although it answers 200; None if it keeps it."""
    if not isinstance(event, dict):
        return "bad_request"
    if "type" not in event:
        return "missing_type"
    if event["type"] not in ("track", "page", "screen", "identify", "alias", "group"):
        return "invalid_type"
    return _id_code(event) or _call_code(event) or _limit_code(event) or _consent_code(event)


def stored(event: Mapping[str, Any], sent_at: object, received_at: Milliseconds) -> Event:
    """The call as Segment keeps it and passes it on.

    ``timestamp`` becomes ``receivedAt - (sentAt - originalTimestamp)``: the sender's clock is trusted for the
    difference only. Without a ``sentAt`` the given time stands, without any the receipt.
    """
    given = event.get("timestamp") or event.get("originalTimestamp")
    original, sent = parse_time(given), parse_time(event.get("sentAt") or sent_at)
    if original is None:
        at = received_at
    elif sent is None:
        at = original
    else:
        at = received_at - (sent - original)
    return {
        **{name: value for name, value in event.items() if name != "writeKey"},
        "messageId": event.get("messageId") or f"api-{uuid4()}",
        "channel": "server",
        "version": 2,
        "originalTimestamp": given or iso(received_at),
        "sentAt": event.get("sentAt") or sent_at,
        "receivedAt": iso(received_at),
        "timestamp": iso(at),
    }


def with_envelope(event: object, envelope: Mapping[str, Any]) -> object:
    """A batch's own ``context`` and ``integrations`` are merged into each of its calls, whose own words win."""
    if not isinstance(event, dict):
        return event
    merged = dict(event)
    for name in ("context", "integrations"):
        if isinstance(envelope.get(name), dict) and isinstance(event.get(name, {}), dict):
            merged[name] = {**envelope[name], **event.get(name, {})}
    return merged


def signature(first_element: object, shared_secret: str) -> str:
    """``X-Signature`` of a webhook: hex HMAC-SHA1 over ``JSON.stringify`` of the event, of a batch its first.

    Source: https://github.com/segmentio/action-destinations, ``destinations/webhook/index.ts``
    """
    return hmac.new(shared_secret.encode(), stringify(first_element).encode(), hashlib.sha1).hexdigest()


def stringify(value: Any) -> str:
    """``JSON.stringify(value)``, whose bytes differ from Python's in numbers, spaces and lone surrogates."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{stringify(str(name))}:{stringify(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(stringify(one) for one in value) + "]"
    if isinstance(value, str):
        return '"' + _ESCAPED.sub(_escape, value) + '"'
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


_ESCAPED: Final = re.compile('[\x00-\x1f"\\\\\ud800-\udfff]')
_SHORT: Final = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0], f"\\u{ord(match[0]):04x}")


def _number(value: float) -> str:
    """JavaScript writes 1.0 as 1, plain digits from 1e-6 to 1e21, and exponents as 1e-7 and 1e+21."""
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return format(Decimal(repr(value)), "f").removesuffix(".0") if value else "0"
    digits, exponent = repr(value).split("e")
    return f"{digits}e{int(exponent):+d}"


def _id_code(event: Event) -> str | None:
    names = ("userId", "previousId") if event["type"] == "alias" else ("userId", "anonymousId")
    given = [event[name] for name in names if event.get(name) is not None]
    if not given:
        return "no_user_anon_id"
    if not all(isinstance(value, str) and value for value in given):
        return "id_not_string"
    return "id_required" if event["type"] in ("alias",) and len(given) < 2 else None


def _call_code(event: Event) -> str | None:
    if event["type"] == "track":
        if not event.get("event"):
            return "event_not_defined"
        if not isinstance(event["event"], str):
            return "event_not_string"
    if event["type"] in ("page", "screen"):
        for name in ("name", "category"):
            if event.get(name) is not None and (not isinstance(event[name], str) or not event[name]):
                return f"{name}_not_string"
    for name in ("properties", "traits"):
        if event.get(name) is not None and not isinstance(event[name], dict):
            return f"{name}_not_object"
    return None


def _limit_code(event: Event) -> str | None:
    """Limits that Segment documents without naming a code; these names are ours."""
    message_id = event.get("messageId", "")
    if not isinstance(message_id, str) or len(message_id) > 100:
        return "message_id_too_long"
    if len(event.get("properties") or ()) > 10_000:
        return "too_many_properties"
    return None


def _consent_code(event: Event) -> str | None:
    if event.get("event") != "Segment Consent Preference Updated":
        return None
    context = event.get("context")
    consent = context.get("consent") if isinstance(context, dict) else None
    categories = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if categories is None:
        return "consent_categorypreferences_should_exist"
    if not isinstance(categories, dict):
        return "consent_categorypreferences_fields_should_be_object"
    if not all(isinstance(granted, bool) for granted in categories.values()):
        return "consent_categorypreferences_fields_should_be_bool"
    return None


def too_large(event: object) -> bool:
    """More than 32 KB: the one fault of a single call that Segment does answer with 400."""
    return len(orjson.dumps(event)) > EVENT_BYTES
