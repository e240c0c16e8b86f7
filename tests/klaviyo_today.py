"""How Segment and Klaviyo work together without the connector: Segment's own Klaviyo destination, and its own source.

Written from their documentation, so that a test can put what happens today beside what happens with the connector.

Source: https://github.com/segmentio/action-destinations, ``destinations/klaviyo`` (upsertProfile, trackEvent: what each
field is by default); https://segment.com/docs/connections/sources/catalog/cloud-apps/klaviyo/ (userId if it is known,
else the address as anonymousId); https://segment.com/docs/connections/destinations/catalog/klaviyo/ (classic)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from connector.demo.klaviyo_standin import KEY, Event, KlaviyoStandIn
from connector.demo.segment import SegmentStandIn
from connector.messages import iso

REVISION = "2025-01-15"
"""What Segment pins."""

NAMES = {
    "Received Email": "Email Delivered",
    "Opened Email": "Email Opened",
    "Clicked Email": "Email Link Clicked",
    "Bounced Email": "Email Bounced",
    "Marked Email as Spam": "Email Marked as Spam",
    "Unsubscribed from Email Marketing": "Email Unsubscribed",
}

Call = Mapping[str, Any]


def destination(klaviyo: KlaviyoStandIn, calls: Iterable[Call]) -> None:
    """Klaviyo (Actions) with its default mappings: Upsert Profile for identify, Track Event for track."""
    for call in calls:
        if call["type"] == "identify" and call.get("traits", {}).get("email"):
            _import(klaviyo, call["traits"]["email"])
        elif call["type"] == "track":
            who = {"external_id": call.get("userId"), "anonymous_id": call.get("anonymousId")}
            _track(klaviyo, call, {name: value for name, value in who.items() if value})


def classic(klaviyo: KlaviyoStandIn, calls: Iterable[Call]) -> None:
    """The classic destination with "Enforce email as primary identifier", which is on by default: never a userId, and
    what carries no address is left out."""
    for call in calls:
        email = call.get("traits", {}).get("email") or call.get("context", {}).get("traits", {}).get("email")
        if not email:
            continue
        if call["type"] == "identify":
            _import(klaviyo, email)
        elif call["type"] == "track":
            _track(klaviyo, call, {"email": email})


def source(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The calls that Segment's Klaviyo source makes of Klaviyo's email events."""
    calls = []
    for event in events:
        if event.metric is None or event.metric.service != "klaviyo" or event.metric.name not in NAMES:
            continue
        assert event.profile is not None
        user, email = event.profile.external_id, event.properties["Recipient Email Address"]
        ids = {"userId": user} if user else {"anonymousId": email}
        calls.append(
            {
                "type": "track",
                "messageId": f"klaviyo-source-{event.id}",
                "event": NAMES[event.metric.name],
                "timestamp": iso(event.second * 1000),
                "properties": {"email_subject": event.properties["Subject"]},
                "context": {"integration": {"name": "Klaviyo", "version": "1.0.0"}, "traits": {"email": email}},
                **ids,
            }
        )
    return calls


def post(segment: SegmentStandIn, write_key: str, calls: Iterable[Call]) -> None:
    """Calls on their way into Segment, by one of its sources."""
    credentials = base64.b64encode(f"{write_key}:".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}"}
    batch = list(calls)
    if batch:
        answer = requests.post(f"{segment.url}/batch", json={"batch": batch}, headers=headers, timeout=10)
        assert answer.status_code == 200


def _import(klaviyo: KlaviyoStandIn, email: str) -> None:
    data = {"type": "profile", "attributes": {"email": email}}
    assert _ask(klaviyo, "/api/profile-import", data) in (200, 201)


def _track(klaviyo: KlaviyoStandIn, call: Call, who: Mapping[str, str]) -> None:
    attributes = {
        "metric": {"data": {"type": "metric", "attributes": {"name": call["event"]}}},
        "profile": {"data": {"type": "profile", "attributes": dict(who)}},
        "properties": dict(call.get("properties") or {}),
        "time": call["timestamp"],
        "unique_id": call["messageId"],
    }
    assert _ask(klaviyo, "/api/events", {"type": "event", "attributes": attributes}) == 202


def _ask(klaviyo: KlaviyoStandIn, path: str, data: Mapping[str, Any]) -> int:
    headers = {"Authorization": f"Klaviyo-API-Key {KEY}", "revision": REVISION}
    return requests.post(f"{klaviyo.url}{path}", json={"data": data}, headers=headers, timeout=10).status_code
