"""What every request has to bring, whatever it asks for: a key, a revision, a body that can be read.

Source: https://developers.klaviyo.com/en/docs/authenticate_, …/api_versioning_and_deprecation_policy
"""

from __future__ import annotations

import re
import zlib
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from connector.demo.klaviyo_standin.problems import Mistake, Problem, invalid
from connector.demo.loopback import MAX_BODY_BYTES, Asked
from connector.messages import Milliseconds

REVISION: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(\.[a-z]+)?")
LIVES_FOR: Final = timedelta(days=2 * 365 + 1)
JSON_TYPES: Final = ("application/vnd.api+json", "application/json")


def key_of(asked: Asked) -> str | None:
    """The private key of the Authorization header; None without one."""
    scheme, _, key = asked.headers.get("authorization", "").partition(" ")
    return key if scheme == "Klaviyo-API-Key" and key else None


def check_revision(asked: Asked, now: Milliseconds) -> None:
    """Raises: Problem, without a revision, or with one that is no date or no longer served."""
    given = asked.headers.get("revision")
    if given is None:
        raise invalid("The revision header is required.", parameter="revision")
    match = REVISION.fullmatch(given)
    try:
        released = date.fromisoformat(match[1]) if match else None
    except ValueError:
        released = None
    if released is None:
        raise invalid(f"'{given}' is not a valid revision.", parameter="revision")
    if datetime.fromtimestamp(now / 1000, UTC).date() - released > LIVES_FOR:
        raise invalid(f"The revision {given} is no longer supported.", parameter="revision")


def query_of(text: str) -> dict[str, str]:
    """The query parameters. Raises: Problem, if one is there twice."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in query:
            raise invalid(f"'{name}' is given more than once.", parameter=name)
        query[name] = value
    return query


def body_of(asked: Asked) -> tuple[Any, int]:
    """The JSON document and its size, unpacked. Raises: Problem, for another type, or if it cannot be read."""
    if asked.method in ("GET", "DELETE"):
        return None, 0
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES:
        raise Problem(415, [Mistake(f"Unsupported media type '{kind}'.", code="unsupported_media_type")])
    body = asked.body
    if asked.headers.get("content-encoding") == "gzip":
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, MAX_BODY_BYTES)
        except zlib.error:
            raise invalid("The body cannot be unpacked.", "") from None
    try:
        return orjson.loads(body), len(body)
    except orjson.JSONDecodeError:
        raise invalid("The body is not valid JSON.", "") from None
