"""What a stored element must be to be a Segment call, and the reasons when it is not.

marshmallow is the authority on what is valid and writes the reasons; ``_is_ordinary`` is a cheap check that admits
the everyday event without asking it, and a property test proves that it never admits more. A vendor's payload is
mapped to a Segment track call first, so one schema judges all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from connector.errors import InvalidMessage
from connector.messages import TRACKING_TYPES, Json, Stored

MAX_DEPTH: Final = 200
"""Levels of nesting; deeper bodies are attacks or mistakes, and few systems behind us would take them."""


CALL_TYPES: Final = (*TRACKING_TYPES, "delete")


class Text(fields.Field[str]):
    """Text, or nothing. Segment discards events whose ids are numbers (``id_not_string``), so we say so."""

    def _deserialize(self, value: Json, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"expected text, found {_kind(value)}")
        return value


class Object(fields.Field[dict[str, Json]]):
    """A JSON object; an empty list is how PHP libraries write an empty one, and null means the same."""

    def _deserialize(self, value: Json, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Json]:
        if value is None or value == []:
            return {}
        if not isinstance(value, dict):
            raise ValidationError(f"expected an object, found {_kind(value)}")
        return value


class CallSchema(Schema):
    """A Segment call as the tracking API and the webhook destinations carry it.

    Source: https://segment.com/docs/connections/spec/common/
    """

    class Meta:
        unknown = EXCLUDE

    type = Text(required=True, validate=validate.OneOf(CALL_TYPES, error=f"expected one of {', '.join(CALL_TYPES)}"))
    event = Text(allow_none=True)
    userId = Text(allow_none=True)
    anonymousId = Text(allow_none=True)
    previousId = Text(allow_none=True)
    groupId = Text(allow_none=True)
    properties = Object(allow_none=True)
    traits = Object(allow_none=True)
    context = Object(allow_none=True)
    integrations = Object(allow_none=True)

    @validates_schema
    def has_what_its_type_needs(self, data: dict[str, Json], **_kwargs: Any) -> None:
        if data["type"] == "track" and not data.get("event"):
            raise ValidationError("a track call needs the name of its event", "event")
        if data["type"] == "alias" and not (data.get("previousId") and data.get("userId")):
            raise ValidationError("an alias call needs previousId and userId", "previousId")
        if not data.get("userId") and not data.get("anonymousId") and not data.get("addressed"):
            raise ValidationError("neither userId nor anonymousId: Segment itself discards such calls", "userId")


class MappedSchema(CallSchema):
    """A call that a mapping made of a vendor's payload: the addressee's identifiers stand in for the two ids."""

    addressed = fields.Boolean(load_default=True)


CALL: Final = CallSchema()
MAPPED: Final = MappedSchema()

_OBJECTS: Final = ("properties", "traits", "context", "integrations")
_TEXTS: Final = ("userId", "anonymousId", "previousId", "groupId", "event")


def check(call: Mapping[str, Json], schema: Schema = CALL) -> dict[str, Json]:
    """The call with its objects in place.

    Raises: InvalidMessage with one reason for each thing that is wrong.
    """
    if schema is CALL and _is_ordinary(call):
        return dict(call)
    try:
        checked = schema.load(dict(call))
    except ValidationError as error:
        raise InvalidMessage(_reasons(error)) from None
    return {**call, **checked}


def _is_ordinary(call: Mapping[str, Json]) -> bool:
    """Exactly what the schema admits without changing anything, in 2 µs instead of 40."""
    kind = call.get("type")
    if kind not in ("track", "identify", "page", "screen"):
        return False
    for name in _TEXTS:
        value = call.get(name)
        if value is not None and type(value) is not str:
            return False
    for name in _OBJECTS:
        if name in call and type(call[name]) is not dict:
            return False
    if kind == "track" and not call.get("event"):
        return False
    return bool(call.get("userId") or call.get("anonymousId"))


def _reasons(error: ValidationError) -> list[str]:
    messages: dict[str, Any] = error.messages_dict
    return [f"{name}: {text}" for name in sorted(messages) for text in _texts(messages[name])]


def _texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for part in node.values() for text in _texts(part)]
    return [str(text)[:200].rstrip(".") for text in node]


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {int: "a number", float: "a number", list: "a list", dict: "an object", str: "text", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def read_body(stored: Stored) -> dict[str, Json]:
    """The element as an object, with halves of characters and NULs (no database takes them) replaced.

    Raises: InvalidMessage if it cannot be read.
    """
    if stored.rotten:
        raise InvalidMessage([stored.rotten])
    value = _parse(stored.body)
    if not isinstance(value, dict):
        raise InvalidMessage([f"expected an object with a Segment call, found {_kind(value)}"])
    if stored.envelope:
        _complete(value, _parse(stored.envelope))
    return value


def _parse(text: str) -> Json:
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        value = _parse_leniently(text)
    if "\\u0000" in text:
        value = _scrub(value)
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(value):
        raise InvalidMessage([f"the element is nested deeper than {MAX_DEPTH} levels"])
    return value


def _parse_leniently(text: str) -> Json:
    """orjson refuses lone surrogates, which JavaScript makes when it cuts a text in the middle of an emoji."""
    try:
        return _scrub(json.loads(text, parse_constant=_refuse_constant))
    except RecursionError:
        raise InvalidMessage(["the element is nested too deeply to be read"]) from None
    except ValueError as error:
        raise InvalidMessage([str(error) if "NaN" in str(error) else "the element is not JSON"]) from None


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"it contains {name}, which is not JSON (NaN and Infinity have no form in it); send null instead")


def _scrub(value: Json) -> Json:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrub(one) for one in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(one) for key, one in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = float(value) if abs(value) < 10**308 else math.inf  # as orjson reads them
    if isinstance(value, float) and not math.isfinite(value):
        return None  # 1e999 is JSON by its grammar, and infinite by its reader
    return value


def _is_deep(value: Json) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _complete(call: dict[str, Json], envelope: Mapping[str, Json]) -> None:
    """What the request said about all its elements, under what the element says itself (Segment's batch rule)."""
    for name, value in envelope.items():
        mine = call.get(name)
        if isinstance(value, dict) and isinstance(mine, dict):
            call[name] = {**value, **mine}
        elif mine is None or mine == []:
            call[name] = value
