"""The operations of ``/api``: everything that asks for a token of INSPECTOR_TOKENS."""

from __future__ import annotations

from typing import Any, Final

from connector.inspector.api import MOST, OUTCOMES
from connector.inspector.openapi.operations import answer, body, parameter, shared
from connector.inspector.openapi.orders import TIME
from connector.inspector.openapi.shapes import TEXT, Schema, listed, one_of, record, ref, told

SECURITY: Final[list[dict[str, list[str]]]] = [{"inspector": []}]
REFUSALS: Final = {
    "400": shared("BadRequest"),
    "401": shared("Unauthorized"),
    "403": shared("Closed"),
    "429": shared("SlowDown"),
    "500": shared("Failed"),
    "503": shared("Unavailable"),
}

SOME: Final[Schema] = {"type": "string", "minLength": 1}
NUMBER: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 1 << 62}
TYPE: Final[Schema] = told(
    {**SOME, "examples": ["email", "user_id", "klaviyo_profile_id"]},
    "a type of identity.toml, <vendor>_profile_id or <vendor>_user_id",
)

AS_OF: Final = parameter("as_of", TIME, "what the evidence up to the end of that minute says, in event time")
LIMIT: Final = parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 50})
PREVIEW: Final = parameter(
    "preview", {"type": "integer", "enum": [0, 1], "default": 0}, "1: only tell what it would do"
)


def _path(name: str, schema: Schema, description: str = "") -> Any:
    return parameter(name, schema, description, where="path")


def _get(name: str, summary: str, schema: Schema, *parameters: Any, found: bool = False) -> Any:
    """A question. Args: found says that it may have no answer."""
    responses = {"200": answer(summary, schema), **REFUSALS}
    if found:
        responses["404"] = shared("NotFound")
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["inspector"],
            "security": SECURITY,
            "parameters": list(parameters),
            "responses": responses,
        }
    }


def _post(name: str, summary: str, order: str, *parameters: Any, found: bool = False, refused: bool = False) -> Any:
    """An order. Args: found says that what it names may be missing, refused that it may be one we do not obey."""
    responses = {
        "200": answer("what it would do, where preview was asked", ref("Preview")),
        "202": answer("it is stored, and done within moments", ref("Ordered")),
        **REFUSALS,
        "413": shared("TooLarge"),
    }
    if found:
        responses["404"] = shared("NotFound")
    if refused:
        responses["409"] = answer("this link would join nobody, so it is not made", ref("LinkRefused"))
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "tags": ["orders"],
            "security": SECURITY,
            "parameters": [*parameters, PREVIEW],
            "requestBody": body(ref(order)),
            "responses": responses,
        }
    }


def _list(name: str, summary: str, entry: str) -> Any:
    return _get(name, summary, record({"entries": listed(ref(entry))}), LIMIT)


QUESTIONS: Final = {
    "/api/openapi.json": _get("describe", "this description", {"type": "object", "required": ["openapi", "paths"]}),
    "/api/stats": _get("stats", "the orphan rate before and after, and all counts", ref("Stats")),
    "/api/log": _get(
        "log",
        "the latest decisions, newest first",
        ref("Log"),
        parameter("outcome", one_of(OUTCOMES)),
        parameter("source", TEXT, "segment, tracking_api, operator, import or an email platform"),
        parameter("event", TEXT),
        parameter("q", TEXT, "a messageId, incoming or outgoing, or an identifier's value, exactly"),
        parameter("before", NUMBER, "next of the page before"),
        LIMIT,
    ),
    "/api/messages/{message_id}": _get(
        "message",
        "one message: what was decided, and why",
        ref("MessageAnswer"),
        _path("message_id", SOME, "incoming or outgoing; source/messageId where several sources know it"),
        AS_OF,
        found=True,
    ),
    "/api/profiles": _get(
        "profile",
        "one person, by an identifier",
        ref("Profile"),
        parameter("type", TYPE, required=True),
        parameter("value", SOME, required=True),
        AS_OF,
        found=True,
    ),
    "/api/profiles/{profile_id}": _get(
        "profile_by_id", "one person, by profile id", ref("Profile"), _path("profile_id", SOME), AS_OF, found=True
    ),
    "/api/explain": _get(
        "explain",
        "what joins two identifiers, or keeps them apart",
        ref("Pair"),
        parameter("left", SOME, "a value, or type:value", required=True),
        parameter("right", SOME, "the same", required=True),
        AS_OF,
    ),
    "/api/hubs": _get(
        "hubs",
        "identifiers that name nobody",
        ref("Hubs"),
        LIMIT,
        parameter("after", NUMBER, "next of the page before"),
    ),
    "/api/held": _list("held", "what waits for an identity, the next to expire first", "Held"),
    "/api/dead": _list("dead", "deliveries that were given up, newest first", "Dead"),
    "/api/quarantined": _list("quarantined", "what could not be understood, newest first", "Quarantined"),
}

ORDERS: Final = {
    "/api/links": _post("link", "say that two identifiers are one person's", "LinkOrder", refused=True),
    "/api/links/{link_id}/revoke": _post(
        "revoke", "take a link back", "RevokeOrder", _path("link_id", SOME), found=True
    ),
    "/api/profiles/forget": _post("forget", "erase a person", "ForgetOrder"),
    "/api/dead/{number}/retry": _post(
        "retry",
        "try a dead delivery once more",
        "RetryOrder",
        _path("number", {"type": "integer", "minimum": 0}, "id of an entry of /api/dead"),
        found=True,
    ),
}
