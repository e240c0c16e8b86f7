"""A stand-in for Klaviyo: the system webhooks it sends, signed as it signs them.

Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand, read 2026-11-21)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import orjson

from connector.messages import Milliseconds, iso

WEBHOOK_ID: Final = "a8b81f20e5d44b0c8c5a2f3e8f9d1c77"
ACCOUNT_ID: Final = "DeMo01"
REVISION: Final = "2026-07-15"

Event = dict[str, Any]


def event(
    topic: str, event_id: str, profile_id: str, at: Milliseconds, properties: Mapping[str, Any] | None = None
) -> Event:
    """One element of a delivery. The profile is named by its id only, as Klaviyo does.

    Args: topic is the metric's, such as ``opened_email``; properties are the event's, among them
    ``Recipient Email Address`` and ``$message``.
    """
    attributes = {
        "timestamp": at // 1000,
        "datetime": f"{iso(at)[:19].replace('T', ' ')}+00:00",
        "event_properties": dict(properties or {}),
        "uuid": str(uuid5(NAMESPACE_URL, event_id)),
    }
    relationships = {
        "profile": {"data": {"type": "profile", "id": profile_id}},
        "metric": {"data": {"type": "metric", "id": topic[:6].upper()}},
    }
    data = {"type": "event", "id": event_id, "attributes": attributes, "relationships": relationships}
    return {"external_id": event_id, "topic": f"event:klaviyo.{topic}", "payload": {"data": data}}


def post_system_webhook(
    url: str,
    events: Sequence[Event],
    secret_key: str,
    now: Milliseconds,
    *,
    webhook_id: str = WEBHOOK_ID,
    account_id: str = ACCOUNT_ID,
    header_off_by_ms: Milliseconds = 0,
) -> tuple[int, bytes]:
    """Deliver events (Klaviyo puts at most 1,000 into one delivery); status and body of the answer.

    The signature covers the raw body followed by the Klaviyo-Timestamp header, whose clock may be off.
    """
    moment = datetime.fromtimestamp(now / 1000, UTC)
    meta = {
        "klaviyo_webhook_id": webhook_id,
        "klaviyo_account_id": account_id,
        "timestamp": moment.isoformat(),
        "version": REVISION,
    }
    body = orjson.dumps({"data": list(events), "meta": meta})
    stamp = format_datetime(moment + timedelta(milliseconds=header_off_by_ms), usegmt=True)
    headers = {
        "Content-Type": "application/json",
        "Klaviyo-Timestamp": stamp,
        "Klaviyo-Webhook-Id": webhook_id,
        "Klaviyo-Signature": hmac.new(secret_key.encode(), body + stamp.encode(), hashlib.sha256).hexdigest(),
    }
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("POST", parts.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
