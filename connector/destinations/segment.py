"""Segment's HTTP Tracking API as a destination: ``POST {SEGMENT_API_URL}/batch``.

Segment answers 200 to nearly everything and drops in silence what it does not like, so every limit it documents is
checked here first: what would vanish becomes a dead letter with a reason instead.

Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/ and, for the drop reasons,
https://segment.com/docs/connections/delivery-overview/
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import orjson

from connector import __version__
from connector.config import Config
from connector.destinations import Request, Verdict
from connector.gate import Limit
from connector.messages import HOUR, TRACKING_TYPES, Json, Milliseconds, iso, parse_time
from connector.queue import Delivery
from connector.retry import Terms, retry_after

NAME: Final = "segment"

TERMS: Final = Terms(unknown_for_ms=20 * HOUR)
"""Segment collapses a repeated messageId for about 24 hours only.

Source: https://segment.com/docs/guides/duplicate-data/
"""

TIERS: Final[Mapping[str, tuple[Limit, ...]]] = {"": ((1, 0.02),)}
"""50 requests a second, evenly spaced: for one process, since several share no clock.

Source: https://segment.com/docs/partners/sources/
"""

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_BATCH_EVENTS: Final = 100
"""Segment takes 2,500; its own libraries send 100."""
CLAIM: Final = MAX_BATCH_EVENTS
MAX_BATCH_BYTES: Final = 475_000
"""Segment takes 500 KB; its own libraries leave the same room for the envelope."""
MAX_PROPERTIES: Final = 10_000
MAX_MESSAGE_ID: Final = 100

SENT_AT_BYTES: Final = len(',"sentAt":"2024-11-21T09:06:40.123Z"')

RETRYABLE: Final = (408, 410, 429, 460)
"""The 4xx that Segment's own libraries repeat; of the 5xx all but 501, 505 and (without OAuth) 511.

Source: https://github.com/segmentio/analytics-python, ``segment/analytics/consumer.py``
"""

SPLIT: Final = (400, 413, 422)
"""Something in the request is bad or it is too large: the answer names no event, so halves have to tell."""


def ready(config: Config) -> bool:
    """Is there a write key?"""
    return bool(config.segment_write_key)


def batches(deliveries: Sequence[Delivery]) -> list[tuple[Delivery, ...]]:
    """The deliveries in their order, cut at 100 events and 475,000 bytes a request."""
    cut: list[tuple[Delivery, ...]] = []
    batch: list[Delivery] = []
    size = 0
    for one in deliveries:
        grown = len(one.body.encode()) + SENT_AT_BYTES + 1  # and a comma
        if batch and (len(batch) == MAX_BATCH_EVENTS or size + grown > MAX_BATCH_BYTES):
            cut.append(tuple(batch))
            batch, size = [], 0
        batch.append(one)
        size += grown
    return [*cut, tuple(batch)] if batch else cut


def tier(deliveries: Sequence[Delivery]) -> str:
    """There is but one."""
    return ""


def build_request(deliveries: Sequence[Delivery], config: Config, now: Milliseconds, retries: int = 0) -> Request:
    """One ``/batch`` request with the frozen bodies as they are; only ``sentAt`` is new.

    Segment computes the event's time as ``receivedAt - (sentAt - timestamp)``: a stale ``sentAt`` would move it.
    """
    sent_at = iso(now)
    stamp = f',"sentAt":"{sent_at}"}}'
    events = [orjson.Fragment(one.body.rstrip()[:-1] + stamp) for one in deliveries]
    key = base64.b64encode(f"{config.segment_write_key}:".encode()).decode()
    headers = {
        "Authorization": f"Basic {key}",
        "Content-Type": "application/json",
        "User-Agent": f"connector-cdp/{__version__}",
    }
    if retries:
        headers["X-Retry-Count"] = str(retries)
    return Request(f"{config.segment_api_url}/batch", headers, orjson.dumps({"batch": events, "sentAt": sent_at}))


def read_response(status: int, headers: Mapping[str, str], body: bytes, now: Milliseconds) -> Verdict:
    """What Segment's answer means.

    A 200 is Segment's only if it looks so: a proxy's login page is a 200 too, and believing it would lose events.
    """
    if 200 <= status < 300:
        return _success(status, body)
    if status in SPLIT:
        return Verdict("split", f"HTTP {status} {_phrase(status)}: Segment does not accept this event")
    if status in (401, 403):
        return Verdict(
            "refused",
            f"HTTP {status}: Segment does not accept the write key; correct SEGMENT_WRITE_KEY, then retry",
            at_once=True,
        )
    if status == 504:
        # A gateway gave up waiting; what stands behind it may have taken the batch.
        return Verdict("unknown", "HTTP 504 from a gateway: may have arrived", retryable=True)
    if status in RETRYABLE or (500 <= status < 600 and status not in (501, 505, 511)):
        seconds = retry_after(headers, now)
        wish = "" if seconds is None else f", Retry-After {seconds:g} s"
        return Verdict("refused", f"HTTP {status}{wish}", retryable=True, retry_after_seconds=seconds)
    return Verdict(
        "refused", f"HTTP {status} {_phrase(status)}: is SEGMENT_API_URL right? Correct it, then retry", at_once=True
    )


def problems(body: str, now: Milliseconds = 0) -> list[str]:
    """Every reason why Segment would drop this event, in plain words and without its values; empty if none."""
    if not body:
        return ["there is nothing to send: its body was erased"]
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["it is not JSON"]
    if not isinstance(event, dict) or not event:
        return ["it is not a JSON object"]
    size = len(body.encode()) + SENT_AT_BYTES
    found = [f"it has {size:,} bytes, Segment takes {MAX_EVENT_BYTES:,}"] if size > MAX_EVENT_BYTES else []
    return found + _id_problems(event) + _call_problems(event) + _shape_problems(event)


def _success(status: int, body: bytes) -> Verdict:
    if not body.strip():
        return Verdict("delivered", f"HTTP {status}")
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        return Verdict(
            "unknown", f"HTTP {status}, but not in Segment's form (a proxy?): may have arrived", retryable=True
        )
    if answer.get("success") is False:
        return Verdict("refused", f"HTTP {status}, but Segment says it did not succeed", retryable=True)
    return Verdict("delivered", f"HTTP {status}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(not a standard status)"


def _id_problems(event: dict[str, Json]) -> list[str]:
    found = []
    message_id = event.get("messageId")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_MESSAGE_ID:
        found.append(f"messageId must be a string of 1 to {MAX_MESSAGE_ID} characters")
    names = ("userId", "previousId") if event.get("type") == "alias" else ("userId", "anonymousId")
    found += [
        f"{name} must be a non-empty string" for name in names if event.get(name) is not None and not _text(event[name])
    ]
    given = [name for name in names if event.get(name) is not None]
    if event.get("type") == "alias" and len(given) < 2:
        found.append("alias needs userId and previousId")
    elif not given:
        found.append("it has neither userId nor anonymousId")
    return found


def _call_problems(event: dict[str, Json]) -> list[str]:
    call = event.get("type")
    if call not in TRACKING_TYPES:
        return [f"type must be one of {', '.join(TRACKING_TYPES)}"]
    if call == "track" and not _text(event.get("event")):
        return ["event must be a non-empty string"]
    if call == "group" and not _text(event.get("groupId")):
        return ["groupId must be a non-empty string"]
    if call in ("page", "screen"):
        return [
            f"{name} must be a non-empty string"
            for name in ("name", "category")
            if event.get(name) is not None and not _text(event[name])
        ]
    return []


def _shape_problems(event: dict[str, Json]) -> list[str]:
    found = [
        f"{name} must be an object"
        for name in ("properties", "traits", "context", "integrations")
        if name in event and not isinstance(event[name], dict)
    ]
    if sum(_keys(event.get(name)) for name in ("properties", "traits")) > MAX_PROPERTIES:
        found.append(f"it has more than {MAX_PROPERTIES:,} properties")
    found += [
        f"{name} must be a time in ISO 8601, not before 1970"
        for name in ("timestamp", "originalTimestamp")
        if name in event and not _time(event[name])
    ]
    context = event.get("context")
    if isinstance(context, dict) and "consent" in context:
        found += _consent_problems(context["consent"])
    return found


def _consent_problems(consent: Json) -> list[str]:
    """An empty object would deny every category (Segment reads it as all false), a malformed one drops the event.

    Source: https://segment.com/docs/privacy/consent-management/consent-in-segment-connections/
    """
    categories = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(categories, dict) or not categories:
        return ["context.consent.categoryPreferences must be an object with at least one category"]
    if not all(isinstance(granted, bool) for granted in categories.values()):
        return ["context.consent.categoryPreferences must say true or false for each category"]
    return []


def _text(value: Json) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _time(value: Json) -> bool:
    at = parse_time(value)
    return at is not None and at >= 0


def _keys(value: Json) -> int:
    """How many keys, at every depth. A work list, because depth comes from outside."""
    count, todo = 0, [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            count += len(one)
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)
    return count
