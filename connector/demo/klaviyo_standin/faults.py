"""How a request is mistreated, for scripts of the stand-in: one fault each.

stored: the request is taken in before things go wrong, as when only the answer is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from connector.demo.klaviyo_standin.problems import Mistake, Problem

CODES = {400: "invalid", 401: "authentication_failed", 403: "permission_denied", 404: "not_found", 429: "throttled"}


@dataclass(frozen=True, slots=True)
class Fault:
    """Made by the functions below."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stored: bool = False
    hang: bool = False
    reset: bool = False


def answer(
    status: int,
    *,
    retry_after: int | str | None = None,
    code: str | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    stored: bool = False,
) -> Fault:
    """A refusal in Klaviyo's form, or whatever ``body`` says."""
    if body is None:
        problem = Problem(status, [Mistake(f"scripted {status}", code=code or CODES.get(status, "error"))])
        body = orjson.dumps(problem.document())
    waiting = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault(status, {"Content-Type": "application/vnd.api+json", **waiting, **(headers or {})}, body, stored)


def hang(*, stored: bool = False) -> Fault:
    """No answer at all."""
    return Fault(stored=stored, hang=True)


def reset(*, stored: bool = False) -> Fault:
    """The connection breaks in place of an answer."""
    return Fault(stored=stored, reset=True)
