"""``GET /api/openapi.json``: the whole HTTP surface described, so that clients can be generated and answers checked.

    document   the description, made of plain JSON values
    routes     adds the route to the JSON interface

``shapes`` and ``operations`` are how it is written; ``answers`` and ``orders`` name the schemas; ``routes`` and
``doors`` hold the operations. Pages for people are not part of it.

Source: https://spec.openapis.org/oas/v3.1.1 (read 2026-11-25)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response

from connector import __version__
from connector.house import House
from connector.inspector.api import only, told
from connector.inspector.openapi import answers, doors, operations, orders
from connector.inspector.openapi import routes as interface
from connector.source_mapping import Source

ABOUT: Final = (
    "Times are ISO 8601 in UTC with milliseconds. Addresses are given in full. A refusal is an object with a message"
    " that says what is wrong and what to do."
)


def document(sources: Mapping[str, Source]) -> dict[str, Any]:
    """The description, as OpenAPI 3.1 has it. Args: sources are the mappings that open doors, by provider."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Connector", "version": __version__, "description": ABOUT},
        "paths": {**doors.paths(sources), **interface.QUESTIONS, **interface.ORDERS},
        "components": {
            "schemas": {**answers.SCHEMAS, **orders.BODIES, **orders.EFFECTS, **doors.CALLS},
            "responses": operations.RESPONSES,
            "securitySchemes": doors.schemes(sources),
        },
    }


def routes(api: Blueprint, house: House) -> None:
    """Add the description to the JSON interface, for the doors of this house."""
    described = document(house.mappings.sources)

    @api.get("/openapi.json")
    def describe() -> Response:
        only()
        return told(described)
