"""What every request to Klaviyo's API has in common: revision, headers, limits, and how its errors are read. No I/O.

Source: https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling and
https://developers.klaviyo.com/en/docs/api_versioning_and_deprecation_policy
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import orjson

from connector import __version__
from connector.gate import Limit
from connector.messages import Json

REVISION: Final = "2026-10-15"
"""The one revision of the API that this version speaks. Klaviyo keeps each for two years."""

MEDIA_TYPE: Final = "application/vnd.api+json"

LONGEST_RETRY_AFTER_SECONDS: Final = 3600
"""A guard against absurd headers; Klaviyo's own limits count minutes."""

MAX_ERRORS: Final = 2_000
"""A bulk request holds 1,000 items, and each may be wrong in more than one way."""

MAX_DETAIL: Final = 200


class Tier(StrEnum):
    """Requests that share their limits: so many a second, and so many a minute, of one account."""

    PROFILES = "profiles"
    EVENTS = "events"
    BULK = "bulk"
    METRICS = "metrics"
    EVENT = "event"
    MERGE = "merge"
    ACCOUNT = "account"
    PRIVACY = "privacy"
    TRACKING = "tracking"


LIMITS: Final[Mapping[str, tuple[Limit, ...]]] = {
    Tier.PROFILES: ((75, 1.0), (750, 60.0)),
    Tier.EVENTS: ((350, 1.0), (3_500, 60.0)),
    Tier.BULK: ((10, 1.0), (150, 60.0)),
    Tier.METRICS: ((10, 1.0), (150, 60.0)),
    Tier.EVENT: ((10, 1.0), (150, 60.0)),
    Tier.MERGE: ((10, 1.0), (150, 60.0)),
    Tier.ACCOUNT: ((1, 1.0), (15, 60.0)),
    Tier.PRIVACY: ((3, 1.0), (60, 60.0)),
    Tier.TRACKING: ((10, 1.0), (150, 60.0)),
}
"""ACCOUNT is for accounts, webhooks and their topics; METRICS for the list of metrics, EVENT for a single event.

Source: https://github.com/klaviyo/openapi, ``x-klaviyo-ratelimit``
"""

_UNKNOWN_FIELD: Final = re.compile(r"'\w{1,40}' is not a valid field for the resource '[\w-]{1,40}'\.?")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WORD: Final = re.compile(r"\S+")
_PERSONAL: Final = re.compile(r"@|%40|\d{3}")
_STEP: Final = re.compile(r"[\w$-]{1,64}")


@dataclass(frozen=True, slots=True)
class Error:
    """One error of an answer. pointer leads into what was sent, parameter names a part of the query; "" if absent.

    detail is Klaviyo's own, without whatever it may quote of what was sent. meta is as it came.
    """

    status: int = 0
    code: str = ""
    detail: str = ""
    pointer: str = ""
    parameter: str = ""
    meta: Mapping[str, Json] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        told = f"{self.code}: {self.detail}" if self.code and self.detail else self.code or self.detail
        place = shown_pointer(self.pointer) or self.parameter
        return f"{told} ({place})" if place else told


def headers(key: str) -> dict[str, str]:
    """The headers of every request with this private key."""
    return {
        "Authorization": f"Klaviyo-API-Key {key}",
        "revision": REVISION,
        "Accept": MEDIA_TYPE,
        "Content-Type": MEDIA_TYPE,
        "User-Agent": f"connector-cdp/{__version__}",
    }


def quoted(value: str) -> str:
    """A text as a filter's string literal: ``equals(external_id,"u_1")`` takes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def errors_of(body: bytes) -> list[Error]:
    """The errors of an answer, as far as they can be read; empty if the body is something else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    found = document.get("errors") if isinstance(document, dict) else None
    return [_error(one) for one in found[:MAX_ERRORS] if isinstance(one, dict)] if isinstance(found, list) else []


def retry_after(given: Mapping[str, str]) -> int | None:
    """The whole seconds of ``Retry-After``, at most an hour; None if it says none."""
    text = given.get("retry-after", "").strip()
    if not (text.isascii() and text.isdecimal()):
        return None
    return min(int(text[:9]), LONGEST_RETRY_AFTER_SECONDS)


@dataclass(frozen=True, slots=True)
class Rate:
    """What an answer says about a limit. Each is None where it says nothing that can be read."""

    limits: tuple[Limit, ...] | None = None
    remaining: int | None = None
    reset_seconds: int | None = None


def rate_of(given: Mapping[str, str]) -> Rate:
    """The ``RateLimit-*`` headers of an answer: ``RateLimit-Limit: 350, 350;w=1, 3500;w=60``.

    Which window ``-Remaining`` counts is not said alike everywhere, so nothing is decided by it.
    """
    limits = tuple(
        (int(most), float(seconds))
        for most, seconds in re.findall(r"(\d{1,9})\s*;\s*w=(\d{1,6})", given.get("ratelimit-limit", ""), re.ASCII)
    )
    return Rate(limits or None, _number(given.get("ratelimit-remaining")), _number(given.get("ratelimit-reset")))


def shown_pointer(pointer: str) -> str:
    """A pointer as people may see it: what might be a key of somebody's making is left out."""
    return "/".join(step if not step or _plain(step) else "…" for step in pointer[:300].split("/"))


def _plain(step: str) -> bool:
    return bool(_STEP.fullmatch(step)) and (len(step) <= 4 or not _PERSONAL.search(step))


def _error(one: dict[str, Json]) -> Error:
    source = one.get("source")
    source = source if isinstance(source, dict) else {}
    meta = one.get("meta")
    status = one.get("status")
    status = int(status) if isinstance(status, str) and status.isdecimal() and len(status) == 3 else status
    return Error(
        status=status if isinstance(status, int) and not isinstance(status, bool) else 0,
        code=_word(one.get("code")),
        detail=_detail(_text(one.get("detail")) or _text(one.get("title"))),
        pointer=_text(source.get("pointer")),
        parameter=_word(source.get("parameter")),
        meta=meta if isinstance(meta, dict) else {},
    )


def _detail(text: str) -> str:
    if _UNKNOWN_FIELD.fullmatch(text):
        return text
    unquoted = _QUOTED.sub("…", text)
    return _WORD.sub(lambda word: "…" if _PERSONAL.search(word[0]) else word[0], unquoted)[:MAX_DETAIL].strip()


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _text(value: Json) -> str:
    return value[:2_000] if isinstance(value, str) else ""


def _word(value: Json) -> str:
    """A word of Klaviyo's own, such as a code; anything else might be ours come back."""
    text = _text(value)
    return text if re.fullmatch(r"[A-Za-z_.\[\]-]{1,64}", text) else ""
