"""Speaking to the Klaviyo stand-in without any client: what is sent is what is written here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
import requests

from connector.demo.klaviyo_standin import KEY, KlaviyoStandIn

NOW: Final = 1_795_168_800_500
"""2026-11-20T10:00:00.500Z"""

HEADERS: Final = {
    "Authorization": f"Klaviyo-API-Key {KEY}",
    "revision": "2026-10-15",
    "Content-Type": "application/vnd.api+json",
}


class Clock:
    """Klaviyo's, which stands still until it is told."""

    now = NOW

    def __call__(self) -> int:
        return self.now


def ask(
    klaviyo: KlaviyoStandIn,
    line: str,
    document: Any = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> tuple[int, Any]:
    """Status and document of an answer, None for an empty body. The line is ``POST /api/events``."""
    response = respond(klaviyo, line, document, query, headers)
    return response.status_code, orjson.loads(response.content) if response.content else None


def respond(
    klaviyo: KlaviyoStandIn,
    line: str,
    document: Any = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> requests.Response:
    """The whole answer. A header that is None is left out."""
    method, _, path = line.partition(" ")
    body = document if isinstance(document, bytes) else None if document is None else orjson.dumps(document)
    sent = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value is not None}
    url = path if path.startswith("http") else klaviyo.url + path
    with requests.request(method, url, params=query, data=body, headers=sent, timeout=5) as response:
        response.content  # noqa: B018 - reads it before the connection is closed
        return response


def refusal(answer: tuple[int, Any]) -> tuple[int, list[tuple[str, str | None, str]]]:
    """Status, and of every error its code, its pointer or parameter, its detail; what else is in it is checked."""
    status, document = answer
    found = []
    for error in document["errors"]:
        source = error["source"]
        assert set(error) == {"id", "status", "code", "title", "detail", "source", "links", "meta"}
        assert (error["status"], error["links"]) == (status, {})
        found.append((error["code"], source.get("pointer", source.get("parameter")), error["detail"]))
    return status, found


def profile(attributes: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A profile's document; members stand beside its attributes."""
    return {"data": {"type": "profile", "attributes": dict(attributes), **members}}


def attributes(metric: str = "Viewed Product", properties: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """An event's attributes, without a profile."""
    named = {"data": {"type": "metric", "attributes": {"name": metric}}}
    return {"metric": named, "properties": dict(properties or {}), **more}


def event(who: Mapping[str, Any], metric: str = "Viewed Product", **more: Any) -> dict[str, Any]:
    """An event's document."""
    made = {**attributes(metric, **more), "profile": profile(who)}
    return {"data": {"type": "event", "attributes": made}}


def bulk(*items: tuple[Mapping[str, Any], list[Any]], **members: Any) -> dict[str, Any]:
    """A document of event-bulk-create-jobs: of every item who, and the attributes of his events."""
    data = [
        {
            "type": "event-bulk-create",
            "attributes": {
                "profile": profile(who),
                "events": {"data": [{"type": "event", "attributes": one} for one in events]},
                **members,
            },
        }
        for who, events in items
    ]
    return {"data": {"type": "event-bulk-create-job", "attributes": {"events-bulk-create": {"data": data}}}}


def put(klaviyo: KlaviyoStandIn, **identifiers: Any) -> str:
    """Import a profile, and its id."""
    status, document = ask(klaviyo, "POST /api/profile-import", profile(identifiers))
    assert status in (200, 201), document
    return str(document["data"]["id"])


def shown(klaviyo: KlaviyoStandIn) -> list[dict[str, Any]]:
    """The identifiers of all profiles, by which two states can be compared."""
    return [one.identifiers for one in klaviyo.profiles]
