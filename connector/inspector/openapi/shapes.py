"""How a schema is written: the few words of JSON Schema that the description of the interface needs.

Source: https://spec.openapis.org/oas/v3.1.1 and https://json-schema.org/draft/2020-12/schema (read 2026-11-25)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SENTENCES: Final[Schema] = {"type": "array", "items": TEXT}
SHARE: Final[Schema] = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
MOMENT: Final[Schema] = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    "examples": ["2026-09-01T10:05:00.000Z"],
}


def ref(name: str) -> Schema:
    """A schema of ``components``, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def told(schema: Schema, description: str) -> Schema:
    """A schema with a sentence about it."""
    return {**schema, "description": description}


def record(
    properties: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None, description: str = ""
) -> Schema:
    """An object that has these properties, and may have the optional ones."""
    schema: Schema = {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }
    return told(schema, description) if description else schema


def table(values: Schema) -> Schema:
    """An object whose names are data."""
    return {"type": "object", "additionalProperties": values}


def one_of(values: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(values)}


def names(*named: str, like: Schema = TEXT) -> dict[str, Schema]:
    """Several properties of one kind."""
    return dict.fromkeys(named, like)
