"""The operations of the doors, ``/webhooks`` and ``/v1``, and of what watches the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector.inspector.openapi.operations import JSON, answer, body, parameter, shared
from connector.inspector.openapi.shapes import COUNT, SENTENCES, TEXT, Schema, listed, names, record, ref, told
from connector.messages import TRACKING_TYPES
from connector.metrics import CONTENT_TYPE
from connector.source_mapping import Source
from connector.sources import declared, segment, tracking

STANDARD: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
SVIX: Final = ("svix-id", "svix-timestamp", "svix-signature")

CALLS: Final[dict[str, Schema]] = {
    "SegmentCall": record(
        {},
        optional={
            **names("messageId", "anonymousId", "userId", "event", "timestamp", "sentAt"),
            "type": told(TEXT, f"one of {', '.join(TRACKING_TYPES)}; of the webhook also delete"),
            **names("traits", "properties", "context", "integrations", like={"type": "object"}),
        },
        description="a call as Segment's spec has it; what is none is stored too, and quarantined",
    ),
    "Stored": record(names("stored", "duplicates", like=COUNT)),
    "Accepted": record({"success": {"const": True}}),
    "Refusal": record({"message": told(TEXT, "what is wrong and what to do")}),
    "Ready": record({"status": {"const": "ready"}}),
    "NotReady": record({"status": {"const": "not ready"}, "reasons": SENTENCES}),
}

REFUSALS: Final = {
    "400": shared("NotJson"),
    "401": shared("UnknownSender"),
    "403": shared("Closed"),
    "413": shared("TooLarge"),
    "500": shared("Failed"),
    "503": shared("Unavailable"),
}


def paths(sources: Mapping[str, Source]) -> dict[str, Any]:
    """Every path that is not the inspector's. Args: sources are the mappings, by provider."""
    found: dict[str, Any] = {"/webhooks/segment": _segment()}
    for name, source in sources.items():
        if name == segment.NAME:
            continue
        found[f"/webhooks/{name}"] = _platform(source, _security(source))
        if source.door.signature == "secret":
            secret = parameter("secret", {"type": "string", "minLength": 1}, "the secret", where="path")
            found[f"/webhooks/{name}/{{secret}}"] = {**_platform(source, [{}], "_by_path"), "parameters": [secret]}
    return {**found, **{f"/v1/{name}": _call(name) for name in tracking.CALLS}, **WATCH}


def schemes(sources: Mapping[str, Source]) -> dict[str, Any]:
    """The security schemes: tokens, and the headers in which platforms sign."""
    headers = {"X-Signature", *(header for source in sources.values() for header in source.door.signed_by)}
    if any(source.door.signature == "standard-webhooks" for source in sources.values()):
        headers |= {*STANDARD, *SVIX}
    return {
        "inspector": {"type": "http", "scheme": "bearer", "description": "one of INSPECTOR_TOKENS"},
        "write_key": {
            "type": "http",
            "scheme": "basic",
            "description": "one of SOURCE_WRITE_KEYS as the user name; or as writeKey in the body",
        },
        "second_factor": {"type": "http", "scheme": "bearer", "description": "one of SEGMENT_WEBHOOK_TOKENS, if set"},
        "second_factor_in_query": {"type": "apiKey", "in": "query", "name": "token"},
        "shared_secret": {"type": "http", "scheme": "bearer", "description": "the secret of the platform"},
        "shared_secret_as_password": {"type": "http", "scheme": "basic"},
        **{header: {"type": "apiKey", "in": "header", "name": header} for header in sorted(headers)},
    }


# -- webhooks -----------------------------------------------------------------------------------------------------


def _segment() -> dict[str, Any]:
    signed: dict[str, list[str]] = {"X-Signature": []}
    security = [signed, {**signed, "second_factor": []}, {**signed, "second_factor_in_query": []}]
    sent = {"oneOf": [ref("SegmentCall"), listed(ref("SegmentCall"))]}
    return {
        method: _door(f"segment_{method}", "Segment's webhook: one call, or an array of them", sent, security)
        for method in ("post", "put", "patch")
    }


def _platform(source: Source, security: list[Any], suffix: str = "") -> dict[str, Any]:
    """The door of an email platform, and the methods by which it asks whether somebody is there."""
    sent: Schema = {"description": f"as {source.name} sends it", "type": ["object", "array"]}
    media = (JSON, "application/x-www-form-urlencoded") if source.door.form else (JSON,)
    summary = f"email events of {source.name}; needs {' and '.join(source.variables)}"
    found = {"post": _door(f"{source.provider}{suffix}", summary, sent, security, *media)}
    for ours, theirs in source.door.answers.items():
        responses = found["post"]["responses"]
        responses[str(theirs)] = responses.pop(str(ours), shared("NotJson"))
    here: dict[str, Any] = {"description": "this door is here"}
    for method in source.door.probes:
        if method == declared.EMPTY:  # a post like the others, of a body without events
            continue
        name = f"{source.provider}{suffix}_{method.lower()}"
        content = {} if method == "HEAD" else {"content": {JSON: {"schema": ref("Refusal")}}}
        summary = f"{source.name} asks whether this door is here"
        found[method.lower()] = {
            "operationId": name,
            "summary": summary,
            "tags": ["doors"],
            "security": [],
            "responses": {"200": {**here, **content}},
        }
    return found


def _security(source: Source) -> list[Any]:
    """By what a platform may show who it is: one of these."""
    match source.door.signature:
        case "secret":
            return [{"shared_secret": []}, {"shared_secret_as_password": []}]
        case "standard-webhooks":
            return [{name: [] for name in STANDARD}, {name: [] for name in SVIX}]
    return [{header: [] for header in source.door.signed_by}]


def _door(name: str, summary: str, sent: Schema, security: list[Any], *media: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["doors"],
        "security": security,
        "requestBody": body(sent, *media),
        "responses": {"200": answer("everything in it is on disk", ref("Stored")), **REFUSALS},
    }


# -- Segment's tracking API -----------------------------------------------------------------------------------------


def _call(name: str) -> dict[str, Any]:
    """A call by its long or its one-letter name, and the question of a browser whether it may make it."""
    call = tracking.CALLS[name]
    members = {"batch": listed(ref("SegmentCall"))}
    shape = {"context": {"type": "object"}, "integrations": {"type": "object"}, "sentAt": TEXT}
    sent = record(members, optional=shape) if call == tracking.BATCH else ref("SegmentCall")
    opened = _door(f"v1_{name}", f"{call}, as to Segment's own API", sent, [{"write_key": []}, {}], JSON, "text/plain")
    opened["responses"]["200"] = answer("everything in it is on disk", ref("Accepted"))
    asked = {
        "operationId": f"v1_{name}_options",
        "summary": "may a page of another origin make this call?",
        "tags": ["doors"],
        "security": [],
        "responses": {"204": {"description": "it may"}},
    }
    return {"post": opened, "options": asked}


# -- what watches the process ---------------------------------------------------------------------------------------


def _watch(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "get": {"operationId": name, "summary": summary, "tags": ["health"], "security": [], "responses": responses}
    }


WATCH: Final = {
    "/healthz": _watch(
        "healthz", "does the process run?", {"200": answer("it does", record({"status": {"const": "alive"}}))}
    ),
    "/readyz": _watch(
        "readyz",
        "can it do its work?",
        {"200": answer("it can", ref("Ready")), "503": answer("it cannot, and why", ref("NotReady"))},
    ),
    "/metrics": _watch(
        "metrics",
        "figures for Prometheus",
        {
            "200": answer("Prometheus' text format", TEXT, media=CONTENT_TYPE.partition(";")[0]),
            "500": shared("Failed"),
            "503": shared("Unavailable"),
        },
    ),
}
