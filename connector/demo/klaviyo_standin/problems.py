"""Klaviyo's refusals: one or more errors of a request, as the JSON:API document that says them.

Source: https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

TITLES: Final = {
    "invalid": "Invalid input.",
    "authentication_failed": "Incorrect authentication credentials.",
    "permission_denied": "You do not have permission to perform this action.",
    "not_found": "Not found.",
    "method_not_allowed": "Method not allowed.",
    "duplicate_profile": "Conflict.",
    "unsupported_media_type": "Unsupported media type.",
    "payload_too_large": "Payload too large.",
    "throttled": "Request was throttled.",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error. pointer leads into the body, parameter names a query parameter or a header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    code: str = "invalid"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def document(self, status: int) -> dict[str, Any]:
        """The error object; its id is new each time."""
        source = {"pointer": self.pointer} if self.pointer is not None else {}
        if self.parameter is not None:
            source = {"parameter": self.parameter}
        return {
            "id": str(uuid4()),
            "status": status,
            "code": self.code,
            "title": TITLES.get(self.code, "Error."),
            "detail": self.detail,
            "source": source,
            "links": {},
            "meta": dict(self.meta),
        }


class Problem(Exception):
    """The request is refused with this status for these mistakes."""

    def __init__(self, status: int, mistakes: Sequence[Mistake], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, mistakes[0].detail)
        self.status = status
        self.mistakes = mistakes
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"errors": [mistake.document(self.status) for mistake in self.mistakes]}


def invalid(detail: str, pointer: str | None = None, *, parameter: str | None = None) -> Problem:
    """A 400 with one mistake."""
    return Problem(400, [Mistake(detail, pointer, parameter)])


def missing(what: str, key: str) -> Problem:
    """A 404."""
    return Problem(404, [Mistake(f"A {what} with id {key} does not exist.", code="not_found")])


def duplicate(profile_id: str) -> Problem:
    """The 409 of an identifier that another profile has."""
    detail = "A profile already exists with one of these identifiers."
    meta = {"duplicate_profile_id": profile_id}
    return Problem(409, [Mistake(detail, "/data/attributes", code="duplicate_profile", meta=meta)])


def forbidden(detail: str) -> Problem:
    """A 403."""
    return Problem(403, [Mistake(detail, "/data", code="permission_denied")])
