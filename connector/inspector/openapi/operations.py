"""How an operation is written: its parameters, bodies and answers, and the refusals that many share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector.inspector.openapi.shapes import Schema, ref, told

JSON: Final = "application/json"

RETRY_AFTER: Final = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
CHALLENGE: Final = {"WWW-Authenticate": {"schema": {"const": 'Bearer realm="connector"'}}}


def parameter(name: str, schema: Schema, description: str = "", *, where: str = "query", required: bool = False) -> Any:
    """A parameter, of the query if nothing else is said; one of the path is always required."""
    found = {"name": name, "in": where, "required": required or where == "path", "schema": schema}
    return told(found, description) if description else found


def answer(description: str, schema: Schema, *, media: str = JSON, headers: Mapping[str, Any] | None = None) -> Any:
    """An answer with a body."""
    found: dict[str, Any] = {"description": description, "content": {media: {"schema": schema}}}
    return {**found, "headers": dict(headers)} if headers else found


def refusal(description: str, headers: Mapping[str, Any] | None = None) -> Any:
    """An answer that says in plain words what is wrong and what to do."""
    return answer(description, ref("Refusal"), headers=headers)


def body(schema: Schema, *media: str) -> Any:
    """What has to be posted."""
    return {"required": True, "content": {one: {"schema": schema} for one in media or (JSON,)}}


def shared(name: str) -> Any:
    """An answer of ``components.responses``, by its name."""
    return {"$ref": f"#/components/responses/{name}"}


RESPONSES: Final = {
    "BadRequest": refusal("a parameter or the body cannot be meant so"),
    "Unauthorized": refusal("the token is missing or wrong", CHALLENGE),
    "Closed": refusal("no secret is set for this; the message names the variable"),
    "NotFound": refusal("there is none"),
    "TooLarge": refusal("the body is larger than anybody needs"),
    "SlowDown": refusal("too many wrong tokens from this address", RETRY_AFTER),
    "Failed": refusal("a mistake of the connector, which is in its log"),
    "Unavailable": refusal("the database does not answer, or too many requests are being read", RETRY_AFTER),
    "UnknownSender": refusal("the signature, secret or key is missing or wrong"),
    "NotJson": refusal("the body is not JSON, or not what its Content-Encoding says"),
}
"""What several operations answer."""
